"""``on_error`` is told of what tasks and threads of a node raise, once, and the policy still decides."""

from __future__ import annotations

import pytest

from horus_async import ConfigurationError, Ignore, Node, NodeFailure, Scheduler, node, sleep
from tests.engine.programs import Log, both_modes, run_nodes


@pytest.mark.usefixtures("namespace")
@both_modes
@pytest.mark.parametrize("kind", ["background", "in_thread"])
@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("ignored", [True, False])
def test_on_error_is_told_of_tasks_and_threads(
    kind: str, asynchronous: bool, ignored: bool, deterministic: bool
) -> None:
    """Once a failure; an asynchronous one may await; it swallows nothing."""
    log = Log()

    async def fails() -> None:
        await sleep(0.01)
        raise ValueError(1)

    def fails_at_once() -> None:
        raise ValueError(1)

    def begin(node: Node) -> None:
        if kind == "background":
            node.background(fails)
        else:
            node.in_thread(fails_at_once)

    async def told_later(_: Node, error: Exception) -> None:
        await sleep(0)
        log(repr(error))

    def told(_: Node, error: Exception) -> None:
        log(repr(error))

    def tick(node: Node) -> None:
        if log.lines:
            node.request_stop()

    robot = Node(
        "a",
        init=begin,
        tick=tick,
        on_error=told_later if asynchronous else told,
        failure_policy=Ignore() if ignored else None,
    )
    duration = 10.0 if deterministic else 60.0
    if ignored:
        scheduler = run_nodes(robot, deterministic=deterministic, duration=duration)
        assert scheduler.stats().nodes["a"].errors == 1
    else:
        with pytest.raises(NodeFailure):
            run_nodes(robot, deterministic=deterministic, duration=duration)
    assert log.lines == ["ValueError(1)"]


async def _coroutine() -> None:
    """Does nothing."""


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize(
    ("start", "said"),
    [
        (lambda node: node.background(_coroutine()), "without calling it"),
        (lambda node: node.in_thread(_coroutine), "use background()"),
    ],
)
def test_what_cannot_be_started_is_refused(start: object, said: str) -> None:
    """At the call, with the way out."""
    with pytest.raises(NodeFailure) as raised:
        run_nodes(Node("a", tick=start))  # type: ignore[arg-type]
    assert isinstance(raised.value.exceptions[0], ConfigurationError)
    assert said in str(raised.value.exceptions[0])


def test_a_misspelt_option_and_a_bare_decorator_are_refused() -> None:
    """The errors are ours and say what was meant."""
    with pytest.raises(ConfigurationError, match=r"no option 'recoding'; did you mean 'recording'\?"):
        Scheduler(recoding="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"@node\(rate=100\)"):
        node(lambda _: None)  # type: ignore[arg-type]
