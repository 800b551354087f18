"""The determinism guard: which line of a node asks for something that is different in each run.

It watches the callbacks of one run. What can be asked for is in `traps`; here is judged who asked: a node's own code,
or a library on its behalf, is told of once a place; the runtime itself, its event loop, logging and imports may ask.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

from horus_async.engine.ports import Ports
from horus_async.errors import DeterminismError
from horus_async.native import core
from horus_async.nodes.context import SHUTDOWN_TICK, WorkContext, current

from . import traps
from .findings import GuardFinding
from .origins import Origin, origin_of_frame
from .reaction import Guard

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from horus_async.engine.ports import Run
    from horus_async.nodes.context import TickContext
    from horus_async.topics import Bus

_log = logging.getLogger("horus_async")


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

    def ports(self, node: str, bus: Bus, run: Run) -> Ports:
        """A node's topics in the guarded run."""
        return GuardedPorts(node, bus, run, self)

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
        innermost = blamed is frame or (blamed is None and origin_of_frame(frame) in (Origin.ENGINE, Origin.IMPORT))
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
            _log.warning("not deterministic: %s", finding, extra={"node": finding.node, "tick": finding.tick})

    def stray_send(self, node: str, topic: str, frame: FrameType) -> None:
        """A message was sent for a node by something else than its callbacks."""
        sender: FrameType | None = frame
        while sender is not None and origin_of_frame(sender) is Origin.ENGINE:
            sender = sender.f_back
        blamed, via = _blame(sender, _STRAY_SEND)
        if blamed is not None:
            call = f"send({topic!r}) from outside its tick"
            self._found((node, None), blamed, via, call, _STRAY_SEND.instead)


_STRAY_SEND = traps.Trap(
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
        self.guarded = True

    def send_slowly(self, topic: str, value: Any) -> None:
        """Send, and report a send from outside the node's own callbacks."""
        context = current.get(None)
        if context is None or context.node != self._node or (type(context) is WorkContext and context.in_thread):
            self._guard.stray_send(self._node, topic, sys._getframe(1))  # noqa: SLF001 - there is no other way to ask
        Ports.send_slowly(self, topic, value)  # spares the time of super()

    if core is None:
        send = send_slowly


def _blame(frame: FrameType | None, trap: traps.Trap) -> tuple[FrameType | None, FrameType | None]:
    """Whose line it is that called, seen from ``frame`` outwards, and the library that it went through.

    (None, None) where nobody is to blame.
    """
    library: FrameType | None = None
    around = frame
    while around is not None:
        origin = origin_of_frame(around)
        if origin is Origin.USER:
            return around, library
        if origin is Origin.IMPORT or (origin is Origin.LOOP and not trap.also_by_loop):
            return None, None
        if origin is Origin.ENGINE:
            break
        if library is None and origin is not Origin.STANDARD:
            library = around
        around = around.f_back
    return library, None
