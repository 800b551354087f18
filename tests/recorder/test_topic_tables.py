"""``session[topic]``: messages as a sequence, and as tables, which are those of an export."""

from __future__ import annotations

import math
import shutil
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from attrs import define
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from horus_async import Node, Param, RecordingOptions, Redact, Scheduler, messages, sleep, tick
from horus_async.errors import RecordingError
from horus_async.native import core
from horus_async.recorder import open_session
from horus_async.recorder.exports.export import ExportFormat, export_session
from horus_async.recorder.messages import session_messages
from horus_async.recorder.tables import flatten, sent, table
from horus_async.recorder.tables.sent import sent_in
from horus_async.topics.codec import as_bytes, encode, to_json
from horus_async.value_diff import same
from tests.record_commands.sessions import PERIOD_NS, frames_of, make, outsider

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.recorder import Session

NUMBERS = count()
QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


@define
class Pose:
    """A message class of these tests."""

    x: float = 0.0
    name: str = ""


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**53 - 1, 2**64)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.sampled_from([np.zeros(2), np.ones((2, 3), "u1"), np.array([2**63], "u8"), np.array(["é"]), Pose(1.5, "é")])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.\\$", max_size=2), inner, max_size=3),
    max_leaves=8,
)
SHAPED = st.sampled_from(
    [
        st.fixed_dictionaries({"x": st.floats(), "v": st.fixed_dictionaries({"n": st.integers()}), "s": st.text()}),
        st.fixed_dictionaries({"x": st.floats() | st.integers(), "on": st.booleans(), "tick": st.none()}),
        st.fixed_dictionaries({"at": st.builds(Pose, st.floats(), st.text()), "l": st.lists(st.floats())}),
        st.builds(Pose, st.floats(), st.text()),
        st.floats(),
        VALUES,
    ]
).flatmap(lambda form: st.lists(form, min_size=1, max_size=5))
ROWS = st.lists(SHAPED, min_size=1, max_size=3).map(lambda parts: [value for part in parts for value in part])


def of(root: Path, values: list[Any], **options: Any) -> Session:
    """A session that sends these, one in each tick, on the topic ``t``."""
    sent_in_tick = {tick: [("n", "t", value)] for tick, value in enumerate(values)}
    return make(root, f"s{next(NUMBERS)}", sent_in_tick, ticks=len(values), **options)


def exported(session: Session, folder: Path, topic: str) -> Any:
    """The table that a Parquet export holds."""
    output = folder / f"t{next(NUMBERS)}.parquet"
    export_session(session, output, ExportFormat.PARQUET, topics=[topic])
    return pq.read_table(output)


def is_like(one: Any, other: Any) -> bool:
    """Whether two tables have the same names, types, metadata of ours and values; NaN is NaN."""
    if one.schema != other.schema or one.num_rows != other.num_rows:
        return False
    for mine, theirs in zip(one.schema, other.schema, strict=True):
        for key in (b"shape", b"dtype"):
            if (mine.metadata or {}).get(key) != (theirs.metadata or {}).get(key):
                return False
    return same(one.to_pylist(), other.to_pylist())


@QUICK
@given(values=ROWS)
def test_a_table_is_what_an_export_holds(recordings_dir: Path, tmp_path: Path, values: list[Any]) -> None:
    """Whatever is sent: the same columns, types and values; and the messages are those that were sent."""
    session = of(recordings_dir, values)
    found = session["t"]
    assert is_like(found.to_arrow(), exported(session, tmp_path, "t"))
    assert [*found] == [*session_messages(session, ["t"])]
    assert len(found) == len(values)
    frame, arrays = found.to_pandas(), found.to_numpy()
    assert len(frame) == len(values)
    assert {len(array) for array in arrays.values()} == {len(values)}
    found._repr_html_()
    shutil.rmtree(session.path)


@QUICK
@given(values=ROWS, some=st.integers(1, 3), seen=st.integers(1, 3))
def test_a_table_does_not_depend_on_where_batches_end(values: list[Any], some: int, seen: int) -> None:
    """Columns and kinds are found a batch at a time, all alike or row by row; that gives one table."""
    data = [orjson.loads(to_json(as_bytes(encode(value)))) for value in values]
    rows = range(len(data))

    def batches(size: int) -> list[flatten.Batch]:
        cuts = [rows[at : at + size] for at in rows[::size]]
        return [
            flatten.Batch(cut, cut, cut, ["n"] * len(cut), None, b"\n".join(orjson.dumps(data[row]) for row in cut))
            for cut in cuts
        ]

    one = table.arrow_table("t", lambda: batches(some))
    assert is_like(one, table.arrow_table("t", lambda: batches(seen + 3)))
    assert is_like(one, table.arrow_table("t", lambda: batches(1)))


@QUICK
@given(values=st.lists(st.integers(), min_size=1, max_size=30), data=st.data())
def test_it_is_a_sequence(
    recordings_dir: Path, monkeypatch: pytest.MonkeyPatch, values: list[int], data: st.DataObject
) -> None:
    """Indexing, slices of slices, backwards: as a list of the messages has them."""
    monkeypatch.setattr("horus_async.recorder.tables.topic._BLOCK", 4)
    session = of(recordings_dir, values)
    found: Any = session["t"]
    wanted: Any = [*found]
    for _ in range(3):
        place = data.draw(st.integers(-len(wanted) - 1, len(wanted)))
        try:
            assert found[place] == wanted[place]
        except IndexError:
            with pytest.raises(IndexError):
                wanted[place]
        cut = data.draw(st.slices(len(wanted)))
        found, wanted = found[cut], wanted[cut]
        assert (len(found), [*found], [*reversed(found)]) == (len(wanted), wanted, wanted[::-1])
        assert found.to_arrow()["tick"].to_pylist() == [one.tick for one in wanted]
        if not wanted:
            break
    shutil.rmtree(session.path)


LINES = st.sampled_from(
    [
        b'{"kind":"tick","tick":7,"outputs":[{"topic":"t","data":{"x":-1.5e3,"s":"\\u00e9\\n"},"stamp_ns":5,"seq":0}]}\n',
        (
            b'{"kind":"tick","outputs":[{"topic":"a","data":1,"stamp_ns":5,"seq":0},{"topic":"t","data":[],"stamp_ns":-5,'
            b'"seq":1,"tick":9}],"now_ns":3,"tick":7}\n'
        ),
        b'{"kind":"sends","outputs":[{"topic":"t","data":{"topic":"t"},"stamp_ns":5,"seq":0,"tick":3}],"tick":null}\n',
        b'{"kind":"message","topic":"t","publisher":"p","seq":1,"stamp_ns":2,"data":{"$float":"nan"},"tick":4}\n',
        b'{"kind":"log","message":"\\"t\\"","outputs":"t","tick":4}\n',
        b'{"kind":"tick","digest":"t","order":["t"],"tick":4}\n',
        '{"kind":"tick","error":"é t","outputs":[{"topic":"t","data":"é","stamp_ns":5,"seq":0}],"tick":1}\n'.encode(),
    ]
)


@pytest.mark.skipif(core is None, reason="compares the native core with the Python code")
@settings(max_examples=1500, deadline=None)
@given(lines=st.lists(LINES, max_size=4), data=st.data())
def test_the_native_core_finds_the_same_messages(lines: list[bytes], data: st.DataObject) -> None:
    """Or leaves it to Python, in damaged lines too."""
    text = bytearray(b"".join(lines))
    for _ in range(data.draw(st.integers(0, 2))):
        if text:
            at = data.draw(st.integers(0, len(text) - 1))
            piece = data.draw(
                st.sampled_from(
                    [b"", b'"', b"{", b"}", b"]", b",", b"\\", b"1", b"-", b" ", b"\xff", b"e", b"0", b"\n", b"null"]
                )
            )
            text[at : at + data.draw(st.integers(0, 2))] = piece

    def found(with_core: Any) -> tuple[Any, ...]:
        noted: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sent, "core", with_core)
            found = sent_in(bytes(text), "t", bytes.splitlines, noted.append)
            if found is None:
                return None, noted
            return [*found.ticks], [*found.stamps_ns], [*found.seqs], found.publishers, found.data, noted

    assert repr(found(core)) == repr(found(None))


def test_the_native_core_takes_usual_lines(recordings_dir: Path) -> None:
    """All that a run records is found without Python's help."""
    if core is None:
        pytest.skip("without the native core")
    session = of(recordings_dir, [{"x": 1.5, "s": "é"}, Pose(2.5, "a"), np.zeros(3)], outside=[outsider(1, [True])])
    texts = {path.name: frame.text for path in session.path.glob("*.lz4") for frame in frames_of(path)}
    for name, text in texts.items():
        assert core.sent_in(text, b'"t"') is not None, name
        assert core.sent_in(text, b'"operator.cmd"') is not None, name


def test_a_frame_has_the_types_of_the_fields(recordings_dir: Path) -> None:
    """Stamps are the index; what some messages lack keeps its digits; arrays keep their shape."""
    big = 2**60 + 1
    image = np.arange(12, dtype="u1").reshape(2, 2, 3)
    first = {"x": 1.5, "n": big, "on": True, "image": image, "l": [1, 2], "s": "a", "odd": 1}
    session = of(recordings_dir, [first, {"x": math.nan, "image": image + 1, "l": [3], "s": "b", "odd": "1"}])
    frame = session["t"].to_pandas()
    assert frame.index.name == "stamp"
    assert [*(frame.index - frame.index[0])] == [timedelta(0), timedelta(microseconds=PERIOD_NS // 1000)]
    assert frame.index.tz is not None
    assert (str(frame["n"].dtype), str(frame["on"].dtype)) == ("Int64", "boolean")
    assert frame["n"].iloc[0] == big
    assert frame["n"].isna().tolist() == [False, True]
    assert frame["image"].iloc[1].shape == (2, 2, 3)
    assert [one.tolist() for one in frame["l"]] == [[1, 2], [3]]
    assert frame["odd"].tolist() == ["1", '"1"']
    arrays = session["t"].to_numpy()
    assert arrays["image"].shape == (2, 2, 2, 3)
    assert arrays["n"].tolist() == [big, None]
    assert np.isnan(arrays["x"][1])
    lists = of(recordings_dir, [{"ranges": [1.0, 2.0]}, {"ranges": [3.0, 4.5]}])["t"].to_numpy()["ranges"]
    assert lists.tolist() == [[1.0, 2.0], [3.0, 4.5]]


def test_names_and_silent_topics(recordings_dir: Path) -> None:
    """A wrong name is an error that names the nearest; a topic that nobody used is an empty sequence and table."""
    scheduler = Scheduler(deterministic=True, recording=RecordingOptions(name="quiet"), recordings_dir=recordings_dir)
    scheduler.add(Node(name="n", tick=lambda node: node.send("odom", 1), pubs=["odom", "status"])).run_sync(0.1)
    session = open_session("quiet", recordings_dir)
    with pytest.raises(RecordingError, match="no topic 'odmo'; it has odom, status; did you mean 'odom'"):
        session["odmo"]
    with pytest.raises(TypeError, match="by its name, not 0"):
        session[0]  # type: ignore[index]
    assert session.topics == {"odom": 10, "status": 0}
    assert ("odom" in session, "odmo" in session, [*session]) == (True, False, ["odom", "status"])
    empty = session["status"]
    assert (len(empty), [*empty], empty[:5].to_arrow().num_rows) == (0, [], 0)
    assert empty.to_pandas().empty
    assert empty.to_numpy()["tick"].dtype == np.int64
    with pytest.raises(IndexError, match="message 0 of topic 'status', which has 0"):
        empty[0]
    assert "0 messages" in empty._repr_html_()


def test_topics_of_several_nodes_and_from_outside(recordings_dir: Path) -> None:
    """Messages of all publishers are in the order of their stamps, with their names; also beside callbacks."""
    both = {tick: [("a", "t", {"v": tick}), ("b", "t", {"v": -tick, "w": Pose()})] for tick in range(6)}
    outside = [outsider(tick, {"go": tick}) for tick in (2, 4)]
    session = make(recordings_dir, "both", both, ticks=6, outside=outside)
    assert [*session["t"]] == [*session_messages(session, ["t"])]
    assert {one.publisher for one in session["t"]} == {"a", "b"}
    assert [one.publisher for one in session["operator.cmd"]] == ["joystick", "joystick"]
    assert session["operator.cmd"][1].value == {"go": 4}
    assert session["operator.cmd"][0].stamp == session["operator.cmd"][0].stamp_ns / 1e9

    async def work(node: Node) -> None:
        for number in range(5):
            node.send("work", {"n": number})
            await sleep(0.015)

    def begin(node: Node) -> None:
        node.background(work, node)

    scheduler = Scheduler(deterministic=True, recording=RecordingOptions(name="loose"), recordings_dir=recordings_dir)
    scheduler.add(Node(name="n", init=begin, tick=lambda node: node.send("work", {"t": tick()}), pubs=["work"]))
    scheduler.run_sync(0.2)
    session = open_session("loose", recordings_dir)
    assert [*session["work"]] == [*session_messages(session, ["work"])]
    assert len(session["work"]) == 25


def test_a_span_of_a_session(recordings_dir: Path) -> None:
    """Whole ticks from one moment up to another, by seconds or times of day; of topics, log and parameters."""

    def step(node: Any) -> None:
        node.send("t", {"n": tick()})
        if tick() % 10 == 0:
            node.log.warning("at %d", tick())

    async def tune(node: Node) -> None:
        if tick() in {20, 60}:
            await node.call("params", {"node": "arm", "set": {"gain": tick() / 10}})

    scheduler = Scheduler(
        deterministic=True,
        recording=RecordingOptions(name="span"),
        recordings_dir=recordings_dir,
        params={"arm.gain": 0.5},
    )
    arm = Node(name="arm", tick=step, pubs=["t"], params={"gain": Param(0.8), "side": Param("left")})
    scheduler.add(arm).add(Node(name="tuner", tick=tune)).run_sync(1.0)
    session = open_session("span", recordings_dir)
    changes = [(one.tick, one.node, one.name, one.value) for one in session.params]
    assert changes == [
        (0, "arm", "gain", 0.5),
        (0, "arm", "side", "left"),
        (changes[2][0], "arm", "gain", 2.0),
        (changes[3][0], "arm", "gain", 6.0),
    ]
    assert session.params.at() == {"arm.gain": 6.0, "arm.side": "left"}
    assert session.params.at(10) == {"arm.gain": 0.5, "arm.side": "left"}

    part = session.between(0.25, 0.5)
    assert [one.value["n"] for one in part["t"]] == [*range(25, 50)]
    assert part["t"].to_numpy()["n"].tolist() == [*range(25, 50)]
    assert part["t"][-1].value == {"n": 49}
    assert part.topics["t"] == 25
    assert [line.message for line in part.log] == ["at 30", "at 40"]
    assert [line.message for line in part.log.select(start=0, stop=35)] == ["at 30"]
    assert [(one.tick, one.name, one.value) for one in part.params] == [(25, "gain", 2.0), (25, "side", "left")]
    assert len(part.between(0.4)["t"]) == 10
    assert len(session.between(None, 0.1)["t"]) == 10
    assert len(session.between(7.0)["t"]) == 0
    assert len(session.between(0.5, 0.2)["t"]) == 0
    begin = datetime.fromtimestamp(session.start_ns / 1e9 + 0.25, UTC)
    assert len(session.between(begin, begin + timedelta(seconds=0.1))["t"]) == 10
    with pytest.raises(RecordingError, match="seconds since the start"):
        session.between("soon")  # type: ignore[arg-type]
    for shown in (session, part, part["t"], session.params):
        assert "<table>" in shown._repr_html_()


def test_cut_damaged_and_redacted(recordings_dir: Path) -> None:
    """What is left is there, and the table for people says what is not."""
    values = [{"v": f"{tick}" * 700_000} for tick in range(4)]
    cut = make(recordings_dir, "cut", {t: [("n", "t", v)] for t, v in enumerate(values)}, ticks=4, close=False)
    assert [one.value for one in cut["t"]] == values[: len(cut["t"])]
    assert 0 < len(cut["t"]) < 4
    assert "is cut off" in cut["t"]._repr_html_()
    assert cut.topics == {"t": len(cut["t"])}

    options = RecordingOptions(name="hidden", redact={"t": Redact.HASH})
    scheduler = Scheduler(deterministic=True, recording=options, recordings_dir=recordings_dir)
    scheduler.add(Node(name="n", tick=lambda node: node.send("t", {"v": tick()}), pubs=["t"])).run_sync(0.05)
    hidden = open_session("hidden", recordings_dir)["t"]
    assert len(hidden.to_arrow()) == 5
    assert "data" not in hidden.to_arrow().column_names


def test_a_session_that_is_being_recorded(recordings_dir: Path) -> None:
    """There is what was written by then, and more when it is asked for anew."""
    scheduler = Scheduler(deterministic=True, recording=RecordingOptions(name="live"), recordings_dir=recordings_dir)
    scheduler.add(Node(name="n", tick=lambda node: node.send("t", {"v": tick()}), pubs=["t"]))
    seen: list[int] = []

    def look(_: Node) -> None:
        if tick() in {500, 5000}:
            session = open_session("live", recordings_dir)
            found = session["t"]
            seen.append(len(found))
            assert len([*found]) == seen[-1]
            assert len(found.to_arrow()) == seen[-1]

    scheduler.add(Node(name="looker", tick=look)).run_sync(60)
    assert seen == sorted(seen)
    assert len(open_session("live", recordings_dir)["t"]) == 6000


def test_classes_that_the_program_has_and_has_not(recordings_dir: Path) -> None:
    """A table has their fields in any case; a value is an object of the class, if there is one."""
    session = of(recordings_dir, [messages.Twist(linear=messages.Vector3(x=1.5)), messages.Twist()])
    assert session["t"][0].value.linear.x == 1.5
    assert session["t"].to_pandas()["linear.x"].tolist() == [1.5, 0.0]
    unknown = of(recordings_dir, [{"$type": "gone.Thing", "value": {"a": 1}}])
    assert isinstance(unknown["t"][0].value, dict)


def test_what_notebooks_show_is_escaped(recordings_dir: Path) -> None:
    """Names and values of others are text, and long ones are shortened."""
    session = of(recordings_dir, [{"<b>x": "<script>\x1b[31m" + "x" * 500}, {"ranges": [1.0] * 500}])
    for text in (session._repr_html_(), session["t"]._repr_html_()):
        assert "<script" not in text
        assert "<b>" not in text
        assert "\x1b" not in text
        assert "style" not in text
    assert len(session["t"]._repr_html_()) < 2000


def test_packages_that_are_missing(recordings_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to type."""
    session = of(recordings_dir, [{"x": 1}])
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(RecordingError, match=r"to_pandas\(\) needs the package pandas: install it with .*pandas"):
        session["t"].to_pandas()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(RecordingError, match=r"to_arrow\(\) needs the package pyarrow: install it with .*parquet"):
        session["t"].to_numpy()


def test_stamps_that_are_no_time(recordings_dir: Path) -> None:
    """Of another process, and beyond 64 bits: numbers, and no error."""
    session = make(
        recordings_dir, "far", {0: [("n", "t", 1)]}, ticks=1, outside=[outsider(0, 1)._replace(stamp_ns=2**63)]
    )
    assert isinstance(session["operator.cmd"].to_pandas().index, pd.Index)
    assert pa.types.is_uint64(session["operator.cmd"].to_arrow().schema.field("stamp_ns").type)


def test_reports_and_figures_are_tables(recordings_dir: Path) -> None:
    """A verification and ``stats()`` in a notebook: escaped, and a comparison of nothing is no pass."""
    from horus_async.replay.verify.comparison import Difference, TopicRow, VerifyReport

    difference = Difference(3, "n", "<t>", "x", 1, 2)
    report = VerifyReport(5, 1, difference, (TopicRow("<t>", 5, 1, 1.0),), ("gone",), ("<note>",))
    text = report._repr_html_()
    assert "verification failed: 5 messages compared, 1 differ" in text
    assert text.count("&lt;") == 3
    assert "<t>" not in text
    assert "nothing was compared" in VerifyReport(0, 0, None)._repr_html_()
    scheduler = Scheduler(deterministic=True, recording=RecordingOptions(name="st"), recordings_dir=recordings_dir)
    scheduler.add(Node(name="n", tick=lambda node: node.send("t", 1), pubs=["t"])).run_sync(0.05)
    text = scheduler.stats()._repr_html_()
    assert "<th>mean_us</th>" in text
    assert "<td>n</td><td>5</td>" in text
    assert "recording " in text


def test_a_set_is_looked_at_like_a_session(recordings_dir: Path) -> None:
    """Several programs under one name: their topics on one time axis."""
    from horus_async.recorder.edit.merge import merge_sessions

    one = make(recordings_dir, "left", {tick: [("a", "t", {"v": tick})] for tick in range(4)}, ticks=4)
    two = make(recordings_dir, "right", {tick: [("b", "t", {"v": -tick})] for tick in range(4)}, ticks=4)
    merge_sessions([one, two], "both", root=recordings_dir)
    both = open_session("both", recordings_dir)
    assert both.topics == {"t": 8}
    assert sorted(one.publisher for one in both["t"]) == ["a"] * 4 + ["b"] * 4
    assert len(both["t"].to_pandas()) == 8
    assert len(both.between(0.0, 0.02)["t"]) == 4


def test_what_a_line_lacks_is_noted(recordings_dir: Path) -> None:
    """A line of the topic that makes no sense is left out, and the session says so."""
    noted: list[str] = []
    text = b'{"kind":"tick","outputs":[{"topic":"t","data":1,"stamp_ns":5}],"tick":1}\n'
    assert sent_in(text, "t", bytes.splitlines, noted.append) is None
    assert "no field 'seq'" in noted[0]


def test_large_topics_in_bounded_memory(recordings_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Iterating, counting and indexing hold some thousands of messages, whatever the length."""
    import tracemalloc

    monkeypatch.setattr("horus_async.recorder.tables.stream.ROWS", 256)
    session = of(recordings_dir, [{"v": "x" * 500} for _ in range(30_000)])
    tracemalloc.start()
    try:
        found = session["t"]
        assert sum(1 for _ in found) == len(found) == 30_000
        assert found[29_999].seq == 29_999
        assert tracemalloc.get_traced_memory()[1] < 15e6  # all of them are 30 MB and more
    finally:
        tracemalloc.stop()
