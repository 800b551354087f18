"""A source of a page in words: what one wants to know first. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

_KINDS = {
    "DeadlineMiss": ("deadline miss", "deadline misses"),
    "BudgetViolation": ("overrun of a budget", "overruns of budgets"),
    "NodeError": ("failure", "failures"),
    "EmergencyStop": ("emergency stop", "emergency stops"),
    "Watchdog": ("watchdog alarm", "watchdog alarms"),
    "FailurePolicy": ("change of a failure policy", "changes of failure policies"),
    "SafeState": ("safe state entered", "safe states entered"),
    "Gap": ("gap", "gaps"),
    "RequestError": ("failed request", "failed requests"),
}
"""In the order in which they are told."""
_BAD = ("DeadlineMiss", "BudgetViolation", "NodeError", "EmergencyStop", "Watchdog", "RequestError")


def summary(source: dict[str, Any]) -> dict[str, Any]:
    """A source in words and figures.

    ``verdict`` is a sentence, ``facts`` are short ones, ``counts`` have each kind of incident with the nodes that it
    was about, ``first`` is the first anomaly.
    """
    counts: dict[str, Counter[str]] = {}
    for row in source["incident_counts"]:
        counts.setdefault(row["kind"], Counter())[row["node"]] += row["count"]
    told = [
        {"kind": kind, "count": found.total(), "words": _counted(kind, found), "nodes": dict(found)}
        for kind in _KINDS
        if (found := counts.get(kind))
    ]
    first = next((one for one in source["incidents"] if one["level"] == "bad"), None)
    return {
        "verdict": _verdict(source, told),
        "facts": _facts(source),
        "counts": told,
        "first": first,
        "bad": sum(one["count"] for one in told if one["kind"] in _BAD),
    }


def _verdict(source: dict[str, Any], told: list[dict[str, Any]]) -> str:
    bad = [one["words"] for one in told if one["kind"] in _BAD]
    warned = sum(count for level, count in source["log_counts"].items() if level in {"WARNING", "ERROR", "CRITICAL"})
    lines = f"{_number(warned)} {'line' if warned == 1 else 'lines'} of the log from WARNING up" if warned else ""
    if not bad:
        rest = [*(one["words"] for one in told), *([lines] if lines else [])]
        return f"No failure. {_listed(rest)}." if rest else "No failure, and nothing out of the ordinary."
    return f"{_listed(bad)}."


def _counted(kind: str, nodes: Counter[str]) -> str:
    count = nodes.total()
    text = f"{_number(count)} {_KINDS[kind][count != 1]}"
    names = [name for name, _ in nodes.most_common() if name]
    if not names:
        return text
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{text} of {', '.join(names[:3])}{more}"


def _facts(source: dict[str, Any]) -> list[str]:
    seconds = (source["end"] - source["begin"]) / 1e6
    facts = [f"{duration(seconds)} of {source['mode']}" if source["kind"] == "session" else duration(seconds)]
    nodes = sum(not node.get("outside") for node in source["nodes"])
    outside = len(source["nodes"]) - nodes
    ticks = sum(node["ticks"] for node in source["nodes"])
    if source["kind"] == "trace":
        facts.append(f"{_number(ticks)} requests")
    else:
        facts.append(f"{nodes} {'node' if nodes == 1 else 'nodes'}, {_number(ticks)} node ticks")
    if outside:
        facts.append(f"{outside} {'publisher' if outside == 1 else 'publishers'} outside of it")
    messages = sum(channel["count"] for channel in source["channels"])
    if source["kind"] == "session":
        topics = len({channel["topic"] for channel in source["channels"]})
        facts.append(f"{_number(messages)} messages on {topics} {'topic' if topics == 1 else 'topics'}")
    lines = sum(source["log_counts"].values())
    if lines:
        facts.append(f"{_number(lines)} log {'line' if lines == 1 else 'lines'}")
    return facts


def duration(seconds: float) -> str:
    """A length of time: ``0.526 s``, ``4 min 12 s``, ``1 h 00 min``."""
    if seconds < 120:
        return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _number(count: int) -> str:
    return f"{count:,}"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
