"""The catalogue's file: SQLite, beside the recordings. Whatever is wrong with it, it is made anew or done without."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from zlib import crc32

from horus_async.limits.open_files import why
from horus_async.recorder.naming import CATALOGUE as FILE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

VERSION = 1
"""Of what is in it: another release may write another, and then it is made anew."""
_APPLICATION = 0x48524341
_SCHEMA = "CREATE TABLE entries(key BLOB PRIMARY KEY, mark BLOB NOT NULL, facts BLOB NOT NULL, sum INTEGER NOT NULL)"

Entry = tuple[bytes, bytes]
"""A mark, and facts."""
_FAILED = (sqlite3.Error, UnicodeDecodeError)
"""What a catalogue may fail with; the latter where SQLite's own message has bytes of a damaged one in it."""


class Store:
    """Entries by their keys: each with the mark of what it was made of, and a checksum.

    Transactions are short and wait only so long for others. The file is not synced to disk: what a power cut leaves of
    it shows in the checksums, and is made anew.
    """

    def __init__(self, connection: sqlite3.Connection | None, problem: str = "") -> None:
        self._connection = connection
        self.problem = problem
        """Why it cannot be used, or not be kept up; empty if it can."""

    @classmethod
    def open(cls, root: Path, *, wait: float) -> Self:
        """Open the catalogue of a folder, or make it.

        Args:
            root: The folder of recordings.
            wait: Seconds that another process may have it locked.
        """
        path = root / FILE
        for _ in range(2):
            connection = None
            try:
                if doubt := _doubt(path):
                    return cls(None, doubt)
                connection = sqlite3.connect(path, timeout=wait, isolation_level=None)
                if _is_ours(connection):
                    return cls(connection)
                connection.close()
                _remove(root)
            except sqlite3.OperationalError as error:
                _close(connection)
                return cls(None, f"{path} cannot be used: {error}")
            except _FAILED:
                _close(connection)
                with suppress(OSError):
                    _remove(root)
            except OSError as error:
                _close(connection)
                return cls(None, f"{path} cannot be made: {why(error)}")
        return cls(None, f"{path} cannot be made anew")

    def read(self) -> dict[bytes, Entry]:
        """All entries that are whole."""
        if self._connection is None:
            return {}
        try:
            rows = self._connection.execute("SELECT key, mark, facts, sum FROM entries").fetchall()
            return {key: (mark, facts) for key, mark, facts, check in rows if check == _sum(key, mark, facts)}
        except (*_FAILED, TypeError) as error:
            self._give_up(error)
            return {}

    def write(self, changed: dict[bytes, Entry], gone: Iterable[bytes] = ()) -> None:
        """Put entries in the place of those that were there, and take others away."""
        if self._connection is None:
            return
        rows = [(key, mark, facts, _sum(key, mark, facts)) for key, (mark, facts) in changed.items()]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key in gone])
            self._connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", rows)
            self._connection.execute("COMMIT")
        except _FAILED as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        _close(self._connection)
        self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _give_up(self, error: Exception) -> None:
        """Do without it; one that is damaged goes, so that the next one is whole."""
        damaged = not isinstance(error, sqlite3.OperationalError)
        if damaged and self._connection is not None:
            with suppress(*_FAILED, OSError):
                (_, _, path), *_ = self._connection.execute("PRAGMA database_list").fetchall()
                self.close()
                _remove_file(path)
        self.close()
        self.problem = f"the catalogue cannot be kept up: {error}"


def is_there(root: Path) -> bool:
    """Whether a folder has a catalogue."""
    return os.path.lexists(root / FILE)


def _doubt(path: Path) -> str:
    """Make the file if there is none, for this user alone; why it is not to be trusted if it is not this user's."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        # Not by SQLite, which minds the umask; and not opened here, as closing it would drop another thread's locks.
        try:
            os.mknod(path, stat.S_IFREG | 0o600)
        except FileExistsError:
            return _doubt(path)
        except PermissionError:
            if not os.access(path.parent, os.W_OK):
                raise
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))  # systems without it
        path.chmod(0o600)
        return ""
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is no plain file"
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        return f"{path} may be written by other users"
    return ""


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Whether it is a catalogue of this version; an empty file becomes one."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = OFF")
    for attempt in range(2):
        made = connection.execute("SELECT sql FROM sqlite_master WHERE type != 'index'").fetchall()
        marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        if made == [(_SCHEMA,)] and marks == [_APPLICATION, VERSION]:
            return True
        if made or attempt:
            return False
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT * FROM sqlite_master").fetchall():  # else another process was quicker
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute(_SCHEMA)
        connection.execute("COMMIT")
    return False


def _sum(key: bytes, mark: bytes, facts: bytes) -> int:
    return crc32(facts, crc32(mark, crc32(key)))


def _remove(root: Path) -> None:
    _remove_file(os.fspath(root / FILE))


def _remove_file(path: str) -> None:
    for name in (f"{path}-journal", path):  # first what would be rolled back into the next one
        with suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108 - a path as SQLite gives it


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        with suppress(sqlite3.Error):
            connection.close()
