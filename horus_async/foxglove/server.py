"""The server: the SDK's own, in threads of its own, and what it tells us of its clients."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import foxglove
import trio
from foxglove.websocket import Capability, ServerListener

from horus_async.errors import HorusError

from .outlets import Outlets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from foxglove.websocket import ChannelView, Client

BACKLOG = 1024
"""Messages that wait for a client that is slow; then its oldest are dropped."""


class Listener(ServerListener):
    """Hears in the SDK's threads which topics are watched, and says so in the event loop's.

    Args:
        token: Of the event loop.
    """

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self.changed: Callable[[str, bool], object] = _ignore
        """Told what viewers call a topic, and whether somebody begins to watch it, or nobody watches it any more."""
        self._watching: dict[str, set[tuple[int, int]]] = {}

    def on_subscribe(self, client: Client, channel: ChannelView) -> None:
        """A client watches a channel."""
        self.soon(self._subscribed, channel.topic, (client.id, channel.id))

    def on_unsubscribe(self, client: Client, channel: ChannelView) -> None:
        """A client, perhaps one that has gone, watches it no longer."""
        self.soon(self._unsubscribed, channel.topic, (client.id, channel.id))

    def soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function in the event loop; nothing once that has ended."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function, *arguments)

    def _subscribed(self, name: str, who: tuple[int, int]) -> None:
        self._watching.setdefault(name, set()).add(who)
        self.changed(name, True)  # each time, as a new channel of the name may be there before the old one has gone

    def _unsubscribed(self, name: str, who: tuple[int, int]) -> None:
        watching = self._watching.get(name, set())
        watching.discard(who)
        if not watching and self._watching.pop(name, None) is not None:
            self.changed(name, False)


def _ignore(name: str, is_watched: bool) -> None:  # noqa: FBT001 - as it is called
    del name, is_watched


class Server:
    """A server on an address of this machine, with its topics, as a context.

    Args:
        name: What viewers call the source.
        host: The address.
        port: 0 for any that is free.
        listener: What hears of clients.
        capabilities: What clients may do.
        span: Of a session: the times of its first and last message, in nanoseconds since 1970.

    Raises:
        HorusError: It cannot listen there.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        listener: Listener,
        *,
        capabilities: Sequence[Capability],
        span: tuple[int, int] | None = None,
    ) -> None:
        context = foxglove.Context()
        self.outlets = Outlets(context)
        try:
            self.sdk = foxglove.start_server(
                name=name,
                host=host,
                port=port,
                capabilities=[*capabilities],
                server_listener=listener,
                supported_encodings=["json"],
                context=context,
                playback_time_range=span,
                message_backlog_size=BACKLOG,
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise HorusError(f"cannot serve viewers at {host}:{port}: {error}; --port 0 takes any free port") from None
        self.url = f"ws://{host}:{self.sdk.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.outlets.close()
        self.sdk.stop()
