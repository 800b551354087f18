"""Single files of recordings, written line by line, on disks that are full at times."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.append_file import AppendFile
from horus_async.recorder.frames import Damage, Frame, read_index, reader_of, scan, seal_in
from horus_async.recorder.write.frame_file import FrameFile, Rotation

from . import independent

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HEADER = b'{"kind":"header","sealed":true}\n'
NEVER_FULL = Rotation(None, None, sync=False)


def tick(number: int, outputs: int = 1, inputs: int = 0) -> bytes:
    """The line of a tick with so many messages."""
    sent = [{"topic": "out", "data": number, "stamp_ns": 0, "seq": number} for _ in range(outputs)]
    fields = {"kind": "tick", "inputs": [{}] * inputs, "outputs": sent, "now_ns": 0, "tick": number}
    return orjson.dumps(fields) + b"\n"


def sends(number: int | None, of: int = 0) -> bytes:
    """A line of messages that a callback goes on sending, or that belong to none."""
    sent: dict[str, Any] = {"topic": "out", "data": 1, "stamp_ns": 0, "seq": 0}
    if number is None:
        sent["tick"] = of
    return orjson.dumps({"kind": "sends", "outputs": [sent], "tick": number}) + b"\n"


def new_file(folder: Path, rotation: Rotation | None = None, *, header: bytes = HEADER, **options: Any) -> FrameFile:
    """A file that has not begun."""
    return FrameFile(folder / "n@1.jsonl.lz4", header, rotation, **options)


def texts(path: Path) -> list[bytes]:
    """The text of each frame of a file, all of which are as they should be."""
    data = path.read_bytes()
    frames = list(independent.frames(data))
    at, first = frames[0]
    assert at == 0
    size = next(size for size in range(len(data)) if seal_in(data[size : size + 16]) is not None)
    key = seal_in(data[size : size + 16])
    assert key is not None
    index = read_index(reader_of(data), len(data))
    end = len(data) if index is None else index[0]
    pieces = list(scan(reader_of(data), 0, end, key.checksum))
    assert not [piece for piece in pieces if isinstance(piece, Damage)]
    found = [piece.text for piece in pieces if isinstance(piece, Frame)]
    assert found == [text for _, text in frames]
    assert found[0] == first
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file without its header."""
    return [orjson.loads(line) for text in texts(path)[1:] for line in text.splitlines()]


def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers, counted from 0, of pieces for which the disk is full from now on; the caller puts them in."""
    full: list[int] = []
    number = -1
    append = AppendFile.append

    def refusing(file: AppendFile, data: bytes) -> None:
        nonlocal number
        number += 1
        if number in full:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(file, data)

    monkeypatch.setattr(AppendFile, "append", refusing)
    return full


def always_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing can be written."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(AppendFile, "append", refuse)
