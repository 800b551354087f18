"""Bytes as text: a faster package, where it is installed, reads the same and refuses the same."""

from __future__ import annotations

import os

import pytest

from horus_async.topics.values.base64 import from_base64, to_base64

LARGE = 300_000


@pytest.mark.parametrize("size", [0, 1, 2, 3, 1000, LARGE, LARGE + 1, LARGE + 2])
def test_there_and_back(size: int) -> None:
    """Of any size, with either decoder."""
    data = os.urandom(size)
    assert from_base64(to_base64(data)) == data


CHANGES = {
    "cut off": lambda text: text[:-1],
    "another character": lambda text: "*" + text[1:],
    "a line end": lambda text: "\n" + text,
    "not ASCII": lambda text: text[:9] + "é" + text[9:],
}


@pytest.mark.parametrize("size", [30, LARGE])
@pytest.mark.parametrize("change", [*CHANGES])
def test_what_is_not_base64_is_refused(size: int, change: str) -> None:
    """Whoever decodes it."""
    with pytest.raises(ValueError, match=r"."):
        from_base64(CHANGES[change](to_base64(os.urandom(size))))


def test_the_faster_decoder_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra it is used for what is large, and only for that."""
    pybase64 = pytest.importorskip("pybase64")
    calls = []
    real = pybase64.b64decode

    def decode(text: str, **options: bool) -> bytes:
        calls.append(len(text))
        found: bytes = real(text, **options)
        return found

    monkeypatch.setattr(pybase64, "b64decode", decode)
    from horus_async.topics.values import base64

    base64._fast_decoder.cache_clear()
    data = os.urandom(LARGE)
    assert from_base64(to_base64(data)) == data
    assert from_base64("YQ==") == b"a"
    base64._fast_decoder.cache_clear()
    assert calls == [400_000]
