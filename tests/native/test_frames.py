"""Lookups by the native core are those of Python, bit by bit; and it leaves to Python what it cannot do."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.errors import ExtrapolationError
from horus_async.frames import Frames, tree
from horus_async.native import core
from tests.frames.test_lookup import worlds
from tests.frames.trees import SECOND, edge

native = pytest.mark.skipif(core is None, reason="the native core is not in use")


def outcome(path: Any, ns: int) -> Any:
    """What Python gives."""
    try:
        return tree.chain_slowly(path, ns)
    except ExtrapolationError as error:
        return str(error)


@native
@given(made=worlds(), data=st.data())
@settings(deadline=None)
def test_both_forms_give_the_same_bits(made: Any, data: st.DataObject) -> None:
    """For any two frames at any time; where an edge holds nothing, it is Python's turn to say so."""
    world, frames, _ = made
    known = st.integers(0, len(world.parents)).map("f{}".format)
    path = frames._tree.path(data.draw(known), data.draw(known))
    every = sorted({ns for stamps in world.stamps for ns in stamps})
    ns = data.draw(st.sampled_from(every) | st.integers(every[0] - SECOND, every[-1] + SECOND))
    expected = outcome(path, ns)

    found = tree.native_chain(path.up, path.down, ns)

    if isinstance(expected, str) or not (path.up or path.down):
        assert found is None
    else:
        assert [*map(float.hex, found)] == [*map(float.hex, expected)]


@native
@given(
    turn=st.floats(-1e-5, 1e-5) | st.floats(-3.14, 3.14),
    flipped=st.booleans(),
    part=st.integers(0, SECOND),
    span=st.sampled_from([1, SECOND, 1 << 52, 1 << 53, 1 << 60]),
)
def test_both_forms_turn_alike(turn: float, flipped: bool, part: int, span: int) -> None:
    """Quaternions that are nearly equal or of opposite signs, and times so far apart that they would be rounded."""
    frames = Frames(history=1e6)
    frames._intake.tree.history_ns = 1 << 62
    side = -1.0 if flipped else 1.0
    frames.add(edge("a", "b", 0, (1.0, 2.0, 3.0)))
    frames.add(edge("a", "b", span, (-1.0, 0.1, 0.0), (0.0, side * np.sin(turn / 2), 0.0, side * np.cos(turn / 2))))
    for ends in (("a", "b"), ("b", "a")):
        path, ns = frames._tree.path(*ends), span * part // SECOND
        found, expected = tree.native_chain(path.up, path.down, ns), tree.chain_slowly(path, ns)
        assert found in (expected, None)
        assert (found is None) == (span > 1 << 52 and 0 < ns < span)


def like_an_edge(**fields: Any) -> Any:
    """What the core looks at, with something else in it."""
    usual = {"fixed": None, "_stamps": [1, 3], "_samples": [(0.0,) * 6 + (1.0,)] * 2, "_start": 0}
    return SimpleNamespace(**(usual | fields))


@native
@pytest.mark.parametrize(
    "fields",
    [
        {"_stamps": ["1", "3"]},
        {"_stamps": [1 << 70, 1 << 71]},
        {"_stamps": [1]},
        {"_stamps": []},
        {"_stamps": (1, 3)},
        {"_stamps": [3, 3]},
        {"_samples": [(0.0,) * 7, None]},
        {"_samples": [(0.0,) * 6, (0.0,) * 6]},
        {"_samples": [(0,) * 7, (0,) * 7]},
        {"_samples": None},
        {"_start": -1},
        {"_start": 2},
        {"_start": 1 << 70},
        {"_start": None},
        {"fixed": 3},
        {"fixed": (1.0,)},
    ],
)
def test_what_makes_no_sense_is_left_to_python(fields: dict[str, Any]) -> None:
    """None, and no exception is left behind."""
    assert core is not None
    assert core.chain((like_an_edge(),), (), 2) is not None
    for sides in (((like_an_edge(**fields),), ()), ((), (like_an_edge(), like_an_edge(**fields)))):
        assert core.chain(*sides, 2) is None
    assert core.chain((object(),), (), 2) is None
    assert core.chain((like_an_edge(),), (), 1 << 70) is None
    wrong: list[Any] = [(), ((), ()), ([], (), 1), ((), None, 1)]
    for arguments in wrong:
        with pytest.raises(TypeError, match="chain"):
            core.chain(*arguments)


@native
def test_nothing_is_kept_or_lost() -> None:
    """Counts of references are as they were, whatever came of it."""
    assert core is not None
    good, bad = like_an_edge(), like_an_edge(_samples=[(0.0,) * 7, None])
    kept = [good, good._stamps, good._samples, good._samples[0], bad, bad._samples, bad._samples[0]]
    before = [*map(sys.getrefcount, kept)]
    for _ in range(20_000):
        core.chain((good, good), (good,), 2)
        core.chain((good, bad), (bad,), 2)
        core.chain((good,), (), 9)
    assert [*map(sys.getrefcount, kept)] == before
