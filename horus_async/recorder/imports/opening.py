"""Opens a file that others recorded, by what it holds."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from horus_async.errors import HorusError, RecordingError

from .bags import open_bag
from .mcap import open_mcap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .source import Source

_MCAP_MAGIC = b"\x89MCAP0\r\n"


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a file or a ROS 2 bag's folder, whatever kind it is.

    Raises:
        RecordingError: It is not of a kind that can be imported, it cannot be read, or a package is missing.
    """
    if not path.exists():
        raise RecordingError(f"there is no file {path}")
    try:
        with ExitStack() as stack:
            yield open_mcap(path, stack) if _is_mcap(path) else open_bag(path, stack)
    except HorusError:
        raise
    except (ImportError, MemoryError, OSError):
        raise
    except Exception as error:  # two libraries, with many kinds of errors
        raise RecordingError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _is_mcap(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MCAP_MAGIC)) == _MCAP_MAGIC
