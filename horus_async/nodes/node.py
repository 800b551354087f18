"""Nodes: what a user writes."""

from __future__ import annotations

import functools
import inspect
import os
from typing import TYPE_CHECKING, Any, ClassVar, Never, Self

from horus_async.errors import ConfigurationError, ContextError
from horus_async.observe import NodeInfo
from horus_async.validators import NODE_NAME_LIMIT, is_node_name, is_positive

from .callbacks import check_callback
from .context import tick_ns
from .declared import DeclaredTopics
from .failure_policies import FailurePolicy, Miss
from .interface.marks import ANNOUNCED, offers_anything
from .log import NodeLog
from .misspelt import CALLBACKS, OPTIONS, find_misspelt, nearest_tick, unknown_option
from .options import guard_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from horus_async.topics import Borrowing, Message
    from horus_async.topics.keeping.keep import Keep

    from .interface.answering import Answering
    from .interface.asking import Goal
    from .interface.declaring import Offers
    from .interface.params import Param
    from .sync.stamps import SyncBy
    from .sync.sync import Sync
    from .topic_access import TopicAccess

    Topics = str | Iterable[str] | Mapping[str, type | None]

Callback = "Callable[..., Any]"
"""``callback(node)``, a coroutine function or a plain function."""


class Node:
    """A unit of a robot program: something that ticks, reads topics and writes topics.

    Make one from functions, ``Node(name="controller", tick=tick, rate=100)``, or subclass it and write ``async def
    tick(self)``. A callback is a coroutine function or a plain function that takes the node; a method takes only
    ``self``. In a subclass, options can also be class attributes.

    Args:
        name: Unique in its scheduler; by default the subclass's name, else ``node_<8 hex digits>``.
        tick: Called when the node is due. It may await anything; two ticks of one node never overlap.
        init: Called once per run, before the first tick.
        shutdown: Called once per run, at its end, also after a failure.
        on_error: ``on_error(node, exception)``: told of each exception of the node; it cannot swallow any.
        enter_safe_state: Makes the node safe; called at an emergency stop, after a fatal failure, after a second
            Ctrl-C, and for ``on_miss=Miss.SAFE_MODE``.
        rate: Hz, at most the scheduler's. None (and no ``on``): every scheduler tick.
        on: One or more topics: the node ticks once for each message, and only then.
        pubs: Topics it sends on. Declared topics are part of the causal order before the first tick. As a dict, with
            the class of what each carries, ``{"drive": CmdVel}``, or None: then nothing else can be sent there.
            ``Keep(class, n)`` also lets late readers of the topic have its last ``n`` messages: ``{"map": Keep(Map)}``.
        subs: Topics it reads. In a dict, likewise: a message of another class is left out, counted in the node's
            ``refused``, and told of once.
        order: Where topics leave the order open, lower ticks earlier; it also says where a feedback loop is closed.
        budget: Seconds a tick may take. An overrun is reported and has no other effect.
        deadline: Seconds from when a tick is due until it must have finished.
        on_miss: What happens when the deadline is missed.
        failure_policy: What happens when a callback raises; by default ``Fatal()``.
        compute: The tick, a plain function, runs in a worker thread and blocks no other node.
        watchdog: Seconds after which a running tick is reported; see `Scheduler`.
        params: Of a node that is made of functions: its parameters by their names, read as ``node.gain``.
        services: Likewise: by its name, what answers it, ``function(node, request)``.
        actions: Likewise: by its name, what carries it out, ``async function(node, goal, handle)``.

    Raises:
        ConfigurationError: An option is invalid.
    """

    name: str = ""
    rate: float | None = None
    on: Topics | None = None
    pubs: Topics | Mapping[str, type | Keep | None] = ()
    subs: Topics = ()
    order: int = 0
    budget: float | None = None
    deadline: float | None = None
    on_miss: Miss = Miss.WARN
    failure_policy: FailurePolicy | None = None
    compute: bool = False
    watchdog: float | None = None
    state: Any = None
    """Free for the user."""
    _ports: TopicAccess | None = None
    """While it runs: its topics. The run attaches and detaches them."""
    _own: ClassVar[Any] = object()

    def __init__(
        self,
        name: str | None = None,
        *,
        tick: Callable[..., Any] | None = None,
        init: Callable[..., Any] | None = None,
        shutdown: Callable[..., Any] | None = None,
        on_error: Callable[..., Any] | None = None,
        enter_safe_state: Callable[..., Any] | None = None,
        rate: float | None = _own,
        on: Topics | None = _own,
        pubs: Topics | Mapping[str, type | Keep | None] = _own,
        subs: Topics = _own,
        order: int = _own,
        budget: float | None = _own,
        deadline: float | None = _own,
        on_miss: Miss = _own,
        failure_policy: FailurePolicy | None = _own,
        compute: bool = _own,
        watchdog: float | None = _own,
        params: Mapping[str, Param[Any]] | None = None,
        services: Mapping[str, Callable[..., Any]] | None = None,
        actions: Mapping[str, Callable[..., Any]] | None = None,
        **unknown: Never,
    ) -> None:
        for option in unknown:
            raise ConfigurationError(unknown_option(option))
        if params or services or actions:
            from .interface.declaring import made_of  # late, as most nodes do without

            self.__class__ = made_of(type(self), params or {}, services or {}, actions or {})
        guard_options(type(self), OPTIONS)
        given = {
            "rate": rate,
            "on": on,
            "pubs": pubs,
            "subs": subs,
            "order": order,
            "budget": budget,
            "deadline": deadline,
            "on_miss": on_miss,
            "failure_policy": failure_policy,
            "compute": compute,
            "watchdog": watchdog,
        }
        for option, value in given.items():
            if value is not Node._own:
                setattr(self, option, value)
        set_here = {*vars(self), *(["name"] if name else [])}
        self.name = name or self.name or self._default_name()
        callbacks = (init, tick, shutdown, on_error, enter_safe_state)
        functions = {k: f for k, f in zip(CALLBACKS, callbacks, strict=True) if f is not None}
        self._functions: dict[str, Callable[..., Any]] = {}
        misspelt = find_misspelt(type(self), Node, set_here | functions.keys())
        if misspelt is not None:
            raise ConfigurationError(f"node {self.name!r}: {misspelt}")
        self._functions = functions
        self._settle()
        self._offers: Offers | None = None
        if offers_anything(type(self), Node):
            from .interface.declaring import declared_offers  # late, as above

            self._offers = declared_offers(self, Node)
        self.log = NodeLog(self.name)

    def _default_name(self) -> str:
        return type(self).__name__ if type(self) is not Node else f"node_{os.urandom(4).hex()}"

    def _settle(self) -> None:
        """Check every option, and bring those that can be given in several forms into one."""
        values = vars(self)  # past the options themselves, which would call this
        values["on"] = DeclaredTopics.of("on", self.on) if self.on is not None else None
        values["pubs"] = DeclaredTopics.of("pubs", self.pubs)
        values["subs"] = DeclaredTopics.of("subs", self.subs)
        self._check()

    def _check(self) -> None:
        if not is_node_name(self.name):
            raise ConfigurationError(
                f"{self.name!r} cannot be a node's name; use up to {NODE_NAME_LIMIT} printable characters "
                "without '@' and '\\', no leading '/', no '..'"
            )
        self._check_callbacks()
        if callback_of(self, "tick") is None:
            meant = nearest_tick(type(self), Node)
            way_out = "pass tick=function, or write a method 'async def tick(self)'"
            way_out = way_out if meant is None else f"was its method {meant!r} meant to be the tick?"
            raise ConfigurationError(f"node {self.name!r} has no tick: {way_out}")
        for option in ("rate", "budget", "deadline", "watchdog"):
            value = getattr(self, option)
            if value is not None and not is_positive(value):
                raise ConfigurationError(f"node {self.name!r}: {option}={value!r}; give a number above 0, or None")
        if self.rate is not None and self.on is not None:
            raise ConfigurationError(
                f"node {self.name!r} has rate={self.rate} and on={self.on}: it ticks by time or by message, not both"
            )
        self._check_choices()

    def _check_callbacks(self) -> None:
        for name in CALLBACKS:
            given = self._functions.get(name)
            function = getattr(self, name, None) if given is None else given
            if function is not None:
                check_callback(self.name, name, function, bound=given is None)

    def _check_choices(self) -> None:
        if not isinstance(self.on_miss, Miss):
            raise ConfigurationError(f"node {self.name!r}: on_miss={self.on_miss!r}; use {', '.join(map(str, Miss))}")
        if self.failure_policy is not None and not isinstance(self.failure_policy, FailurePolicy):
            raise ConfigurationError(
                f"node {self.name!r}: failure_policy={self.failure_policy!r}; "
                "use Fatal(), Restart(), Skip() or Ignore()"
            )
        if self.compute and inspect.iscoroutinefunction(callback_of(self, "tick")):
            raise ConfigurationError(
                f"node {self.name!r} has compute=True, which needs a plain 'def tick', but its tick is 'async def'"
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    # What a callback uses while the node runs

    def _running(self) -> TopicAccess:
        if self._ports is None:
            raise ContextError(f"node {self.name!r} is not running: use topics from its callbacks, during a run")
        return self._ports

    def send(self, topic: str, value: Any) -> None:
        """Send ``value`` on ``topic``.

        Raises:
            ValueNotSupportedError: No topic can carry ``value``.
            TopicTypeError: It is not what the node declared for this topic.
            MessageTooLargeError: It can never fit into a ring.
        """
        (self._ports or self._running()).send(topic, value)

    def recv(self, topic: str, default: Any = None) -> Any:
        """The value of the next unread message, or ``default``."""
        return (self._ports or self._running()).recv(topic, default)

    def recv_all(self, topic: str) -> list[Any]:
        """The values of all unread messages, oldest first."""
        return self._running().recv_all(topic)

    def recv_message(self, topic: str) -> Message | None:
        """The next unread message with its sequence number, stamp and publisher, or None."""
        return self._running().recv_message(topic)

    def borrow(self, topic: str) -> Borrowing:
        """The next unread message, without copying its arrays, for a ``with`` block; see `Topic.borrow`."""
        return self._running().borrow(topic)

    def latest(self, topic: str) -> Any:
        """The value of the newest message, or None; consumes nothing."""
        return self._running().latest(topic)

    def has_msg(self, topic: str) -> bool:
        """Whether there is an unread message; consumes nothing."""
        return self._running().has_msg(topic)

    async def receive(self, topic: str) -> Any:
        """Wait for the next unread message and return its value."""
        return await self._running().receive(topic)

    def subscribe(self, topic: str) -> AsyncIterator[Any]:
        """Iterate over messages as they arrive, for ever: ``async for value in node.subscribe("scan")``."""
        return _Messages(self, topic)

    async def call(self, service: str, request: Any = None, timeout: float | None = 1.0) -> Any:  # noqa: ASYNC109 - by the run's clock
        """Ask a service, of this program or another one, and wait for its reply.

        Args:
            service: Its name.
            request: What it takes.
            timeout: Seconds of the run's time; None for as long as it takes.

        Raises:
            ServiceError: It failed; the text is its node's. A `ServiceTimeoutError` if no reply came in time.
        """
        return await self._running().asking(self).call(service, request, timeout)

    def goal(self, action: str, goal: Any = None, timeout: float | None = 1.0) -> Goal:
        """Give an action a goal, for an ``async with`` block; leaving it before the goal has ended gives it up.

        As in::

            async with self.goal("arm.move", Pose(...)) as move:
                async for feedback in move:
                    ...
                reached = await move.result()

        Args:
            action: Its name.
            goal: What it takes.
            timeout: Seconds of the run's time until somebody takes the goal up; None for as long as it takes.

        Raises:
            ActionError: By what is awaited in the block: there is no result.
        """
        return self._running().asking(self).goal(action, goal, timeout)

    def sync(
        self,
        *topics: str,
        slop: float = 0.0,
        by: SyncBy | Callable[[Any], Any] | None = None,
        wait: float | None = None,
        queue: int = 100,
    ) -> Sync:
        """What gives tuples of messages that belong together: ``for left, right in self.sync("left", "right")``.

        Make it once, in ``init``. With the same arguments, a later call gives the same one.

        Args:
            topics: Two or more; it takes all of their messages.
            slop: Seconds by which the stamps of a tuple may differ; 0: not at all.
            by: A function that gives a value's stamp (a `Time`, int nanoseconds or float seconds), or a `SyncBy`; by
                default ``header.stamp`` or ``stamp_ns`` of messages that have one, else when they were sent.
            wait: Seconds after its last message was sent for which a tuple may be held back, because a better one could
                come; by default twice the slop, which is right for sensors whose delay is steady.
            queue: How many messages of each topic may wait for partners. The oldest goes first, and is counted.

        Raises:
            ConfigurationError: An argument is not possible, or a topic is in another `sync` of the node.
        """
        from .sync.sync import Sync, SyncOptions  # late, as most nodes do without

        options = SyncOptions.checked(self.name, topics, slop=slop, by=by, wait=wait, queue=queue)
        made = None if self._ports is None else self._ports.syncs.get(options.topics[0])
        if isinstance(made, Sync) and made.options == options:
            return made
        sync = Sync(self, options, tick_ns)
        if self._ports is not None:
            sync.join(self._ports)
        return sync

    def lost(self, topic: str) -> int:
        """How many messages were overwritten before this node read them."""
        return self._running().lost(topic)

    def background(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Start ``function(*arguments)``, a coroutine function, as a task of this node, from ``init`` or a tick.

        It is cancelled when the run ends, before ``shutdown``, and when the node's ``init`` runs again. What it raises
        is a failure of the node. In a deterministic run it takes its turn after the node's tick, the same in each run.

        Raises:
            ContextError: Called outside a run, from ``shutdown``, or where `Scheduler.tick_once` steps in real time.
        """
        if not callable(function):
            if inspect.iscoroutine(function):
                function.close()
                called = function.__name__
                raise ConfigurationError(
                    f"background() takes a function: write background({called}) without calling it"
                )
            raise ConfigurationError(f"background() takes a coroutine function, not {function!r}")
        self._running().background(function, arguments)

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Start ``function(*arguments)`` in a thread of this node, for drivers that block; from ``init`` or a tick.

        In it `send` is safe. The thread has to end when the run does: from then on `send` raises `ContextError` there,
        which ends it without a word. One that does not end is named and left behind. What it raises is a failure of
        the node. A deterministic run does not wait for such a thread, so its guard reports what it sends.

        Raises:
            ContextError: Called outside a run, from ``shutdown``, or where `Scheduler.tick_once` steps in real time.
        """
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError(
                f"in_thread() takes a plain function, and {function.__name__} is 'async def': use background() for it"
            )
        self._running().in_thread(function, arguments)

    def request_stop(self) -> None:
        """Ask the scheduler to end the run."""
        self._running().request_stop()


class _Messages:
    """What `Node.subscribe` returns. Not a generator, because one that is left early would have to be closed."""

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self._topic = topic

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await self._node.receive(self._topic)


guard_options(Node, OPTIONS)


def node(name: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], Node]:
    """Turn a function into a node: ``@node(rate=100, subs=["scan"])``; by default it has the function's name.

    Takes the options of `Node`, and raises what `Node` raises.
    """
    if callable(name):
        raise ConfigurationError(
            f"@node needs parentheses: write @node() above {getattr(name, '__name__', name)}(), or with options "
            "@node(rate=100)"
        )

    def make(tick: Callable[..., Any]) -> Node:
        return Node(name or tick.__name__, tick=tick, **options)

    return make


# Functions, not methods, so that a node may have methods and attributes of these names.


def keeps(node: Node) -> dict[str, int]:
    """How many messages a node keeps for late readers, by topic."""
    kept = node.pubs.kept() if isinstance(node.pubs, DeclaredTopics) else {}
    if offers_of(node) is not None:
        kept[ANNOUNCED] = 1
    return kept


def callback_of(node: Node, name: str) -> Callable[..., Any] | None:
    """The callback of that name, bound to its node; None if there is none."""
    function = node._functions.get(name)  # noqa: SLF001 - in its own module
    return getattr(node, name, None) if function is None else functools.partial(function, node)


def declared(node: Node) -> NodeInfo:
    """What a node declares, as kept in recordings."""
    return NodeInfo(
        name=node.name,
        rate=node.rate,
        on=tuple(node.on or ()),
        pubs=tuple(node.pubs),
        subs=tuple(node.subs),
        order=node.order,
        compute=node.compute,
        keep=keeps(node),
        params=_param_values(node),
    )


def types_of(node: Node) -> tuple[dict[str, type], dict[str, type]]:
    """The classes that a node declares for topics which it sends on, and for those which it reads."""
    sent, read, on = (getattr(topics, "types", {}) for topics in (node.pubs, node.subs, node.on))
    return {**sent}, {**on, **read}


def offers_of(node: Node) -> Offers | None:
    """What a node offers to others; None if it offers nothing."""
    return node._offers  # noqa: SLF001 - in its own module


def answering_of(node: Node) -> Answering | None:
    """What answers others in one run of a node; None if it offers nothing."""
    offers = offers_of(node)
    if offers is None:
        return None
    from .interface.answering import Answering  # late, as most nodes do without

    return Answering(node, offers)


def _param_values(node: Node) -> dict[str, Any]:
    offers = offers_of(node)
    if offers is None:
        return {}
    from .interface.params import values_of

    return values_of(node, offers.params)
