"""Recordings, black boxes and traces."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import struct
from typing import TYPE_CHECKING, Any

import lz4.frame
import orjson
from attrs import evolve

from benchmarks.small import SmallRun
from horus_async.blackbox import BlackBox, layout
from horus_async.blackbox.reader import Filter as BoxFilter
from horus_async.blackbox.reader import open_blackbox
from horus_async.blackbox.watch import BlackBoxObserver
from horus_async.observe import External, Logged
from horus_async.policy import Exchange, TraceOptions, TraceRecorder, from_object
from horus_async.policy.model.interface import answer_of
from horus_async.policy.trace.checksum import with_checksum
from horus_async.policy.trace.query import Filter as TraceFilter
from horus_async.policy.trace.query import row_of
from horus_async.policy.trace.reader import TraceReader
from horus_async.recorder import RecordedFile, open_session
from horus_async.recorder.check import check_session
from horus_async.recorder.frames import Frame, IndexEntry, Seal, build_index, pack, read_index, reader_of, scan
from horus_async.recorder.origin import Attachment, Metadata, Origin, read_origin, write_attachment, write_origin
from horus_async.recorder.read.info import session_info, session_notes

from .changes import change_bytes, change_json, change_lines
from .target import Fuzzed, put

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path


def _session(root: Path, name: str, *, closed: bool = True, **options: Any) -> Path:
    """A short recording with all kinds of lines."""
    run = SmallRun(root, name=name, **options)
    for flush in range(2):
        run.play(3)
        run.recorder.received_external(External(run.ticks, "cmd", "pilot", 50 + flush, 0, b'{"x":{"$bytes":"AAAA"}}'))
        record = logging.makeLogRecord({"name": "robot", "levelname": "INFO"})
        run.recorder.logged(Logged("sensor", run.ticks, run.ticks, 0, 20, f"n {flush}", record, by_node=True))
        run.recorder.missed("sensor", 1)
        run.flush()
    folder = root / name
    if closed:
        run.close()
        return folder
    killed = root / f"{name} killed"
    shutil.copytree(folder, killed)
    run.close()
    return killed


# -- one file ----------------------------------------------------------------------------------------------------------


def one_file(root: Path) -> Fuzzed:
    """The files of a closed recording and of a killed one."""
    folders = _session(root, "whole"), _session(root, "half", closed=False)
    seeds = [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.lz4"))]
    path = str(root / "fuzzed.jsonl.lz4")

    def read(data: bytes) -> None:
        put(path, data)
        file = RecordedFile(path)
        for _ in file.records():
            pass
        assert (file.cut, file.footer, file.first_tick, file.last_tick, file.damage, file.rewound) is not None
        for _ in file.records(2, 4):
            pass
        for _ in file.lines():
            pass
        for _ in file.sends():
            pass
        file.survey()

    return Fuzzed(seeds, read, change_recorded)


def change_recorded(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change bytes; or lines, in frames with right checksums and seals; or the index, with a right checksum."""
    kind = chance.randrange(10)
    pieces = [piece for piece in scan(reader_of(data), 0, len(data)) if isinstance(piece, Frame)] if kind > 3 else []
    if not pieces:
        return change_bytes(data, others, chance)
    texts = [piece.text for piece in pieces]
    entries = (read_index(reader_of(data), len(data)) or (0, []))[1]
    at = chance.randrange(len(texts))
    if kind == 4 and entries:
        row = chance.randrange(len(entries))
        name = chance.choice(["offset", "size", "first_tick", "last_tick", "lines"])
        least, most = (-(1 << 63), (1 << 63) - 1) if "tick" in name else (0, (1 << 32) - 1)
        near: int = getattr(entries[row], name) + chance.choice([-1, 1, 48])
        value = chance.choice([0, 1, least, most, min(max(near, least), most)])
        entries[row] = evolve(entries[row], **{name: value})
        if chance.random() < 0.3:
            entries *= chance.choice([0, 2, 100])
    elif kind == 5:
        texts.insert(chance.randrange(len(texts) + 1), texts[at])
    else:
        texts[at] = change_lines(texts[at], others, chance) or b"\n"
    return _built(texts, entries, chance)


def _built(texts: list[bytes], entries: list[IndexEntry], chance: random.Random) -> bytes:
    ends = [text if text.endswith(b"\n") or chance.random() < 0.2 else text + b"\n" for text in texts]
    frames = [pack(text, text.count(b"\n") or 1, thorough=False) for text in ends]
    key = Seal.of(frames[0], 0, 0).checksum
    sealed = chance.random() < 0.9
    rows = [frame + (Seal.of(frame, number, key).pack() if sealed else b"") for number, frame in enumerate(frames)]
    return b"".join(rows) + (build_index(entries) if entries else b"")


# -- a session ---------------------------------------------------------------------------------------------------------


def session(root: Path) -> Fuzzed:
    """A session's folder. An input's first byte says which file it is the content of."""
    folder = _session(root, "whole", rotate_seconds=0.04)
    attached = write_attachment(folder, (), "calibration.txt", b"1 2 3")
    attachment = Attachment("calibration.txt", "text/plain", 1, 2, 5, attached)
    write_origin(folder, Origin("drive.mcap", {"a": "/a"}, {"b": "/b"}, [Metadata("m", {"k": "v"})], [attachment]))
    files = sorted(path for path in folder.iterdir() if path.is_file())
    contents = [path.read_bytes() for path in files]

    def read(data: bytes) -> None:
        number = data[0] % len(files) if data else 0
        put(str(files[number]), data[1:])
        try:
            found = open_session(folder)
            check_session(found)
            session_notes(found)
            session_info(found)
            read_origin(folder)
        finally:
            put(str(files[number]), contents[number])

    def change(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
        number = data[0] % len(files)
        same = change_json if files[number].suffix == ".json" else change_recorded
        return bytes([number]) + same(data[1:], others, chance)

    return Fuzzed([bytes([number]) + content for number, content in enumerate(contents)], read, change)


# -- black boxes -------------------------------------------------------------------------------------------------------


def blackbox(root: Path) -> Fuzzed:
    """Boxes of one MiB, of which an input holds what is not zero: offset, length and bytes of each stretch."""
    seeds = []
    for number, events in enumerate((0, 5, 1500)):
        with BlackBox.create(root / "boxes", name=f"b{number}", size_mb=1) as box:
            ticked = BlackBoxObserver(box).tick_listener("controller")
            for event in range(events):
                ticked(61_728 + event, 12_345, event % 2 == 0)
                box.custom("arm", f"limit {event}", joint=event, angle=1.5, values=[event, None, "x"])
        data = (root / "boxes" / f"b{number}.hbb").read_bytes()
        fatal = (
            b"Fatal Python error: Segmentation fault\n\nThread 0x01 (most recent call first):\n" if number == 1 else b""
        )
        seeds.append(_stretches(data[: len(data) - len(fatal)] + fatal if fatal else data))
    path = str(root / "fuzzed.hbb")

    def read(data: bytes) -> None:
        _unfold(path, data)
        with open_blackbox(path) as found:
            for _ in found.iterate(BoxFilter()):
                pass
            assert (found.damage, found.lost, found.newest_seq, found.refresh()) is not None
            found.events(kind="Custom", node="x", ticks=(0, 5), last=3)

    return Fuzzed(seeds, read, _change_box)


_STRETCH = struct.Struct("<II")
_BOX_LIMIT = 1 << 21


def _stretches(data: bytes) -> bytes:
    """What is not zero in a file, and its size; only the first 8 kB of each stretch."""
    rows = [_STRETCH.pack(len(data), 0)]
    for begin in range(0, len(data), 4096):
        piece = data[begin : begin + 4096].rstrip(b"\0")
        if piece and sum(map(len, rows)) < 1 << 16:
            rows.append(_STRETCH.pack(begin, len(piece)) + piece)
    return b"".join(rows)


def _unfold(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        at = 0
        while at + _STRETCH.size <= len(data):
            offset, length = _STRETCH.unpack_from(data, at)
            at += _STRETCH.size
            if length == 0:
                os.ftruncate(descriptor, offset % _BOX_LIMIT)
            else:
                os.pwrite(descriptor, data[at : at + length], offset % _BOX_LIMIT)
            at += length
    finally:
        os.close(descriptor)


def _change_box(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change bytes of a stretch, or lines in it, with right checksums."""
    rows = []
    at = 0
    while at + _STRETCH.size <= len(data):
        offset, length = _STRETCH.unpack_from(data, at)
        rows.append((offset, data[at + _STRETCH.size : at + _STRETCH.size + length]))
        at += _STRETCH.size + length
    if not rows or chance.random() < 0.1:
        return change_bytes(data, others, chance)
    row = chance.randrange(len(rows))
    offset, piece = rows[row]
    if chance.random() < 0.4 or not piece:
        piece = change_bytes(piece, others, chance)
    elif piece.startswith(layout.MAGIC):
        piece = _changed_header(piece, chance)
    else:
        piece = _changed_lines(piece, rows, chance)
    rows[row] = offset, piece
    return b"".join(_STRETCH.pack(offset % (1 << 32), len(piece)) + piece for offset, piece in rows)


def _changed_header(page: bytes, chance: random.Random) -> bytes:
    """The first page of a box, whose header says something else."""
    end = page.find(b"\n")
    body = layout.open_line(page[len(layout.MAGIC) : end], layout.HEADER_SALT)
    if body is None:
        return page
    changed = change_json(body, [body], chance).replace(b"\n", b"")
    line = layout.MAGIC + layout.make_line(changed, layout.HEADER_SALT)
    return line + page[len(line) :]


def _changed_lines(piece: bytes, rows: list[tuple[int, bytes]], chance: random.Random) -> bytes:
    """A page of a raw segment, in which a line says something else."""
    header = next((layout.open_line(p[8:e], layout.HEADER_SALT) for _, p in rows if (e := p.find(b"\n")) > 0), None)
    if header is None or len(piece) < layout.SEGMENT_HEADER:
        return piece
    salt: int = orjson.loads(header)["salt"]
    try:
        segment = layout.read_segment_header(piece[: layout.SEGMENT_HEADER], salt)
    except (ValueError, struct.error):
        return piece
    if segment is None:
        return piece
    lines = piece[layout.SEGMENT_HEADER :].split(b"\n")
    at = chance.randrange(len(lines))
    own = layout.line_salt(salt, segment.generation)
    body = layout.open_line(lines[at], own)
    if body is not None:
        changed = change_json(body, [body], chance).replace(b"\n", b"")
        lines[at] = layout.make_line(changed, own).rstrip(b"\n")
    return piece[: layout.SEGMENT_HEADER] + b"\n".join(lines)


# -- traces ------------------------------------------------------------------------------------------------------------


def trace(root: Path) -> Fuzzed:
    """Traces of the real recorder, plain, by gzip and by LZ4."""
    options = TraceOptions(directory=root / "traces", compress=False)
    policy = from_object(lambda _: [[0.5, 1.0], [0.25, 2.0]], name="fuzz:policy")
    with TraceRecorder(policy, options) as recorder:
        for number in range(4):
            recorder.record(_exchange(number))
    (path,) = (root / "traces").rglob("*.jsonl")
    plain = path.read_bytes()
    seeds = [
        plain,
        gzip.compress(plain, mtime=0),
        lz4.frame.compress(plain),
        b"".join(plain.splitlines(keepends=True)[:3]),
    ]
    name = str(root / "fuzzed.jsonl")
    wanted = TraceFilter(since_ns=0, episode="e", status="success", min_latency_ms=0.0)

    def read(data: bytes) -> None:
        put(name, data)
        with TraceReader(name) as reader:
            for request in reader.requests():
                wanted.matches(request)
                row_of(reader, request)
            assert (reader.losses, reader.notes, reader.footer, reader.is_cut, reader.next_seq) is not None

    return Fuzzed(seeds, read, _change_trace)


def _exchange(number: int) -> Exchange:
    request = {"instruction": "pick", "state": [0.1 * number, 1.0], "episode_id": "e", "image": "iVBORw0KGgo" * 4}
    return Exchange(
        body=orjson.dumps(request),
        arrival_ns=1_700_000_000_000_000_000,
        finished_ns=1_700_000_000_100_000_000,
        request_id=f"r{number}",
        status=200,
        policy_ms=5.0,
        queue_ms=0.1,
        mode="python",
        answer=answer_of([[0.5, 1.0], [0.25, 2.0]]),
        failure=None,
    )


def _change_trace(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change bytes, or lines with right checksums, and perhaps pack them."""
    if chance.random() < 0.4 or data[:1] != b"{":
        return change_bytes(data, others, chance)
    lines = change_lines(data, others, chance).splitlines()
    if chance.random() < 0.8:
        lines = [with_checksum(_unsummed(line)) if line[:1] == b"{" else line for line in lines]
    text = b"\n".join(lines) + b"\n"
    kind = chance.randrange(4)
    return gzip.compress(text, 1, mtime=0) if kind == 0 else lz4.frame.compress(text) if kind == 1 else text


def _unsummed(line: bytes) -> bytes:
    at = line.rfind(b',"crc":"')
    return line[:at] + b"}" if at > 0 else line
