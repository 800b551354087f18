"""The names that topics and namespaces may have, and how a name becomes a component of a file path."""

from __future__ import annotations

from horus_async.errors import ConfigurationError, TopicNameError

NAME_LIMIT = 255
"""Characters in the name of a topic or a namespace."""

COMPONENT_LIMIT = 200
"""Characters of a path component made from a name: leaves room for a suffix within the file system's 255."""

_NAMESPACE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_TOPIC = _NAMESPACE | {"/"}


def check_topic_name(name: str) -> str:
    """Return ``name`` if a topic may have it. Names are case-sensitive.

    Raises:
        TopicNameError: not 1 to 255 of ``A-Z a-z 0-9 _ . - /``, or a leading ``/``, or ``..`` in it.
    """
    if not isinstance(name, str):
        raise TopicNameError(f"a topic name is a str, not {type(name).__qualname__}: {name!r}")
    problem = _problem(name, _TOPIC, "A-Z a-z 0-9 _ . - /")
    if problem is None and name.startswith("/"):
        problem = "must not begin with '/'"
    if problem:
        raise TopicNameError(f"topic name {_shown(name)} {problem}")
    return name


def check_namespace(name: str) -> str:
    """Return ``name`` if a namespace may have it: the rules for topics, without ``/``.

    Raises:
        ConfigurationError: it may not.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"a namespace is a str, not {type(name).__qualname__}: {name!r}")
    problem = _problem(name, _NAMESPACE, "A-Z a-z 0-9 _ . -")
    if problem:
        raise ConfigurationError(f"namespace {_shown(name)} {problem} (from namespace= or HORUS_NAMESPACE)")
    return name


def topic_in(component: str) -> str | None:
    """The topic of a `path_component`; None where that does not say it."""
    return None if component.startswith("+") else component.removeprefix(",").replace(",", "/")


def path_component(name: str) -> str:
    """The file name for a checked topic or namespace name; no two names share one.

    ``/`` becomes ``,`` (which no name contains). A leading dot gets a ``,`` in front, so that ``.`` is not the folder
    itself and no file is hidden; it cannot be mistaken for a ``/``, since no name begins with one. A name too long
    for a file becomes ``+`` and its SHA-256.
    """
    component = name.replace("/", ",")
    if component.startswith("."):
        component = "," + component
    if len(component) > COMPONENT_LIMIT:
        import hashlib  # late: it loads OpenSSL

        component = "+" + hashlib.sha256(name.encode()).hexdigest()
    return component


def _problem(name: str, allowed: frozenset[str], alphabet: str) -> str | None:
    if not name:
        return "is empty"
    if len(name) > NAME_LIMIT:
        return f"is too long: {len(name)} characters, at most {NAME_LIMIT}"
    if not allowed.issuperset(name):
        bad = next(char for char in name if char not in allowed)
        return f"contains {bad!a}; allowed are {alphabet}"
    if ".." in name:
        return "must not contain '..'"
    return None


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 60 else name[:57] + "...")
