"""PX4 flight logs as sessions."""

from __future__ import annotations

import gc
import json
import struct
import sys
import warnings
from itertools import starmap
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from horus_async.recorder import open_session

from .mcap_files import messages_of, stamped
from .sessions import call, call_json

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("pyulog")

UTC_US = 1_700_000_000_000_000
FORMATS = (
    "gps:uint64_t timestamp;uint64_t time_utc_usec;int32_t lat;",
    "esc:float rpm;uint8_t[2] flags;",
    "attitude:uint64_t timestamp;float[4] q;double big;bool ok;int8_t small;char[6] mode;esc[2] escs;esc main;",
)


def record(kind: str, data: bytes) -> bytes:
    """A message of a log."""
    return struct.pack("<HB", len(data), ord(kind)) + data


def key_and(value: bytes, key: str) -> bytes:
    """A named value as a log has it."""
    return bytes([len(key)]) + key.encode() + value


def attitude(us: int, number: int, mode: bytes = b"HOLD") -> bytes:
    """The data of an attitude."""
    whole = struct.pack("<Q4fd?b6s", us, number, 0.5, -1.0, float("nan"), 1e300, True, -number, mode)
    return whole + b"".join(starmap(struct.pack, [("<f2B", number + k, k, 255) for k in range(3)]))


def write_log(path: Path, *, gps: bool = True, more: bytes = b"") -> Path:
    """A log of two instances of attitudes, perhaps with GPS fixes, of which the first has no time yet."""
    log = b"ULog\x01\x12\x35\x01" + struct.pack("<Q", 1000)
    log += b"".join(record("F", text.replace("gps", "vehicle_gps_position", 1).encode()) for text in FORMATS)
    log += record("I", key_and(b"PX4_FMU_V5", "char[10] ver_hw"))
    log += record("P", key_and(struct.pack("<f", 6.5), "float MPC_XY_VEL_MAX"))
    log += record("P", key_and(struct.pack("<i", 4001), "int32_t SYS_AUTOSTART"))
    for number, (instance, name) in enumerate(((0, "attitude"), (1, "attitude"), (0, "vehicle_gps_position"))):
        if gps or number < 2:
            log += record("A", struct.pack("<BH", instance, number) + name.encode())
    for us in range(1000, 6000, 1000):
        number = us // 1000
        log += record("D", struct.pack("<H", 0) + attitude(us, number))
        log += record("D", struct.pack("<H", 1) + attitude(us + 500, 10 + number, b"\xff\xfe\xfd"))
        if gps:
            utc = 0 if us < 3000 else UTC_US + us
            log += record("D", struct.pack("<HQQi", 2, us + 100, utc, number))
    log += record("L", struct.pack("<BQ", ord("4"), 2500) + b"battery low")
    log += record("P", key_and(struct.pack("<f", 9.5), "float MPC_XY_VEL_MAX"))
    path.write_bytes(log + more)
    return path


def test_topics_become_messages(recordings_dir: Path, tmp_path: Path) -> None:
    """Each instance is a topic, arrays are arrays, nested types dicts, characters text; stamps are times of day."""
    found = call_json("import", write_log(tmp_path / "x.ulg"), "--name", "x")
    assert found["topics"] == {"attitude.0": 5, "attitude.1": 5, "vehicle_gps_position": 5}
    assert found["notes"] == []
    boot_ns = (UTC_US + 3000 - 3100) * 1000
    got = stamped("x", "attitude.0")
    assert [stamp_ns for stamp_ns, _ in got] == [boot_ns + us * 1000 for us in range(1000, 6000, 1000)]
    value = got[2][1]
    assert value["q"].dtype == np.float32
    np.testing.assert_array_equal(value.pop("q"), np.array([3, 0.5, -1, np.nan], dtype=np.float32))
    flags = [esc.pop("flags").tolist() for esc in (*value["escs"], value["main"])]
    assert flags == [[0, 255], [1, 255], [2, 255]]
    assert value == {
        "timestamp": 3000,
        "big": 1e300,
        "ok": True,
        "small": -3,
        "mode": "HOLD",
        "escs": [{"rpm": 3.0}, {"rpm": 4.0}],
        "main": {"rpm": 5.0},
    }
    assert value["ok"] is True
    assert messages_of("x", "attitude.1")[0]["mode"] == b"\xff\xfe\xfd\0\0\0"
    assert messages_of("x", "vehicle_gps_position")[3] == {
        "timestamp": 4100,
        "time_utc_usec": UTC_US + 4000,
        "lat": 4,
    }
    order = [message.topic for message in open_session("x").outputs("bag")]
    assert order == ["attitude.0", "vehicle_gps_position", "attitude.1"] * 5


def test_what_a_log_says_besides_is_kept(recordings_dir: Path, tmp_path: Path) -> None:
    """Information and parameters are metadata; changed parameters and the log's messages are attachments."""
    call("import", write_log(tmp_path / "x.ulg"), "--name", "x")
    origin = call_json("info", "x")["origin"]
    assert {record["name"]: record["values"] for record in origin["metadata"]} == {
        "information": {"ver_hw": "PX4_FMU_V5"},
        "parameters": {"MPC_XY_VEL_MAX": 6.5, "SYS_AUTOSTART": 4001},
    }
    lines = {
        file.name: list(map(json.loads, file.read_bytes().splitlines()))
        for file in (recordings_dir / "x" / "attachments").iterdir()
    }
    boot_ns = (UTC_US - 100) * 1000
    assert lines == {
        "changed_parameters.jsonl": [{"stamp_ns": boot_ns + 5_500_000, "name": "MPC_XY_VEL_MAX", "value": 9.5}],
        "logged_messages.jsonl": [{"stamp_ns": boot_ns + 2_500_000, "level": "WARNING", "message": "battery low"}],
    }


def test_log_without_gps(recordings_dir: Path, tmp_path: Path) -> None:
    """Its stamps count from the start of the autopilot, and a note says so; a choice of topics works as elsewhere."""
    path = write_log(tmp_path / "x.ulg", gps=False)
    result = call("import", path, "--name", "x", "--topic", "attitude.1")
    assert "note: the log has no GPS time: stamps count from the start of the autopilot" in result.stderr
    assert [stamp_ns for stamp_ns, _ in stamped("x", "attitude.1")] == [n * 1_000_000 + 500_000 for n in range(1, 6)]
    assert "left out 5 messages of 1 topics: attitude.0" in result.stdout


def test_cut_and_damaged_logs(recordings_dir: Path, tmp_path: Path) -> None:
    """What can be read is imported; what the library says of the rest is a note and never on standard output."""
    unknown = record("D", struct.pack("<HQ", 77, 1)) + record("O", struct.pack("<H", 120))
    result = call("import", write_log(tmp_path / "x.ulg", more=unknown), "--name", "x", "--json")
    assert json.loads(result.stdout)["messages"] == 15
    assert "note: Warning: no subscription found for message id 77" in result.stderr
    assert "note: the log has 1 dropouts, 120 ms together" in result.stderr
    data = (tmp_path / "x.ulg").read_bytes()
    (tmp_path / "x.ulg").write_bytes(data[: len(data) - 200])
    found: Any = call_json("import", tmp_path / "x.ulg", "--name", "cut")
    assert 10 < found["messages"] < 15
    (tmp_path / "x.ulg").write_bytes(data[:20])
    result = call("import", tmp_path / "x.ulg", "--name", "none")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)


def test_a_log_that_cannot_be_read_is_closed(recordings_dir: Path, tmp_path: Path) -> None:
    """The library leaves it open when it fails; Python's warning of that is an error here."""
    path = tmp_path / "x.ulg"
    path.write_bytes(b"ULog\x01\x12\x35\x01" + bytes(8) + struct.pack("<HB", 60_000, ord("A")))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert call("import", path, "--name", "none").exit_code == 2
        gc.collect()
    assert [str(one.message) for one in warned] == []


def test_without_pyulog_the_error_says_what_to_install(
    recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the extra."""
    monkeypatch.setitem(sys.modules, "pyulog", None)
    result = call("import", write_log(tmp_path / "x.ulg"), "--name", "x")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "[ulog]'" in result.output


def test_a_log_that_was_cut_off_says_so(recordings_dir: Path, tmp_path: Path) -> None:
    """As a flight recorder leaves it that lost its power: a cut within a message is told, one between two is none."""
    path = write_log(tmp_path / "x.ulg")
    whole = path.read_bytes()
    last = len(record("P", key_and(struct.pack("<f", 9.5), "float MPC_XY_VEL_MAX")))
    for cut in range(last + 2):
        path.write_bytes(whole[: len(whole) - cut])
        found = call_json("import", path, "--name", f"x{cut}")
        start = len(whole) - last if cut < last else len(whole) - last - len(record("L", b"123456789battery low"))
        notes = [f"the log is cut off at byte {start}, in the middle of a message: what comes after is lost"]
        assert found["notes"] == ([] if cut in {0, last} else notes)
        assert found["messages"] == 15
