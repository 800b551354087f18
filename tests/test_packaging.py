"""What a user installs: the wheel, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from a copy of the source, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("horus_async", "cli", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source],
        check=True,
        cwd=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_only_top_level_module_is_horus_async(wheel: Path) -> None:
    """Neither ``cli`` nor ``tests`` lands beside the package."""
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"horus_async"}


def test_the_wheel_holds_every_module_once(wheel: Path) -> None:
    """No package was forgotten in pyproject.toml, and ``cli/`` is there as ``horus_async/cli``."""
    held = [name for name in zipfile.ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")]
    expected = {"horus_async/py.typed"}
    for folder, prefix in ((ROOT / "horus_async", "horus_async"), (ROOT / "cli", "horus_async/cli")):
        expected |= {f"{prefix}/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*.py")}
    pages = ROOT / "horus_async" / "view" / "page"
    expected |= {f"horus_async/view/page/{path.name}" for path in pages.iterdir() if path.suffix != ".py"}

    assert len(held) == len(set(held))
    assert set(held) == expected


def test_a_user_can_import_the_package_but_not_cli(wheel: Path, tmp_path: Path) -> None:
    """Away from the checkout ``horus_async.cli`` is importable and ``cli`` is not."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = """
import importlib.util, horus_async, horus_async.cli, horus_async.__main__
print(horus_async.__file__, horus_async.cli.__file__, importlib.util.find_spec("cli"))
"""
    shown = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd="/",
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout.split() == [
        str(tmp_path / "horus_async/__init__.py"),
        str(tmp_path / "horus_async/cli/__init__.py"),
        "None",
    ]
