"""Lines: built, parsed, and refused."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.errors import DamagedRecordingError, HorusError, UnsupportedVersionError
from horus_async.observe import Execution, External, NodeInfo, Received, Sent, TickEnd
from horus_async.recorder.records import (
    ExecutionRecord,
    ExternalMessage,
    Footer,
    GapRecord,
    Header,
    RecordedInput,
    RecordedOutput,
    SchedulerTick,
    parse_line,
)
from horus_async.recorder.tallies import TopicTally
from horus_async.recorder.write.lines import (
    EMPTY_DIGEST,
    Counts,
    count_line,
    execution_line,
    footer_line,
    gap_line,
    header_line,
    line_tick,
    message_line,
    tick_digest,
    tick_line,
)
from horus_async.topics.codec import as_bytes, decode, encode

from .runs import message, run_info

SENT = Sent("sensor", "sensor.reading", 3, 30, b'{"value":1.5}', 2)


def test_an_execution_line_has_the_promised_fields() -> None:
    """A tick line says what SPEC 5 says, and an output has its own tick only when it was sent later."""
    later = SENT._replace(seq=4, tick=5)
    line = execution_line(
        Execution("tick", "sensor", 2, 20, 10, 7, [Received("a", "b", 9)], 'Oops: "x"\n'), [SENT, later]
    )
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "kind": "tick",
        "tick": 2,
        "now_ns": 20,
        "dt_ns": 10,
        "duration_ns": 7,
        "inputs": [{"topic": "a", "publisher": "b", "seq": 9}],
        "outputs": [
            {"topic": "sensor.reading", "seq": 3, "stamp_ns": 30, "data": {"value": 1.5}},
            {"topic": "sensor.reading", "seq": 4, "stamp_ns": 30, "data": {"value": 1.5}, "tick": 5},
        ],
        "error": 'Oops: "x"\n',
    }


@pytest.mark.parametrize("kind", ["tick", "init", "shutdown", "safe_state"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_executions_come_back_as_they_went_in(kind: str, count: int) -> None:
    """J.1-4: three sends are three outputs, in order, and none is none, in every kind of line."""
    sent = [SENT._replace(seq=seq, payload=b'{"n":%d}' % seq) for seq in range(count)]
    taken = [Received("topic", "node", seq) for seq in range(count)]
    line = execution_line(Execution(kind, "sensor", 2, -20, 10, 7, taken, None), sent)
    assert parse_line(line) == ExecutionRecord(
        kind,
        2,
        -20,
        10,
        7,
        tuple(RecordedInput("topic", "node", seq) for seq in range(count)),
        tuple(RecordedOutput("sensor.reading", seq, 30, {"n": seq}, 2) for seq in range(count)),
        None,
    )
    assert count_line(line) == (kind, 2, Counts(kind == "tick", count, count))


@pytest.mark.parametrize(
    "value",
    [
        b"\x00\xff",
        (1, 2),
        {1: "a"},
        float("nan"),
        float("-inf"),
        2**70,
        "ü€😀\u2028\n",
        0.1,
        -0.0,
        1e300,
        {"$x": 1},
        bytes(9000),
    ],
    ids=repr,
)
def test_every_value_is_recorded_by_value(value: object) -> None:
    """J.1-8: what JSON lacks is in the line, and the recorded payload decodes to what was sent."""
    payload = as_bytes(encode(value))
    line = execution_line(Execution("tick", "n", 0, 0, 0, 0, [], None), [SENT._replace(payload=payload)])
    assert line.count(b"\n") == 1
    record = parse_line(line)
    assert isinstance(record, ExecutionRecord)
    assert repr(decode(record.outputs[0].payload)) == repr(value)


def test_a_recorded_payload_is_what_was_written() -> None:
    """Parsing and writing again gives the same bytes, so a replay sends the same bytes."""
    text = b'{"b":0.30000000000000004,"a":[1e-300,-0.0,12345678901234567890,"\xc3\xa9"],"c":null}'
    record = parse_line(message_line(External(1, "t", "p", 0, 0, text)))
    assert isinstance(record, ExternalMessage)
    assert record.payload == text


def test_the_other_lines_come_back() -> None:
    """Scheduler ticks, gaps, footers and messages from outside survive the round trip."""
    end = TickEnd(4, 40, ["a", 'b"'])
    assert parse_line(tick_line(end, 0x12_9AFCBF)) == SchedulerTick(4, 40, ("a", 'b"'), "9afcbf")
    for elapsed_ns in (0, 30, 10**16):  # the wall clock was set
        line = tick_line(end._replace(now_ns=-5, elapsed_ns=elapsed_ns), 1)
        assert parse_line(line) == SchedulerTick(4, -5, ("a", 'b"'), "000001", elapsed_ns)
        assert line_tick(line) == 4
    assert parse_line(gap_line(3, 12, "disk full")) == GapRecord(3, 12, "disk full")
    tally = TopicTally("t", None, 3, 40, 5, 6)
    footer = parse_line(footer_line(0, Counts(1, 2, 3, 4), [tally]))
    assert footer == Footer("1970-01-01T00:00:00.000Z", 1, 2, 3, 4, (tally,))
    outside = External(7, "t", "p", 5, 6, b"[1]")
    assert parse_line(message_line(outside)) == ExternalMessage(7, "t", "p", 5, 6, [1])


def test_a_message_from_outside_must_be_json() -> None:
    """Another process can put anything into its ring; it never gets into a line."""
    with pytest.raises((ValueError, HorusError)):
        message_line(External(1, "t", "p", 0, 0, b'"}\n{"kind":"tick"'))


def test_the_tick_of_a_line_is_found_without_parsing() -> None:
    """Lines give their tick, those without one None, and a text inside never misleads."""
    lines = [
        execution_line(Execution("tick", "n", 17, 0, 0, 0, [], None), [SENT._replace(payload=b'{"tick":99}')]),
        tick_line(TickEnd(17, 0, []), 0),
        message_line(External(17, "t", "p", 0, 0, b'{"tick":99}')),
        gap_line(17, 1, '"tick":99}'),
    ]
    assert [line_tick(line) for line in lines] == [17] * 4
    assert line_tick(footer_line(0, Counts(), None)) is None


def test_a_header_comes_back() -> None:
    """What a node declared and how the run was set up is in its file's first line, a seed of any size included."""
    node = NodeInfo("arm/joint", 50.0, on=("x",), pubs=("y",), subs=("z",), order=3, compute=True)
    header = parse_line(header_line(run_info(seed=2**200), "s1", "node", node))
    assert isinstance(header, Header)
    assert header.info == node
    assert (header.role, header.session, header.node, header.seed) == ("node", "s1", "arm/joint", 2**200)
    assert (header.tick_rate, header.deterministic, header.start_ns) == (100.0, True, 0)
    assert header.started_at.endswith("Z")
    scheduler = parse_line(header_line(run_info(), "s1", "scheduler"))
    assert isinstance(scheduler, Header)
    assert scheduler.info is None


def test_unknown_fields_kinds_and_versions() -> None:
    """J.1-9: unknown fields are ignored, unknown kinds skipped, unknown versions refused by name."""
    assert parse_line(b'{"kind":"gap","tick":1,"dropped":2,"reason":"r","new":{}}') == GapRecord(1, 2, "r")
    assert parse_line(b'{"kind":"novelty","x":1}') is None
    header = orjson.loads(header_line(run_info(), "s", "scheduler"))
    for version in (2, 0, "1", None, True):
        with pytest.raises(UnsupportedVersionError, match="schema_version"):
            parse_line(orjson.dumps({**header, "schema_version": version}))


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("tick", True, "True is not a whole number"),
        ("tick", "1", "'1' is not a whole number"),
        ("now_ns", 1.5, "1.5 is not a whole number"),
        ("error", 5, "5 is not a string"),
        ("inputs", {}, "{} is not a list"),
        ("inputs", [{"topic": "t", "publisher": None, "seq": 1}], "None is not a string"),
        ("outputs", [{"topic": "t", "seq": 1, "data": 1}], "no field 'stamp_ns'"),
        ("outputs", [5], "cannot be read"),
    ],
)
def test_fields_of_the_wrong_type_are_refused(field: str, value: object, why: str) -> None:
    """No field is converted from another type, and the error says what is wrong."""
    whole = {"kind": "tick", "tick": 1, "now_ns": 2, "dt_ns": 3, "duration_ns": 4, "error": None}
    whole |= {"inputs": [], "outputs": []}
    assert isinstance(parse_line(orjson.dumps(whole)), ExecutionRecord)
    with pytest.raises(DamagedRecordingError) as caught:
        parse_line(orjson.dumps({**whole, field: value}))
    assert why in str(caught.value)
    with pytest.raises(DamagedRecordingError, match="'ab' is not a list"):
        parse_line(b'{"kind":"tick","order":"ab","digest":"000000","now_ns":0,"tick":1}')


def test_the_digest_is_pinned() -> None:
    """The digest is part of the format: it must never change, nor depend on anything but the messages."""
    assert tick_digest([]) == EMPTY_DIGEST == "000000"
    assert tick_digest([SENT]) == tick_digest([SENT._replace(stamp_ns=99, tick=7)]) == "9afcbf"
    others = [
        SENT._replace(node="other"),
        SENT._replace(topic="other"),
        SENT._replace(seq=4),
        SENT._replace(payload=b'{"value":1.25}'),
    ]
    assert len({tick_digest([sent]) for sent in [SENT, *others]}) == 5
    assert tick_digest([SENT, others[0]]) != tick_digest([others[0], SENT])


def test_the_digest_sees_the_text_of_binary_messages() -> None:
    """Replayed as text or sent as an array, the same value has the same digest."""
    binary = as_bytes(encode(bytes(2000)))
    text = execution_line(Execution("tick", "n", 0, 0, 0, 0, [], None), [SENT._replace(payload=binary)])
    record = parse_line(text)
    assert isinstance(record, ExecutionRecord)
    assert tick_digest([SENT._replace(payload=record.outputs[0].payload)]) == tick_digest(
        [SENT._replace(payload=binary)]
    )


_FIELDS = sorted(
    {"kind", "tick", "now_ns", "dt_ns", "duration_ns", "inputs", "outputs", "error", "digest", "order", "data"}
    | {"dropped", "reason", "schema_version", "session", "node", "seed", "tick_rate", "started_at", "role", "on"}
)


@given(
    st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from(_FIELDS),
        st.sampled_from(
            ["tick", "gap", "header", "message", "footer", "init", 1, 1.5, None, [], [1], [{}], {}, True, 2**63]
        ),
    ).map(orjson.dumps)
)
def test_garbage_gives_a_record_or_a_recording_error(line: bytes) -> None:
    """Whatever a line holds, parsing gives a record, None, or an error of ours."""
    try:
        parse_line(line)
    except HorusError as error:
        assert isinstance(error, DamagedRecordingError | UnsupportedVersionError)  # noqa: PT017 - one of two


def test_odd_names_and_texts_stay_one_valid_line() -> None:
    """Quotes, line breaks and half surrogates in names and errors cannot break a line."""
    odd = 'a"\n\\\ud800\u2028'
    sent = message("n", odd, 0, {})
    line = execution_line(Execution("tick", "n", 0, 0, 0, 0, [Received(odd, odd, 0)], odd), [sent])
    assert line.count(b"\n") == 1
    assert isinstance(parse_line(line), ExecutionRecord)
