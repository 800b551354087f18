"""``horus-async trace export --format npz | parquet``: nothing of a request is lost."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from attrs import evolve
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.cli.trace import trace as trace_command
from horus_async.policy import ExportFormat, Filter, ImageMode, export, matching
from horus_async.policy.model.wire import WireFormat, pack
from tests.parquet import read_parquet
from tests.policy.traces import exchange, foreign_lines, record, write_lines

if TYPE_CHECKING:
    from pathlib import Path

PIXEL = bytes.fromhex("89504e470d0a1a0a") + b"a picture of some length"
OTHER = bytes.fromhex("ffd8ffe0") + b"another one of some length"
NUMBERS = (
    st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([2**53 + 1, 2**63 + 1, -1])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
NAMES = st.text(max_size=8).filter(lambda name: not name.endswith(("_b64", "_sha256"))) | st.sampled_from(
    ["seq", "actions", "timestamp", "session", "file", "self", "../up", "/root", "a/b", "force", "force_shape"]
)
REQUESTS = st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=5)


def run(*arguments: str | Path) -> Result:
    """``horus-async trace export``."""
    return CliRunner().invoke(trace_command, ["export", *(str(argument) for argument in arguments)])


def a_trace(path: Path, requests: list[dict[str, Any]], **line: Any) -> Path:
    """A trace of requests, each answered with two actions."""
    header, *_ = foreign_lines(0)
    lines = [
        {
            "kind": "request",
            "schema_version": 1,
            "seq": seq,
            "timestamp": "2026-04-24T17:13:06.010Z",
            "request": request,
            "response": {"actions": [[1.0, 2.0], [3.0, 4.0]]},
            "latency": {"total_ms": 5.0},
            **line,
        }
        for seq, request in enumerate(requests)
    ]
    return write_lines(path, [header, *lines])


def parquet(path: Path) -> tuple[list[dict[str, Any]], set[str]]:
    """The rows of a table, and the columns that hold JSON."""
    table = read_parquet(path)
    marked = {field.name for field in table.schema if b"json" in (field.metadata or {})}
    return table.to_pylist(), marked


def test_every_field_of_a_request_is_a_column(tmp_path: Path) -> None:
    """Forces, grippers, prompts and all cameras are there, those of a list as a list."""
    picture, other = (base64.b64encode(data).decode() for data in (PIXEL, OTHER))
    request = {
        "state": [1, 2],
        "force": [0.1, 0.2],
        "gripper": 0.5,
        "prompt": "pick it",
        "ready": True,
        "grid": [[1, 2], [3]],
        "extra": {"a": [1], "b": None},
        "image_b64": picture,
        "image_sha256": "0" * 16,
        "wrist_b64": other,
        "episode_id": "e",
    }
    path = a_trace(tmp_path / "t.jsonl", [request, {"state": [3]}])
    assert run(path, "--output", tmp_path / "t.parquet", "--format", "parquet").exit_code == 0
    (row, bare), marked = parquet(tmp_path / "t.parquet")
    assert row["force"] == [0.1, 0.2]
    assert row["gripper"] == 0.5
    assert row["prompt"] == "pick it"
    assert row["ready"] is True
    assert row["grid"] == [[1, 2], [3]]
    assert json.loads(row["extra"]) == {"a": [1], "b": None}
    assert marked == {"extra"}
    assert row["image"] == PIXEL
    assert row["wrist"] == OTHER
    assert row["episode"] == "e"
    assert all(bare[name] is None for name in ("force", "gripper", "prompt", "ready", "grid", "extra", "image"))


NESTED: dict[str, Any] = {
    "images": [base64.b64encode(PIXEL).decode(), base64.b64encode(OTHER).decode()],
    "views": {"front": "data:image/png;base64," + base64.b64encode(PIXEL).decode(), "exposure": 0.5},
    "hexed": (PIXEL + bytes(range(40))).hex(),
    "listed": list(OTHER + bytes(range(60))),
}


def test_images_anywhere_in_a_request_are_binary(tmp_path: Path) -> None:
    """Images in lists and objects, in hexadecimal digits or as numbers are bytes; the rest around them stays."""
    path = record(tmp_path / "t", [exchange(NESTED), exchange({"images": NESTED["images"][:1]})], images=ImageMode.FULL)
    assert run(path, "--output", tmp_path / "t.parquet", "--format", "parquet").exit_code == 0
    (row, second), _ = parquet(tmp_path / "t.parquet")
    assert row["images"] == [PIXEL, OTHER]
    assert second["images"] == [PIXEL]
    assert row["views.front"] == PIXEL
    assert json.loads(row["views"]) == {"exposure": 0.5}
    assert row["hexed"] == PIXEL + bytes(range(40))
    assert row["listed"] == OTHER + bytes(range(60))
    assert run(path, "--output", tmp_path / "t.npz").exit_code == 0
    with numpy.load(tmp_path / "t.npz") as corpus:
        ends = corpus["images_offsets"]
        pieces = [corpus["images_data"][start:end].tobytes() for start, end in pairwise(ends)]
        assert pieces == [PIXEL, OTHER, PIXEL]
        assert corpus["images_counts"].tolist() == [2, 1]


def test_hashes_of_images_anywhere_are_kept(tmp_path: Path) -> None:
    """Where only hashes were recorded, each image has its own, and nothing else is in its place."""
    path = record(tmp_path / "t", [exchange(NESTED)])
    assert run(path, "--output", tmp_path / "t.parquet", "--format", "parquet").exit_code == 0
    ((row,), _) = parquet(tmp_path / "t.parquet")
    names = ["images.0", "images.1", "views.front", "hexed", "listed"]
    assert all(re.fullmatch("[0-9a-f]{16}", row[f"{name}_sha256"]) for name in names)
    assert json.loads(row["views"]) == {"exposure": 0.5}
    assert not {"images", "hexed", "listed"} & row.keys()


def test_arrays_of_a_messagepack_request(tmp_path: Path) -> None:
    """Pixels are what ``numpy.load`` reads, other arrays are numbers, and the client's own names are the columns'."""
    image = numpy.arange(16 * 20 * 3, dtype=numpy.uint8).reshape(16, 20, 3)
    sent = {
        "observation/image": image,
        "observation/state": numpy.array([1, 2.5], numpy.float32),
        "force": numpy.array([[1, 2], [3, 4]], numpy.int16),
        "step": numpy.int64(7),
        "prompt": "fold",
        b"raw": b"plain text",
    }
    one = evolve(exchange({}), body=pack(sent), form=WireFormat.MSGPACK)
    path = record(tmp_path / "t", [one], images=ImageMode.FULL)
    assert run(path, "--output", tmp_path / "t.parquet", "--format", "parquet").exit_code == 0
    ((row,), _) = parquet(tmp_path / "t.parquet")
    assert numpy.array_equal(numpy.load(io.BytesIO(row["observation/image"])), image)
    assert row["observation/state"] == [1, 2.5]
    assert row["force"] == [[1, 2], [3, 4]]
    assert row["step"] == 7
    assert row["prompt"] == row["instruction"] == "fold"
    assert row["raw"] == b"plain text"


def test_a_trace_of_hashes_keeps_them(tmp_path: Path) -> None:
    """Where only the hash of an image was recorded, it is a column."""
    path = record(tmp_path / "t", [exchange({"image": base64.b64encode(PIXEL).decode()})])
    assert run(path, "--output", tmp_path / "t.parquet", "--format", "parquet").exit_code == 0
    ((row,), _) = parquet(tmp_path / "t.parquet")
    assert re.fullmatch("[0-9a-f]{16}", row["image_sha256"])
    assert "image" not in row


def test_what_the_trace_lacks_is_said(tmp_path: Path) -> None:
    """Cameras without a trace of them, and failed requests, are said on standard error."""
    exchanges = [exchange({"image": base64.b64encode(PIXEL).decode()}), exchange({}, failure="policy-error")]
    path = record(tmp_path / "t", exchanges, images=ImageMode.NONE)
    result = run(path, "--output", tmp_path / "t.npz")
    assert result.exit_code == 0
    assert "1 requests without actions" in result.stderr
    assert "kept nothing of the images of image" in result.stderr
    assert "1 requests written" in result.stdout


def test_a_state_that_is_no_row_of_numbers_is_kept(tmp_path: Path) -> None:
    """Any form of state is exported: as a row where it is one, else under its own column."""
    path = a_trace(tmp_path / "t.jsonl", [{"state": {"joints": [1]}}, {"state": [1.0]}, {"state": 7}])
    assert run(path, "--output", tmp_path / "t.parquet", "--format", "parquet").exit_code == 0
    rows, _ = parquet(tmp_path / "t.parquet")
    assert [row["state"] for row in rows] == [[], [1.0], [7.0]]
    assert json.loads(rows[0]["request.state"]) == {"joints": [1]}


def test_odd_actions_are_left_out_and_show_in_the_exit_code(tmp_path: Path) -> None:
    """One odd answer does not stop the export of the others; the exit code says that it is not all."""
    path = a_trace(tmp_path / "t.jsonl", [{"state": [1]}])
    lines = path.read_bytes() + (
        b'{"kind":"request","schema_version":1,"seq":1,"request":{},"response":{"actions":[[1],["x"]]},"latency":{}}\n'
    )
    path.write_bytes(lines)
    result = run(path, "--output", tmp_path / "t.npz")
    assert result.exit_code == 1
    assert "left out: 1 requests whose actions are not rows of numbers" in result.stderr


def test_requests_that_were_not_recorded_are_said(tmp_path: Path) -> None:
    """What a server dropped is missing in its rows: between requests, or at the end, as only the footer says."""
    path = a_trace(tmp_path / "t.jsonl", [{"state": [1]}, {"state": [2]}], dropped_before=2)
    result = run(path, "--output", tmp_path / "t.npz")
    assert result.exit_code == 1
    assert "left out: 4 requests that the server could not record" in result.stderr
    path.write_bytes(path.read_bytes() + b'{"kind":"footer","schema_version":1,"total_requests":2,"dropped":9}\n')
    assert "left out: 9 requests that the server could not record" in run(path, "--output", tmp_path / "u.npz").stderr


def test_an_export_appears_as_a_whole(tmp_path: Path) -> None:
    """A file that cannot be written leaves the old one, and nothing beside it."""
    path = a_trace(tmp_path / "t.jsonl", [{"state": [1]}])
    output = tmp_path / "no" / "t.npz"
    result = run(path, "--output", output)
    assert result.exit_code == 2
    assert "cannot write" in result.stderr
    assert run(path, "--output", tmp_path).exit_code == 2
    assert [one.name for one in tmp_path.iterdir()] == ["t.jsonl"]


def test_names_stay_inside_the_archive(tmp_path: Path) -> None:
    """No field's name leads out of the folder that an npz is unpacked in."""
    names = ["../up", "/root", "a/../../b", "..\\up", "C:up", "a/b", "file", "", "a//b", "./c"]
    path = a_trace(tmp_path / "t.jsonl", [dict.fromkeys(names, 1.5)])
    output = tmp_path / "t.npz"
    assert run(path, "--output", output).exit_code == 0
    with zipfile.ZipFile(output) as archive:
        members = archive.namelist()
        archive.extractall(tmp_path / "deep" / "out")
    assert len(set(members)) == len(members)
    assert not [name for name in members if ".." in name.split("/") or name[0] == "/" or set("\\:") & set(name)]
    assert [one.name for one in (tmp_path / "deep").iterdir()] == ["out"]
    with numpy.load(output) as corpus:
        assert sum(corpus[name].shape == (1,) and corpus[name][0] == 1.5 for name in corpus if "json" not in name) == 10


@given(requests=REQUESTS)
@settings(max_examples=150, deadline=None)
def test_parquet_gives_back_every_value(
    tmp_path_factory: pytest.TempPathFactory, requests: list[dict[str, Any]]
) -> None:
    """Whatever clients send is in the table."""
    folder = tmp_path_factory.mktemp("t")
    path, output = a_trace(folder / "t.jsonl", requests), folder / "t.parquet"
    exported = export(matching([path], Filter(), print), output, ExportFormat.PARQUET)
    rows, marked = parquet(output)
    assert exported.requests == len(rows) == len(requests)
    for request, row in zip(requests, rows, strict=True):
        for name, value in request.items():
            if name in ("instruction", "state", "episode_id") or value is None:
                continue
            cells = [
                (one, row[one]) for one in row if one.rstrip("_") in (name.rstrip("_"), f"request.{name}".rstrip("_"))
            ]
            found = [json.loads(cell) if one in marked and cell is not None else cell for one, cell in cells]
            assert any(_same(_strict(value), cell) for cell in found), (name, value, cells)


@given(requests=REQUESTS)
@settings(max_examples=150, deadline=None)
def test_npz_gives_back_every_value(tmp_path_factory: pytest.TempPathFactory, requests: list[dict[str, Any]]) -> None:
    """Whatever clients send is in the archive, which is read without pickling."""
    folder = tmp_path_factory.mktemp("t")
    path, output = a_trace(folder / "t.jsonl", requests), folder / "t.npz"
    exported = export(matching([path], Filter(), print), output, ExportFormat.NPZ)
    with numpy.load(io.BytesIO(output.read_bytes())) as corpus:
        arrays = {name: corpus[name] for name in corpus.files}
    assert exported.requests == len(requests)
    for row, request in enumerate(requests):
        for value in request.values():
            if value is not None:
                found = [_cell(arrays, name, row) for name in arrays if len(arrays[name]) == len(requests)]
                assert any(_same(_strict(value), cell) for cell in found), (request, arrays)


def _same(value: Any, cell: Any) -> bool:
    """Whether a cell is a value: 1 is 1.0, no digit is overlooked, and integers may be text where only that has all."""
    return json.dumps(_whole(value)) == json.dumps(_whole(cell)) or _texts(value) == cell


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    return None if value is None else str(value)


def _strict(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _cell(arrays: dict[str, Any], name: str, row: int) -> Any:
    cell = arrays[name][row]
    if name in arrays.get("json_columns", []):
        return json.loads(str(cell)) if str(cell) else None
    shapes = [arrays[one][row] for one in arrays if one.rstrip("_") == f"{name}_shape" and arrays[one].ndim == 2]
    sizes = [one for one in shapes if cell.ndim and len(one) == cell.ndim and min(one, default=-1) >= 0]
    return (cell[tuple(map(slice, sizes[-1]))] if sizes else cell).tolist()


def test_the_form_of_a_table_does_not_take_a_datasets_options(tmp_path: Path) -> None:
    """What has no effect is wrong usage."""
    path = a_trace(tmp_path / "t.jsonl", [{"state": [1]}])
    result = run(path, "--output", tmp_path / "t.npz", "--fps", "10")
    assert result.exit_code == 2
    assert "--format lerobot" in result.stderr


def test_the_state_of_openpi_clients_is_the_state(tmp_path: Path) -> None:
    """As in the trace line, which has a copy of it under that name; their own field is a column, too."""
    state = numpy.arange(3, dtype="float32")
    one = evolve(exchange({}), body=pack({"observation/state": state, "prompt": "go"}), form=WireFormat.MSGPACK)
    path = record(tmp_path / "t", [one])
    for form in ("npz", "parquet"):
        assert run(path, "--output", tmp_path / form, "--format", form).exit_code == 0
    with numpy.load(tmp_path / "npz") as table:
        assert table["state"].tolist() == table["observation/state"].tolist() == [[0.0, 1.0, 2.0]]
        assert table["state_dim"].tolist() == [3]
    row = read_parquet(tmp_path / "parquet").to_pylist()[0]
    assert row["state"] == row["observation/state"] == [0.0, 1.0, 2.0]


def test_half_characters_are_written_out_everywhere(tmp_path: Path) -> None:
    """Also in the times and in the name of a session."""
    lines = foreign_lines()
    lines[0]["session_id"] = lines[1]["timestamp"] = "\ud800"
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in ("parquet", "npz"):
        result = run(path, "--output", tmp_path / f"t.{name}", "--format", name)
        assert result.exit_code == 0, result.exception
    row = parquet(tmp_path / "t.parquet")[0][0]
    assert (row["session"], row["timestamp"]) == ("\\ud800", "\\ud800")


def test_numbers_that_python_does_not_have_are_numbers_or_text(tmp_path: Path) -> None:
    """NumPy makes no Python number of a ``longdouble``: what a float holds is one, all else is its digits."""
    wide = numpy.longdouble(1) / 3
    sent = {"wide": numpy.array([0.5, wide]), "one": numpy.array(numpy.longdouble(0.25))}
    one = evolve(exchange({}), body=pack(sent), form=WireFormat.MSGPACK)
    path = record(tmp_path / "t", [one], images=ImageMode.FULL)
    for name in ("parquet", "npz"):
        result = run(path, "--output", tmp_path / f"t.{name}", "--format", name)
        assert result.exit_code == 0, result.exception
    ((row,), _) = parquet(tmp_path / "t.parquet")
    assert row["one"] == 0.25
    assert json.loads(row["wide"]) == [0.5, str(wide)]


@pytest.mark.parametrize("length", [1, 2])
def test_an_integer_that_no_column_holds_is_json_text(tmp_path: Path, length: int) -> None:
    """Alone, in objects, and in lists of one length or several, of which NumPy makes arrays of objects."""
    number = 10**400
    lines = foreign_lines(2)
    lines[1]["request"] |= {"wide": [number], "one": number, "deep": {"a": [number]}}
    lines[2]["request"] |= {"wide": [1] * length, "one": 1, "deep": {}}
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in ("parquet", "npz"):
        result = run(path, "--output", tmp_path / f"t.{name}", "--format", name)
        assert result.exit_code == 0, result.exception
    with numpy.load(tmp_path / "t.npz") as corpus:
        assert json.loads(str(corpus["wide"][0])) == [number]
        assert json.loads(str(corpus["deep"][0])) == {"a": [number]}
        assert int(str(corpus["one"][0])) == number
