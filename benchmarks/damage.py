"""Damages recordings, of which readers and commands may make only two things: recorded data, or our errors.

Laps for ``python -m benchmarks.soak``; the tests of the recorder take a few of them.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

from horus_async.errors import DamagedRecordingError, HorusError
from horus_async.recorder import ExecutionRecord, RecordedFile
from horus_async.recorder.frames import Frame, reader_of, scan

from .small import SESSION, check_record, record_small

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 300
"""Damaged files per lap."""
MEMORY = 30 << 20
"""Bytes of memory for reading a damaged file of a few kB; LZ4 needs 9 MB to decode a frame of 1 MB."""
_COMMAND_MEMORY = 1 << 30
"""Bytes of address space for a process that runs all commands on damaged sessions, interpreter included."""
_COMMAND_ROUNDS = 50
_COMMAND_SECONDS = 3600


def havoc(data: bytes, other: bytes, noise: random.Random) -> bytes:
    """Do one of the things that happen to files: cuts, flips, wrong lengths, splices, repeated parts, noise."""
    kind = noise.randrange(6)
    at, to = sorted(noise.randrange(len(data)) for _ in range(2))
    if kind == 0:
        return data[:at]
    if kind == 1:
        broken = bytearray(data)
        for _ in range(noise.randrange(1, 5)):
            broken[noise.randrange(len(data))] ^= 1 << noise.randrange(8)
        return bytes(broken)
    if kind == 2:
        length = noise.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1])
        return data[:at] + struct.pack("<I", length) + data[at + 4 :]
    if kind == 3:
        return data[:at] + other[noise.randrange(len(other)) :]
    if kind == 4:
        return data[:to] + data[at:]
    return data[:at] + noise.randbytes(to - at) + data[to:]


# -- the reader --------------------------------------------------------------------------------------------------------


def read_everything(path: Path) -> None:
    """Use every part of a reader; it must return what was written."""
    file = RecordedFile(path)
    for record in file.records():
        check_record("sensor", record)
    assert (file.cut, file.footer, file.first_tick, file.last_tick) is not None
    list(file.records(7, 20))
    file.survey()


def fuzz_reader(
    root: Path, seed: int, rounds: int = ROUNDS, attempt: Callable[[Path], None] = read_everything
) -> dict[str, float]:
    """Break a small file in many ways, and count how often that gave one of our errors.

    Raises:
        BaseException: Any other exception of the reader.
        AssertionError: The reader returned a record that was not written, or took too much memory.
    """
    data = record_small(root / "long", flushes=3, ticks=20)[1].read_bytes()
    other = record_small(root / "short", flushes=2, ticks=3)[1].read_bytes()
    path = root / "fuzzed.jsonl.lz4"
    noise = random.Random(seed)
    refused = 0
    most = 0
    for number in range(rounds):
        path.write_bytes(havoc(data, other, noise))
        measured = number % 10 == 0  # measuring slows everything down
        if measured:
            tracemalloc.start()
        try:
            attempt(path)
        except HorusError:
            refused += 1
        finally:
            if measured:
                most = max(most, tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
    assert most < MEMORY, f"reading a file of {len(data)} bytes took {most} bytes of memory"
    return {"files": rounds, "refused": refused}


def cut_everywhere(root: Path, seed: int) -> dict[str, float]:
    """Cut a small file at every byte, and flip every bit of its first frame.

    Raises:
        AssertionError: The reader did not return exactly the whole frames, or misplaced the cut.
    """
    noise = random.Random(seed)
    ticks = noise.randrange(1, 6)
    flushes = noise.randrange(2, 4)
    data = record_small(root, flushes=flushes, ticks=ticks)[1].read_bytes()
    found = [piece for piece in scan(reader_of(data), 0, len(data)) if isinstance(piece, Frame)]
    path = root / "cut.jsonl.lz4"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        _judge_cut(path, [piece.offset + piece.size for piece in found], length, flushes, ticks)
    for position, bit in itertools.product(range(found[0].size), range(8)):
        broken = bytearray(data)
        broken[position] ^= 1 << bit
        path.write_bytes(broken)
        file = RecordedFile(path)
        assert _ticks(file) == list(range(flushes * ticks)), f"byte {position}, bit {bit}"
        assert file.header is not None or [damage.offset for damage in file.survey()] == [0]
    return {"cuts": len(data), "bits": 8 * found[0].size}


def _judge_cut(path: Path, ends: list[int], length: int, flushes: int, ticks: int) -> None:
    whole = sum(end <= length for end in ends)
    if whole == 0:
        try:
            RecordedFile(path)
        except DamagedRecordingError:
            return
        raise AssertionError(f"a file of {length} bytes without a whole frame was taken for a recording")
    file = RecordedFile(path)
    assert _ticks(file) == list(range(ticks * min(whole - 1, flushes))), f"cut at {length}"
    assert file.damage == []
    if length in ends:
        assert file.cut is None
    else:
        assert file.cut is not None
        assert (file.cut.offset, file.cut.offset + file.cut.size) == (ends[whole - 1], length)


def _ticks(file: RecordedFile) -> list[int]:
    return [line.tick for line in file.records() if isinstance(line, ExecutionRecord)]


# -- the commands ------------------------------------------------------------------------------------------------------


def fuzz_commands(root: Path, seed: int) -> dict[str, float]:
    """Break sessions in many ways and run every command on them, in a process with little memory.

    Raises:
        AssertionError: A command printed a traceback, had an exit code other than 0, 1 or 2 or one of 2 without a line
            of explanation, or did not end.
    """
    command = [sys.executable, "-m", "benchmarks.damage", str(root), str(seed)]
    here = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "HORUS_NAMESPACE": f"fuzz{os.getpid()}", "HORUS_RECORDINGS_DIR": str(root)}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=_COMMAND_SECONDS,
        cwd=here,
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (_COMMAND_MEMORY, _COMMAND_MEMORY)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    codes = [int(word) for word in done.stdout.split()]
    return {"commands": len(codes), **{f"exit {code}": codes.count(code) for code in sorted(set(codes))}}


def call_commands(root: Path, seed: int, rounds: int = _COMMAND_ROUNDS) -> list[int]:
    """Break a session ``rounds`` times and run every command on it in this process. Returns their exit codes.

    Raises:
        AssertionError: As `fuzz_commands`.
    """
    noise = random.Random(seed)
    record_small(root, flushes=3, ticks=20, name="whole")
    other = record_small(root, flushes=2, ticks=3, name="other")[1].read_bytes()
    broken = root / SESSION
    codes = []
    for number in range(rounds):
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(root / "whole", broken)
        for path in noise.sample(sorted(broken.iterdir()), noise.choice([1, 1, 2, 4])):
            path.write_bytes(havoc(path.read_bytes(), other, noise))
        codes += [_call(arguments) for arguments in _commands(broken, root / f"{number}.out")]
    return codes


def _commands(session: Path, output: Path) -> list[list[str]]:
    name = str(session)
    export = ["record", "export", name, "--output", str(output), "--format"]
    return [
        ["record", "list", "--long"],
        ["record", "info", name],
        ["record", "check", name],
        ["record", "diff", name, str(session.parent / "whole")],
        ["record", "diff", str(session.parent / "whole"), name, "--json"],
        *([*export, form] for form in ("csv", "jsonl")),
        ["replay", name, "--speed", "max"],
        ["record", "check", str(next(session.glob("sensor*")))],
    ]


def _call(arguments: list[str]) -> int:
    from horus_async.cli import main

    said, complained = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code or 0
    words = complained.getvalue()
    assert code in (0, 1, 2), f"{arguments}: exit code {code}: {words}"
    assert "Traceback" not in words + said.getvalue(), f"{arguments}: {words}"
    if code == 2:
        lines = [line for line in words.splitlines() if not line.startswith("note: ")]
        assert len(lines) == 1, f"{arguments}: {len(lines)} lines: {words}"
    assert isinstance(code, int)
    return code


if __name__ == "__main__":
    print(*call_commands(Path(sys.argv[1]), int(sys.argv[2])))
