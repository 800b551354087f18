"""``record export``: J.1-24."""

from __future__ import annotations

import csv
import math
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader

from horus_async.encodings import merged_schema, schema_of
from horus_async.recorder.exports.tables import table_paths
from horus_async.recorder.messages import RecordedMessage
from horus_async.recorder.tables.flatten import FIXED, Batch, columns_of
from horus_async.topics.codec import decode
from tests.parquet import read_parquet

from .sessions import call, call_json, make, outsider, robot

if TYPE_CHECKING:
    from pathlib import Path

RICH = {
    "pose": {"x": 1.5, "at": {"frame": "map"}},
    "ranges": np.array([1.0, math.inf, 2.5]),
    "pair": (1, 2),
    "raw": b"\x00\x01",
    "ok": True,
    "nothing": None,
    "nan": math.nan,
    "huge": 2**70,
    "when": datetime(2026, 4, 24, 17, 13, 5, tzinfo=UTC),
    "tick": 99,
    "text": 'with "quotes", commas\nand lines',
}


def rich(root: Path, name: str = "s") -> None:
    """A session of one topic whose second message has fewer fields and one more."""
    make(root, name, {0: [("n", "t", RICH)], 2: [("n", "t", {"pose": {"x": 2}, "late": 7})]}, ticks=3)


def read_csv(path: Path) -> list[dict[str, str]]:
    """A table through the standard library."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_column_a_field(recordings_dir: Path, tmp_path: Path) -> None:
    """J.1-24: a CSV table has tick, stamp, seq and publisher, then the decoded fields with dots."""
    rich(recordings_dir)
    output = tmp_path / "t.csv"
    assert call("export", "s", "--format", "csv", "--output", output).exit_code == 0
    first, second = read_csv(output)
    assert [*first][:6] == ["tick", "stamp_ns", "seq", "publisher", "pose.x", "pose.at.frame"]
    assert (first["tick"], first["stamp_ns"], first["seq"], first["publisher"]) == ("0", "0", "0", "n")
    assert (first["pose.x"], first["pose.at.frame"], first["pair"]) == ("1.5", "map", "[1,2]")
    assert (first["ranges"], first["raw"], first["ok"]) == ('[1.0,"inf",2.5]', "AAE=", "True")
    assert (first["nothing"], first["nan"], first["huge"]) == ("", "nan", str(2**70))
    assert (first["when"], first["text"]) == ("2026-04-24T17:13:05+00:00", RICH["text"])
    assert (first["data.tick"], first["late"]) == ("99", "")
    assert (second["tick"], second["stamp_ns"], second["pose.x"], second["late"]) == ("2", "20000000", "2", "7")
    assert second["raw"] == ""


ALIKE = [
    {"a.b": 3, "a": {"b": 4}},
    {"a": {"b": 4}, "a.b": 3},
    {"data": {"tick": 5, "data": {"tick": 6}}, "tick": 7, "data.tick": 8},
    {"tick": 7, "data.tick": 8, "data": {"data": {"tick": 6}, "tick": 5}},
    {"": 1, "value": 2, ".": {"": 3}, "\\": {"": 9}, "\\.": 10},
    {"a.b": {"c": 11}, "a": {"b.c": 12, "b": {"c": 13}}},
    {1: "x", "1": "y"},
    {"1": "y", 1: "x"},
]
NAMES = {
    r"a\.b": 3,
    "a.b": 4,
    "data.tick": 7,
    "data.data.tick": 5,
    "data.data.data.tick": 6,
    r"data\.tick": 8,
    "": 1,
    "value": 2,
    r"\..": 3,
    "\\\\.": 9,
    "\\\\\\.": 10,
    r"a\.b.c": 11,
    r"a.b\.c": 12,
    "a.b.c": 13,
    "1": "y",
    "1_": "x",
}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_fields_with_one_path_have_columns_of_their_own(recordings_dir: Path, tmp_path: Path, form: str) -> None:
    """Whatever their order, and whichever message of a topic has them: a column is one field."""
    make(recordings_dir, "s", {tick: [("n", "t", value)] for tick, value in enumerate(ALIKE)}, ticks=len(ALIKE))
    output = tmp_path / f"t.{form}"
    assert call("export", "s", "--format", form, "--output", output).exit_code == 0
    rows: list[dict[str, Any]]
    if form == "csv":
        rows = [dict(row) for row in read_csv(output)]
    elif form == "jsonl":
        rows = [orjson.loads(line) for line in output.read_bytes().splitlines()]
    else:
        rows = read_parquet(output).to_pylist()
    assert {name for name in rows[0] if name not in FIXED} == NAMES.keys()
    for row in rows:
        found = {name: value for name, value in row.items() if name not in FIXED and value not in (None, "")}
        assert found
        assert {name: str(value) for name, value in found.items()} == {name: str(NAMES[name]) for name in found}


PARTS = st.text(".\\_ab", max_size=3) | st.sampled_from([*FIXED, "data", "data.tick", "value"])
TREES = st.recursive(st.integers(), lambda inner: st.dictionaries(PARTS, inner, min_size=1, max_size=3), max_leaves=8)


def paths(value: Any) -> list[tuple[str, ...]]:
    """The keys that lead to each number."""
    return [(k, *p) for k, v in value.items() for p in paths(v)] if isinstance(value, dict) else [()]


@given(one=st.dictionaries(PARTS, TREES), other=st.dictionaries(PARTS, TREES))
def test_a_column_is_one_field(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two fields have one column if and only if they are one field, in whatever dicts."""

    def columns(value: dict[str, Any]) -> list[str]:
        return [*columns_of(Batch.of([RecordedMessage(0, 0, "n", "t", 0, value)]))][len(FIXED) :]

    named = {path: name for value in (one, other) for path, name in zip(paths(value), columns(value), strict=True)}
    for value in (one, other):
        assert [named[path] for path in paths(value)] == columns(value)
    assert len(set(named.values())) == len(named)


def test_jsonl_is_strict_json_with_the_same_columns_in_each_line(recordings_dir: Path, tmp_path: Path) -> None:
    """J.1-24: JSON lines hold numbers as numbers and lists as lists, and every line has every column."""
    rich(recordings_dir)
    output = tmp_path / "t.jsonl"
    assert call("export", "s", "--format", "jsonl", "--output", output).exit_code == 0
    first, second = [orjson.loads(line) for line in output.read_bytes().splitlines()]
    assert [*first] == [*second]
    assert (first["pose.x"], first["ranges"], first["pair"]) == (1.5, [1.0, "inf", 2.5], [1, 2])
    assert (first["nan"], first["ok"], first["late"]) == (None, True, None)
    assert second["late"] == 7


def test_parquet_has_typed_columns(recordings_dir: Path, tmp_path: Path) -> None:
    """J.1-24: a Parquet table has numbers, booleans and text as such, and JSON text for what is mixed."""
    rich(recordings_dir)
    output = tmp_path / "t.parquet"
    assert call("export", "s", "--format", "parquet", "--output", output).exit_code == 0
    table = read_parquet(output)
    types = {
        name: str(table.schema.field(name).type) for name in ("tick", "publisher", "pose.x", "ok", "late", "ranges")
    }
    assert types == {
        "tick": "int64",
        "publisher": "string",
        "pose.x": "double",
        "ok": "bool",
        "late": "int64",
        "ranges": "fixed_size_list<element: double not null>[3]",
    }
    rows = table.to_pylist()
    assert [row["pose.x"] for row in rows] == [1.5, 2.0]
    assert [row["late"] for row in rows] == [None, 7]
    assert math.isnan(rows[0]["nan"])
    assert rows[0]["huge"] == str(2**70)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_file_for_each_topic(recordings_dir: Path, tmp_path: Path, form: str) -> None:
    """J.1-24: with several topics each has a file named after it; with ``--topic`` the file itself is written."""
    robot(recordings_dir, "s", outside=[outsider(4, {"go": True})])
    output = tmp_path / f"all.{form}"
    files = call_json("export", "s", "--format", form, "--output", output)["files"]
    assert files == {
        str(tmp_path / f"all.sensor.reading.{form}"): 50,
        str(tmp_path / f"all.ctrl.cmd.{form}"): 50,
        str(tmp_path / f"all.operator.cmd.{form}"): 1,
    }
    assert not output.exists()
    assert call_json("export", "s", "--format", form, "--output", output, "--topic", "ctrl.cmd")["files"] == {
        str(output): 50
    }
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_every_message_of_every_publisher_in_order(recordings_dir: Path, tmp_path: Path) -> None:
    """The messages of a topic with several publishers are in one table, in the order of their ticks."""
    sent = {tick: [("a", "t", {"v": tick}), ("a", "t", {"v": -tick}), ("b", "t", {"v": tick})] for tick in range(5)}
    make(recordings_dir, "s", sent, ticks=5)
    call("export", "s", "--format", "csv", "--output", tmp_path / "t.csv")
    rows = read_csv(tmp_path / "t.csv")
    assert [(row["tick"], row["publisher"], row["v"]) for row in rows] == [
        (str(tick), node, str(value)) for tick in range(5) for node, value in (("a", tick), ("a", -tick), ("b", tick))
    ]


def test_messages_that_are_no_dicts(recordings_dir: Path, tmp_path: Path) -> None:
    """A number or a list is the column ``value``; the messages of one topic may be of several kinds."""
    make(recordings_dir, "s", {0: [("n", "t", 1.5)], 1: [("n", "t", [1, 2])], 2: [("n", "t", {"x": 1})]}, ticks=3)
    call("export", "s", "--format", "csv", "--output", tmp_path / "t.csv")
    assert [(row["value"], row["x"]) for row in read_csv(tmp_path / "t.csv")] == [("1.5", ""), ("[1,2]", ""), ("", "1")]
    call("export", "s", "--format", "parquet", "--output", tmp_path / "t.parquet")
    assert [row["value"] for row in read_parquet(tmp_path / "t.parquet").to_pylist()] == ["1.5", "[1,2]", None]


def test_keys_with_one_text_are_all_kept(recordings_dir: Path, tmp_path: Path) -> None:
    """A number and its text are two keys of a dict, and fields with one path are two columns."""
    make(recordings_dir, "s", {0: [("n", "t", {1: "a", "1": "b", None: "c", "None": {"x": 1, 2: 3, "2": 4}})]}, ticks=1)
    output = tmp_path / "t.csv"
    assert call("export", "s", "--format", "csv", "--output", output).exit_code == 0
    (row,) = read_csv(output)
    assert sorted([*row.values()][4:]) == ["1", "3", "4", "a", "b", "c"]


def test_file_names_are_safe_and_differ(tmp_path: Path) -> None:
    """Slashes in topic names don't make folders, and two topics never share a file."""
    paths = table_paths(tmp_path / "out.csv", ["a/b", "a_b", "c"])
    assert [path.name for path in paths.values()] == ["out.a_b.csv", "out.a_b_2.csv", "out.c.csv"]


def test_topics_that_differ_in_case_have_files_that_do_not(tmp_path: Path) -> None:
    """Where the file system takes A for a, as that of macOS, no table replaces another."""
    names = [path.name for path in table_paths(tmp_path / "out.csv", ["Scan", "scan", "a/Scan", "a_scan_2"]).values()]
    assert names == ["out.Scan.csv", "out.scan_2.csv", "out.a_Scan.csv", "out.a_scan_2.csv"]


def test_topics_with_the_longest_names_have_files(recordings_dir: Path, tmp_path: Path) -> None:
    """A topic may have a longer name than a file."""
    topics = ["x" * 255, "x" * 254 + "y", "z"]
    make(recordings_dir, "s", {0: [("n", topic, {"of": topic}) for topic in topics]}, ticks=1)
    done = call_json("export", "s", "--format", "csv", "--output", tmp_path / "ö.csv")
    assert len(done["files"]) == 3
    assert sorted(row["of"] for file in tmp_path.glob("*.csv") for row in read_csv(file)) == sorted(topics)


@pytest.mark.parametrize("seed", range(3))
def test_official_reader_returns_the_same_messages(recordings_dir: Path, tmp_path: Path, seed: int) -> None:
    """J.1-24: the official MCAP reader gives every message back with topic, stamp, seq and value."""
    random = np.random.default_rng(seed)
    sent: dict[int, list[tuple[str, str, Any]]] = {}
    for tick in range(40):
        for _ in range(int(random.integers(0, 4))):
            value = {"x": float(random.random()), "n": int(random.integers(9)), "a": random.random(3), "b": {"c": None}}
            sent.setdefault(tick, []).append(("n", f"topic{random.integers(3)}", value))
    session = make(recordings_dir, "s", sent, ticks=40)
    expected = [
        (f"/{output.topic}", output.stamp_ns, output.seq, output.data)
        for line in session.executions("n")
        for output in getattr(line, "outputs", ())
    ]
    assert call("export", "s", "--format", "mcap", "--output", tmp_path / "s.mcap").exit_code == 0
    with (tmp_path / "s.mcap").open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        found = list(reader.iter_messages())
        summary = reader.get_summary()
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == len(expected)
    assert sorted((channel.topic, m.log_time, m.sequence) for _, channel, m in found) == sorted(
        line[:3] for line in expected
    )
    by_identity = {(topic, seq): data for topic, _, seq, data in expected}
    for schema, channel, message in found:
        assert schema is not None
        assert (schema.encoding, channel.message_encoding) == ("jsonschema", "json")
        assert orjson.loads(schema.data)["type"] == "object"
        assert orjson.loads(message.data) == by_identity[channel.topic, message.sequence]
        decode(message.data)


def test_mcap_wraps_what_is_no_object(recordings_dir: Path, tmp_path: Path) -> None:
    """Foxglove wants objects: a topic of numbers becomes one of ``{"value": number}``, and its schema says so."""
    make(recordings_dir, "s", {0: [("n", "t", 1.5)], 1: [("n", "t", 2)]}, ticks=2)
    call("export", "s", "--format", "mcap", "--output", tmp_path / "s.mcap")
    with (tmp_path / "s.mcap").open("rb") as stream:
        found = list(make_reader(stream).iter_messages())
    assert [orjson.loads(message.data) for _, _, message in found] == [{"value": 1.5}, {"value": 2}]
    assert found[0][0] is not None
    assert orjson.loads(found[0][0].data)["properties"] == {"value": {"type": "number"}}


@pytest.mark.parametrize(
    ("values", "schema"),
    [
        ([1, 2], {"type": "integer"}),
        ([1, 2.5], {"type": "number"}),
        ([1, "a"], {}),
        ([[], [1], [2.5]], {"type": "array", "items": {"type": "number"}}),
        ([[1, "a"], [1]], {"type": "array", "items": {}}),
        (
            [{"a": 1}, {"b": True}],
            {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}}},
        ),
        ([{"a": 1}, {"a": "x"}, {"a": 1}], {"type": "object", "properties": {"a": {}}}),
    ],
)
def test_schema_matches_all_messages(values: list[object], schema: dict[str, object]) -> None:
    """The schema of a channel is one that each of its messages matches."""
    merged = None
    for value in values:
        merged = merged_schema(merged, schema_of(value))
    assert merged == schema


@pytest.mark.parametrize(
    ("form", "package"),
    [("parquet", "pyarrow"), ("mcap", "mcap")],
)
def test_missing_extra_says_what_to_install(
    recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, package: str
) -> None:
    """Without an extra's package one line says what to install, with exit code 2, and no file is made."""
    robot(recordings_dir, "s")
    for module in [name for name in sys.modules if name.split(".")[0] == package] or [package]:
        monkeypatch.setitem(sys.modules, module, None)
    result = call("export", "s", "--format", form, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert package in result.output
    assert f"[{form}]'" in result.output
    assert result.output.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["recordings"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "mcap"])
def test_misuse(recordings_dir: Path, tmp_path: Path, form: str) -> None:
    """An unknown topic, a session without messages and a folder that is not there are one line and exit code 2."""
    robot(recordings_dir, "s")
    make(recordings_dir, "silent", {}, ticks=2, nodes=["n"])
    for arguments, words in (
        (("s", "--output", tmp_path / "x", "--topic", "nope"), "it has ctrl.cmd, sensor.reading"),
        (("silent", "--output", tmp_path / "x"), "has no messages"),
        (("s", "--output", tmp_path / "none" / "x"), "cannot write"),
        (("gone", "--output", tmp_path / "x"), "no session 'gone'"),
    ):
        result = call("export", *arguments, "--format", form)
        assert result.exit_code == 2, result.output
        assert words in result.output
        assert result.output.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["recordings"]


def test_topics_by_pattern(recordings_dir: Path, tmp_path: Path) -> None:
    """As a replay takes them, with messages from outside; each once, and what fits none is an error."""
    sent = {0: [("arm", "arm/joints", 1), ("arm", "arm/force", 2), ("base", "odom", 3)]}
    make(recordings_dir, "s", sent, ticks=1, outside=[outsider(0, 4)])

    def topics(*patterns: str) -> list[str]:
        options = [option for pattern in patterns for option in ("--topic", pattern)]
        base = ("export", "s", "--format", "csv", "--output", tmp_path / "t.csv")
        return sorted(call_json(*base, *options)["files"])

    whole = tmp_path / "t.csv"
    assert topics("arm/*") == [str(tmp_path / f"t.arm_{name}.csv") for name in ("force", "joints")]
    assert topics("*.cmd") == topics("operator.cmd") == topics("operator.[c]md", "operator.cmd") == [str(whole)]
    assert topics("odom", "o?om") == [str(whole)]
    result = call("export", "s", "--format", "csv", "--output", whole, "--topic", "odom", "--topic", "leg/*")
    assert (result.exit_code, "no messages of topic 'leg/*'" in result.output) == (2, True)


def test_formulas_stay_values_and_are_counted(recordings_dir: Path, tmp_path: Path) -> None:
    """A spreadsheet may run them, so the note says how many there are; numbers are none."""
    cells = {"a": "=1+1", "b": "@x", "c": "-x", "d": -1, "e": "x=1", "f": -math.inf, "g": "+1", "=h": "", "i": 10**30}
    make(recordings_dir, "s", {0: [("n", "t", cells)]}, ticks=1)
    result = call("export", "s", "--format", "csv", "--output", tmp_path / "t.csv")
    assert "topic t: 5 cells begin with = + - or @" in result.stderr
    read = dict(zip(*csv.reader((tmp_path / "t.csv").read_text().splitlines()), strict=True))
    assert (read["a"], read["b"], read["g"], read["=h"]) == ("=1+1", "@x", "+1", "")
    result = call("export", "s", "--format", "jsonl", "--output", tmp_path / "t.jsonl")
    assert "cells begin" not in result.stderr
