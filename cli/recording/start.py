"""``horus-async record start``: record what runs, from outside."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from horus_async.cli.support.errors import FOUND, fail, prints_no_data
from horus_async.cli.support.render import print_json
from horus_async.cli.support.shared_memory import other_users
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.options import NAMESPACE
from horus_async.cli.terminal.states import say
from horus_async.cli.terminal.text import tell
from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic
from horus_async.hints.installed import command
from horus_async.recorder.options import RecordingOptions
from horus_async.recorder.read.listing import delete_session
from horus_async.recorder.running.session import OVERWRITTEN, RunningSession
from horus_async.topics import check_namespace, default_namespace
from horus_async.topics.external.notices import ring_title

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from types import FrameType

    from horus_async.recorder.running.session import Heeded

_MEMORY_MB = 256
_SWITCH_SECONDS = 0.001
"""Who reads waits for who writes no longer than this: a ring of 1 MiB holds 10 ms of 100 MB/s."""
_MB = 1 << 20
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MOST_NAMED = 10


@click.command("start")
@click.argument("name")
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="GLOB",
    shell_complete=completion.topic,
    help="Only topics like GLOB (*, ?, […]; * takes / too); may be repeated.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    shell_complete=completion.topic,
    help="Not topics like GLOB; may be repeated.",
)
@NAMESPACE
@click.option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Seconds to record. Default: until Ctrl-C.",
)
@click.option(
    "--max-mb",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MB",
    help="End when the session takes so much, in MB of 2²⁰ bytes.",
)
@click.option(
    "--memory-mb",
    type=click.FloatRange(min=1, max=1 << 20),
    default=_MEMORY_MB,
    show_default=True,
    metavar="MB",
    help="What may wait to be written before messages are dropped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was recorded as JSON.")
def start(
    name: str,
    *,
    topics: tuple[str, ...],
    exclude: tuple[str, ...],
    namespace: str | None,
    duration: float | None,
    max_mb: float | None,
    memory_mb: float,
    as_json: bool,
) -> None:
    """Record what the programs of a namespace publish, from outside, as session NAME, until Ctrl-C.

    All of their topics, or those chosen, also of programs that start later or come back. It is a session like any
    other. Deterministic runs and replays can be recorded too.

    Ctrl-C, SIGTERM and SIGHUP close the session. Exit code 0 after --duration or --max-mb, 130, 143 or 129 after a
    signal; but 1 where messages came too fast to be recorded, which is said, or a ring could not be read, or nothing
    was recorded.

    Example: horus-async record start drive --topic 'camera/*' --topic odom --exclude '*/depth'

    Example: horus-async record start minute --duration 60 --json
    """
    prints_no_data(unless=as_json)
    options = RecordingOptions(name=name, topics=topics or ("*",), exclude_topics=exclude, memory_mb=memory_mb)
    namespace = check_namespace(default_namespace() if namespace is None else namespace)
    with _ended_by_signals() as ended, _quick_to_read():
        session = RunningSession(options, namespace)
        say(f"recording namespace {namespace} as {name}: {session.path}; Ctrl-C ends it")
        watch = _Watch(session)
        reason = "failed"
        try:
            reason = _record(session, ended, watch, duration, max_mb)
        finally:
            session.finish(reason)
            watch.clear()
    _end(session, namespace, reason, as_json=as_json)
    if ended:
        raise SystemExit(128 + ended[0])


def _record(
    session: RunningSession, ended: list[int], watch: _Watch, duration: float | None, max_mb: float | None
) -> str:
    """Record until something ends it; what that was."""
    begun_ns = monotonic_ns()
    while not ended:
        pause_ns = session.step()
        now_ns = monotonic_ns()
        if watch.look(now_ns) and max_mb is not None and session.figures().bytes >= max_mb * _MB:
            return "max-mb"
        if duration is not None:
            left_ns = begun_ns + round(duration * NANOSECONDS) - now_ns
            if left_ns <= 0:
                return "duration"
            pause_ns = min(pause_ns, left_ns)
        sleep_until_monotonic(now_ns + pause_ns)
    return f"signal {signal.Signals(ended[0]).name}"


@contextmanager
def _ended_by_signals() -> Iterator[list[int]]:
    """Note the signals that are to end the recording, instead of being ended by them; the second one does it."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)
        if len(came) > 1:
            signal.signal(number, before[number])
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            sys.exit(128 + number)

    before = {int(number): signal.signal(number, note) for number in _SIGNALS}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quick_to_read() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class _Watch:
    """Says how it goes: a line that is written over once a second at a terminal, and anywhere what is lost."""

    def __init__(self, session: RunningSession) -> None:
        self._session = session
        self._next_ns = 0
        self._told: dict[str, int] = {}
        self._shown = False
        self._line = sys.stderr.isatty()

    def look(self, now_ns: int) -> bool:
        """Say it if it is time to; whether a second has passed."""
        for topic, count in self._session.lost.items():
            if count >= 2 * self._told.get(topic, 0):
                self._told[topic] = count
                self.clear()
                tell(f"lost: {count} messages of {topic} were {OVERWRITTEN}", err=True)
        if now_ns < self._next_ns:
            return False
        self._next_ns = now_ns + NANOSECONDS
        if self._line:
            self._shown = True
            sys.stderr.write(f"\r\x1b[2K{_figures(self._session.figures())}")
            sys.stderr.flush()
        return True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _figures(now: Heeded) -> str:
    return (
        f"{now.seconds:.0f} s: {now.messages} messages of {now.topics} topics, {now.bytes / _MB:.1f} MB, "
        f"{now.lost} lost, {now.dropped} dropped"
    )


def _end(session: RunningSession, namespace: str, reason: str, *, as_json: bool) -> None:
    """Say what was recorded; the exit code is 1 where that is not all that it should be."""
    found, name = session.figures(), session.path.name
    empty = not found.messages and found.whole
    if empty and not session.failure:
        delete_session(name, session.path.parent)
    unreadable = sorted(session.unreadable)
    if as_json:
        fields = {"session": None if empty else name, "path": None if empty else str(session.path), "ended_by": reason}
        counts = {"messages": found.messages, "bytes": found.bytes, "dropped": found.dropped, "seconds": found.seconds}
        print_json(
            {**fields, **counts, "topics": session.by_topic, "lost": dict(session.lost), "unreadable": unreadable}
        )
    if empty and not session.failure:
        if unreadable:
            fail(f"nothing was recorded, and no session is kept: {_unreadable(unreadable)}", FOUND)
        why = f"; {other_users()}" if other_users() else f": see {command('topic list')}"
        fail(f"nothing was recorded: no message came in namespace {namespace!r}, and no session is kept{why}", FOUND)
    if not as_json:
        tell(
            f"recorded {found.messages} messages of {len(session.by_topic)} topics in {found.seconds:.1f} s, "
            f"{found.bytes} bytes: {session.path}"
        )
    if found.whole and not session.failure and not unreadable:
        return
    missing = [f"{count} of {topic}" for topic, count in _most_first(session.lost)]
    if len(session.lost) > _MOST_NAMED:
        missing.append(f"others of {len(session.lost) - _MOST_NAMED} more topics")
    said = [f"{found.lost} messages were {OVERWRITTEN} ({', '.join(missing)})"] if found.lost else []
    said += [f"{found.dropped} messages could not be written"] if found.dropped else []
    said += [session.failure] if session.failure else []
    said += [_unreadable(unreadable)] if unreadable else []
    fail(f"recording {name} is not whole: {'; '.join(said)}; see {command(f'record check {name}')}", FOUND)


def _unreadable(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{len(names)} rings could not be read ({', '.join(map(ring_title, names[:_MOST_NAMED]))}{more})"


def _most_first(lost: Counter[str]) -> list[tuple[str, int]]:
    return lost.most_common(_MOST_NAMED)
