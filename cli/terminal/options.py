"""Options that several commands have."""

from __future__ import annotations

import re
from typing import Any

import click

from horus_async.clock.system import NANOSECONDS, parse_iso_utc, wall_ns

from . import completion

_SINCE = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Since(click.ParamType):  # type: ignore[type-arg]
    """An age, or a time of day: wall-clock nanoseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """As click's."""
        if isinstance(value, int):
            return value
        if found := _SINCE.fullmatch(value):
            return wall_ns() - int(float(found[1]) * _SECONDS[found[2]] * NANOSECONDS)
        try:
            return parse_iso_utc(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither an age like 30m, 2h, 7d nor an ISO 8601 time", param, ctx)


JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
SINCE = click.option(
    "--since", "since_ns", type=Since(), metavar="T", help="Started at T or later: an age (12h, 7d), or ISO 8601, UTC."
)
UNTIL = click.option("--until", "until_ns", type=Since(), metavar="T", help="Started before T.")
NAMESPACE = click.option(
    "--namespace",
    metavar="N",
    shell_complete=completion.namespace,
    help="Namespace of the topics. Default: HORUS_NAMESPACE, else default.",
)
