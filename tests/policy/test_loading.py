"""From what the user names to a policy."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from horus_async.errors import PolicyError
from horus_async.policy import config_hash, from_object, image_hash, load_policy, model_hash

if TYPE_CHECKING:
    from collections.abc import Callable


def _plain(request: dict[str, Any]) -> list[list[float]]:
    return [[1.0]]


async def _coroutine(request: dict[str, Any]) -> list[list[float]]:
    return [[2.0]]


def _any_arguments(*arguments: Any) -> list[list[float]]:
    return [[5.0]]


class _WithAct:
    metadata: ClassVar = {"embodiment": "arm", "concurrency": 3, "unknown": 1}

    def act(self, observation: dict[str, Any]) -> list[list[float]]:
        return [[3.0]]


class _Callable:
    async def __call__(self, request: dict[str, Any]) -> list[list[float]]:
        return [[4.0]]


def _factory() -> _WithAct:
    return _WithAct()


@pytest.mark.parametrize(
    ("found", "is_async", "concurrency"),
    [
        (_plain, False, 1),
        (_coroutine, True, 64),
        (_WithAct(), False, 3),
        (_WithAct, False, 3),
        (_Callable, True, 64),
        (_factory, False, 3),
        (partial(_coroutine), True, 64),
        (_any_arguments, False, 1),
    ],
)
def test_every_form_of_policy_loads(found: Any, is_async: bool, concurrency: int) -> None:
    """Functions, coroutine functions, objects with act, and classes and functions that make one are all policies."""
    loaded = from_object(found, name="x")
    assert (loaded.is_async, loaded.concurrency) == (is_async, concurrency)
    assert callable(loaded.act)


async def _async_factory() -> _WithAct:
    return _WithAct()


class _NeedsArguments:
    def __init__(self, path: str) -> None:
        self.path = path


def _two(first: int, second: int) -> None: ...


def _fails() -> None:
    raise RuntimeError("no weights")


@pytest.mark.parametrize("found", [3, "text", _NeedsArguments, _two, _fails, _async_factory, lambda: 3, object()])
def test_what_is_no_policy_is_refused(found: Any) -> None:
    """An object that neither is a policy nor makes one raises PolicyError."""
    with pytest.raises(PolicyError, match="x"):
        from_object(found, name="x")


def test_a_file_names_its_policy(policy_module: Callable[[str], str]) -> None:
    """file.py:attr loads, and its model hash follows the file's content."""
    first = load_policy(policy_module("def policy(request): return [[1]]"))
    second = load_policy(policy_module("def policy(request): return [[2]]"))
    assert first.act({}) == [[1]]
    assert first.model_hash != second.model_hash
    assert len(first.model_hash) == 16


@pytest.mark.parametrize(
    "spec", ["nowhere", "nowhere:x", "~nobody/e", "x" * 5000, "no/such.py:x", "json:no_such", ":x", "json:", ""]
)
def test_a_name_that_leads_nowhere_is_an_error(spec: str) -> None:
    """A name that is no folder, module or attribute raises PolicyError."""
    with pytest.raises(PolicyError):
        load_policy(spec)


def test_a_module_that_fails_is_an_error(policy_module: Callable[[str], str]) -> None:
    """A module that cannot be imported raises PolicyError with its reason."""
    with pytest.raises(PolicyError, match="ZeroDivisionError"):
        load_policy(policy_module("1 / 0"))


@pytest.mark.parametrize(
    "text",
    [
        "def __getattr__(name): raise ImportError('no torch\\nhere')",
        "def __getattr__(name): raise SystemExit(3)",
        "def __getattr__(name): raise AttributeError('weights')",
        "class P:\n    @property\n    def act(self): raise OSError('no weights')\npolicy = P()",
        "class P:\n    act = print\n    @property\n    def metadata(self): raise OSError('no weights')\npolicy = P()",
        "class P:\n    def act(self, r): pass\n    def __getattr__(self, name): raise RuntimeError(name)\npolicy = P()",
        "class F:\n    @property\n    def __signature__(self): raise OSError('no')\n    __call__ = print\npolicy = F()",
        "class Odd(Exception):\n    def __str__(self): raise ValueError\ndef policy(): raise Odd",
        "def policy(): raise SystemExit('usage: policy\\n  --weights')",
        "raise SystemExit(2)",
        "import argparse; argparse.ArgumentParser().parse_args(['--nothing'])",
    ],
)
def test_whatever_a_module_raises_is_one_line(policy_module: Callable[[str], str], text: str) -> None:
    """Attributes, lazy imports, factories and modules that raise anything are a PolicyError of one line."""
    with pytest.raises(PolicyError) as caught:
        load_policy(policy_module(text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) > 30


def test_half_a_module_does_not_stay(policy_module: Callable[[str], str]) -> None:
    """A file that failed to load leaves nothing under its name, and what was there before comes back."""
    spec = policy_module("raise OSError")
    name = Path(spec.rpartition(":")[0]).stem
    for before in (None, sys):
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
        with pytest.raises(PolicyError):
            load_policy(spec)
        assert sys.modules.pop(name, None) is before


@pytest.mark.parametrize("metadata", [{"model_hash": 3}, {"embodiment": object()}, {"mode": None}, {"providers": 3}])
def test_metadata_of_the_wrong_type_is_refused(metadata: dict[str, Any]) -> None:
    """What could not be written into a trace's header is refused when the policy loads."""
    policy = _WithAct()
    policy.metadata = metadata  # type: ignore[misc]
    with pytest.raises(PolicyError, match="metadata"):
        from_object(policy, name="x")


def test_metadata_that_is_no_dict_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """A policy whose ``metadata`` is something else loads, and the log says that it is not used."""
    policy = _WithAct()
    policy.metadata = "arm"  # type: ignore[misc, assignment]
    assert from_object(policy, name="x").embodiment is None
    assert "metadata" in caplog.text


def test_model_hash_covers_every_file(tmp_path: Path) -> None:
    """External weights, configuration, names and subfolders all change the model hash; hidden files do not."""
    (tmp_path / "model.onnx").write_bytes(b"graph")
    seen = {model_hash(tmp_path)}
    (tmp_path / "model.onnx.data").write_bytes(b"weights A")
    seen.add(model_hash(tmp_path))
    (tmp_path / "model.onnx.data").write_bytes(b"weights B")
    seen.add(model_hash(tmp_path))
    (tmp_path / "model.onnx.data").rename(tmp_path / "other.data")
    seen.add(model_hash(tmp_path))
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.txt").write_bytes(b"a")
    seen.add(model_hash(tmp_path))
    assert len(seen) == 5
    (tmp_path / ".cache").write_bytes(b"x")
    assert model_hash(tmp_path) in seen


def test_hashes_of_nothing_are_empty(tmp_path: Path) -> None:
    """An empty folder and no configuration have the empty hash."""
    assert model_hash(tmp_path) == config_hash(None) == config_hash({}) == ""


def test_config_hash_ignores_the_order_of_keys() -> None:
    """The same configuration in another order has the same hash."""
    assert config_hash({"a": 1, "b": [2]}) == config_hash({"b": [2], "a": 1}) != config_hash({"a": 1})


def test_image_hash_is_that_of_the_v1_format() -> None:
    """The image hash is the first 16 digits of the SHA-256 of the base64 text."""
    assert image_hash("aGVsbG8=") == "333d6b3a3c1f5db6"


@pytest.mark.parametrize("concurrency", [0, "2", None, 1.5])
def test_metadata_that_cannot_be_used_is_refused(concurrency: Any) -> None:
    """A concurrency that is no whole number from 1 raises PolicyError."""

    class Odd(_WithAct):
        metadata: ClassVar = {"concurrency": concurrency}

    with pytest.raises(PolicyError, match="metadata"):
        from_object(Odd, name="x")
