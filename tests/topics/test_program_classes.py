"""Classes of the program itself, in a script that is run and in one that is loaded."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SCRIPT = """
from attrs import define
from horus_async.topics.codec import encode, decode

@define
class Command:
    speed: float = 0.0

print(encode(Command(1.5)).decode())
assert decode(encode(Command(1.5))) == Command(1.5)
"""

_LOAD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("__mp_main__", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["__mp_main__"] = module
spec.loader.exec_module(module)
"""


def test_a_class_has_one_name_whether_its_script_is_run_or_loaded(tmp_path: Path) -> None:
    """A recording of a script and the verification of its loaded nodes have to agree on its classes' names."""
    script = tmp_path / "robot.py"
    script.write_text(_SCRIPT)

    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    loaded = subprocess.run([sys.executable, "-c", _LOAD, str(script)], capture_output=True, text=True, check=True)

    assert run.stdout == '{"$type":"__main__.Command","value":{"speed":1.5}}\n'
    assert loaded.stdout == run.stdout
