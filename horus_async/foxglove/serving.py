"""A server for viewers from its first client to its last: of running robots, or of a session."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio
from attrs import field, frozen
from foxglove.websocket import Capability

from horus_async.remote.client import Client

from .asking import Asking, LiveListener
from .live import Live
from .outlets import recorded
from .playback import Playback, PlaybackListener, Player
from .recording import Recording
from .server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.recorder.messages import RecordedMessage
    from horus_async.recorder.read.session import Session


@frozen
class Served:
    """What became of the messages."""

    shown: int
    """Sent to viewers."""
    lost: Counter[str] = field(factory=Counter)
    """Overwritten before they were read, by topic."""
    unread: Counter[str] = field(factory=Counter)
    """Those that cannot be read, by topic."""


async def serve_live(namespace: str, host: str, port: int, begun: Callable[[str], object], stop: trio.Event) -> Served:
    """Show viewers what the programs of a namespace publish, until ``stop`` is set.

    Args:
        namespace: Its name.
        host: The address to listen at.
        port: 0 for any that is free.
        begun: Told the address as viewers want it.
        stop: Ends it.

    Raises:
        HorusError: It cannot listen there, or the namespace cannot be read.
    """
    nodes = Client(namespace)
    listener = LiveListener(trio.lowlevel.current_trio_token(), nodes)
    capabilities = (Capability.ConnectionGraph, Capability.Parameters, Capability.Services)
    with Server(f"horus-async {namespace}", host, port, listener, capabilities=capabilities) as server:
        listener.server = server
        live = Live(namespace, server)
        listener.changed = live.watched
        begun(server.url)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live.run)
            nursery.start_soon(Asking(namespace, nodes, server, listener).run)
            await stop.wait()
            nursery.cancel_scope.cancel()
        return Served(server.outlets.count, live.lost, live.unread)


async def serve_session(
    session: Session, host: str, port: int, begun: Callable[[str], object], stop: trio.Event
) -> Served:
    """Play a session to viewers, as they ask for it, until ``stop`` is set.

    Raises:
        HorusError: It cannot listen there.
        RecordingError: The session has no message.
    """
    recording = Recording(session)
    player = Player(recording.span)
    listener = PlaybackListener(trio.lowlevel.current_trio_token(), player)
    capabilities = (Capability.PlaybackControl, Capability.Time)
    title = f"horus-async {session.name}"
    with Server(title, host, port, listener, capabilities=capabilities, span=recording.span) as server:
        playback = Playback(recording, player, server)
        listener.changed, listener.woken = playback.watched, playback.woken
        begun(server.url)

        def offer(message: RecordedMessage) -> None:
            listener.soon(lambda: server.outlets.of(message.topic).offer(recorded(message)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(playback.run)
            nursery.start_soon(lambda: trio.to_thread.run_sync(recording.survey, offer, abandon_on_cancel=True))
            await stop.wait()
            nursery.cancel_scope.cancel()
        return Served(server.outlets.count)
