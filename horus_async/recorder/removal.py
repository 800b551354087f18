"""Taking sessions away: at once and as a whole. A folder first gets a name that no session can have.

Whoever is killed on the way leaves no session with some of its files, which would be taken for all there was.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CONDEMNED = "~deleted-"
"""What the name of a folder that is being deleted begins with; no session's can."""


def condemn(folder: Path) -> Path:
    """Rename a session's folder: from now on there is no such session. The folder under its new name.

    Raises:
        OSError: it cannot be renamed.
    """
    condemned = folder.with_name(f"{CONDEMNED}{os.urandom(8).hex()}")
    return folder.rename(condemned)


def remove_condemned(root: Path) -> None:
    """Remove the files of sessions that were deleted, also those of a process that was killed while it did this."""
    for folder in root.glob(f"{CONDEMNED}*"):
        shutil.rmtree(folder, ignore_errors=True)  # another process may be at it


def remove_folder(folder: Path) -> None:
    """Take away a session that could not be made whole, as far as that is possible."""
    with suppress(OSError):
        folder = condemn(folder)
    shutil.rmtree(folder, ignore_errors=True)
