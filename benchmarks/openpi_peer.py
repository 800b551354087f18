"""The least that speaks openpi's protocol: a Starlette WebSocket that decodes observations and answers a chunk."""

from __future__ import annotations

import socket

import numpy
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from horus_async.policy.model.wire import pack, unpack

CHUNK = numpy.arange(50 * 8, dtype="float32").reshape(50, 8)


async def echo(websocket: WebSocket) -> None:
    """Answer each observation with actions that nobody computed."""
    await websocket.accept()
    await websocket.send_bytes(pack({}))
    try:
        while True:
            observation = unpack(await websocket.receive_bytes())
            assert observation["observation/image"].shape == (224, 224, 3)
            await websocket.send_bytes(pack({"actions": CHUNK}))
    except WebSocketDisconnect:
        pass


async def main() -> None:
    """Serve on a free port, and print where."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    await serve(Starlette(routes=[WebSocketRoute("/", echo)]), config)  # type: ignore[arg-type]


if __name__ == "__main__":
    trio.run(main)
