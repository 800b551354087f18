"""``examples/shared_images.py``: images of another process, looked at where they lie."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .programs import EXAMPLES, python

if TYPE_CHECKING:
    from pathlib import Path


def test_the_spot_is_found_in_borrowed_images(tmp_path: Path) -> None:
    """It exits 0 after it looked at 20 images of the camera's process, and nothing is left behind."""
    done = python("-W", "error", EXAMPLES / "shared_images.py", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"found the spot in 20 images, dropped \d+\n", done.stdout)
    assert list(tmp_path.iterdir()) == []
