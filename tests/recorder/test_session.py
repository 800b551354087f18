"""Sessions: opened by any name, listed, deleted, and read when parts of them are gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from horus_async.errors import (
    DamagedRecordingError,
    RecordingError,
    SessionNameError,
    SessionNotFoundError,
    UnsupportedVersionError,
)
from horus_async.recorder import delete_session, list_sessions, open_session

from .runs import NODES, record

if TYPE_CHECKING:
    from pathlib import Path


def test_a_session_opens_by_name_folder_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name, a folder, a scheduler file, a node's file and the manifest all lead to the session; ~ is expanded."""
    paths = record(tmp_path, 5)
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "session"
    refs: list[str | Path] = [
        "session",
        folder,
        str(folder),
        *paths,
        str(paths[0]),
        folder / "session.json",
        "~/session",
    ]
    for ref in refs:
        session = open_session(ref)
        assert session.name == "session"
        assert session.path == folder
    session = open_session("session")
    assert session.node_of(paths[1]) == "sensor"
    assert session.node_of(f"~/session/{paths[2].name}") == "controller"
    assert session.node_of(paths[0]) is None


def test_a_session_tells_what_it_is(tmp_path: Path) -> None:
    """Rate, seed, times, nodes and ticks come from headers and manifest."""
    record(tmp_path, 5)
    session = open_session("session", tmp_path)
    assert (session.tick_rate, session.deterministic, session.seed, session.start_ns) == (100.0, True, 7, 0)
    assert session.nodes == {node.name: node for node in NODES}
    assert (session.first_tick, session.last_tick) == (0, 4)
    assert session.started_at == "2026-11-21T03:00:00.123Z"
    assert session.ended_at is not None
    assert session.scheduler_name == "scheduler"
    assert [tick.order for tick in session.scheduler_ticks(1, 2)] == [("sensor", "controller")] * 2
    assert [line.tick for line in session.executions("controller", 3)] == [3, 4]
    assert session.output_topics("sensor") == {"sensor.reading"}
    assert list(session.external()) == []
    assert (session.cuts, session.damage, session.unreadable) == ({}, {}, {})
    with pytest.raises(RecordingError, match=r"no node 'ghost'.*controller, sensor"):
        session.executions("ghost")


def test_a_session_without_its_manifest(tmp_path: Path) -> None:
    """The headers suffice; a damaged manifest is reported and not needed."""
    record(tmp_path, 5)
    manifest = tmp_path / "session" / "session.json"
    manifest.write_text("{broken")
    session = open_session("session", tmp_path)
    assert list(session.unreadable) == ["session.json"]
    assert session.last_tick == 4
    manifest.unlink()
    session = open_session("session", tmp_path)
    assert session.unreadable == {}
    assert set(session.nodes) == {"sensor", "controller"}
    (summary,) = list_sessions(tmp_path)
    assert (summary.name, set(summary.nodes), summary.ended_at) == ("session", {"sensor", "controller"}, None)


def test_a_session_cut_everywhere(tmp_path: Path) -> None:
    """Without indexes and footers, as after kill -9, ticks and topics are found by reading, and cuts are named."""
    paths = record(tmp_path, 5)
    for path in paths:
        path.write_bytes(path.read_bytes()[:-40])
    session = open_session("session", tmp_path)
    assert set(session.cuts) == {path.name for path in paths}
    assert (session.first_tick, session.last_tick) == (0, 4)
    assert session.output_topics("controller") == {"ctrl.cmd"}


def test_a_session_with_a_destroyed_file(tmp_path: Path) -> None:
    """A file of which nothing is left is named; the rest of the session is readable."""
    paths = record(tmp_path, 5)
    paths[0].write_bytes(b"\xff" * 100)
    session = open_session("session", tmp_path)
    assert list(session.unreadable) == [paths[0].name]
    assert list(session.scheduler_ticks()) == []
    assert session.last_tick == 4
    assert len(list(session.executions("sensor"))) == 5


def test_a_missing_session_lists_what_there_is(tmp_path: Path) -> None:
    """The error names the session and the ones that exist; odd names are no way around it."""
    record(tmp_path, 1, "one")
    record(tmp_path, 1, "two")
    for ref in ("three", "/nowhere/at/all", "", ".", "..", "a\0b", str(tmp_path / "one" / "x.jsonl.lz4"), "~nobody/x"):
        with pytest.raises(SessionNotFoundError, match=r"one, two|embedded|home"):
            open_session(ref, tmp_path)


def test_an_empty_session_is_an_error(tmp_path: Path) -> None:
    """J.1-9: a folder with a manifest alone, or with nothing readable, or of a newer version, is refused clearly."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "session.json").write_text(json.dumps({"schema_version": 1}))
    with pytest.raises(DamagedRecordingError, match="no files of lines"):
        open_session("broken", tmp_path)
    (folder / "session.json").write_text(json.dumps({"schema_version": 9}))
    with pytest.raises(UnsupportedVersionError, match="schema_version 9"):
        open_session("broken", tmp_path)
    (summary,) = list_sessions(tmp_path)
    assert summary.problem is not None
    assert "schema_version 9" in summary.problem


def test_sessions_are_listed_and_deleted(tmp_path: Path) -> None:
    """J.1-2: a recorded session is listed; deleting gives True, then False, and takes nothing else."""
    assert list_sessions(tmp_path / "none") == []
    record(tmp_path, 3, "one")
    record(tmp_path, 3, "two")
    (tmp_path / "notes").mkdir()
    assert [summary.name for summary in list_sessions(tmp_path)] == ["one", "two"]
    summary = list_sessions(tmp_path)[0]
    assert (summary.nodes, summary.tick_rate, summary.problem) == (("sensor", "controller"), 100.0, None)
    assert summary.bytes == sum(path.stat().st_size for path in (tmp_path / "one").glob("*.lz4"))
    assert delete_session("one", tmp_path) is True
    assert delete_session("one", tmp_path) is False
    assert [summary.name for summary in list_sessions(tmp_path)] == ["two"]
    with pytest.raises(RecordingError, match="not a session"):
        delete_session("notes", tmp_path)


def test_deleting_never_leaves_the_root(tmp_path: Path) -> None:
    """J.1-11: no name and no symbolic link leads out of the root."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    record(outside, 1, "precious")
    root.mkdir()
    for name in ("../outside/precious", str(outside / "precious"), "..", ""):
        with pytest.raises(SessionNameError):
            delete_session(name, root)
    (root / "link").symlink_to(outside / "precious")
    with pytest.raises(RecordingError, match="symbolic link"):
        delete_session("link", root)
    assert open_session("precious", outside).last_tick == 0
