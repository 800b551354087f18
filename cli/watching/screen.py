"""``top`` on a screen: what fits of a `Look`, in the order and the parts that somebody has chosen."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from rich.console import Group
from rich.table import Table
from rich.text import Text

from horus_async.clock.system import clock_face
from horus_async.spelling import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .look import Anomaly, Look, NodeRow, ProcessRow, TopicRow


class Sort(Enum):
    """What comes first."""

    NAME = "name"
    RATE = "rate"
    LOAD = "load"
    TROUBLE = "trouble"


@frozen
class Section:
    """A table of one kind of rows."""

    title: str
    columns: tuple[str, ...]
    """After the first, which is the title."""
    cells: Callable[[Any], tuple[str, ...]]
    numbers: int
    """So many columns after the first are numbers."""


@define
class View:
    """How somebody wants to see it."""

    sort: Sort = Sort.NAME
    backwards: bool = False
    filter: str = ""
    typing: bool = False
    """Whether the filter is being typed."""
    only: int | None = None
    """The number of the only section that is shown; None: all."""
    offset: int = 0
    """How many of its rows are above the screen."""
    paused: bool = False
    quit: bool = field(default=False)

    def press(self, key: str) -> None:  # noqa: C901 - one line a key
        """A key was pressed."""
        if self.typing:
            self._type(key)
            return
        match key:
            case "q" | "\x03":
                self.quit = True
            case "s":
                orders = list(Sort)
                self.sort = orders[(orders.index(self.sort) + 1) % len(orders)]
            case "r":
                self.backwards = not self.backwards
            case "p" | " ":
                self.paused = not self.paused
            case "/":
                self.typing, self.filter = True, ""
            case "\t":
                following = 0 if self.only is None else self.only + 1
                self.only = following if following < len(SECTIONS) else None
                self.offset = 0
            case "down" | "j":
                self.offset += self.only is not None
            case "up" | "k":
                self.offset = max(0, self.offset - 1)
            case "escape":
                self.filter = ""

    def _type(self, key: str) -> None:
        match key:
            case "\r" | "\n":
                self.typing = False
            case "escape" | "\x03":
                self.typing, self.filter = False, ""
            case "\x7f" | "\b":
                self.filter = self.filter[:-1]
            case _ if len(key) == 1 and key.isprintable():
                self.filter = (self.filter + key)[:60]

    def chosen(self, rows: Sequence[Any]) -> list[Any]:
        """The rows that are wanted, in their order."""
        word = self.filter.lower()
        found = [row for row in rows if word in _words(row).lower()]
        if self.sort is Sort.NAME:
            found.sort(key=_words, reverse=self.backwards)
        else:
            found.sort(key=lambda row: getattr(row, self.sort.value) or 0, reverse=not self.backwards)
        return found


def frame(look: Look, view: View, width: int, height: int) -> Group:
    """A screen of it."""
    wanted: list[tuple[int, list[Any]]] = []
    every: tuple[Sequence[Any], ...] = (look.nodes, look.topics, look.processes, look.anomalies)
    for number, rows in enumerate(every):
        if view.only in (None, number):
            by_time = number == 3
            word = view.filter.lower()
            chosen = [row for row in rows if word in _words(row).lower()] if by_time else view.chosen(rows)
            wanted.append((number, chosen))
    notes = [_line(f"note: {note}", width, "dim") for note in look.notes[:2]] if height > 16 else []
    room = _shared(height - 2 - len(notes), [len(rows) for _, rows in wanted])
    parts: list[Any] = [_title(look, view, width)]
    for (number, rows), count in zip(wanted, room, strict=True):
        if count is None:
            continue
        offset = min(view.offset, max(0, len(rows) - count)) if view.only is not None else 0
        view.offset = offset
        parts.append(_table(SECTIONS[number], rows[offset : offset + count], len(rows), width))
    parts += [*notes, _line(_keys(view), width, "reverse")]
    return Group(*parts)


def _shared(lines: int, needs: Sequence[int]) -> list[int | None]:
    """How many rows each table has, below its head; None where not even that fits."""
    shown = [number < lines for number in range(len(needs))]
    left = max(0, lines - sum(shown))
    room = [0] * len(needs)
    while left > 0:
        open_ = [i for i, need in enumerate(needs) if shown[i] and room[i] < need]
        if not open_:
            break
        for i in open_[:left]:
            room[i] += 1
        left -= len(open_[:left])
    return [room[i] if shown[i] else None for i in range(len(needs))]


def _title(look: Look, view: View, width: int) -> Text:
    state = ", paused" if view.paused else ""
    answers = f"; answering takes {look.cost:.2f} %" if look.nodes else ""
    return _line(f"horus-async top: {look.namespace}, {clock_face(look.at_ns)[:8]}{state}{answers}", width, "bold")


def _keys(view: View) -> str:
    if view.typing:
        return f"filter: {view.filter}_   Enter: keep it   Esc: none"
    filtered = f" ({view.filter})" if view.filter else ""
    order = f"{view.sort.value}{', backwards' if view.backwards else ''}"
    return f"q quit  p pause  s sort ({order})  r reverse  / filter{filtered}  Tab one table  ↑↓"


def _line(text: str, width: int, style: str) -> Text:
    line = Text(printable(text), style=style, no_wrap=True, overflow="ellipsis", end="")
    line.truncate(width, overflow="ellipsis", pad=style == "reverse")
    line.append("\n" if style != "reverse" else "")
    return line


def _table(section: Section, rows: Sequence[Any], count: int, width: int) -> Table:
    table = Table(
        box=None, pad_edge=False, show_edge=False, width=width, padding=(0, 1, 0, 0), header_style="bold cyan"
    )
    more = f" {len(rows)} of {count}" if len(rows) < count else f" {count}"
    table.add_column(Text(f"{section.title}{more}"), ratio=1, no_wrap=True, overflow="ellipsis")
    for number, column in enumerate(section.columns):
        right = number < section.numbers
        wide = column in _WIDE
        table.add_column(
            column, justify="right" if right else "left", no_wrap=True, overflow="ellipsis", ratio=2 if wide else None
        )
    for row in rows:
        style = "red" if getattr(row, "trouble", 0) else ""
        table.add_row(*(Text(printable(cell)) for cell in section.cells(row)), style=style)
    return table


_WIDE = frozenset({"published by", "program", "what"})


def _node(row: NodeRow) -> tuple[str, ...]:
    wanted = "msgs" if row.wanted is None else f"{row.wanted:g}"
    return (
        row.node,
        "-" if row.rate is None else f"{row.rate:.1f}",
        wanted,
        "-" if row.mean_us is None else f"{row.mean_us:.0f}",
        f"{row.max_us:.0f}",
        str(row.misses),
        str(row.errors),
        str(row.lost),
        row.state,
        str(row.pid),
    )


def _topic(row: TopicRow) -> tuple[str, ...]:
    return (
        row.topic,
        "-" if row.rate is None else f"{row.rate:.1f}",
        "-" if row.bytes_per_second is None else _size(row.bytes_per_second),
        str(row.messages),
        row.state,
        ", ".join(row.publishers) or "-",
    )


def _process(row: ProcessRow) -> tuple[str, ...]:
    return (
        str(row.pid),
        "-" if row.cpu is None else f"{row.cpu:.1f}",
        "-" if row.memory is None else _size(row.memory),
        "-" if row.nodes is None else str(row.nodes),
        str(row.topics),
        row.program or row.state,
    )


def _anomaly(row: Anomaly) -> tuple[str, ...]:
    times = f" (×{row.count})" if row.count > 1 else ""
    return clock_face(row.now_ns)[:12], row.node or row.run, f"{row.kind}: {row.text}{times}"


SECTIONS = (
    Section("NODES", ("Hz", "of", "mean µs", "max µs", "misses", "errors", "lost", "state", "pid"), _node, 7),
    Section("TOPICS", ("Hz", "B/s", "messages", "state", "published by"), _topic, 3),
    Section("PROCESSES", ("CPU %", "memory", "nodes", "topics", "program"), _process, 4),
    Section("ANOMALIES", ("node", "what"), _anomaly, 0),
)


def _size(count: float) -> str:
    for unit in ("", "k", "M"):
        if count < 1000:
            return f"{count:.0f}{unit}" if not unit or count >= 100 else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f}G"


def _words(row: Any) -> str:
    """What a filter looks in, and names are sorted by."""
    first = next(
        (str(value) for name in ("node", "topic", "pid") if (value := getattr(row, name, None)) is not None), ""
    )
    more = (getattr(row, name, "") for name in ("run", "publishers", "program", "kind", "state"))
    return " ".join([first, *(" ".join(part) if isinstance(part, tuple) else str(part) for part in more)])
