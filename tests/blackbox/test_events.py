"""Events and their JSON."""

from __future__ import annotations

import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.blackbox import (
    ANOMALIES,
    KINDS,
    BudgetViolation,
    Custom,
    DeadlineMiss,
    EmergencyStop,
    Event,
    FailurePolicy,
    NodeAdded,
    NodeError,
    NodeTick,
    Record,
    SchedulerStart,
    SchedulerStop,
    Unknown,
    Watchdog,
)
from horus_async.blackbox.values import shortened_json

EXAMPLES: list[Event] = [
    SchedulerStart(2, ("a", "b"), 100.0),
    SchedulerStop("duration", 12),
    NodeAdded("a"),
    NodeTick("a", 812, True),
    NodeTick('ä"\n', 812, False),
    NodeError("a", "ValueError: no", "Traceback\n  line\n"),
    DeadlineMiss("a", 1900, 4200),
    BudgetViolation("a", 1000, 4200),
    FailurePolicy("a", "Restart", "running", "backing off"),
    Watchdog("a", "warn"),
    Watchdog("a", "unhealthy", "File x"),
    EmergencyStop("joint limit"),
    Custom("arm", "limit", {"joint": 3, "angle": 2.5, "nested": {"a": [1, None, "x"]}}),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_flat_json_and_back(event: Event) -> None:
    """J.1-32: an event is one flat JSON object with seq, run, tick, time_ns and its name, and comes back equal."""
    record = Record(7, "run", 3, 123, event)
    flat = json.loads(record.to_json())

    assert list(flat)[:5] == ["seq", "run", "tick", "time_ns", "event"]
    assert flat["event"] == type(event).__name__
    assert orjson.loads(b"{" + event.own_json()) == {key: flat[key] for key in list(flat)[4:]}
    assert Record.from_json(record.to_json()) == record


def test_from_is_called_from_in_json() -> None:
    """Python's keyword is ``from_`` in the class and ``from`` in the file."""
    event = FailurePolicy("a", "Restart", "running", "failed")

    assert event.to_dict() == {"name": "a", "policy": "Restart", "from": "running", "to": "failed"}


def test_the_start_says_how_many_nodes_and_which() -> None:
    """``nodes`` is their number and ``names`` who they are; boxes of earlier releases had the names in ``nodes``."""
    start = SchedulerStart.of(["arm", "leg"], 500.0)
    older = b'{"seq":1,"run":"r","tick":0,"time_ns":3,"event":"SchedulerStart","nodes":["arm","leg"],"rate":500.0}'

    assert start.to_dict() == {"nodes": 2, "names": ("arm", "leg"), "rate": 500.0}
    assert Record.from_json(older).event == start


def test_every_kind_has_an_example() -> None:
    """The examples above cover all kinds."""
    assert {type(event) for event in EXAMPLES} == set(KINDS.values())


def test_anomalies() -> None:
    """J.1-28: what counts as an anomaly."""
    assert {kind.__name__ for kind in ANOMALIES} == {
        "NodeError",
        "DeadlineMiss",
        "BudgetViolation",
        "FailurePolicy",
        "Watchdog",
        "EmergencyStop",
    }
    assert Record(0, "r", 0, 0, EmergencyStop("x")).is_anomaly
    assert not Record(0, "r", 0, 0, NodeTick("a", 1, True)).is_anomaly


def test_an_event_of_a_later_version_is_shown_as_it_is() -> None:
    """Unknown kinds keep their name and fields, unknown fields of known kinds are ignored."""
    line = b'{"seq":1,"run":"r","tick":2,"time_ns":3,"event":"Collision","body":"arm"}'
    record = Record.from_json(line)

    assert record.event == Unknown("Collision", {"body": "arm"})
    assert record.kind == "Collision"
    assert record.to_json() == line
    newer = b'{"seq":1,"run":"r","tick":2,"time_ns":3,"event":"NodeAdded","name":"a","colour":"red"}'
    assert Record.from_json(newer).event == NodeAdded("a")


def test_the_fields_of_the_event_can_be_read_from_the_record() -> None:
    """A record gives the fields of its event, and says so when there is no such field."""
    record = Record(0, "r", 0, 0, DeadlineMiss("arm", 1, 2))

    assert (record.name, record.actual_us) == ("arm", 2)
    with pytest.raises(AttributeError):
        _ = record.colour


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**200, -(2**70)])
def test_numbers_that_json_lacks(value: float) -> None:
    """NaN, infinities and large integers come back as they were."""
    record = Record(0, "r", 0, 0, Custom("a", "b", {"x": [value]}))
    back = Record.from_json(record.to_json()).data["x"][0]

    assert repr(back) == repr(value)


def test_anything_else_is_kept_as_text() -> None:
    """Lone surrogates, arrays and objects, even broken ones, do not keep an event out."""
    numpy = pytest.importorskip("numpy")

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    data = {"s": "\udcff", "a": numpy.array([1.0, 2.0]), "o": object, "b": Broken(), 3: 4, "n": numpy.float64("nan")}
    back = Record.from_json(Record(0, "r", 0, 0, Custom("a", "b", data)).to_json()).data  # type: ignore[arg-type]

    assert back["s"] == "\\udcff"
    assert back["a"] == [1.0, 2.0]
    assert back["o"] == "<class 'object'>"
    assert "Broken" in back["b"]
    assert back["3"] == 4
    assert math.isnan(back["n"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), inner),
    )
)
def test_any_json_value_survives(value: object) -> None:
    """Custom data comes back as it was put in."""
    back = Record.from_json(Record(0, "r", 0, 0, Custom("a", "b", {"v": value})).to_json())

    assert repr(back.data["v"]) == repr(value)


@given(
    kind=st.sampled_from([NodeError, Watchdog]), text=st.text(min_size=300, max_size=2000), limit=st.integers(300, 900)
)
def test_shortened_events_fit_and_say_so(kind: type[NodeError | Watchdog], text: str, limit: int) -> None:
    """What is too large is cut to the limit, keeps its kind and fields, and says that it was shortened."""
    large = kind("arm", "short", text)
    encoded = shortened_json(large.HEAD, large.to_dict(), limit)

    assert len(encoded) <= limit
    assert set(orjson.loads(b"{" + encoded)) == {"event", *large.to_dict()}
    assert b'"name":"arm"' in encoded
    assert (b"shortened by" in encoded) == (len(large.own_json()) > limit)


def test_large_data_and_lists_are_shortened_too() -> None:
    """Not only texts can be too large."""
    for event in (Custom("a", "b", {"x": list(range(9999))}), SchedulerStart.of(map(str, range(9999)), 1.0)):
        encoded = shortened_json(event.HEAD, event.to_dict(), 1000)
        assert len(encoded) <= 1000
        assert b"shortened by" in encoded
