"""Looking at the runs of a namespace again and again: each is asked, and answers as its next ticks begin."""

from __future__ import annotations

import math
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field

from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic
from horus_async.errors import TopicError
from horus_async.nodes.interface.marks import CONTROL
from horus_async.topics import Topic

from .conversation import Conversation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from horus_async.nodes.interface.identity import Request

QUIET = 0.3
"""Seconds after which no more answers are waited for, once some have come."""
_LOOK_NS = 2_000_000
_ASKED = 20
"""Requests whose answers still count."""
_MOST_ROWS, _MOST_RUNS = 100_000, 1000

RunKey = tuple[str, int, int]
"""Name, process, and when it began: ns since 1970."""


@define
class Answers:
    """What a run has answered, as far as it made sense."""

    run: str
    pid: int
    began_ns: int
    head: dict[str, Any] = field(factory=dict)
    """The first page without its rows."""
    rows: dict[str, dict[str, Any]] = field(factory=dict)
    """By node, by the names of the columns; and ``elapsed_ns`` of the run when it answered."""
    whole_ns: int | None = None
    """By the monotonic clock, when the last answer was whole; None before the first."""
    _new: dict[str, dict[str, Any]] = field(factory=dict)
    _next: int = 0

    def take(self, page: dict[str, Any]) -> None:
        """Take a page. One that is out of turn begins with the next answer."""
        number, pages = page.get("page"), page.get("pages")
        if type(number) is not int or type(pages) is not int or (number and number != self._next):
            return
        if number == 0:
            self._new = {}
            self.head = {name: value for name, value in page.items() if name not in ("rows", "columns")}
        self._next = number + 1
        columns, rows = page.get("columns"), page.get("rows")
        if not isinstance(columns, list) or not isinstance(rows, list):
            return
        elapsed_ns = number_of(page.get("elapsed_ns"))
        for row in rows:
            named = dict(zip(columns, row, strict=False)) if isinstance(row, list) and _are_texts(columns) else {}
            node = named.get("node")
            if isinstance(node, str) and len(self._new) < _MOST_ROWS:
                self._new[node] = {**named, "elapsed_ns": elapsed_ns}
        if self._next >= pages:
            self.rows, self.whole_ns = self._new, monotonic_ns()


class Watch:
    """Asks all runs of a namespace, as often as one likes. Use it as a context manager.

    Args:
        namespace: Of the runs.
    """

    def __init__(self, namespace: str) -> None:
        self._talk = Conversation(namespace, CONTROL, "request", "reply")
        self._asked: dict[str, deque[Request]] = {}
        self._found: dict[str, dict[RunKey, Answers]] = {}
        self.refused = 0
        """Answers that said that too many ask."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._talk.__exit__()

    def ask(self, do: str) -> None:
        """Ask each run for its pages of ``do``."""
        self._asked.setdefault(do, deque(maxlen=_ASKED)).append(self._talk.ask({"do": do}))

    def collect(self) -> bool:
        """Take what has come back by now; whether anything has."""
        came = False
        every = {one: do for do, asked in self._asked.items() for one in asked}
        while (said := self._talk.next_now(*every)) is not None:
            page = said.get("value")
            self.refused += "error" in said
            do = next((do for one, do in every.items() if one.seq == said["seq"]), None)
            if do is None or not isinstance(page, dict):
                continue
            came = True
            key = _key(page)
            found = self._found.setdefault(do, {})
            if key is not None and (key in found or len(found) < _MOST_RUNS):
                found.setdefault(key, Answers(*key)).take(page)
        return came

    def wait(self, timeout: float) -> None:
        """Collect until nobody has answered for a while; at most that many seconds for the first answer."""
        until_ns = monotonic_ns() + round(timeout * NANOSECONDS)
        while (now_ns := monotonic_ns()) < until_ns:
            if self.collect():
                until_ns = now_ns + round(QUIET * NANOSECONDS)
            sleep_until_monotonic(now_ns + _LOOK_NS)

    def answers(self, do: str) -> dict[RunKey, Answers]:
        """What each run has answered last."""
        return self._found.get(do, {})

    def forget(self, key: RunKey) -> None:
        """A run is no more."""
        for found in self._found.values():
            found.pop(key, None)


class LogWatch:
    """Log lines of the runs of a namespace, as they come. Use it as a context manager."""

    def __init__(self, namespace: str) -> None:
        with ExitStack() as on_failure:
            self._lines = on_failure.enter_context(Topic(f"{CONTROL}/log", namespace=namespace))
            self._talk = on_failure.enter_context(Conversation(namespace, CONTROL, "request", "reply"))
            self._close = on_failure.pop_all().close
        self._asked: deque[Request] = deque(maxlen=_ASKED)
        self._expected: dict[RunKey, int] = {}
        self.missed = 0
        """Lines that were logged, and came too fast to be passed on."""
        self.answered = False
        """Whether any run has."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def ask(self, level: int, seconds: float | None) -> None:
        """Ask each run for what it has kept, and to pass on what is logged within the next ``seconds``."""
        self._asked.append(self._talk.ask({"do": "log", "level": level, "seconds": seconds}))

    def kept(self) -> Iterator[dict[str, Any]]:
        """Lines of the answers that have come: what each run has kept."""
        while (said := self._talk.next_now(*self._asked)) is not None:
            self.answered = True
            key, following = _key(said.get("value")), said.get("value")
            if key is not None and isinstance(following, dict) and type(following.get("next")) is int:
                self._expected.setdefault(key, following["next"])
            yield from (line for _, line in _lines_in(said.get("value")))

    def lines(self) -> Iterator[dict[str, Any]]:
        """Lines that have come since."""
        while True:
            try:
                message = self._lines.recv_message()
            except TopicError:
                continue  # nobody's log
            if message is None:
                return
            for key, line in _lines_in(message.value):
                expected = self._expected.get(key, line["seq"])
                self.missed += max(0, line["seq"] - expected)
                self._expected[key] = line["seq"] + 1
                yield line


def number_of(value: Any, other: float = 0) -> float:
    """A number that somebody says, if it is a finite one."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1 << 63 and math.isfinite(value):
        return value
    return other


def _are_texts(columns: list[Any]) -> bool:
    return all(isinstance(column, str) for column in columns)


def _key(said: Any) -> RunKey | None:
    if not isinstance(said, dict):
        return None
    run, pid, began_ns = (said.get(name) for name in ("run", "pid", "began_ns"))
    if isinstance(run, str) and type(pid) is int and type(began_ns) is int:
        return run, pid, began_ns
    return None


def _lines_in(said: Any) -> Iterator[tuple[RunKey, dict[str, Any]]]:
    """The log lines that a run says, as far as they are any."""
    key = _key(said)
    lines = said.get("lines") if key is not None else None
    for line in lines if isinstance(lines, list) else ():
        if isinstance(line, dict) and type(line.get("seq")) is int and isinstance(line.get("message"), str):
            assert key is not None
            yield key, {**line, "run": key[0], "pid": key[1], "began_ns": key[2]}
