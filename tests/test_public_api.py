"""What ``import horus_async`` offers, and what it costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import horus_async
from horus_async import errors

PACKAGE = Path(horus_async.__file__).parent


def test_names_are_sorted_and_unique() -> None:
    """``__all__`` is in order without doubles, and ``dir`` shows all of it."""
    assert sorted(set(horus_async.__all__)) == horus_async.__all__
    assert set(horus_async.__all__) <= set(dir(horus_async))


@pytest.mark.parametrize("name", horus_async.__all__)
def test_each_name_is_there_and_explains_itself(name: str) -> None:
    """Every public name can be imported, and it and its public methods have a docstring."""
    value = getattr(horus_async, name)
    if isinstance(value, str):
        return

    assert value.__doc__
    if inspect.isclass(value):
        mute = [
            f"{name}.{attribute}"
            for attribute, member in vars(value).items()
            if not attribute.startswith("_")
            and (inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod))
            and not inspect.getdoc(getattr(value, attribute))
        ]
        assert not mute


def test_every_error_is_public() -> None:
    """All of ours that can be raised can be caught by name."""
    ours = {name for name, value in vars(errors).items() if getattr(value, "__module__", "") == errors.__name__}

    assert ours <= set(horus_async.__all__)
    assert all(issubclass(getattr(errors, name), errors.HorusError) for name in ours)


def test_type_checkers_see_the_same_names() -> None:
    """The block for type checkers imports exactly the public names, each from where it is loaded."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: f"{statement.module}"
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    public = set(horus_async.__all__) - {"__version__"}

    assert set(seen) == public
    assert all(
        getattr(horus_async, name) is getattr(importlib.import_module(home), name) for name, home in seen.items()
    )


def test_no_submodule_hides_a_public_name() -> None:
    """Importing a submodule sets an attribute of the package: none may have the name of something public."""
    modules = {path.stem for path in PACKAGE.iterdir()}

    assert not modules & set(horus_async.__all__)


def test_an_unknown_name_is_an_error_that_names_it() -> None:
    """A misspelt name is an AttributeError, as of any module."""
    with pytest.raises(AttributeError, match="Schedular"):
        _ = horus_async.Schedular  # type: ignore[attr-defined]


def test_importing_is_cheap() -> None:
    """``import horus_async`` loads none of the heavy packages: they come with the first use of what needs them."""
    script = "import sys, horus_async; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(shown.stdout.split())

    assert "horus_async" in loaded
    assert not loaded & {"trio", "anyio", "asyncio", "numpy", "lz4", "rich", "orjson", "attr", "cattrs", "click"}


def test_the_package_is_typed() -> None:
    """The marker for type checkers is there."""
    assert (PACKAGE / "py.typed").is_file()
