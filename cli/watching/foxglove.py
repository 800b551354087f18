"""``horus-async foxglove``: running robots and recorded sessions in Foxglove and other viewers."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from horus_async.cli.support.errors import USAGE, fail
from horus_async.cli.support.render import print_json
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.options import JSON, NAMESPACE
from horus_async.cli.terminal.serving import EXIT_ON_SIGNAL, until_signal
from horus_async.cli.terminal.text import tell
from horus_async.hints.installed import install
from horus_async.topics import check_namespace, default_namespace

if TYPE_CHECKING:
    from horus_async.foxglove.serving import Served

_SWITCH_SECONDS = 0.0005
"""What is sent on waits no longer than this for a thread that asks nodes."""


@click.command()
@click.argument("session", required=False, shell_complete=completion.session)
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any that is free.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address to listen at; who reaches it may read all."
)
@NAMESPACE
@JSON
def foxglove(session: str | None, *, port: int, host: str, namespace: str | None, as_json: bool) -> None:
    """Show running robots, or SESSION, to Foxglove, Lichtblick or PlotJuggler, until Ctrl-C.

    Of running robots: their topics, the graph of nodes, parameters, which can be set, and services, which can be
    called. Of a session: its messages, with play, pause, seek and speed. Only topics that a viewer watches are read,
    and a viewer that is too slow loses the oldest messages; a robot never waits for one.

    Ends with exit code 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP.

    Example: horus-async foxglove

    Example: horus-async foxglove drive --port 0
    """
    try:
        from horus_async.foxglove import serving
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("horus_async"):
            raise
        fail(f"showing robots to viewers needs {error.name}: {install('foxglove')}", USAGE)
    if session is None:
        chosen = check_namespace(default_namespace() if namespace is None else namespace)
        serve = partial(serving.serve_live, chosen, host, port)
    else:
        if namespace is not None:
            raise click.UsageError("--namespace is of running robots: give it or SESSION")
        from horus_async.recorder import open_session

        serve = partial(serving.serve_session, open_session(session), host, port)
    sys.setswitchinterval(_SWITCH_SECONDS)
    number, served = until_signal(partial(serve, partial(_say_where, as_json=as_json)))
    if served is not None:
        _say_what(served, as_json=as_json)
    if number is not None:
        raise SystemExit(EXIT_ON_SIGNAL + number)


def _say_where(url: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"url": url})
    else:
        tell(f"serving at {url}: open it as a Foxglove WebSocket connection; Ctrl-C ends it")


def _say_what(served: Served, *, as_json: bool) -> None:
    if as_json:
        print_json({"shown": served.shown, "lost": dict(served.lost), "unread": dict(served.unread)})
        return
    tell(f"{served.shown} messages were shown")
    for topic, count in sorted(served.lost.items()):
        tell(f"{topic}: {count} messages came too fast", err=True)
    for topic, count in sorted(served.unread.items()):
        tell(f"{topic}: {count} messages could not be read", err=True)
