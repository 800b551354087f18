"""Texts in arrays that are none are refused where they come in; old names of dtypes are, too."""

from __future__ import annotations

import base64
import warnings
from typing import Any

import msgpack
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.errors import TraceError
from horus_async.policy import Exchange, ImageMode, ObservationError
from horus_async.policy.model.wire import WireFormat, decoded
from horus_async.policy.server.admission.refusal import Refusal
from horus_async.policy.server.requests import parse_observation
from horus_async.policy.trace.format import request_line
from horus_async.policy.trace.redaction import Restoring

NO_TEXT = [[0xD800], [0xDFFF, 0], [0x61, 0xDC80], [0xD83D, 0xDE00], [0x110000], [0xFFFFFFFF]]


def body(numbers: list[int], order: str, name: str = "prompt", shape: tuple[int, ...] = ()) -> bytes:
    """An observation in MessagePack with an array whose texts have characters of these numbers."""
    data = numpy.array(numbers, f"{order}u4").tobytes()
    dtype = f"{order}U{len(numbers)}" if shape == () else f"{order}U1"
    return bytes(msgpack.packb({name: {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}}))


def recorded(sent: bytes, images: ImageMode = ImageMode.HASH_ONLY) -> bytes:
    """The line of a request."""
    exchange = Exchange(
        body=sent, arrival_ns=1, finished_ns=2, request_id="r", status=200, policy_ms=1.0, queue_ms=0.0, mode="python",
        form=WireFormat.MSGPACK,
    )  # fmt: skip
    return request_line(exchange, 0, images)


@pytest.mark.parametrize("numbers", NO_TEXT)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["prompt", "labels"])
def test_text_that_is_none_is_refused_with_the_request(numbers: list[int], order: str, name: str) -> None:
    """As in JSON, with 400 and a way out; it was answered, and its line in the trace was lost."""
    for shape in ((), (len(numbers),)):
        with pytest.raises(Refusal, match=r"no text .lone surrogates.*send whole characters") as caught:
            parse_observation(body(numbers, order, name, shape), WireFormat.MSGPACK)
        assert (caught.value.status, caught.value.slug) == (400, "bad-msgpack")
        assert str(caught.value).encode()


@given(st.lists(st.integers(0, 0x120000), min_size=1, max_size=5), st.sampled_from("<>"), st.sampled_from(ImageMode))
def test_every_text_that_is_taken_is_recorded(numbers: list[int], order: str, images: ImageMode) -> None:
    """Taken is what Python can write."""
    sent = body(numbers, order)
    if any(number > 0x10FFFF or 0xD800 <= number <= 0xDFFF for number in numbers):
        with pytest.raises(ObservationError):
            decoded(sent, WireFormat.MSGPACK)
    else:
        text = "".join(map(chr, numbers)).rstrip("\0")
        assert decoded(sent, WireFormat.MSGPACK)["prompt"].item() == text
        assert recorded(sent, images).startswith(b'{"kind":"request"')


def test_arrays_of_no_text_are_taken() -> None:
    """An empty one has no characters to look at."""
    sent = msgpack.packb({"x": {b"__ndarray__": True, b"data": b"", b"dtype": "<U3", b"shape": [0, 2]}})
    assert decoded(sent, WireFormat.MSGPACK)["x"].shape == (0, 2)


def kept(dtype: str, data: bytes, shape: list[int]) -> Any:
    """The array of which a trace kept this."""
    tag = {"$ndarray": {"dtype": dtype, "shape": shape, "data": base64.b64encode(data).decode()}}
    return Restoring([], lambda _: None).value(tag, "x")


@pytest.mark.parametrize("dtype", ["a1", "|a1", "a", "1a1", "(1,)a1", "u1,a1", "<a1"])
def test_an_old_name_of_bytes_in_a_trace_is_refused(dtype: str) -> None:
    """Without NumPy's warning, in our words."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TraceError, match=r"an array in the trace is damaged: .*an old name: 'S'"):
            kept(dtype, b"x", [1])


def test_names_with_that_letter_in_a_word_are_read() -> None:
    """Attoseconds, for one."""
    assert kept("<M8[as]", bytes(8), [1]).dtype == "M8[as]"
    assert kept("S1", b"a", [1]).tolist() == [b"a"]
    assert kept("<U3", b"", [0, 2]).shape == (0, 2)


def test_text_beyond_unicode_in_a_trace_is_damage() -> None:
    """Python cannot make a text of it, and says so with a SystemError; halves of characters are read as before."""
    for order in "<>":
        with pytest.raises(TraceError, match="characters beyond Unicode"):
            kept(f"{order}U1", numpy.array([0x110000], f"{order}u4").tobytes(), [1])
        assert kept(f"{order}U1", numpy.array([0xD800], f"{order}u4").tobytes(), [1]).tolist() == ["\ud800"]
