"""OpenTelemetry that is not there, or only half there: requests are served, without spans."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from horus_async.policy.server.telemetry import ActSpan
from tests.policy.conftest import ROOT, needs_server

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_server

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
    del sys.modules[name]
from horus_async.policy.server import telemetry
with telemetry.act_span({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}) as span:
    span.set(horus__request_id="r")
    span.failed("slug", "message")
    print(telemetry.INSTALLED, span.ids)
"""


@pytest.mark.parametrize(
    "files",
    [
        {"opentelemetry/sdk/__init__.py": ""},
        {"opentelemetry/__init__.py": ""},
        {"opentelemetry/trace/__init__.py": "", "opentelemetry/propagate/__init__.py": ""},
        {"opentelemetry/trace/__init__.py": "raise StopIteration", "opentelemetry/propagate/__init__.py": ""},
        {"opentelemetry/trace/__init__.py": "import opentelemetry.nowhere"},
        {"opentelemetry/trace.py": "1 / 0", "opentelemetry/propagate.py": ""},
    ],
    ids=["another part alone", "empty", "empty API", "without entry points", "other versions", "broken"],
)
def test_half_of_it_is_as_good_as_none(tmp_path: Path, files: dict[str, str]) -> None:
    """A folder of that name without the API, or with one that does not work, makes no request fail."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    # The one that may be installed would fill the gaps of a package that has no __init__.
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout == "False ('', '')\n", found.stderr


def test_a_namespace_of_that_name_alone_is_none(tmp_path: Path) -> None:
    """The folder that another package's part of the namespace leaves behind is not the API."""
    if "opentelemetry" in sys.modules:
        pytest.skip("OpenTelemetry is installed")
    (tmp_path / "opentelemetry" / "semconv").mkdir(parents=True)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout == "False ('', '')\n", found.stderr


def test_without_it_there_are_no_ids() -> None:
    """Without OpenTelemetry nothing is set, and there are no ids to write down."""
    span = ActSpan()
    span.set(a=1)
    span.failed("slug", "message")
    assert span.ids == ("", "")
