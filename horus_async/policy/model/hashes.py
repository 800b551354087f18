"""Which model it was: hashes of an export folder, of a configuration, and of an image.

All are SHA-256, cut to 16 hex digits as in the v1 trace format.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson

from horus_async.errors import PolicyError

HASH_DIGITS = 16
_CHUNK = 1 << 20


def model_hash(export: Path | str) -> str:
    """Hash over the names and contents of all files under ``export``: graphs, external weights, ``policy.json``.

    Files are hashed in order of their relative paths, each as path, length and content, so that neither a moved byte
    nor a renamed file goes unnoticed. Hidden files (any part starting with a dot) are left out. ``""`` for an empty
    folder.

    Raises:
        PolicyError: the folder or a file in it cannot be read; a hash of half a model would be a lie.
    """
    folder = Path(export)
    digest = hashlib.sha256()
    try:
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
        for name in names:
            _add_file(digest, name, folder / name)
    except OSError as error:
        raise PolicyError(f"cannot hash the model in {str(folder)!r}: {error}") from error
    return digest.hexdigest()[:HASH_DIGITS] if names else ""


def _add_file(digest: Any, name: str, path: Path) -> None:
    encoded = name.encode()
    digest.update(len(encoded).to_bytes(8, "little") + encoded + path.stat().st_size.to_bytes(8, "little"))
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)


def file_hash(path: Path) -> str:
    """Hash of one file's content, which identifies a policy that is a Python module."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:HASH_DIGITS]


def config_hash(config: dict[str, Any] | None) -> str:
    """Hash of a configuration, whatever the order of its keys; ``""`` without one."""
    if not config:
        return ""
    return hashlib.sha256(orjson.dumps(config, option=orjson.OPT_SORT_KEYS)).hexdigest()[:HASH_DIGITS]


def image_hash(image: str | bytes) -> str:
    """The v1 ``image_sha256``: of the base64 text as sent, not of the bytes that it encodes.

    Images that were sent as bytes have the hash of these; arrays that of their elements.
    """
    data = image.encode("utf-8", "surrogatepass") if isinstance(image, str) else image
    return hashlib.sha256(data).hexdigest()[:HASH_DIGITS]
