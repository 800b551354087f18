"""What a test asks of nodes at ticks: services to answer, goals to carry out, parameters to set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from horus_async.errors import ActionError, ConfigurationError, HorusError, ServiceError
from horus_async.nodes.node import Node
from horus_async.validators import is_whole_from

if TYPE_CHECKING:
    from collections.abc import Iterable

ASKER = "test"
"""The name of the node that asks."""


@frozen
class Call:
    """Call a service in a tick."""

    tick: int
    service: str
    request: Any = None
    timeout: float | None = 1.0

    async def carry_out(self, node: Node, answer: Answer) -> None:
        """Wait for the reply."""
        answer.values.append(await node.call(self.service, self.request, self.timeout))


@frozen
class Give:
    """Give an action a goal in a tick, and give it up in a later one, or never."""

    tick: int
    action: str
    goal: Any = None
    give_up: int | None = None
    """The tick."""
    timeout: float | None = 1.0

    async def carry_out(self, node: Node, answer: Answer) -> None:
        """Wait for its end."""
        async with node.goal(self.action, self.goal, self.timeout) as move:
            answer.moves.append(move)
            async for value in move:
                answer.feedback.append(value)
            answer.values.append(await move.result())


@frozen
class SetParam:
    """Set a parameter in a tick."""

    tick: int
    name: str
    """``node.parameter``."""
    value: Any
    timeout: float | None = 1.0

    async def carry_out(self, node: Node, answer: Answer) -> None:
        """Wait until it is set."""
        owner, _, name = self.name.rpartition(".")
        asked = {"node": owner, "set": {name: self.value}}
        answer.values.append((await node.call("params", asked, self.timeout))[name])


Ask = Call | Give | SetParam


@frozen(eq=False)
class Answer:
    """What came of something that was asked."""

    ask: Ask
    values: list[Any] = field(factory=list)
    """The reply, the result or the parameter's value, once it came."""
    feedback: list[Any] = field(factory=list)
    errors: list[HorusError] = field(factory=list)
    """Why there is none: a `ServiceError` or an `ActionError`."""
    moves: list[Any] = field(factory=list, repr=False)

    @property
    def value(self) -> Any:
        """The reply, the result or the parameter's value.

        Raises:
            ServiceError, ActionError: Why there is none.
            ConfigurationError: The run ended before it came.
        """
        if self.errors:
            raise self.errors[0]
        if not self.values:
            raise ConfigurationError(f"the run ended before {self.ask} was answered")
        return self.values[0]


class Asker(Node):
    """The node of a test that asks."""

    def __init__(self, asks: Iterable[Ask], ticks: int) -> None:
        super().__init__(ASKER, order=-(1 << 31))
        self.answers = [Answer(ask) for ask in asks]
        for answer in self.answers:
            ask = answer.ask
            if not isinstance(ask, (Call, Give, SetParam)):
                raise ConfigurationError(f"asks: {ask!r:.60}: give Call(...), Give(...) or SetParam(...)")
            if isinstance(ask, SetParam) and not all(str(ask.name).rpartition(".")[::2]):
                raise ConfigurationError(f"asks: SetParam of {ask.name!r:.60}: give NODE.PARAMETER, such as 'arm.gain'")
            if not is_whole_from(0)(ask.tick) or ask.tick >= ticks:
                raise ConfigurationError(f"asks: {ask} is for tick {ask.tick}; the run has ticks 0 to {ticks - 1}")

    def tick(self) -> None:
        """Ask what is to be asked now."""
        from horus_async.nodes.context import tick as current_tick  # `tick` is this method here

        now = current_tick()
        for answer in self.answers:
            if answer.ask.tick == now:
                self.background(self._ask, answer)
            if isinstance(answer.ask, Give) and answer.ask.give_up == now:
                for move in answer.moves:
                    move.cancel()

    async def _ask(self, answer: Answer) -> None:
        try:
            await answer.ask.carry_out(self, answer)
        except (ServiceError, ActionError) as error:
            answer.errors.append(error)
