"""What the shell completes behind TAB: sessions, nodes, topics, namespaces, programs.

Anything that cannot be found out gives nothing: nobody wants an error at the prompt.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.shell_completion import CompletionItem

from horus_async.errors import HorusError
from horus_async.spelling import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import click

    Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
    Find = Callable[[click.Context], Iterable[str]]

MOST = 500
"""How many are offered."""


def _files(incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a path itself."""
    return [CompletionItem(incomplete, type="file")]


def app(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A program, which is a file most often."""
    del ctx, param
    return _files(incomplete)


def _one_of(find: Find, *, files: bool = False, several: bool = False) -> Complete:
    """Complete one of what is found; or a path; or several between commas."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del param
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        chosen = set(before.split(","))
        found: list[str] = []
        with _silence(), suppress(HorusError, OSError):
            found = sorted({name for name in find(ctx) if name.startswith(last) and name not in chosen})
            found = [name for name in found if printable(name) == name]  # the shell prints the others as they are
        if files and not found:
            return _files(incomplete)
        return [CompletionItem(f"{before}{comma}{name}") for name in found[:MOST]]

    return complete


@contextmanager
def _silence() -> Iterator[None]:
    """Log nothing, as of a ring that cannot be read."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


def _sessions(_: click.Context) -> Iterable[str]:
    from horus_async.recorder import recordings_root
    from horus_async.recorder.naming import MANIFEST
    from horus_async.recorder.read.set_file import SET

    root = recordings_root()
    names = [path.parent.name for path in root.glob(f"*/{MANIFEST}")]
    for path in root.glob(f"*/{SET}"):
        parts = path.parent.glob(f"[!.]*/{MANIFEST}")
        names += [path.parent.name, *(f"{path.parent.name}/{part.parent.name}" for part in parts)]
    return names


def _opened(ctx: click.Context) -> Any:
    from horus_async.recorder import open_session

    return open_session(_first_argument(ctx, "session") or "")


def _first_argument(ctx: click.Context, name: str) -> Any:
    """An argument that was given; where an option is being completed, click has not come to naming the arguments."""
    return ctx.params.get(name) or next(iter(ctx.args), None)


def _nodes(ctx: click.Context) -> Iterable[str]:
    return list(_opened(ctx).nodes)


def _recorded_topics(ctx: click.Context) -> Iterable[str]:
    opened = _opened(ctx)
    return [topic for node in opened.nodes for topic in opened.output_topics(node)]


def _renames(ctx: click.Context) -> Iterable[str]:
    return [f"{topic}=" for topic in _recorded_topics(ctx)]


def _overrides(ctx: click.Context) -> Iterable[str]:
    opened = _opened(ctx)
    return [f"{node}.{topic}=" for node in opened.nodes for topic in opened.output_topics(node)]


def _topics(ctx: click.Context) -> Iterable[str]:
    from horus_async.topics import check_namespace, default_namespace
    from horus_async.topics.inspection import rings

    return [ring.topic for ring in rings(check_namespace(ctx.params.get("namespace") or default_namespace()))]


def _namespaces(_: click.Context) -> Iterable[str]:
    from horus_async.topics.ring import memory
    from horus_async.topics.ring.names import path_component

    names = [folder.name for folder in memory.root().iterdir() if next(folder.iterdir(), None) is not None]
    return [name for name in names if path_component(name) == name]


def _noted_nodes(ctx: click.Context) -> Iterable[str]:
    from horus_async.blackbox import default_blackbox_dir, newest_box, open_blackbox
    from horus_async.blackbox.reader import Filter, node_of

    path = Path(_first_argument(ctx, "path") or default_blackbox_dir())
    with open_blackbox(newest_box(path) if path.is_dir() else path) as box:
        return {name for record in box.iterate(Filter()) if (name := node_of(record.event)) is not None}


def _kinds(_: click.Context) -> Iterable[str]:
    from horus_async.blackbox.events import KINDS

    return KINDS


def _catalogued() -> Iterator[Any]:
    """What is known of all sessions, without opening one."""
    from horus_async.recorder import recordings_root
    from horus_async.recorder.catalogue.facts import Facts
    from horus_async.recorder.catalogue.store import Store, is_there

    root = recordings_root()
    if not is_there(root):
        return
    with Store.open(root, wait=0.2) as store, suppress(ValueError, TypeError, LookupError):
        for key, (_, text) in store.read().items():
            if not key.startswith(b"/"):
                yield Facts.from_json(text)


def _known_nodes(_: click.Context) -> Iterable[str]:
    return {node for facts in _catalogued() for node in facts.nodes}


def _known_topics(_: click.Context) -> Iterable[str]:
    return {topic.topic for facts in _catalogued() for topic in facts.topics}


def _known_events(_: click.Context) -> Iterable[str]:
    from horus_async.finding.events import KNOWN

    return {*KNOWN, *(row.event for facts in _catalogued() for row in facts.happenings)}


def _interfaces(ctx: click.Context) -> Iterable[Any]:
    from horus_async.remote.client import Client

    return Client(ctx.params.get("namespace")).interfaces().values()


def _param_nodes(ctx: click.Context) -> Iterable[str]:
    return [interface.node for interface in _interfaces(ctx) if interface.params]


def _params(ctx: click.Context) -> Iterable[str]:
    return [f"{interface.node}.{name}" for interface in _interfaces(ctx) for name in interface.params]


def _services(ctx: click.Context) -> Iterable[str]:
    return [name for interface in _interfaces(ctx) for name in interface.services]


def _actions(ctx: click.Context) -> Iterable[str]:
    return [name for interface in _interfaces(ctx) for name in interface.actions]


def _running_nodes(ctx: click.Context) -> Iterable[str]:
    from horus_async.remote.client import Client

    return [str(row["node"]) for row in Client(ctx.params.get("namespace")).nodes(timeout=0.2)]


running_node = _one_of(_running_nodes)
param_node = _one_of(_param_nodes)
param = _one_of(_params)
service = _one_of(_services)
action = _one_of(_actions)
session = _one_of(_sessions, files=True)
nodes = _one_of(_nodes, several=True)
recorded_topic = _one_of(_recorded_topics)
rename = _one_of(_renames)
override = _one_of(_overrides)
topic = _one_of(_topics)
namespace = _one_of(_namespaces)
noted_node = _one_of(_noted_nodes)
event = _one_of(_kinds)
known_node = _one_of(_known_nodes)
known_topic = _one_of(_known_topics)
known_event = _one_of(_known_events)
