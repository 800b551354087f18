"""The writer of the ``mcap`` package."""

from __future__ import annotations

from itertools import count
from typing import Any

from mcap.writer import Writer
from orjson import dumps

from .sampling import SMALL, microseconds_a_call, rest


def add_message(scale: float) -> list[float]:
    """A small dict as JSON, chunks and compression as they are by default."""
    payload = dumps(SMALL)
    with open("bench.mcap", "wb") as file:  # noqa: PTH123 - as its documentation does
        writer: Any = Writer(file)  # its type information is incomplete
        writer.start()
        schema = writer.register_schema(name="small", encoding="jsonschema", data=b'{"type": "object"}')
        channel = writer.register_channel(topic="sensor.reading", message_encoding="json", schema_id=schema)
        ticks = count()

        def call() -> None:
            tick = next(ticks)
            writer.add_message(channel, tick * 1000, payload, tick * 1000, tick)

        took = microseconds_a_call(call, scale=scale / 4, batch=100, between=rest)
        writer.finish()
    return [took]
