"""``python -m benchmarks [--quick] [--only NAME ...] [--json FILE]``: prints a Markdown table.

With ``--curves [NAME ...] [--out FOLDER]`` it follows how costs grow instead, see ``curves/``.

The ratio is the median over the rounds of ours / the peer's, with the smallest and the largest; below 1 we are ahead.
Exit code 1 if a goal was missed, 0 if all were met or could not be compared. With ``--quick`` goals do not count, and
the exit code is 1 if one of our own sides did not run.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

import horus_async
from horus_async import native

from .compare import Result, measure, number, percentile
from .curves import command as curves
from .figures import FIGURES, Figure


def main() -> int:
    """Measure the figures asked for."""
    names = [figure.name for figure in FIGURES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Our figures beside those of others.")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all of it runs")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each figure (default 7)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every round as JSON")
    parser.add_argument(
        "--curves",
        nargs="*",
        choices=curves.NAMES,
        metavar="NAME",
        help="how costs grow, with pictures and exponents, instead of figures; none: all of "
        f"{', '.join(curves.NAMES)}. For example: --curves topics seek --out pictures",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        default=Path("curves"),
        help="for the pictures of --curves (default: curves)",
    )
    options = parser.parse_args()
    rounds, scale = (1, 0.05) if options.quick else (options.rounds, 1.0)
    figures = [figure for figure in FIGURES if figure.name in options.only]

    print(f"horus-async {horus_async.__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"native core: {native.reason or 'in use'}")
    if options.curves is not None:
        print("each point in a fresh process; exponents over the upper half of the sizes\n")
        return curves.follow(options.curves, out=options.out, quick=options.quick, json_file=options.json)
    print(f"{rounds} rounds, the sides alternating in fresh processes\n")
    print("| what | unit | ours | peer | ratio (min to max) | goal |\n|---|---|---|---|---|---|", flush=True)
    results = _measure_all(figures, rounds, scale)
    if options.json:
        options.json.write_text(json.dumps([_as_json(result) for result in results], indent=1), encoding="utf-8")
    if options.quick:  # too short to judge by, but each of ours has to run
        return 1 if any(not result.ours for result in results) else 0
    return 1 if any(result.met is False for result in results) else 0


def _measure_all(figures: list[Figure], rounds: int, scale: float) -> list[Result]:
    results = []
    console = Console(file=sys.stderr)
    with (
        tempfile.TemporaryDirectory(prefix="horus-bench-") as shared,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("", total=sum(rounds * (1 + (figure.peer is not None)) for figure in figures))
        for figure in figures:
            progress.update(task, description=figure.name)
            results.append(
                measure(figure, rounds=rounds, scale=scale, shared=Path(shared), advance=lambda: progress.advance(task))
            )
            print(_row(results[-1]), flush=True)
    return results


def _row(result: Result) -> str:
    figure = result.figure
    ratio = result.note or "-"
    if result.ratios:
        ratio = f"**{number(statistics.median(result.ratios))}** ({_range(result.ratios)})"
    goal = _goal(result)
    ours, peer = (_cell(samples, figure.percentiles) for samples in (result.ours, result.peer))
    labels = [side.label for side in (figure.ours, figure.peer) if side is not None]
    if labels[0] != "horus-async":
        ours = f"{labels[0]}: {ours}"
    peer = f"{labels[1]}: {peer}" if figure.peer is not None else "-"
    return f"| {figure.title} | {figure.unit} | {ours} | {peer} | {ratio} | {goal} |"


def _goal(result: Result) -> str:
    figure = result.figure
    if figure.max_ours is not None:
        wanted = f"≤ {number(figure.max_ours)} {figure.unit}"
    elif figure.max_ratio is not None:
        wanted = f"≤ {number(figure.max_ratio)}"
    else:
        return "-"
    return wanted + {True: ", met", False: ", **missed**", None: ""}[result.met]


def _cell(samples: list[float], percentiles: tuple[int, ...]) -> str:
    if not samples:
        return "-"
    if percentiles == (50,):
        return f"{number(statistics.median(samples))} ({_range(samples)})"
    names = {100: "max"}
    return ", ".join(f"{names.get(p, f'p{p}')} {number(percentile(samples, p))}" for p in percentiles)


def _range(samples: list[float]) -> str:
    return f"{number(min(samples))} to {number(max(samples))}"


def _as_json(result: Result) -> dict[str, object]:
    figure = result.figure
    return {
        "name": figure.name,
        "unit": figure.unit,
        "ours": {f"p{p}": percentile(result.ours, p) for p in figure.percentiles if result.ours},
        "peer": {"label": figure.peer.label if figure.peer is not None else None}
        | {f"p{p}": percentile(result.peer, p) for p in figure.percentiles if result.peer},
        "ratios": result.ratios,
        "met": result.met,
        "note": result.note,
    }


if __name__ == "__main__":
    sys.exit(main())
