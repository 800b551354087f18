"""What ``python -m benchmarks --curves`` does."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from .catalogue import CURVES
from .measuring import HEAD, as_json, measure_all, rows
from .plot import plot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .measuring import Measured

NAMES = [curve.name for curve in CURVES]


def follow(names: Sequence[str], *, out: Path, quick: bool, json_file: Path | None) -> int:
    """Measure the curves of these names (none: all), print the table, and write a picture of each into ``out``.

    Returns:
        1 if something of ours grows faster than its work, or did not run; else 0. Where it is quick only the latter.
    """
    curves = [curve for curve in CURVES if not names or curve.name in names]
    out.mkdir(parents=True, exist_ok=True)

    def told(measured: Measured) -> None:
        print("\n".join(rows(measured)), flush=True)
        try:
            plot(measured, out)
        except ModuleNotFoundError as error:
            print(f"no picture of {measured.curve.name}: {error.name} is not installed", file=sys.stderr)

    print(HEAD, flush=True)
    found = measure_all(curves, quick=quick, told=told)
    if json_file is not None:
        json_file.write_text(json.dumps([as_json(measured) for measured in found], indent=1), encoding="utf-8")
    if quick:
        return 0 if all(measured.whole for measured in found) else 1
    return 0 if all(measured.within for measured in found) else 1
