"""Turns exceptions into exit codes and one clear line, never a traceback.

0: fine; 1: a difference or an anomaly was found, or a check or a node failed; 2: wrong usage or unreadable input;
130: Ctrl-C.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from horus_async.cli.terminal.text import tell, tell_traceback
from horus_async.errors import AppError, ConfigurationError, ContextError, EmergencyStop, HorusError, NodeFailure
from horus_async.limits.memory import is_for_want_of_memory, out_of_memory
from horus_async.limits.open_files import limit_and_way_out, too_many_files
from horus_async.nodes.user_frames import begin_with_the_users, is_by_the_users, last_place
from horus_async.scheduler.signals import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

FOUND = 1
USAGE = 2
INTERRUPTED = 130


def fail(message: str, code: int) -> None:
    """Print one line on standard error and exit."""
    tell(f"horus-async: {' '.join(message.split())}", err=True)
    sys.exit(code)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what a command raises into an exit code and one line."""
    try:
        yield
    except Interrupted as error:
        sys.exit(error.code)  # also a KeyboardInterrupt, which click would turn into "Aborted!" and a 1
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except NodeFailure as error:
        _node_failed(error)
    except EmergencyStop as error:
        fail(f"emergency stop: {error}", FOUND)
    except AppError as error:
        _app_failed(error)
    except (ConfigurationError, ContextError) as error:
        place = place_of(error)
        fail(f"{place}{place and ': '}{error}", USAGE)
    except HorusError as error:
        fail(str(error), USAGE)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone: nothing more to say
        sys.exit(FOUND)
    except Exception as error:  # noqa: BLE001 - it comes out again, unless the system is to blame
        _system_failed(error)


def _system_failed(error: Exception) -> None:
    said = _of_the_system(error) or (str(error) if isinstance(error, OSError) else None)
    if said is None:
        raise  # noqa: PLE0704 - what is being handled
    fail(said, USAGE)


def _of_the_system(error: BaseException) -> str | None:
    """What to say of an error for want of descriptors or memory, imports that fail so among them; else None."""
    if isinstance(error, OSError) and (many := too_many_files(error)) is not None:
        return many
    if isinstance(error, ImportError) and os.strerror(errno.EMFILE) in str(error):
        return f"too many open files: {limit_and_way_out()}"
    return out_of_memory() if is_for_want_of_memory(error) else None


class _Closed(io.RawIOBase):
    """Standard output where there is none: what is printed there is an error, as nobody would get it."""

    def __init__(self, null: IO[str]) -> None:
        super().__init__()
        self.null = null
        """Holds the number of the descriptor."""

    def fileno(self) -> int:
        return self.null.fileno()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if memoryview(data).nbytes:
            raise HorusError("standard output is closed, and what this command prints would be lost: send it somewhere")
        return 0


def open_closed_streams() -> None:
    """Put the null device where a standard stream is closed, as by ``2>&-``, so that no file gets its number.

    What is printed on a closed standard output is an error, unless the command calls `prints_no_data`.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process
            if name == "stdout":
                sys.stdout = io.TextIOWrapper(_Closed(sys.stdout), encoding="utf-8", write_through=True)


def prints_no_data(*, unless: bool = False) -> None:
    """Say that a command is not there for the lines that it prints: they may be lost on a closed standard output."""
    if unless:
        return
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, _Closed):
        sys.stdout = raw.null


def _node_failed(error: NodeFailure) -> None:
    for failed in error.exceptions:
        show_traceback(failed)
    fail(f"{error.message}: {in_a_line(error.exceptions[0])}", FOUND)


def in_a_line(error: BaseException) -> str:
    """``Type: message``, and that of all in a group."""
    shown = f"{type(error).__name__}: {error}"
    if not isinstance(error, BaseExceptionGroup):
        return shown
    return f"{shown}: {'; '.join(in_a_line(one) for one in error.exceptions)}"


def show_traceback(error: BaseException) -> None:
    """Print it on standard error, from the first frame of the program on."""
    begin_with_the_users(error)
    tell_traceback(error)


def place_of(error: BaseException) -> str:
    """``FILE:LINE`` of the program, where it is the program's error; else empty."""
    place = last_place(error)
    if place is None:
        return ""
    file, line = Path(place[0]), place[1]
    here = Path.cwd()
    return f"{file.relative_to(here) if file.is_relative_to(here) else file}{f':{line}' if line else ''}"


def _app_failed(error: AppError) -> None:
    cause = error.__cause__
    said = None if cause is None or is_by_the_users(cause) else _of_the_system(cause)
    if said is not None:  # an import or the event loop failed, and where in there is nobody's business
        place = place_of(cause) if cause is not None else ""
        fail(f"{place}{place and ': '}{said}", USAGE)
    if error.failed and cause is not None:
        show_traceback(cause)
    fail(str(error), FOUND if error.failed else USAGE)
