"""``node info``, and who reads a topic, of a robot in another process; and what ``topic pub`` sends to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from horus_async import Topic
from horus_async.messages import CmdVel
from horus_async.remote.client import Client
from horus_async.testing import unique_namespace
from tests.watching.robots import call, running, top_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """That of one that runs."""
    name = unique_namespace()
    with running(name, tmp_path_factory.mktemp("robot")):
        top_of(name, lambda said: {row["node"] for row in said["nodes"] if row["ticks"]} >= {"arm", "weak"})
        yield name


def test_a_node_says_all_of_itself(there: str) -> None:
    """As text and as JSON."""
    done = call("node", "info", "arm", "--namespace", there)
    assert done.returncode == 0, done.stderr
    for part in ("at 50 Hz", "Fatal()", "arm.at", "wanted", "gain = 0.5: How hard it pulls.", "arm.home", "errors 0"):
        assert part in done.stdout
    (weak,) = json.loads(call("node", "info", "weak", "--json", "--namespace", there).stdout)
    assert weak["last_error"]["error"] == "ValueError: no oil"
    assert "in fails" in weak["last_error"]["traceback"]
    wrong = call("node", "info", "wek", "--namespace", there)
    assert wrong.returncode == 2
    assert "did you mean 'weak'" in wrong.stderr


def test_readers_are_named(there: str) -> None:
    """Nodes by their names, other processes by their numbers where the system tells."""
    done = call("topic", "info", "arm.at", "--json", "--namespace", there)
    assert json.loads(done.stdout)["readers"] == ["listener"]
    rows = json.loads(call("topic", "list", "--json", "--namespace", there).stdout)
    assert {row["topic"]: row["readers"] for row in rows}["arm.at"] == ["listener"]
    assert {row["node"]: row["reads"] for row in Client(there).uses(10.0)}["listener"] == ["arm.at"]


def test_what_is_typed_becomes_what_the_topic_has(there: str) -> None:
    """An object of its class, or an error that says what does not fit."""
    with Topic("arm.at", namespace=there) as topic:
        done = call("topic", "pub", "arm.at", '{"linear": 77, "angular": 0}', "--namespace", there)
        assert done.returncode == 0, done.stderr
        found = next(one for one in iter(topic.recv, 0) if isinstance(one, CmdVel) and one.linear == 77)
        assert found.angular == 0
        wrong = call("topic", "pub", "arm.at", '{"linear": "x"}', "--namespace", there)
        assert wrong.returncode == 2
        assert "expected a number" in wrong.stderr
        assert call("topic", "pub", "arm.at", '"odd"', "--untyped", "--namespace", there).returncode == 0
        assert any(value == "odd" for value in topic.recv_all())


def test_echo_is_yaml(there: str) -> None:
    """One document a message, which may be one field of it."""
    done = call("topic", "echo", "arm.at", "-n", "2", "--field", "angular", "--namespace", there)
    documents = done.stdout.split("---\n")[1:]
    assert len(documents) == 2
    assert all("\nvalue: 0.5" in one or "\nvalue: 0.0" in one for one in documents)
