"""Noise for models that start from some: normal, and the same for the same request, so that replays agree."""

from __future__ import annotations

import hashlib
import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy

_STATES = ("state", "observation/state", "observation.state")
_INSTRUCTIONS = ("instruction", "prompt", "task")


def drawn(seed: int, number: int, shape: Sequence[int], dtype: str) -> numpy.ndarray:
    """Standard normal noise for the ``number``-th input that wants some.

    Drawn in float64 and then rounded, so that a float16 export of a model starts from the noise of the float32 one.
    """
    import numpy

    generator = numpy.random.Generator(numpy.random.PCG64([seed, number]))
    return generator.standard_normal(tuple(shape)).astype(dtype)


def seed_of(request: Mapping[str, Any]) -> int:
    """The request's ``seed``, else one that follows from its instruction and its state.

    These are in a trace whatever it keeps of images, and the same in JSON and in MessagePack: the state counts as
    float32. So a request and its replay have the same seed.

    Raises:
        ValueError: ``seed`` is not a whole number from 0 to 2**64 - 1.
    """
    if (said := request.get("seed")) is not None:
        return _checked(said)
    digest = hashlib.sha256()
    instruction = next((value for name in _INSTRUCTIONS if isinstance(value := request.get(name), str) and value), "")
    digest.update(instruction.encode("utf-8", "surrogatepass") + b"\0")
    digest.update(_state_bytes(next((value for name in _STATES if (value := request.get(name)) is not None), ())))
    return int.from_bytes(digest.digest()[:8], "little")


def _checked(said: Any) -> int:
    try:
        seed = -1 if isinstance(said, bool) else operator.index(said)
    except TypeError:
        seed = -1
    if not 0 <= seed < 1 << 64:
        raise ValueError("request field 'seed' must be a whole number from 0 to 2**64 - 1")
    return seed


def _state_bytes(state: Any) -> bytes:
    import numpy

    try:
        with numpy.errstate(over="ignore", invalid="ignore"):
            return numpy.asarray(state, dtype="<f4").tobytes()
    except (TypeError, ValueError, OverflowError):
        return b""
