"""``record import`` onto a disk that is full, or fills up: no session is better than half of one."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from horus_async.append_file import AppendFile
from horus_async.recorder import origin

from .mcap_files import json_mcap, write_mcap
from .sessions import call, call_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A file of 5,000 messages that do not compress, 1 MB."""
    texts = (b'"%s"' % os.urandom(100).hex().encode() for _ in range(5000))
    return json_mcap(tmp_path / "x.mcap", [(f"/{n % 2}", n, text) for n, text in enumerate(texts)])


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may become larger than 300 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def refused(recordings_dir: Path, path: Path, words: str) -> None:
    """The import ends with exit code 2 and one line, and leaves nothing."""
    result = call("import", path, "--name", "x")
    assert result.exit_code == 2
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert "cannot write session 'x'" in result.stderr
    assert words in result.stderr
    assert list(recordings_dir.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits file sizes with RLIMIT_FSIZE")
def test_disk_that_fills_up(recordings_dir: Path, drive: Path, small_files: None) -> None:
    """What cannot be written is an error, never "imported 5000 messages"."""
    refused(recordings_dir, drive, "File too large")


@pytest.mark.parametrize("failing", [2, 3, 5, 8])
@pytest.mark.parametrize("lasting", [True, False])
def test_disk_that_is_full_for_a_moment(
    recordings_dir: Path, drive: Path, monkeypatch: pytest.MonkeyPatch, failing: int, *, lasting: bool
) -> None:
    """A recording goes on when there is room again; an import does not, as what came between is lost."""
    appended = 0
    append = AppendFile.append

    def sometimes(self: AppendFile, data: bytes) -> None:
        nonlocal appended
        appended += 1
        if appended == failing or (lasting and appended > failing):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, data)

    monkeypatch.setattr(AppendFile, "append", sometimes)
    result = call("import", drive, "--name", "x")
    assert appended >= failing
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert "No space left on device" in result.output
    assert list(recordings_dir.iterdir()) == []


def test_no_room_for_attachments(recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where it is an attachment or the index that finds no room."""

    def fill(writer: Any) -> None:
        writer.add_attachment(1, 1, "a", "", b"1")
        writer.add_message(writer.register_channel("/a", "json", 0), 1, b"1", 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = write_mcap(tmp_path / "x.mcap", fill)
    monkeypatch.setattr(origin, "_write", full)
    refused(recordings_dir, path, "No space left on device")
    monkeypatch.undo()
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(recordings_dir))
    assert call_json("import", path, "--name", "x")["attachments"] == ["a"]
