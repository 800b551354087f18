"""What a file is goes by what it holds; one that cannot be imported says what to do."""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import TYPE_CHECKING, Any

import lz4.frame
import pytest
import zstandard

from .mcap_files import json_mcap, messages_of
from .sessions import call

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("name", ["x.mcap.zstd", "x.mcap.zst", "x.bag", "x"])
def test_file_compressed_by_zstd(recordings_dir: Path, tmp_path: Path, name: str) -> None:
    """It is read in place, in several frames too, and nothing of it is left in the temporary folder."""
    data = json_mcap(tmp_path / "whole", [("/a", n, b"%d" % n) for n in range(100)]).read_bytes()
    packed = tmp_path / name
    packed.write_bytes(zstandard.compress(data[:1000]) + zstandard.compress(data[1000:]))
    assert call("import", packed, "--name", "x").exit_code == 0
    assert messages_of("x", "a") == [*range(100)]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == sorted({"whole", name})


def test_file_compressed_by_zstd_that_is_cut(recordings_dir: Path, tmp_path: Path) -> None:
    """What can be unpacked of it is imported with a note, or it is one line."""
    data = zstandard.compress(json_mcap(tmp_path / "whole", [("/a", n, b"%d" % n) for n in range(100)]).read_bytes())
    (tmp_path / "x.zst").write_bytes(data[:-30])
    result = call("import", tmp_path / "x.zst", "--name", "x")
    assert result.exit_code == 2 or "cut off" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "keep", "said"),
    [
        (b"hello", None, "what x.zst holds is none of what can be imported"),
        (zstandard.compress(b"hello"), None, "what x.zst holds is none of what can be imported"),
        (b"", None, "what x.zst holds is empty"),
        (b"SQLite format 3\0" + b"x" * 500, None, "what x.zst holds"),
        (b"\x89MCAP0\r\n", 9, "x.zst is cut off or damaged: it was unpacked as far as it goes; what x.zst holds is"),
        (b"\x89MCAP0\r\n", 4, "x.zst is cut off or damaged: it was unpacked as far as it goes; what x.zst holds is"),
    ],
)
@pytest.mark.usefixtures("recordings_dir")
def test_errors_name_the_compressed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, keep: int | None, said: str
) -> None:
    """Not a temporary one, which nobody knows and which is gone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.zst").write_bytes(zstandard.compress(text)[:keep])
    result = call("import", "x.zst", "--name", "x")
    assert result.exit_code == 2
    assert said in result.output
    assert "horus-import-" not in result.output


def test_a_cut_between_two_frames_of_zstd(recordings_dir: Path, tmp_path: Path) -> None:
    """What was unpacked is imported, and it is said that more was there, even if the messages look whole."""
    path = json_mcap(tmp_path / "whole", [("/a", n, b"1") for n in range(5)])
    data = zstandard.compress(path.read_bytes()) + zstandard.compress(b"more")[:-3]
    (tmp_path / "x.zst").write_bytes(data)
    result = call("import", tmp_path / "x.zst", "--name", "x")
    assert (result.exit_code, len(messages_of("x", "a"))) == (0, 5)
    assert f"note: {tmp_path / 'x.zst'} is cut off or damaged: it was unpacked as far as it goes" in result.stderr


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (gzip.compress, "gunzip"),
        (bz2.compress, "bunzip2"),
        (lzma.compress, "unxz"),
        (lz4.frame.compress, "lz4 -d"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        (lambda _: b"PK\3\4" + bytes(100), "zip"),
        (lambda _: b"", "empty"),
        (lambda _: b"HORUS-BLACKBOX 1\n", "blackbox"),
        (lambda _: b"stamp,x\n1,2\n", "MCAP"),
    ],
)
@pytest.mark.parametrize("suffix", [".mcap", ".bag", ".db3", ".ulg"])
def test_file_of_another_kind_says_what_to_do(
    recordings_dir: Path, tmp_path: Path, pack: Callable[[bytes], Any], words: str, suffix: str
) -> None:
    """One line with the way out, whatever the file is called; no session."""
    path = tmp_path / f"x{suffix}"
    path.write_bytes(pack(b"something"))
    result = call("import", path, "--name", "x")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert words in result.output
    assert not (recordings_dir / "x").exists()
