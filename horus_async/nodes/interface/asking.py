"""A node asks others: calls of services, and goals of actions. Several may be under way at once."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from horus_async.clock.event_loop import event_loop
from horus_async.errors import ActionError, ContextError, ServiceError, ServiceTimeoutError

from .identity import ENDS, PARAMS, Request

if TYPE_CHECKING:
    from types import TracebackType

    from horus_async.clock.event_loop import Scope
    from horus_async.topics import Message

    from .identity import Asker


class Asked:
    """Something that was asked, and what came back for it and was not looked at yet."""

    def __init__(self, request: Request, answers: str) -> None:
        self.request = request
        self.answers = answers
        self.arrived: deque[dict[str, Any]] = deque()
        self.scope: Scope | None = None
        """In which it waits."""


class Asking:
    """All that one node has asked in one run, and not got to the end of."""

    def __init__(self, node: Any, ports: Asker) -> None:
        self._node = node
        self._ports = ports
        self._open: list[Asked] = []

    def ask(self, topic: str, value: Any, answers: str) -> Asked:
        """Send a request; what comes back for it comes on the topic ``answers``."""
        asked = Asked(self._ports.ask(topic, value, answers), answers)
        self._open.append(asked)
        return asked

    def close(self, asked: Asked) -> None:
        """Nobody looks at what comes back for it any more."""
        if asked in self._open:
            self._open.remove(asked)

    async def next_of(self, asked: Asked) -> dict[str, Any]:
        """Wait for what comes back next for a request.

        The node has one place in each topic: whoever takes what others wait for hands it to them.
        """
        while not asked.arrived:
            try:
                with event_loop().scope() as asked.scope:
                    self._hand_over(await self._ports.receive_answer(asked.answers))
            except BaseException:
                self._ports.gave_up(asked.answers)
                raise
            finally:
                asked.scope = None
        return asked.arrived.popleft()

    def _hand_over(self, message: Message) -> None:
        named = Request.named_in(message.value)
        if named is None or named.publisher != self._node.name or named.stamp_ns is None:
            return
        for asked in self._open:
            if asked.answers == message.topic and asked.request.is_meant_by(named):
                asked.arrived.append(message.value)
                if asked.scope is not None:
                    asked.scope.cancel()
                return
        if message.topic.endswith("/reply"):
            name = message.topic.removesuffix("/reply")
            self._node.log.warning("%s answered request %d after its caller had given up", name, named.seq)

    def give_up(self, name: str, asked: Asked) -> None:
        """Tell the action of that name that nobody wants what was asked any more."""
        with suppress(ContextError):  # the run is over, and so is the goal
            self._node.send(f"{name}/cancel", asked.request.named())

    def goal(self, name: str, goal: Any, timeout: float | None) -> Goal:
        """See `Node.goal`."""
        return Goal(self, name, goal, timeout)

    async def call(self, name: str, request: Any, timeout: float | None) -> Any:  # noqa: ASYNC109 - as in `Node.call`
        """See `Node.call`."""
        asked = self.ask(f"{name}/request", request, f"{name}/reply")
        reply: dict[str, Any] | None = None
        try:
            with _within(timeout):
                reply = await self.next_of(asked)
        finally:
            self.close(asked)
        if reply is None:
            raise ServiceTimeoutError(f"no reply from {name!r} within {timeout:g} s ({_who_answers(name, request)})")
        if "error" in reply:
            raise ServiceError(f"{name}: {reply['error']}")
        return reply.get("value")


def _who_answers(name: str, request: Any) -> str:
    """Where to look when nobody did. Every node with parameters answers to ``params``, for itself alone."""
    if name != PARAMS:
        return "'horus-async service list' shows who provides what"
    node = request.get("node") if isinstance(request, dict) else None
    asked = f"asked was node {node!r:.80}" if node else 'the request names no node: {"node": …}'
    return f"{asked}; 'horus-async param list' shows which nodes have parameters"


class Goal:
    """A goal that a node has given to an action; made by `Node.goal`, for an ``async with`` block.

    Iterating gives its feedback, as it comes, to its end. Leaving the block before that gives the goal up.
    """

    def __init__(self, asking: Asking, name: str, goal: Any, timeout: float | None) -> None:
        self._asking = asking
        self._name = name
        self._goal = goal
        self._timeout = timeout
        self._asked: Asked | None = None
        self._end: dict[str, Any] | None = None
        self.state = "asked"
        """``asked``, ``queued``, ``accepted``, and at the end ``succeeded``, ``failed``, ``rejected``, ``cancelled``,
        ``preempted`` or ``lost``."""

    async def __aenter__(self) -> Self:
        self._asked = self._asking.ask(f"{self._name}/goal", self._goal, f"{self._name}/status")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
        if self._asked is not None:
            self._asking.close(self._asked)

    def cancel(self) -> None:
        """Give the goal up, if it has not ended. Its state tells when it has: go on iterating, or await `result`."""
        if self._end is not None or self._asked is None or self.state == "lost":
            return
        self._asking.give_up(self._name, self._asked)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while self._end is None:
            said = await self._next()
            if said["state"] == "feedback":
                return said.get("value")
        raise StopAsyncIteration

    async def result(self) -> Any:
        """Wait for the end; the result.

        Raises:
            ActionError: There is none: its ``state`` says whether the goal was ``rejected``, ``cancelled``,
                ``preempted`` or ``failed``, or ``lost`` where nobody took it up in time.
        """
        async for _ in self:
            pass
        assert self._end is not None
        if self.state == "succeeded":
            return self._end.get("value")
        raise self._failure(self._end.get("error") or self.state)

    async def _next(self) -> dict[str, Any]:
        asked = self._asked
        if asked is None:
            raise ContextError(f"a goal is given by 'async with node.goal({self._name!r}, ...) as move:'")
        said = None
        with _within(self._timeout if self.state == "asked" else None):
            said = await self._asking.next_of(asked)
        if said is None:
            self.state = "lost"
            raise self._failure(
                f"nobody took the goal up within {self._timeout:g} s ('horus-async action list' shows who carries out "
                "what)"
            )
        state = said.get("state")
        if state != "feedback":
            self.state = str(state)
        if state in ENDS:
            self._end = said
        return said

    def _failure(self, text: str) -> ActionError:
        error = ActionError(f"{self._name}: {text}")
        error.state = self.state
        return error


def _within(seconds: float | None) -> Scope:
    """Cancels its block after so many seconds of the run's time."""
    loop = event_loop()
    return loop.scope() if seconds is None else loop.scope(deadline=loop.now() + seconds)
