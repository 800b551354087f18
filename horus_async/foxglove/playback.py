"""A recorded session, played to viewers as they ask for it: play, pause, seek and speed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import trio
from foxglove.websocket import PlaybackCommand, PlaybackState, PlaybackStatus

from horus_async.clock.system import NANOSECONDS, monotonic_ns

from .outlets import recorded
from .server import Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from foxglove.websocket import PlaybackControlRequest

    from horus_async.recorder.messages import RecordedMessage

    from .recording import Recording
    from .server import Server

_FRAME_NS = NANOSECONDS // 30
"""How often the time is told while nothing is sent."""
_SPEEDS = 0.01, 1000.0


class Player:
    """Where a playback is, and how it goes on; asked in the SDK's threads, followed in the event loop's.

    Args:
        span: The times of the first and the last message.
    """

    def __init__(self, span: tuple[int, int]) -> None:
        self._lock = threading.Lock()
        self._first_ns, self._last_ns = span
        self._at_ns = self._first_ns
        self._since_ns: int | None = None
        """When it began to play from ``_at_ns``, by the monotonic clock; None while it pauses."""
        self._speed = 1.0
        self._ended = False
        self._sought: tuple[int, int] = 0, self._first_ns

    def control(self, request: PlaybackControlRequest) -> PlaybackState:
        """Do what a viewer asks for, and say what that comes to."""
        with self._lock:
            self._hold()
            if request.playback_speed > 0:
                self._speed = min(max(request.playback_speed, _SPEEDS[0]), _SPEEDS[1])
            if request.seek_time is not None:
                self._seek(request.seek_time)
            if request.playback_command == PlaybackCommand.Play:
                if self._ended:
                    self._seek(self._first_ns)
                self._since_ns = monotonic_ns()
            return self._state(request.seek_time is not None, request.request_id)

    def where(self) -> tuple[int, tuple[int, int], bool]:
        """The time that is shown; the number of the last seek and where that went; and whether time goes on."""
        with self._lock:
            return self._now(), self._sought, self._since_ns is not None

    def wait_ns(self, stamp_ns: int) -> int:
        """How long until that time comes, as it goes now."""
        with self._lock:
            return round((stamp_ns - self._now()) / self._speed)

    def end(self) -> PlaybackState:
        """All has been played."""
        with self._lock:
            self._since_ns, self._at_ns, self._ended = None, self._last_ns, True
            return self._state(False, None)

    def _seek(self, at_ns: int) -> None:
        self._at_ns, self._ended = min(max(at_ns, self._first_ns), self._last_ns), False
        self._sought = self._sought[0] + 1, self._at_ns

    def _now(self) -> int:
        if self._since_ns is None:
            return self._at_ns
        return min(self._at_ns + round((monotonic_ns() - self._since_ns) * self._speed), self._last_ns)

    def _hold(self) -> None:
        self._at_ns, self._since_ns = self._now(), None

    def _state(self, did_seek: bool, request_id: str | None) -> PlaybackState:  # noqa: FBT001
        if self._ended:
            status = PlaybackStatus.Ended
        else:
            status = PlaybackStatus.Paused if self._since_ns is None else PlaybackStatus.Playing
        return PlaybackState(status, self._at_ns, self._speed, did_seek, request_id)


class PlaybackListener(Listener):
    """Hears what viewers ask of the playback.

    Args:
        token: Of the event loop.
        player: Does it.
    """

    def __init__(self, token: trio.lowlevel.TrioToken, player: Player) -> None:
        super().__init__(token)
        self._player = player
        self.woken: Callable[[], object] = lambda: None
        """Called after each."""

    def on_playback_control_request(self, playback_control_request: PlaybackControlRequest) -> PlaybackState:
        """A viewer plays, pauses, seeks or sets the speed."""
        state = self._player.control(playback_control_request)
        self.soon(self.woken)
        return state


class Playback:
    """Sends the messages of a session at their times.

    Args:
        recording: Gives them, from any time on.
        player: What viewers want.
        server: Where they are.
    """

    def __init__(self, recording: Recording, player: Player, server: Server) -> None:
        self._recording = recording
        self._player = player
        self._server = server
        self._wake = trio.Event()
        self._new: set[str] = set()
        """Topics that viewers began to watch, and have seen nothing of."""

    def woken(self) -> None:
        """A viewer asked for something."""
        self._wake.set()

    def watched(self, name: str, is_watched: bool) -> None:  # noqa: FBT001 - as the listener has it
        """Viewers begin or cease to watch what they call so."""
        outlet = self._server.outlets.named(name)
        if outlet is not None and is_watched:
            self._new.add(outlet.topic)
            self.woken()

    async def run(self) -> None:
        """Until cancelled."""
        seeks, messages = -1, self._recording.messages_from(0)
        pending: RecordedMessage | None = None
        while True:
            self._wake = trio.Event()
            now_ns, sought, plays = self._player.where()
            if sought[0] != seeks:
                seeks, from_ns = sought
                messages = self._recording.messages_from(from_ns)  # time may have gone on since
                pending = next(messages, None)
                self._new = set()
                self._show_state(from_ns, ())
            elif self._new:
                topics, self._new = self._new, set()
                self._show_state(now_ns, topics)
            elif not plays:
                await self._wake.wait()
            elif pending is None:
                self._server.sdk.broadcast_playback_state(self._player.end())
            elif (wait_ns := self._player.wait_ns(pending.stamp_ns)) > 0:
                self._server.sdk.broadcast_time(now_ns)
                with trio.move_on_after(min(wait_ns, _FRAME_NS) / NANOSECONDS):
                    await self._wake.wait()
            else:
                self._show(pending)
                pending = next(messages, None)
                await trio.lowlevel.checkpoint()

    def _show_state(self, at_ns: int, topics: Collection[str]) -> None:
        """What had been sent last on topics by then; on all if none are named."""
        for message in self._recording.latest_before(at_ns, topics):
            self._show(message)
        self._server.sdk.broadcast_time(at_ns)

    def _show(self, message: RecordedMessage) -> None:
        self._server.outlets.of(message.topic).show(recorded(message))
