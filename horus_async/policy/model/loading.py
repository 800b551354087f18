"""Loads the policy that a user names.

./export/             a folder with an ONNX export, and perhaps a ``policy.json``
module:attr           an object with ``act``, a function of one request, or a class or function that creates one
path/file.py:attr     the same from a file
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from horus_async.errors import PolicyError

from .hashes import file_hash
from .loaded import LoadedPolicy
from .onnx_policy import load_folder

if TYPE_CHECKING:
    from types import ModuleType

logger = logging.getLogger("horus_async.policy")

ASYNC_CONCURRENCY = 64
_LONGEST_REASON = 1000
_METADATA = ("model_hash", "config_hash", "model_type", "export_kind", "embodiment", "providers", "mode", "concurrency")
_ALL_METADATA = (*_METADATA, "episodes")


def load_policy(spec: str | Path) -> LoadedPolicy:
    """Load the policy that ``spec`` names, in a form from the top of this module.

    Raises:
        PolicyError: no such folder, module or attribute, or what it names is not a policy.
    """
    text = str(spec)
    with _one_line(f"cannot look at {text!r}"):
        folder = Path(text).expanduser()
        is_folder = folder.is_dir()
    if is_folder:
        return load_folder(folder)
    place, colon, attribute = text.rpartition(":")
    if not colon or not place or not attribute:
        raise PolicyError(f"{text!r} is neither a folder with an ONNX export nor module:attr")
    module = _import(place)
    return from_object(_attribute(module, place, attribute), name=text, source=getattr(module, "__file__", None))


def from_object(found: Any, *, name: str, source: str | None = None) -> LoadedPolicy:
    """A loaded policy from a Python object; ``source`` is the file that identifies it (``model_hash``).

    Raises:
        PolicyError: the object neither is a policy nor creates one.
    """
    # Attributes may be computed, and fail in any way.
    with _one_line(f"{name} cannot be used as a policy"):
        made = _policy_object(found, name)
        act = getattr(made, "act", made)
        is_async = _is_async(act)
        loaded = LoadedPolicy(
            name,
            act,
            reset=getattr(made, "reset", None),
            warm_up=getattr(made, "warm_up", None),
            is_async=is_async,
            concurrency=ASYNC_CONCURRENCY if is_async else 1,
            model_hash=file_hash(Path(source)) if source and Path(source).is_file() else "",
            export_dir=source or "",
            model_type="python",
            export_kind="python",
            mode="python",
            make=partial(from_object, found, name=name, source=source) if made is not found else None,
        )
        return _with_metadata(loaded, getattr(made, "metadata", None))


def _with_metadata(loaded: LoadedPolicy, metadata: Any) -> LoadedPolicy:
    if metadata is None:
        return loaded
    if not isinstance(metadata, Mapping):
        logger.warning("the metadata of %s is not used: it is no dict, but %s", loaded.name, type(metadata).__name__)
        return loaded
    try:
        known = {key: metadata[key] for key in _ALL_METADATA if key in metadata}
        return evolve(loaded, metadata=metadata, **known)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"the metadata of {loaded.name} cannot be used: {error.args[0]}") from error


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Whatever a user's code raises becomes a PolicyError of one line; ``sys.exit`` in it ends no server."""
    try:
        yield
    except PolicyError:
        raise
    except (Exception, SystemExit) as error:
        try:
            words = " ".join(str(error).split())
        except Exception:  # noqa: BLE001 - an exception's text is a user's code, too
            words = ""
        raise PolicyError(
            f"{what}: {type(error).__name__}" + (f": {words[:_LONGEST_REASON]}" if words else "")
        ) from error


def _attribute(module: ModuleType, place: str, attribute: str) -> Any:
    with _one_line(f"{place!r} gives no {attribute!r}"):
        return attrgetter(attribute)(module)


def _import(place: str) -> ModuleType:
    with _one_line(f"cannot import {place!r}"):
        if place.endswith(".py"):
            return _import_file(Path(place).expanduser())
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(place)


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PolicyError(f"no such file: {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        # Half a module must not be what the next import of this name finds.
        sys.modules.pop(path.stem, None)
        if before is not None:
            sys.modules[path.stem] = before
        raise
    return module


def _policy_object(found: Any, name: str) -> Any:
    makes_one = inspect.isclass(found) or (
        not callable(getattr(found, "act", None)) and callable(found) and not _takes_request(found)
    )
    if not makes_one:
        return _checked(found, name)
    with _one_line(f"{name} could not make a policy"):
        made = found()
    if inspect.iscoroutine(made):
        made.close()
        raise PolicyError(f"{name} is a coroutine function without arguments; create the policy in a plain function")
    return _checked(made, name)


def _checked(policy: Any, name: str) -> Any:
    act = getattr(policy, "act", None)
    if callable(act) or (callable(policy) and not inspect.isclass(policy)):
        asked = act if callable(act) else policy
        if _takes_request(asked):
            return policy
        raise PolicyError(f"{name} must take exactly one argument, the request")
    raise PolicyError(f"{name} is a {type(policy).__name__}, which neither has an 'act' nor can be called")


def _takes_request(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind({})
    except TypeError:
        return False
    except ValueError:
        # Some built-in callables have no signature to look at; assume that they take one.
        return True
    return True


def _is_async(act: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(act) or inspect.iscoroutinefunction(getattr(act, "__call__", None))  # noqa: B004
