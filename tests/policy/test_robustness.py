"""The server when things go wrong: many clients, slow policies, clients that hang up, kills and full disks."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing

from horus_async.policy import TraceOptions
from tests.policy.conftest import needs_server, only_trace, reach, read_all, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.policy.conftest import ServerProcess

pytestmark = needs_server

POLICY = """
def policy(request):
    return [[value * 2 for value in request["state"]]]
"""


@pytest.mark.parametrize("coroutine", [False, True])
async def test_fifty_clients_at_once_each_get_their_own_answer(tmp_path: Path, coroutine: bool) -> None:
    """50 clients asking at once all get the answer to their own question, and the trace holds each once, in order."""

    async def awaited(request: dict[str, Any]) -> list[list[float]]:
        await trio.lowlevel.checkpoint()
        return reach(request)

    policy = awaited if coroutine else reach
    async with serving(policy, trace=TraceOptions(directory=tmp_path)) as served, trio.open_nursery() as nursery:

        async def client(number: int) -> None:
            for step in range(4):
                state = [float(number), float(step)]
                response = await served.act(state=state, episode_id=f"e{number}")
                assert response.status_code == 200
                assert response.json()["actions"] == reach({"state": state})

        for number in range(50):
            nursery.start_soon(client, number)
    lines = read_all(only_trace(tmp_path)).lines  # type: ignore[attr-defined]
    assert [line["seq"] for line in lines] == list(range(200))
    assert {tuple(line["request"]["state"]) for line in lines} == {
        (float(n), float(s)) for n in range(50) for s in range(4)
    }
    assert all(line["response"]["actions"] == reach(line["request"]) for line in lines)


async def test_a_full_queue_refuses_with_retry_after(tmp_path: Path) -> None:
    """When enough requests wait, the next gets 503 with Retry-After; those that wait are still served."""
    going, release = threading.Event(), threading.Event()

    def policy(request: dict[str, Any]) -> list[list[float]]:
        going.set()
        release.wait(300)
        return [[1.0]]

    answers = []
    async with serving(policy, queue_limit=1, trace=TraceOptions(directory=tmp_path)) as served:

        async def client() -> None:
            answers.append(await served.act())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(client)
            nursery.start_soon(client)
            await served.until(lambda health: health["running"] == 1 and health["queued"] == 1)
            refused = await served.act()
            assert (refused.status_code, refused.json()["error"]) == (503, "queue-full")
            assert int(refused.headers["Retry-After"]) >= 1
            release.set()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(read_all(only_trace(tmp_path)).lines) == 2  # type: ignore[attr-defined]


async def test_a_slow_policy_is_a_504_and_is_recorded(tmp_path: Path) -> None:
    """A policy over its time is a 504 in the answer and in the trace; while it goes on, others are refused at once."""
    release = threading.Event()

    def policy(request: dict[str, Any]) -> list[list[float]]:
        if request["instruction"] == "slow":
            release.wait(300)
        return [[1.0]]

    async with serving(policy, request_timeout=0.2, trace=TraceOptions(directory=tmp_path)) as served:
        slow = await served.act(instruction="slow")
        assert (slow.status_code, slow.json()["error"]) == (504, "policy-timeout")
        refused = await served.act()
        assert (refused.status_code, refused.json()["error"]) == (503, "policy-stuck")
        assert int(refused.headers["Retry-After"]) >= 1
        release.set()
        answers = [504, 503]
        while answers[-1] != 200:  # on a busy machine any request may take too long
            answers.append((await served.act()).status_code)
    statuses = [line["status"] for line in read_all(only_trace(tmp_path)).lines]  # type: ignore[attr-defined]
    assert statuses == [status for status in answers if status != 503]


async def test_a_client_that_hangs_up_cancels_its_request(tmp_path: Path) -> None:
    """When a client closes its connection the coroutine policy is cancelled and the trace says so."""
    asked, cancelled = threading.Event(), threading.Event()

    async def policy(request: dict[str, Any]) -> list[list[float]]:
        if request["instruction"] != "wait":
            return [[1.0]]
        asked.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        return []

    async with serving(policy, trace=TraceOptions(directory=tmp_path)) as served:
        host, port = served.url.removeprefix("http://").split(":")
        stream = await trio.open_tcp_stream(host, int(port))
        body = b'{"instruction":"wait"}'
        await stream.send_all(
            b"POST /act HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        await trio.to_thread.run_sync(asked.wait, 300)
        await stream.aclose()
        assert await trio.to_thread.run_sync(cancelled.wait, 300)
        assert (await served.act()).status_code == 200
    lines = read_all(only_trace(tmp_path)).lines  # type: ignore[attr-defined]
    assert sorted((line["status"], line.get("error", {}).get("slug")) for line in lines) == [
        (200, None),
        (499, "client-closed"),
    ]


async def test_stopping_finishes_what_is_running(tmp_path: Path) -> None:
    """A stop lets running requests end with their answers, refuses new ones, and closes the trace with a footer."""
    asked, release = threading.Event(), threading.Event()

    async def policy(request: dict[str, Any]) -> list[list[float]]:
        asked.set()
        await trio.to_thread.run_sync(release.wait, 300)
        return [[7.0]]

    answers = []
    async with serving(policy, trace=TraceOptions(directory=tmp_path)) as served, trio.open_nursery() as nursery:

        async def client() -> None:
            answers.append(await served.act())

        nursery.start_soon(client)
        assert await trio.to_thread.run_sync(asked.wait, 300)
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        release.set()
    assert answers[0].json()["actions"] == [[7.0]]
    reader = read_all(only_trace(tmp_path))
    assert reader.footer is not None
    assert reader.footer["total_requests"] == 1


def _ask(url: str, count: int, **fields: Any) -> list[int]:
    import httpx

    with httpx.Client(base_url=url, timeout=300) as client:
        return [client.post("/act", json={"state": [float(n)], **fields}).status_code for n in range(count)]


def _await_health(url: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    import httpx

    wait = threading.Event()
    with httpx.Client(base_url=url, timeout=300) as client:
        for _ in range(6000):
            if condition(found := client.get("/health").json()):
                return dict(found)
            wait.wait(0.05)
    raise AssertionError(f"never came true; last health: {found}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_signals_end_the_server_cleanly(
    tmp_path: Path,
    server_process: Callable[..., ServerProcess],
    policy_module: Callable[[str], str],
    number: signal.Signals,
    code: int,
) -> None:
    """SIGTERM, Ctrl-C and a closed terminal close the trace with its footer; exit codes 143, 130 and 129."""
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # the tests may run under nohup
    server = server_process(policy_module(POLICY), "--record", str(tmp_path / "traces"), before=before)
    _await_health(server.url, lambda health: bool(health["model_loaded"]))
    assert _ask(server.url, 3) == [200, 200, 200]
    assert server.finish(number) == code
    reader = read_all(only_trace(tmp_path / "traces"))
    assert (reader.count, reader.notes) == (3, [])


def test_nohup_outlives_its_terminal(
    tmp_path: Path, server_process: Callable[..., ServerProcess], policy_module: Callable[[str], str]
) -> None:
    """Where SIGHUP is ignored, it ends nothing."""
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    server = server_process(policy_module(POLICY), before=before)
    _await_health(server.url, lambda health: bool(health["model_loaded"]))
    server.process.send_signal(signal.SIGHUP)
    assert _ask(server.url, 1) == [200]
    assert server.finish(signal.SIGTERM) == 143


@pytest.mark.parametrize("plain", [False, True], ids=["gzip", "plain"])
def test_a_killed_server_leaves_a_readable_trace(
    tmp_path: Path, server_process: Callable[..., ServerProcess], policy_module: Callable[[str], str], plain: bool
) -> None:
    """After kill -9 under load the trace reads, and holds every request whose records /metrics had counted before."""
    import httpx

    arguments = ["--record", str(tmp_path / "traces"), *(["--record-no-gzip"] if plain else [])]
    server = server_process(policy_module(POLICY), *arguments)
    _await_health(server.url, lambda health: bool(health["model_loaded"]))
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            try:
                _ask(server.url, 20)
            except httpx.TransportError:
                return

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    written = 0
    with httpx.Client(base_url=server.url, timeout=300) as scraper:
        while written < 60:
            lines = scraper.get("/metrics").text.splitlines()
            written = next(
                int(float(line.split()[1])) for line in lines if line.startswith("horus_trace_records_total ")
            )
    server.finish(signal.SIGKILL)
    stop.set()
    for thread in threads:
        thread.join()
    reader = read_all(only_trace(tmp_path / "traces"))
    assert reader.count >= written
    assert [line["seq"] for line in reader.lines] == list(range(reader.count))  # type: ignore[attr-defined]
    assert any("no footer" in note for note in reader.notes)


FULL_DISK = """
import resource, signal, threading
def limit(number, frame):
    size = 1500 if number == signal.SIGUSR1 else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
signal.signal(signal.SIGUSR1, limit)
signal.signal(signal.SIGUSR2, limit)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits file sizes with RLIMIT_FSIZE")
@pytest.mark.parametrize("plain", [False, True], ids=["gzip", "plain"])
def test_a_full_disk_stops_recording_but_not_serving(
    tmp_path: Path, server_process: Callable[..., ServerProcess], policy_module: Callable[[str], str], plain: bool
) -> None:
    """A full disk is said in the log, in health and in metrics; serving goes on, and recording resumes in the file."""
    import httpx

    arguments = ["--record", str(tmp_path / "traces"), *(["--record-no-gzip"] if plain else [])]
    server = server_process(policy_module(POLICY), *arguments, before=FULL_DISK)
    _await_health(server.url, lambda health: bool(health["model_loaded"]))
    server.process.send_signal(signal.SIGUSR1)
    asked = 0
    while _await_health(server.url, lambda _: True)["recording"]["state"] == "on":
        assert set(_ask(server.url, 20, instruction="x" * 50)) == {200}
        asked += 20
    assert set(_ask(server.url, 10)) == {200}
    asked += 10
    health = _await_health(server.url, lambda _: True)
    assert health["status"] == "ok"
    assert health["recording"]["dropped"] >= 10
    assert "horus_trace_recording 0.0" in httpx.get(f"{server.url}/metrics").text
    assert "record-disk-full" in server.errors.read_text()
    server.process.send_signal(signal.SIGUSR2)
    _await_health(server.url, lambda health: health["recording"]["state"] == "on")
    assert set(_ask(server.url, 5)) == {200}
    asked += 5
    server.finish(signal.SIGTERM)
    reader = read_all(only_trace(tmp_path / "traces"))
    lines = reader.lines  # type: ignore[attr-defined]
    assert reader.notes == [f"{reader.dropped} requests were dropped: the server could not record them"]
    assert [line["seq"] for line in lines] == list(range(len(lines)))
    assert reader.footer is not None
    assert reader.footer["dropped"] == reader.dropped
    assert len(lines) + reader.footer["dropped"] == asked
    assert sum(line.get("dropped_before", 0) for line in lines) == reader.footer["dropped"]
    assert "record-resumed" in server.errors.read_text()


def test_a_folder_that_cannot_be_made_fails_recording_only(
    tmp_path: Path, server_process: Callable[..., ServerProcess], policy_module: Callable[[str], str]
) -> None:
    """With --record below a file the server serves all the same, and says that recording failed."""
    (tmp_path / "file").write_text("")
    server = server_process(policy_module(POLICY), "--record", str(tmp_path / "file" / "traces"))
    _await_health(server.url, lambda health: bool(health["model_loaded"]))
    assert _ask(server.url, 2) == [200, 200]
    health = _await_health(server.url, lambda health: health["recording"]["state"] == "failed")
    assert health["status"] == "ok"
    assert "record-write-failed" in server.errors.read_text()
    assert server.finish(signal.SIGTERM) == 143


async def test_what_the_server_writes_is_strict_json(tmp_path: Path) -> None:
    """Every line of a trace is what a strict JSON parser reads, whatever the policy added."""

    def policy(request: dict[str, Any]) -> dict[str, Any]:
        return {"actions": [[1.0]], "guard": {"margin": float("inf")}, "stages": {"a": float("nan")}}

    async with serving(policy, trace=TraceOptions(directory=tmp_path, compress=False)) as served:
        assert (await served.act()).status_code == 200
    lines = [orjson.loads(line) for line in only_trace(tmp_path).read_bytes().splitlines()]
    assert lines[1]["guard"] == {"margin": {"$float": "inf"}}
    assert lines[1]["latency"]["stages"]["a"] == {"$float": "nan"}
