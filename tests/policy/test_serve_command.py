"""``horus-async serve``: usage and errors; what it serves, the other tests show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from horus_async.cli.serve import serve
from tests.policy.conftest import needs_server

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = needs_server


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nowhere"],
        ["no_such_module:policy"],
        ["x:y", "--port", "70000"],
        ["x:y", "--record-images", "everything"],
        ["x:y", "--timeout", "0"],
        ["x:y", "--record", "traces", "--record-keep", "0"],
        ["x:y", "--host", "256.1.1.1"],
        ["x:y", "--allow-host", "http://robot7"],
        ["x:y", "--allow-host", "*"],
        ["x:y", "--max-body-mb", "64", "--max-bodies-mb", "63"],
        ["x:y", "--max-connections", "0"],
    ],
)
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    """A policy that does not load and impossible options end with exit code 2 and one line."""
    if "--port" not in arguments:
        arguments = [*arguments, "--port", "0"]
    result = CliRunner().invoke(serve, arguments)
    assert result.exit_code == 2, result.output
    assert "Error: " in result.stderr or result.stderr.splitlines()[-1].startswith("horus-async: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("key", ["", " ", "key\n", " key", "a\tb", "\udcff"])
def test_a_key_that_no_client_can_send_is_refused(key: str) -> None:
    """Such a key would let in nobody, or, if empty, everybody; what the environment has goes by the same rule."""
    for arguments, environment in [(["--api-key", key], {}), ([], {"HORUS_API_KEY": key})]:
        result = CliRunner().invoke(serve, ["x:y", "--port", "0", *arguments], env=environment)
        assert result.exit_code == 2, result.output
        assert "no client can send this API key" in result.stderr


def test_a_policy_that_fails_to_warm_up_is_exit_2(policy_module: Callable[[str], str]) -> None:
    """A policy whose warm-up raises ends the server with its reason."""
    broken = policy_module("class policy:\n def act(self, o): return [[1]]\n def warm_up(self): raise OSError('gpu')")
    result = CliRunner().invoke(serve, [broken, "--port", "0"])
    assert result.exit_code == 2
    assert "gpu" in result.stderr
