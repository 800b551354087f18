"""``horus-async topic``: watch, measure and write the topics of running programs."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs
import click
import orjson

from horus_async.clock.system import NANOSECONDS, clock_face, monotonic_ns, sleep_until_monotonic, wall_ns
from horus_async.errors import MessageDecodeError, TopicError
from horus_async.hints.installed import command
from horus_async.spelling import did_you_mean, printable_json
from horus_async.topics import Bus, check_namespace, check_topic_name, default_namespace
from horus_async.topics.codec import encode, to_json
from horus_async.topics.external.leftovers import reclaim
from horus_async.topics.inspection import rings, survey
from horus_async.topics.keeping.keep import KEEP_LIMIT

from .asking.readers import UNKNOWN, read_by
from .support.errors import prints_no_data
from .support.in_order import OrderedGroup
from .support.render import print_json
from .support.shared_memory import other_users
from .support.typed import parse_message
from .support.windows import LOOK_NS, windows
from .terminal import completion
from .terminal.options import JSON, NAMESPACE
from .terminal.table import fold, print_table
from .terminal.text import styled, tell, tell_lines
from .values.described import class_of, payload_for
from .values.plain import field_of, plain, type_of
from .values.yaml_text import yaml_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.topics.inspection import RingInfo
    from horus_async.topics.ring.region import Taken
    from horus_async.topics.values.payload import Payload

_WINDOW = click.option(
    "--window", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, help="Seconds per window."
)
_WINDOWS = click.option("-n", "--number", type=click.IntRange(1), help="Stop after this many windows.")


@click.group(cls=OrderedGroup)
def topic() -> None:
    """Watch, measure and write topics of running programs, deterministic and replayed ones included.

    Example: horus-async topic echo arm.joints -n 3
    """


@topic.command("list")
@NAMESPACE
@JSON
def list_(*, namespace: str | None, as_json: bool) -> None:
    """All topics, who publishes and who reads them, and what they take.

    A reader is a node that says so, or a process that has the topic's memory open.

    Example: horus-async topic list
    """
    namespace = _namespace(namespace)
    found, left_out = survey(namespace)
    for left in left_out:
        tell(f"not read: {left.title}: {left.reason}", err=True)
    readers = read_by(namespace, found)
    if as_json:
        print_json([{**_ring_as_dict(ring), "readers": readers.named(ring.topic)} for ring in found])
        return
    if not found and (hint := other_users()):
        tell(hint, err=True)
    rows = [
        (
            ring.topic,
            ", ".join(ring.publishers) or "-",
            ring.pid,
            ", ".join(readers.named(ring.topic)) or "-",
            ring.messages,
            ring.memory // 1024,
            _state(ring),
        )
        for ring in found
    ]
    print_table(("topic", "publishers", "process", "readers", "messages", "KiB", "state"), rows)


@topic.command()
@click.argument("name", shell_complete=completion.topic)
@NAMESPACE
@JSON
def info(name: str, *, namespace: str | None, as_json: bool) -> None:
    """One topic: its rings, their publishers, its readers, and the newest message. Exit code 2 if nobody publishes it.

    Example: horus-async topic info arm.joints
    """
    namespace = _namespace(namespace)
    check_topic_name(name)
    there = rings(namespace)
    found = [ring for ring in there if ring.topic == name]
    if not found:
        meant = did_you_mean(name, {ring.topic for ring in there})
        advice = meant or f"; {other_users() or 'see ' + command('topic list')}"
        raise TopicError(f"nobody publishes topic {name!r} in namespace {namespace!r}{advice}")
    readers = read_by(namespace, there)
    with Bus(namespace, from_start=False) as bus:
        newest = bus.subscriber(name).latest()
    message, unread = None, ""
    if newest is not None:
        try:
            message = _as_dict(newest)
        except TopicError as error:
            unread = _not_read(newest, error)
            tell(unread, err=True)
    if as_json:
        shown = [_ring_as_dict(ring) for ring in found]
        about = {"topic": name, "namespace": namespace, "rings": shown, "readers": readers.named(name)}
        print_json({**about, "newest": message})
        return
    tell(f"topic     {name}")
    tell(f"namespace {namespace}")
    for ring in found:
        keeps = f"keeps the last {ring.keep} for late readers, " if ring.keep else ""
        text = (
            f"ring      process {ring.pid}, {_state(ring)}, {keeps}since {clock_face(ring.started_ns)}: "
            f"{ring.messages} messages, capacity {ring.capacity} bytes, "
            f"publishers {', '.join(ring.publishers) or 'none'}"
        )
        tell_lines(fold(text, indent=10))
        for schema in ring.schemas:
            text = f"type      {schema.record.name}: {schema.record.describe() or 'no fields'}"
            tell_lines(fold(text, indent=10))
    text = f"readers   {', '.join(readers.named(name)) or 'none'}{'' if readers.complete else f'; {UNKNOWN}'}"
    tell_lines(fold(text, indent=10))
    if newest is not None and not unread:
        _tell_message(newest, "newest    ")


def _hint(name: str, namespace: str) -> None:
    """Say that nobody publishes this topic, and which may be meant, or that there are topics of other users."""
    check_topic_name(name)
    known = {ring.topic for ring in rings(namespace)}
    if name not in known:
        others = other_users()
        hint = did_you_mean(name, known) or (others and f"; {others}") or ": waiting for it"
        tell(f"nobody publishes topic {name!r} yet{hint}", err=True)


@topic.command()
@click.argument("name", shell_complete=completion.topic)
@click.option("-n", "--number", type=click.IntRange(1), help="Stop after this many messages.")
@click.option("--field", metavar="A.B", help="Print this field alone; numbers are places in lists.")
@click.option("--full", is_flag=True, help="Print long lists, arrays and texts in full.")
@NAMESPACE
@JSON
def echo(name: str, *, number: int | None, field: str | None, full: bool, namespace: str | None, as_json: bool) -> None:
    """Print messages as they come, as YAML, until Ctrl-C. Standard error says how many came too fast to be printed.

    What publishers keep for late readers is printed first. JSON (--json) is never shortened.

    Example: horus-async topic echo arm.joints -n 3 --field position.0
    """
    namespace = _namespace(namespace)
    _hint(name, namespace)
    with Bus(namespace, from_start=False) as bus:
        subscriber = bus.subscriber(name)
        count = lost = 0
        while count != number:
            message = subscriber.take()
            if message is None:
                sleep_until_monotonic(monotonic_ns() + LOOK_NS)
                continue
            if subscriber.lost > lost:
                tell(f"{subscriber.lost - lost} messages lost: they came too fast", err=True)
                lost = subscriber.lost
            try:
                shown = _as_dict(message)
            except TopicError as error:
                tell(_not_read(message, error), err=True)
                continue
            if field is not None:
                shown["value"] = field_of(shown["value"], field)
            if as_json:
                print_json(shown)
            else:
                tell_lines(_as_yaml(shown, full=full))
            count += 1


@topic.command()
@click.argument("name", shell_complete=completion.topic)
@_WINDOW
@_WINDOWS
@NAMESPACE
@JSON
def hz(name: str, *, window: float, number: int | None, namespace: str | None, as_json: bool) -> None:
    """How often messages come: the mean rate, and the shortest and longest gap by their time stamps.

    Messages that came too fast to be looked at count too, and are shown as lost.

    Example: horus-async topic hz arm.joints --window 5
    """
    namespace = _namespace(namespace)
    _hint(name, namespace)
    for seen in windows(name, namespace, window, number):
        gaps = [(later - earlier) / 1e6 for (earlier, _), (later, _) in pairwise(seen.messages)]
        rate = seen.count / seen.seconds
        least, most = (min(gaps), max(gaps)) if gaps else (None, None)
        if as_json:
            shown = {"hz": rate, "messages": seen.count, "lost": seen.lost}
            print_json({**shown, "shortest_gap_ms": least, "longest_gap_ms": most})
        elif gaps:
            tell(f"{rate:.2f} Hz, gaps {least:.3f} to {most:.3f} ms ({seen})")
        else:
            tell(f"{rate:.2f} Hz ({seen})")


@topic.command()
@click.argument("name", shell_complete=completion.topic)
@_WINDOW
@_WINDOWS
@NAMESPACE
@JSON
def bw(name: str, *, window: float, number: int | None, namespace: str | None, as_json: bool) -> None:
    """How many bytes of messages come per second. Lost messages count with the mean size of the others.

    Example: horus-async topic bw camera.image
    """
    namespace = _namespace(namespace)
    _hint(name, namespace)
    for seen in windows(name, namespace, window, number):
        mean = sum(size for _, size in seen.messages) / len(seen.messages) if seen.messages else None
        speed = seen.count * (mean or 0) / seen.seconds
        if as_json:
            print_json({"bytes_per_second": speed, "messages": seen.count, "lost": seen.lost, "mean_bytes": mean})
        else:
            each = "" if mean is None else f", {mean:.0f} bytes each"
            tell(f"{speed / 1e6:.6f} MB/s ({seen}{each})")


@topic.command(context_settings={"ignore_unknown_options": True})  # -1 is a value
@click.argument("name", shell_complete=completion.topic)
@click.argument("value", metavar="JSON")
@click.option("-r", "--rate", type=click.FloatRange(min=0, min_open=True), help="Messages per second; default 1.")
@click.option("-n", "--count", type=click.IntRange(1), help="How many messages; default 1; with --rate until Ctrl-C.")
@click.option(
    "--type",
    "kind",
    metavar="CLASS",
    help="Send an object of it: module.Class, or a class of horus_async.messages. Default: what the topic has.",
)
@click.option("--untyped", is_flag=True, help="Send the value as it is, whatever class the topic has.")
@click.option(
    "--keep",
    type=click.IntRange(1, KEEP_LIMIT),
    metavar="N",
    help="Late readers first get the last N messages, while other processes take part in the namespace.",
)
@NAMESPACE
def pub(
    name: str,
    value: str,
    *,
    rate: float | None,
    count: int | None,
    kind: str | None,
    untyped: bool,
    keep: int | None,
    namespace: str | None,
) -> None:
    """Send a value; on a topic that has messages of one class, an object of that class.

    Example: horus-async topic pub cmd_vel '{"linear": 0.5}' --type CmdVel -r 10 -n 50
    """
    if untyped and kind is not None:
        raise click.UsageError("--untyped and --type: give one of them")
    message = parse_message(value, kind)
    namespace = _namespace(namespace)
    check_topic_name(name)
    payload: Payload | None = None
    if kind is None and not untyped and (described := class_of(rings(namespace), name)) is not None:
        payload = payload_for(described, message, name)
    if count is None:
        count = 1 if rate is None else None
    with Bus(namespace, from_start=False) as bus:
        who = f"topic-{os.getpid()}"
        if keep is not None:
            bus.keep(name, who, keep)
        publisher = bus.publisher(name, who)
        payload = encode(message, publisher.forms) if payload is None else payload
        start, sent = monotonic_ns(), 0
        while True:
            publisher.publish(payload, wall_ns(), None, monotonic_ns())
            sent += 1
            if sent == count:
                return
            sleep_until_monotonic(start + round(sent * NANOSECONDS / (rate or 1)))


@topic.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@NAMESPACE
@JSON
def clean(*, dry_run: bool, namespace: str | None, as_json: bool) -> None:
    """Remove the memory that dead processes left behind, kept messages included. Live ones keep theirs.

    Example: horus-async topic clean --dry-run
    """
    prints_no_data(unless=as_json or dry_run)
    removed = reclaim(_namespace(namespace), dry_run=dry_run, kept=True)
    if as_json:
        print_json({"removed": removed, "dry_run": dry_run})
        return
    for name in removed:
        tell(name)
    tell(f"{len(removed)} files {'would be' if dry_run else 'were'} removed")


def _namespace(given: str | None) -> str:
    return check_namespace(default_namespace() if given is None else given)


def _state(ring: RingInfo) -> str:
    if ring.live:
        return "live"
    return "kept" if ring.keep else "left over"


def _ring_as_dict(ring: RingInfo) -> dict[str, Any]:
    fields = attrs.asdict(ring, recurse=False)
    return {**fields, "schemas": [orjson.loads(schema.text) for schema in ring.schemas]}


def _as_dict(message: Taken) -> dict[str, Any]:
    payload, publisher, seq, stamp_ns = message
    return {"stamp_ns": stamp_ns, "publisher": publisher, "seq": seq, "value": _loaded(to_json(payload))}


def _as_yaml(shown: dict[str, Any], *, full: bool) -> Iterator[str]:
    yield "---"
    value, kind = shown["value"], type_of(shown["value"])
    about = {"stamp": clock_face(shown["stamp_ns"]), "publisher": shown["publisher"], "seq": shown["seq"]}
    yield from yaml_lines({**about, **({} if kind is None else {"type": kind}), "value": plain(value, full=full)})


def _loaded(text: bytes) -> Any:
    """The JSON value of a message.

    Raises:
        MessageDecodeError: it is none, whoever sent it.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MessageDecodeError(f"a message that is not JSON: {error}; it begins with {text[:40]!r}") from error


def _not_read(message: Taken, error: TopicError) -> str:
    return f"not read: message {message[2]} of {message[1]!a}: {error}"


def _tell_message(message: Taken, start: str = "") -> None:
    payload, publisher, seq, stamp_ns = message
    face = styled(f"[{clock_face(stamp_ns)}]", fg="cyan")
    text = to_json(payload)
    _loaded(text)
    tell(start, face, f" {publisher} #{seq}: {printable_json(text.decode())}")
