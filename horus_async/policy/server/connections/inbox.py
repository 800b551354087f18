"""What a connection has for its application, and nobody waits for who has stopped reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import h11
import trio
from hypercorn.trio.task_group import TaskGroup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config
    from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent
    from hypercorn.typing import Scope as HypercornScope


class Inbox:
    """The events of one request or WebSocket, a few at a time.

    Hypercorn has the application itself bring the last one, the disconnect, at the end of its answer, and waits until
    there is a place for it. Where the application has left parts of a body unread, that would be for ever.
    """

    def __init__(self, kind: str, places: int) -> None:
        self._into, self._out = trio.open_memory_channel[Any](places)
        self._disconnect = {"type": f"{kind}.disconnect"}

    async def put(self, event: ASGIReceiveEvent) -> None:
        """Bring an event: a part of a body as soon as there is a place for it, a disconnect at once."""
        try:
            if event["type"] == self._disconnect["type"]:
                self._into.send_nowait(event)
            else:
                await self._into.send(event)
        except trio.WouldBlock:
            self.close()
        except trio.BrokenResourceError:
            pass

    async def receive(self) -> ASGIReceiveEvent:
        """The next event."""
        try:
            return cast("ASGIReceiveEvent", await self._out.receive())
        except trio.ClosedResourceError:
            return cast("ASGIReceiveEvent", self._disconnect)

    def close(self) -> None:
        """Nothing is read any more: what is brought is dropped."""
        self._out.close()


class Tasks(TaskGroup):
    """The tasks of one connection."""

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: HypercornScope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the application for one request or WebSocket; returns what brings it events."""
        inbox = Inbox(scope["type"], config.max_app_queue_size)
        self.spawn(_run, app, config, scope, inbox, send)
        return inbox.put


async def _run(
    app: AppWrapper,
    config: Config,
    scope: HypercornScope,
    inbox: Inbox,
    send: Callable[[ASGISendEvent | None], Awaitable[None]],
) -> None:
    try:
        await app(scope, inbox.receive, send, trio.to_thread.run_sync, trio.from_thread.run)
    # The client broke the protocol, by frames before the end of the handshake for one: the connection ends below.
    except* h11.LocalProtocolError:
        pass
    # Whatever happens, one request has failed and no other. What is cancelled is none of these.
    except* Exception:  # noqa: BLE001 - it is logged
        await config.log.exception("the application failed")
    finally:
        inbox.close()
    await send(None)
