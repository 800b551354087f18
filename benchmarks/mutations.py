"""Changes recordings in every way that we can think of: a check may say that one is whole only if it reads as before.

Laps for ``python -m benchmarks.soak``; a test of the recorder takes a short one.
"""

from __future__ import annotations

import logging
import random
import shutil
import struct
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field

from horus_async.errors import HorusError
from horus_async.observe import External, Logged
from horus_async.recorder import open_session
from horus_async.recorder.check import Verdict, check_session
from horus_async.recorder.frames import Frame, pack, reader_of, scan
from horus_async.recorder.read.info import session_notes

from .damage import havoc
from .fuzz.target import put
from .small import SmallRun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.recorder import Session

ROUNDS = 500
"""Mutations per lap."""
_PAGE = 512
_SESSIONS = 8
_IMAGE = "iVBORw0KGgo" * 40


def check_mutations(root: Path, seed: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Change sessions, and judge what the check says.

    Raises:
        AssertionError: It says that a session is whole, or merely cut off at its end, which reads otherwise than
            before, or readers say nothing about one that does.
        BaseException: Any exception of the reader that is none of ours.
    """
    noise = random.Random(seed)
    found = _Found()
    sessions = [_Whole.of(root / f"{number}", noise) for number in range(_SESSIONS)]
    for number in range(rounds):
        whole, other = noise.sample(sessions, 2)
        copy = root / "copy"
        whole.lay(copy)
        mutate = noise.choice(MUTATIONS)
        mutate(copy, other.path, noise)
        _judge(copy, whole, found, f"seed {seed}, round {number}, {mutate.__name__}")
    return {"sessions": rounds, "whole": found.whole, "cut": found.cut, "damaged": found.damaged}


@define
class _Found:
    whole: int = 0
    cut: int = 0
    damaged: int = 0


@define
class _Whole:
    """A session, and all that readers give of it."""

    path: Path
    content: dict[str, list[str]] = field(factory=dict)
    files: dict[str, bytes] = field(factory=dict)

    @classmethod
    def of(cls, root: Path, noise: random.Random) -> _Whole:
        """A session of some kind: closed or killed, rotated or not, with messages from outside, a log, gaps, images."""
        closed, rotated = noise.random() < 0.5, noise.random() < 0.5
        options: dict[str, Any] = {"rotate_seconds": 0.1} if rotated else {}
        run = SmallRun(root, name=root.name, **options)
        kind = noise.randrange(4)
        for flush in range(noise.randrange(2, 7)):
            run.play(noise.randrange(1, 12))
            for tick in range(noise.randrange(4)):
                run.recorder.received_external(
                    External(run.ticks, "image", "camera", flush * 4 + tick, tick, orjson.dumps({"png": _IMAGE}))
                )
            if kind == 1:
                record = logging.makeLogRecord({"name": "robot", "levelname": "INFO"})
                run.recorder.logged(Logged("sensor", run.ticks, run.ticks, 0, 20, f"n {flush}", record, by_node=True))
            if kind == 2:
                run.recorder.missed("sensor", 1)
            run.flush()
        if not closed:  # as a killed one: copied before it is closed
            shutil.copytree(root / root.name, root / "killed")
        run.close()
        path = root / (root.name if closed else "killed")
        files = {file.name: file.read_bytes() for file in path.iterdir()}
        return cls(path, _content(open_session(path)), files)

    def lay(self, folder: Path) -> None:
        """Make a copy; in memory this takes a tenth of the time of `shutil.copytree`."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, data in self.files.items():
            put(str(folder / name), data)


def _content(session: Session) -> dict[str, list[str]]:
    """All that readers give, by what it is of."""
    rows = {f"node {name}": [str(line) for line in file.records()] for name, file in session.files.items()}
    for name, file in (
        ("scheduler", session.scheduler), ("external", session.external_file), ("log", session.log_file)
    ):  # fmt: skip
        rows[name] = [] if file is None else [str(line) for line in file.records()]
    return {name: [line for line in lines if not line.startswith("Footer")] for name, lines in rows.items()}


def _judge(copy: Path, whole: _Whole, found: _Found, where: str) -> None:
    try:
        session = open_session(copy)
        verdict = check_session(session).verdict
        reader = open_session(copy)
        content = _content(reader)
        notes = session_notes(reader)
    except HorusError:
        found.damaged += 1
        return
    same = content == whole.content
    if verdict is Verdict.DAMAGED:
        found.damaged += 1
    elif verdict is Verdict.CUT:
        found.cut += 1
        gone = len(list(whole.path.glob("*.lz4"))) - len(list(copy.glob("*.lz4")))
        assert same or gone <= 0, f"{where}: said to be cut off, and {gone} files are gone"
        for name, lines in whole.content.items():
            have = content.get(name, [])
            assert lines[: len(have)] == have, f"{where}: said to be cut off, and {name} reads otherwise"
    else:
        found.whole += 1
        assert same, f"{where}: said to be whole, and reads otherwise"
    assert same or notes, f"{where}: readers say nothing"


# -- what happens to sessions ------------------------------------------------------------------------------------------


def _file(folder: Path, noise: random.Random) -> Path:
    return noise.choice(sorted(folder.glob("*.lz4")))


def change_bytes(folder: Path, other: Path, noise: random.Random) -> None:
    """Flip, cut, splice, insert noise."""
    path = _file(folder, noise)
    path.write_bytes(havoc(path.read_bytes(), _file(other, noise).read_bytes(), noise))


def zero_page(folder: Path, other: Path, noise: random.Random) -> None:
    """A page of a file is zeros."""
    del other
    path = _file(folder, noise)
    data = bytearray(path.read_bytes())
    at = noise.randrange(len(data)) // _PAGE * _PAGE
    data[at : at + _PAGE] = bytes(len(data[at : at + _PAGE]))
    path.write_bytes(data)


def insert_bytes(folder: Path, other: Path, noise: random.Random) -> None:
    """Something stands between."""
    del other
    path = _file(folder, noise)
    data = path.read_bytes()
    at = noise.randrange(len(data) + 1)
    path.write_bytes(data[:at] + noise.randbytes(noise.choice([1, 4, 16, 100])) + data[at:])


def change_frames(folder: Path, other: Path, noise: random.Random) -> None:
    """Frames are exchanged, doubled, taken out or from elsewhere, with or without their seals."""
    path = _file(folder, noise)
    frames, end = _frames(path, with_seals=noise.random() < 0.7)
    at, to = noise.randrange(len(frames)), noise.randrange(len(frames))
    kind = noise.randrange(4)
    if kind == 0:
        frames[at], frames[to] = frames[to], frames[at]
    elif kind == 1:
        frames.insert(to, frames[at])
    elif kind == 2:
        del frames[at : at + noise.randrange(1, 3)]
    else:
        theirs, _ = _frames(_file(noise.choice([folder, other]), noise), with_seals=True)
        frames[at] = noise.choice(theirs)
    path.write_bytes(b"".join(frames) + end)


def edit_line(folder: Path, other: Path, noise: random.Random) -> None:
    """A line says something else, and its frame is packed again."""
    del other
    path = _file(folder, noise)
    data = path.read_bytes()
    pieces = [piece for piece in scan(reader_of(data), 0, len(data)) if isinstance(piece, Frame)]
    piece = noise.choice(pieces)
    lines = piece.text.splitlines()
    at = noise.randrange(len(lines))
    kind = noise.randrange(4)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(noise.randrange(len(lines)), lines[at])
    else:
        lines[at] = _edited(lines[at], noise)
    text = b"".join(line + b"\n" for line in lines)
    packed = pack(text, len(lines)) if text else b""
    tail = data[piece.offset : piece.offset + piece.size][-16:] if noise.random() < 0.7 else b""
    path.write_bytes(data[: piece.offset] + packed + tail + data[piece.offset + piece.size :])


def _edited(line: bytes, noise: random.Random) -> bytes:
    fields: Any = orjson.loads(line)
    key = noise.choice(sorted(fields))
    value = fields[key]
    if isinstance(value, int):
        fields[key] = value + noise.choice([-1, 1])
    elif isinstance(value, str):
        fields[key] = value + "x"
    elif isinstance(value, list) and value:
        fields[key] = value[1:]
    else:
        del fields[key]
    return orjson.dumps(fields)


def pack_again(folder: Path, other: Path, noise: random.Random) -> None:
    """A file is unpacked, some of its lines are left out, and it is packed as standard tools do it."""
    del other
    path = _file(folder, noise)
    data = path.read_bytes()
    pieces = [piece for piece in scan(reader_of(data), 0, len(data)) if isinstance(piece, Frame)]
    lines = b"".join(piece.text for piece in pieces).splitlines()
    del lines[noise.randrange(len(lines))]
    path.write_bytes(pack(b"".join(line + b"\n" for line in lines), len(lines)) if lines else b"")


def change_files(folder: Path, other: Path, noise: random.Random) -> None:
    """Files are taken away, exchanged, renamed, copied, taken from another session or another node."""
    path, second, theirs = _file(folder, noise), _file(folder, noise), _file(other, noise)
    kind = noise.randrange(6)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        data = path.read_bytes()
        path.write_bytes(second.read_bytes())
        second.write_bytes(data)
    elif kind == 2:
        path.rename(folder / second.name)
    elif kind == 3:
        shutil.copy(path, folder / f"copy{path.name}")
    elif kind == 4:
        shutil.copy(theirs, path)
    else:
        shutil.copy(theirs, folder / theirs.name)


def change_length(folder: Path, other: Path, noise: random.Random) -> None:
    """A file ends early, or in zeros or in a part of itself."""
    del other
    path = _file(folder, noise)
    data = path.read_bytes()
    at = noise.randrange(len(data))
    tail = noise.choice([b"", bytes(100), data[:at], struct.pack("<II", 0x184D2A5E, noise.choice([8, 60]))])
    path.write_bytes((data[:at] if noise.random() < 0.7 else data) + tail)


MUTATIONS: list[Callable[[Path, Path, random.Random], None]] = [
    change_bytes, zero_page, insert_bytes, change_frames, edit_line, pack_again, change_files, change_length,
]  # fmt: skip


def _frames(path: Path, *, with_seals: bool) -> tuple[list[bytes], bytes]:
    """The frames of a file, and what is behind the last."""
    data = path.read_bytes()
    pieces = [piece for piece in scan(reader_of(data), 0, len(data)) if isinstance(piece, Frame)]
    less = 0 if with_seals else 16
    end = pieces[-1].offset + pieces[-1].size
    return [data[piece.offset : piece.offset + piece.size - less] for piece in pieces], data[end:]
