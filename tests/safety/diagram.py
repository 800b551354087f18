"""Draws the failure policies' table as diagrams for the docs: ``python -m tests.safety.diagram`` prints them."""

from __future__ import annotations

from horus_async.engine.rules.failure import TABLE, Action, State
from horus_async.nodes.failure_policies import FailurePolicy, Fatal, Ignore, Restart, Skip


def diagram(policy: type[FailurePolicy]) -> str:
    """A Mermaid state diagram of one policy, transition by transition as the table has them."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.RUNNING.value}"]
    for (of, state, happening), (to, action) in TABLE.items():
        if of is policy:
            note = "" if action is Action.NOTHING else f", {action.value}"
            lines.append(f"    {state.value} --> {to.value}: {happening.value}{note}")
    return "\n".join(lines)


def diagrams() -> str:
    """All four, as docs/safety.md shows them."""
    return "\n".join(
        f"### `{policy.__name__}`\n\n```mermaid\n{diagram(policy)}\n```\n" for policy in (Fatal, Restart, Skip, Ignore)
    )


if __name__ == "__main__":
    print(diagrams())  # noqa: T201 - that is what it is for
