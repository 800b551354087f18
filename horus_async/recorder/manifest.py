"""``session.json``: what a session is and which files it has."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

from horus_async.errors import DamagedRecordingError
from horus_async.limits.open_files import with_room

from .limits import read_json_file
from .naming import MANIFEST
from .records import check_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_manifest(folder: Path, fields: Mapping[str, Any], *, sync: bool = False) -> None:
    """Write or replace the manifest, atomically: a reader sees the old one or the new one, whole.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(fields, indent=2).encode() + b"\n"
    partial = folder / f".{MANIFEST}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        partial.unlink(missing_ok=True)  # of a killed process
        descriptor = with_room(lambda: os.open(partial, flags, 0o600), urgent=True)
        try:
            os.fchmod(descriptor, 0o600)  # whatever the umask
            done = os.write(descriptor, text)
            while done < len(text):
                done += os.write(descriptor, text[done:])
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, folder / MANIFEST)  # noqa: PTH105 - tests make this module's calls to ``os`` fail
        if sync:
            sync_folder(folder)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Sync the names of the files in a folder to disk; without the name a file's bytes are lost, too.

    Raises:
        OSError: it cannot.
    """
    descriptor = with_room(lambda: os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), urgent=True)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have no such call for folders
            raise
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What the manifest says; None if there is none.

    Raises:
        DamagedRecordingError: it cannot be read or is not a manifest.
        UnsupportedVersionError: another format version wrote it.
    """
    path = folder / MANIFEST
    try:
        fields = json.loads(read_json_file(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedRecordingError(f"{path} cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise DamagedRecordingError(f"{path} is not a manifest: it is not a JSON object")
    check_version(fields, "session")
    return fields
