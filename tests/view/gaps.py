"""A session with a gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lz4.frame
import orjson

from horus_async import Node
from horus_async.recorder import open_session
from tests.view.runs import recorded

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.recorder import Session


def with_gap(folder: Path) -> Session:
    """One whose node says that lines of it could not be written."""
    session = recorded(folder, "gappy", Node("talker", tick=lambda node: node.send("x", 1), rate=10))
    (path,) = session.path.glob("talker@*")
    with lz4.frame.open(path) as file:
        lines = [orjson.loads(line) for line in file.read().splitlines()]
    kept = [line for line in lines if line["kind"] in {"header", "tick"}]
    kept[0].pop("sealed", None)
    gap = {"kind": "gap", "tick": 50, "dropped": 12, "reason": "the disk was full"}
    text = b"".join(orjson.dumps(line) + b"\n" for line in [*kept[:5], gap, *kept[5:]])
    path.write_bytes(lz4.frame.compress(text, content_checksum=True, store_size=False))
    return open_session(session.path)
