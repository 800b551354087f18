"""All the ways to write a node."""

from __future__ import annotations

import functools
import logging
import threading
from typing import Any

import numpy as np
import pytest

from horus_async import ConfigurationError, ContextError, Ignore, Miss, Node, Scheduler, TopicNameError, node, run
from tests.engine.programs import Log, both_modes, run_nodes, scheduler_of


@both_modes
def test_each_authoring_style_ticks(deterministic: bool) -> None:
    """A coroutine function, a plain one, @node, a subclass, a bound method and a compute node all tick (J.1-43)."""
    log = Log()

    async def with_async(n: Node) -> None:
        log(n.name)

    def plain(n: Node) -> None:
        log(n.name)

    @node(rate=100)
    async def decorated(n: Node) -> None:
        log(n.name)

    class Subclass(Node):
        name = "subclass"
        rate = 100

        async def tick(self) -> None:
            log(self.name)

    class PlainSubclass(Node):
        def tick(self) -> None:
            log(self.name)

    class Elsewhere:
        async def tick(self, n: Node) -> None:
            log(n.name)

    nodes = [
        Node(name="async", tick=with_async, rate=100),
        Node(name="plain", tick=plain),
        decorated,
        Subclass(),
        PlainSubclass(),
        Node("bound", tick=Elsewhere().tick),
        Node("partial", tick=functools.partial(plain)),
        Node("lambda", tick=lambda n, ticks=with_async: ticks(n)),
        Node("compute", tick=plain, compute=True),
    ]
    run_nodes(*nodes, duration=0.05, deterministic=deterministic)
    assert set(log.lines) == {
        "async",
        "plain",
        "decorated",
        "subclass",
        "PlainSubclass",
        "bound",
        "partial",
        "lambda",
        "compute",
    }


def test_the_first_example_of_the_contract() -> None:
    """The controller and the sensor of the documentation work together as they stand there."""
    from horus_async import rng

    outputs = []

    async def control(n: Node) -> None:
        reading = n.recv("sensor.reading")
        if reading is not None:
            n.send("ctrl.cmd", {"output": 0.5 * reading["value"]})

    controller = Node(name="controller", tick=control, rate=100, subs=["sensor.reading"], pubs=["ctrl.cmd"])

    class Sensor(Node):
        name = "sensor"
        rate = 100
        pubs = ("sensor.reading",)

        async def init(self) -> None:
            self.count = 0

        async def tick(self) -> None:
            self.send("sensor.reading", {"value": rng().random(), "count": self.count})

    drain = Node("drain", tick=lambda n: outputs.extend(n.recv_all("ctrl.cmd")), subs="ctrl.cmd")
    run_nodes(controller, Sensor(), drain, duration=1.0)
    assert len(outputs) == 100
    assert len({value["output"] for value in outputs}) == 100


@both_modes
def test_init_then_ticks_then_shutdown_once_each(deterministic: bool) -> None:
    """Its init runs once before the first tick, shutdown once after the last (J.1-43)."""
    log = Log()
    n = Node("n", init=log.says("init"), tick=log.says("tick"), shutdown=log.says("shutdown"))
    run_nodes(n, duration=0.03, deterministic=deterministic)
    assert log.lines[0] == "init"
    assert log.lines[-1] == "shutdown"
    assert set(log.lines[1:-1]) == {"tick"}


def test_every_init_runs_before_the_first_tick() -> None:
    """No node ticks before all have been initialised."""
    log = Log()
    nodes = [Node(name, init=log.says("init"), tick=log.says("tick")) for name in "abc"]
    run_nodes(*nodes, duration=0.01)
    assert log.lines == ["init"] * 3 + ["tick"] * 3


def test_async_init_and_shutdown_may_await() -> None:
    """Both may wait for anything."""
    from horus_async import sleep

    log = Log()

    async def init(n: Node) -> None:
        await sleep(1)
        log("init")

    async def shutdown(n: Node) -> None:
        await sleep(1)
        log("shutdown")

    run_nodes(Node("n", init=init, tick=log.says("tick"), shutdown=shutdown), duration=0.02)
    assert log.lines == ["init", "tick", "tick", "shutdown"]


def test_defaults() -> None:
    """Without options: every tick, order 0, no budget, no deadline, Miss.WARN, not compute."""
    n = Node("n", tick=print)
    assert (n.rate, n.on, n.order, n.budget, n.deadline, n.on_miss, n.compute) == (
        None,
        None,
        0,
        None,
        None,
        Miss.WARN,
        False,
    )
    assert (tuple(n.pubs), tuple(n.subs)) == ((), ())


def test_names_are_made_up_and_unique() -> None:
    """A node without a name gets one; two of one name are refused by the scheduler."""
    assert Node(tick=print).name != Node(tick=print).name
    scheduler = scheduler_of(Node("twin", tick=print))
    with pytest.raises(ConfigurationError, match="twin"):
        scheduler.add(Node("twin", tick=print))


@pytest.mark.parametrize("name", ["../up", "/abs", "a@b", "a\nb", "x" * 300, "a\0b"])
def test_impossible_names_are_refused(name: str) -> None:
    """A name that cannot be part of a file's name is an error that shows it (J.1-11)."""
    with pytest.raises(ConfigurationError):
        Node(name, tick=print)


@pytest.mark.parametrize("option", ["rate", "budget", "deadline", "watchdog"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "10", True])
def test_numbers_are_validated(option: str, value: Any) -> None:
    """Rates and durations are finite numbers above 0; the error names option and value (J.1-46)."""
    with pytest.raises(ConfigurationError, match=option):
        Node("n", tick=print, **{option: value})


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "10", None])
def test_the_tick_rate_is_validated(value: Any) -> None:
    """So is the scheduler's rate (J.1-46)."""
    with pytest.raises(ConfigurationError, match="tick_rate"):
        Scheduler(tick_rate=value)


@pytest.mark.parametrize("value", [-1, float("nan"), "10"])
def test_the_duration_is_validated(value: Any) -> None:
    """A duration that is no number of seconds is a clear error, before anything runs (J.1-46)."""
    log = Log()
    with pytest.raises(ConfigurationError, match="duration"):
        run_nodes(Node("n", init=log.says("init"), tick=print), duration=value)
    assert log.lines == []


def test_numpy_numbers_are_numbers() -> None:
    """Rates and durations that come out of NumPy work like Python's."""
    log = Log()
    n = Node("n", tick=log.says("tick"), rate=np.float64(10))
    run_nodes(n, duration=np.float64(1.0), tick_rate=np.float64(100))
    assert len(log.lines) == 10


def test_choices_are_enums_not_strings() -> None:
    """A string in the place of a choice is an error (J.1-46)."""
    with pytest.raises(ConfigurationError, match="on_miss"):
        Node("n", tick=print, on_miss="skip")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="failure_policy"):
        Node("n", tick=print, failure_policy="fatal")  # type: ignore[arg-type]
    assert Node("n", tick=print, failure_policy=Ignore()).failure_policy == Ignore()


def test_a_rate_above_the_schedulers_says_so() -> None:
    """The error names both rates (J.1-46)."""
    with pytest.raises(ConfigurationError, match=r"200.*100"):
        Scheduler(tick_rate=100).add(Node("fast", tick=print, rate=200))


def test_add_takes_nodes_only() -> None:
    """Anything else is an error; a class instead of an instance too."""
    with pytest.raises(ConfigurationError):
        Scheduler().add("node")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        Scheduler().add(Node)  # type: ignore[arg-type]


def test_add_chains() -> None:
    """Calling add gives the scheduler back."""
    scheduler = Scheduler()
    assert scheduler.add(Node("a", tick=print)) is scheduler


def test_topic_names_are_checked_early() -> None:
    """A bad topic name in pubs, subs or on is an error when the node is made."""
    for option in ("pubs", "subs", "on"):
        with pytest.raises(TopicNameError):
            Node("n", tick=print, **{option: ["no spaces"]})  # type: ignore[arg-type]


def test_a_single_topic_may_be_a_string() -> None:
    """pubs, subs and on take one name as well as several."""
    n = Node("n", tick=print, pubs="a", subs="b", on="c")
    assert (tuple(n.pubs), tuple(n.subs), tuple(n.on or ())) == (("a",), ("b",), ("c",))


def test_a_subclass_takes_options_per_instance() -> None:
    """What is given to an instance wins over the class."""

    class Arm(Node):
        rate = 50

        def tick(self) -> None: ...

    assert (Arm().rate, Arm(rate=20).rate, Arm("left").name, Arm().name) == (50, 20, "left", "Arm")


def test_a_subclass_that_forgets_super_is_told() -> None:
    """The error says to call super().__init__()."""

    class Forgetful(Node):
        def __init__(self) -> None:
            self.x = 1

        def tick(self) -> None: ...

    with pytest.raises(ConfigurationError, match="super"):
        Scheduler().add(Forgetful())


def test_state_is_free_for_the_user() -> None:
    """node.state is None until the user puts something there."""
    n = Node("n", tick=lambda n: n.state.append(1))
    assert n.state is None
    n.state = []
    run_nodes(n, duration=0.03)
    assert n.state == [1, 1, 1]


def test_a_node_runs_again_under_another_scheduler() -> None:
    """Its init runs again, and read positions start afresh."""
    log = Log()

    def tick(n: Node) -> None:
        n.send("t", len(log.lines))
        log("tick", n.recv("t"))

    n = Node("n", init=log.says("init"), tick=tick, shutdown=log.says("shutdown"))
    run_nodes(n, duration=0.01)
    run_nodes(n, duration=0.01)
    assert log.lines == ["init", ("tick", 1), "shutdown", "init", ("tick", 4), "shutdown"]


def test_a_scheduler_runs_several_times() -> None:
    """A second run begins at tick 0 again, with init."""
    log = Log()
    scheduler = scheduler_of(Node("n", init=log.says("init"), tick=log.says("tick")))
    scheduler.run_sync(0.02)
    scheduler.run_sync(0.02)
    assert log.lines == ["init", "tick", "tick"] * 2
    assert scheduler.stats().nodes["n"].ticks == 2


def test_a_node_cannot_be_in_two_runs_at_once() -> None:
    """The second one is refused, and the first goes on."""
    log = Log()

    def second() -> None:
        with pytest.raises(ContextError, match="n"):
            run_nodes(n, duration=0.01)
        log("refused")

    def tick(_: Node) -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    n = Node("n", tick=tick)
    run_nodes(n, duration=0.02)
    assert log.lines == ["refused"] * 2


def test_module_level_run() -> None:
    """run(*nodes, duration=..., options) makes a scheduler and runs it."""
    log = Log()
    run(Node("a", tick=log.says("a")), Node("b", tick=log.says("b")), duration=0.02, deterministic=True, seed=3)
    assert log.lines == ["a", "b"] * 2


def test_log_is_a_logging_adapter(caplog: pytest.LogCaptureFixture) -> None:
    """node.log writes through logging, under the node's name."""
    with caplog.at_level(logging.INFO):
        run_nodes(Node("arm", tick=lambda n: n.log.info("moved %d", 3)), duration=0.01)
    assert [(record.name.endswith("arm"), record.getMessage()) for record in caplog.records] == [(True, "moved 3")]


def test_topics_outside_a_run_are_an_error() -> None:
    """Using send or recv of a node that does not run says so."""
    n = Node("n", tick=print)
    for use in (lambda: n.send("t", 1), lambda: n.recv("t"), lambda: n.has_msg("t"), n.request_stop):
        with pytest.raises(ContextError, match="not running"):
            use()
    run_nodes(n, duration=0.01)
    with pytest.raises(ContextError, match="not running"):
        n.send("t", 1)


def test_a_compute_node_is_a_plain_function() -> None:
    """compute=True with a coroutine function is an error when the node is made."""

    async def tick(n: Node) -> None: ...

    with pytest.raises(ConfigurationError, match="compute"):
        Node("n", tick=tick, compute=True)


def test_each_compute_node_has_a_thread_however_many_there_are() -> None:
    """A hundred that wait for each other in their ticks all get there."""
    together = threading.Barrier(100, action=lambda: scheduler.stop())  # noqa: PLW0108 - it is made below
    nodes = [Node(f"driver{number}", tick=lambda _: together.wait(60), compute=True, rate=1) for number in range(100)]
    scheduler = scheduler_of(*nodes, deterministic=False, grace=60)
    scheduler.run_sync()
    stats = scheduler.stats().nodes
    assert {stats[node.name].ticks for node in nodes} == {1}


@both_modes
def test_a_compute_tick_runs_in_a_worker_thread(deterministic: bool) -> None:
    """It runs in another thread than the plain ticks, with the same time API and topics."""
    from horus_async import tick as tick_number

    log = Log()

    def compute(n: Node) -> None:
        n.send("sum", tick_number())
        log("compute", threading.get_ident())

    def plain(n: Node) -> None:
        log("plain", threading.get_ident())
        for value in n.recv_all("sum"):
            log("sum", value)

    run_nodes(
        Node("compute", tick=compute, compute=True, pubs="sum"),
        Node("plain", tick=plain, subs="sum"),
        duration=0.1,
        deterministic=deterministic,
    )
    threads = {kind: {line[1] for line in log.lines if line[0] == kind} for kind in ("compute", "plain")}
    assert threads["compute"].isdisjoint(threads["plain"])
    assert len([line for line in log.lines if line[0] == "sum"]) >= 3


def test_a_compute_tick_does_not_block_the_others() -> None:
    """While it computes, another node ticks on."""
    ticked, let_go = threading.Event(), threading.Event()
    log = Log()

    def compute(n: Node) -> None:
        ticked.clear()
        log(ticked.wait(300))
        let_go.set()
        n.request_stop()

    n = Node("compute", tick=compute, compute=True)
    scheduler = scheduler_of(n, Node("other", tick=lambda _: ticked.set()), deterministic=False)
    scheduler.run_sync(20)
    assert log.lines[0] is True


@pytest.mark.parametrize(
    "name", ["policy", "state", "model", "info", "position", "failure", "step", "callback", "declared"]
)
def test_a_node_may_use_the_names_that_robots_use(name: str) -> None:
    """For attributes of its own: a learned policy, a state."""

    class Arm(Node):
        def __init__(self) -> None:
            super().__init__("arm", rate=10)
            setattr(self, name, [0.5])

        def tick(self) -> None:
            self.send("arm", getattr(self, name))

    arm = Arm()
    Scheduler(deterministic=True).add(arm).run_sync(0.2)
    assert getattr(arm, name) == [0.5]
