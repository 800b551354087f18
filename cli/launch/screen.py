"""Passes on what programs print and how they fare, to a form of showing it (`forms`).

Writing may block, as a terminal does that somebody has paused. So it is done in a thread, beside the event loop: Ctrl-C
is obeyed all the same. While more lines wait than are kept, the programs that print wait too, as for any pipe; from the
moment when all are to be stopped they do not.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio
from attrs import define, evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from horus_async.launch.states import Status

    class Form(Protocol):
        """A way of showing it; called in one thread at a time."""

        def show(self, things: Sequence[Printed | Note | Status], left: bool) -> None:  # noqa: FBT001 - to a thread
            """Show these, in order; ``left``: more is to come at once."""


MOST = 10_000
"""Lines that wait to be shown."""

_AT_ONCE = 500
_PATIENCE = 2.0
"""Seconds in which the last lines have to be shown."""


@frozen
class Printed:
    """A line of a program."""

    program: str
    text: str


@frozen
class Note:
    """A line of launch."""

    text: str
    program: str | None = None


@define(eq=False)
class Screen:
    """What launch reports to."""

    form: Form
    unshown: int = 0
    """Lines that nobody has seen at the end."""
    in_a_hurry: bool = False
    """Whether nobody may be kept waiting any more."""
    _things: deque[Printed | Note | Status] = field(factory=deque)
    _news: trio.Event = field(factory=trio.Event)
    _room: trio.Event = field(factory=trio.Event)
    _ended: bool = False

    def changed(self, status: Status) -> None:
        """A program has got into another state."""
        self._add(evolve(status))

    def note(self, text: str, program: str | None = None) -> None:
        """Something worth a line has happened."""
        self._add(Note(text, program))

    async def printed(self, program: str, lines: Sequence[str]) -> None:
        """A program has printed lines."""
        for line in lines:
            self._add(Printed(program, line))
        while len(self._things) > MOST and not self.in_a_hurry:
            await self._room.wait()

    def hurry(self) -> None:
        """Keep nobody waiting from now on."""
        self.in_a_hurry = True
        self._room.set()

    async def show_all(self) -> None:
        """Show what comes, until `end` and that is shown, or does not get shown."""
        while self._things or not self._ended:
            if not self._things:
                self._news = trio.Event()
                await self._news.wait()
                continue
            some = [self._things.popleft() for _ in range(min(_AT_ONCE, len(self._things)))]
            await trio.to_thread.run_sync(self.form.show, some, bool(self._things), abandon_on_cancel=True)
            room, self._room = self._room, trio.Event()
            room.set()

    async def end(self, showing: trio.Event) -> None:
        """No more comes; return when all is shown, or after a while in which it was not."""
        self._ended = True
        self._news.set()
        while self._things and not showing.is_set():
            before = len(self._things)
            with trio.move_on_after(_PATIENCE):
                await showing.wait()
            if len(self._things) == before:
                break
        with trio.move_on_after(_PATIENCE):
            await showing.wait()
        self.unshown = sum(isinstance(thing, Printed) for thing in self._things)

    def _add(self, thing: Printed | Note | Status) -> None:
        self._things.append(thing)
        self._news.set()
