"""The determinism guard: which line of a node asks for something that is different in each run.

It watches the callbacks of one run. What can be asked for is in `traps`; here is judged who asked: a node's own code,
or a library on its behalf, is told of once a place; the runtime itself, its event loop, logging and imports may ask.
"""

from __future__ import annotations

import enum
import logging
import os
import sys
import sysconfig
import threading
from typing import TYPE_CHECKING, Any

from attrs import frozen

from horus_async.engine.ports import Ports
from horus_async.errors import DeterminismError
from horus_async.nodes.context import SHUTDOWN_TICK, current

from . import traps

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from horus_async.engine.ports import Run
    from horus_async.nodes.context import TickContext
    from horus_async.topics import Bus

_log = logging.getLogger("horus_async")


class Guard(enum.Enum):
    """What a deterministic run does about calls that break determinism."""

    OFF = "off"
    """Nothing is watched, and nothing is paid for it."""
    WARN = "warn"
    """Each place is logged once, and kept in ``Scheduler.guard_findings``."""
    ERROR = "error"
    """The call raises a `DeterminismError` in the node."""


@frozen
class GuardFinding:
    """One line that asks for something that is different in each run."""

    node: str
    tick: int | None
    """The scheduler tick in which it was seen first; None in ``init`` and outside of callbacks."""
    call: str
    """What was called: ``time.time()``."""
    file: str
    line: int
    instead: str
    """What to use in its place."""
    via: str = ""
    """``file:line`` of the library that called it on behalf of this line; empty when the line did."""

    def __str__(self) -> str:
        when = "" if self.tick is None else f" in tick {self.tick}"
        via = f" (through {self.via})" if self.via else ""
        return f"{self.file}:{self.line}: node {self.node!r} calls {self.call}{via}{when}: {self.instead}"


class _Origin(enum.Enum):
    """Whose code a frame runs."""

    USER = enum.auto()
    LIBRARY = enum.auto()
    STANDARD = enum.auto()
    ENGINE = enum.auto()
    """This package, and what it lets ask: logging."""
    LOOP = enum.auto()
    """trio, anyio and what they stand on."""
    IMPORT = enum.auto()
    """The import system: what a module does as it is loaded is not part of the tick."""


class RunGuard:
    """Watches one run, from `begin` to `end`."""

    def __init__(self, guard: Guard) -> None:
        self._raises = guard is Guard.ERROR
        self._settled: set[tuple[CodeType, int, str]] = set()
        self._findings: dict[tuple[str, int, str], GuardFinding] = {}
        self._lock = threading.Lock()

    @property
    def findings(self) -> tuple[GuardFinding, ...]:
        """What was found so far, in the order of finding."""
        return tuple(self._findings.values())

    def begin(self) -> None:
        """Set the traps."""
        traps.set_traps()

    def end(self) -> None:
        """Take them away, unless another run needs them."""
        traps.release_traps()

    def notice(self, context: TickContext, frame: FrameType, call: str, trap: traps.Trap) -> None:
        """A callback of a node ran into a trap.

        Raises:
            DeterminismError: The guard is set to raise, and the node's code is to blame.
        """
        if context.seed_tick == SHUTDOWN_TICK:
            return
        settled = (frame.f_code, frame.f_lasti, call)
        if settled in self._settled:
            return
        blamed, via = _blame(frame, trap)
        innermost = blamed is frame or (blamed is None and _origin(frame) in (_Origin.ENGINE, _Origin.IMPORT))
        if innermost and not self._raises:
            self._settled.add(settled)  # whoever is further out, this place is judged for good
        if blamed is not None:
            self._found((context.node, context.tick), blamed, via, call, trap.instead)

    def _found(
        self, where: tuple[str, int | None], frame: FrameType, via: FrameType | None, call: str, instead: str
    ) -> None:
        finding = GuardFinding(
            node=where[0],
            tick=where[1],
            call=call,
            file=frame.f_code.co_filename,
            line=frame.f_lineno,
            instead=instead,
            via="" if via is None else f"{via.f_code.co_filename}:{via.f_lineno}",
        )
        place = (finding.file, finding.line, call)
        with self._lock:
            is_new = place not in self._findings
            self._findings.setdefault(place, finding)
        if self._raises:
            raise DeterminismError(str(finding))
        if is_new:
            _log.warning("not deterministic: %s", finding)

    def foreign_send(self, node: str, topic: str, frame: FrameType) -> None:
        """A message was sent for a node from outside of its callbacks."""
        outside: FrameType | None = frame
        while outside is not None and _origin(outside) is _Origin.ENGINE:
            outside = outside.f_back
        blamed, via = _blame(outside, _FOREIGN_SEND)
        if blamed is not None:
            call = f"send({topic!r}) from outside its tick"
            self._found((node, None), blamed, via, call, _FOREIGN_SEND.instead)


_FOREIGN_SEND = traps.Trap(
    module="horus_async",
    names=(),
    instead="send from the node's own tick, and let a thread hand its result to it: "
    "result = await trio.to_thread.run_sync(function), or a node with compute=True",
)


class GuardedPorts(Ports):
    """A node's topics in a guarded run: only its own callbacks may send."""

    def __init__(self, node: str, bus: Bus, run: Run, guard: RunGuard) -> None:
        super().__init__(node, bus, run)
        self._guard = guard

    def send(self, topic: str, value: Any) -> None:
        """See `Node.send`."""
        context = current.get(None)
        if context is None or context.node != self._node:
            self._guard.foreign_send(self._node, topic, sys._getframe(1))  # noqa: SLF001 - there is no other way to ask
        Ports.send(self, topic, value)  # spares the time of super()


def _blame(frame: FrameType | None, trap: traps.Trap) -> tuple[FrameType | None, FrameType | None]:
    """Whose line it is that called, seen from ``frame`` outwards, and the library that it went through.

    (None, None) where nobody is to blame.
    """
    library: FrameType | None = None
    around = frame
    while around is not None:
        origin = _origin(around)
        if origin is _Origin.USER:
            return around, library
        if origin is _Origin.IMPORT or (origin is _Origin.LOOP and not trap.also_by_loop):
            return None, None
        if origin is _Origin.ENGINE:
            break
        if library is None and origin is not _Origin.STANDARD:
            library = around
        around = around.f_back
    return library, None


_origins: dict[str, _Origin] = {}
_STANDARD = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_HERE = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - the text that code objects hold, not what it resolves to
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_LOOPS = ("trio", "anyio", "outcome", "sniffio", "pytest_trio")


def _origin(frame: FrameType) -> _Origin:
    file = frame.f_code.co_filename
    found = _origins.get(file)
    if found is None:
        found = _origins[file] = origin_of(file)
    return found


def origin_of(file: str) -> _Origin:
    """Whose file it is."""
    if file.startswith("<frozen importlib"):
        return _Origin.IMPORT
    if file.startswith(_HERE + os.sep):
        return _Origin.ENGINE
    for separator in _INSTALLED:
        if separator in file:
            package = file.rpartition(separator)[2].partition(os.sep)[0]
            return _Origin.LOOP if package in _LOOPS else _Origin.LIBRARY
    if file.startswith(("<frozen ", "<attrs generated ")):
        return _Origin.STANDARD
    if file.startswith(_STANDARD):
        inside = file.rpartition(os.sep)[0]
        return _Origin.ENGINE if inside.endswith(f"{os.sep}logging") else _Origin.STANDARD
    return _Origin.USER


def is_users(file: str) -> bool:
    """Whether a file holds a user's own code."""
    return origin_of(file) is _Origin.USER
