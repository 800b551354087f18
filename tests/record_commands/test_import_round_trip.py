"""What is exported as MCAP and imported is the same session: a law, over random sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader

from horus_async.observe import Execution, NodeInfo, RunInfo, Sent, TickEnd
from horus_async.recorder import Recorder, RecordingOptions, open_session
from horus_async.recorder.exports.export import ExportFormat, export_session
from horus_async.recorder.imports.importing import import_file
from horus_async.recorder.messages import session_messages
from horus_async.topics.ring.names import check_topic_name
from horus_async.topics.values import classes
from horus_async.validators import is_node_name

from .mcap_files import write_mcap
from .sessions import PERIOD_NS, STARTED_NS, make

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@attrs.define
class Pose:
    """A class of the program's."""

    x: float
    tags: tuple[str, ...] = ()


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["$type", "$bytes", "value"])
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.binary(max_size=600)
    | st.lists(st.floats(width=32), max_size=4).map(lambda items: np.array(items, dtype=np.float32))
    | st.builds(Pose, st.floats(), st.tuples(st.text("ab", max_size=2)))
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers(), inner, max_size=2)
    ),
    max_leaves=6,
)
SENT = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.sampled_from(["front", "rear/lidar", "bag", "bag_2", "arm 1", "左腕", "n" * 200]),
        st.sampled_from(["scan", "a/b", "a.b", "bag"]),
        VALUES,
    ),
    min_size=1,
    max_size=14,
)


def test_numbers_stay_where_messages_are_missing(recordings_dir: Path, tmp_path: Path) -> None:
    """The numbers of what was sent come back, also where they have gaps, as after a cut."""
    with_gaps = [Sent("n", "t", seq, seq * PERIOD_NS, b"1", seq, seq) for seq in (3, 4, 7)]
    recorder = Recorder(RecordingOptions(name="s"), recordings_dir, block=True)
    recorder.run_started(RunInfo("scheduler", 100.0, True, 7, STARTED_NS, 0, "default", (NodeInfo("n", 100.0),)))
    for sent in with_gaps:
        recorder.sent(sent)
        recorder.executed(Execution("tick", "n", sent.tick, sent.stamp_ns, PERIOD_NS, 0, [], None))
        recorder.tick_ended(TickEnd(sent.tick, sent.stamp_ns, ["n"]))
    recorder.run_stopped("duration", 3)
    session = open_session("s")
    export_session(session, tmp_path / "s.mcap", ExportFormat.MCAP)
    import_file(tmp_path / "s.mcap", "again", tick_rate=100)
    assert everything(open_session("again")) == everything(session)
    assert [row[4] for row in everything(session)] == [3, 4, 7]


def everything(session: Any) -> list[tuple[Any, ...]]:
    """All messages: tick, stamp, publisher, topic, number, and the text of the data."""
    rows = [(*message[:5], orjson.dumps(message.data)) for message in session_messages(session)]
    return sorted(rows, key=lambda row: (row[0], row[2], row[3], row[4]))


@settings(max_examples=60, deadline=None)
@given(sent=SENT, loaded=st.booleans())
def test_export_and_import_give_the_same_session(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[int, str, str, Any]], *, loaded: bool
) -> None:
    """Values of all kinds, several publishers on a topic, from any tick on: the same messages, at the same ticks.

    Also where the classes of the values are not to be found, as in a program that is not the robot's.
    """
    root = tmp_path_factory.mktemp("x")
    messages: dict[int, list[tuple[str, str, Any]]] = {}
    for tick, node, topic, value in sent:
        messages.setdefault(tick, []).append((node, topic, value))
    session = make(root, "s", messages, ticks=13)
    export_session(session, root / "s.mcap", ExportFormat.MCAP)
    find = classes.find
    if not loaded:
        classes.find = lambda _: None  # type: ignore[assignment]
    try:
        found = import_file(root / "s.mcap", "again", tick_rate=100, root=root)
    finally:
        classes.find = find
    assert (found.notes, found.renamed, found.missing) == ([], {}, 0)
    assert everything(open_session("again", root)) == everything(session)


def test_nodes_keep_names_that_only_topics_may_not_have(recordings_dir: Path, tmp_path: Path) -> None:
    """Spaces, other alphabets and 200 bytes: what a node may be called, it is called after an import, too."""
    nodes = ["arm 1", "arm_1", "左/腕", "a:b;c=d", "ö" * 100]
    session = make(recordings_dir, "s", {0: [(node, "t", {"of": node}) for node in nodes]}, ticks=1)
    export_session(session, tmp_path / "s.mcap", ExportFormat.MCAP)
    import_file(tmp_path / "s.mcap", "again", tick_rate=100)
    assert sorted(open_session("again").nodes) == sorted(nodes)
    assert everything(open_session("again")) == everything(session)


def test_what_no_node_may_be_called_becomes_a_name_that_one_may(recordings_dir: Path, tmp_path: Path) -> None:
    """Also where such names are long, and alike when they are cut."""
    callers = ["/a@b", "a\\b", "a\nb", "..", "/", "ö" * 101, "ö" * 102, "x" * 300]

    def fill(writer: Any) -> None:
        for number, caller in enumerate(callers):
            channel = writer.register_channel("t", "json", 0, {"callerid": caller})
            writer.add_message(channel, number, b"1", number)

    import_file(write_mcap(tmp_path / "x.mcap", fill), "x")
    nodes = open_session("x").nodes
    assert len(nodes) == len(callers)
    assert all(map(is_node_name, nodes))
    export_session(open_session("x"), tmp_path / "y.mcap", ExportFormat.MCAP)
    assert [row[:2] for row in named_messages(tmp_path / "y.mcap")] == [("t", caller) for caller in sorted(callers)]


NAMES = st.text("/ab .-_ö", max_size=5) | st.sampled_from(["bag", "/bag", "bag_2", "bag 2", "a" * 300, "..", "/"])


def named_messages(path: Path) -> list[tuple[str, str, bytes]]:
    """Topic, publisher and data of all messages of an MCAP file."""
    found = []
    with path.open("rb") as stream:
        for _, channel, message in make_reader(stream).iter_messages():
            metadata = channel.metadata
            publisher = metadata.get("callerid") or orjson.loads(metadata.get("horus_publishers", '[""]'))[0]
            found.append((channel.topic, publisher, message.data))
    return sorted(found)


@settings(max_examples=60, deadline=None)
@given(channels=st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=8, unique=True))
def test_names_of_others_come_back(tmp_path_factory: pytest.TempPathFactory, channels: list[tuple[str, str]]) -> None:
    """Whatever topics and publishers are called: they stay apart in the session, and an export names them as before."""
    root = tmp_path_factory.mktemp("x")

    def fill(writer: Any) -> None:
        for number, (topic, caller) in enumerate(channels):
            channel = writer.register_channel(topic, "json", 0, {"callerid": caller} if caller else {})
            writer.add_message(channel, number, b"%d" % number, number)

    before = named_messages(write_mcap(root / "x.mcap", fill))
    import_file(root / "x.mcap", "x", root=root)
    session = open_session("x", root)
    assert len({(message.topic, message.publisher) for message in session_messages(session)}) == len(channels)
    for node in session.nodes:
        for topic in session.output_topics(node):
            check_topic_name(topic)
    export_session(session, root / "y.mcap", ExportFormat.MCAP)
    after = named_messages(root / "y.mcap")
    assert [topic for topic, _, _ in after] == [topic for topic, _, _ in before]
    named = [message[:2] for message in before if message[1]]
    assert [message[:2] for message in after if message[:2] in named] == named
    import_file(root / "y.mcap", "y", root=root)
    assert everything(open_session("y", root)) == everything(session)
