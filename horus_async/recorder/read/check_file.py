"""The check of one file: its lines, against its index and its footer."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field

from horus_async.errors import TopicNameError
from horus_async.recorder.log_lines import LogLine
from horus_async.recorder.naming import SCHEDULER_STEM
from horus_async.recorder.records import (
    EarlierMessage,
    ExecutionRecord,
    ExternalMessage,
    Footer,
    GapRecord,
    Header,
    ResumedRecord,
    SchedulerTick,
    SendsRecord,
)
from horus_async.topics.ring.names import check_topic_name
from horus_async.validators import is_node_name

from .check_found import FileCheck, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.recorder.records import SessionLine

    from .reader import RecordedFile


@define
class CheckedFile:
    """A file that was read to its end, and what others are compared with."""

    found: FileCheck
    role: str = ""
    node: str = ""
    part: int = 0
    sealed: bool = False
    footer: Footer | None = None
    inputs: int = 0
    logged: int = 0
    sends: int = 0
    loose: int = 0
    topics: Counter[tuple[str, str | None]] = field(factory=Counter)
    """Messages by topic and, of external ones, publisher."""
    read_from: set[tuple[str, str, int]] = field(factory=set)
    """Topic, publisher and source of what was read."""
    named: set[str] = field(factory=set)
    """Topics that it names without a message of them."""
    back: int = 0
    """How often the tick of a tick line is below that of the one before."""
    last: int = -1
    behind: bool = False
    """Whether there is a line behind the footer."""

    @property
    def row(self) -> tuple[str, str]:
        """What it has in common with the other parts of a rotated recording."""
        return self.role, self.node

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong with it, and its writer left nothing out."""
        return self.found.verdict is Verdict.WHOLE and not self.found.dropped

    def see(self, record: SessionLine) -> None:
        """Take in a line."""
        found = self.found
        found.lines += 1
        self.behind = self.behind or self.footer is not None
        if isinstance(record, Footer):
            self.footer = record
            return
        if isinstance(record, EarlierMessage):
            self.named.add(record.topic)
        if isinstance(record, Header | EarlierMessage):
            return
        if isinstance(record, SendsRecord):
            first, last = record.first_tick, record.last_tick
        else:
            first = last = record.at_tick if isinstance(record, LogLine) else record.tick
        found.first_tick = first if found.first_tick is None else min(found.first_tick, first)
        found.last_tick = last if found.last_tick is None else max(found.last_tick, last)
        if record.kind == "tick":
            found.ticks += 1
            self.back += first < self.last
            self.last = first
        self._count(record)

    def _count(self, record: SessionLine) -> None:
        if isinstance(record, GapRecord):
            self.found.dropped += record.dropped
        elif isinstance(record, ExternalMessage):
            self.inputs += 1
            self.topics[record.topic, record.publisher] += 1
        elif isinstance(record, LogLine):
            self.logged += 1
        elif isinstance(record, ExecutionRecord | SendsRecord):
            self.found.messages += len(record.outputs)
            for sent in record.outputs:
                self.topics[sent.topic, None] += 1
            if isinstance(record, SendsRecord):
                self.sends += 1
                self.loose += record.tick is None
            else:
                self.inputs += len(record.inputs)
                for taken in record.inputs:
                    self.read_from.add((taken.topic, taken.publisher, taken.source))
                self.named.update(look.topic for look in record.looks)
        else:
            assert isinstance(record, SchedulerTick | ResumedRecord)


def check_file(file: RecordedFile) -> CheckedFile:
    """Read all of a file."""
    header = file.header
    checked = CheckedFile(FileCheck(file.path.name))
    if header is not None:
        checked.role, checked.node, checked.part = header.role, header.node, header.part
        if header.info is not None:
            checked.named.update(header.info.pubs, header.info.subs, header.info.on)
    checked.sealed = file.sealed
    for record in file.records():
        checked.see(record)
    _judge(file, checked)
    return checked


def _judge(file: RecordedFile, checked: CheckedFile) -> None:
    found, footer = checked.found, checked.footer
    damage, cut = file.damage, file.cut
    found.problems += [str(piece) for piece in damage]
    if cut is not None:
        found.problems.append(str(cut))
    if file.header is None:
        found.problems.append("its first line, which says whose it is, is lost")
    if footer is None and cut is None:
        found.problems.append("not closed: its process was killed, or it still runs")
    wrong = ([] if footer is None else list(_against_footer(checked, footer))) + _against_index(file, checked)
    wrong += _bad_names(checked)
    found.problems += wrong
    if damage or file.header is None or wrong:
        found.verdict = Verdict.DAMAGED
    elif footer is None or cut is not None:
        found.verdict = Verdict.CUT
    dropped = max(found.dropped, 0 if footer is None else footer.dropped)
    if dropped:
        found.dropped = dropped
        found.problems.append(f"{dropped} messages or lines are missing: they could not be written in time or at all")


def _bad_names(checked: CheckedFile) -> Iterator[str]:
    """Names that no run gives, and that a replay refuses."""
    if checked.role == "node" and not is_node_name(checked.node):
        yield f"no node may have the name {ascii(checked.node)[:80]}"
    topics = checked.named.union((topic for topic, _ in checked.topics), (topic for topic, _, _ in checked.read_from))
    for topic in sorted(topics):
        try:
            check_topic_name(topic)
        except TopicNameError as error:
            yield f"no topic may have a name that it holds: {error}"


def _against_footer(checked: CheckedFile, footer: Footer) -> Iterator[str]:
    """What a footer counts, and the file does not hold."""
    found = checked.found
    of_scheduler = checked.role == SCHEDULER_STEM
    if footer.ticks != found.ticks or (footer.inputs != checked.inputs and not of_scheduler):
        yield (
            f"its footer counts {footer.ticks} ticks and {footer.inputs} inputs, "
            f"and it holds {found.ticks} and {checked.inputs}: lines are missing"
        )
    if footer.outputs != found.messages and not of_scheduler:
        yield f"its footer counts {footer.outputs} outputs, and it holds {found.messages}"
    if footer.lines != checked.logged:
        yield f"its footer counts {footer.lines} lines of the log, and it holds {checked.logged}"
    for what, promised, held in (
        ("lines of messages sent beside callbacks", footer.sends, checked.sends),
        ("of them outside of any", footer.loose, checked.loose),
    ):
        if promised is not None and promised != held:
            yield f"its footer counts {promised} {what}, and it holds {held}"
    if footer.topics is not None:
        promised_of = {(tally.topic, tally.publisher): tally.count for tally in footer.topics}
        for topic, publisher in sorted({*promised_of, *checked.topics}, key=str):
            counts = promised_of.get((topic, publisher), 0), checked.topics[topic, publisher]
            if counts[0] != counts[1]:
                yield f"its footer counts {counts[0]} messages of {topic}, and it holds {counts[1]}"
    if checked.behind:
        yield "there are lines behind its footer"


def _against_index(file: RecordedFile, checked: CheckedFile) -> list[str]:
    """What an index says, and the file does not hold."""
    found = file.index()
    if found is None:
        return []
    begin, entries = found
    problems = []
    if checked.footer is None:
        problems.append("it has an index, as a closed file has, and no footer")
    if checked.back and not file.rewound:
        problems.append(f"its ticks go back {checked.back} times, and it has an index: frames were exchanged")
    if not file.sealed:
        frames = file.frames()
        held: Counter[int] = Counter()
        bounds = [entry.offset for entry in entries]
        for offset, _, lines in frames[1:]:
            held[bisect_right(bounds, offset) - 1] += lines
        ends = {offset + size for offset, size, _ in frames}
        fits = all(entry.offset + entry.size in ends for entry in entries)
        if not fits or begin not in ends or any(held[at] < entry.lines for at, entry in enumerate(entries)):
            problems.append("its index says that other frames were written")
    return problems
