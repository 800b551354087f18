"""The user's folders, where there may be no home: in a container, under a user that the system does not know."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import platformdirs


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
    make = platformdirs.user_data_path if kind == "data" else platformdirs.user_state_path
    try:
        found = make("horus", appauthor=False)
    except RuntimeError:
        found = None
    if found is None or not found.is_absolute():  # older platformdirs leave a ~ in it
        raise NoHomeError(f"HOME is not set, and user {os.getuid()} has no home folder")
    return found
