"""Who may import whom, read from the source: imports point one way, between modules and between folders.

A folder is a room. A package's ``__init__`` is the front of its room: it may stand on all that is inside.
Imports for type checkers and imports inside functions count as any other: a circle that is hidden is a circle.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PACKAGE = "horus_async"
MODULES_IN_A_FOLDER = 14


def _sources() -> dict[str, Path]:
    """Every module of the package and its file; ``cli/`` under the name it is installed as."""
    found = {}
    for folder, prefix in ((ROOT / PACKAGE, PACKAGE), (ROOT / "cli", f"{PACKAGE}.cli")):
        for path in folder.rglob("*.py"):
            inside = path.relative_to(folder)
            if prefix == PACKAGE and inside.parts[0] == "cli":
                continue  # The link to the other folder.
            parts = [*prefix.split("."), *inside.with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


SOURCES = _sources()
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in SOURCES.items()}


def _nodes(tree: ast.AST, *, into_functions: bool = True, types: bool = True) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        if not types and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if not into_functions and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield child
        yield from _nodes(child, into_functions=into_functions, types=types)


def _imports(module: str, *, into_functions: bool = True, types: bool = True) -> Iterator[str]:
    """The absolute names of all modules that ``module`` imports; the version number is anyone's."""
    is_package = SOURCES[module].name == "__init__.py"
    for node in _nodes(TREES[module], into_functions=into_functions, types=types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = parts[: len(parts) - node.level + is_package] if node.level else []
            source = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
            names = [alias.name for alias in node.names if alias.name != "__version__"]
            modules = [f"{source}.{name}" for name in names if f"{source}.{name}" in SOURCES]
            if len(modules) < len(names):
                modules.append(source)
            yield from modules


IMPORTS = {module: {name for name in _imports(module) if name in SOURCES and name != module} for module in SOURCES}


def _room(module: str) -> str:
    """The folder of a module; its ``__init__`` and the modules beside the folders stand for themselves."""
    folder = module.rpartition(".")[0]
    if SOURCES[module].name == "__init__.py":
        return f"{module} (its front)"
    return module if folder == PACKAGE else folder


def _circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_source_is_found() -> None:
    """The checks below look at the real package, command line included, and see all kinds of imports."""
    assert {"horus_async", "horus_async.clock.system", "horus_async.cli"} <= SOURCES.keys()
    assert "horus_async.clock.system" in IMPORTS["horus_async.clock.timer"]
    assert "horus_async.nodes.node" in IMPORTS["horus_async"], "imports for type checkers"
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_no_folder_is_crowded() -> None:
    """A folder holds no more than can be taken in at a glance."""
    rooms: dict[str, list[str]] = {}
    for module in SOURCES:
        if SOURCES[module].name != "__init__.py":
            rooms.setdefault(module.rpartition(".")[0], []).append(module)

    assert not {room: len(modules) for room, modules in rooms.items() if len(modules) > MODULES_IN_A_FOLDER}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Whoever reads a module has to know those below it only."""
    assert not _circle(IMPORTS)


def test_no_folders_import_each_other_in_a_circle() -> None:
    """The folder is the layer: what one stands on does not stand on it."""
    graph: dict[str, set[str]] = {}
    for module, imported in IMPORTS.items():
        graph.setdefault(_room(module), set()).update({_room(other) for other in imported} - {_room(module)})

    assert not _circle(graph)


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_only_the_command_imports_the_command_line(module: str) -> None:
    """Nothing imports ``cli`` but itself and ``python -m horus_async``."""
    if not module.startswith((f"{PACKAGE}.cli", f"{PACKAGE}.__main__")):
        assert not {name for name in IMPORTS[module] if name.startswith(f"{PACKAGE}.cli")}


@pytest.mark.parametrize("module", sorted(SOURCES.keys() - {"horus_async.clock.system"}))
def test_only_the_system_clock_asks_for_the_time(module: str) -> None:
    """Nobody else imports ``time`` or asks ``datetime`` what time it is."""
    assert "time" not in set(_imports(module, types=False))
    asked = [
        ast.unparse(node)
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Attribute)
        and (node.attr == "utcnow" or (node.attr in {"now", "today"} and "date" in ast.unparse(node.value)))
    ]
    assert not asked, "use horus_async.clock.system"


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_optional_packages_are_imported_when_used(module: str) -> None:
    """NumPy and the other heavy packages are imported inside functions only."""
    at_import = {imported.split(".")[0] for imported in _imports(module, into_functions=False, types=False)}

    assert not at_import & {"numpy", "pandas", "onnxruntime"}
