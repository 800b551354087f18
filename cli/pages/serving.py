"""Shows one page to this user's browser, and nothing else to nobody else."""

from __future__ import annotations

import secrets
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from horus_async.cli.terminal.text import tell
from horus_async.errors import HorusError

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"


def serve(page: bytes, *, open_browser: bool, ready: Callable[[str], None] | None = None) -> None:
    """Serve a page on a free port of this machine until Ctrl-C.

    Its address holds a secret, as every user of the machine can reach the port.

    Args:
        page: The page.
        open_browser: Whether to open it in a browser.
        ready: Told the address.

    Raises:
        HorusError: The system gives no port.
    """
    secret = secrets.token_urlsafe(16)

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "horus-async", ""

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            host = self.headers.get("Host", "").rpartition(":")[0]
            found = self.path == f"/{secret}/" and host in {HOST, "localhost"}  # no name that somebody points here
            body = page if found else b"not found\n"
            self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", f"text/{'html' if found else 'plain'}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing of each request."""

    try:
        server = ThreadingHTTPServer((HOST, 0), Handler)
    except OSError as error:
        raise HorusError(f"cannot serve the page on {HOST}: {error}; write it into a file, with --output") from error
    with server:
        server.daemon_threads = True
        address = f"http://{HOST}:{server.server_port}/{secret}/"
        tell(f"the page is at {address} until Ctrl-C")
        if ready is not None:
            ready(address)
        if open_browser and not webbrowser.open(address):
            tell("no browser could be opened here: open the address yourself", err=True)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return
