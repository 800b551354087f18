"""A server without a key serves programs, under the names of this machine, and no web pages of others."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import orjson
import pytest
import trio

from horus_async.errors import ConfigurationError
from horus_async.policy.server.admission.callers import Callers
from horus_async.policy.server.admission.refusal import Refusal
from tests.policy.conftest import needs_server, reach, serving
from tests.policy.sockets import connection

pytestmark = needs_server

if TYPE_CHECKING:
    from collections.abc import Iterable

JSON = "application/json"


async def ask(url: str, head: Iterable[str], body: bytes = b'{"state":[1]}', target: str = "POST /act") -> bytes:
    """One request with these headers; the whole answer."""
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{target} HTTP/1.1", *head, *length, "Connection: close"]
    async with await trio.open_tcp_stream("127.0.0.1", int(url.rsplit(":", 1)[1])) as stream:
        await stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return b"".join([data async for data in stream])


def status(answer: bytes) -> int:
    """The status of an answer."""
    return int(answer.split()[1])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("LocalHost.:8000", 200),
        ("127.0.0.1:9", 200),
        ("127.8.9.10", 200),
        ("[::1]:8000", 200),
        ("[::ffff:127.0.0.1]", 200),
        ("rebound.example", 403),
        ("rebound.example:8000", 403),
        ("localhost.rebound.example", 403),
        ("127.0.0.1.rebound.example", 403),
        ("rebound.example#localhost", 403),
        ("user@localhost", 403),
        ("localhost:80:80", 403),
        ("10.0.0.7", 403),
        ("0.0.0.0:8000", 403),
        ("", 403),
    ],
)
async def test_a_server_on_loopback_goes_by_names_of_loopback(host: str, expected: int) -> None:
    """A name that leads here by DNS rebinding is none, wherever it is asked for, and the answer says the way out."""
    async with serving(reach) as served:
        head = [f"Host: {host}", f"Content-Type: {JSON}"]
        answer = await ask(served.url, head)
        assert status(answer) == expected
        for path in ("/metrics", "/health", "/nowhere"):
            assert (status(await ask(served.url, head, b"", f"GET {path}")) == 403) == (expected == 403)
        async with connection(served.url, headers={"Host": host}) as line:
            assert (line.rejected is not None and line.rejected.status_code == 403) == (expected == 403)
        if expected == 403:
            said = orjson.loads(answer.partition(b"\r\n\r\n")[2])
            assert said["error"] == "foreign-host"
            assert "--api-key KEY" in said["message"]
            if host.startswith("rebound.example") and "#" not in host:
                assert "--allow-host rebound.example," in said["message"]
            text = (await served.client.get("/metrics")).text
            assert 'horus_act_requests_total{status="403"} 2.0' in text


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("http://localhost:8000", "localhost:8000", 200),
        ("http://127.0.0.1:8000", "localhost:8000", 200),
        ("http://localhost", "localhost", 200),
        ("http://evil.example", "localhost:8000", 403),
        ("http://localhost:3000", "localhost:8000", 403),
        ("https://localhost:8000", "localhost", 403),
        ("http://localhost.evil.example:8000", "localhost:8000", 403),
        ("http://evil.example:8000@localhost:8000", "localhost:8000", 403),
        ("null", "localhost:8000", 403),
        ("", "localhost:8000", 403),
        ("file://", "localhost:8000", 403),
    ],
)
async def test_pages_of_others_are_refused(origin: str, host: str, expected: int) -> None:
    """Whatever the type of the body; and what is done is not done before the origin is looked at."""
    asked = []

    def policy(request: dict[str, object]) -> list[list[float]]:
        asked.append(request)
        return [[1.0]]

    async with serving(policy) as served:
        for kind in (JSON, "text/plain", "application/x-www-form-urlencoded", None):
            head = [f"Host: {host}", f"Origin: {origin}", *([f"Content-Type: {kind}"] if kind else [])]
            if expected == 403:
                answer = await ask(served.url, head)
                assert (status(answer), b'"foreign-origin"' in answer) == (403, True)
        head = [f"Host: {host}", f"Origin: {origin}", f"Content-Type: {JSON}"]
        assert status(await ask(served.url, head)) == expected
        assert status(await ask(served.url, head, b"", "POST /reset")) == expected
        async with connection(served.url, headers={"Host": host, "Origin": origin}) as line:
            assert (line.rejected is None) == (expected == 200)
            if line.rejected is not None:
                assert (line.rejected.status_code, orjson.loads(line.body)["error"]) == (403, "foreign-origin")
        assert len(asked) == (expected == 200)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        (None, 200),
        ("application/x-www-form-urlencoded", 200),
        ("application/x-www-form-urlencoded\r\nReferer: http://localhost/page", 415),
        ("application/x-www-form-urlencoded\r\nCookie: a=b", 415),
        ("application/x-www-form-urlencoded; charset=utf-8\r\nSec-Fetch-Site: cross-site", 415),
        ("text/plain", 415),
        ("text/plain; application/json", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/json-patch", 415),
    ],
)
async def test_a_body_is_json_and_says_so(kind: str | None, expected: int) -> None:
    """A page's form says what it is; ``curl -d`` calls its body one, too, but says nothing that browsers do."""
    async with serving(reach) as served:
        head = ["Host: localhost", *([f"Content-Type: {kind}"] if kind else [])]
        for target in ("POST /act", "POST /reset"):
            answer = await ask(served.url, head, b"{}", target)
            assert status(answer) == expected
            if expected == 415:
                said = orjson.loads(answer.partition(b"\r\n\r\n")[2])
                assert said["error"] == "unsupported-type"
                assert "curl -H 'Content-Type: application/json'" in said["message"]


async def test_a_key_is_enough() -> None:
    """Who has it is no page: any name, any origin and any type of body will do."""
    async with serving(reach, api_key="k") as served:
        head = ["Host: behind.example", "Origin: http://panel.example", "Content-Type: text/plain"]
        assert status(await ask(served.url, [*head, "X-Reflex-Key: k"])) == 200
        assert status(await ask(served.url, head)) == 401


async def test_further_names_are_allowed_one_by_one() -> None:
    """Behind a name, in a container or a proxy: that name is ours, and its pages are."""
    async with serving(reach, allow_hosts=("Robot7.example", "policy")) as served:
        for host, origin, expected in [
            ("robot7.example:443", None, 200),
            ("policy", None, 200),
            ("policy:8000", "https://robot7.example", 200),
            ("localhost:8000", "http://policy:3000", 200),
            ("policy.example", None, 403),
            ("policy", "http://policy.example", 403),
        ]:
            head = [f"Host: {host}", *([f"Origin: {origin}"] if origin else [])]
            assert status(await ask(served.url, head)) == expected, (host, origin)


async def test_a_server_in_the_network_goes_by_any_address_and_its_own_name() -> None:
    """An address is no name that leads elsewhere tomorrow; in a container nobody knows the one outside."""
    machine = socket.gethostname()
    async with serving(reach, host="0.0.0.0") as served:
        for host, origin, expected in [
            ("192.168.1.20:8000", None, 200),
            ("[fd00::7]:8000", None, 200),
            (f"{machine.upper()}:8000", None, 200),
            (f"{machine}.local", None, 200),
            ("localhost", None, 200),
            ("rebound.example", None, 403),
            ("192.168.1.20:8000", "http://192.168.1.20:8000", 200),
            ("192.168.1.20:8000", "http://6.6.6.6:8000", 403),
        ]:
            head = [f"Host: {host}", *([f"Origin: {origin}"] if origin else [])]
            assert status(await ask(served.url, head)) == expected, (host, origin)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "robot7"])
def test_what_is_no_name_is_nobody(host: str) -> None:
    """Whatever the server listens on; and an address may be allowed as a name is."""
    callers = Callers.of(host, ["FD00::7"])
    for sent in (b"", b"user@" + host.encode(), b"a b", b"[::1", b"evil.example"):
        with pytest.raises(Refusal, match="none of its names"):
            callers.check([(b"host", sent)])
    for sent in (b"[::1]:80", b"[fd00::7]:8000", b"10.1.2.3", host.encode() or b"localhost"):
        if b":" not in sent or sent.startswith(b"["):
            callers.check([(b"host", sent)])
    callers.check([(b"host", b"localhost"), (b"origin", b"http://[fd00::7]:3000")])
    with pytest.raises(ConfigurationError, match="no name of a host"):
        Callers.of(host, ["a name"])


async def test_http_1_0_may_leave_out_its_host() -> None:
    """Probes do; browsers do not speak it."""
    async with serving(reach) as served:
        port = int(served.url.rsplit(":", 1)[1])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET /health HTTP/1.0\r\n\r\n")
            assert status(b"".join([data async for data in stream])) == 200
