"""A node carries out the goals of an action: one at a time, each in a task beside the node's ticks."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from horus_async.clock.event_loop import event_loop
from horus_async.errors import ActionError, TopicError, TopicTypeError
from horus_async.topics.typed import check_sent

from .identity import Request, said_of
from .policies import Goals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from horus_async.clock.event_loop import Scope
    from horus_async.topics import Message

    from .declaring import Action


class Handle:
    """What carries out a goal has this to speak to whoever gave it."""

    def __init__(self, carrying: Carrying, request: Request, goal: Any) -> None:
        self._carrying = carrying
        self.request = request
        self.goal = goal
        self.scope: Scope | None = None
        self.given_up = ""
        """Why it is not to be carried to its end; the state it will have."""

    def feedback(self, value: Any) -> None:
        """Say how it gets on.

        Raises:
            TopicTypeError: It is not of the class that the action declares.
        """
        action = self._carrying.action
        check_sent(action.name, action.feedback, value)
        self._carrying.say(self, "feedback", value=value)


class Carrying:
    """The goals of one action, in one run of the node that carries them out."""

    def __init__(self, node: Any, action: Action, function: Callable[[Any, Handle], Awaitable[Any]]) -> None:
        self._node = node
        self.action = action
        self._function = function
        self._present: Handle | None = None
        self._waiting: deque[Handle] = deque()

    def say(self, handle: Handle, state: str, **rest: Any) -> None:
        """Tell of a goal."""
        self._node.send(f"{self.action.name}/status", handle.request.named(state=state, **rest))

    async def take_goal(self, message: Message) -> None:
        """A goal came."""
        handle = Handle(self, Request.of(message), message.value)
        try:
            check_sent(self.action.name, self.action.goal, handle.goal)
        except TopicTypeError as error:
            self._node.log.warning("%s: a goal of %s is refused: %s", self.action.name, message.publisher, error)
            self.say(handle, "rejected", error=str(error))
            return
        if self._present is None:
            self._begin(handle)
        elif self.action.policy is Goals.REJECT:
            self.say(handle, "rejected", error="another goal is being carried out")
        elif self.action.policy is Goals.QUEUE:
            self._waiting.append(handle)
            self.say(handle, "queued")
        else:
            while self._waiting:
                self.say(self._waiting.popleft(), "preempted")
            self._waiting.append(handle)
            self.say(handle, "queued")
            self._end_early(self._present, "preempted")

    async def give_up(self, message: Message) -> None:
        """A goal is not wanted any more."""
        named = Request.named_in(message.value)
        if named is None:
            self._node.log.warning("%s/cancel: %r names no goal", self.action.name, message.value)
            return
        for handle in list(self._waiting):
            if handle.request.is_meant_by(named):
                self._waiting.remove(handle)
                self.say(handle, "cancelled")
        if self._present is not None and self._present.request.is_meant_by(named):
            self._end_early(self._present, "cancelled")

    def _end_early(self, handle: Handle, why: str) -> None:
        handle.given_up = handle.given_up or why
        if handle.scope is not None:
            handle.scope.cancel()

    def _begin(self, handle: Handle) -> None:
        self._present = handle
        self.say(handle, "accepted")
        self._node.background(self._carry_out, handle)

    async def _carry_out(self, handle: Handle) -> None:
        state, rest = "", {}
        try:
            with event_loop().scope() as handle.scope:
                if handle.given_up:
                    handle.scope.cancel()
                value = await self._function(handle.goal, handle)
                check_sent(self.action.name, self.action.result, value)
                state, rest = "succeeded", {"value": value}
            if handle.scope.cancelled_caught:
                state = handle.given_up
        except Exception as error:  # noqa: BLE001 - it is told to whoever gave the goal, and the node goes on
            state, rest = "failed", {"error": self._failed(error)}
        finally:
            if state:
                self._ended(handle, state, rest)

    def _failed(self, error: Exception) -> str:
        expected = isinstance(error, (ActionError, TopicError))
        text = said_of(error)
        self._node.log.warning("%s: a goal failed: %s", self.action.name, text, exc_info=None if expected else error)
        return str(error) if isinstance(error, ActionError) else text

    def _ended(self, handle: Handle, state: str, rest: dict[str, Any]) -> None:
        try:
            self.say(handle, state, **rest)
        except TopicError as error:  # no topic can carry its result
            self.say(handle, "failed", error=self._failed(error))
        self._present = None
        if self._waiting:
            self._begin(self._waiting.popleft())

    def cut(self, why: str) -> None:
        """The node begins anew, or the run ends: goals that have not ended will not be carried out any further."""
        open_ = [*([] if self._present is None else [self._present]), *self._waiting]
        self._present = None
        self._waiting.clear()
        for handle in open_:
            self.say(handle, "failed", error=why)
