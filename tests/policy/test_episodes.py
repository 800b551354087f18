"""Episodes: whatever robots, failing resets, time-outs and clients that leave do, no state is used for another episode.

The model tests run in virtual time: seconds cost nothing, and every interleaving is the same each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.errors import PolicyError
from horus_async.policy import (
    Replayed,
    ReplayOptions,
    TraceOptions,
    TraceReader,
    from_object,
    load_policy,
    replay_trace,
)
from horus_async.policy.calls.calling import Call, EpisodeOver, PolicyCaller, PolicyCallError, PolicyStuck
from horus_async.policy.calls.episodes import Episodes, Instances
from tests.policy.conftest import needs_server, only_trace, read_all, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

NAMES = ("a", "b", "c", None)


@define
class World:
    """What the policy of a model test does and finds."""

    mode: str
    concurrency: int
    resets: list[tuple[int, str]]
    active: int = 0
    resetting: int = 0
    ready: set[str] = field(factory=set)
    wrong: list[str] = field(factory=list)

    def check(self, right: bool, what: str) -> None:
        """Note what is wrong; an error of the policy would only be one of its answers."""
        if not right:
            self.wrong.append(what)


class Robotic:
    """A policy with state: whose it is, is checked at the begin and the end of each act."""

    def __init__(self, world: World) -> None:
        self.world, self.owner = world, ""

    async def reset(self, episode: str) -> None:
        """As the world's next reset goes: how long, and how it ends."""
        world = self.world
        world.check(world.mode != "one" or world.active + world.resetting == 0, "a reset beside another call")
        world.check(world.active + world.resetting < world.concurrency, "more calls than may be")
        world.resetting += 1
        world.ready.discard(episode)
        self.owner = "half reset"
        seconds, end = world.resets.pop(0) if world.resets else (1, "good")
        try:
            await _sleep(seconds, stubborn=end == "stubborn")
        finally:
            world.resetting -= 1
        if end == "bad":
            raise RuntimeError("no camera")
        self.owner = episode
        world.ready.add(episode)

    async def act(self, request: dict[str, Any]) -> list[list[float]]:
        """As long as the request says."""
        world, episode = self.world, request["episode_id"]
        world.check(world.active + world.resetting < world.concurrency, "more calls than may be")
        world.active += 1
        try:
            self._is_of(episode)
            await _sleep(request["seconds"], stubborn=request["stubborn"])
            self._is_of(episode)
        finally:
            world.active -= 1
        return [[1.0]]

    def _is_of(self, episode: str | None) -> None:
        if self.world.mode == "shared":
            self.world.check(episode is None or episode in self.world.ready, f"{episode} before its reset")
        else:
            self.world.check(self.owner == (episode or ""), f"the state of {self.owner!r} used for {episode!r}")


async def _sleep(seconds: float, *, stubborn: bool) -> None:
    with trio.CancelScope(shield=stubborn):
        await trio.sleep(seconds)


def _caller(world: World) -> PolicyCaller:
    def make() -> Robotic:
        return Robotic(world)

    policy = evolve(from_object(make, name="model"), episodes=world.mode, concurrency=world.concurrency)
    caller = PolicyCaller(policy)
    if world.mode == "instances":
        caller.episodes = Instances(policy, caller.places, caller.places.runner, limit=2)
    return caller


@define
class Request:
    """One request of a model test: when, for which episode, how long it takes, and how long its client waits."""

    at: int
    episode: str | None
    seconds: int
    patience: int
    stubborn: bool
    renews: bool
    outcome: str = ""


REQUESTS = st.lists(
    st.builds(
        Request,
        at=st.integers(0, 20),
        episode=st.sampled_from(NAMES),
        seconds=st.integers(0, 4),
        patience=st.sampled_from([1, 3, 1000, 1000]),
        stubborn=st.booleans(),
        renews=st.sampled_from([False, False, False, True]),
    ),
    max_size=14,
)
RESETS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["good", "good", "bad", "stubborn"])), max_size=8)


async def _play(world: World, requests: list[Request]) -> PolicyCaller:
    caller = _caller(world)

    async def one(request: Request) -> None:
        await trio.sleep(request.at)
        call = Call(
            {"episode_id": request.episode, "seconds": request.seconds, "stubborn": request.stubborn},
            deadline=trio.current_time() + request.patience,
        )
        request.outcome = "given up"
        with trio.move_on_at(call.deadline):
            request.outcome = await _outcome(caller.reset(call) if request.renews else caller.ask(call))

    async with trio.open_nursery() as nursery:
        for request in requests:
            nursery.start_soon(one, request)
    await trio.sleep(1000)
    return caller


async def _outcome(waiting: Awaitable[Any]) -> str:
    try:
        await waiting
    except EpisodeOver:
        return "over"
    except PolicyStuck:
        return "stuck"
    except PolicyCallError:
        return "reset failed"
    return "answered"


def _run(main: Callable[[], Awaitable[None]]) -> None:
    """In virtual time; a deadlock is an error then."""

    async def limited() -> None:
        with trio.fail_after(100_000):
            await main()

    trio.run(limited, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("mode", ["shared", "one", "instances"])
@settings(max_examples=150, deadline=None)
@given(concurrency=st.integers(1, 3), requests=REQUESTS, resets=RESETS)
def test_no_act_uses_the_state_of_another_episode(
    mode: str, concurrency: int, requests: list[Request], resets: list[tuple[int, str]]
) -> None:
    """No act before its reset, none on another's state, never more calls than may be, and no place is lost."""
    world = World(mode, concurrency, list(resets))

    async def main() -> None:
        caller = await _play(world, requests)
        assert world.wrong == []
        assert (caller.places.taken, world.active, world.resetting) == (0, 0, 0)
        assert all(request.outcome for request in requests)
        world.resets.clear()
        last = [Request(0, f"new {n}", 1, 1000, stubborn=False, renews=False) for n in range(3)]
        for request in last:  # One after the other, in any mode.
            call = Call({"episode_id": request.episode, "seconds": 1, "stubborn": False})
            assert await _outcome(caller.ask(call)) == "answered"
            assert call.was_reset
        assert world.wrong == []

    _run(main)


@pytest.mark.parametrize("mode", ["shared", "instances"])
@settings(max_examples=60, deadline=None)
@given(concurrency=st.integers(1, 3), requests=REQUESTS, resets=RESETS)
def test_patient_clients_are_all_answered(
    mode: str, concurrency: int, requests: list[Request], resets: list[tuple[int, str]]
) -> None:
    """Where nobody gives up and no reset fails, every request gets its answer."""
    world = World(mode, concurrency, [(seconds, "good") for seconds, _ in resets])
    requests = [evolve(request, patience=1000, episode=request.episode and request.episode[:1]) for request in requests]
    if mode == "instances":
        requests = [evolve(request, episode="a") for request in requests]

    async def main() -> None:
        await _play(world, requests)

    _run(main)
    assert {request.outcome for request in requests} <= {"answered"}


def test_a_reset_that_was_given_up_but_succeeds_counts() -> None:
    """A client that leaves during a long reset leaves it running; the next one finds it done, and not done twice."""
    world = World("one", 1, [(5, "stubborn")])

    async def main() -> None:
        requests = [Request(at, "a", 1, patience, stubborn=False, renews=False) for at, patience in ((0, 3), (4, 20))]
        # The first is over its time when the second comes; so that the second may wait, it gets more of it.
        caller = _caller(world)
        first = Call({"episode_id": "a", "seconds": 1, "stubborn": False}, deadline=100)
        with trio.move_on_after(requests[0].patience):
            await caller.ask(first)
        second = Call({"episode_id": "a", "seconds": 1, "stubborn": False}, deadline=100)
        await caller.ask(second)
        assert trio.current_time() == 6
        assert second.was_reset
        assert world.wrong == []

    _run(main)


def test_a_reset_that_was_given_up_ends_before_the_next_episode_begins() -> None:
    """A reset that goes on after its client has left does not fall into the episode that follows."""
    world = World("one", 3, [(10, "stubborn"), (1, "good")])

    async def main() -> None:
        caller = _caller(world)
        with trio.move_on_after(2):
            await caller.ask(Call({"episode_id": "a", "seconds": 1, "stubborn": False}, deadline=100))
        await caller.ask(Call({"episode_id": "b", "seconds": 1, "stubborn": False}, deadline=100))
        assert trio.current_time() == 12
        assert world.wrong == []

    _run(main)


def test_calls_behind_a_stuck_one_are_refused_when_its_time_is_over() -> None:
    """A call that waits for a place is refused as soon as the call in it is over its time, and not at its own end."""
    world = World("shared", 1, [])

    async def main() -> None:
        caller = _caller(world)
        outcomes: list[tuple[str, float]] = []

        async def ask(seconds: float, deadline: float) -> None:
            call = Call({"episode_id": None, "seconds": seconds, "stubborn": True}, deadline=deadline)
            outcome = "given up"
            with trio.move_on_at(deadline):
                outcome = await _outcome(caller.ask(call))
            outcomes.append((outcome, trio.current_time()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 50, 10)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, 1, 1000)
            nursery.start_soon(ask, 1, 1000)
        assert sorted(outcomes) == [("given up", 10.25), ("stuck", 10.25), ("stuck", 10.25)]
        assert caller.hopeless
        assert caller.places.stuck == 1
        await trio.sleep(50)
        assert not caller.hopeless
        await ask(1, 1000)
        assert outcomes[-1][0] == "answered"

    _run(main)


@pytest.mark.parametrize("mode", ["shared", "one", "instances"])
def test_episodes_beyond_the_limit_are_forgotten_and_counted(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    """The oldest episodes beyond the limit are forgotten; the log says so once, and all are counted."""
    world = World(mode, 1, [])

    async def main() -> None:
        caller = _caller(world)
        if isinstance(caller.episodes, Instances):
            caller.episodes = Instances(caller.policy, caller.places, caller.places.runner, limit=2, remembered=3)
        else:
            caller.episodes = type(caller.episodes)(caller.policy, caller.places, limit=3)
        for number in range(10):
            await caller.ask(Call({"episode_id": f"e{number}", "seconds": 0, "stubborn": False}))
        assert caller.episodes.forgotten == {"shared": 7, "one": 6, "instances": 5}[mode]
        assert caplog.text.count("episode-forgotten") == 1

    _run(main)


async def test_thousands_of_episodes_are_each_reset_once() -> None:
    """A server that runs for weeks does not reset an episode a second time."""
    resets: list[str] = []

    class Policy:
        metadata = {"episodes": "shared"}  # noqa: RUF012

        def reset(self, episode: str) -> None:
            resets.append(episode)

        async def act(self, request: dict[str, Any]) -> list[list[float]]:
            return [[1.0]]

    caller = PolicyCaller(from_object(Policy, name="test"))
    names = [f"e{number}" for number in range(3000)]
    for name in (*names, *names):
        await caller.ask(Call({"episode_id": name}))
    assert resets == names
    assert type(caller.episodes) is Episodes


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"episodes": "each"}, "'each' are none of 'shared', 'one', 'instances'"),
        ({"episodes": ["one"]}, "none of"),
        ({"episodes": "one"}, "need a reset"),
        ({"episodes": "instances"}, "the class or function that makes one"),
    ],
)
async def test_what_a_policy_cannot_keep_is_refused_at_the_start(metadata: dict[str, Any], reason: str) -> None:
    """A way to keep episodes that is unknown, or that the policy has not the means for, is an error in one line."""

    class Policy:
        def act(self, request: dict[str, Any]) -> list[list[float]]:
            return [[1.0]]

    policy = Policy()
    policy.metadata = metadata  # type: ignore[attr-defined]
    with pytest.raises(PolicyError, match=reason):
        PolicyCaller(from_object(policy, name="test"))


COUNTING = """
class policy:
    def __init__(self): self.n = 0
    metadata = {"episodes": "%s"}
    def reset(self, episode): self.n = 0
    def act(self, request):
        self.n += 1
        return [[float(self.n)]]
"""


@needs_server
async def test_two_robots_never_share_a_state_in_silence(policy_module: Callable[[str], str]) -> None:
    """Two robots take turns: with an instance each they count for themselves; with one state, the first is refused."""
    turns = ["a", "b", "a", "b", "b"]
    async with serving(policy_module(COUNTING % "instances")) as served:
        counts = [(await served.act(episode_id=name)).json()["actions"][0][0] for name in turns]
        assert counts == [1, 1, 2, 2, 3]
        assert (await served.health())["episodes"] == {"mode": "instances", "known": 2, "forgotten": 0}
    async with serving(policy_module(COUNTING % "one")) as served:
        answers = [await served.act(episode_id=name) for name in turns]
        assert [answer.status_code for answer in answers] == [200, 200, 409, 200, 200]
        assert answers[2].json()["error"] == "episode-over"
        assert [answer.json()["actions"][0][0] for answer in answers if answer.status_code == 200] == [1, 1, 2, 3]


@needs_server
async def test_reset_begins_an_episode_anew(policy_module: Callable[[str], str]) -> None:
    """POST /reset resets the policy for an episode, also for one that is over."""
    async with serving(policy_module(COUNTING % "one")) as served:
        for _ in range(3):
            await served.act(episode_id="a")
        answer = await served.client.post("/reset", json={"episode_id": "a"}, headers={"X-Request-ID": "r7"})
        assert (answer.status_code, answer.json()) == (200, {"episode_id": "a", "reset": True, "request_id": "r7"})
        assert (await served.act(episode_id="a")).json()["actions"] == [[1.0]]
        await served.act(episode_id="b")
        assert (await served.act(episode_id="a")).status_code == 409
        await served.client.post("/reset", json={"episode_id": "a"})
        assert (await served.act(episode_id="a")).json()["actions"] == [[1.0]]
        assert (await served.act(episode_id="b")).status_code == 409
        assert (await served.client.post("/reset")).json()["episode_id"] is None
        for body, status in ((b"[]", 422), (b'{"episode_id": 3}', 422), (b"{", 400)):
            assert (await served.client.post("/reset", content=body)).status_code == status


@needs_server
@pytest.mark.parametrize("mode", ["one", "instances"])
async def test_a_replay_resets_where_the_policy_was_reset(
    tmp_path: Path, policy_module: Callable[[str], str], mode: str
) -> None:
    """A trace of episodes, one of them begun anew, replays with the same answers."""
    policy = policy_module(COUNTING % mode)
    async with serving(policy, trace=TraceOptions(directory=tmp_path / "traces")) as served:
        for name in ("a", "a", "POST /reset", "a", "a", "b", "b"):
            await (
                served.client.post("/reset", json={"episode_id": "a"}) if "/" in name else served.act(episode_id=name)
            )
    path = only_trace(tmp_path / "traces")
    lines = read_all(path).lines  # type: ignore[attr-defined]
    assert [line["response"]["actions"][0][0] for line in lines] == [1, 2, 1, 2, 1, 2]
    assert [line.get("reset", False) for line in lines] == [True, False, True, False, True, False]
    found: list[Replayed] = []
    with TraceReader(path) as trace:
        await replay_trace(trace, load_policy(policy), ReplayOptions(), found.append)
    assert [one.actions is not None and one.actions.passed for one in found] == [True] * 6


@needs_server
async def test_reset_of_a_policy_without_one_says_so() -> None:
    """A policy without a reset has nothing to reset, and the answer says that."""
    async with serving(lambda request: [[1.0]]) as served:
        answer = await served.client.post("/reset", json={"episode_id": "a"})
    assert (answer.status_code, answer.json()["reset"]) == (200, False)


@needs_server
async def test_a_failed_reset_is_an_error_and_is_tried_again() -> None:
    """The request whose reset failed gets the failure; the next one of the episode resets before it acts."""
    calls: list[str] = []

    class Policy:
        def reset(self, episode: str) -> None:
            calls.append(f"reset {episode}")
            if len(calls) == 1:
                raise RuntimeError("camera not ready")

        def act(self, request: dict[str, Any]) -> list[list[float]]:
            calls.append("act")
            return [[1.0]]

    async with serving(Policy) as served:
        answers = [await served.act(episode_id="a") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 200, 200]
    assert answers[0].json()["message"] == "reset failed: RuntimeError: camera not ready"
    assert calls == ["reset a", "reset a", "act", "act"]
