"""Clients that mean no good, or have no sense: what they take is bounded, and others are served all the while."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
import tracemalloc
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgpack
import orjson
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from wsproto.events import BytesMessage

from horus_async.policy.model.weight import MOST_PARTS, MOST_VALUES, weight_of_json
from horus_async.policy.model.wire import WireFormat, pack, weighed
from horus_async.policy.server import http as server
from horus_async.policy.server.admission.room import Room
from horus_async.policy.server.connections import lobby
from tests.policy.conftest import needs_server, reach, serving
from tests.policy.sockets import Closed, openpi

pytestmark = needs_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.policy.conftest import Served

MB = 1 << 20
HEAD = b"POST /act HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


@asynccontextmanager
async def stream_to(served: Served) -> AsyncIterator[trio.SocketStream]:
    """A bare connection."""
    async with await trio.open_tcp_stream("127.0.0.1", int(served.url.rsplit(":", 1)[1])) as stream:
        yield stream


async def rest_of(stream: trio.SocketStream) -> bytes:
    """What comes until the connection ends, in whatever way it does."""
    received = bytearray()
    try:
        async for data in stream:
            received += data
    except trio.BrokenResourceError:
        pass
    return bytes(received)


async def until_refused(served: Served, **fields: Any) -> dict[str, Any]:
    """Ask until there is no room for it; what the refusal says."""
    for _ in range(6000):
        answer = await served.act(**fields)
        if answer.status_code == 503:
            found: dict[str, Any] = answer.json()
            return found
        await trio.sleep(0.01)
    raise AssertionError("there was room all the while")


async def until_filled(room: Room) -> None:
    """Wait until most of it is taken: else what is sent now may come before the rest of what was sent before."""
    for _ in range(6000):
        if room.taken > room.limit * 0.85:
            return
        await trio.sleep(0.01)
    raise AssertionError(f"only {room.taken} of {room.limit} bytes were taken")


async def until_taken(served: Served, **fields: Any) -> None:
    """Ask until there is room for it."""
    for _ in range(6000):
        if (await served.act(**fields)).status_code == 200:
            return
        await trio.sleep(0.01)
    raise AssertionError("there never was room")


@pytest.mark.parametrize("form", ["http", "chunked", "websocket"])
async def test_bodies_that_are_not_whole_count_together(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is within the limit of one; together they are not. When they have gone, there is room again."""
    part = bytes(MB * 9 // 10).replace(b"\0", b" ")
    rooms: list[Room] = []

    def new_room(limit: int) -> Room:
        rooms.append(Room(limit))
        return rooms[-1]

    monkeypatch.setattr(server, "Room", new_room)
    async with serving(reach, max_body_mb=1, max_bodies_mb=2, request_timeout=10_000) as served:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                if form == "websocket":
                    line, _ = await stack.enter_async_context(openpi(served.url))
                    await line.send(BytesMessage(part, message_finished=False))
                    continue
                stream = await stack.enter_async_context(stream_to(served))
                chunked = b"POST /act HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n"
                await stream.send_all((chunked if form == "chunked" else HEAD) % len(part))
                await stream.send_all(part[:-1])
            await until_filled(rooms[-1])
            said = await until_refused(served, text="x" * (MB // 2))
            if form == "http":
                # Nor does one that was refused keep what it had got, while the rest of it is thrown away.
                stream = await stack.enter_async_context(stream_to(served))
                await stream.send_all(HEAD % (MB // 2) + part[: MB // 2 - 1])
                await until_taken(served, text="x" * (MB // 8))
            assert said["error"] == "queue-full"
            assert "all of the 2 MB" in said["message"]
            assert (await served.act(state=[1.0])).status_code == 200
            async with openpi(served.url) as (line, _):
                assert (await line.ask(text="x" * (MB // 2))).startswith("queue-full: ")
                assert await line.receive() == Closed(1011, "queue-full")
        await until_taken(served, text="x" * (MB // 2))


async def test_bodies_count_until_they_are_answered() -> None:
    """Also those that wait, and with what they become: a list of short lists takes thirty times its text."""
    release = threading.Event()

    def policy(_: dict[str, Any]) -> list[list[float]]:
        release.wait(300)
        return [[1.0]]

    lists: list[list[int]] = [[] for _ in range(9_000)]
    async with (
        serving(policy, max_body_mb=1, max_bodies_mb=2, request_timeout=10_000) as served,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(until_taken, served)
        await served.until(lambda health: health["running"] == 1)
        nursery.start_soon(lambda: served.act(lists=lists))
        await served.until(lambda health: health["queued"] == 1)
        said = (await served.act(lists=lists)).json()
        assert said["error"] == "queue-full"
        assert (await served.act(lists=[[]] * 30_000)).json()["error"] == "body-too-large"
        release.set()
    async with serving(reach, max_body_mb=1, max_bodies_mb=2, request_timeout=10_000) as served:
        assert (await served.act(lists=lists)).status_code == 200


async def test_a_message_that_does_not_come_to_its_end_is_given_up() -> None:
    """In the time of a request. What there is of it takes no room then."""
    async with serving(reach, request_timeout=0.3) as served, openpi(served.url) as (line, _):
        assert "actions" in await line.ask(state=[1.0])
        await line.send(BytesMessage(bytes(1000), message_finished=False))
        assert (await line.receive()).startswith("body-timeout: the observation was not there within 0.3 s")
        assert await line.receive() == Closed(1011, "body-timeout")
        text = (await served.client.get("/metrics")).text
        assert 'horus_act_requests_total{status="408"} 1.0' in text


async def test_a_message_in_many_pieces_takes_no_more_than_one_in_one() -> None:
    """A frame a byte: what is kept is the bytes."""
    from horus_async.policy.server.admission.room import Room
    from horus_async.policy.server.connections.frames import MessageBuffer

    buffer = MessageBuffer(MB, Room(MB).share())
    pieces = [BytesMessage(bytearray([number % 256])) for number in range(1000)]
    tracemalloc.start()
    for _ in range(200):
        for piece in pieces:
            buffer.extend(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(buffer.to_message()["bytes"]) == 200_000
    assert peak < 2 * MB


LARGE = [
    b'{"x":[' + b"[]," * MOST_PARTS + b"[]]}",
    b'{"x":[' + b"{}," * MOST_PARTS + b"{}]}",
    b'{"x":{"":0' + b',"":0' * MOST_PARTS + b"}}",
    b'{"x":[' + b"0," * MOST_VALUES + b"0]}",
]


@pytest.mark.parametrize("body", LARGE, ids=["lists", "objects", "fields", "numbers"])
async def test_what_would_become_too_many_values_is_not_read(body: bytes) -> None:
    """Two bytes of text become an object, and millions of them stop everything else for seconds."""
    async with serving(reach) as served:
        for path in ("/act", "/reset"):
            answer = await served.client.post(path, content=body)
            assert (answer.status_code, answer.json()["error"]) == (413, "body-too-large")
            assert "send images as base64" in answer.json()["message"]


@pytest.mark.parametrize(
    "observation",
    [
        {"x": [[] for _ in range(MOST_PARTS + 1)]},
        {"x": [0] * 2_000_000, "y": [[0] * 2_000_000] * 2},
        {"x": {str(number): 0 for number in range(MOST_PARTS)}},
    ],
    ids=["lists", "numbers", "fields"],
)
async def test_what_would_become_too_many_values_is_not_read_as_messagepack(observation: dict[str, Any]) -> None:
    """The same bounds hold there."""
    async with serving(reach) as served, openpi(served.url) as (line, _):
        assert (await line.ask(**observation)).startswith("body-too-large: the body holds more than")
        assert await line.receive() == Closed(1009, "body-too-large")


async def test_nesting_and_digits_have_an_end() -> None:
    """Whatever the depth, and however long a number is."""
    async with serving(reach) as served:
        for body in (
            b'{"x":' + b"[" * 300_000 + b"]" * 300_000 + b"}",
            b'{"x":' + b'{"x":' * 900 + b"1" + b"}" * 900 + b"}",
            b'{"state":[' + b"9" * 1_000_000 + b"]}",
            b'{"x":1e999999999}',
            b'{"x":-' + b"9" * 400 + b"}",
        ):
            answer = await served.client.post("/act", content=body)
            assert answer.status_code in (400, 422), body[:20]
        assert (await served.act(state=[2**63, -(2**63)])).status_code == 200


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def counted(value: Any) -> tuple[int, int]:
    """Values, and lists, objects and fields among them."""
    inside = [*(value.values() if isinstance(value, dict) else value)] if isinstance(value, list | dict) else []
    parts = isinstance(value, list | dict) + (len(value) if isinstance(value, dict) else 0)
    both = [counted(item) for item in inside]
    return len(inside) + sum(one for one, _ in both), parts + sum(part for _, part in both)


@given(JSON_VALUES)
def test_a_body_is_never_lighter_than_what_it_holds(value: Any) -> None:
    """JSON by its punctuation, which texts may have too; MessagePack exactly."""
    values, parts = counted(value)
    weight = weight_of_json(orjson.dumps(value))
    assert (weight.values >= values, weight.parts >= parts) == (True, True)
    packed = weighed(pack(value), WireFormat.MSGPACK)[1]
    assert (packed.values, packed.parts) == (values, parts)


async def test_large_bodies_are_worked_on_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read there, and searched there for images that an error might show; small ones are quicker where they are."""
    from horus_async.policy.model.images.hiding import without_images
    from horus_async.policy.server.requests import parse_episode, parse_observation

    threads: dict[str, set[int]] = {"read": set(), "shown": set()}

    def parse(*arguments: Any) -> Any:
        threads["read"].add(threading.get_ident())
        return parse_observation(*arguments)

    def without(*arguments: Any) -> str:
        threads["shown"].add(threading.get_ident())
        return without_images(*arguments)

    def episode(body: bytes) -> str | None:
        threads["read"].add(threading.get_ident())
        return parse_episode(body)

    def policy(_: dict[str, Any]) -> list[list[float]]:
        raise ValueError("no such thing")

    monkeypatch.setattr("horus_async.policy.server.service.parse_observation", parse)
    monkeypatch.setattr("horus_async.policy.server.outcome.without_images", without)
    monkeypatch.setattr("horus_async.policy.server.endpoints.parse_episode", episode)
    async with serving(policy) as served:
        assert (await served.act(text="x" * 1000)).status_code == 500
        assert set.union(*threads.values()) == {threading.get_ident()}
        for found in threads.values():
            found.clear()
        assert (await served.act(text="x" * MB)).status_code == 500
        answer = await served.client.post("/reset", json={"episode_id": "e", "text": "x" * MB})
        assert answer.json()["episode_id"] == "e"
        assert all(threads.values())
        assert threading.get_ident() not in threads["read"] | threads["shown"]


AMBIGUOUS = {
    "both": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
    "the other way round": b"transfer-encoding: chunked\r\ncontent-length: 0\r\n",
    "two lengths": b"Content-Length: 6\r\nContent-Length: 7\r\n",
}


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS)
@pytest.mark.parametrize("ended", [True, False])
async def test_a_request_that_ends_in_two_places_is_refused(headers: bytes, ended: bool) -> None:
    """At once, and its connection is closed: what comes after it might be the request of somebody else."""
    asked = []

    def policy(request: dict[str, Any]) -> list[list[float]]:
        asked.append(request)
        return [[1.0]]

    body = b"0\r\n\r\n" if ended else b"2\r\n{}"
    async with serving(policy, api_key="k") as served, stream_to(served) as stream:
        head = b"POST /act HTTP/1.1\r\nHost: localhost\r\nX-Reflex-Key: k\r\n"
        smuggled = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        await stream.send_all(head + headers + b"\r\n" + body + smuggled)
        answer = await rest_of(stream)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "bad-http"
        assert not asked
        assert (await served.client.get("/health")).status_code == 200


async def test_a_handshake_has_no_body() -> None:
    """What comes with it would be taken for frames."""
    head = (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nContent-Length: %d\r\n\r\n"
    )
    async with serving(reach) as served:
        async with stream_to(served) as stream:
            await stream.send_all(head % 5 + b"hello")
            assert (await rest_of(stream)).startswith(b"HTTP/1.1 400 ")
        async with stream_to(served) as stream:
            await stream.send_all(head % 0)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")


GREETING = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
PING = bytes.fromhex("898000000000")


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (GREETING + PING, "sent before its handshake was answered: wait for the 101"),
        (GREETING + b"not even a frame", "sent before its handshake was answered"),
        (GREETING.replace(b"13", b"7"), "needs Sec-WebSocket-Version: 13"),
        (GREETING.replace(b"-Key", b"-Lock"), "has no Sec-WebSocket-Key"),
        (GREETING.replace(b"HTTP/1.1", b"HTTP/1.0"), "begins with a request of HTTP/1.1"),
    ],
    ids=["a ping too early", "bytes too early", "version", "key", "HTTP/1.0"],
)
async def test_a_websocket_that_is_refused_is_told_why(sent: bytes, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """In the body and in the log; and it takes nobody's place afterwards."""
    async with serving(reach, max_connections=2) as served:  # one of them is the client's that looks at its health
        for _ in range(3):
            async with stream_to(served) as stream:
                await stream.send_all(sent)
                with trio.fail_after(60):
                    head, _, body = (await rest_of(stream)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            answer = orjson.loads(body)
            assert answer["error"] == "bad-http"
            assert why in answer["message"]
    said = [record.getMessage() for record in caplog.records if "websocket-refused" in record.msg]
    assert said == [f"websocket-refused: {answer['message']}"] * 3


async def test_http_2_is_not_spoken() -> None:
    """Neither after an upgrade, which is passed over, nor from the start."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    async with serving(reach) as served:
        for headers in (upgrade, b"Connection: Upgrade\r\nUpgrade: h2c\r\n"):
            async with stream_to(served) as stream:
                await stream.send_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
                await stream.send_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert (await rest_of(stream)).count(b"HTTP/1.1 200 ") == 1
        async with stream_to(served) as stream:
            await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            assert (await rest_of(stream)).startswith(b"HTTP/1.1 505 ")


async def test_idle_connections_make_place_and_busy_ones_do_not() -> None:
    """A client that only connects, or never ends the head of its request, keeps nobody out."""
    release = threading.Event()

    def policy(_: dict[str, Any]) -> list[list[float]]:
        release.wait(300)
        return [[1.0]]

    async with serving(policy, max_connections=3) as served, AsyncExitStack() as stack, trio.open_nursery() as nursery:
        await served.client.aclose()
        idle = [await stack.enter_async_context(stream_to(served)) for _ in range(3)]
        for number, stream in enumerate(idle):
            await stream.send_all(b"POST /act HTTP/1.1\r\nHost: loc"[: 10 * number])
        answers: list[bytes] = []

        async def ask() -> None:
            async with stream_to(served) as stream:
                await stream.send_all(HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") % 2 + b"{}")
                answers.append(await rest_of(stream))

        for _ in range(3):
            nursery.start_soon(ask)
        assert [await rest_of(stream) for stream in idle] == [b"", b"", b""]
        turned_away = b""
        while not turned_away.startswith(b"HTTP/1.1 503 "):  # until all three are with the policy
            async with stream_to(served) as stream:
                await stream.send_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                turned_away = await rest_of(stream)
        assert orjson.loads(turned_away.partition(b"\r\n\r\n")[2])["error"] == "too-many-connections"
        release.set()
        while len(answers) < 3:  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
        served.client = type(served.client)(base_url=served.url)


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"POST /act HT"])
async def test_the_connection_of_a_client_that_has_gone_is_closed(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """At once, and not when it has been idle for as long as a robot may pause."""
    monkeypatch.setattr("horus_async.policy.server.http._KEEP_ALIVE_S", 1e6)
    async with serving(reach) as served, stream_to(served) as stream:
        if sent:
            await stream.send_all(sent)
        if sent.endswith(b"\r\n\r\n"):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        await stream.send_eof()
        with trio.fail_after(60):
            await rest_of(stream)


async def test_a_client_that_does_not_read_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its answer, its place and its room are not kept for ever."""
    monkeypatch.setattr("horus_async.policy.server.connections.lobby._PIECE_S", 0.3)

    def policy(_: dict[str, Any]) -> Any:
        import numpy

        return numpy.zeros((2_000_000, 2))

    async with serving(policy) as served, openpi(served.url) as (line, _):
        line.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await line.send(BytesMessage(pack({})))
        gone = b"horus_websocket_connections 0.0"
        for _ in range(6000):
            if gone in (await served.client.get("/metrics")).content:
                break
            await trio.sleep(0.01)
        assert gone in (await served.client.get("/metrics")).content
        assert "client-not-reading" in caplog.text


async def test_a_body_that_goes_on_after_its_refusal_ends_with_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """So much of it is thrown away; then the answer comes, and the connection does not wait for the rest."""
    monkeypatch.setattr("horus_async.policy.server.endpoints._DRAINED_MB", 0.1)
    async with serving(reach, max_body_mb=0.01) as served, stream_to(served) as stream, trio.open_nursery() as nursery:
        received: list[bytes] = []

        async def read() -> None:
            received.append(await rest_of(stream))
            nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        await stream.send_all(HEAD % (1 << 40))
        try:
            while True:
                await stream.send_all(bytes(MB))
        except trio.BrokenResourceError:
            await trio.sleep_forever()
    assert received[0] == b"" or b" 413 " in received[0][:20]


async def test_an_application_that_has_stopped_reading_holds_up_nobody() -> None:
    """Hypercorn waits until a disconnect has a place behind what is unread; and it has the application bring it."""
    from horus_async.policy.server.connections.inbox import Inbox

    inbox = Inbox("http", 2)
    part: Any = {"type": "http.request", "body": b"x", "more_body": True}
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(inbox.put, part)
        await trio.testing.wait_all_tasks_blocked()
        await inbox.put({"type": "http.disconnect"})
    assert await inbox.receive() == {"type": "http.disconnect"}
    quiet = Inbox("websocket", 2)
    await quiet.put({"type": "websocket.connect"})
    await quiet.put({"type": "websocket.disconnect", "code": 1006})
    assert [(await quiet.receive())["type"] for _ in range(2)] == ["websocket.connect", "websocket.disconnect"]


def _not_reading(url: str, kind: str) -> socket.socket:
    """A client that has asked, and does not take what it is sent."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", int(url.rsplit(":", 1)[1])))
    if kind == "websocket":
        handshake = (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        client.sendall(handshake)
        assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
        client.sendall(bytes([0x82, 0x81, 0, 0, 0, 0]) + msgpack.packb({}))
        return client
    if kind == "one large answer":
        client.sendall(b"POST /act HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
        return client
    client.setblocking(False)
    full, pause = 0, threading.Event()
    while full < 50:  # both sides of the socket, and the server in between
        try:
            client.send(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        except BlockingIOError:
            full += 1
            pause.wait(0.02)
    return client


POLICY = """
import numpy, time
class policy:
    metadata = {"concurrency": 2}
    def act(self, request):
        if request.get("sleep"):
            time.sleep(100_000)
        return numpy.zeros((2_000_000, 2))
"""


@pytest.mark.parametrize("kind", ["pipelined", "one large answer", "websocket"])
@pytest.mark.parametrize("busy", [False, True], ids=["one signal", "two signals and a policy that works"])
def test_a_client_that_does_not_read_holds_up_no_end(
    server_process: Callable[..., Any], policy_module: Callable[[str], str], kind: str, busy: bool
) -> None:
    """One signal is enough, whatever the time of a request; and a second one does not wait for anything."""
    server = server_process(policy_module(POLICY), "--timeout", "100000")
    for _ in range(6000):
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=300)
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            break
        connection.close()
        threading.Event().wait(0.05)
    client = _not_reading(server.url, kind)
    wanted = {"pipelined": b"", "one large answer": b" 1.0", "websocket": b" 1.0"}[kind]
    while wanted:  # until the policy has answered
        connection.request("GET", "/metrics")
        answered = connection.getresponse().read().partition(b"horus_policy_latency_seconds_count")[2]
        if answered.startswith(wanted):
            break
    sleeping = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=300)
    if busy:
        sleeping.request("POST", "/act", b'{"sleep":1}')
        running = b""
        while not running.startswith(b" 1.0"):
            connection.request("GET", "/metrics")
            running = connection.getresponse().read().partition(b"\nhorus_act_running")[2]
        server.process.send_signal(signal.SIGTERM)
        while _listens(server.url):
            threading.Event().wait(0.05)
    assert server.finish(signal.SIGTERM) == 128 + signal.SIGTERM
    for each in (client, connection, sleeping):
        each.close()


def _listens(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=60).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_a_client_that_goes_on_after_the_close_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sends is thrown away for a while, and not as long as it likes."""
    monkeypatch.setattr("horus_async.policy.server.openpi._PATIENCE_AT_MOST", 0.5)
    async with serving(reach, request_timeout=100_000) as served, openpi(served.url) as (line, _):
        served.stop.set()
        frame = bytes([0x82, 0x80, 0, 0, 0, 0])
        ended = False
        while not ended:
            try:
                await line.stream.send_all(frame * 10)
                await trio.sleep(0.01)
            except trio.BrokenResourceError:
                ended = True


@pytest.mark.parametrize(("files", "places"), [(4000, 1000), (1000, 744), (300, 150), (1, 1)])
def test_where_files_are_few_there_are_fewer_connections(
    files: int, places: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest of the server keeps some, and the log says so."""
    monkeypatch.setattr(lobby, "files_allowed", lambda wanted: files if wanted > 1000 else 0)
    assert lobby.places_for(1000) == places
    assert [message.partition(":")[0] for message in caplog.messages] == ["few-files"] * (places < 1000)
