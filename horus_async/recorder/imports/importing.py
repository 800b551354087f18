"""Data recorded by others as a session: MCAP files, ROS 1 and ROS 2 bags, and PX4 logs.

Messages become dicts and NumPy arrays. Each publisher that the file names becomes a node; unnamed ones become the node
``bag``. The recorder itself writes the session, so it is like any other.

With a tick rate the session has a regular clock that begins with the first message: a message belongs to the first
tick at or after its stamp. Without one every message has a tick of its own, at its time.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.clock.system import wall_ns
from horus_async.errors import HorusError, RecordingError
from horus_async.limits.open_files import why
from horus_async.observe import NodeInfo, RunInfo
from horus_async.recorder.naming import check_session_name
from horus_async.recorder.options import RecordingOptions
from horus_async.recorder.origin import Attachment, Metadata, Origin, write_attachment, write_origin
from horus_async.recorder.read.listing import delete_session
from horus_async.recorder.write.recorder import Recorder

from .names import Choice, node_names, topic_names
from .opening import open_source
from .source import ALL_TOPICS, LEFT_OUT
from .ticks import TickClock, TickWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .source import Source

_LAST_STAMP = 2**63 - 1
_STEP = 500
"""Messages between two looks at whether the recorder still writes."""


@frozen
class Imported:
    """What was imported."""

    session: str
    path: Path
    messages: int
    ticks: int
    tick_rate: float
    topics: dict[str, int]
    """Messages by topic, under its name in the session."""
    renamed: dict[str, str]
    """Topics with another name in the session: from the name in the file to the new one."""
    notes: list[str]
    """What could not be imported as it was, one line each."""
    left_out: dict[str, int]
    """The topics that were not chosen, under their names in the file, and their messages."""
    missing: int
    """Messages that the file holds, or says it holds, and the session does not: damaged, or too large for any topic."""
    attachments: list[str]
    """The names of attachments that were kept."""
    metadata: list[str]
    """The names of metadata records that were kept."""


def import_file(
    path: Path,
    name: str,
    *,
    tick_rate: float | None = None,
    topics: Sequence[str] = (),
    exclude: Sequence[str] = (),
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Make a session of a file.

    Args:
        path: An MCAP file, a ROS 1 bag (``.bag``), a ROS 2 bag (its folder, or one ``.db3`` file), a PX4 log
            (``.ulg``), or one of these compressed by zstd.
        name: The session's.
        tick_rate: Hz of its clock; None for that of a session recorded in virtual time, if the file is an export of
            one, else for one tick per message.
        topics: Patterns of ``fnmatch``: import only the topics that fit one of them; empty for all.
        exclude: Patterns of topics that are left out although ``topics`` fits them.
        root: The folder for sessions; None for the usual one.
        progress: Told the number of messages done, and of all.

    Raises:
        RecordingError: The file cannot be read, holds no messages, a pattern of ``topics`` fits none, a stamp is
            beyond 2⁶³ ns, the session cannot be written, or a package is missing. Nothing of a session is left.
        SessionExistsError: There is a session of that name.
        SessionNameError: The name cannot be a session's.
    """
    check_session_name(name)
    if tick_rate is not None and not (math.isfinite(tick_rate) and tick_rate > 0):
        raise RecordingError(f"tick rate {tick_rate!r}: give a number of Hz above 0")
    with open_source(path) as source:
        if not source.count:
            raise RecordingError("; ".join([f"{path} holds no messages: there is nothing to import", *source.notes]))
        names, nodes = topic_names(source.topics, source.named), node_names(source.publishers)
        wanted, notes = Choice(topics, exclude).wanted(names)
        source.choose(wanted.__contains__)
        source.notes += notes
        _check_stamps(path, source)
        tick_rate = tick_rate or source.tick_rate
        clock = TickClock.regular(source, tick_rate) if tick_rate is not None else TickClock.by_message(source)
        recorder = Recorder(RecordingOptions(name=name), root, block=True, resume=False, thorough=False)
        recorder.run_started(_run_info(path, clock, [nodes[publisher] for publisher in source.publishers]))
        writer = TickWriter(recorder, clock, names, nodes, source.faults)
        try:
            ticks = _write(source, writer, progress)
            assert recorder.path is not None
            origin = _keep(path, source, names, nodes, recorder.path)
            recorder.run_stopped("imported", ticks)
            _check_written(recorder, writer)
        except BaseException as error:
            recorder.stop()
            delete_session(name, root)
            if isinstance(error, HorusError) or not isinstance(error, Exception):
                raise
            raise RecordingError(f"{path}: {type(error).__name__}: {error}") from error
        missing = _compare(source, writer.counts)
        counted = {names[topic]: number for topic, number in writer.counts.items()}
        return Imported(
            session=name,
            path=recorder.path,
            messages=sum(counted.values()),
            ticks=ticks,
            tick_rate=clock.rate,
            topics=counted,
            renamed={
                topic: names[topic]
                for topic in source.topics
                if names[topic] not in {topic.lstrip("/"), source.named.get(topic)}
            },
            notes=[*source.notes, *source.faults.notes()],
            left_out=source.left_out,
            missing=missing,
            attachments=[attachment.name for attachment in origin.attachments],
            metadata=[record.name for record in origin.metadata],
        )


def _check_stamps(path: Path, source: Source) -> None:
    for topic, stamp_ns in source.last_stamps().items():
        if stamp_ns > _LAST_STAMP:
            raise RecordingError(
                f"{path}: topic {topic} has a message with the stamp {stamp_ns} ns, which is beyond the year 2262 and "
                f"what 63 bits can hold: its clock was wrong; leave the topic out with --exclude {topic!r}"
            )


def _run_info(path: Path, clock: TickClock, nodes: list[str]) -> RunInfo:
    return RunInfo(
        name=f"import of {path.name}",
        tick_rate=clock.rate,
        deterministic=clock.is_regular,
        seed=0,
        started_at_ns=wall_ns(),
        start_ns=clock.start_ns,
        namespace="",
        nodes=tuple(NodeInfo(node, None) for node in dict.fromkeys(nodes)),
    )


def _write(source: Source, writer: TickWriter, progress: Callable[[int, int], None] | None) -> int:
    """Write the messages; the number of ticks."""
    total, left_out, put = source.count, source.left_out, writer.put
    for count, message in enumerate(source.messages(), 1):
        if message.topic not in left_out:
            put(message)
        if not count % _STEP:
            _check_recorder(writer.recorder)
            if progress is not None:
                progress(count, total)
    return writer.finish()


def _check_recorder(recorder: Recorder) -> None:
    if recorder.failure:
        raise RecordingError(f"cannot write session {recorder.session!r} in {recorder.path}: {recorder.failure}")


def _check_written(recorder: Recorder, writer: TickWriter) -> None:
    """Whether the session holds what it was told."""
    _check_recorder(recorder)
    stats, told = recorder.stats(), sum(writer.counts.values())
    if stats.dropped or stats.messages != told:
        raise RecordingError(
            f"cannot write session {recorder.session!r}: {told} messages were read, {stats.messages} written"
        )


def _keep(path: Path, source: Source, topics: dict[str, str], nodes: dict[str, str], folder: Path) -> Origin:
    """Keep with the session what the file holds besides, and the names that it gave."""
    origin = Origin(
        os.fsencode(path.name).decode(errors="replace"),  # a name need not be text
        {new: original for original, new in topics.items() if new != original and source.takes(original)},
        {nodes[original]: original for original in source.publishers if original and nodes[original] != original},
        [Metadata(name, values) for name, values in source.metadata],
    )
    try:
        for enclosed in source.enclosed:
            data = enclosed.load()
            taken = [attachment.file for attachment in origin.attachments]
            file = write_attachment(folder, taken, enclosed.name, data)
            times = enclosed.log_time_ns, enclosed.create_time_ns
            origin.attachments.append(Attachment(enclosed.name, enclosed.media_type, *times, len(data), file))
        write_origin(folder, origin)
    except OSError as error:
        raise RecordingError(f"cannot write session {folder.name!r} in {folder}: {why(error)}") from error
    return origin


def _compare(source: Source, counts: dict[str, int]) -> int:
    """How many messages the file holds or promises, and the session does not hold; each difference gets a note."""
    missing: dict[str, int] = {}
    for topic, seen in source.topics.items():
        taken = counts.get(topic, 0)
        came = taken + source.faults.count(topic, LEFT_OUT)
        missing[topic] = max(0, seen - taken)
        if came < seen:  # the file was cut meanwhile, or it cannot be read twice
            source.notes.append(f"topic {topic}: {seen} messages were there at first, and {came} when they were read")
    for topic, promised in source.expected.items():
        if topic == ALL_TOPICS:
            found = sum(counts.values()) + sum(source.left_out.values())
        elif source.takes(topic):
            found = counts.get(topic, 0)
        else:
            continue
        missing[topic] = max(missing.get(topic, 0), promised - found)
        if promised != found:
            where = "" if topic == ALL_TOPICS else f"topic {topic}: "
            source.notes.append(f"{where}the file says that it holds {promised} messages, and {found} were imported")
    return sum(missing.values())
