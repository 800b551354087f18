"""From requests to the arrays of a graph: dtypes, shapes, images; nothing is converted in silence."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.policy import ObservationError, load_policy
from tests.policy.exports import identity, write_config, write_graph

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

_DTYPES = ["float32", "float64", "float16", "int8", "uint8", "int16", "int32", "int64"]


@settings(deadline=None)
@given(st.data())
def test_what_is_served_is_what_numpy_computes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A random model of any dtypes and shapes, open dimensions or not, gives what NumPy gives for the request."""
    dtype = data.draw(st.sampled_from(_DTYPES))
    out = data.draw(st.sampled_from(["float32", "float64", "float16", "int32", "int64"]))
    steps, width = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    shape: list[Any] = [1, steps, width]
    for at in data.draw(st.sets(st.sampled_from([0, 1, 2]))):
        shape[at] = f"open{at}"
    folder = write_graph(
        tmp_path_factory.mktemp("e"),
        [
            ("Cast", ["x"], "wide", {"to": 11}),
            ("Mul", ["wide", "two"], "twice"),
            ("Cast", ["twice"], "actions", {"to": _kind(out)}),
        ],
        {"x": (dtype, shape)},
        {"actions": (out, shape if data.draw(st.booleans()) else None)},
        constants={"two": numpy.array(2.0)},
    )
    whole = st.integers(0, 50)
    element = whole if "int" in dtype or "int" in out else st.one_of(whole, st.sampled_from([0.1, -2.5, 1e-3]))
    rows = data.draw(st.lists(st.lists(element, min_size=width, max_size=width), min_size=steps, max_size=steps))
    forms: list[Any] = [rows, numpy.asarray(rows), numpy.asarray([rows])]
    loaded = load_policy(folder)
    assert loaded.warm_up is not None
    loaded.warm_up()
    actions = loaded.act({"x": data.draw(st.sampled_from(range(3)).map(forms.__getitem__))})
    expected = (numpy.asarray(rows).astype(dtype).astype(float) * 2).astype(out)
    assert (actions.dtype, actions.tolist()) == (expected.dtype, expected.tolist())


def _kind(dtype: str) -> int:
    from tests.policy.exports import KINDS

    return KINDS[dtype]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", ["1", "2", "3"]),
        ("float32", [None, 1.0, 2.0]),
        ("float32", [1.0, [2.0], 3.0]),
        ("float32", [1.0, 2.0, {}]),
        ("float32", [1.0, 2.0, 1e300]),
        ("float16", [1.0, 2.0, 1e6]),
        ("float32", "1, 2, 3"),
        ("float32", b"\x01\x02"),
        ("int64", [1, 2, 3.5]),
        ("int64", [1.0, 2.0, float("nan")]),
        ("int64", [1, 2, "3"]),
        ("uint8", [1, 2, 256]),
        ("uint8", [1, 2, -1]),
        ("int8", numpy.array([1, 2, 200])),
        ("bool", [True, False, 2]),
        ("float32", numpy.array([1j, 2, 3])),
        ("float32", [1, 2, 1 << 70]),
        ("float32", [1.0, 2.0]),
        ("float32", [[1.0, 2.0, 3.0]] * 2),
        ("float32", []),
        ("float32", 3.0),
        ("float32", None),
    ],
)
def test_values_that_a_dtype_lacks_are_refused(tmp_path: Path, dtype: str, value: Any) -> None:
    """Texts, null, fractions of integers and numbers out of range are errors that name the field."""
    write_graph(
        tmp_path / "e",
        [("Cast", ["state"], "actions", {"to": 1})],
        {"state": (dtype, [1, 3])},
        {"actions": ("float32", [1, 3])},
    )
    with pytest.raises(ObservationError, match="'state'"):
        load_policy(tmp_path / "e").act({"state": value})


@pytest.mark.parametrize(
    ("dtype", "value", "actions"),
    [
        ("int64", [1.0, 2.0, 3.0], [1, 2, 3]),
        ("float32", [1, True, 3], [1, 1, 3]),
        ("bool", [1, 0, 1], [1, 0, 1]),
        ("uint8", numpy.array([1, 2, 255], ">i8"), [1, 2, 255]),
        ("float32", numpy.array([1, 2, 3], numpy.float16), [1, 2, 3]),
        ("float32", [[1, 2, 3]], [1, 2, 3]),
        ("float16", [0.5, 1, 65504], [0.5, 1, 65504]),
    ],
)
def test_values_that_a_dtype_has_are_taken(tmp_path: Path, dtype: str, value: Any, actions: Any) -> None:
    """Numbers of another dtype are taken where they are the same numbers."""
    write_graph(
        tmp_path / "e",
        [("Cast", ["state"], "actions", {"to": 1})],
        {"state": (dtype, [1, 3])},
        {"actions": ("float32", [1, 3])},
    )
    assert load_policy(tmp_path / "e").act({"state": value}).tolist() == [actions]


def test_errors_quote_no_images(tmp_path: Path) -> None:
    """No error of an input has 24 characters of what the request had there."""
    text = "0123456789abcdefghijklmnopqrstuvwxyz" * 9
    act = load_policy(identity(tmp_path / "e")).act
    for value in (text, [text] * 3, [[1.0, text, 2.0]], {"x": text}, text.encode(), [1.0, 2.0, text]):
        with pytest.raises(ObservationError) as caught:
            act({"state": value})
        assert not any(text[at : at + 24] in str(caught.value) for at in range(36))


def test_fields_may_be_nested(tmp_path: Path) -> None:
    """A dotted path leads to a nested field; a field that has the whole name comes first."""
    act = load_policy(identity(tmp_path / "e", config={"inputs": {"state": "observation.state"}})).act
    assert act({"observation": {"state": [1, 2, 3]}}).tolist() == [[1, 2, 3]]
    assert act({"observation.state": [4, 5, 6], "observation": {"state": [1, 2, 3]}}).tolist() == [[4, 5, 6]]
    requests: list[dict[str, Any]] = [{"observation": [1, 2, 3]}, {"observation": {}}, {}]
    for request in requests:
        with pytest.raises(ObservationError, match=r"'observation\.state'"):
            act(request)


def _png(pixels: numpy.ndarray) -> bytes:
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def _text(pixels: numpy.ndarray) -> str:
    return base64.b64encode(_png(pixels)).decode()


def camera(folder: Path, shape: list[Any], dtype: str = "float32", config: Any = None) -> Path:
    """A policy that answers with the pixels that it sees, in a row."""
    write_graph(
        folder,
        [("Reshape", ["image", "flat"], "row"), ("Cast", ["row"], "actions", {"to": 1})],
        {"image": (dtype, shape)},
        {"actions": ("float32", None)},
        constants={"flat": numpy.array([1, -1], numpy.int64)},
    )
    return write_config(folder, config or {})


PIXELS = numpy.arange(4 * 5 * 3, dtype=numpy.uint8).reshape(4, 5, 3)


@pytest.mark.parametrize("shape", [[1, 3, 4, 5], [1, 3, "h", "w"], [3, 4, 5]])
@pytest.mark.parametrize("form", [_text, _png, lambda pixels: pixels, lambda pixels: pixels.transpose(2, 0, 1)])
def test_an_image_is_the_same_however_it_travels(tmp_path: Path, shape: list[Any], form: Any) -> None:
    """Base64, bytes, and uint8 arrays in either order of dimensions fill an input with channels first, 0 to 1."""
    actions = load_policy(camera(tmp_path / "e", shape)).act({"image": form(PIXELS)})
    assert actions[0] == pytest.approx(PIXELS.transpose(2, 0, 1).ravel() / 255)


@pytest.mark.parametrize("form", [_text, _png, lambda pixels: pixels])
def test_channels_may_be_last(tmp_path: Path, form: Any) -> None:
    """A uint8 input with the channels last gets the pixels as they are."""
    actions = load_policy(camera(tmp_path / "e", [1, 4, 5, 3], "uint8")).act({"image": form(PIXELS)})
    assert actions[0].tolist() == PIXELS.ravel().tolist()


def test_camera_stacks_are_one_array(tmp_path: Path) -> None:
    """A list of images fills an input with a dimension of cameras; images of different sizes are refused."""
    act = load_policy(camera(tmp_path / "e", [1, 2, 3, 4, 5])).act
    stack = numpy.stack([PIXELS, PIXELS + 60])
    for value in ([_text(image) for image in stack], [_png(image) for image in stack], stack):
        assert act({"image": value})[0] == pytest.approx(stack.transpose(0, 3, 1, 2).ravel() / 255)
    with pytest.raises(ObservationError, match="different sizes"):
        act({"image": [_text(PIXELS), _text(PIXELS[:2])]})
    with pytest.raises(ObservationError, match="shape"):
        act({"image": [_text(PIXELS)] * 3})


def test_grey_images_fill_one_channel(tmp_path: Path) -> None:
    """A grey image fills an input of one channel; a coloured one is refused, not mixed."""
    act = load_policy(camera(tmp_path / "e", [1, 1, 4, 5])).act
    assert act({"image": _text(PIXELS[..., 0])})[0] == pytest.approx(PIXELS[..., 0].ravel() / 255)
    with pytest.raises(ObservationError, match="in colour"):
        act({"image": _text(PIXELS)})


def test_arrays_of_16_bits_keep_their_range(tmp_path: Path) -> None:
    """A uint16 array is divided by 65535 for a float input, and unchanged for one of uint16."""
    depth = (numpy.arange(20, dtype=numpy.uint16) * 3000).reshape(4, 5, 1)
    assert load_policy(camera(tmp_path / "f", [1, 1, 4, 5])).act({"image": depth})[0] == pytest.approx(
        depth.ravel() / 65535
    )
    exact = load_policy(camera(tmp_path / "u", [1, 1, 4, 5], "uint16")).act({"image": depth})
    assert exact[0].tolist() == depth.ravel().tolist()


def test_images_are_normalised_after_they_are_decoded(tmp_path: Path) -> None:
    """The statistics of ImageNet are those of values from 0 to 1, by channel."""
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    config = {"inputs": {"image": {"mean": mean, "std": std}}}
    actions = load_policy(camera(tmp_path / "e", [1, 3, 4, 5], config=config)).act({"image": _text(PIXELS)})
    expected = ((PIXELS / 255 - mean) / std).transpose(2, 0, 1)
    assert actions[0] == pytest.approx(expected.ravel(), abs=1e-5)


def test_texts_go_in_as_they_are(tmp_path: Path) -> None:
    """An input of text takes a text, or as many as it has room for, and nothing else."""
    write_graph(
        tmp_path / "e",
        [("Cast", ["instruction"], "actions", {"to": 1})],
        {"instruction": ("text", [2])},
        {"actions": ("float32", [2])},
    )
    act = load_policy(tmp_path / "e").act
    assert act({"instruction": ["1.5", "2"]}).tolist() == [[1.5, 2]]
    for value in ("1", [1, 2], ["1", None], ["1", "2", "3"]):
        with pytest.raises(ObservationError, match="instruction"):
            act({"instruction": value})
