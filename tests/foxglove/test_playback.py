"""Sessions in a viewer: play, pause, seek and speed."""

from __future__ import annotations

import json
import signal
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async import Node, Scheduler, tick
from horus_async.messages import LaserScan
from horus_async.recorder import open_session
from horus_async.recorder.messages import session_messages

pytest.importorskip("foxglove")

from foxglove.websocket import PlaybackCommand

from horus_async.foxglove.playback import Player
from horus_async.foxglove.recording import Recording

from .viewer import Viewer, server, viewer

PLAYING, PAUSED, ENDED = 0, 1, 3


@pytest.fixture
def recorded() -> str:
    """A session of ten seconds: a scan ten times a second, a map once, at the second second."""

    def drive(node: Node) -> None:
        node.send("scan", LaserScan(ranges=[float(tick())]))
        if tick() == 20:
            node.send("map", {"cells": [1, 2]})

    node = Node(name="robot", tick=drive, pubs=["scan", "map"])
    scheduler = Scheduler(tick_rate=10, deterministic=True, recording="drive")
    scheduler.add(node).run_sync(duration=10)
    return "drive"


def test_a_session_is_played_to_its_end_and_again_from_any_time(recorded: str) -> None:
    """Each message once, at its time; after a seek the newest of each topic, however old, and then what follows."""
    expected = [message.stamp_ns for message in session_messages(open_session(recorded), ["scan"])]
    with server(recorded, ends_with=signal.SIGINT) as (url, summary), viewer(url) as seen:
        seen.until(lambda seen: {"/scan", "/map"} <= seen.channels.keys() and seen.of("serverInfo"))
        info = seen.of("serverInfo")[-1]
        assert "playbackControl" in info["capabilities"]
        start = info["dataStartTime"]["sec"] * 10**9 + info["dataStartTime"]["nsec"]
        assert start == expected[0]

        def is_over(seen: Viewer) -> bool:
            """Also the last message has come: that all has been played is told by another way."""
            scans = seen.heard["/scan"]
            return seen.states[-1][0] == ENDED and bool(scans) and scans[-1].time_ns == expected[-1]

        late = start + 9_000_000_000
        seen.control(play=False, seek=late)
        seen.until(lambda seen: seen.states and seen.heard["/scan"] and seen.heard["/map"])
        assert seen.states[-1][:2] == (PAUSED, late)
        assert json.loads(seen.heard["/map"][0].data) == {"cells": [1, 2]}
        assert seen.heard["/scan"][0].time_ns == start + 8_900_000_000

        seen.control(play=True, seek=start, speed=50.0)
        seen.until(is_over)
        times = [message.time_ns for message in seen.heard["/scan"]]
        assert times[-len(expected) :] == expected
        before = len(seen.heard["/map"])

        seen.control(play=True, seek=late, speed=50.0)
        seen.until(lambda seen: seen.states[-1][0] != ENDED)
        seen.heard["/scan"].clear()
        seen.until(is_over)
        times = [message.time_ns for message in seen.heard["/scan"]]
        assert times[-10:] == expected[90:]
        assert len(seen.heard["/map"]) > before
    assert summary["shown"] >= len(expected) + 10


@given(
    asked=st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from([0.5, 1.0, 20.0, 0.0, -1.0, 1e9]),
            st.none() | st.integers(0, 2**63),
            st.integers(0, 3 * 10**9),
        ),
        max_size=20,
    )
)
def test_a_player_stays_within_its_session(
    asked: list[tuple[bool, float, int | None, int]], monkeypatch_module: pytest.MonkeyPatch
) -> None:
    """Whatever viewers ask for, and whenever: time goes on only while it plays, and never out of the session."""
    now = [0]
    monkeypatch_module.setattr("horus_async.foxglove.playback.monotonic_ns", lambda: now[0])
    span = 10**18, 10**18 + 5 * 10**9
    player = Player(span)
    before = span[0]
    for play, speed, seek, wait in asked:
        at, _, plays = player.where()
        assert span[0] <= at <= span[1]
        assert at >= before
        assert plays or at == before
        state = player.control(cast("Any", Request(play, speed, seek)))
        assert state.playback_speed > 0
        before = state.current_time
        assert span[0] <= before <= span[1]
        now[0] += wait


def test_what_was_sent_right_after_a_seek_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the event loop follows one that plays at once: it begins where it went."""
    now = [0]
    monkeypatch.setattr("horus_async.foxglove.playback.monotonic_ns", lambda: now[0])
    player = Player((0, 10**10))
    player.control(cast("Any", Request(True, 50.0, 3 * 10**9)))
    now[0] += 20_000_000
    assert player.where() == (4 * 10**9, (1, 3 * 10**9), True)


class Request:
    """What a viewer asks for, as the SDK has it."""

    def __init__(self, play: bool, speed: float, seek: int | None) -> None:
        self.playback_command = PlaybackCommand.Play if play else PlaybackCommand.Pause
        self.playback_speed = speed
        self.seek_time = seek
        self.request_id = "r"


@pytest.fixture(scope="module")
def monkeypatch_module() -> pytest.MonkeyPatch:
    """One for all examples of a property."""
    return pytest.MonkeyPatch()


def test_messages_from_any_time(recorded: str) -> None:
    """Those from that time on are what all of them have of it; before it, the newest of each topic."""
    session = open_session(recorded)
    recording = Recording(session)
    recording.survey(lambda _: None)
    everything = [*session_messages(session)]
    first, last = recording.span
    for at_ns in (first - 1, first, first + 1, first + 123_456_789, first + 2_000_000_000, last, last + 1):
        assert [*recording.messages_from(at_ns)] == [one for one in everything if one.stamp_ns >= at_ns]
        newest = {one.topic: one for one in everything if one.stamp_ns < at_ns}
        assert {one.topic: one for one in recording.latest_before(at_ns)} == newest
