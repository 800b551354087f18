"""The WebSocket protocol of openpi's clients."""

from __future__ import annotations

import base64
import datetime
import random
import re
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import XorMaskerSimple

from horus_async.cli.trace import trace
from horus_async.policy import ImageMode, TraceOptions
from horus_async.policy.model.wire import pack
from horus_async.policy.server.connections.frames import Masker
from tests.policy.conftest import needs_server, only_trace, reach, read_all, serving
from tests.policy.sockets import Closed, connection, openpi

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.policy.conftest import Served

pytestmark = needs_server
numpy = pytest.importorskip("numpy")
pytest.importorskip("msgpack")

PATHS = ["/", "/v1/realtime/robot/openpi"]


def double(request: dict[str, Any]) -> Any:
    """A policy of arrays: three rows of twice the state, and the state itself."""
    state = request["observation/state"]
    return {"actions": numpy.stack([state * 2] * 3), "state": state}


def observed(*values: float) -> dict[str, Any]:
    """An observation as openpi's clients send them."""
    image = numpy.full((8, 8, 3), 7, "uint8")
    return {"observation/image": image, "observation/state": numpy.array(values, "float32"), "prompt": "pick"}


async def metric(served: Served, name: str) -> float:
    """One number of ``/metrics``."""
    lines = (await served.client.get("/metrics")).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} "))


async def until_metric(served: Served, name: str, value: float) -> None:
    """Look again until ``/metrics`` has that value; fails after minutes."""
    for _ in range(6000):
        if await metric(served, name) == value:
            return
        await trio.sleep(0.05)
    raise AssertionError(f"{name} never became {value}")


@pytest.mark.parametrize("path", PATHS)
async def test_metadata_comes_first_then_an_answer_an_observation(path: str) -> None:
    """The server describes the policy unasked; answers are arrays of the policy's dtype, with their timing."""
    async with serving(double) as served, openpi(served.url, target=path) as (line, metadata):
        assert metadata["policy"] == "test"
        first, second = await line.ask(**observed(1, 2)), await line.ask(**observed(3, 4))
    assert first["actions"].dtype == numpy.float32
    assert first["actions"].tolist() == [[2.0, 4.0]] * 3
    assert second["actions"].tolist() == [[6.0, 8.0]] * 3
    assert second["state"].tolist() == [3.0, 4.0]
    assert set(first["server_timing"]) == {"infer_ms"}
    assert set(second["server_timing"]) == {"infer_ms", "prev_total_ms"}
    assert second["server_timing"]["prev_total_ms"] >= first["server_timing"]["infer_ms"] >= 0
    assert first["policy_timing"] == first["server_timing"]
    assert first["request_id"] != second["request_id"]


async def test_the_policy_sees_what_was_sent_and_the_known_fields() -> None:
    """Keys stay as they are; ``prompt`` is the instruction; a connection is an episode, where none is named."""
    seen: list[dict[str, Any]] = []

    def policy(request: dict[str, Any]) -> list[list[float]]:
        seen.append(request)
        return [[1.0, 2.0]]

    async with serving(policy) as served:
        async with openpi(served.url) as (line, _):
            await line.ask(**observed(1), images={"wrist": numpy.zeros((3, 4, 4), "uint8")})
            await line.ask(prompt=numpy.array("put it down"), episode_id="mine")
            await line.ask(instruction="stop", prompt="go")
        async with openpi(served.url) as (line, _):
            answer = await line.ask()
    assert seen[0]["observation/image"].shape == (8, 8, 3)
    assert seen[0]["images"]["wrist"].dtype == numpy.uint8
    assert [request["instruction"] for request in seen] == ["pick", "put it down", "stop", ""]
    assert [request["state"] for request in seen] == [request["image"] for request in seen] == [None] * 4
    episodes = [request["episode_id"] for request in seen]
    assert episodes[1] == "mine"
    assert episodes[0] == episodes[2] != episodes[3]
    # Lists have no dtype; as an array, a client can cut it into steps.
    assert (answer["actions"].dtype, answer["actions"].tolist()) == (numpy.float64, [[1.0, 2.0]])


async def test_a_policy_says_what_it_is_and_returns_what_it_likes(caplog: pytest.LogCaptureFixture) -> None:
    """Its metadata arrives, less what cannot travel; a date in an answer, which MessagePack lacks, is text."""

    class Arm:
        metadata = {"reset_pose": [0.0, 1.0], "action_dim": 2, "embodiment": "arm7", "opener": lambda: None}  # noqa: RUF012

        def act(self, request: dict[str, Any]) -> Any:
            return {"actions": numpy.zeros((2, 2), "float16"), "day": datetime.date(2026, 11, 30), "policy_timing": {}}

    async with serving(Arm()) as served, openpi(served.url) as (line, metadata):
        answer = await line.ask()
    assert (metadata["reset_pose"], metadata["action_dim"], metadata["embodiment"]) == ([0.0, 1.0], 2, "arm7")
    assert "opener" not in metadata
    assert "metadata-left-out: 'opener'" in caplog.text
    assert (answer["day"], answer["policy_timing"], answer["actions"].dtype) == ("2026-11-30", {}, numpy.float16)


def _fails(request: dict[str, Any]) -> Any:
    if request["instruction"] == "raise":
        raise ValueError("no such arm")
    return [[float("nan")]] if request["instruction"] == "nan" else "nothing"


@pytest.mark.parametrize(
    ("message", "slug", "status"),
    [
        (BytesMessage(b"\xc1"), "bad-msgpack", 400),
        (BytesMessage(b""), "bad-msgpack", 400),
        (BytesMessage(pack({"a": 1})[:-1]), "bad-msgpack", 400),
        (BytesMessage(pack([1, 2])), "bad-request", 422),
        (BytesMessage(pack({"prompt": 1, "instruction": 2})), "bad-request", 422),
        (TextMessage('{"prompt": "pick"}'), "bad-msgpack", 400),
        (BytesMessage(pack({"prompt": "raise"})), "policy-error: ValueError: no such arm", 500),
        (BytesMessage(pack({"prompt": "nan"})), "non-finite-actions", 500),
        (BytesMessage(pack({"prompt": "x"})), "bad-actions", 500),
    ],
)
async def test_an_error_is_a_text_and_then_the_end(message: Any, slug: str, status: int) -> None:
    """One line of text, without our code's paths, then code 1011; counted by its status; the next client is served."""
    async with serving(_fails) as served:
        async with openpi(served.url) as (line, _):
            await line.send(message)
            text, closed = await line.receive(), await line.receive()
        assert isinstance(text, str)
        assert text.startswith(slug)
        assert "\n" not in text
        assert "Traceback" not in text
        assert closed == Closed(1011, slug.partition(":")[0])
        assert await metric(served, f'horus_act_requests_total{{status="{status}"}}') == 1
        async with openpi(served.url) as (_, metadata):
            assert metadata["policy"] == "test"


async def test_a_fault_of_the_server_is_told_without_its_details(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log; the client gets the number of its request to look there."""

    async def ask(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr("horus_async.policy.server.service.PolicyService.ask", ask)
    async with serving(double) as served, openpi(served.url) as (line, _):
        text, closed = await line.ask(**observed(1)), await line.receive()
    number = re.fullmatch(r"server-error: the server failed; its log says why \(request ([0-9a-f]{32})\)", text)
    assert number is not None
    assert number[1] in caplog.text
    assert closed == Closed(1011, "server-error")


async def test_the_key_is_asked_for_before_the_upgrade() -> None:
    """Under each of its names; without it the handshake is answered with 401 and the connection ends."""
    async with serving(double, api_key="hunter2") as served:
        for scheme in ("Api-Key", "Bearer", "api-key"):
            async with openpi(served.url, headers={"Authorization": f"{scheme} hunter2"}) as (line, _):
                assert "actions" in await line.ask(**observed(1))
        for wrong in ({}, {"Authorization": "Api-Key hunter3"}, {"Authorization": "hunter2"}):
            async with connection(served.url, headers=wrong) as line:
                assert line.rejected is not None
                assert line.rejected.status_code == 401
                assert orjson.loads(line.body)["error"] == "unauthorized"
                assert await line.receive() == Closed(None)
        assert await metric(served, 'horus_act_requests_total{status="401"}') == 3


async def test_what_a_browser_or_a_mistaken_client_gets() -> None:
    """A page at ``/``, 426 where only WebSockets are, and 404 for a WebSocket at any other address."""
    async with serving(double) as served:
        page = await served.client.get("/")
        assert page.status_code == 200
        assert "openpi" in page.text
        assert (await served.client.get(PATHS[1])).status_code == 426
        assert (await served.client.get("/nowhere")).status_code == 404
        async with connection(served.url, target="/v1/openpi") as line:
            assert line.rejected is not None
            assert line.rejected.status_code == 404
            assert PATHS[1] in orjson.loads(line.body)["message"]


async def test_messages_up_to_the_limit_are_taken_and_longer_ones_named() -> None:
    """The limit is the one of bodies. A longer message is answered with its size and code 1009, and counted."""

    def policy(request: dict[str, Any]) -> list[list[float]]:
        return [[float(len(request["blob"]))]]

    frame = len(pack({"blob": b"x" * 70_000})) - 70_000
    async with serving(policy, max_body_mb=0.1) as served:
        limit = int(0.1 * (1 << 20))
        async with openpi(served.url) as (line, _):
            assert (await line.ask(blob=bytes(limit - frame)))["actions"].tolist() == [[limit - frame]]
            text, closed = await line.ask(blob=bytes(limit - frame + 1)), await line.receive()
            assert text.startswith("body-too-large: the observation has 0.1 MB, more than the 0.1 MB")
            assert closed == Closed(1009, "body-too-large")
        async with openpi(served.url) as (line, _):
            await line.send(TextMessage("x" * limit + "x"))
            assert (await line.receive()).startswith("body-too-large")
        assert await metric(served, 'horus_act_requests_total{status="413"}') == 2
        async with openpi(served.url) as (line, _):
            for number in range(31):
                await line.send(BytesMessage(bytes(limit), message_finished=number == 30))
            assert (await line.receive()).startswith("body-too-large: the observation has 3.1 MB")
            assert await line.receive() == Closed(1009, "body-too-large")


async def test_fragments_and_pings_between_them() -> None:
    """A message may come in any number of frames; pings are answered in between, and while the policy works."""
    release = threading.Event()

    def policy(request: dict[str, Any]) -> Any:
        assert release.wait(timeout=300)
        return double(request)

    async with serving(policy) as served, openpi(served.url) as (line, _):
        body = pack(observed(5))
        for number in range(0, len(body), 50):
            await line.send(BytesMessage(body[number : number + 50], message_finished=number + 50 >= len(body)))
            await line.send(Ping(b"%d" % number))
            assert bytes((await line.receive()).payload) == b"%d" % number
        await served.until(lambda health: health["running"] == 1)
        await line.send(Ping(b"still there?"))
        assert isinstance(await line.receive(), Pong)
        release.set()
        assert (await line.receive())["actions"][0].tolist() == [10.0]


async def test_observations_sent_ahead_are_answered_in_turn() -> None:
    """A client need not wait; twenty observations sent at once get twenty answers in their order."""
    async with serving(double) as served, openpi(served.url) as (line, _):
        for number in range(20):
            await line.send(BytesMessage(pack(observed(number))))
        answers = [await line.receive() for _ in range(20)]
    assert [answer["actions"][0, 0] for answer in answers] == [2 * number for number in range(20)]


async def test_what_a_client_sent_ahead_of_an_error_is_dropped() -> None:
    """Fifty large observations after a bad one: the client still sees why it ended."""
    async with serving(double) as served, openpi(served.url) as (line, _):

        async def send() -> None:
            for number in range(50):
                body = pack({**observed(1), "blob": bytes(1_000_000)}) if number else b"bad"
                await line.send(BytesMessage(body))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await until_metric(served, 'horus_act_requests_total{status="400"}', 1)
        assert (await line.receive()).startswith("bad-msgpack: ")
        assert await line.receive() == Closed(1011, "bad-msgpack")
        await until_metric(served, "horus_websocket_connections", 0)
        assert await metric(served, 'horus_act_requests_total{status="200"}') == 0


@pytest.mark.parametrize("politely", [True, False])
async def test_a_client_that_leaves_during_an_inference(politely: bool, tmp_path: Path) -> None:
    """It is counted and recorded as client-closed, and the next client is served."""
    asked, release = threading.Event(), threading.Event()

    def policy(request: dict[str, Any]) -> Any:
        asked.set()
        assert release.wait(timeout=300)
        return double(request)

    async with serving(policy, trace=TraceOptions(directory=tmp_path)) as served:
        async with openpi(served.url) as (line, _):
            await line.send(BytesMessage(pack(observed(1))))
            assert await trio.to_thread.run_sync(asked.wait, 300)
            if politely:
                await line.send(CloseConnection(1000))
        await until_metric(served, 'horus_act_requests_total{status="499"}', 1)
        assert await metric(served, 'horus_policy_failures_total{slug="client-closed"}') == 1
        release.set()
        async with openpi(served.url) as (line, _):
            assert "actions" in await line.ask(**observed(1))
        await until_metric(served, "horus_websocket_connections", 0)
    lines = read_all(only_trace(tmp_path)).lines  # type: ignore[attr-defined]
    assert [(line["status"], line.get("error", {}).get("slug")) for line in lines] == [
        (499, "client-closed"),
        (200, None),
    ]


POLICY = """
import base64

def policy(request):
    image = request["observation/image"]
    if request["instruction"] == "fail":
        raise ValueError(f"{base64.b64encode(image.tobytes()).decode()} {image.tobytes().hex()} {image.tolist()}")
    return [[float(image.mean()), float(request["observation/state"][0])]]
"""


@pytest.mark.parametrize("images", list(ImageMode))
async def test_the_trace_keeps_images_as_its_mode_says_and_replays(
    images: ImageMode, tmp_path: Path, policy_module: Callable[[str], str]
) -> None:
    """Of arrays, too, nothing is in a trace that must not have them, nor in an error; a full trace replays."""
    policy = policy_module(POLICY)
    image = numpy.random.default_rng(14).integers(0, 256, (32, 32, 3), dtype="uint8")
    asked = {**observed(1, 2), "observation/image": image}
    folder = tmp_path / "traces"
    async with (
        serving(policy, trace=TraceOptions(directory=folder, images=images)) as served,
        openpi(served.url) as (line, _),
    ):
        answers = [await line.ask(**asked), await line.ask(**asked)]
        text = await line.ask(**{**asked, "prompt": "fail"})
    lines = read_all(only_trace(folder)).lines  # type: ignore[attr-defined]
    assert [answer["seq"] for answer in answers] == [0, 1]
    assert [entry["wire"] for entry in lines] == ["msgpack"] * 3
    assert [entry["cameras"] for entry in lines] == [["observation/image"]] * 3
    assert [entry["request"]["instruction"] for entry in lines] == ["pick", "pick", "fail"]
    assert lines[0]["request"]["state"] == [1.0, 2.0]
    assert len({entry["episode_id"] for entry in lines}) == 1
    forms = [base64.b64encode(image.tobytes()).decode(), image.tobytes().hex(), str(image.tolist())]
    shown = [text, orjson.dumps([entry.get("error") for entry in lines]).decode()]
    if images is not ImageMode.FULL:
        shown.append(orjson.dumps(lines).decode())
    for said in shown:
        assert not any(said[start : start + 24] in form for form in forms for start in range(len(said) - 23)), said
    arguments = ["replay", str(only_trace(folder)), "--model", policy, "--fail-on", "actions", "--json"]
    # The command has an event loop of its own.
    result = await trio.to_thread.run_sync(CliRunner().invoke, trace, arguments)
    assert result.exit_code == (0 if images is ImageMode.FULL else 3), result.output
    if images is ImageMode.FULL:
        summary = orjson.loads(result.stdout)["summary"]
        assert (summary["n_replayed"], summary["n_diffed"], summary["n_pass_actions"]) == (3, 2, 2)


async def test_a_full_queue_is_an_error_like_others() -> None:
    """A refusal is a text and code 1011; those before are answered."""
    release = threading.Event()

    def policy(request: dict[str, Any]) -> Any:
        assert release.wait(timeout=300)
        return double(request)

    async with (
        serving(policy, queue_limit=0) as served,
        openpi(served.url) as (first, _),
        openpi(served.url) as (second, _),
    ):
        await first.send(BytesMessage(pack(observed(1))))
        await served.until(lambda health: health["running"] == 1)
        assert (await second.ask(**observed(1))).startswith("queue-full: ")
        assert await second.receive() == Closed(1011, "queue-full")
        release.set()
        assert "actions" in await first.receive()


async def test_stopping_answers_what_runs_and_closes_what_waits() -> None:
    """An idle connection is closed with 1001 at once, a busy one after its answer; then the server ends."""
    release = threading.Event()

    def policy(request: dict[str, Any]) -> Any:
        assert release.wait(timeout=300)
        return double(request)

    async with serving(policy) as served, openpi(served.url) as (idle, _), openpi(served.url) as (busy, _):
        await busy.send(BytesMessage(pack(observed(1))))
        await served.until(lambda health: health["running"] == 1)
        served.stop.set()
        assert await idle.receive() == Closed(1001, "the server is stopping")
        release.set()
        assert "actions" in await busy.receive()
        assert await busy.receive() == Closed(1001, "the server is stopping")


async def test_a_client_may_come_before_the_policy_is_ready() -> None:
    """It is accepted at once and gets the metadata once the policy is loaded and warm."""
    release = threading.Event()

    class Slow:
        def warm_up(self) -> None:
            assert release.wait(timeout=300)

        def act(self, request: dict[str, Any]) -> Any:
            return double(request)

    async with serving(Slow(), warm=False) as served, connection(served.url) as early:
        assert early.accepted is not None
        async with connection(served.url) as impatient:
            assert impatient.accepted is not None
        assert (await served.health())["state"] in ("loading", "warming")
        release.set()
        assert (await early.receive())["policy"] == "test"
        assert "actions" in await early.ask(**observed(1))


async def test_compression_is_not_agreed_to() -> None:
    """Images do not get smaller by it; a client that offers it does without."""
    async with serving(double) as served, openpi(served.url, extensions=[PerMessageDeflate()]) as (line, _):
        assert line.accepted is not None
        assert not line.accepted.extensions
        assert "actions" in await line.ask(**observed(1))


async def test_two_hundred_clients() -> None:
    """200 connections at once, five observations each: each gets its own answers, and none an error."""
    async with serving(double) as served, trio.open_nursery() as nursery:
        together = trio.Event()
        connected = 0

        async def client(number: int) -> None:
            nonlocal connected
            async with openpi(served.url) as (line, _):
                connected += 1
                if connected == 200:
                    together.set()
                await together.wait()
                for step in range(5):
                    answer = await line.ask(**observed(number, step))
                    assert answer["actions"].tolist() == [[2.0 * number, 2.0 * step]] * 3

        for number in range(200):
            nursery.start_soon(client, number)


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
H2C = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "


@pytest.mark.parametrize(
    "sent",
    [
        HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=abc\r\n\r\n",
        HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99\r\n\r\n",
        HANDSHAKE + b"Sec-WebSocket-Extensions: ;;,=;\r\n\r\n",
        HANDSHAKE.replace(b"13", b"7") + b"\r\n",
        HANDSHAKE + b"Content-Length: 5\r\n\r\nhello",
        H2C + b"AAMAAABkAAQAoAAAAAIAAAAAAAAA\r\n\r\n" + b"foo" * 12,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(range(256)) * 4,
    ],
)
async def test_a_malformed_handshake_ends_one_connection_only(sent: bytes) -> None:
    """Whatever a stranger sends, before any key is checked, the others go on."""
    async with serving(double) as served, openpi(served.url) as (line, _):
        port = int(served.url.rsplit(":", 1)[1])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(sent)
            with trio.move_on_after(0.3):
                async for _ in stream:
                    pass
        assert "actions" in await line.ask(**observed(1))
        assert (await served.health())["status"] == "ok"


@pytest.mark.parametrize("count", [150, pytest.param(5000, marks=pytest.mark.long)])
async def test_garbage_in_frames_ends_one_connection_only(count: int) -> None:
    """Random bytes, damaged frames, and damaged messages: the server closes those connections, and serves on."""
    dice = random.Random(14)
    async with serving(double) as served, openpi(served.url) as (line, _):
        for number in range(count):
            async with openpi(served.url) as (wild, _):
                good = bytearray(wild.protocol.send(BytesMessage(pack(observed(number)))))
                for _ in range(dice.randint(1, 8)):
                    good[dice.randrange(len(good) if number % 3 else 12)] = dice.randrange(256)
                data = dice.randbytes(dice.randint(1, 300)) if number % 4 == 0 else bytes(good)
                closing = bytes.fromhex("8880") + dice.randbytes(4) if number % 5 == 0 else b""
                await wild.stream.send_all(closing + data + closing)
                with trio.move_on_after(0.05):
                    async for _ in wild.stream:
                        pass
        assert "actions" in await line.ask(**observed(1))
        await served.until(lambda health: health["running"] == 0)


async def test_http_and_websockets_share_the_queue_and_the_counts() -> None:
    """``/act`` and WebSockets are two doors of one service."""
    async with serving(reach) as served, openpi(served.url) as (line, _):
        assert (await line.ask(state=[1.0, 2.0]))["actions"].tolist() == reach({"state": [1.0, 2.0]})
        assert (await served.act(state=[1.0, 2.0])).json()["actions"] == reach({"state": [1.0, 2.0]})
        assert await metric(served, 'horus_act_requests_total{status="200"}') == 2
        assert await metric(served, "horus_websocket_connections") == 1


@given(
    size=st.sampled_from([0, 1, 5, 125, 126, 4095, 4096, 4097, 4099, 65_535, 65_536, 70_001]),
    key=st.binary(min_size=4, max_size=4),
    cuts=st.lists(st.integers(1, 70_000), max_size=4),
    data=st.randoms(use_true_random=False),
)
def test_masks_come_off_as_wsproto_takes_them_off(size: int, key: bytes, cuts: list[int], data: random.Random) -> None:
    """Our faster way agrees with wsproto's own, wherever a frame is cut into pieces."""
    payload, ours, theirs = data.randbytes(size), Masker(key), XorMaskerSimple(key)
    for start, end in pairwise([0, *sorted(cut for cut in cuts if cut < size), size]):
        piece = bytearray(payload[start:end])
        assert theirs.process(piece) == ours.process(piece)
