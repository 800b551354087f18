"""MCAP exports in the hands of viewers: by the rules of their parsers of schemas, and their own libraries at length."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from horus_async.encodings import json_channel, merged_schema, schema_of
from horus_async.encodings.json_schema import readable
from horus_async.frames import stamped
from horus_async.messages import CompressedImage, Image, LaserScan, NavSatFix, PointCloud, PointField
from horus_async.recorder.exports.export import ExportFormat, export_session
from horus_async.topics.codec import encode, to_json
from tests.messages.catalogue import CLASSES as ALL
from tests.record_commands.sessions import make
from tests.record_commands.test_import_round_trip import VALUES

SCRIPT = Path(__file__).parent / "read_mcap.mjs"
PACKAGES = [
    "@mcap/core@2",
    "@mcap/nodejs@1",
    "@mcap/support@1",
    "@foxglove/rosmsg@5",
    "@foxglove/rosmsg2-serialization@3",
]


RERUN = shutil.which("rerun")


class NotShownError(Exception):
    """A viewer would not show the channel."""


def take_object(schema: dict[str, Any]) -> None:
    """Take an object's schema as the parsers of Foxglove and Lichtblick do, or raise `NotShownError`."""
    if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        raise NotShownError(f"an object with properties is expected: {schema}")
    for name, part in schema["properties"].items():
        kind = part.get("type")
        if kind == "object":
            take_object(part)
        elif kind == "array":
            items = part["items"]  # without them they fail as well
            if items.get("type") == "object":
                take_object(items)
            elif items.get("type") not in {"boolean", "string", "number", "integer"} or "contentEncoding" in items:
                raise NotShownError(f"items of {name}: {items}")
        elif (
            kind not in {"boolean", "string", "number", "integer"} or part.get("contentEncoding", "base64") != "base64"
        ):
            raise NotShownError(f"{name}: {part}")


@settings(max_examples=150, deadline=None)
@given(messages=st.lists(VALUES, min_size=1, max_size=5))
def test_every_schema_is_one_that_viewers_take(messages: list[Any]) -> None:
    """Null, mixed types, empty lists, lists in lists, depth: what a parser does not know is not in the schema."""
    merged: dict[str, Any] | None = None
    for message in messages:
        merged = merged_schema(merged, schema_of({"value": orjson.loads(to_json(encode(message)))}))
        take_object(orjson.loads(json_channel("live", message).schema_data))
    assert merged is not None
    take_object(readable("t", merged))


def test_what_has_a_type_is_in_the_schema() -> None:
    """Fields that viewers can plot are there, also where they are null or no number at times."""
    values = [{"x": 1.5, "n": None, "deep": [[1]], "e": [], "s": ["a"]}, {"x": float("nan"), "n": 2, "s": [], "m": "b"}]
    merged: dict[str, Any] | None = None
    for value in values:
        merged = merged_schema(merged, schema_of(orjson.loads(to_json(encode(value)))))
    assert merged is not None
    assert readable("t", merged)["properties"] == {
        "x": {"type": "number"},
        "n": {"type": "integer"},
        "s": {"type": "array", "items": {"type": "string"}},
        "m": {"type": "string"},
    }
    data = schema_of(orjson.loads(to_json(encode({"a": np.ones(3), "b": b"x"}))))
    base64 = {"type": "string", "contentEncoding": "base64"}
    assert data["properties"]["a"]["properties"]["$ndarray"]["properties"]["data"] == base64
    assert data["properties"]["b"]["properties"]["$bytes"] == base64


def with_content() -> list[tuple[str, str, Any]]:
    """What panels of viewers show, as nodes send it."""
    cloud = np.zeros(4, [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    fields = [PointField(axis, 4 * place) for place, axis in enumerate("xyz")]
    full = [
        LaserScan(angle_max=1.0, angle_increment=0.1, ranges=np.linspace(1, 2, 10, dtype=np.float32), range_max=9.0),
        Image(height=2, width=2, encoding="rgb8", step=6, data=np.arange(12, dtype=np.uint8).reshape(2, 2, 3)),
        CompressedImage(format="png", data=b"\x89PNG"),
        PointCloud(height=1, width=4, fields=fields, point_step=12, row_step=48, data=cloud),
        NavSatFix(latitude=51.5, longitude=-0.1),
    ]
    sent: list[tuple[str, str, Any]] = [("n", type(message).__name__, message) for message in full]
    edge, fixed = stamped("odom", "base", at=1.0), stamped("base", "laser", at=0.0)
    return [*sent, ("n", "frames", edge), ("n", "frames.static", [fixed])]


def exported(root: Path, sent: list[tuple[str, str, Any]]) -> Path:
    """An export of these messages, sent twice."""
    session = make(root, "s", {0: sent, 1: sent}, ticks=2)
    export_session(session, root / "s.mcap", ExportFormat.MCAP)
    return root / "s.mcap"


def plain(value: Any) -> Any:
    """A message of rosbags as JSON has it."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return {"nan": "nan", "inf": "infinity", "-inf": "-infinity"}[str(value)]
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is None:
        return value
    return {name: plain(getattr(value, name)) for name in fields if name != "__msgtype__"}


def floats(value: Any) -> Any:
    """The same with every number as a float: JavaScript has no others."""
    if isinstance(value, dict):
        return {name: floats(part) for name, part in value.items()}
    if isinstance(value, list):
        return [floats(part) for part in value]
    return value if isinstance(value, str) else float(value)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """How to run the script that reads files with the libraries of Foxglove."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    done = subprocess.run(
        [npm, "install", "--no-fund", "--no-audit", "--ignore-scripts", *PACKAGES],
        cwd=folder, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm cannot install the libraries: {done.stderr[-200:]}")
    shutil.copy(SCRIPT, folder)
    return ["node", str(folder / SCRIPT.name)]


@pytest.mark.long
def test_the_libraries_of_foxglove_read_what_rosbags_reads(tmp_path: Path, node: list[str]) -> None:
    """Definitions parsed by ``@foxglove/rosmsg``, messages by ``@foxglove/rosmsg2-serialization``: field by field."""
    path = exported(tmp_path, [*with_content(), *(("n", name, kind()) for name, kind in ALL.items())])
    done = subprocess.run([*node, str(path)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = []
    with AnyReader([path]) as reader:
        for connection, _, raw in reader.messages():
            expected.append((connection.topic, plain(reader.deserialize(raw, connection.msgtype))))
    assert len(expected) > 80
    assert sorted(json.dumps([row["topic"], floats(row["value"])]) for row in found) == sorted(
        json.dumps([topic, floats(value)]) for topic, value in expected
    )


@pytest.mark.long
@pytest.mark.skipif(RERUN is None, reason="rerun-sdk is not installed")
def test_rerun_imports_it(tmp_path: Path) -> None:
    """The importer of Rerun makes what it shows of images, points, positions on Earth and frames."""
    assert RERUN is not None
    path = exported(tmp_path, with_content())
    target = str(tmp_path / "s.rrd")
    for command in (["mcap", "convert", str(path), "-o", target], ["rrd", "print", target]):
        done = subprocess.run([RERUN, *command], capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, done.stderr
    for name in (
        "Points3D:positions",
        "EncodedImage:blob",
        "Image:buffer",
        "GeoPoints:positions",
        "Transform3D:child_frame",
        "sensor_msgs.msg.LaserScan:message",
    ):
        assert name in done.stdout, done.stdout


def test_schemas_in_a_file_are_ones_that_viewers_take(tmp_path: Path) -> None:
    """All JSON channels of an export."""
    sent = [("n", "a", {"x": None}), ("n", "b", 5), ("n", "c", {"r": [[1.0]], "e": {}}), ("n", "d", np.ones(3))]
    session = make(tmp_path, "s", {0: sent, 1: sent[:2]}, ticks=2)
    export_session(session, tmp_path / "s.mcap", ExportFormat.MCAP)
    with (tmp_path / "s.mcap").open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    assert len(summary.schemas) == 4
    for schema in summary.schemas.values():
        take_object(orjson.loads(schema.data))
