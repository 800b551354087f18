"""The example in examples/policy runs, start to end."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.policy.conftest import ROOT

# Not in the test: onnxruntime keeps a database open from its import on, and a test may leave nothing open.
for _needed in ("onnx", "onnxruntime", "starlette", "hypercorn", "prometheus_client"):
    pytest.importorskip(_needed)


def test_the_example_runs() -> None:
    """The example serves, records and replays: cos 1 against itself, differences against its quantised twin."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "policy" / "main.py")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    itself, twin = result.stdout.split("replayed through ")[1:]
    assert "actions: 40/40 pass" in itself
    assert "smallest cosine 1.000000; acts alike" in itself
    passed = re.search(r"actions: (\d+)/40 pass", twin)
    assert passed is not None
    assert int(passed[1]) < 40
