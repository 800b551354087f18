"""One edge of the tree: where a frame was in its parent, over the last seconds."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from horus_async.clock.system import NANOSECONDS
from horus_async.errors import ExtrapolationError, FramesError

from .rigid import between

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .arrays import Motions
    from .rigid import Motion

BACK_AFTER = 3
"""So many messages in a row that are older than all of an edge's history mean that time has gone back."""
_SPARE = 64
"""Samples that are over stay until there are so many of them, and as many as are left: removing each costs more."""


def seconds(ns: int) -> str:
    """A time for people."""
    return f"{ns / NANOSECONDS:.6f} s"


def milliseconds(ns: int) -> str:
    """A duration for people; whole seconds where milliseconds would only be digits."""
    return f"{ns / 1e6:.3f} ms" if ns < 10 * NANOSECONDS else f"{ns / NANOSECONDS:.1f} s"


class Edge:
    """Where ``child`` is in ``parent``: fixed, or samples of the last ``history_ns`` nanoseconds, by their stamps."""

    __slots__ = ("_history_ns", "_late", "_samples", "_stamps", "_start", "child", "fixed", "parent")

    def __init__(self, parent: str, child: str, history_ns: int, *, fixed: Motion | None = None) -> None:
        self.parent = parent
        self.child = child
        self.fixed = fixed
        """The motion of an edge that never changes; None if it moves."""
        self._history_ns = history_ns
        self._stamps: list[int] = []
        self._samples: list[Motion] = []
        self._start = 0
        self._late = 0
        """Messages in a row that were too old."""

    def __len__(self) -> int:
        """The samples of a moving edge."""
        return len(self._stamps) - self._start

    def __str__(self) -> str:
        return f"{self.parent} → {self.child}"

    @property
    def oldest(self) -> int:
        """Stamp of the oldest sample, ns."""
        return self._stamps[self._start]

    @property
    def newest(self) -> int:
        """Stamp of the newest sample, ns."""
        return self._stamps[-1]

    def add(self, ns: int, motion: Motion) -> bool:
        """Take a sample, in whatever order they come; one of the same stamp is replaced.

        Returns:
            Whether time has gone back, and the history begins anew with this one.

        Raises:
            FramesError: It is older than all that is kept.
        """
        stamps, samples = self._stamps, self._samples
        if not stamps or ns > stamps[-1]:
            stamps.append(ns)
            samples.append(motion)
            self._late = 0
            if stamps[self._start] < ns - self._history_ns:
                self._let_go(bisect_left(stamps, ns - self._history_ns, self._start))
            return False
        if ns < stamps[-1] - self._history_ns:
            return self._too_late(ns, motion)
        self._late = 0
        at = bisect_left(stamps, ns, self._start)
        if stamps[at] == ns:
            samples[at] = motion
        else:
            stamps.insert(at, ns)
            samples.insert(at, motion)
        return False

    def _too_late(self, ns: int, motion: Motion) -> bool:
        self._late += 1
        if self._late < BACK_AFTER:
            gap = milliseconds(self._stamps[-1] - self._history_ns - ns)
            raise FramesError(
                f"edge {self} of {seconds(ns)} comes {gap} too late: its newest is of {seconds(self.newest)}, and "
                f"{self._history_ns / NANOSECONDS:g} s are kept"
            )
        self._stamps[:], self._samples[:], self._start, self._late = [ns], [motion], 0, 0
        return True

    def drop_oldest(self) -> None:
        """Keep a shorter history: there are too many samples in all."""
        self._let_go(self._start + 1)

    def forget_after(self, ns: int) -> int:
        """Forget samples that are newer: time has gone back to ``ns``. Returns how many."""
        at = bisect_left(self._stamps, ns + 1, self._start)
        forgotten = len(self._stamps) - at
        del self._stamps[at:], self._samples[at:]
        return forgotten

    def _let_go(self, start: int) -> None:
        self._start = start
        if start > _SPARE and start > len(self._stamps) // 2:
            del self._stamps[:start], self._samples[:start]
            self._start = 0

    def at(self, ns: int) -> Motion:
        """Where the child was at that time.

        Raises:
            ExtrapolationError: The samples begin later or end earlier.
        """
        if self.fixed is not None:
            return self.fixed
        stamps = self._stamps
        if ns == stamps[-1]:
            return self._samples[-1]
        at = bisect_left(stamps, ns, self._start)
        if at == len(stamps):
            raise self._beyond(ns, ns - stamps[-1])
        later = stamps[at]
        if later == ns:
            return self._samples[at]
        if at == self._start:
            raise self._beyond(ns, ns - later)
        earlier = stamps[at - 1]
        return between(self._samples[at - 1], self._samples[at], (ns - earlier) / (later - earlier))

    def many(self, times: NDArray[np.int64]) -> Motions:
        """Where the child was at each of these times, a row each.

        Raises:
            ExtrapolationError: The samples begin later or end earlier than one of these.
        """
        import numpy as np

        from .arrays import between_many

        if self.fixed is not None:
            return np.broadcast_to(np.array(self.fixed), (len(times), 7))
        first, last = int(times.min()), int(times.max())
        self.at(first)
        self.at(last)
        low = bisect_left(self._stamps, first, self._start)
        low -= self._stamps[low] != first
        high = bisect_left(self._stamps, last, self._start) + 1
        stamps = np.array(self._stamps[low:high], np.int64)
        samples = np.array(self._samples[low:high])
        if len(stamps) == 1:
            return np.repeat(samples, len(times), axis=0)
        at = np.clip(np.searchsorted(stamps, times), 1, len(stamps) - 1)
        # integers first: the difference of two floats of today's size has a quarter of a microsecond at best
        part = (times - stamps[at - 1]) / (stamps[at] - stamps[at - 1])
        return between_many(samples[at - 1], samples[at], part)

    def _beyond(self, ns: int, gap: int) -> ExtrapolationError:
        """The error for a time ``gap`` ns after the newest sample, or, negative, before the oldest."""
        if gap > 0:
            far = f"is {milliseconds(gap)} behind: its newest is of {seconds(self.newest)}"
        else:
            far = f"begins {milliseconds(-gap)} later: its oldest is of {seconds(self.oldest)}"
        held = (
            "one sample" if len(self) == 1 else f"{len(self)} samples, {seconds(self.oldest)} to {seconds(self.newest)}"
        )
        unset = (
            "; a stamp of 0 was perhaps never set" if 0 in (ns, self.newest) and abs(gap) > 10**8 * NANOSECONDS else ""
        )
        return ExtrapolationError(
            f"at {seconds(ns)}: edge {self} {far}; it holds {held}, and nothing is guessed beyond{unset}",
            gap / NANOSECONDS,
        )
