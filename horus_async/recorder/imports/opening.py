"""Opens a file that others recorded, by what it holds, whatever it is called."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from horus_async.bounds.unpacking import most_of_file
from horus_async.errors import HorusError, RecordingError
from horus_async.hints.installed import command
from horus_async.limits.open_files import why
from horus_async.recorder.exports.output import need

from .bags import open_bag1, open_sqlite
from .mcap import open_mcap
from .ros2_folder import METADATA, open_folder, see_folder
from .ulog import open_ulog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .source import Source

_OPENERS = {
    b"\x89MCAP0\r\n": open_mcap,
    b"#ROSBAG V": open_bag1,
    b"SQLite format 3\0": open_sqlite,
    b"ULog\x01\x12\x35": open_ulog,
}
"""By how the file begins."""

_BLACKBOX = "horus-async blackbox"
_ZSTD = b"\x28\xb5\x2f\xfd"
_OTHERS = {
    b"version https://git-lfs.github.com/spec/": "a Git LFS pointer, not the file itself: run  git lfs pull",
    b"\x1f\x8b": "compressed by gzip: run  gunzip -k FILE  and import what that gives",
    b"\x04\x22\x4d\x18": "compressed by LZ4: run  lz4 -dk FILE  and import that; a recording is replayed as it is",
    b"BZh": "compressed by bzip2: run  bunzip2 -k FILE  and import what that gives",
    b"\xfd7zXZ\0": "compressed by xz: run  unxz -k FILE  and import what that gives",
    b"PK\x03\x04": "a zip archive: unpack it and import what was in it",
    b"/annex/objects": "a git-annex pointer, not the file itself: run  git annex get FILE",
    b"<!DOCTYPE": "a web page, not the file itself: download the file again",
    b"<html": "a web page, not the file itself: download the file again",
    bytes(16): "full of zeros: its data never reached the disk",
    b"HORUS": f"a black box: see it with  {_BLACKBOX} FILE",
}
_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite calls its files beside a ``.db3``."""
_PIECE = 1 << 11
"""Bytes that are unpacked at a time: they may become 64 MiB, in theory."""
_KINDS = "an MCAP file, a ROS 1 bag (.bag), a ROS 2 bag (its folder, or a .db3 file) or a PX4 log (.ulg)"
_LONGEST = max(map(len, [*_OPENERS, *_OTHERS]))


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a file or a ROS 2 bag's folder, whatever kind it is; one compressed by zstd is unpacked to a temporary file.

    Raises:
        RecordingError: It is not of a kind that can be imported, it cannot be read, or a package is missing.
    """
    if not path.exists():
        raise RecordingError(f"there is no file {path}")
    unpacked: dict[str, str] = {}
    try:
        with ExitStack() as stack:
            source = _open(path, stack, unpacked)
            see_folder(path, source)
            source.notes[:] = [_with_names(note, unpacked) for note in source.notes]
            yield source
    except RecordingError as error:
        if not unpacked:
            raise
        raise RecordingError(_with_names(str(error), unpacked)) from error
    except HorusError:
        raise
    except (ImportError, MemoryError, OSError):
        raise
    except Exception as error:  # several libraries, with many kinds of errors
        what = _with_names(f"{type(error).__name__}: {error}", unpacked)
        raise RecordingError(f"{path} cannot be read: {what}") from error


def _with_names(text: str, unpacked: dict[str, str]) -> str:
    """A sentence with the user's files in the place of the temporary ones."""
    for temporary, path in unpacked.items():
        text = text.replace(temporary, f"what {path} holds")
    return text


def _open(path: Path, stack: ExitStack, unpacked: dict[str, str]) -> Source:
    """Open a file or a folder; ``unpacked`` takes the temporary files and those that they were made of."""
    if path.is_dir():
        return open_folder(path, lambda file: _open(file, stack, unpacked))
    if not path.is_file():
        raise RecordingError(f"{path} is neither a file nor a folder")
    with path.open("rb") as file:
        begin = file.read(_LONGEST)
    if not begin:
        raise RecordingError(f"{path} is empty")
    for magic, opener in _OPENERS.items():
        if begin.startswith(magic):
            return opener(path, stack)
    if begin.startswith(_ZSTD):
        return _open_packed(path, stack, unpacked)
    raise RecordingError(_advice(path, begin))


def _advice(path: Path, begin: bytes) -> str:
    """What a file is that cannot be imported, and what to do."""
    for ending in _BESIDE:
        if path.name.endswith(ending):
            return f"{path} belongs to {path.name.removesuffix(ending)}: import that, with this beside it"
    if path.name == METADATA:
        return f"{path} describes a ROS 2 bag: import the folder that it is in"
    for magic, what in _OTHERS.items():
        if begin.startswith(magic):
            return f"{path} is {what.replace('FILE', str(path)).replace(_BLACKBOX, command('blackbox'))}"
    return f"{path} is none of what can be imported: {_KINDS}"


def _open_packed(path: Path, stack: ExitStack, unpacked: dict[str, str]) -> Source:
    temporary, whole = _unpack(path, stack)
    name = unpacked.get(str(path), str(path))
    unpacked[str(temporary)] = name
    cut = f"{name} is cut off or damaged: it was unpacked as far as it goes"
    try:
        source = _open(temporary, stack, unpacked)
    except RecordingError as error:
        raise error if whole else RecordingError(f"{cut}; {error}") from error
    if not whole:
        source.notes.append(cut)
    return source


def _unpack(path: Path, stack: ExitStack) -> tuple[Path, bool]:
    """What a file that was compressed by zstd holds, as a temporary file, and whether that is all of it."""
    try:
        from zstandard import ZstdDecompressor, ZstdError
    except ImportError:
        raise need("zstandard", "mcap", f"unpacking {path}") from None
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="horus-import-"))
    unpacked = Path(folder) / path.with_suffix("").name
    try:
        with path.open("rb") as source, unpacked.open("wb") as target:
            whole = False
            most = room = most_of_file(path.stat().st_size)
            frame = ZstdDecompressor().decompressobj()
            while data := source.read(_PIECE):
                while data:
                    room -= target.write(frame.decompress(data))
                    if room < 0:
                        raise RecordingError(f"{path} would become more than {most} bytes: it is no recording")
                    data, whole = frame.unused_data if frame.eof else b"", frame.eof
                    if whole:
                        frame = ZstdDecompressor().decompressobj()
    except ZstdError:
        whole = False
    except OSError as error:
        raise RecordingError(
            f"cannot unpack {path} into {folder}: {why(error)}: set TMPDIR to a folder with room"
        ) from error
    return unpacked, whole
