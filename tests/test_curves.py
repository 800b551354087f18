"""``python -m benchmarks --curves`` follows how costs grow. How fast anything is it leaves to its readers."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.curves import command, measuring
from benchmarks.curves.catalogue import CURVES
from benchmarks.curves.growth import TOLERANCE, exponent, upper_half

if TYPE_CHECKING:
    from benchmarks.figures import Side

ROOT = Path(__file__).parent.parent
NAMES = ["start", "topics_ended", "subscribers", "seek"]


@given(
    law=st.floats(min_value=-1.0, max_value=3.0),
    factor=st.floats(min_value=1e-3, max_value=1e6),
    sizes=st.sets(st.integers(min_value=1, max_value=10**6), min_size=2, max_size=9),
)
def test_the_exponent_is_that_of_the_law(law: float, factor: float, sizes: set[int]) -> None:
    """Whatever the unit."""
    found = exponent({size: factor * size**law for size in sizes})

    assert found is not None
    assert math.isclose(found, law, abs_tol=1e-3)


def test_fixed_costs_do_not_hide_the_growth() -> None:
    """Of small sizes they are nearly all; the exponent is that of the upper half."""
    points = {size: 100.0 + 0.01 * size**2 for size in (1, 3, 10, 30, 300, 1000, 3000)}

    assert sorted(upper_half(points)) == [30, 300, 1000, 3000]
    assert (exponent(points) or 0) > 1.4  # over all of them 0.9
    assert exponent({7: 1.0}) is None


def test_a_quick_run(tmp_path: Path) -> None:
    """A row for each side with its exponent, and a picture for each curve; who is not installed is named."""
    options = ["--curves", *NAMES, "--quick", "--out", str(tmp_path / "pictures"), "--json", str(tmp_path / "points")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    ours = [row for row in rows if row[2] == "horus-async"]
    assert [row[0].split(":")[0].removeprefix("| ") for row in ours] == NAMES
    assert len(rows) == sum(len(curve.sides) for curve in CURVES if curve.name in NAMES)
    assert all(math.isfinite(float(row[5])) for row in ours)
    points = json.loads((tmp_path / "points").read_text())
    assert [list(curve["sides"][0]["points"]) for curve in points[:2]] == [["1", "3", "10"], ["1", "5", "20"]]
    pictures = sorted(path.name for path in (tmp_path / "pictures").glob("*.png"))
    if importlib.util.find_spec("matplotlib") is None:
        assert pictures == []
        assert done.stderr.count("matplotlib is not installed") == len(NAMES)
    else:
        assert pictures == sorted(f"{name}.png" for name in NAMES)


@pytest.mark.parametrize(
    ("law", "code", "said"),
    [
        (1.0, 0, "met"),
        (1.0 + TOLERANCE / 2, 0, "met"),
        (1.6, 1, "**grows faster**"),
        (None, 1, "cannot tell"),
    ],
)
def test_what_grows_faster_than_its_work(
    law: float | None,
    code: int,
    said: str,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit code tells, also where ours could not be measured to the end; a peer that ends early does not count."""

    def measure(side: Side, scale: float, shared: Path, *, first: tuple[int, ...], timeout: float) -> list[float] | str:
        (size,) = first
        if side.label != "horus-async" and size > 10:
            raise subprocess.TimeoutExpired(side.label, timeout)
        if law is None and size > 300:
            return "exit 1: too many of them"
        return [0.5 * size ** (law or 1.0)]

    monkeypatch.setattr(measuring, "in_fresh_process", measure)

    assert command.follow(["ticks"], out=tmp_path, quick=False, json_file=None) == code
    table = capsys.readouterr().out
    assert said in table
    assert "ends before 30: not done within" in table
    assert ("ends before 1,000: exit 1: too many of them" in table) is (law is None)


def test_the_sizes_of_the_contract() -> None:
    """Ours goes to the end of each: nodes, topics, bytes, subscribers, and ten hours."""
    largest = {curve.name: curve.sizes[-1] for curve in CURVES}

    assert largest["start"] == largest["ticks"] == 1000
    assert largest["topics"] == largest["topics_found"] == 5000
    assert largest["sizes"] == 64 << 20
    assert largest["subscribers"] == 64
    assert largest["recording"] == largest["seek"] == largest["replay"] == 100
    assert len({curve.name for curve in CURVES}) == len(CURVES)
