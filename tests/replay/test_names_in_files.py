"""One rule for the names in the files of a session: what a replay refuses, a check does not call whole."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Node, Scheduler
from horus_async.errors import HorusError
from horus_async.recorder import open_session
from horus_async.recorder.check import Verdict, check_session

from .rewriting import rewrite

if TYPE_CHECKING:
    from pathlib import Path

BAD = ["../up", "a b", "/x", "bell\x07", "", "x" * 300, "\u202elevel"]


def recorded() -> None:
    """A session of two nodes, of which the second reads what the first sends."""
    sends = Node(name="sends", tick=lambda node: node.send("level", 1), pubs=["level"])
    reads = Node(name="reads", tick=lambda node: (node.recv("level"), node.latest("level"))[1], subs=["level"])
    Scheduler(deterministic=True, recording="r").add(sends).add(reads).run_sync(duration=0.1)


def renamed(value: Any, name: str) -> Any:
    """A line with another name for the topic wherever it has one."""
    if isinstance(value, dict):
        return {key: renamed(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, name) for item in value]
    return name if value == "level" else value


def rename(recordings_dir: Path, node: str, name: str, kinds: set[str]) -> None:
    """Give the topic another name in these lines of a node's file."""
    (file,) = (recordings_dir / "r").glob(f"{node}@*")
    rewrite(str(file), lambda rows: [renamed(row, name) if row["kind"] in kinds else row for row in rows])


def said_by_the_check() -> str:
    """All that it finds; it is damage."""
    found = check_session(open_session("r"))
    assert found.verdict is Verdict.DAMAGED
    return "\n".join(problem for file in found.files for problem in file.problems)


@pytest.mark.parametrize("name", BAD)
def test_a_topic_that_a_replay_refuses_is_damage(name: str, recordings_dir: Path) -> None:
    """The check says which, in one line and without anything that a terminal would obey."""
    recorded()
    assert check_session(open_session("r")).verdict is Verdict.WHOLE
    rename(recordings_dir, "sends", name, {"header", "tick", "footer"})
    said = said_by_the_check()
    assert f"no topic may have a name that it holds: topic name {ascii(name)[:40].rstrip(chr(39))}" in said
    assert said.isascii()
    with pytest.raises(HorusError):
        Scheduler.replay_from("r").set_replay_speed(math.inf).run_sync()


@pytest.mark.parametrize("kinds", [{"header"}, {"tick", "footer"}], ids=["declared", "read"])
@pytest.mark.parametrize("name", BAD)
def test_a_topic_that_is_only_read_or_declared_is_held_to_the_same(
    name: str, kinds: set[str], recordings_dir: Path
) -> None:
    """No run gives such a name, whoever wrote it."""
    recorded()
    rename(recordings_dir, "reads", name, kinds)
    assert "no topic may have a name that it holds" in said_by_the_check()


@pytest.mark.parametrize("name", ["../up", "a@b", "/x", "bell\x07", "x" * 300, "\u202elevel"])
def test_a_node_that_a_replay_refuses_is_damage(name: str, recordings_dir: Path) -> None:
    """Though manifest and file agree about it."""
    recorded()
    (file,) = (recordings_dir / "r").glob("sends@*")
    rewrite(str(file), lambda rows: [{**rows[0], "node": name}, *rows[1:]])
    manifest = recordings_dir / "r" / "session.json"
    fields = json.loads(manifest.read_text())
    fields["nodes"][name] = fields["nodes"].pop("sends")
    manifest.write_text(json.dumps(fields))
    assert f"no node may have the name {ascii(name)[:40].rstrip(chr(39))}" in said_by_the_check()
    with pytest.raises(HorusError):
        Scheduler.replay_from("r").set_replay_speed(math.inf).run_sync()
