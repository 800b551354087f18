"""Camera images as bytes and pixels, and observations as arrays."""

from __future__ import annotations

import base64
import io

import numpy
import pytest

from horus_async.policy import ObservationError, arrays
from horus_async.policy.model.observation import image_bytes

BASE64 = base64.b64encode(b"a frame of a camera").decode()


def test_base64_with_and_without_a_data_url() -> None:
    """A data URL and bare base64 give the same bytes; anything else is an error that names the field."""
    assert image_bytes(f"data:image/png;base64,{BASE64}") == image_bytes(BASE64) == b"a frame of a camera"
    with pytest.raises(ObservationError, match="wrist"):
        image_bytes("not base64!", "wrist")


def test_an_observation_as_arrays() -> None:
    """Numbers become float64 arrays, cameras RGB pixels, and the rest stays as it is."""
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    pixels = numpy.arange(24, dtype=numpy.uint8).reshape(2, 4, 3)
    image.fromarray(pixels).save(stream, format="PNG")
    text = base64.b64encode(stream.getvalue()).decode()
    found = arrays({"instruction": "pick", "state": [1, 2.5], "image": text, "episode_id": None})
    assert (found["instruction"], found["episode_id"]) == ("pick", None)
    assert found["state"].tolist() == [1.0, 2.5]
    assert numpy.array_equal(found["image"], pixels)
    with pytest.raises(ObservationError, match="state"):
        arrays({"state": [1, "x"]})
