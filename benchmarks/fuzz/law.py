"""What holds for every reader and every input, and who breaks it."""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
import warnings
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
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
_STATUS, _PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Linux's: of the memory of this process."""


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
        self._status: int | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            stack.callback(setattr, sys, "unraisablehook", sys.unraisablehook)
            stack.callback(signal.signal, signal.SIGPROF, signal.getsignal(signal.SIGPROF))
            if _STATUS.exists():
                self._status = os.open(_STATUS, os.O_RDONLY)
                stack.callback(os.close, self._status)
            warnings.simplefilter("always")
            warnings.showwarning = self._warn  # type: ignore[assignment]
            sys.unraisablehook = self._lost
            signal.signal(signal.SIGPROF, _interrupt)
            self._base = self._new_peak()
            self._ending = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def judge(self, data: bytes) -> Broken | None:
        """Read one input."""
        began = _processor_seconds()
        signal.setitimer(signal.ITIMER_PROF, HOPELESS_SECONDS)
        broken = None
        try:
            self._read(data)
        except HorusError as error:
            self.refused += 1
            broken = _unshowable(error)
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
            self._base = self._new_peak()
            return Broken(f"it took {grown >> 20} MB of memory", "memory")
        if took > self._seconds:
            return Broken(f"it took {took:.1f} s of the processor's time", "time")
        return None

    def _new_peak(self) -> int:
        """The same, from now on: what was before is forgotten, where the system can do that."""
        with suppress(OSError):
            _PEAK.write_text("5")
        return self._peak()

    def _peak(self) -> int:
        """Bytes of memory that this process had at most."""
        if self._status is None:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
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


def _unshowable(error: HorusError) -> Broken | None:
    """An error of ours whose text cannot be written anywhere."""
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
