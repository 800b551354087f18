"""``horus-async top``: nodes, topics and processes of a namespace, as they go."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from horus_async.cli.support.errors import clear_errors
from horus_async.cli.support.in_order import ended_in_order
from horus_async.cli.support.render import print_json
from horus_async.cli.support.shared_memory import other_users
from horus_async.cli.terminal.options import JSON, NAMESPACE
from horus_async.cli.terminal.table import print_table
from horus_async.cli.terminal.text import tell
from horus_async.clock.system import NANOSECONDS, clock_face, monotonic_ns, sleep_until_monotonic
from horus_async.topics import check_namespace, default_namespace

from .look import Look, as_dict
from .looker import Looker

if TYPE_CHECKING:
    from horus_async.cli.terminal.keyboard import Keyboard

    from .screen import View

INTERVAL = 0.5
"""Seconds between two looks; more where answering takes a run too much of its time."""
_MOST = 10.0
_COST, _LITTLE = 0.8, 0.2
"""Part of a run's time, %."""
_ANSWER = 1.0
_KEY_SECONDS = 0.25


@click.command()
@click.option("--once", is_flag=True, help="Print it once, for the last half second.")
@NAMESPACE
@JSON
def top(*, once: bool, namespace: str | None, as_json: bool) -> None:
    """Show nodes, topics, processes and the newest anomalies of all that runs in a namespace.

    Keys: q quits, p pauses, s sorts by name, rate, load or trouble, r reverses, / filters, Tab shows one table alone.
    With --json, and where standard output is no terminal, it is printed once.

    Example: horus-async top --once
    """
    with clear_errors(), ended_in_order():
        name = check_namespace(default_namespace() if namespace is None else namespace)
        with Looker(name) as looker:
            if once or as_json or not _can_draw():
                _once(looker, as_json=as_json)
            else:
                _go_on(looker)


def _can_draw() -> bool:
    if not sys.stdout.isatty():
        return False
    from rich.console import Console

    return not Console(file=sys.stdout).is_dumb_terminal


def _once(looker: Looker, *, as_json: bool) -> None:
    looker.ask()
    looker.wait(_ANSWER)
    looker.look()
    began_ns = monotonic_ns()
    sleep_until_monotonic(began_ns + round(INTERVAL * NANOSECONDS))
    looker.ask()
    looker.wait(_ANSWER)
    look = looker.look()
    if as_json:
        print_json(as_dict(look))
    else:
        _print(look)


def _print(look: Look) -> None:
    tell(f"namespace {look.namespace} at {clock_face(look.at_ns)}")
    if not look.topics and not look.nodes:
        others = other_users()
        tell(f"nothing runs in namespace {look.namespace!r}{f'; {others}' if others else ''}", err=True)
    tell()
    columns = ("node", "Hz", "of", "mean µs", "max µs", "misses", "errors", "lost", "state", "run", "process")
    rows = [
        (n.node, n.rate, n.wanted, n.mean_us, n.max_us, n.misses, n.errors, n.lost, n.state, n.run, n.pid)
        for n in sorted(look.nodes, key=lambda row: (row.run, row.pid, row.node))
    ]
    print_table(columns, rows)
    tell()
    print_table(
        ("topic", "Hz", "bytes/s", "messages", "state", "publishers"),
        [
            (t.topic, t.rate, t.bytes_per_second, t.messages, t.state, ", ".join(t.publishers) or "-")
            for t in look.topics
        ],
    )
    tell()
    print_table(
        ("process", "CPU %", "MiB", "nodes", "topics", "program"),
        [
            (p.pid, p.cpu, None if p.memory is None else p.memory / 2**20, p.nodes, p.topics, p.program or p.state)
            for p in look.processes
        ],
    )
    if look.anomalies:
        tell()
        print_table(
            ("anomaly", "node", "times", "at", "what"),
            [(a.kind, a.node or a.run, a.count, clock_face(a.now_ns)[:12], a.text) for a in look.anomalies],
        )
    for note in look.notes:
        tell(f"note: {note}", err=True)


def _go_on(looker: Looker) -> None:
    from rich.console import Console
    from rich.live import Live

    from horus_async.cli.terminal.keyboard import Keyboard

    from .screen import View, frame

    view, keyboard = View(), Keyboard()
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    looker.ask()
    looker.wait(INTERVAL)
    look = looker.look()
    interval, next_ns = INTERVAL, monotonic_ns()
    with keyboard.attended(), live:
        while not view.quit:
            now_ns = monotonic_ns()
            if now_ns >= next_ns and not view.paused:
                look = looker.look()
                interval = paced(interval, look.cost)
                looker.ask()
                next_ns = now_ns + round(interval * NANOSECONDS)
            if keyboard.stop_asked:
                keyboard.stop(live.stop, lambda: live.start(refresh=False))
            width, height = console.size
            live.update(frame(look, view, width, height), refresh=True)
            _press(keyboard, view)


def _press(keyboard: Keyboard, view: View) -> None:
    for key in keyboard.keys(_KEY_SECONDS):
        view.press(key)


def paced(interval: float, cost: float) -> float:
    """How long to wait for the next look, so that it takes no run more than 1 % of its time."""
    if cost > _COST:
        return min(_MOST, interval * 2)
    return max(INTERVAL, interval / 2) if cost < _LITTLE else interval
