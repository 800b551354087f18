"""What a node declares of its topics, brought into one form."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from horus_async.errors import ConfigurationError
from horus_async.topics import check_topic_name
from horus_async.topics.keeping.keep import Keep

_NOTHING: Mapping[str, Keep] = MappingProxyType({})


class DeclaredTopics(tuple[str, ...]):  # noqa: SLOT001 - a tuple has no room for slots
    """Names of topics, each once, and what a node keeps of them."""

    keeps: Mapping[str, Keep] = _NOTHING


def declared_topics(option: str, topics: Any) -> DeclaredTopics:
    """The value of an option that declares topics: names, or a mapping of them, for ``pubs`` also to `Keep`.

    Raises:
        ConfigurationError: It is no such thing.
        TopicNameError: A topic cannot have such a name.
    """
    if isinstance(topics, DeclaredTopics):  # it was settled before
        return topics
    if isinstance(topics, str):
        topics = (topics,)
    try:
        found = DeclaredTopics(dict.fromkeys(check_topic_name(topic) for topic in topics))
    except TypeError:
        raise ConfigurationError(f"{option}={topics!r}: give one or more topic names") from None
    if isinstance(topics, Mapping):
        keeps = {topic: keep for topic, keep in topics.items() if isinstance(keep, Keep)}
        if keeps and option != "pubs":
            raise ConfigurationError(
                f"{option}={topics!r}: who sends on a topic keeps its messages; put Keep into that node's pubs"
            )
        for topic, given in topics.items():
            if given is Keep:
                raise ConfigurationError(f"{option}: {topic!r} has Keep without brackets; write Keep(), or Keep(n=2)")
        found.keeps = MappingProxyType(keeps)
    return found
