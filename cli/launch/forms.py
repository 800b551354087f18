"""Three ways of showing a launch: a live table below what the programs print, plain lines, or JSON lines.

They write to the descriptors themselves: a thread that is stuck in a write holds no lock that the end of Python needs.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
import orjson
from attrs import asdict

from horus_async.launch.states import State, Status
from horus_async.spelling import printable, printable_json

from .screen import Note, Printed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

COLOURS = ("cyan", "green", "yellow", "blue", "magenta", "bright_cyan", "bright_green", "bright_yellow", "bright_blue")
"""Of the programs, in turn; red is for what is wrong."""

_STATE_COLOURS = {State.UP: "green", State.FAILED: "red", State.GIVEN_UP: "red", State.RESTARTING: "yellow"}
_STDOUT, _STDERR = 1, 2


def write(descriptor: int, text: str) -> None:
    """Write all of it; what nobody takes any more (a closed pipe) goes nowhere."""
    data = text.encode(errors="backslashreplace")
    with suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]


def said(status: Status) -> str:
    """A line about a program's state."""
    more = f" (process {status.pid})" if status.state is State.STARTING else ""
    return f"{status.state.value}{more}{f': {status.why}' if status.why else ''}"


class PlainForm:
    """Lines: what programs print on standard output, how they fare on standard error."""

    def __init__(self, names: Sequence[str]) -> None:
        self._width = max(map(len, names), default=0)
        self._colours = dict(zip(names, (COLOURS * (len(names) // len(COLOURS) + 1)), strict=False))
        self._coloured = {_STDOUT: sys.stdout.isatty(), _STDERR: sys.stderr.isatty()}

    def show(self, things: Sequence[Printed | Note | Status], left: bool) -> None:  # noqa: FBT001 - to a thread
        """Write them, those that stand together at once."""
        del left
        text, where = "", _STDOUT
        for thing in things:
            to = _STDOUT if isinstance(thing, Printed) else _STDERR
            if to != where and text:
                write(where, text)
                text = ""
            where = to
            text += self._line(thing, to)
        write(where, text)

    def _line(self, thing: Printed | Note | Status, to: int) -> str:
        if isinstance(thing, Printed):
            return f"{self._name(thing.program, to)} | {printable(thing.text)}\n"
        if isinstance(thing, Note):
            who = "launch" if thing.program is None else thing.program
            return f"{self._name(who, to)} * {printable(thing.text)}\n"
        return f"{self._name(thing.name, to)} * {printable(said(thing))}\n"

    def _name(self, name: str, to: int) -> str:
        text = f"{name:<{self._width}}"
        return click.style(text, fg=self._colours.get(name)) if self._coloured[to] else text


class JsonForm:
    """A JSON object a line, on standard output."""

    def show(self, things: Sequence[Printed | Note | Status], left: bool) -> None:  # noqa: FBT001 - to a thread
        """Write them."""
        del left
        write(_STDOUT, "".join(f"{printable_json(orjson.dumps(_fields(one)).decode())}\n" for one in things))


def _fields(thing: Printed | Note | Status) -> dict[str, Any]:
    if isinstance(thing, Printed):
        return {"event": "line", "program": thing.program, "text": _whole(thing.text)}
    if isinstance(thing, Note):
        return {"event": "note", "program": thing.program, "text": _whole(thing.text)}
    fields = asdict(thing, value_serializer=lambda _, __, value: _plain(value))
    return {"event": "state", "program": fields.pop("name"), **fields}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, State) else value


def _whole(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


class _Descriptor:
    """A file for rich that is never buffered."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        write(_STDOUT, text)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return _STDOUT


class LiveForm(PlainForm):
    """The table of all programs at the foot of the terminal, and the lines above it."""

    def __init__(self, names: Sequence[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(names)
        self._console: Console = Console(file=_Descriptor())  # type: ignore[arg-type]
        self._statuses = {name: Status(name) for name in names}
        self._live: Live = Live(
            self._table(), console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._begun = False

    def show(self, things: Sequence[Printed | Note | Status], left: bool) -> None:  # noqa: FBT001 - to a thread
        """Print lines above the table, and draw it anew when no more come at once."""
        from rich.text import Text

        if not self._begun:
            self._live.start()
            self._begun = True
        lines = []
        for thing in things:
            if isinstance(thing, Status):
                self._statuses[thing.name] = thing
            if not isinstance(thing, Status) or thing.state.is_bad or thing.state is State.RESTARTING:
                lines.append(self._line(thing, _STDOUT))
        if lines:
            self._console.print(Text.from_ansi("".join(lines).rstrip("\n")), soft_wrap=True)
        if not left:
            self._live.update(self._table(), refresh=True)

    def close(self) -> None:
        """Leave the table as it is last."""
        if self._begun:
            self._live.update(self._table(), refresh=True)
            self._live.stop()

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for title in ("program", "state", "process", "restarts", ""):
            table.add_column(title, no_wrap=bool(title))
        for name, status in self._statuses.items():
            pid = "" if status.pid is None else str(status.pid)
            table.add_row(
                Text(name, style=self._colours[name]),
                Text(status.state.value, style=_STATE_COLOURS.get(status.state, "")),
                pid,
                str(status.restarts or ""),
                Text(printable(status.why)),
            )
        return table
