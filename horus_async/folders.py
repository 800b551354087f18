"""The user's folders: where they are, also where there may be no home, and who may write into them."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Literal


class NoHomeError(Exception):
    """There is no home folder. Callers turn it into an error of theirs that says what to do instead."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` expanded.

    Raises:
        NoHomeError: it begins with ``~``, and nobody knows what that is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise NoHomeError(f"{os.fspath(path)} begins with a home folder that is not known") from None


def user_folder(kind: Literal["data", "state"]) -> Path:
    """The folder ``horus`` among the user's data, or among what programs remember, as the platform has it.

    Raises:
        NoHomeError: there is none.
    """
    import platformdirs  # which takes time, and is not needed where folders are named

    make = platformdirs.user_data_path if kind == "data" else platformdirs.user_state_path
    try:
        found = make("horus", appauthor=False)
    except RuntimeError:
        found = None
    if found is None or not found.is_absolute():  # older platformdirs leave a ~ in it
        raise NoHomeError(f"HOME is not set, and user {os.getuid()} has no home folder")
    return found


def make_private(folder: Path, *, anew: bool = False) -> None:
    """Make a folder, and those above it that are missing, for this user alone: mode 0700, whatever the umask.

    What is there stays as it is.

    Args:
        folder: The folder.
        anew: It must not be there yet.

    Raises:
        OSError: It cannot be made; ``FileExistsError`` if it is there and should not be, or is no folder.
    """
    missing = []
    above = folder
    while not os.path.lexists(above) and above.parent != above:
        missing.append(above)
        above = above.parent
    if not missing and (anew or not folder.is_dir()):
        raise FileExistsError(17, "File exists", str(folder))
    for one in reversed(missing):
        try:
            one.mkdir(mode=0o700)
        except FileExistsError:  # another process was quicker
            if (one == folder and anew) or not one.is_dir():
                raise
        else:
            with suppress(PermissionError):  # of file systems that know no modes
                one.chmod(0o700)


def open_to_everyone(path: Path) -> str | None:
    """Why what is in a folder, or in a file, may be anybody's: every user can write into it. None if not, or not there.

    A folder with the sticky bit, as ``/tmp``, lets others add files, but not take away or rename those of this user.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if not mode & stat.S_IWOTH or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        return None
    return f"{path} has mode {stat.S_IMODE(mode):04o}: every user can change what is in it; chmod o-w ends that"
