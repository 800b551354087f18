"""Messages from what a user types."""

from __future__ import annotations

import json
from typing import Any

from horus_async.errors import TopicError
from horus_async.remote.typed import structure


def parse_message(text: str, kind: str | None) -> Any:
    """The value of JSON, as an object of that class if one is given.

    Raises:
        TopicError: It is not JSON; and what `structure` raises.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise TopicError(f"{text!r:.60} is not JSON: {error}; text needs quotes: '\"text\"'") from None
    return value if kind is None else structure(kind, value)
