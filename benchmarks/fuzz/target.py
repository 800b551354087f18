"""What is fuzzed: the readers of everything that comes from outside."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from attrs import frozen

from .changes import change_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .changes import Change


@frozen
class Fuzzed:
    """A reader, ready to be fuzzed."""

    seeds: list[bytes]
    """Valid inputs."""
    read: Callable[[bytes], object]
    """Does all that can be done with an input."""
    change: Change = change_bytes
    close: Callable[[], object] = bool
    """Gives back what it holds."""


@frozen
class Target:
    """A reader by name."""

    what: str
    """What is read."""
    function: str
    """Makes it ready: ``module:function``, which takes an empty folder."""

    def ready(self, root: Path) -> Fuzzed:
        """The reader; what it needs lies in ``root``."""
        module, _, function = self.function.partition(":")
        fuzzed: Fuzzed = getattr(importlib.import_module(f"{__package__}.{module}"), function)(root)
        return fuzzed


TARGETS = {
    "fuzz-ring": Target("a ring's file, and the messages in it", "topics:ring"),
    "fuzz-payload": Target("a message's payload: JSON, tags, $type, binary, packed", "topics:payload"),
    "fuzz-schema": Target("the description of a class in a ring's header", "topics:schema"),
    "fuzz-doorbell": Target("what is rung at a doorbell", "topics:doorbell"),
    "fuzz-file": Target("one file of a recording: frames, seals, lines, footer, index", "recordings:one_file"),
    "fuzz-session": Target("a session's folder, with manifest and origin, and its check", "recordings:session"),
    "fuzz-blackbox": Target("a black box, and its scan", "recordings:blackbox"),
    "fuzz-trace": Target("a policy's trace: plain, gzip, LZ4", "recordings:trace"),
    "fuzz-mcap": Target("an MCAP file", "imports:mcap"),
    "fuzz-bag1": Target("a ROS 1 bag", "imports:bag1"),
    "fuzz-sqlite": Target("a ROS 2 bag in SQLite", "imports:sqlite"),
    "fuzz-bag2": Target("the folder of a ROS 2 bag: its metadata.yaml", "imports:folder"),
    "fuzz-ulog": Target("a PX4 log", "imports:ulog"),
    "fuzz-definition": Target("the definition of a ROS type, .msg and IDL, and a message by it", "imports:definition"),
    "fuzz-act": Target("the JSON body of /act, and of /reset", "bodies:act"),
    "fuzz-msgpack": Target("an observation in MessagePack, as openpi's clients send it", "bodies:msgpack"),
    "fuzz-image": Target("a camera image in a request", "bodies:image"),
    "fuzz-policy": Target("policy.json beside an export", "bodies:policy"),
}
"""By name."""


def put(path: str, data: bytes) -> None:
    """Make this the content of a file; quicker than `Path.write_bytes`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
