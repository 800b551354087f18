"""Replaying a part: some topics, other names, from a time on, what was sent once before, without empty time."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import Node, RecordingError, ReplayError, Scheduler, TopicNameError, now, tick
from horus_async.cli.replay import replay
from horus_async.observe import Execution, External, NodeInfo, RunInfo, Sent, TickEnd
from horus_async.recorder import Recorder, RecordingOptions, open_session
from horus_async.recorder.view.moments import first_tick_from, parse_span
from horus_async.replay import timeline
from horus_async.replay.choosing.gaps import EmptyTime
from tests.replay.sessions import heard, record

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

SECOND = 1_000_000_000
DAY_NS = 1_795_230_000 * SECOND
TOPICS = ["odom", "camera/left", "camera/right", "map"]
YEARS = 50 * 365 * 86_400 * SECOND


def robot() -> list[Node]:
    """A driver with several topics, a map that is sent once, and a description that ``init`` sends."""

    def drive(n: Node) -> None:
        n.send("odom", tick())
        n.send("camera/left", [tick()])
        n.send("camera/right", (tick(),))

    def chart(n: Node) -> None:
        if tick() == 3:
            n.send("map", "the map")

    return [
        Node("driver", tick=drive, init=lambda n: n.send("description", "a robot"), pubs=["odom", "description"]),
        Node("mapper", tick=chart, pubs="map"),
    ]


def call(*arguments: object) -> Result:
    """``horus-async replay``, as fast as possible."""
    return CliRunner().invoke(replay, [*map(str, arguments), "--speed", "max"])


def fast(name: str, **options: Any) -> Scheduler:
    """A replay as fast as possible."""
    return Scheduler.replay_from(name, **options).set_replay_speed(math.inf)


def irregular(root: Path, name: str, moments: list[int], *, outside: list[External] | None = None) -> None:
    """A session in real time with one message, and one tick, at each moment."""
    recorder = Recorder(RecordingOptions(name=name), root, block=True)
    node = NodeInfo("bag", None)
    recorder.run_started(RunInfo("scheduler", 10.0, False, 7, DAY_NS, moments[0], "default", (node,)))
    for message in outside or ():
        recorder.received_external(message)
    for number, at_ns in enumerate(moments):
        recorder.sent(Sent("bag", "odom", number, at_ns, b"%d" % number, number, number))
        recorder.executed(Execution("tick", "bag", number, at_ns, SECOND, 0, [], None))
        recorder.tick_ended(TickEnd(number, at_ns, ["bag"]))
    recorder.run_stopped("imported", len(moments))


# -- topics ------------------------------------------------------------------------------------------------------------


def test_only_chosen_topics_are_published_and_the_rest_is_counted() -> None:
    """Patterns choose; what is left out is counted by topic."""
    record("s", robot(), duration=0.1)
    scheduler = fast("s").only_topics("camera/*", "map").exclude_topics("*right")
    found = heard(scheduler, *TOPICS)
    assert {topic for topic, *_ in found} == {"camera/left", "map"}
    assert [value for topic, value, *_ in found if topic == "camera/left"] == [[number] for number in range(10)]
    assert scheduler.left_out == {"odom": 10, "camera/right": 10, "description": 1}


def test_renamed_topics_keep_everything_but_the_name() -> None:
    """Values, numbers, stamps and publishers are the recorded ones; names can be exchanged."""
    record("s", robot(), duration=0.1)
    plain = heard(fast("s"), "odom", "camera/left")
    other = {"odom": "camera/left", "camera/left": "odom"}
    scheduler = fast("s").rename_topic("odom", "camera/left").rename_topic("camera/left", "odom")
    swapped = heard(scheduler, "camera/left", "odom")
    assert swapped == [(other[topic], *rest) for topic, *rest in plain]


@pytest.mark.parametrize(
    ("choose", "says"),
    [
        (lambda s: s.only_topics("odmo"), "did you mean 'odom'"),
        (lambda s: s.only_topics("/odom"), "did you mean 'odom'"),
        (lambda s: s.exclude_topics("lidar*"), "no topic 'lidar*' in this session; it has camera/left"),
        (lambda s: s.rename_topic("mpa", "b"), "did you mean 'map'"),
    ],
)
def test_unknown_topics_are_refused_with_near_names(choose: Any, says: str) -> None:
    """At once, with what there is."""
    record("s", robot(), duration=0.05)
    with pytest.raises(ReplayError) as caught:
        choose(Scheduler.replay_from("s"))
    assert says in str(caught.value)


def test_contradicting_choices_are_refused() -> None:
    """Names that no topic may have, two topics on one name, renaming or replacing what is left out, nothing left."""
    record("s", robot(), duration=0.05)
    with pytest.raises(TopicNameError):
        fast("s").rename_topic("odom", "/odom")
    for scheduler, says in (
        (fast("s").rename_topic("odom", "map"), "both be played as 'map'"),
        (fast("s").rename_topic("odom", "b").exclude_topics("odom"), "it is left out"),
        (fast("s").set_replay_override("driver", "odom", 1).exclude_topics("odom"), "it is left out"),
        (fast("s").exclude_topics("*"), "nothing to replay"),
    ):
        with pytest.raises(ReplayError, match=says):
            scheduler.run_sync()
    heard(fast("s").rename_topic("odom", "map").exclude_topics("map"), "map")


def test_choices_are_for_replays() -> None:
    """As all methods of a replay."""
    for method in ("only_topics", "exclude_topics", "skip_gaps"):
        with pytest.raises(ReplayError, match=method):
            getattr(Scheduler(), method)()
    with pytest.raises(ReplayError, match="start_at_time"):
        Scheduler().start_at_time(1.0)


def test_a_live_node_need_not_replace_a_node_whose_topic_is_left_out_or_renamed() -> None:
    """It takes the place of recorded nodes that publish what it publishes, by the names that are played."""
    record("s", robot(), duration=0.05)
    for scheduler in (fast("s").exclude_topics("odom"), fast("s").rename_topic("odom", "odom/recorded")):
        live = Node("live", tick=lambda n: n.send("odom", -1), pubs="odom")
        found = heard(scheduler.add(live), "odom", "camera/left")
        assert [value for topic, value, *_ in found if topic == "odom"] == [-1] * 5
        assert sum(topic == "camera/left" for topic, *_ in found) == 5


def test_messages_from_outside_are_chosen_and_renamed_too(recordings_dir: Path) -> None:
    """They have topics like any other."""
    outside = [External(0, topic, "joystick", 0, DAY_NS, b"1", 0) for topic in ("teleop", "button")]
    irregular(recordings_dir, "s", [DAY_NS, DAY_NS + SECOND], outside=outside)
    scheduler = fast("s").exclude_topics("button").rename_topic("teleop", "joy")
    assert [row[:2] for row in heard(scheduler, "joy", "button", "teleop")] == [("joy", 1)]
    assert scheduler.left_out == {"button": 1}


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_choice_plays_the_recorded_messages_filtered(data: st.DataObject) -> None:
    """The law: what is heard is what was recorded, without what is left out, under the new names."""
    record_once()
    topics = [*TOPICS, "description"]
    only = data.draw(st.lists(st.sampled_from([*topics, "camera/*", "*o*"]), max_size=2))
    exclude = data.draw(st.lists(st.sampled_from([*topics, "*/left"]), max_size=2))
    renames = data.draw(
        st.dictionaries(st.sampled_from(topics), st.sampled_from(["one", "two/2", *topics]), max_size=2)
    )
    taken = [
        topic
        for topic in topics
        if (not only or any(fnmatchcase(topic, p) for p in only)) and not any(fnmatchcase(topic, p) for p in exclude)
    ]
    names = {topic: renames.get(topic, topic) for topic in taken}
    scheduler = fast("law")
    scheduler.only_topics(*only).exclude_topics(*exclude)
    for topic, name in renames.items():
        scheduler.rename_topic(topic, name)
    if not taken or len(set(names.values())) < len(names) or not set(renames) <= set(taken):
        with pytest.raises(ReplayError):
            scheduler.run_sync()
        return
    everything = heard(fast("law"), *topics)
    wanted = [(names[topic], *rest) for topic, *rest in everything if topic in names]
    assert sorted(heard(scheduler, *names.values()), key=str) == sorted(wanted, key=str)
    assert sum(scheduler.left_out.values()) == len(everything) - len(wanted)


def record_once() -> None:
    """The session that many examples replay."""
    if "law" not in Scheduler.list_recordings():
        record("law", robot(), duration=0.05)


# -- the start ---------------------------------------------------------------------------------------------------------


def test_what_was_sent_once_comes_before_a_later_start() -> None:
    """The last message of it, with its number and stamp, first of all; streams begin at the start."""
    record("s", robot(), duration=0.3)
    scheduler = fast("s").start_at_tick(20)
    found = heard(scheduler, "map", "description", "odom")
    assert [row[:3] for row in found[:2]] == [("map", "the map", 0), ("description", "a robot", 0)]
    assert found[0][3] == 30_000_000
    assert [row[1] for row in found[2:]] == list(range(20, 30))
    assert scheduler.sent_before_start == {"map": 1, "description": 1}


def test_a_live_node_sees_what_was_sent_once() -> None:
    """``latest()`` gives it from the first tick on."""
    record("s", robot(), duration=0.3)
    seen: list[Any] = []
    live = Node("live", tick=lambda n: seen.append(n.latest("map")), subs="map")
    fast("s").start_at_tick(20).add(live).run_sync()
    assert seen == ["the map"] * 10


@pytest.mark.parametrize(("times", "plays"), [(1, [0]), (2, []), (20, [])])
def test_what_was_sent_more_often_is_not_played_before(times: int, plays: list[int]) -> None:
    """The last message of a stream that ended is no news."""
    node = Node("n", tick=lambda n: n.send("few", tick()) if tick() < times else None, pubs="few")
    record("s", [node], duration=0.3)
    assert [row[1] for row in heard(fast("s").start_at_tick(20), "few")] == plays


def test_what_is_sent_again_after_the_start_is_not_played_before() -> None:
    """Who listens gets it then."""
    node = Node("n", tick=lambda n: n.send("few", tick()) if tick() in {2, 25} else None, pubs="few")
    record("s", [node], duration=0.3)
    assert [row[1] for row in heard(fast("s").start_at_tick(20), "few")] == [25]


def test_kept_messages_follow_the_choice_of_topics() -> None:
    """Left out or renamed like any other."""
    record("s", robot(), duration=0.3)
    scheduler = fast("s").start_at_tick(20).exclude_topics("description").rename_topic("map", "chart")
    assert [row[0] for row in heard(scheduler, "map", "chart", "description")] == ["chart"]


def test_kept_messages_from_outside(recordings_dir: Path) -> None:
    """A map server in another process counts as well."""
    outside = [External(0, "map", "server", 4, DAY_NS, b"1", 0)]
    irregular(recordings_dir, "s", [DAY_NS + n * SECOND for n in range(5)], outside=outside)
    assert [row[:3] for row in heard(fast("s").start_at_tick(3), "map")] == [("map", 1, 4)]


def test_a_loop_begins_with_what_was_kept_each_time(recordings_dir: Path) -> None:
    """Each round starts anew."""
    irregular(
        recordings_dir, "s", [DAY_NS + n * SECOND for n in range(5)], outside=[External(0, "map", "m", 0, 1, b"1", 0)]
    )
    heard_maps = heard(fast("s").start_at_tick(3).loop(), "map", duration=5.0)
    assert len(heard_maps) == 5  # rounds of 1.1 s


@pytest.mark.parametrize(
    ("moment", "first"),
    [
        (0, 0),
        (0.1, 10),
        ("0.1", 10),
        (0.1000001, 11),
        (0.29, 29),
        ("1970-01-01T00:00:00.2Z", 20),
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
    ],
)
def test_a_start_time_is_the_first_tick_at_or_after_it(moment: Any, first: int) -> None:
    """Seconds since the start, or a time of day; a deterministic session's day is the virtual one."""
    record("s", robot(), duration=0.3)
    assert [row[1] for row in heard(fast("s").start_at_time(moment), "odom")] == list(range(first, 30))


@pytest.mark.parametrize("moment", [-1, 0.3, math.inf, "2030-01-01", "1960-01-01"])
def test_times_outside_the_session_name_its_span(moment: Any) -> None:
    """Before it only seconds can be wrong; a day before the start means the start."""
    record("s", robot(), duration=0.3)
    scheduler = Scheduler.replay_from("s")
    if moment == "1960-01-01":
        scheduler.start_at_time(moment)
        return
    with pytest.raises(ReplayError, match=r"0 to 0.29 s, 1970-01-01T00:00:00.000Z to 1970-01-01T00:00:00.290Z"):
        scheduler.start_at_time(moment)


@pytest.mark.parametrize("moment", ["soon", "", math.nan, None, True])
def test_what_is_no_time_is_refused(moment: Any) -> None:
    """With what to give."""
    record("s", robot(), duration=0.05)
    with pytest.raises(RecordingError, match="seconds since the start"):
        Scheduler.replay_from("s").start_at_time(moment)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=30, unique=True), st.integers(-5, 10**12 + 5))
def test_start_times_of_irregular_clocks(tmp_path_factory: pytest.TempPathFactory, moments: list[int], at: int) -> None:
    """The first tick that has come so far, found by halving, is the one that looking through all finds."""
    root = tmp_path_factory.mktemp("moments")
    moments.sort()
    irregular(root, "s", [DAY_NS + moment for moment in moments])
    session = open_session("s", root)
    at = at // 1000 * 1000
    wanted = next((n for n, moment in enumerate(moments) if moment - moments[0] >= round(at / 1e9 * 1e9)), None)
    assert first_tick_from(session, at / 1e9) == wanted
    wall = datetime.fromtimestamp(DAY_NS // SECOND, UTC).timestamp() + at // SECOND
    day = next((n for n, moment in enumerate(moments) if DAY_NS + moment >= int(wall) * SECOND), None)
    assert first_tick_from(session, datetime.fromtimestamp(wall, UTC)) == day


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("10-20", (10.0, 20.0)),
        ("0.5-", (0.5, None)),
        ("-3", (None, 3.0)),
        ("1e-3-2", (0.001, 2.0)),
        (
            "2026-11-30T08:00:00Z-2026-11-30T08:01:00Z",
            (datetime(2026, 11, 30, 8, tzinfo=UTC), datetime(2026, 11, 30, 8, 1, tzinfo=UTC)),
        ),
        ("2026-11-30-", (datetime(2026, 11, 30), None)),  # noqa: DTZ001 - without a zone
    ],
)
def test_spans_of_time(text: str, span: Any) -> None:
    """Dashes in times of day are told from the one between them."""
    assert parse_span(text) == span


@pytest.mark.parametrize("text", ["", "-", "10", "a-b", "10-2026-11-30T08:00:00Z", "1-2-3"])
def test_what_is_no_span_of_time(text: str) -> None:
    """One line that says what to give."""
    with pytest.raises(RecordingError, match="give A-B"):
        parse_span(text)


# -- stamps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stamp", [2**63 - 1, 2**63, 2**64 - 1])
def test_stamps_that_no_topic_can_carry_are_played_with_the_nearest_and_counted(
    recordings_dir: Path, stamp: int
) -> None:
    """A broken clock ends no replay: of nodes or from outside, and centuries are not waited for at full speed."""
    outside = [External(0, "map", "m", 0, stamp, b"1", 0)]
    irregular(recordings_dir, "s", [DAY_NS, stamp], outside=outside)
    session = open_session("s")
    scheduler = fast("s")
    found = heard(scheduler, "odom", "map")
    near = min(stamp, 2**63 - 1)
    assert [row[:2] for row in found] == [("odom", 0), ("odom", 1), ("map", 1)]
    assert [row[3] for row in found] == [DAY_NS, near, near]
    beyond = 2 * (near != stamp)
    assert sum(scheduler.stamps_changed.values()) == beyond
    result = call("s")
    assert result.exit_code == 0, result.output
    assert ("stamp" in result.stderr) is bool(beyond)
    assert session.last_tick == 1


# -- empty time --------------------------------------------------------------------------------------------------------


def test_empty_time_is_played_up_to_the_limit() -> None:
    """What is longer is skipped, be it one step or many silent ticks; after a message it begins anew."""
    empty = EmptyTime(lambda: iter([0, 5, 6]), 10)
    steps = [(0, 0), (1, 4), (2, 8), (3, 12), (4, 40), (5, 41), (6, 100)]
    assert [empty.skip(*step) for step in steps] == [0, 0, 0, 2, 28, 1, 49]
    assert empty.skipped_ns == 80


def test_a_replay_does_not_wait_for_years_in_which_nothing_happens(recordings_dir: Path) -> None:
    """At the recorded speed; the clock of the nodes is the recorded one all the same, and no tick is left out."""
    irregular(recordings_dir, "s", [0, 1000, YEARS, YEARS + 1000])
    seen: list[Any] = []
    live = Node("live", on="odom", tick=lambda n: seen.append((n.recv("odom"), now())), subs="odom")
    Scheduler.replay_from("s").skip_gaps(0.01).add(live).run_sync()
    assert seen == [(0, 0.0), (1, 1e-6), (2, YEARS / 1e9), (3, (YEARS + 1000) / 1e9)]


def test_topics_that_are_left_out_do_not_fill_empty_time(recordings_dir: Path) -> None:
    """Empty is what is not played."""
    outside = [External(n, "map", "m", n, 1, b"1", 0) for n in (0, 3)]
    irregular(recordings_dir, "s", [n * YEARS for n in range(4)], outside=outside)
    assert len(heard(Scheduler.replay_from("s").only_topics("map").skip_gaps(0.01), "map")) == 2


def test_a_long_wait_is_told_of(
    recordings_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before it begins, with the way out; not at full speed, nor where empty time is skipped."""
    irregular(recordings_dir, "s", [0, SECOND // 5])
    monkeypatch.setattr(timeline, "_LONG_S", 0.1)
    fast("s").run_sync()
    Scheduler.replay_from("s").skip_gaps(0.001).run_sync()
    assert "skip_gaps" not in caplog.text
    Scheduler.replay_from("s").run_sync()
    assert "0.2 s later: --skip-gaps or skip_gaps()" in caplog.text


@pytest.mark.parametrize("limit", [-1, math.nan, math.inf, "1", None])
def test_a_limit_of_empty_time_is_a_number_of_seconds(limit: Any) -> None:
    """Anything else is refused."""
    record("s", robot(), duration=0.05)
    with pytest.raises(ReplayError, match="give seconds"):
        Scheduler.replay_from("s").skip_gaps(limit)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_chooses_and_says_what_it_left_out() -> None:
    """All options at once, as text and as JSON."""
    record("s", robot(), duration=0.3)
    options = ["s", "--topic", "o*", "--topic", "map", "--rename", "odom=o", "--start-time", "0.2", "--skip-gaps"]
    result = call(*options)
    assert result.exit_code == 0, result.output
    assert "left out 20 messages of camera/left, camera/right" in result.output
    assert "sent once: map" in result.output
    found = orjson.loads(call(*options, "--json").stdout)
    assert found["left_out"] == {"camera/left": 10, "camera/right": 10}
    assert found["sent_before_start"] == {"map": 1}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--topic", "odmo"], "did you mean 'odom'"),
        (["--rename", "odom"], "give OLD=NEW"),
        (["--start-time", "5"], "0 to 0.04 s"),
        (["--start-time", "0", "--start-tick", "0"], "not both"),
        (["--verify", "app.py", "--topic", "odom"], "--topic does not go with --verify"),
        (["--verify", "app.py", "--rename", "a=b"], "--rename does not go with --verify"),
    ],
)
def test_wrong_choices_are_wrong_usage(options: list[str], says: str) -> None:
    """Exit code 2 and one line."""
    record("s", robot(), duration=0.05)
    result = call("s", *options)
    assert result.exit_code == 2 or isinstance(result.exception, ReplayError)
    assert says in result.output + str(result.exception)


# -- large messages ----------------------------------------------------------------------------------------------------


def test_whatever_could_be_sent_can_be_replayed() -> None:
    """An array that as text is larger than any message."""
    size = 105_000_000
    camera = Node("camera", tick=lambda n: n.send("image", {"pixels": np.zeros(size, np.uint8)}), pubs="image")
    record("s", [camera], duration=0.01)
    seen: list[int] = []
    live = Node("live", on="image", tick=lambda n: seen.append(n.recv("image")["pixels"].nbytes), subs="image")
    fast("s").add(live).run_sync()
    assert seen == [size]
