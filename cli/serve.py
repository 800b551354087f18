"""``horus-async serve``: a policy behind HTTP, with a trace of what it is asked."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from horus_async.errors import HorusError
from horus_async.hints.installed import install
from horus_async.policy import ImageMode, TraceOptions

from .support.errors import USAGE, fail, prints_no_data
from .terminal.logs import PrintableFormatter
from .terminal.serving import EXIT_ON_SIGNAL, until_signal
from .terminal.text import tell

if TYPE_CHECKING:
    from horus_async.policy.server.http import ServerOptions

_KEY_VARIABLE = "HORUS_API_KEY"


@click.command("serve")
@click.argument("policy")
@click.option("--record", type=click.Path(file_okay=False, path_type=Path), help="Write a trace to this folder.")
@click.option(
    "--record-images",
    type=click.Choice([mode.value for mode in ImageMode]),
    default=ImageMode.HASH_ONLY.value,
    show_default=True,
    help="What the trace keeps of camera images.",
)
@click.option("--record-no-gzip", is_flag=True, help="Write plain .jsonl.")
@click.option("--record-rotate-mb", type=float, help="Continue the session in another file at this size.")
@click.option("--record-keep", type=int, help="Delete the oldest traces in the folder beyond this number.")
@click.option("--embodiment", help="Name of the robot, for the trace. Default: the policy's.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 picks a free one.")
@click.option("--api-key", help=f"Require this key from clients.  [env var: {_KEY_VARIABLE}]")
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Without a key: clients may call the server NAME, too, and pages of NAME may ask. Repeatable.",
)
@click.option(
    "--max-body-mb", type=float, default=32.0, show_default=True, help="Largest request body, and WebSocket message."
)
@click.option(
    "--max-bodies-mb",
    type=float,
    show_default="256, or --max-body-mb if that is more",
    help="Memory that all bodies together may take, while they come and until they are answered.",
)
@click.option(
    "--max-connections", type=click.IntRange(1), default=1000, show_default=True, help="Connections open at once."
)
@click.option("--queue", type=click.IntRange(0), default=256, show_default=True, help="How many requests may wait.")
@click.option(
    "--timeout", type=float, default=30.0, show_default=True, help="Seconds a request may take, waiting included."
)
def serve(policy: str, **options: Any) -> None:
    """Serve POLICY: a folder with an ONNX export, or module:attr, or file.py:attr.

    Answers POST /act and /reset, GET /config, /health, /healthz, /metrics and /openapi.json, and openpi's clients by
    WebSocket at / and /v1/realtime/robot/openpi. The key of --api-key travels as Authorization: Bearer KEY,
    Authorization: Api-Key KEY or X-Reflex-Key: KEY. Ends with exit code 130 after Ctrl-C, 143 after SIGTERM and 129
    after SIGHUP, each time after running requests have been answered and the trace has been closed.

    Without a key only programs are served, not web pages, and only under the names and addresses of this machine; in a
    container, or behind a proxy, --allow-host adds a name. HTTP/2 is not spoken.

    Example: horus-async serve robot/policy.py:Policy --record traces --api-key KEY

    Example: horus-async serve robot/policy.py:Policy --host 0.0.0.0 --allow-host policy
    """
    prints_no_data()
    _log_to_stderr()
    received: int | None = None
    try:
        from horus_async.policy.server.telemetry import export_as_environment_says

        server_options = _server_options(options)
        export_as_environment_says()
        received = _run(policy, server_options)
    except ModuleNotFoundError as error:
        fail(f"serving needs {error.name}: {install('serve')}", USAGE)
    except (HorusError, ValueError) as error:
        fail(str(error), USAGE)
    if received is not None:
        raise SystemExit(EXIT_ON_SIGNAL + received)


def _server_options(options: dict[str, Any]) -> ServerOptions:
    from horus_async.policy.server.http import ServerOptions
    from horus_async.policy.server.service import ServiceOptions

    trace = None
    if options["record"] is not None:
        trace = TraceOptions(
            directory=options["record"],
            images=ImageMode(options["record_images"]),
            compress=not options["record_no_gzip"],
            rotate_mb=options["record_rotate_mb"],
            keep_files=options["record_keep"],
        )
    service = ServiceOptions(
        queue_limit=options["queue"],
        request_timeout=options["timeout"],
        embodiment=options["embodiment"],
        trace=trace,
    )
    bodies = {} if options["max_bodies_mb"] is None else {"max_bodies_mb": options["max_bodies_mb"]}
    return ServerOptions(
        host=options["host"],
        port=options["port"],
        # An empty one is an error, as it is on the command line: whoever sets it wants a key.
        api_key=os.environ.get(_KEY_VARIABLE) if options["api_key"] is None else options["api_key"],
        allow_hosts=options["allow_host"],
        max_body_mb=options["max_body_mb"],
        max_connections=options["max_connections"],
        **bodies,
        service=service,
    )


def _run(policy: str, options: ServerOptions) -> int | None:
    """Serve until a signal arrives, and return it. A second one does not wait for running requests."""
    import trio

    from horus_async.policy.server.http import serve_policy

    async def serve_and_say(stop: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(serve_policy, policy, options, stop=stop))
            tell(f"serving {policy} on {url}")

    return until_signal(serve_and_say)[0]


def _log_to_stderr() -> None:
    """Show the server's log, unless logging is set up already."""
    if not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        logging.getLogger("horus_async.policy.http").setLevel(logging.WARNING)
