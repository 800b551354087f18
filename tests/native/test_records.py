"""Records are the same in both forms, whatever a line holds: made of what is as it should be, and refused alike."""

from __future__ import annotations

import gc
import sys
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.errors import DamagedRecordingError
from horus_async.native import core
from horus_async.recorder import records
from horus_async.recorder.records import ExecutionRecord, SchedulerTick, parse_line

native = pytest.mark.skipif(core is None, reason="the native core is not in use")

ODD = st.none() | st.booleans() | st.integers(-5, 1 << 63) | st.floats(allow_nan=False) | st.text(max_size=3)
ANY = ODD | st.lists(ODD, max_size=2) | st.dictionaries(st.text(max_size=2), ODD, max_size=2)
NUMBER, TEXT = st.integers(0, 1 << 63), st.text(max_size=4)


def messages(**more: Any) -> st.SearchStrategy[Any]:
    """Dicts with these fields, some perhaps odd or not there, and perhaps one that nobody knows."""
    good = st.fixed_dictionaries(more, optional={"unknown": ODD})
    odd = st.fixed_dictionaries({}, optional={name: value | ODD for name, value in more.items()})
    return good | good | good | odd | ODD


def many(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A list of some, or something else."""
    return st.lists(items, max_size=3) | ODD


OUTPUTS = messages(topic=TEXT, seq=NUMBER, stamp_ns=NUMBER, data=ANY, tick=NUMBER) | messages(
    topic=TEXT, seq=NUMBER, stamp_ns=NUMBER, data=ANY
)
INPUTS = messages(topic=TEXT, publisher=TEXT, seq=NUMBER) | messages(
    topic=TEXT, publisher=TEXT, seq=NUMBER, source=NUMBER, empty=NUMBER
)
LOOKS = messages(topic=TEXT, asked=TEXT, publisher=TEXT, seq=NUMBER, times=NUMBER) | messages(topic=TEXT, asked=TEXT)
NOW = {"tick": NUMBER, "now_ns": NUMBER}
LINES = (
    messages(
        kind=st.sampled_from(("tick", "init", "shutdown")),
        **NOW,
        dt_ns=NUMBER,
        duration_ns=NUMBER,
        inputs=many(INPUTS),
        outputs=many(OUTPUTS),
        error=st.none() | TEXT,
        cut=st.none() | st.booleans(),
        looks=many(LOOKS),
        after_ns=NUMBER,
    )
    | messages(kind=st.just("tick"), **NOW, order=many(TEXT), digest=TEXT, elapsed_ns=st.none() | NUMBER)
    | messages(kind=st.just("sends"), tick=st.none() | NUMBER, outputs=many(OUTPUTS))
    | messages(
        kind=st.sampled_from(("message", "earlier")),
        tick=NUMBER,
        topic=TEXT,
        publisher=TEXT,
        seq=NUMBER,
        stamp_ns=NUMBER,
        data=ANY,
    )
)


def outcome(line: bytes) -> Any:
    """The record of a line, or why it has none."""
    try:
        return parse_line(line)
    except DamagedRecordingError as error:
        return str(error)


@native
@given(LINES)
@settings(max_examples=600, deadline=None)
def test_a_line_gives_the_same_record_or_error(fields: Any) -> None:
    """Of each kind of which there are many, with fields that are odd, too many or not there."""
    line = orjson.dumps(fields)
    quickly = outcome(line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_quick", lambda _: None)
        slowly = outcome(line)
    assert quickly == slowly
    assert repr(quickly) == repr(slowly)


LINE = {
    "kind": "tick",
    "tick": 3,
    "now_ns": 30,
    "dt_ns": 10,
    "duration_ns": 0,
    "error": None,
    "inputs": [{"topic": "a", "publisher": "n", "seq": 1}],
    "outputs": [{"topic": "b", "seq": 2, "stamp_ns": 30, "data": {"x": 1.5}}],
}


def test_a_record_is_like_any_of_its_class() -> None:
    """It compares, is changed by copying, and cannot be written to."""
    record = parse_line(orjson.dumps(LINE))
    assert isinstance(record, ExecutionRecord)
    assert record == attrs.evolve(record) != attrs.evolve(record, tick=4)
    assert record.outputs[0].tick == 3
    assert record.outputs[0].value == {"x": 1.5}
    assert (record.looks, record.after_ns, record.cut) == ((), 0, None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.tick = 5  # type: ignore[misc]
    tick = parse_line(b'{"kind":"tick","tick":0,"now_ns":0,"order":["a"],"digest":"00","more":1}')
    assert tick == SchedulerTick(0, 0, ("a",), "00")


@native
def test_nothing_is_kept_of_many_records() -> None:
    """Neither of those that are made nor of those that are not."""
    make = records._quick(ExecutionRecord)
    assert make is not None
    broken = {**LINE, "outputs": [*LINE["outputs"], {"topic": 5}]}  # type: ignore[misc]
    given: list[Any] = [{**LINE, "outputs": [{**LINE["outputs"][0], "tick": 3}]}, broken, None]  # type: ignore[index]
    kept = (ExecutionRecord, records.RecordedInput, records.RecordedOutput, given[0], broken)
    gc.collect()
    before = [sys.getrefcount(one) for one in kept]
    for _ in range(20_000):
        assert [make(fields) is None for fields in given] == [False, True, True]
    gc.collect()
    assert all(abs(sys.getrefcount(one) - count) < 50 for one, count in zip(kept, before, strict=True))
