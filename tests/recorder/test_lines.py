"""What is counted of a line without any record of it, and what a footer says and leaves out.

Each test began as a change to the code that no other test noticed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from horus_async.errors import HorusError
from horus_async.observe import Execution, External
from horus_async.recorder.tallies import TopicTally
from horus_async.recorder.write import lines
from horus_async.recorder.write.lines import (
    Counts,
    count_line,
    execution_line,
    external_text,
    footer_line,
    gap_line,
    input_text,
    line_messages,
    line_tick,
    message_line,
    sends_line,
    tick_digest,
)
from horus_async.topics.codec import as_bytes, encode, to_json

from .runs import message

if TYPE_CHECKING:
    from horus_async.observe import Looks


def line(**fields: Any) -> bytes:
    """A line with these fields."""
    return orjson.dumps(fields) + b"\n"


def sent(tick: int | None = None, data: Any = 1) -> dict[str, Any]:
    """An output; with a tick where it was sent in another one than its callback's."""
    return {"topic": "out", "data": data, "stamp_ns": 0, "seq": 0, **({} if tick is None else {"tick": tick})}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (line(kind="tick", inputs=[{}, {}], outputs=[sent()], tick=3), ("tick", 3, Counts(1, 2, 1))),
        (line(kind="init", inputs=[{}], outputs=[sent(), sent()], tick=3), ("init", 3, Counts(0, 1, 2))),
        (line(kind="shutdown", inputs=[], outputs=[], tick=3), ("shutdown", 3, Counts())),
        (line(kind="safe_state", inputs=[{}], outputs=[sent()], tick=3), ("safe_state", 3, Counts(0, 1, 1))),
        (line(kind="sends", outputs=[sent()], tick=4), ("sends", 4, Counts(outputs=1))),
        (line(kind="sends", outputs=[sent(5), sent(6)], tick=None), ("sends", 5, Counts(outputs=2))),
        (line(kind="message", topic="t", publisher="p", data=1, tick=7), ("message", 7, Counts(inputs=1))),
        (line(kind="tick", order=["a"], digest="000000", tick=8), ("tick", 8, Counts(1))),
        (line(kind="log", inputs=[1], outputs=[1], dropped=5, tick=9), ("log", 9, Counts(lines=1))),
        (line(kind="log", tick=None, at_tick=10), ("log", 10, Counts(lines=1))),
        (gap_line(11, 12, "why"), ("gap", 11, Counts(dropped=12))),
        (line(kind="footer", dropped=13, ticks=5), ("footer", 0, Counts(dropped=13))),
        (line(kind="novelty", inputs=5, outputs=None, tick=14), ("novelty", 14, Counts())),
    ],
)
def test_what_a_line_counts(text: bytes, expected: tuple[str, int, Counts]) -> None:
    """Its kind, its tick, and what a footer would count of it; fields of the user's and of later releases are none."""
    assert count_line(text) == expected


def test_counts_add_up() -> None:
    """Each with its own."""
    counts = Counts(1, 2, 3, 4, 5)
    counts.add(Counts(10, 20, 30, 40, 50))
    assert counts == Counts(11, 22, 33, 44, 55)


@pytest.mark.parametrize("tick", [0, 7, 10**9, 10**17, 10**18, 10**19, -1, -(10**18)])
def test_the_tick_of_a_line_of_any_size(tick: int) -> None:
    """However many digits it has, and whatever stands in front of it."""
    for kind in ("tick", "a kind with a long name, so that the line is one"):
        assert line_tick(line(kind=kind, tick=tick)) == tick
        assert line_tick(line(kind=kind, text='"tick":5}', tick=tick)) == tick


def test_the_tick_of_a_line_without_one() -> None:
    """None, or the one that was going on, wherever that stands; what is no number is none."""
    assert line_tick(line(kind="footer")) is None
    assert line_tick(line(kind="sends", outputs=[], tick=None)) is None
    assert line_tick(line(kind="log", tick=None, at_tick=6)) == 6
    assert line_tick(line(kind="log", at_tick=6, tick=None)) is None  # the quick look is enough: none are built so
    assert line_tick(line(kind="log", tick=3, at_tick=6)) == 6
    assert line_tick(line(kind="log", tick=3, at_tick=6, text="a text that is long enough to stand in front")) == 6
    assert line_tick(line(kind="log", tick=3, text="a text that is long enough to stand in front")) == 3
    assert line_tick(line(kind="log", tick="3", text="a text that is long enough to stand in front")) is None


def test_the_messages_in_a_line() -> None:
    """Topic, publisher, the tick in which each was sent, and its size as JSON text."""

    def messages(**fields: Any) -> list[tuple[str, str | None, int, int]]:
        return list(line_messages(fields))

    assert messages(kind="message", topic="t", publisher="p", data=[1, 2], tick=3) == [("t", "p", 3, 5)]
    assert messages(kind="tick", outputs=[sent(), sent(9, "abc")], tick=4) == [
        ("out", None, 4, 1),
        ("out", None, 9, 5),
    ]
    assert messages(kind="sends", outputs=[sent(5)], tick=None) == [("out", None, 5, 1)]
    assert messages(kind="tick", order=[], tick=4) == []
    for kind in ("log", "gap", "footer", "novelty"):
        assert messages(kind=kind, outputs=[sent()], tick=4) == []


def test_an_input_says_where_it_came_from() -> None:
    """From another ring than the publisher's first, and behind how many looks that found nothing; else nothing."""
    plain = {"topic": "t", "publisher": "p", "seq": 3}
    assert json.loads(input_text("t", "p", 3, 0)) == plain
    assert json.loads(input_text("t", "p", 3, 5)) == {**plain, "source": 5}
    assert json.loads(input_text("t", "p", 3, 0, 2)) == {**plain, "empty": 2}
    assert json.loads(input_text("t", "p", 3, 5, 2)) == {**plain, "source": 5, "empty": 2}
    line_of = json.loads(message_line(External(7, "t", "p", 3, 6, b"[1]")))
    assert line_of == {"kind": "message", **plain, "data": [1], "stamp_ns": 6, "tick": 7}
    assert json.loads(message_line(External(7, "t", "p", 3, 6, b"[1]", 5))) == {**line_of, "source": 5}


@pytest.mark.parametrize("tick", [4, None])
def test_what_was_sent_apart_from_callbacks(tick: int | None) -> None:
    """With the tick of the callback, or none; each message has its own where that is another."""
    messages = [message("n", "out", number, {"n": number}) for number in (4, 5)]
    found = json.loads(sends_line(tick, messages))
    outputs = [
        {"topic": "out", "data": {"n": number}, "stamp_ns": one.stamp_ns, "seq": number, "tick": number}
        for number, one in zip((4, 5), messages, strict=True)
    ]
    if tick is not None:
        del outputs[0]["tick"]
    assert found == {"kind": "sends", "outputs": outputs, "tick": tick}


def test_a_binary_message_is_text_in_a_line() -> None:
    """Whatever it ends with: how a payload begins says what it is."""
    binary = as_bytes(encode(b"\1" * 2048))
    assert binary[0] == 0
    assert binary[-1] != 0
    text = to_json(binary)
    one = message("n", "out", 0, None)._replace(payload=binary)
    assert json.loads(sends_line(0, [one]))["outputs"][0]["data"] == json.loads(text)
    assert tick_digest([one]) == tick_digest([one._replace(payload=text)])


def test_what_another_process_wrote_is_recorded_as_it_was_read() -> None:
    """The last of two equal keys, and no blanks; what is no JSON is an error."""
    assert external_text(b' { "a" : 1, "a" : 2.50 } ') == b'{"a":2.5}'
    for payload in (b'"}\n{"kind":"tick"', b"", b"{"):
        with pytest.raises((ValueError, HorusError)):
            external_text(payload)


def test_what_a_callback_saw_without_taking_it() -> None:
    """What it asked, of which topic, what the answer was, and how often in a row."""
    looks: Looks = {
        ("latest", "a"): [[None, 1], [("p", 3, 0), 2], [("p", 4, 9), 1]],
        ("has_msg", "b"): [[True, 3], [False, 1]],
    }
    call = Execution("tick", "n", 2, 0, 0, 0, [], None, looks=looks, after_ns=11)
    found = json.loads(execution_line(call, []))
    assert found["looks"] == [
        {"topic": "a", "asked": "latest"},
        {"topic": "a", "asked": "latest", "publisher": "p", "seq": 3, "times": 2},
        {"topic": "a", "asked": "latest", "publisher": "p", "seq": 4, "source": 9},
        {"topic": "b", "asked": "has_msg", "value": 1, "times": 3},
        {"topic": "b", "asked": "has_msg", "value": 0},
    ]
    assert found["after_ns"] == 11
    assert {"looks", "after_ns"}.isdisjoint(json.loads(execution_line(call._replace(looks={}, after_ns=0), [])))


def test_a_footer_says_what_is_known() -> None:
    """And leaves out the rest: a field that is there says something, also where it is 0."""
    counted = {"ticks": 1, "inputs": 2, "outputs": 3, "dropped": 4}
    plain = {"kind": "footer", "ended_at": "1970-01-01T00:00:01.500Z", **counted}
    counts = Counts(1, 2, 3, 4)
    assert json.loads(footer_line(1_500_000_000, counts)) == plain
    assert json.loads(footer_line(1_500_000_000, Counts(1, 2, 3, 4, 5))) == {**plain, "lines": 5}
    told: list[dict[str, Any]] = [{"sends": 0, "loose": 0}, {"sends": 2, "loose": 1}, {"excluded": 0}, {"excluded": 3}]
    for more in told:
        assert json.loads(footer_line(1_500_000_000, counts, **more)) == {**plain, **more}
    assert json.loads(footer_line(1_500_000_000, counts, [], "next one")) == {**plain, "topics": [], "next": "next one"}
    tallies = [TopicTally("a", None, 1, 2, 3, 4), TopicTally("b", "p", 0, 0, 0, 0)]
    assert json.loads(footer_line(1_500_000_000, counts, tallies))["topics"] == [
        {"topic": "a", "count": 1, "bytes": 2, "first_tick": 3, "last_tick": 4},
        {"topic": "b", "publisher": "p", "count": 0, "bytes": 0, "first_tick": 0, "last_tick": 0},
    ]
    text = footer_line(0, counts, tallies, "next one", excluded=1, sends=2, loose=3)
    assert text.count(b"\n") == 1
    assert text.endswith(b"}\n")
    assert b" " not in text.replace(b"next one", b"")


def test_names_and_orders_are_made_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name each, of the orders the last thousand: a run whose order never repeats does not fill the memory."""
    orders = lines._Orders()
    assert orders["a", 'b"'] == b'"a","b\\""'
    assert list(orders) == [("a", 'b"')]
    for number in range(2500):
        assert ("a", 'b"') in orders or number >= 999
        assert orders[f"n{number}",] == b'"n%d"' % number
        assert len(orders) <= 1000
    made: list[str] = []
    text_json = lines.text_json

    def noted(text: str) -> bytes:
        made.append(text)
        return text_json(text)

    monkeypatch.setattr(lines, "text_json", noted)
    quoted = lines._Quoted()
    assert [quoted["a"], quoted["a"], quoted["b"]] == [b'"a"', b'"a"', b'"b"']
    assert made == ["a", "b"]
    assert text_json("a\ud800b") == b'"a?b"'
