"""Fatal signals: ``faulthandler`` writes the stack into the space at the end of the box, where readers find it.

After a segmentation fault or an abort a process cannot run Python any more, so nothing can be recorded the usual way.
``faulthandler`` needs only a file descriptor, and writes at its current position.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from typing import TYPE_CHECKING

from .events import NodeError, Record, SchedulerStop

if TYPE_CHECKING:
    from pathlib import Path

    from .layout import FileHeader

BEGINNING = b"Fatal Python error: "

_SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}


class FatalSignals:
    """While it is open, fatal signals of this process leave their stack in the box.

    With several open, the last one opened gets it. Afterwards ``faulthandler`` is off or on as it was before; if on, it
    writes to standard error, since there is no way to ask it where it wrote before.
    """

    def __init__(self, box: Path, header: FileHeader) -> None:
        if not _open:
            _before[:] = [faulthandler.is_enabled()]
        self.fd = os.open(box, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.lseek(self.fd, header.rest, os.SEEK_SET)
        _open.append(self)
        faulthandler.enable(self.fd, all_threads=False)  # one stack always fits

    def close(self) -> None:
        """Hand the signals back to whatever had them before."""
        _open.remove(self)
        if _open:
            faulthandler.enable(_open[-1].fd, all_threads=False)
        elif _before[0] and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        else:
            faulthandler.disable()
        os.close(self.fd)


_open: list[FatalSignals] = []
_before = [False]


def fatal_records(text: bytes, header: FileHeader, last: Record | None) -> list[Record]:
    """The text that ``faulthandler`` left, as the last two events of the run: the stack, and the end.

    They take the tick and time of the event before them, as a dying process cannot tell the time; ``total_ticks`` is
    one more than that tick. Being plain text, they have no checksum.

    Args:
        text: The space after the segments.
        header: The box's.
        last: The last event in the box.
    """
    if not text.startswith(BEGINNING):
        return []
    dump = text.partition(b"\0")[0].decode("utf-8", "replace")
    what = dump[len(BEGINNING) :].partition("\n")[0].strip()
    signal = _SIGNALS.get(what, what)
    seq, tick, time_ns = (0, 0, header.started_ns) if last is None else (last.seq + 1, last.tick, last.time_ns)
    error = NodeError(header.name, f"Fatal Python error: {what} ({signal})", dump)
    stop = SchedulerStop(f"signal {signal}", tick + 1)
    return [Record(seq + n, header.run, tick, time_ns, event) for n, event in enumerate((error, stop))]
