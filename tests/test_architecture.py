"""Who may import whom: the rooms of docs/design.md, read from the source."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PACKAGE = "horus_async"

# Each room and those it may import besides itself. A module that stands alone in the package and is not named here
# belongs to the engine.
BASE = {"errors", "clock", "topics", "observe"}
ALLOWED = {
    "errors": set(),
    "clock": {"errors"},
    "topics": {"errors", "clock"},
    "observe": {"errors", "clock", "topics"},
    "engine": BASE,
    "recorder": BASE | {"engine"},
    "blackbox": BASE | {"engine"},
    "policy": BASE,
    "scheduler": BASE | {"engine", "recorder", "blackbox"},
    "testing": BASE | {"engine", "recorder", "blackbox", "scheduler", "root"},
    "cli": BASE | {"engine", "recorder", "blackbox", "policy", "scheduler", "testing", "root"},
    "root": BASE | {"engine", "recorder", "scheduler"},
    "__main__": {"cli"},
}

# Modules that belong to a room without bearing its name.
FRONT = {
    **dict.fromkeys(("assembly", "replay", "replay_options", "verify", "verification"), "scheduler"),
    "pytest_plugin": "testing",
}


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


def _room(module: str) -> str:
    parts = module.split(".")
    if len(parts) == 1:
        return "root"
    return parts[1] if parts[1] in ALLOWED else FRONT.get(parts[1], "engine")


def _is_type_checking(statement: ast.AST) -> bool:
    return isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test)


def _runtime_nodes(tree: ast.AST, *, into_functions: bool = True) -> Iterator[ast.AST]:
    """Every node that runs; what stands under ``if TYPE_CHECKING`` does not."""
    for child in ast.iter_child_nodes(tree):
        if _is_type_checking(child):
            continue
        if not into_functions and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield child
        yield from _runtime_nodes(child, into_functions=into_functions)


def _imports(module: str, *, into_functions: bool = True) -> Iterator[str]:
    """The absolute names of all modules that ``module`` imports at run time; the version number is anyone's."""
    is_package = SOURCES[module].name == "__init__.py"
    for node in _runtime_nodes(TREES[module], into_functions=into_functions):
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


def test_the_source_is_found() -> None:
    """The checks below look at the real package, command line included."""
    assert {"horus_async", "horus_async.clock.system", "horus_async.cli"} <= SOURCES.keys()
    assert "horus_async.clock.system" in set(_imports("horus_async.clock.timer"))


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_imports_follow_the_house_plan(module: str) -> None:
    """A module imports only from its own room and from those its room may look into."""
    room = _room(module)
    foreign = {
        imported
        for imported in _imports(module)
        if imported.split(".")[0] == PACKAGE and _room(imported) not in ALLOWED[room] | {room}
    }

    assert not foreign, f"{module} ({room}) may import {sorted(ALLOWED[room])} only"


def test_rooms_do_not_form_a_circle() -> None:
    """The plan itself flows one way."""
    left = {room: set(allowed) for room, allowed in ALLOWED.items()}
    while left:
        free = {room for room, allowed in left.items() if not allowed}
        assert free, f"a circle among {sorted(left)}"
        left = {room: allowed - free for room, allowed in left.items() if room not in free}


@pytest.mark.parametrize("module", sorted(SOURCES.keys() - {"horus_async.clock.system"}))
def test_only_the_system_clock_asks_for_the_time(module: str) -> None:
    """Nobody else imports ``time`` or asks ``datetime`` what time it is."""
    assert "time" not in set(_imports(module))
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
    at_import = {imported.split(".")[0] for imported in _imports(module, into_functions=False)}

    assert not at_import & {"numpy", "pandas", "onnxruntime"}
