"""What clients of the policy server send, and what lies beside a policy."""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgpack as msgpack_library
import numpy as np
import orjson

from horus_async.errors import HorusError
from horus_async.policy import ImageMode
from horus_async.policy.model.images.hiding import whole_or_spans
from horus_async.policy.model.observation import arrays, image_array
from horus_async.policy.model.onnx.config import read_config
from horus_async.policy.model.wire import WireFormat, pack
from horus_async.policy.server.requests import parse_episode, parse_observation
from horus_async.policy.trace import format as trace_format

from .changes import change_bytes, change_json, change_value
from .target import Fuzzed, put

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image


def _png(size: tuple[int, int] = (4, 3)) -> bytes:
    return _encoded(_picture(size), "PNG")


def _picture(size: tuple[int, int]) -> Image.Image:
    from PIL import Image

    return Image.fromarray(np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3))


def _encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def act(root: Path) -> Fuzzed:
    """Observations as JSON, and what the policy and the trace make of them."""
    del root
    image = base64.b64encode(_png()).decode()
    bodies = [
        {"instruction": "pick up the cup", "state": [0.1, 2, -3.5], "image": image, "episode_id": "e1"},
        {"instruction": None, "state": None, "cameras": {"left": image, "right": f"data:image/png;base64,{image}"}},
        {"observation": {"state": [[1, 2], [3, 4]], "images": [image, image]}, "step": 3, "executed": 2},
        {"episode_id": "e2"},
    ]
    return Fuzzed([orjson.dumps(body) for body in bodies], _read_act, change_json)


def _read_act(data: bytes) -> None:
    with suppress(HorusError):
        parse_episode(data)
    observation, _ = parse_observation(data, WireFormat.JSON)
    whole_or_spans(observation["instruction"])
    _as_recorded(data, WireFormat.JSON)
    arrays(observation)


def _as_recorded(body: bytes, form: WireFormat) -> None:
    from horus_async.policy import Exchange
    from horus_async.policy.model.interface import answer_of

    exchange = Exchange(
        body=body, arrival_ns=1, finished_ns=2, request_id="r", status=200, policy_ms=1.0, queue_ms=0.0, mode="python",
        answer=answer_of([[0.5]]), failure=None, form=form,
    )  # fmt: skip
    for mode in ImageMode:
        with suppress(TypeError):  # JSON lacks it: the recorder says so, and keeps the place of the request
            trace_format.request_line(exchange, 0, mode)


def msgpack(root: Path) -> Fuzzed:
    """Observations with arrays, scalars, times and texts."""
    del root
    observations: list[Any] = [
        {"observation/state": np.arange(7, dtype="<f4"), "prompt": "pick", "image": np.zeros((4, 4, 3), np.uint8)},
        {
            "state": [1.0, 2],
            "n": np.float64(2.5),
            "deep": {"a": [np.int16(3), 2.5], "b": b"bytes", "c": [None, True], "d": "text"},
        },
        {"prompt": np.array("text"), "times": np.array(["2026-01-01"], "M8[s]"), "big": (1 << 64) - 1},
    ]
    return Fuzzed([pack(one) for one in observations], _read_msgpack, _change_msgpack)


def _read_msgpack(data: bytes) -> None:
    observation, _ = parse_observation(data, WireFormat.MSGPACK)
    _as_recorded(data, WireFormat.MSGPACK)
    arrays(observation)


def _change_msgpack(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change bytes, or a value in it."""
    if chance.random() < 0.5:
        return change_bytes(data, others, chance)
    try:
        value = change_value(msgpack_library.unpackb(data, strict_map_key=False), chance)
        packed: bytes = msgpack_library.packb(value)
    except Exception:  # noqa: BLE001 - of the library, on what was changed before
        return change_bytes(data, others, chance)
    return packed


def image(root: Path) -> Fuzzed:
    """Images of the formats that Pillow reads, as bytes; the reader gets them in base64."""
    del root
    picture = _picture((8, 6))
    forms = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
    seeds = []
    for form in forms:
        with suppress(OSError, KeyError, ValueError):
            seeds.append(_encoded(picture, form))
    seeds += [_encoded(picture.convert(mode), "PNG") for mode in ("P", "I;16")]
    seeds.append(_encoded(picture.convert("1"), "TIFF"))

    def read(data: bytes) -> None:
        image_array(base64.b64encode(data).decode())

    return Fuzzed(seeds, read)


def policy(root: Path) -> Fuzzed:
    """The file ``policy.json`` of an export."""
    said: list[dict[str, Any]] = [
        {"model": "m.onnx", "inputs": {"x": {"field": "state", "mean": [0, 1], "std": [1, 2]}, "y": "image"},
         "output": {"name": "actions", "min": [0], "max": [1]}, "action_names": ["a"], "embodiment": "arm",
         "providers": ["CPUExecutionProvider"], "concurrency": 2},
        {"models": [{"file": "a.onnx", "outputs": {"o": "p"}, "inputs": {"n": {"noise": True, "shape": [1, 2]}},
                     "repeat": {"steps": 3, "input": "n", "velocity": "v", "time": "t", "start": 1, "end": 0}},
                    {"file": "b.onnx", "inputs": {"q": {"from": "p"}}}], "output": [{"name": "x"}, {"name": "y"}]},
    ]  # fmt: skip
    path = str(root / "policy.json")

    def read(data: bytes) -> None:
        put(path, data)
        read_config(root)

    return Fuzzed([orjson.dumps(one) for one in said], read, change_json)
