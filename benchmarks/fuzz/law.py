"""What holds for every reader and every input, and who breaks it."""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from horus_async.errors import HorusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

SECONDS = 1.0
"""Of the processor's time, for one input."""
MEMORY = 200 << 20
"""Bytes above what the process had when it began."""
HOPELESS_SECONDS = 60.0
"""After so much of the processor's time a reader is interrupted."""
_ADDRESS_SPACE = 4 << 30


class TooLongError(BaseException):
    """A reader that does not end. Not an `Exception`: no reader may catch it."""


@frozen
class Broken:
    """One way in which the law was broken."""

    what: str
    """In one line."""
    place: str
    """Where, so that the same fault is told once."""
    trace: str = ""


class Law:
    """Judges a reader, one input after the other. A context manager: it listens for warnings and lost exceptions."""

    def __init__(self, read: Callable[[bytes], object], *, hurried: bool = True) -> None:
        """Judge ``read``; unless ``hurried``, by time only where it does not end."""
        self._read = read
        self._seconds = SECONDS if hurried else HOPELESS_SECONDS
        self.refused = 0
        """Inputs that gave an error of ours."""
        self.longest = 0.0
        """Seconds of the processor's time that an input took at most."""
        self._warned: list[str] = []

    def __enter__(self) -> Self:
        self._before = warnings.showwarning, warnings.filters[:], sys.unraisablehook, signal.getsignal(signal.SIGPROF)
        warnings.simplefilter("always")
        warnings.showwarning = self._warn  # type: ignore[assignment]
        sys.unraisablehook = self._lost
        signal.signal(signal.SIGPROF, _interrupt)
        self._status = os.open("/proc/self/status", os.O_RDONLY)
        self._base = self._peak()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._status)
        warnings.showwarning, warnings.filters[:], sys.unraisablehook, handler = self._before  # type: ignore[index]
        warnings._filters_mutated()  # type: ignore[attr-defined]
        signal.signal(signal.SIGPROF, handler)

    def judge(self, data: bytes) -> Broken | None:
        """Read one input."""
        began = _processor_seconds()
        signal.setitimer(signal.ITIMER_PROF, HOPELESS_SECONDS)
        broken = None
        try:
            self._read(data)
        except HorusError as error:
            self.refused += 1
            broken = _not_one_line(error)
        except TooLongError as error:
            broken = _broken_by(error, f"it has not ended after {HOPELESS_SECONDS:g} s")
        except BaseException as error:  # noqa: BLE001 - that is what is looked for
            broken = _broken_by(error, f"{type(error).__name__}: {error}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        took = _processor_seconds() - began
        self.longest = max(self.longest, took)
        return broken or self._judge_effects(took)

    def _judge_effects(self, took: float) -> Broken | None:
        if self._warned:
            said, self._warned = self._warned[0], []
            return Broken(said, said.partition(":")[0])
        grown = self._peak() - self._base
        if grown > MEMORY:
            self._base += grown
            return Broken(f"it took {grown >> 20} MB of memory", "memory")
        if took > self._seconds:
            return Broken(f"it took {took:.1f} s of the processor's time", "time")
        return None

    def _peak(self) -> int:
        """Bytes of memory that this process had at most."""
        status = os.pread(self._status, 4096, 0)
        at = status.find(b"VmHWM:")
        return int(status[at + 6 : status.find(b"kB", at)]) << 10

    def _warn(self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        self._warned.append(f"{category.__name__} at {filename}:{lineno}: {message}")

    def _lost(self, lost: Any) -> None:
        self._warned.append(f"{type(lost.exc_value).__name__} that nobody could catch: {lost.exc_value}")


@contextmanager
def bounded() -> Iterator[None]:
    """Let this process have so much address space and no more, so that a fault does not end the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _not_one_line(error: HorusError) -> Broken | None:
    """An error of ours that cannot be shown: its text fails, or is not one line that a terminal can print."""
    text = str(error)
    try:
        text.encode()
    except UnicodeEncodeError:
        return _broken_by(error, f"the error cannot be encoded: {text!r:.200}")
    return None


def _broken_by(error: BaseException, what: str) -> Broken:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/benchmarks/" not in frame.filename and "horus_async" in frame.filename]
    last = (ours or frames)[-1]
    place = f"{type(error).__name__} at {last.filename.rpartition('horus_async/')[2]}:{last.lineno}"
    return Broken(" ".join(what.split())[:300], place, "".join(traceback.format_exception(error)))


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _interrupt(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    raise TooLongError
