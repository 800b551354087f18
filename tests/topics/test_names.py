"""Names of topics and namespaces."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.errors import ConfigurationError, TopicNameError
from horus_async.topics.ring.names import check_namespace, check_topic_name, path_component

NAMES = st.from_regex(r"[A-Za-z0-9_.\-/]{1,255}", fullmatch=True).filter(
    lambda name: not name.startswith("/") and ".." not in name
)


@pytest.mark.parametrize("name", ["a", "scan", "Arm/joints.0", "a-b_c.D/9", ".", "a.", "a/", "a//b", "-", "x" * 255])
def test_good_names(name: str) -> None:
    """A name of allowed characters is given back as it is."""
    assert check_topic_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("x" * 256, "256 characters, at most 255"),
        ("/scan", "must not begin with '/'"),
        ("a..b", "must not contain '..'"),
        ("../etc/passwd", "must not contain '..'"),
        ("a b", "contains ' '"),
        ("a\n", r"contains '\n'"),
        ("a\0", r"contains '\x00'"),
        ("ä", r"contains '\xe4'"),
        ("\ud800", r"contains '\ud800'"),
        ("a,b", "contains ','"),
        ("\u0661", "contains"),
    ],
)
def test_bad_topic_names(name: str, reason: str) -> None:
    """A bad name is refused, and the error says what is wrong with it."""
    with pytest.raises(TopicNameError, match=re.escape(reason)):
        check_topic_name(name)


@pytest.mark.parametrize("name", [None, 5, b"scan", ["scan"]])
def test_a_name_that_is_no_text(name: object) -> None:
    """Something other than a str is a bad name, not a crash."""
    with pytest.raises(TopicNameError, match="a topic name is a str"):
        check_topic_name(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a/b", "a..b", "x" * 256, "a b", None])
def test_bad_namespaces(name: str) -> None:
    """A namespace is one path component, checked like a topic's name."""
    with pytest.raises(ConfigurationError, match="namespace"):
        check_namespace(name)


@given(NAMES)
def test_a_component_is_a_safe_file_name(name: str) -> None:
    """Whatever the name, its component is short, not hidden and stays in its folder."""
    component = path_component(name)

    assert "/" not in component
    assert not component.startswith(".")
    assert 1 <= len(component) <= 200


@given(NAMES, NAMES)
def test_no_two_names_share_a_component(one: str, other: str) -> None:
    """Different names have different components."""
    assert (path_component(one) == path_component(other)) == (one == other)


def test_names_that_look_alike() -> None:
    """Names made to collide do not."""
    names = [".", ".a", "a", "a/b", "a/.b", "a//b", "a./b", "A", "x" * 200, "x" * 201, "x" * 255, "x" * 254 + "/"]

    assert len({path_component(name) for name in names}) == len(names)
