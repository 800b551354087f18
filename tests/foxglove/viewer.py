"""A viewer: a plain WebSocket client that speaks the protocol of the Foxglove SDK."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.engine.programs import environment

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from websockets.sync.client import ClientConnection

PATIENCE = 60.0
_SUBPROTOCOL = Subprotocol("foxglove.sdk.v1")
_MESSAGE, _TIME, _REPLY, _STATE = 1, 2, 3, 5


class Heard(NamedTuple):
    """A message of a topic."""

    time_ns: int
    data: bytes


class Viewer:
    """Watches all topics, or some, as soon as it hears of them."""

    def __init__(self, socket: ClientConnection, watches: Callable[[str], bool]) -> None:
        self._socket = socket
        self._watches = watches
        self.channels: dict[str, dict[str, Any]] = {}
        """What was said last of each topic."""
        self.heard: dict[str, list[Heard]] = defaultdict(list)
        self.said: list[dict[str, Any]] = []
        """All else that came as text."""
        self.replies: list[Any] = []
        self.states: list[tuple[int, int, float]] = []
        """Of a playback: status, time and speed."""
        self._topics: dict[int, str] = {}

    def send(self, **said: Any) -> None:
        """Send a message of the protocol."""
        self._socket.send(json.dumps(said))

    def call(self, service: int, payload: Any) -> None:
        """Call a service by its number."""
        self._socket.send(b"\x02" + struct.pack("<III", service, 7, 4) + b"json" + json.dumps(payload).encode())

    def control(self, *, play: bool, speed: float = 1.0, seek: int | None = None) -> None:
        """Ask for a playback."""
        asked = struct.pack("<BfBQI", not play, speed, seek is not None, seek or 0, 1)
        self._socket.send(b"\x03" + asked + b"r")

    def until(self, done: Callable[[Viewer], object]) -> None:
        """Listen until something is so."""
        while not done(self):
            self._take(self._socket.recv(timeout=PATIENCE))

    def of(self, op: str) -> list[dict[str, Any]]:
        """What came of one kind."""
        return [said for said in self.said if said["op"] == op]

    def _take(self, came: str | bytes) -> None:
        if isinstance(came, str):
            self._take_text(json.loads(came))
        elif came[0] == _MESSAGE:
            number, time_ns = struct.unpack_from("<IQ", came, 1)
            self.heard[self._topics[number]].append(Heard(time_ns, came[13:]))
        elif came[0] == _REPLY:
            length = struct.unpack_from("<I", came, 9)[0]
            self.replies.append(json.loads(came[13 + length :]))
        elif came[0] == _STATE:
            self.states.append(struct.unpack_from("<BQf", came, 1))
        else:
            assert came[0] == _TIME

    def _take_text(self, said: dict[str, Any]) -> None:
        if said.get("message", "").startswith("Unknown channel ID: "):  # the SDK advertised it a moment too early
            self._subscribe(int(said["message"].rpartition(" ")[2]))
            return
        if said["op"] != "advertise":
            self.said.append(said)
            return
        for channel in said["channels"]:
            self.channels[channel["topic"]] = channel
            self._topics[channel["id"]] = channel["topic"]
            if self._watches(channel["topic"]):
                self._subscribe(channel["id"])

    def _subscribe(self, number: int) -> None:
        if self._topics[number] in self.channels and self.channels[self._topics[number]]["id"] == number:
            self.send(op="subscribe", subscriptions=[{"id": number, "channelId": number}])


def _any(topic: str) -> bool:
    del topic
    return True


@contextmanager
def viewer(url: str, watches: Callable[[str], bool] = _any) -> Iterator[Viewer]:
    """Connected, with what it hears of the server."""
    with connect(url, subprotocols=[_SUBPROTOCOL], max_size=None, open_timeout=PATIENCE) as socket:
        yield Viewer(socket, watches)


@contextmanager
def server(*arguments: str, ends_with: signal.Signals) -> Iterator[tuple[str, dict[str, Any]]]:
    """``horus-async foxglove``: where it serves, and a dict for what it said at its end."""
    command = [sys.executable, "-m", "horus_async", "foxglove", "--port", "0", "--json", *arguments]
    summary: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1].decode()
            yield json.loads(line)["url"], summary
        finally:
            process.send_signal(ends_with)
            out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + ends_with, err.decode()
    assert b"Traceback" not in err, err.decode()
    summary.update(json.loads(out))
