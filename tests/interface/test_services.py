"""Services: requests and replies as messages, answered between the ticks of a node."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from attrs import frozen

from horus_async import (
    ConfigurationError,
    Miss,
    Node,
    Restart,
    Scheduler,
    ServiceError,
    ServiceTimeoutError,
    Topic,
    TopicNameError,
    TopicTypeError,
    now,
    rng,
    service,
    sleep,
    tick,
)
from horus_async.engine.safety import Safety
from tests.interface.programs import both_modes, collector, run_and_verify, scheduler_of

if TYPE_CHECKING:
    from pathlib import Path


@frozen
class Ask:
    """A request."""

    number: int


@frozen
class Answer:
    """A reply."""

    number: int
    count: int


class Provider(Node):
    """Answers, in several ways."""

    name = "provider"
    rate = 50

    def init(self) -> None:
        """Begin anew."""
        self.count = 0
        self.inside = False

    def tick(self) -> None:
        """Never while a request is being answered."""
        assert not self.inside
        self.send("count", self.count)

    @service("double", request=Ask, reply=Answer)
    async def double(self, request: Ask) -> Answer:
        """The usual one."""
        self.count += 1
        return Answer(2 * request.number, self.count)

    @service("plain")
    def plain(self, request: Any) -> Any:
        """Of a plain function."""
        return [request, tick()]

    @service("slow")
    async def slow(self, request: float) -> float:
        """Takes its time, in which the node does not tick."""
        self.inside = True
        await sleep(request)
        self.inside = False
        return now()

    @service("broken", reply=Answer)
    async def broken(self, request: str) -> Any:
        """Fails in the way that is asked for."""
        if request == "said":
            raise ServiceError("the door is closed")
        if request == "raised":
            raise ValueError("no such door")
        return {"set"} if request == "unsendable" else request


def caller(ask: Any, name: str = "caller", rate: float = 10) -> Node:
    """A node whose tick awaits ``ask(node)``."""
    return Node(name, tick=ask, rate=rate)


@both_modes
def test_a_call_gives_the_reply_and_its_class(*, deterministic: bool, tmp_path: Path) -> None:
    """In the same instant where time is virtual, and recorded as any message."""
    got: list[Any] = []

    def make() -> list[Node]:
        async def ask(node: Node) -> None:
            reply = await node.call("double", Ask(tick()), timeout=5.0)
            node.send("got", reply)
            node.send("plain", await node.call("plain", {"x": 1}, timeout=5.0))

        return [caller(ask), Provider(), collector(got, "got")]

    report = run_and_verify(make, tmp_path, deterministic=deterministic)
    assert (report.differences, report.compared > 10) == (0, True), report
    assert got[0] == Answer(0, 1)
    assert all(type(reply) is Answer for reply in got)
    assert [reply.count for reply in got[: len(got) // 2]] == [*range(1, len(got) // 2 + 1)]
    if deterministic:
        assert [reply.number for reply in got[:4]] == [0, 20, 40, 60]  # no tick later


@both_modes
def test_errors_come_back_with_the_nodes_words(*, deterministic: bool, caplog: pytest.LogCaptureFixture) -> None:
    """And the node goes on, having said what went wrong."""
    got: list[str] = []

    async def ask(node: Node) -> None:
        if got:
            return
        for request in ("said", "raised", "unsendable", "of another class"):
            try:
                await node.call("broken", request, timeout=5.0)
            except ServiceError as error:
                got.append(str(error))
        got.append(str((await node.call("double", Ask(1), timeout=5.0)).number))

    with caplog.at_level(logging.WARNING):
        scheduler_of([caller(ask), Provider()], deterministic=deterministic).run_sync(0.5)
    assert got[:2] == ["broken: the door is closed", "broken: ValueError: no such door"]
    assert "'broken/reply' carries tests.interface.test_services.Answer, not set" in got[2]
    assert "carries tests.interface.test_services.Answer, not str" in got[3]
    assert got[4] == "2"
    raised = [record for record in caplog.records if "no such door" in record.getMessage()]
    assert raised[0].exc_info is not None
    assert getattr(raised[0], "node", None) == "provider"


@both_modes
def test_a_request_of_another_class_is_refused(*, deterministic: bool) -> None:
    """With what it should have been, at the caller; the handler does not see it."""
    got: list[str] = []

    async def ask(node: Node) -> None:
        try:
            await node.call("double", {"number": 1}, timeout=5.0)
        except ServiceError as error:
            got.append(str(error))

    scheduler_of([caller(ask), Provider()], deterministic=deterministic).run_sync(0.15)
    assert "'double/request' carries tests.interface.test_services.Ask, not dict" in got[0]


@both_modes
def test_no_reply_in_time_is_an_error_of_the_runs_own_time(*, deterministic: bool, tmp_path: Path) -> None:
    """The reply that comes later is nobody's, and the next call gets its own; verified in both modes."""
    got: list[Any] = []

    def make() -> list[Node]:
        async def ask(node: Node) -> None:
            if tick() > 20:
                return
            try:
                await node.call("slow", 0.05, timeout=0.02)
            except ServiceTimeoutError as error:
                node.send("got", str(error))
            node.send("got", await node.call("plain", tick(), timeout=5.0))

        return [caller(ask), Provider(), collector(got, "got")]

    report = run_and_verify(make, tmp_path, deterministic=deterministic, duration=0.6)
    assert (report.differences, report.compared > 5) == (0, True), report
    assert "no reply from 'slow' within 0.02 s" in got[0]
    assert got[1][0] == 0


def test_nobody_provides_it() -> None:
    """That takes no longer than the time-out, which in virtual time is none at all."""

    async def ask(node: Node) -> None:
        with pytest.raises(ServiceTimeoutError, match=r"no reply from 'nobody' within 3600 s"):
            await node.call("nobody", 1, timeout=3600)
        node.request_stop()

    scheduler_of([caller(ask)], deterministic=True).run_sync(4000)


def test_who_was_asked_for_parameters_is_named() -> None:
    """All nodes with parameters answer to one name, so that alone would say nothing of a misspelt node."""
    asks = (
        ({"node": "amr", "set": {"gain": 1}}, r"asked was node 'amr'; 'horus-async param list' shows which nodes"),
        ({"set": {"gain": 1}}, r"the request names no node: {\"node\": …}"),
        (7, r"the request names no node"),
    )

    async def ask(node: Node) -> None:
        for request, said in asks:
            with pytest.raises(ServiceTimeoutError, match=said):
                await node.call("params", request, timeout=1)
        node.request_stop()

    scheduler_of([caller(ask)], deterministic=True).run_sync(10)


@both_modes
def test_several_callers_get_their_own_replies(*, deterministic: bool, tmp_path: Path) -> None:
    """Three nodes, and several tasks of one node at once."""
    got: list[Any] = []

    def make() -> list[Node]:
        async def ask(node: Node) -> None:
            async def one(number: int) -> None:
                reply = await node.call("double", Ask(number), timeout=5.0)
                node.send("got", (number, reply.number))

            async with trio.open_nursery() as nursery:
                for number in range(4):
                    nursery.start_soon(one, number + 10 * tick())

        return [*(caller(ask, f"caller{n}") for n in range(3)), Provider(), collector(got, "got")]

    report = run_and_verify(make, tmp_path, deterministic=deterministic)
    assert all(reply == 2 * asked for asked, reply in got)
    assert len(got) >= 24
    if deterministic:  # which task of a tick goes on first is left to trio where time is real
        assert report.differences == 0, report


def test_a_background_task_may_call_too(tmp_path: Path) -> None:
    """At the same time as the ticks."""
    got: list[Any] = []

    def make() -> list[Node]:
        class Caller(Node):
            name, rate = "caller", 20

            def init(self) -> None:
                self.background(self.poll)

            async def poll(self) -> None:
                for number in range(100):
                    await sleep(0.03)
                    self.send("got", (number, (await self.call("double", Ask(number))).number))

            async def tick(self) -> None:
                self.send("got", (tick(), (await self.call("double", Ask(tick()))).number))

        return [Caller(), Provider(), collector(got, "got")]

    report = run_and_verify(make, tmp_path, deterministic=True, duration=1.0)
    assert (report.differences, report.compared > 50) == (0, True), report
    assert len(got) > 40
    assert all(reply == 2 * asked for asked, reply in got)


@both_modes
def test_a_call_in_init_is_answered_by_nodes_that_have_begun(*, deterministic: bool) -> None:
    """The provider's ``init`` came before."""
    got: list[Any] = []

    class Caller(Node):
        name, rate = "caller", 10

        async def init(self) -> None:
            got.append(await self.call("double", Ask(21), timeout=5.0))

        def tick(self) -> None:
            self.request_stop()

    scheduler_of([Provider(), Caller()], deterministic=deterministic).run_sync(1.0)
    assert got == [Answer(42, 1)]


def test_two_nodes_that_wait_for_each_other_hear_of_it() -> None:
    """Neither can answer while its own tick waits; time-outs end it, in no wall time."""
    got: list[str] = []

    async def a(node: Node, _: Any) -> Any:
        return await node.call("b", timeout=60.0)

    async def b(node: Node, _: Any) -> Any:
        return await node.call("a", timeout=30.0)

    async def ask(node: Node) -> None:
        try:
            await node.call("a", timeout=100.0)
        except ServiceError as error:
            got.append(str(error))
        node.request_stop()

    nodes = [Node(name, tick=lambda _: None, services={name: f}) for name, f in (("a", a), ("b", b))]
    scheduler_of([*nodes, caller(ask)], deterministic=True).run_sync(200.0)
    assert "no reply from 'a' within 30 s" in got[0]


def test_a_node_may_ask_itself_from_a_task_but_not_from_its_tick() -> None:
    """A tick is not over while it waits for a reply."""
    got: list[Any] = []

    class Own(Node):
        name, rate = "own", 10

        def init(self) -> None:
            self.background(self.ask)

        async def ask(self) -> None:
            got.append(await self.call("own.ask", 3, timeout=5.0))
            self.request_stop()

        @service("own.ask")
        def answer(self, request: int) -> int:
            return request + 1

        def tick(self) -> None:
            """Nothing."""

    scheduler_of([Own()], deterministic=True).run_sync(1.0)
    assert got == [4]


def test_requests_do_not_change_a_nodes_random_numbers(tmp_path: Path) -> None:
    """Those of its ticks; a request has its own, which are the same in a verification."""

    def numbers(*, asked: bool) -> list[Any]:
        got: list[Any] = []

        def make() -> list[Node]:
            roller = Node(
                "roller",
                tick=lambda node: node.send("rolled", rng().random()),
                services={"roll": lambda _node, _request: rng().random()},
            )

            async def ask(node: Node) -> None:
                first, second = await node.call("roll"), await node.call("roll")
                assert first != second
                node.send("asked", (first, second))

            return [roller, *([caller(ask, rate=50)] if asked else []), collector(got, "rolled")]

        folder = tmp_path / str(asked)
        folder.mkdir()
        assert run_and_verify(make, folder, deterministic=True).differences == 0
        return got

    assert numbers(asked=True) == numbers(asked=False)


def test_a_service_does_not_decide_who_ticks_first() -> None:
    """The caller would have to come before and after its provider."""
    order: list[str] = []

    async def ask(node: Node) -> None:
        order.append("caller")
        await node.call("late", 1)

    late = Node(
        "late", tick=lambda _: order.append("late"), services={"late": lambda _node, request: request}, order=-1
    )
    scheduler_of([caller(ask, rate=100), late], deterministic=True).run_sync(0.03)
    assert order == ["late", "caller"] * 3


def test_a_handler_that_takes_long_makes_its_node_miss_periods() -> None:
    """It does not tick meanwhile, and that is counted."""
    provider = Provider(on_miss=Miss.WARN)

    async def ask(node: Node) -> None:
        if tick() == 10:
            await node.call("slow", 0.1, timeout=5.0)

    scheduler = scheduler_of([caller(ask), provider], deterministic=True)
    scheduler.run_sync(0.5)
    stats = scheduler.stats().nodes["provider"]
    assert (stats.ticks, stats.deadline_misses) == (20, 5)


def test_a_request_to_a_node_that_begins_anew_waits_without_being_looked_at_over_and_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is answered once the node has begun; until then a look a tick is enough."""
    looks: list[None] = []
    interlude = Safety._interlude

    def counted(self: Safety) -> Any:
        looks.append(None)
        yield from interlude(self)

    monkeypatch.setattr(Safety, "_interlude", counted)
    got: list[Any] = []

    def fail_once(_: Node) -> None:
        if tick() == 2:
            raise ValueError("it breaks")

    fragile = Node(
        "fragile", tick=fail_once, rate=100, services={"ask": lambda _node, request: request},
        failure_policy=Restart(backoff=0.2),
    )  # fmt: skip

    async def ask(node: Node) -> None:
        if tick() == 4:
            got.append((await node.call("ask", 1, timeout=5.0), tick()))

    scheduler_of([fragile, caller(ask, rate=100)], deterministic=True).run_sync(0.5)
    assert got == [(1, 4)]
    assert len(looks) < 200


def test_plain_programs_may_ask_with_topics() -> None:
    """A request is the value itself, and a reply names it."""
    answered: list[Any] = []
    scheduler = scheduler_of([Provider()], deterministic=False)
    namespace = scheduler._options.namespace
    with (
        Topic("double/request", namespace=namespace) as requests,
        Topic("double/reply", namespace=namespace) as replies,
    ):

        def look(_: Node) -> None:
            if tick() == 0:
                requests.send(Ask(4))
            for message in replies.recv_all():
                answered.append(message)
                scheduler.stop()

        scheduler.add(Node("look", tick=look))
        scheduler.run_sync(60)
        sent = requests.recv_message()
    assert sent is not None
    assert answered[0] == {
        "publisher": sent.publisher, "seq": sent.seq, "stamp_ns": sent.stamp_ns, "value": Answer(8, 1)
    }  # fmt: skip


def test_replies_to_another_node_of_the_same_name_are_not_taken() -> None:
    """A robot in another process may have a node of that name, with the same numbers."""
    got: list[Any] = []
    scheduler = scheduler_of([], deterministic=False)
    with Topic("double/reply", namespace=scheduler._options.namespace) as replies:

        async def ask(node: Node) -> None:
            if not got:
                replies.send({"publisher": "caller", "seq": 0, "stamp_ns": 1, "value": "not yours"})
                got.append(await node.call("double", Ask(1), timeout=30.0))
                node.request_stop()

        scheduler.add(caller(ask)).add(Provider()).run_sync(60)
    assert got == [Answer(2, 1)]


def test_mistakes_are_named_where_they_are_made() -> None:
    """By the class, not by the first request."""
    with pytest.raises(ConfigurationError, match=r"@service needs a name"):
        service(lambda self, request: request)  # type: ignore[arg-type]
    with pytest.raises(TopicNameError):
        service("/bad name")
    with pytest.raises(TopicTypeError, match="'x': its type has to be a class"):
        service("x", request="Ask")  # type: ignore[arg-type]

    class Twice(Node):
        """Two methods for one service."""

        def tick(self) -> None:
            """Nothing."""

        @service("same")
        def one(self, request: Any) -> Any:
            """Answers."""

        @service("same")
        def two(self, request: Any) -> Any:
            """Answers as well."""

    with pytest.raises(ConfigurationError, match="node 'Twice' has two methods for 'same'"):
        Twice()


def test_a_recorded_provider_answers_a_live_caller_in_a_replay(tmp_path: Path) -> None:
    """A service call replays with its reply, at its tick."""
    got: list[Any] = []

    async def ask(node: Node) -> None:
        got.append((tick(), await node.call("double", Ask(tick()), timeout=5.0)))

    scheduler_of([caller(ask), Provider()], deterministic=True, recording="run", recordings_dir=tmp_path).run_sync(0.4)
    recorded, got[:] = list(got), []
    replay = Scheduler.replay_from(tmp_path / "run", namespace="replay-of-services").set_replay_speed(float("inf"))
    replay.add(caller(ask)).run_sync()
    assert got == recorded
    got.clear()
    late = Scheduler.replay_from(tmp_path / "run", namespace="replay-of-services").set_replay_speed(float("inf"))
    late.start_at_tick(20).add(caller(ask)).run_sync()
    assert got == [(20, Answer(40, 3)), (30, Answer(60, 4))]
