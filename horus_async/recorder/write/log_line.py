"""The line of something that was logged. What cannot be written as it is, is written as its ``repr``."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from horus_async.nodes.log import extra_of, traceback_of
from horus_async.recorder.log_lines import LEVELS, OURS
from horus_async.topics.codec import as_bytes, encode, to_json

from .lines import quoted, text_json

if TYPE_CHECKING:
    from horus_async.observe import Logged

_LINE = b'{"kind":"log","level":%b,%b"node":%b,"message":%b%b,"file":%b,"line":%d,"now_ns":%d,"tick":%b%b}\n'
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def log_line(logged: Logged) -> bytes:
    """The line, with its newline."""
    try:
        return _line(logged)
    except Exception as error:  # noqa: BLE001 - a filter of the program's may have put anything in its record
        text = f"(a line of the log that cannot be written: {type(error).__name__})"
        return _line(logged._replace(level=0, message=text, record=logging.makeLogRecord({"levelname": "NOTSET"})))


def _line(logged: Logged) -> bytes:
    node, tick, at_tick, now_ns, level, message, record, by_node = logged
    name = str(record.levelname)
    own = b"" if LEVELS.get(name) == level else b'"levelno":%d,' % level
    if not by_node:
        own += b'"logger":%b,' % quoted[str(record.name)]
    return _LINE % (
        text_json(name),
        own,
        b"null" if node is None else quoted[node],
        text_json(message),
        b"".join(_more(record)),
        quoted[str(record.filename)],
        record.lineno,
        now_ns,
        b"null" if tick is None else b"%d" % tick,
        b"" if at_tick == tick else b',"at_tick":%d' % at_tick,
    )


def _more(record: logging.LogRecord) -> list[bytes]:
    """What only some records have: the exception, the stack, and what was passed as ``extra=``."""
    found = []
    exception = traceback_of(record)
    if exception is not None:
        found.append(b',"exception":' + text_json(exception))
    if record.stack_info:
        found.append(b',"stack":' + text_json(str(record.stack_info)))
    extra = extra_of(record)
    for name, value in extra.items():
        key = name
        while key in OURS or (key != name and key in extra):
            key += "_"
        found.append(b",%b:%b" % (text_json(key), _value(value)))
    return found


def _value(value: Any) -> bytes:
    try:
        return to_json(as_bytes(encode(value)))
    except Exception:  # noqa: BLE001 - no topic can carry it, or its own code fails
        return text_json(_shown(value))


def _shown(value: Any) -> str:
    """The ``repr`` without addresses in memory, which would differ in each run."""
    try:
        return _ADDRESS.sub("", repr(value))
    except Exception as error:  # noqa: BLE001 - as above
        return f"<{type(value).__name__} whose repr failed: {type(error).__name__}>"
