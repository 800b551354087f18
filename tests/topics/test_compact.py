"""What was sent with buffers fits again after it was recorded as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.errors import MessageDecodeError
from horus_async.topics.codec import as_bytes, compact, decode, encode, to_json
from horus_async.topics.codec.compact import fitting

from .test_codec import VALUES

ARRAYS = st.sampled_from(
    [
        np.arange(1000),
        np.zeros((3, 0)),
        np.float32(2.5),
        np.array(["a", b"b" * 600, None], dtype=object),
        np.array([(1, "text", 2.5)] * 20, dtype=[("a", "i8"), ("o", "O"), ("b", "f4")]),
        np.array([(1, 2)], dtype=np.dtype([("a", "i1"), ("b", "i8")], align=True)),
        np.str_("word" * 200),
        bytearray(b"x" * 1000),
        b"y" * 2000,
        {"$ndarray": "a dict of the user's", "$bytes": "A" * 1000},
    ]
)
NESTED = st.recursive(
    ARRAYS | VALUES, lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text("ab$"), items)
)


@define
class Picture:
    """A class with an array."""

    pixels: Any
    name: str


def lifted(monkeypatch: pytest.MonkeyPatch, value: Any, limit: int) -> bytes:
    """The text of a value, made fitting where so many bytes are too many."""
    text = to_json(as_bytes(encode(value)))
    with monkeypatch.context() as patched:
        patched.setattr(compact, "MESSAGE_LIMIT", limit)
        return as_bytes(fitting(text))


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(ARRAYS | VALUES, lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text("ab$"), items))
)
def test_every_value_comes_back_as_it_would_from_the_text(value: Any) -> None:
    """Whatever holds the buffers: the JSON text of the new payload is the one it was made from."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        text = to_json(as_bytes(encode(value)))
        assert to_json(lifted(monkeypatch, value, 1)) == text


def test_it_is_as_large_as_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not a third larger, as its text; the array comes back."""
    value = {"image": np.arange(100_000, dtype=np.uint16), "raw": b"r" * 5000}
    payload = lifted(monkeypatch, value, 206_000)
    assert len(payload) == len(as_bytes(encode(value)))
    assert (decode(payload)["image"] == value["image"]).all()


def test_classes_need_not_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tag of the class stays where it is."""
    value = Picture(np.zeros(1000, np.uint8), "p")
    payload = lifted(monkeypatch, value, 1200)
    assert b'"$type"' in payload
    assert to_json(payload) == to_json(as_bytes(encode(value)))


def test_small_messages_stay_as_they_are() -> None:
    """Only what is too large is looked at."""
    text = b'{"$bytes":"not base64 at all"}'
    assert fitting(text) is text


def test_damage_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may hold anything."""
    monkeypatch.setattr(compact, "MESSAGE_LIMIT", 1)
    for text in (b"{ ", b'{"$bytes":"' + b"?" * 600 + b'"}', b"[" * 100_000):
        with pytest.raises(MessageDecodeError):
            fitting(text)
