"""Makes pages of what was opened: sessions with the black boxes of their runs, boxes alone, traces, a verification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field

from horus_async import __version__
from horus_async.blackbox import open_blackbox
from horus_async.errors import BlackBoxError
from horus_async.hints.installed import install

from .html import page
from .parts.budget import Budget
from .reading.box import box_of, box_source, is_of_run, join_box
from .reading.comparing import LiveMessages, compare_sessions
from .reading.recording import SessionReading
from .reading.session import session_source
from .reading.trace import trace_source
from .words import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from horus_async.nodes.node import Node
    from horus_async.recorder import Session
    from horus_async.replay.verify.comparison import VerifyReport

    Progress = Callable[[str, int, int | None], None]


@define
class PageMaker:
    """Collects what a page is of.

    Args:
        box_folder: Where the black boxes of sessions are looked for; None: nowhere.
        start: The first tick of sessions that goes in, None for all; ``stop`` is the last.
        stop: See there.
        progress: Told what is read, how far, and of how much, if that is known.
    """

    box_folder: Path | None = None
    start: int | None = None
    stop: int | None = None
    progress: Progress = field(default=lambda _what, _done, _total: None)
    budget: Budget = field(factory=Budget)
    sources: list[dict[str, Any]] = field(factory=list)
    comparison: dict[str, Any] | None = None

    def sessions(
        self, opened: Sequence[tuple[str, Session]], boxes: Sequence[Path] = (), *, tolerance: float = 0.0
    ) -> None:
        """Add sessions, and the difference where there are two.

        Args:
            opened: Each with the word by which it is found again.
            boxes: Black boxes that were given; those of these runs go on their time lines, the others stand for
                themselves.
            tolerance: Numbers this far apart are equal.

        Raises:
            HorusError: One of them cannot be read.
        """
        left = list(boxes)
        budget = self.budget.half() if len(opened) > 1 else self.budget
        readings = [(ref, self._read(session, budget), self._take_box(session, left)) for ref, session in opened]
        for _, reading, box in readings:
            if box is not None:
                _join(reading, box)
        if len(readings) == 2:
            a, b = readings[0][1], readings[1][1]
            self.comparison = compare_sessions(
                a, b, tolerance=tolerance, progress=lambda done: self.progress("comparing", done, None)
            )
        for ref, reading, box in readings:
            self._add({**session_source(reading), "ref": ref, "box": None if box is None else box.name})
        for path in left:
            self.box(path)

    def verification(
        self,
        ref: str,
        session: Session,
        nodes: Sequence[Node],
        app: str,
        boxes: Sequence[Path] = (),
        *,
        only: tuple[str, ...] | None = None,
        tolerance: float = 0.0,
    ) -> VerifyReport:
        """Add a session, and beside it what the nodes of a program send when they are given what was recorded.

        Args:
            ref: The word by which the session is found again.
            session: The session.
            nodes: Those of the program.
            app: What the program is called.
            boxes: Black boxes, as in `sessions`.
            only: The nodes that are compared; None for all that were recorded.
            tolerance: Numbers this far apart are equal.

        Raises:
            HorusError: It cannot be read, or a node failed that did not fail when it was recorded.
        """
        from horus_async.replay.verify.run import verify

        reading = self._read(session, self.budget)
        left = list(boxes)
        box = self._take_box(session, left)
        if box is not None:
            _join(reading, box)
        live = LiveMessages(self.budget.half(), reading)
        report = trio.run(
            lambda: verify(session, nodes, only, self.start, self.stop, tolerance=tolerance, watch=live.compared)
        )
        for one in sorted(live.differences, key=lambda one: one.tick)[:3]:
            reading.mark(one.tick)
        self.comparison = live.comparison(report, app, tolerance)
        self._add({**session_source(reading), "ref": ref, "box": None if box is None else box.name})
        self._add(live.source(app))
        for path in left:
            self.box(path)
        return report

    def box(self, path: Path) -> None:
        """Add a black box by itself.

        Raises:
            BlackBoxError: It cannot be read, or is empty.
        """
        with open_blackbox(path) as box:
            self._add({**box_source(box, self.budget), "ref": str(path)})

    def trace(self, path: str) -> None:
        """Add the trace of a policy server.

        Raises:
            TraceError: It cannot be read.
        """
        found = trace_source(path, self.budget, lambda done: self.progress("reading", done, None))
        self._add({**found, "ref": path})

    def data(self, command: str = "", program: str = "horus-async") -> dict[str, Any]:
        """All data of the page, as JSON has it.

        Args:
            command: How it was made.
            program: The command that works here.
        """
        return {
            "schema_version": 1,
            "version": __version__,
            "command": command,
            "program": program,
            "install": install("view"),
            "sources": self.sources,
            "comparison": self.comparison,
        }

    def html(self, command: str = "", program: str = "horus-async") -> str:
        """The page."""
        names = " and ".join(str(source["name"]) for source in self.sources[:3])
        return page(self.data(command, program), f"{names} – horus-async")

    def _read(self, session: Session, budget: Budget) -> SessionReading:
        footers = [file.footer for file in session.files.values()]
        total = sum(footer.ticks for footer in footers if footer is not None) if all(footers) else None
        reading = SessionReading(
            session,
            self.start,
            self.stop,
            budget=budget,
            progress=lambda done: None if done & 255 else self.progress(f"reading {session.name}", done, total),
        )
        reading.read()
        return reading

    def _take_box(self, session: Session, left: list[Path]) -> Path | None:
        """The box of its run: of those that were given, else of those in the folder."""
        for path in left:
            with open_blackbox(path) as box:
                if is_of_run(box, session):
                    left.remove(path)
                    return path
        return None if self.box_folder is None else box_of(session, self.box_folder)

    def _add(self, source: dict[str, Any]) -> None:
        self.sources.append({**source, "summary": summary(source)})


def _join(reading: SessionReading, path: Path) -> None:
    try:
        with open_blackbox(path) as box:
            join_box(reading, box)
    except BlackBoxError as error:
        reading.notes.append(f"the black box of the run cannot be read: {error}")
