"""What all conversions share: files that appear when they are complete, and the errors."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from horus_async.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from horus_async.recorder.read.session import Session


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write that replaces ``path`` if the block ends well, and is removed otherwise.

    Raises:
        RecordingError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        try:
            yield part
            part.replace(path)
        except OSError as error:
            raise RecordingError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def need(package: str, extra: str, what: str) -> RecordingError:
    """The error for a package that is not installed."""
    return RecordingError(f'{what} needs the package {package}: install it with  pip install "horus-async[{extra}]"')


def no_messages(session: Session, topic: str | None, topics: Iterable[str]) -> RecordingError:
    """The error for a session with nothing to export; ``topics`` are those it has."""
    if topic is None:
        return RecordingError(f"session {session.name!r} has no messages: there is nothing to export")
    known = ", ".join(sorted(topics)) or "none"
    return RecordingError(f"session {session.name!r} has no messages of topic {topic!r}; it has {known}")
