"""Where conversions write: files that appear when they are whole, and what is no plain file, which is written into.

A plain file is written beside its name and renamed. A pipe, a device or standard output gets the bytes as they come. A
link stays a link: its target is filled when everything is there.
"""

from __future__ import annotations

import codecs
import os
import shutil
import stat
import sys
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import define, field

from horus_async.errors import RecordingError
from horus_async.hints.installed import install
from horus_async.limits.open_files import why
from horus_async.recorder.messages import session_messages
from horus_async.spelling import did_you_mean, printable_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from horus_async.recorder.read.session import Session

STDOUT = Path("-")
"""Stands for standard output. A file of this name is ``/…/-``."""
_NAMED = 8
"""Names that a line lists."""


@define
class Exported:
    """What was written."""

    files: dict[Path, int]
    """How many messages each file holds."""
    notes: list[str] = field(factory=list)
    """What became of values that the format has no type for."""


def is_stream(path: Path) -> bool:
    """Whether what is written there cannot be taken back: standard output, a pipe, a device, a socket.

    Raises:
        RecordingError: it is a folder.
    """
    status = None if path == STDOUT else _status(path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise RecordingError(f"cannot write {path}: it is a folder; give a file's name")
    if path == STDOUT or status is None:
        return path == STDOUT
    # `/dev/stdout` is a link, and what it leads to may be a plain file that the shell has opened.
    return not stat.S_ISREG(status.st_mode) or (path.is_symlink() and _is_stdout(status))


def goes_to_stdout(path: Path) -> bool:
    """Whether it is standard output, by whatever name."""
    return path == STDOUT or (is_stream(path) and _is_stdout(path.stat()))


@contextmanager
def writing(path: Path) -> Iterator[Any]:
    """A binary stream into ``path``, which is there as a whole if the block ends well, and untouched otherwise.

    What comes after the first byte of a stream (see `is_stream`) cannot be taken back.

    Raises:
        RecordingError: It cannot be written.
        BrokenPipeError: Nobody reads the pipe any more.
    """
    with _told(path):
        if is_stream(path):
            with _opened(path) as stream:
                counted = Counted(stream)
                try:
                    yield counted
                finally:
                    counted.close()
                stream.flush()
            return
        with beside(path) as part:
            with part.open("r+b") as stream:
                yield stream
            settle(part, path)


@contextmanager
def beside(path: Path, number: int = 0) -> Iterator[Path]:
    """An empty file in the same folder, for what will be ``path``; it is gone after the block, unless it was renamed.

    Raises:
        RecordingError: It cannot be made.
    """
    part = path.with_name(f".{path.name[:200]}.{os.getpid()}.{number}.part")
    with _told(path):
        _remove_left(path)
        part.unlink(missing_ok=True)  # of a killed process that had this number
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666))
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _remove_left(path: Path) -> None:
    """Remove what exports of the same file have left that were killed."""
    for left in path.parent.glob(f".{escape(path.name[:200])}.*.part"):
        numbers = left.name.removeprefix(f".{path.name[:200]}.").split(".")
        if len(numbers) == 3 and numbers[0].isdigit() and numbers[1].isdigit() and not _is_alive(int(numbers[0])):
            left.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def settle(part: Path, path: Path) -> None:
    """Make a finished file ``path``: by renaming it, or where ``path`` is a link or a stream, by copying it into that.

    Raises:
        RecordingError: It cannot be written.
    """
    with _told(path):
        if not path.is_symlink() and not is_stream(path):
            part.replace(path)
            return
        with part.open("rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)


class Counted:
    """A binary stream that knows how much was written to it: a pipe cannot say where it is, as file formats ask."""

    closed = False

    def __init__(self, stream: BinaryIO | None) -> None:
        self._stream = stream
        self._written = 0
        self._done = False

    def write(self, data: Any) -> int:
        """Write all of it; nothing after `close`, as some writers try once more when they are thrown away."""
        size = memoryview(data).nbytes
        if not self._done:
            self._put(data)
            self._written += size
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self._written

    def flush(self) -> None:
        """Nothing: `writing` does so at the end."""

    def close(self) -> None:
        """Take nothing more. Whose the stream is closes it."""
        self._done = True

    def _put(self, data: Any) -> None:
        assert self._stream is not None
        view = memoryview(data).cast("B")
        while view:  # standard output without a buffer (`python -u`) takes a part if its reader leaves meanwhile
            view = view[self._stream.write(view) :]


class Appended(Counted):
    """A file that is open only while something is written to it: thousands of them need no descriptors."""

    def __init__(self, path: Path, wanted: Path) -> None:
        """Prepare; errors name ``wanted``, which it is written for."""
        super().__init__(None)
        self._path = path
        self._wanted = wanted

    def _put(self, data: Any) -> None:
        with _told(self._wanted), self._path.open("ab", buffering=0) as stream:
            view = memoryview(data).cast("B")
            while view:
                view = view[stream.write(view) :]


def need(package: str, extra: str, what: str) -> RecordingError:
    """The error for a package that is not installed."""
    return RecordingError(f"{what} needs the package {package}: install it with  {install(extra)}")


def check_found(session: Session, wanted: Collection[str], found: Collection[str]) -> None:
    """Refuse to export nothing, or to leave out a topic that was asked for.

    Args:
        session: What was read.
        wanted: The topics asked for; empty for all.
        found: Those of which messages were read.

    Raises:
        RecordingError: There is nothing, or nothing of one of them.
    """
    missing = [topic for topic in wanted if topic not in found]
    if found and not missing:
        return
    names = sorted({message.topic for message in session_messages(session)})
    if not names:
        raise RecordingError(f"session {session.name!r} has no messages: there is nothing to export")
    raise RecordingError(
        f"session {session.name!r} has no messages of topic {missing[0]!r}; "
        f"it has {some_of(names)}{did_you_mean(missing[0], names)}"
    )


def too_many(output: Path, topics: Collection[str]) -> RecordingError:
    """The error for several tables and a stream that takes one."""
    return RecordingError(
        f"{output} takes one table, and there are {len(topics)}: choose one with --topic; "
        f"the session has {some_of(sorted(topics))}"
    )


def some_of(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system refuses, as an error that names the file."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RecordingError(f"cannot write {path}: {why(error)}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if goes_to_stdout(path):
        yield _AtTerminal() if sys.stdout.isatty() else sys.stdout.buffer
        return
    with path.open("wb") as stream:
        yield stream


class _AtTerminal:
    """Standard output where somebody looks at it: what would control the terminal is shown instead."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, data: Any) -> int:
        """Write all of it."""
        sys.stdout.write(printable_lines(self._decoder.decode(bytes(data))))
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Also the beginning of a character that has no end."""
        sys.stdout.write(printable_lines(self._decoder.decode(b"", final=True)))
        sys.stdout.flush()


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordingError(f"cannot write {path}: {why(error)}") from error


def _is_stdout(status: os.stat_result) -> bool:
    try:
        return os.path.samestat(status, os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError, AttributeError):  # there is none, or it is a test's
        return False
