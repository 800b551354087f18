"""The values that nodes' parameters have in one run: set before it begins, and put back when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.errors import ParamError
from horus_async.spelling import did_you_mean

from .params import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from horus_async.observe import NodeInfo

    from .params import Param


def known_params(nodes: Iterable[Any]) -> dict[str, tuple[Any, Param[Any]]]:
    """All parameters of these nodes, by ``node.parameter``."""
    return {
        f"{node.name}.{name}": (node, one)
        for node in nodes
        if (offers := node._offers) is not None  # noqa: SLF001 - nodes are below this
        for name, one in offers.params.items()
    }


def set_for_run(nodes: Iterable[Any], values: Mapping[str, Any]) -> Callable[[], None]:
    """Set parameters, all of them or none.

    Args:
        nodes: Those of the run.
        values: By ``node.parameter``.

    Returns:
        What puts back the values that all parameters of these nodes had.

    Raises:
        ParamError: There is no such parameter, or it cannot have that value.
    """
    known = known_params(nodes)
    checked = {
        name: known[_known(name, known)][1].checked(known[name][0].name, value) for name, value in values.items()
    }
    before = [(vars(node), key_of(param.name)) for node, param in known.values()]
    kept = [held[key] for held, key in before]
    for name, value in checked.items():
        node, param = known[name]
        vars(node)[key_of(param.name)] = value

    def put_back() -> None:
        for (held, key), value in zip(before, kept, strict=True):
            held[key] = value

    return put_back


def _known(name: str, known: Mapping[str, Any]) -> str:
    if name in known:
        return name
    if not known:
        raise ParamError(f"no parameter {name!r:.100}: no node of this run has any")
    raise ParamError(f"no parameter {name!r:.100}{did_you_mean(name, known)}; there are {', '.join(sorted(known))}")


def recorded_for(nodes: Sequence[Any], recorded: Mapping[str, NodeInfo]) -> tuple[dict[str, Any], list[str]]:
    """What live nodes are to be set to so that they are as the recorded ones of their names were.

    Args:
        nodes: The live ones.
        recorded: By node, what it declared.

    Returns:
        Values by ``node.parameter``; and sentences on those that live nodes cannot have any more.
    """
    values: dict[str, Any] = {}
    notes = []
    known = known_params(nodes)
    for node in nodes:
        params = recorded[node.name].params if node.name in recorded else {}
        for name, value in params.items():
            full = f"{node.name}.{name}"
            try:
                values[full] = known[full][1].check(value)
            except KeyError:
                notes.append(f"recorded parameter {full} = {value!r:.100} is none of the program's any more")
            except ParamError as error:
                notes.append(f"recorded parameter {full} = {value!r:.100} cannot be set any more: {error}")
    return values, sorted(notes)
