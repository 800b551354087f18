"""``record export``: the form of arrays, large integers and mixed columns in every table."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from horus_async.recorder.tables.kinds import form as form_of
from horus_async.recorder.tables.kinds import kind_of, merge
from horus_async.recorder.tables.text import csv_line, json_text
from tests.parquet import read_parquet

from .sessions import call, make

if TYPE_CHECKING:
    from pathlib import Path

KINDS: dict[str, tuple[Any, Any]] = {
    "image": (np.arange(24, dtype=np.uint8).reshape(2, 4, 3), np.arange(24).reshape(2, 4, 3).tolist()),
    "big endian": (np.array([1, 300], ">u2"), [1, 300]),
    "single": (np.array([0.1], "f4"), np.array([0.1], "f4").tolist()),
    "half": (np.array([1.5], "f2"), [1.5]),
    "strided": (np.arange(6.0)[::2], [0.0, 2.0, 4.0]),
    "unsigned": (np.array([2**64 - 1], "u8"), [2**64 - 1]),
    "flags": (np.array([[True, False]]), [[True, False]]),
    "nan": (np.array([1.0, math.nan, -math.inf]), [1.0, None, "-inf"]),
    "days": (np.array(["2024-02-29", "NaT"], "M8[D]"), ["2024-02-29", None]),
    "micros": (np.array(["2024-02-29T01:02:03"], "M8[us]"), ["2024-02-29T01:02:03.000000"]),
    "nanos": (np.array(["2024-02-29T01:02:03"], "M8[ns]"), ["2024-02-29T01:02:03.000000000"]),
    "durations": (np.array([1500, "NaT"], "m8[ms]"), [1.5, None]),
    "years": (np.array([2], "m8[Y]"), ["2 years"]),
    "bytes": (np.array([b"c\xff", b"\0d"]), ["Y/8=", "AGQ="]),
    "void": (np.array([b"ab\0"], "V3"), ["YWIA"]),
    "text": (np.array(["é", ""]), ["é", ""]),
    "objects": (np.array([{"k": b"x"}, (1, None)], object), [{"k": "eA=="}, [1, None]]),
    "complex": (np.array([1 - 2j]), [[1.0, -2.0]]),
    "no elements": (np.zeros((2, 0)), [[], []]),
    "no rows": (np.zeros((0, 3)), []),
    "scalar": (np.float32(2.5), 2.5),
    "scalar bytes": (np.bytes_(b"a\0"), "YQA="),
    "no dimension": (np.array(7), 7),
    "a day": (np.datetime64("2024-02-29"), "2024-02-29"),
    "in a list": ([np.array([1, 2]), np.array([b"z"])], [[1, 2], ["eg=="]]),
}


def export(root: Path, folder: Path, values: list[Any], form: str) -> tuple[Path, str]:
    """Export a session that sends these values, one in each tick; the file and what was said."""
    make(root, "s", {tick: [("n", "t", value)] for tick, value in enumerate(values)}, ticks=len(values))
    output = folder / f"t.{form}"
    result = call("export", "s", "--format", form, "--output", output)
    assert result.exit_code == 0, result.output
    return output, result.stderr


@pytest.mark.parametrize("kind", [*KINDS])
def test_each_kind_of_array_has_one_form(recordings_dir: Path, tmp_path: Path, kind: str) -> None:
    """JSON lines and CSV cells hold nested lists: of dates ISO text, of bytes base64 text, of objects JSON."""
    value, wanted = KINDS[kind]
    output, _ = export(recordings_dir, tmp_path, [{"v": value}], "jsonl")
    assert orjson.loads(output.read_bytes())["v"] == wanted
    call("export", "s", "--format", "csv", "--output", tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["v"] == wanted if isinstance(wanted, str) else orjson.loads(row["v"]) == wanted


def test_a_structured_array_is_a_column_for_each_of_its_fields(recordings_dir: Path, tmp_path: Path) -> None:
    """Names of fields are not lost: points.x and points.tag are columns of lists."""
    points = np.array([(1.5, b"a"), (2.5, b"b")], [("x", ">f4"), ("tag", "S1")])
    output, _ = export(recordings_dir, tmp_path, [{"points": points}], "jsonl")
    row = orjson.loads(output.read_bytes())
    assert (row["points.x"], row["points.tag"]) == ([1.5, 2.5], ["YQ==", "Yg=="])


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u8", "f4", "f8", "?", ">i2"])
def test_parquet_keeps_the_type_and_shape_of_arrays(recordings_dir: Path, tmp_path: Path, dtype: str) -> None:
    """An array of constant shape is a flat list of that size, of the same type, and its shape is with the column."""
    arrays = [np.arange(24).reshape(2, 4, 3).astype(dtype) + np.dtype(dtype).type(step) for step in (0, 1)]
    output, notes = export(recordings_dir, tmp_path, [{"v": array} for array in arrays], "parquet")
    table = read_parquet(output)
    field = table.schema.field("v")
    assert str(field.type).startswith("fixed_size_list<")
    assert field.type.list_size == 24
    assert (field.metadata[b"shape"], field.metadata[b"dtype"]) == (b"[2,4,3]", np.dtype(dtype).name.encode())
    flat = table["v"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    assert flat.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(flat.reshape(-1, 2, 4, 3), arrays)
    assert notes == ""


def test_parquet_nests_lists_where_shapes_vary(recordings_dir: Path, tmp_path: Path) -> None:
    """Point clouds of different lengths keep their shape; a message without one is null."""
    clouds = [np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(4, 3), np.zeros((0, 3))]
    values: list[Any] = [{"v": cloud} for cloud in clouds]
    output, _ = export(recordings_dir, tmp_path, [*values, {"w": 1}], "parquet")
    assert read_parquet(output)["v"].to_pylist() == [*(cloud.tolist() for cloud in clouds), None]


def test_parquet_with_arrays_in_some_messages_only(recordings_dir: Path, tmp_path: Path) -> None:
    """Null stands for an array that a message lacks, in a column of fixed size too."""
    output, _ = export(recordings_dir, tmp_path, [{"v": None}, {"v": np.array([1, 2], "u1")}, {}], "parquet")
    table = read_parquet(output)
    assert table["v"].to_pylist() == [None, [1, 2], None]
    assert table.schema.field("v").type.list_size == 2


@pytest.mark.parametrize(
    "case",
    [
        ([[1, 2], [3.5]], "list<element: double>", [[1.0, 2.0], [3.5]], ""),
        ([[], [[1], []]], "list<element: list<element: int64>>", [[], [[1], []]], ""),
        ([[1, None]], "list<element: int64>", [[1, None]], ""),
        ([["a"], [b"a"]], "list<element: string>", [["a"], ["YQ=="]], ""),
        ([[1], np.array([2.5])], "list<element: double>", [[1.0], [2.5]], ""),
        (
            [np.array([1], "u1"), np.array([300], "u2")],
            "fixed_size_list<element: uint16 not null>[1]",
            [[1], [300]],
            "",
        ),
        ([2**63, 5], "uint64", [2**63, 5], ""),
        ([2**63, -5], "string", [str(2**63), "-5"], "integers beyond 64 bits"),
        ([2**70, 5, None], "string", [str(2**70), "5", None], "integers beyond 64 bits"),
        ([2**60 + 1, 0.5], "string", [str(2**60 + 1), "0.5"], "beyond 53 bits beside floats"),
        ([[2**64], [1]], "list<element: string>", [[str(2**64)], ["1"]], "integers beyond 64 bits"),
        ([np.array([2**64 - 1], "u8"), np.array([-1])], "list<element: string>", [[str(2**64 - 1)], ["-1"]], "64 bits"),
        ([1, "a", None, True], "string", ["1", '"a"', None, "true"], "JSON text"),
        ([[1], "a", {"b": 1}], "string", ["[1]", '"a"', None], "JSON text"),
        ([[{"k": 1}]], "string", ['[{"k":1}]'], "JSON text"),
        ([np.zeros(2), np.zeros((1, 1)), "x"], "string", ["[0.0,0.0]", "[[0.0]]", '"x"'], "JSON text"),
    ],
)
def test_parquet_of_several_kinds(
    recordings_dir: Path, tmp_path: Path, case: tuple[list[Any], str, list[Any], str]
) -> None:
    """Whatever a column holds, it has a type that holds all of it exactly; where that is text, a note says so."""
    values, kind, wanted, note = case
    output, notes = export(recordings_dir, tmp_path, [{"v": value} for value in values], "parquet")
    table = read_parquet(output)
    assert str(table.schema.field("v").type) == kind
    assert table["v"].to_pylist() == wanted
    assert (note in notes) if note else not notes


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_column_that_comes_late_or_changes_its_kind(recordings_dir: Path, tmp_path: Path, form: str) -> None:
    """After thousands of rows have been written, another field, kind or shape still finds its place."""
    values: list[dict[str, Any]] = [{"x": 1, "a": [1]} for _ in range(5000)]
    output, _ = export(recordings_dir, tmp_path, [*values, {"x": 1.5, "a": ["s"], "late": np.zeros(2)}], form)
    if form == "parquet":
        rows = read_parquet(output).to_pylist()
        assert (rows[0]["a"], rows[-1]["a"]) == ("[1]", '["s"]')
    elif form == "jsonl":
        rows = [orjson.loads(line) for line in output.read_bytes().splitlines()]
    else:
        with output.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    assert len(rows) == 5001
    assert [*rows[0]][4:] == ["x", "a", "late"]
    assert (float(rows[0]["x"]), float(rows[-1]["x"])) == (1.0, 1.5)
    assert not rows[0]["late"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_images_are_not_taken_apart(recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No element of a large array becomes an object of the interpreter, in any format."""
    image = np.zeros((480, 640, 3), np.uint8)
    make(recordings_dir, "s", {0: [("n", "t", {"v": image, "none": None})]}, ticks=1)
    monkeypatch.setattr("horus_async.recorder.tables.text._strict", _without_long_lists(monkeypatch))
    for form in ("csv", "jsonl", "parquet"):
        result = call("export", "s", "--format", form, "--output", tmp_path / f"t.{form}")
        assert result.exit_code == 0, result.output


def _without_long_lists(monkeypatch: pytest.MonkeyPatch) -> Any:
    from horus_async.recorder.tables import text

    real = text._strict

    def strict(value: Any) -> Any:
        assert not isinstance(value, list) or len(value) < 100, "an array became a list"
        return real(value)

    return strict


CELLS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
) | st.sampled_from([np.zeros(2), np.zeros((1, 2), "u1"), np.array([2**63], "u8"), np.array([True]), np.zeros((0, 2))])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(values=st.lists(CELLS, min_size=1, max_size=4))
def test_no_mixture_is_too_odd(recordings_dir: Path, tmp_path: Path, values: list[Any]) -> None:
    """Any values in any order become a table in every format."""
    for name in recordings_dir.iterdir() if recordings_dir.exists() else ():
        for path in name.iterdir():
            path.unlink()
        name.rmdir()
    make(recordings_dir, "s", {tick: [("n", "t", {"v": v})] for tick, v in enumerate(values)}, ticks=len(values))
    for form in ("csv", "jsonl", "parquet"):
        result = call("export", "s", "--format", form, "--output", tmp_path / f"t.{form}")
        assert result.exit_code == 0, result.output
    assert read_parquet(tmp_path / "t.parquet").num_rows == len(values)
    assert len((tmp_path / "t.jsonl").read_bytes().splitlines()) == len(values)


@given(st.lists(CELLS, max_size=5), st.lists(CELLS, max_size=5))
def test_kinds_of_parts_merge_to_that_of_the_whole(a: list[Any], b: list[Any]) -> None:
    """Columns are found out some rows at a time; that gives what all of them at once would give."""
    from horus_async.recorder.tables.flatten import plain
    from horus_async.topics.codec import as_bytes, encode, to_json

    left, right = ([plain(orjson.loads(to_json(as_bytes(encode(value))))) for value in side] for side in (a, b))
    assert form_of(merge(kind_of(left), kind_of(right))) == form_of(kind_of([*left, *right]))


@given(st.lists(st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2), min_size=1))
def test_csv_is_what_the_standard_library_reads(cells: list[Any]) -> None:
    """Quotes, commas and line ends inside cells come back."""
    (row,) = csv.reader(io.StringIO(csv_line(["first", *cells]).decode(), newline=""))
    wanted = ["" if cell is None else json_text(cell).decode() if type(cell) is list else str(cell) for cell in cells]
    assert row == ["first", *wanted]
