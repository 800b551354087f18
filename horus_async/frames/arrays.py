"""The algebra of `rigid`, for rows of motions: an array of shape (N, 7) each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Motions = NDArray[np.float64]


def turned(motions: Motions, vectors: Motions) -> Motions:
    """Each vector (N, 3) turned by the rotation of its row."""
    import numpy as np

    axis, w = motions[:, 3:6], motions[:, 6:]
    twice = 2.0 * np.cross(axis, vectors)
    found: Motions = vectors + w * twice + np.cross(axis, twice)
    return found


def compose_many(a: Motions, b: Motions) -> Motions:
    """First ``b``, then ``a``, row by row."""
    import numpy as np

    at = a[:, :3] + turned(a, b[:, :3])
    axis_a, axis_b, w_a, w_b = a[:, 3:6], b[:, 3:6], a[:, 6:], b[:, 6:]
    axis = w_a * axis_b + w_b * axis_a + np.cross(axis_a, axis_b)
    w = w_a * w_b - np.sum(axis_a * axis_b, axis=1, keepdims=True)
    return np.hstack([at, axis, w])


def inverse_many(a: Motions) -> Motions:
    """The way back, row by row."""
    import numpy as np

    back = np.hstack([np.zeros_like(a[:, :3]), -a[:, 3:6], a[:, 6:]])
    back[:, :3] = -turned(back, a[:, :3])
    return back


def between_many(a: Motions, b: Motions, part: NDArray[np.float64]) -> Motions:
    """The motion ``part`` (0 to 1, one a row) of the way from ``a`` to ``b``; see `rigid.between`."""
    import numpy as np

    part = part[:, None]
    near = np.sum(a[:, 3:] * b[:, 3:], axis=1, keepdims=True)
    side = np.where(near < 0.0, -1.0, 1.0)
    angle = np.arccos(np.minimum(near * side, 1.0))
    straight = angle < 1.5e-7
    whole = np.where(straight, 1.0, np.sin(angle))
    of_a = np.where(straight, 1.0 - part, np.sin((1.0 - part) * angle) / whole)
    of_b = np.where(straight, part, np.sin(part * angle) / whole) * side
    return np.hstack([(1.0 - part) * a[:, :3] + part * b[:, :3], of_a * a[:, 3:] + of_b * b[:, 3:]])
