"""What a node declares of a topic whose last messages it keeps."""

from __future__ import annotations

from attrs import frozen

from horus_async.errors import ConfigurationError

KEEP_LIMIT = 1 << 16
"""So many messages may be kept at most; who wants more wants a recording."""


@frozen
class Keep:
    """In a node's ``pubs``: late readers of the topic first get its last ``n`` messages of this node.

    For maps, descriptions and configurations that are sent rarely: ``pubs={"map": Keep(OccupancyGrid)}``.

    Args:
        type: The class of the messages; None: any.
        n: How many are kept, 1 to 65536.

    Raises:
        ConfigurationError: One of them is invalid.
    """

    type: type | None = None
    n: int = 1

    def __attrs_post_init__(self) -> None:
        if self.type is not None and not isinstance(self.type, type):
            raise ConfigurationError(f"Keep({self.type!r}): give the class of the messages, or None (n=2 keeps two)")
        check_count("n", self.n)


def check_count(option: str, count: int) -> int:
    """See that so many messages can be kept.

    Raises:
        ConfigurationError: It is no number of messages.
    """
    if type(count) is not int or not 1 <= count <= KEEP_LIMIT:
        raise ConfigurationError(f"{option}={count!r}: give the number of messages to keep, 1 to {KEEP_LIMIT}")
    return count
