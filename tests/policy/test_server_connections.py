"""Connections: every client sees its answer, whenever it is given, and a server that stops leaves none hanging."""

from __future__ import annotations

import gzip
import http.client
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async.policy import TraceOptions
from tests.policy.conftest import needs_server, only_trace, reach, read_all, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = needs_server

SIZES = [2, 20_000, 3_000_000]


def _http_client(url: str, size: int, headers: dict[str, str], *, kept: bool) -> list[tuple[int, str | None]]:
    """Some requests with http.client; status and the header Connection of each answer."""
    seen = []
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=300)
    for _ in range(8):
        connection.request("POST", "/act", b"{}".ljust(size), headers)
        response = connection.getresponse()
        response.read()
        seen.append((response.status, response.getheader("Connection")))
        if not kept:
            connection.close()
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=300)
    connection.close()
    return seen


async def _raw(url: str, head: str, body: bytes, *, send_all: bool = True) -> bytes:
    """One request over a bare socket; the whole answer, up to the end of the connection."""
    host, port = url.removeprefix("http://").split(":")
    stream = await trio.open_tcp_stream(host, int(port))
    received = bytearray()
    async with stream:
        await stream.send_all(head.encode() + body if send_all else head.encode() + body[: len(body) // 2])
        while data := await stream.receive_some(65536):
            received += data
    return bytes(received)


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(30_000):
        if condition():
            return
        await trio.sleep(0.01)
    raise AssertionError("never came true")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kept", [False, True], ids=["new connection", "kept connection"])
@pytest.mark.parametrize("why", ["key", "size", "encoding", "stuck", "path"])
async def test_a_refusal_before_the_body_was_read_is_seen(size: int, kept: bool, why: str) -> None:
    """Whatever the body's size, each client sees the status, and that the connection ends."""
    release = threading.Event()

    def policy(request: dict[str, Any]) -> list[list[float]]:
        release.wait(300)
        return [[1.0]]

    options: dict[str, Any] = {"api_key": "k"} if why == "key" else {}
    if why == "size":
        options["max_body_mb"] = 1 / (1 << 20)
    if why == "stuck":
        options["request_timeout"] = 0.1
    status = {"key": 401, "size": 413, "encoding": 415, "stuck": 503, "path": 405}[why]
    headers = {"Content-Encoding": "br"} if why == "encoding" else {}
    async with serving(policy, **options) as served:
        if why == "stuck":
            assert (await served.act()).status_code == 504
        url = served.url + ("/config" if why == "path" else "/act")

        def ask() -> list[tuple[int, str | None]]:
            return _http_client(served.url, size, headers, kept=kept)

        if why != "path":
            assert set(await trio.to_thread.run_sync(ask)) == {(status, "close")}
        for _ in range(4):
            answer = await served.client.post(url, content=b"{}".ljust(size), headers=headers)
            assert (answer.status_code, answer.headers["Connection"]) == (status, "close")
        target, encoding = (
            url.removeprefix(served.url),
            "".join(f"{name}: {text}\r\n" for name, text in headers.items()),
        )
        head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\n{encoding}Content-Length: {size}\r\n\r\n"
        assert b" %d " % status in (await _raw(served.url, head, b"{}".ljust(size)))[:20]
        release.set()


async def test_an_answer_after_the_whole_body_keeps_the_connection() -> None:
    """Answers and errors after the body was read leave the connection open, for many requests."""
    async with serving(reach) as served:
        connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=300)

        def ask(body: bytes) -> tuple[int, str | None]:
            connection.request("POST", "/act", body)
            response = connection.getresponse()
            response.read()
            return response.status, response.getheader("Connection")

        for body, status in ((b'{"state":[1]}', 200), (b"{", 400), (b'{"state":1}', 422)):
            assert await trio.to_thread.run_sync(ask, body) == (status, None)
        sock = connection.sock
        for _ in range(1500):
            assert await trio.to_thread.run_sync(ask, b'{"state":[1]}') == (200, None)
        assert connection.sock is sock
        connection.close()


def test_idle_connections_live_longer_than_a_robot_pauses() -> None:
    """A robot that asks every few seconds, up to a minute, keeps its connection."""
    from horus_async.policy.server.http import ServerOptions, _config

    assert _config(ServerOptions()).keep_alive_timeout >= 75


@pytest.mark.parametrize("named", [True, False], ids=["Content-Encoding", "by its bytes"])
async def test_compressed_bodies_are_named_as_such(named: bool) -> None:
    """A body that is gzip, said or not, is a 415 that says so."""
    async with serving(reach) as served:
        headers = {"Content-Encoding": "gzip"} if named else {}
        answer = await served.client.post("/act", content=gzip.compress(b'{"state":[1]}'), headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (415, "unsupported-encoding")
        assert "gzip" in answer.json()["message"]
        plain = await served.client.post("/act", content=b'{"state":[1]}', headers={"Content-Encoding": "identity"})
        assert plain.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer s3"}, 200),
        ({"Authorization": "Api-Key s3"}, 200),
        ({"authorization": "api-key  s3"}, 200),
        ({"X-Reflex-Key": "s3"}, 200),
        ({"X-Reflex-Key": "s4"}, 401),
        ({"X-Reflex-Key": "s4", "Authorization": "Bearer s3"}, 200),
        ({"Authorization": "Basic s3"}, 401),
        ({"Authorization": "Api-Key"}, 401),
        ({"X-Reflex-Key": ""}, 401),
    ],
)
async def test_keys_travel_in_three_forms(headers: dict[str, str], status: int) -> None:
    """The key opens act, reset and config, as a bearer token, as openpi's and as reflex's clients send it."""
    async with serving(reach, api_key="s3") as served:
        client = served.client
        statuses = [
            (await client.post("/act", content=b"{}", headers=headers)).status_code,
            (await client.post("/reset", content=b"{}", headers=headers)).status_code,
            (await client.get("/config", headers=headers)).status_code,
        ]
        assert statuses == [status] * 3
        for path in ("/health", "/healthz", "/metrics", "/openapi.json"):
            assert (await client.get(path)).status_code == 200


async def test_config_says_what_is_served_and_keeps_the_secret() -> None:
    """/config has the policy's names, the shape of its actions once there were some, and the limits; never the key."""
    headers = {"X-Reflex-Key": "very secret"}
    async with serving(reach, api_key="very secret", embodiment="arm", queue_limit=7) as served:
        before = (await served.client.get("/config", headers=headers)).json()
        await served.client.post("/act", json={"state": [1, 2]}, headers=headers)
        text = (await served.client.get("/config", headers=headers)).text
        after = (await served.client.get("/config", headers=headers)).json()
    assert "secret" not in text
    assert (before["num_actions"], before["action_dim"]) == (None, None)
    assert (after["num_actions"], after["action_dim"]) == (4, 2)
    assert (after["embodiment"], after["episodes"], after["model_type"]) == ("arm", "shared", "python")
    bodies = {"max_body_mb": 32.0, "max_bodies_mb": 256.0, "max_values": 4_000_000, "max_parts": 400_000}
    limits = {"concurrency": 1, "queue": 7, "timeout_s": 30.0, "max_connections": 1000, "max_pixels": 40_000_000}
    assert after["limits"] == limits | bodies


async def test_stopping_answers_everyone(tmp_path: Path) -> None:
    """The running request gets its actions, the queued and the half-sent one a 503, all on closing connections."""
    going, release = threading.Event(), threading.Event()

    def policy(request: dict[str, Any]) -> list[list[float]]:
        going.set()
        release.wait(300)
        return [[7.0]]

    answers: list[Any] = []
    half_sent: list[bytes] = []
    trace = TraceOptions(directory=tmp_path)
    async with serving(policy, trace=trace, request_timeout=1000) as served, trio.open_nursery() as nursery:
        host, port = served.url.removeprefix("http://").split(":")
        idle = await trio.open_tcp_stream(host, int(port))
        await idle.send_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += await idle.receive_some(65536)

        async def client() -> None:
            answers.append(await served.act())

        async def slow_client() -> None:
            head = "POST /act HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
            half_sent.append(await _raw(served.url, head, b" " * 100, send_all=False))

        nursery.start_soon(client)
        await trio.to_thread.run_sync(going.wait, 300)
        nursery.start_soon(client)
        nursery.start_soon(slow_client)
        await served.until(lambda health: health["running"] == 1 and health["queued"] == 1)
        served.stop.set()
        await _until(lambda: bool(answers))
        assert (answers[0].status_code, answers[0].json()["error"]) == (503, "not-ready")
        assert await idle.receive_some(65536) == b""
        await idle.aclose()
        await _until(lambda: bool(half_sent))
        release.set()
    assert answers[1].json()["actions"] == [[7.0]]
    assert [answer.headers["Connection"] for answer in answers] == ["close", "close"]
    assert b" 503 " in half_sent[0][:20]
    assert b"connection: close" in half_sent[0].lower()
    reader = read_all(only_trace(tmp_path))
    assert (reader.count, reader.notes) == (1, [])


@pytest.mark.parametrize("coroutine", [False, True])
async def test_stopping_ends_with_busy_clients(coroutine: bool) -> None:
    """Clients that ask again and again get answers or refusals, and the server ends although nothing may be hurried."""

    async def awaited(request: dict[str, Any]) -> list[list[float]]:
        await trio.sleep(0.02)
        return reach(request)

    statuses: set[int] = set()

    def client(url: str) -> None:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=300)
        try:
            while True:
                connection.request("POST", "/act", b'{"state":[1]}')
                response = connection.getresponse()
                response.read()
                statuses.add(response.status)
        except (OSError, http.client.HTTPException):
            connection.close()

    policy = awaited if coroutine else reach
    async with serving(policy, request_timeout=10_000) as served, trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(trio.to_thread.run_sync, client, served.url)
        await _until(lambda: bool(statuses))
        served.stop.set()
    assert statuses <= {200, 503}


@pytest.mark.long
def test_reflex_clients_connect(
    server_process: Callable[..., Any], policy_module: Callable[[str], str], tmp_path: Path
) -> None:
    """The client of reflex-vla, with a key: it asks, names episodes, and reads health and config."""
    reflex = pytest.importorskip("reflex.client.client")
    source = """
class policy:
    def reset(self, episode): pass
    def act(self, request): return [[float(len(request["image"] or "")), 2.0]]
"""
    server = server_process(policy_module(source), "--api-key", "sekrit", "--record", str(tmp_path / "traces"))
    with reflex.ReflexClient(server.url, api_key="sekrit", max_retries=50) as client:
        assert client.act(instruction="x", state=[0.1] * 7)["actions"] == [[0.0, 2.0]]
        with client.episode() as episode:
            assert episode.act(image=b"\xff\xd8\xff" + bytes(64), state=[0.0])["action_dim"] == 2
        assert client.health()["state"] == "ready"
        assert client.config()["episodes"] == "one"
    with reflex.ReflexClient(server.url, api_key="wrong") as client, pytest.raises(reflex.ReflexAuthError):
        client.act(state=[0.0])
