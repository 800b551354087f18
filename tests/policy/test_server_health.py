"""A policy that is stuck, that blocks its event loop, or that raises what is no Exception: the server says so."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async.policy import TraceOptions
from tests.policy.conftest import needs_server, only_trace, read_all, serving, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.policy.conftest import ServerProcess

pytestmark = needs_server


async def test_a_stuck_call_shows_and_others_are_refused_at_once(tmp_path: Path) -> None:
    """When a call's time is over and it goes on: health is 503 and stuck, metrics agree; later all is well again."""
    release = threading.Event()

    def policy(request: dict[str, Any]) -> list[list[float]]:
        if request["instruction"] == "stuck":
            release.wait(300)
        return [[1.0]]

    async with serving(policy, request_timeout=0.2, trace=TraceOptions(directory=tmp_path)) as served:
        assert (await served.act(instruction="stuck")).status_code == 504
        health = await served.client.get("/health")
        assert (health.status_code, health.json()["state"], health.json()["stuck"]) == (503, "stuck", 1)
        assert (await served.client.get("/healthz")).text == "stuck\n"
        for _ in range(20):
            refused = await served.act()
            assert (refused.status_code, refused.json()["error"]) == (503, "policy-stuck")
            assert int(refused.headers["Retry-After"]) >= 1
        metrics = (await served.client.get("/metrics")).text
        assert "horus_server_ready 0.0" in metrics
        assert 'horus_server_state{state="stuck"} 1.0' in metrics
        assert "horus_act_running 1.0" in metrics
        assert "horus_act_stuck 1.0" in metrics
        release.set()
        await served.until(lambda health: bool(health["state"] == "ready"))
        assert (await served.client.get("/healthz")).text == "OK\n"
    assert read_all(only_trace(tmp_path)).count == 1


async def test_a_queue_behind_a_stuck_call_is_refused_when_its_time_is_over() -> None:
    """Requests that wait behind a call whose client has left are refused as soon as that call is over its time."""
    going, release = threading.Event(), threading.Event()

    def policy(request: dict[str, Any]) -> list[list[float]]:
        going.set()
        release.wait(300)
        return [[1.0]]

    answers = []
    async with serving(policy, request_timeout=2.0) as served:

        async def client() -> None:
            answers.append(await served.act())

        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(client)
                await trio.to_thread.run_sync(going.wait, 300)
                await trio.sleep(0.5)
                nursery.start_soon(client)
                nursery.start_soon(client)
            assert not scope.cancelled_caught
        release.set()
    assert sorted(answer.json().get("error", "") for answer in answers) == [
        "policy-stuck",
        "policy-stuck",
        "policy-timeout",
    ]


async def test_a_coroutine_that_does_not_hear_is_stuck() -> None:
    """A coroutine policy that ignores that it is cancelled is stuck like a thread; others still run beside it."""
    release = threading.Event()

    async def policy(request: dict[str, Any]) -> list[list[float]]:
        if request["instruction"] == "deaf":
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(release.wait, 300)
        return [[1.0]]

    async with serving(policy, request_timeout=0.2) as served:
        assert (await served.act(instruction="deaf")).status_code == 504
        assert (await served.health())["state"] == "stuck"
        assert (await served.act()).status_code == 200
        release.set()
        await served.until(lambda health: bool(health["state"] == "ready"))


async def test_a_coroutine_that_hears_is_not_stuck() -> None:
    """A coroutine policy over its time that ends when it is cancelled leaves a server that is ready."""

    async def policy(request: dict[str, Any]) -> list[list[float]]:
        await trio.sleep(300 if request["instruction"] == "slow" else 0)
        return [[1.0]]

    async with serving(policy, request_timeout=0.2) as served:
        assert (await served.act(instruction="slow")).status_code == 504
        assert (await served.health())["stuck"] == 0
        assert (await served.act()).status_code == 200


async def test_a_blocked_event_loop_blocks_nothing_else() -> None:
    """While an ``async def`` blocks, health and metrics answer, say blocked, and the refusals come."""
    going, release = threading.Event(), threading.Event()

    async def policy(request: dict[str, Any]) -> list[list[float]]:
        going.set()
        release.wait(300)
        return [[1.0]]

    answers = []
    async with serving(policy, api_key="k") as served, trio.open_nursery() as nursery:

        async def client() -> None:
            answers.append(await served.client.post("/act", content=b"{}", headers={"X-Reflex-Key": "k"}))

        nursery.start_soon(client)
        await trio.to_thread.run_sync(going.wait, 300)
        assert (await served.act()).status_code == 401
        await served.until(lambda health: bool(health["state"] == "blocked"))
        assert (await served.client.get("/health")).status_code == 503
        assert 'horus_server_state{state="blocked"} 1.0' in (await served.client.get("/metrics")).text
        release.set()
        await served.until(lambda health: bool(health["state"] == "ready"))
    assert [answer.status_code for answer in answers] == [200]


async def test_an_awaitable_from_a_plain_function_does_not_block_the_server() -> None:
    """A plain function that returns a coroutine is awaited in the policy's own event loop too."""
    threads = []

    async def work() -> list[list[float]]:
        threads.append(threading.current_thread().name)
        return [[1.0]]

    async with serving(lambda request: work()) as served:
        assert (await served.act()).status_code == 200
    assert threads == ["horus-policy-loop"]


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(), BaseException("odd")], ids=repr
)
@pytest.mark.parametrize("coroutine", [False, True])
@pytest.mark.parametrize("where", ["act", "reset"])
async def test_whatever_a_policy_raises_is_an_answer_and_a_line(
    tmp_path: Path, error: BaseException, coroutine: bool, where: str
) -> None:
    """SystemExit and its like end neither the server nor the request without an answer and a line in the trace."""

    def fail(here: str, request: Any) -> None:
        if here == where and request in ("bad", {"episode_id": "bad"}):
            raise error

    class Plain:
        def reset(self, episode: str) -> None:
            fail("reset", episode)

        def act(self, request: dict[str, Any]) -> list[list[float]]:
            fail("act", {"episode_id": request["episode_id"]})
            return [[1.0]]

    class Coroutine:
        async def reset(self, episode: str) -> None:
            fail("reset", episode)

        async def act(self, request: dict[str, Any]) -> list[list[float]]:
            fail("act", {"episode_id": request["episode_id"]})
            return [[1.0]]

    async with serving(Coroutine if coroutine else Plain, trace=TraceOptions(directory=tmp_path)) as served:
        answer = await served.act(episode_id="bad")
        assert (answer.status_code, answer.json()["error"]) == (500, "policy-error")
        assert type(error).__name__ in answer.json()["message"]
        assert (await served.act(episode_id="good")).status_code == 200
    reader = read_all(only_trace(tmp_path))
    assert [line["status"] for line in reader.lines] == [500, 200]  # type: ignore[attr-defined]
    assert [line.get("reset") for line in reader.lines] == [True if where == "act" else None, True]  # type: ignore[attr-defined]
    assert reader.footer is not None


STUCK = """
import time
%sdef policy(request):
    if request.get("stuck"):
        open("stuck", "w").close()
        time.sleep(100000)
    return [[0.0]]
"""


@pytest.mark.parametrize("kind", ["", "async "], ids=["thread", "event loop"])
@pytest.mark.parametrize("over", [True, False], ids=["over its time", "second signal"])
def test_a_stuck_policy_does_not_keep_the_server(
    tmp_path: Path,
    server_process: Callable[..., ServerProcess],
    policy_module: Callable[[str], str],
    kind: str,
    over: bool,
) -> None:
    """A signal, or a second one while the call is within its time, ends the server, with the trace's footer."""
    import httpx

    arguments = ["--record", str(tmp_path / "traces"), "--timeout", "1" if over else "1000"]
    server = server_process(policy_module(STUCK % kind), *arguments)
    with httpx.Client(base_url=server.url, timeout=300) as client:
        wait_until(lambda: client.get("/health").status_code == 200)
        assert client.post("/act", json={}).status_code == 200
        statuses: list[int] = []

        def ask() -> None:
            try:
                statuses.append(client.post("/act", json={"stuck": 1}).status_code)
            except httpx.TransportError:
                statuses.append(0)

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until((tmp_path / "stuck").exists)
        if over:
            asking.join(300)
            assert statuses == [504]
        else:
            server.process.send_signal(signal.SIGTERM)
            with httpx.Client(base_url=server.url, timeout=300) as other:
                wait_until(lambda: not _listens(other))
            assert server.process.poll() is None
        assert server.finish(signal.SIGTERM) == 143
        asking.join(300)
    reader = read_all(only_trace(tmp_path / "traces"))
    assert reader.footer is not None
    assert [line["status"] for line in reader.lines] == [200, 504 if over else 503]  # type: ignore[attr-defined]


def _listens(client: Any) -> bool:
    import httpx

    try:
        client.get("/health")
    except httpx.TransportError:
        return False
    return True
