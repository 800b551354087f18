"""No image shows where it must not: in traces that keep none, in errors; and nothing else is taken for one."""

from __future__ import annotations

import base64
from typing import Any

import numpy
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from horus_async.policy import Exchange, Failure, ImageMode
from horus_async.policy.model.images.encoded import spans
from horus_async.policy.model.images.hiding import Images, without_images
from horus_async.policy.model.interface import answer_of
from horus_async.policy.model.jsontext import decode
from horus_async.policy.model.wire import WireFormat, decoded, pack
from horus_async.policy.trace.format import request_line
from horus_async.policy.trace.request import TraceRequest
from tests.policy.requests_with_images import Case, cases, leaks

pytest.importorskip("PIL.Image")

_QUICK = {"deadline": None, "suppress_health_check": list(HealthCheck)}
many_times = pytest.mark.parametrize("times", [100, pytest.param(100_000, marks=pytest.mark.long)])


def recorded(
    request: dict[Any, Any], mode: ImageMode, form: WireFormat = WireFormat.JSON, *, answer: Any = None, error: str = ""
) -> TraceRequest:
    """The line of a request, read back; ``line["text"]`` is the line itself."""
    exchange = Exchange(
        body=orjson.dumps(request) if form is WireFormat.JSON else pack(request),
        arrival_ns=1,
        finished_ns=2,
        request_id="r",
        status=500 if error else 200,
        policy_ms=1.0,
        queue_ms=0.1,
        mode="python",
        answer=answer_of({"actions": [[1.0, 2.0]], **(answer or {})}),
        failure=Failure("policy-error", error) if error else None,
        form=form,
    )
    text = request_line(exchange, 0, mode)
    line = decode(text)
    line["text"] = text.decode()
    return TraceRequest(line, 0, line["request"], line["response"]["actions"], 1.0, line.get("error"))


@many_times
def test_no_piece_of_an_image_is_in_a_trace_or_an_error(times: int) -> None:
    """Whatever the nesting, the form and what the policy repeats: 24 bytes of no image are there."""

    @settings(max_examples=times, **_QUICK)  # type: ignore[arg-type]
    @given(cases(), st.sampled_from([ImageMode.HASH_ONLY, ImageMode.NONE]))
    def law(case: Case, mode: ImageMode) -> None:
        answer = {"seen": case.seen, "stages": {"a": 1.0}}
        line = recorded(case.request, mode, case.form, answer=answer, error=case.error)
        assert leaks(line.line["text"], case.pictures) == []
        assert leaks(without_images(case.error, case.request), case.pictures) == []
        assert line.line["cameras"]

    law()


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, arrays with dtype and shape."""
    if isinstance(one, numpy.ndarray | numpy.generic):
        alike = type(one) is type(other) and (one.dtype, one.shape) == (other.dtype, other.shape)
        return alike and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


_TAGGED_KEYS = st.sampled_from(["$image", "$$image", "$float", "$dict", "image_b64", "wrist_sha256", "x", "a.b", ""])
_LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=40)
)
_NESTED = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TAGGED_KEYS | st.text(max_size=3), inner)
)


@many_times
def test_a_full_trace_gives_back_what_was_sent(times: int) -> None:
    """In mode full the request that is read is the one that was sent, with arrays, bytes and keys of any kind."""

    @settings(max_examples=times, **_QUICK)  # type: ignore[arg-type]
    @given(cases(echo=False), st.dictionaries(_TAGGED_KEYS, _NESTED, max_size=3), st.booleans())
    def law(case: Case, others: dict[str, Any], more: bool) -> None:
        form, request = case.form, {**case.request, **others}
        if form is WireFormat.MSGPACK and more:
            request |= {b"raw": b"\0\1", "state": numpy.array([1, 2], numpy.float32)}
        body = orjson.dumps(request) if form is WireFormat.JSON else pack(request)
        found = recorded(request, ImageMode.FULL, form).observation()
        defaults = {"instruction": "", "state": None, "image": None, "episode_id": None}
        assert same({**defaults, **decoded(body, form)}, found)

    law()


WORDS = [
    "cup",
    "teleoperated",
    "Größe",
    "カップを取って",
    "возьми",
    "hộp",
    "кружку",
    "ABCDEF",
    "naïve",
    "pickUpTheRedCup",
]
_IDS = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda value: value.hex),
    st.integers(16, 64).flatmap(lambda size: st.binary(min_size=size, max_size=size)).map(bytes.hex),
    st.datetimes().map(lambda time: time.isoformat()),
    st.lists(st.sampled_from(WORDS[:2] + WORDS[-1:]), min_size=1, max_size=80).map("/".join),
    st.lists(st.sampled_from(["pick", "red", "cup", "run", "left"]), min_size=1, max_size=80).map("-".join),
    st.lists(st.sampled_from(["Pick", "Red", "Cup", "Run", "Left", "Arm"]), min_size=1, max_size=80).map("".join),
    st.binary(min_size=32, max_size=32).map(
        lambda data: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyb2JvdCJ9." + base64.urlsafe_b64encode(data).decode().rstrip("=")
    ),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join),
    st.text(max_size=300),
)
_CHUNKS = st.tuples(st.integers(1, 50), st.integers(1, 15)).flatmap(
    lambda size: st.lists(
        st.lists(st.floats(-9, 9) | st.integers(-9, 300), min_size=size[1], max_size=size[1]),
        min_size=size[0],
        max_size=size[0],
    )
)


@many_times
def test_text_and_numbers_stay(times: int) -> None:
    """Words, names, ids and digests are text, states and chunks are numbers, also beside an image."""
    image = base64.b64encode(numpy.random.default_rng(1).bytes(4000)).decode()

    @settings(max_examples=times, **_QUICK)  # type: ignore[arg-type]
    @given(_IDS, st.lists(st.floats(-9, 9) | st.integers(0, 255), max_size=64), _CHUNKS, st.booleans())
    def law(text: str, state: list[float], chunk: list[list[float]], batch: bool) -> None:
        request = {"instruction": text, "task": text, "state": state, "tags": [{"a": text}, text], "session_id": text}
        request |= {"prev_chunk": [chunk] if batch and len(chunk[0]) not in (1, 3, 4) else chunk, "image": image}
        line = recorded(request, ImageMode.HASH_ONLY)
        assert line.line["cameras"] == ["image"]
        del request["image"]
        kept = dict(line.request)
        assert kept.pop("image_sha256")
        assert same(request, kept)

    law()


@pytest.mark.parametrize(
    "shape", [(14,), (50, 7), (1, 50, 7), (1, 50, 32), (100, 14), (5, 6), (2, 3), (10, 3), (1, 10, 2)], ids=str
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_states_and_chunks_are_no_images(shape: tuple[int, ...], dtype: str) -> None:
    """Vectors and chunks of actions, also with a batch dimension, are numbers in every form."""
    array = numpy.random.default_rng(3).random(shape).astype(dtype)
    assert not Images({"x": array})
    assert not Images({"x": array.tolist()})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("look at {} and pick", "look at [image] and pick"),
        ("two: {} {}", "two: [image] [image]"),
        ('{{"camera": "{}", "name": "left"}}', '{{"camera": "[image]", "name": "left"}}'),
        ("data:image/png;base64,{}!", "[image]!"),
        ("data:application/octet-stream;base64,{}", ""),
    ],
)
def test_words_around_an_image_stay(text: str, kept: str) -> None:
    """Only the image goes out of a text, not the words around it."""
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(80))).decode()
    line = recorded({"x": {"note": text.format(image, image)}}, ImageMode.NONE)
    assert line.request["x"]["note"] == (kept.replace("{{", "{").replace("}}", "}") if kept else {"$image": None})


def test_weak_signatures_need_the_rest_of_their_header() -> None:
    """Two letters make no bitmap, and a path no JPEG."""
    assert spans(base64.b64encode(b"BM, said the robot, is where I come from").decode()) == []
    assert spans("/9j/camera/left/frames_of_today") == []
    assert spans("Qk0AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") == []
    assert spans("P2 100 200 is where the cup stands") == []
    assert spans("P2 3 2 255\n" + "17 200 34 " * 2) == [(0, 31)]
    assert spans("GIF89a is the name of a format") == []


@pytest.mark.parametrize(
    "value",
    [
        base64.b64encode(b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0" + bytes(8)).decode(),
        base64.b64encode(b"II*\0" + bytes(20)).decode(),
        base64.b64encode(b"qoif\0\0\0\x10\0\0\0\x10\3\0" + bytes(8)).decode(),
        base64.b64encode(b"P6 4 4 255\n" + bytes(48)).decode(),
        base64.b64encode(b"\0\0\0\x20ftypavif" + bytes(20)).decode(),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(20)).hex(),
        bytes(range(256)).hex(),
        f"pixels 0x{bytes(range(256)).hex()}",
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(20)).decode("latin-1"),
        str(b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(20)),
        base64.b64encode(bytes(192)).decode(),
        "data:image/svg+xml,%3Csvg/%3E",
        list(b"\x89PNG\r\n\x1a\n" + bytes(20)),
        [[[0.5] * 3] * 8] * 8,
        [[7] * 16] * 16,
        [[list(range(12))] * 16] * 16,
        [[[0.5] * 6] * 64] * 64,
        [[[[1, 2, 3]]]],
        [0.25] * 4096,
        [base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(200))).decode()[at : at + 76] for at in range(0, 276, 76)],
        '{"frame": [[[9, 8, 7], [9, 8, 7]], [[9, 8, 7], [9, 8, 7]], [[1, 2, 3], [1, 2, 3]]]}',
    ],
    ids=lambda value: str(value)[:24],
)
def test_images_are_told_in_every_form(value: Any) -> None:
    """Each form of an image is one, wherever it stands; a trace without images does not have it."""
    line = recorded({"x": {"y": [value, "left"]}}, ImageMode.NONE)
    assert line.line["cameras"] == ["x.y.0"]
    shown = orjson.dumps(value).decode().strip('"')
    assert shown not in line.line["text"]


@pytest.mark.parametrize(
    "piece", [b'}$Jx#?{"Js"?s 8{!8s\x1fFn 8', b"all of these are characters", bytes(range(60, 90))]
)
def test_bytes_that_python_shows_are_found_in_an_error(piece: bytes) -> None:
    """Also where nearly all of them are characters."""
    image = base64.b64encode(b"GIF89a\x1f\0\x11\0\xf7" + bytes(range(200)) + piece + bytes(range(90))).decode()
    for request in ({"image": image}, {"x": [image]}):
        shown = without_images(f"cannot use {piece!r}, sorry", request)
        assert "[image]" in shown
        assert not any(repr(piece)[at : at + 12] in shown for at in range(len(repr(piece)) - 12))


@pytest.mark.parametrize("gap", ["\n", "\r\n  ", "\\n", "\\\\r\\\\n", "%0D%0A"])
def test_the_end_of_an_image_in_lines_is_found(gap: str) -> None:
    """Where the text that holds it was cut, no line may have its whole length."""
    image = base64.b64encode(b"GIF89a\x1f\0\x11\0\xf7" + bytes(range(100, 250))).decode()
    piece = f"{image[-36:-20]}{gap}{image[-20:]}"
    line = recorded({"x": [image]}, ImageMode.NONE, answer={"seen": f"ends with {piece} as text"})
    assert line.line["response"]["seen"] == "ends with [image] as text"
    assert without_images(f"ends with {piece} as text", {"x": [image]}) == "ends with [image] as text"


@pytest.mark.parametrize("escape", ["\\/", "\\\\/", "\\u002f", "\\\\u002F", "%2F"])
@pytest.mark.parametrize("cut", range(4))
def test_the_end_of_an_image_that_begins_with_an_escape_is_found(escape: str, cut: int) -> None:
    """It is one letter, wherever in its group of four."""
    image = base64.b64encode(b"GIF89a\x1f\0\x11\0\xf7" + bytes(range(99)) + b"\xff" * 4 + bytes(range(30, 50))).decode()
    at = next(at for at, letter in enumerate(image) if letter == "/" and at % 4 == cut and at > len(image) - 36)
    piece = f"{image[at : at + 20]}\\r\\n{image[at + 20 :]}".replace("/", escape)
    shown = without_images(f"ends with {piece} as text", {"x": [image]})
    assert shown == "ends with [image] as text"


@pytest.mark.parametrize(
    "text", ["[1," * 100_000, "\\" * 100_000 + "\\/", "\\/" * 100_000, "(" * 100_000, "x\n" * 50_000]
)
def test_texts_that_look_like_much_are_read(text: str) -> None:
    """In time that grows with their length, and whatever they are nested in."""
    line = recorded({"x": text, "image": base64.b64encode(bytes(300)).decode()}, ImageMode.NONE, answer={"y": text})
    assert "image" in line.line["cameras"]
