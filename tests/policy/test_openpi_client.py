"""openpi's own client, from PyPI, against the server. It wants NumPy 1, so it gets an environment of its own."""

from __future__ import annotations

import base64
import random
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy
import orjson
import pytest
from click.testing import CliRunner

from horus_async.cli.trace import trace
from tests.policy.conftest import ROOT, needs_server, only_trace, read_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.policy.conftest import ServerProcess

pytestmark = [needs_server, pytest.mark.long]

POLICY = """
import time
import numpy

def policy(request):
    if request["instruction"] == "think":
        time.sleep(45)
    if request["instruction"] == "fail":
        raise ValueError("no such arm")
    light = request["observation/image"].mean() - request["observation/wrist_image"].mean()
    steps = numpy.arange(1, 51, dtype="float32")
    return {"actions": numpy.outer(steps, request["observation/state"]) * numpy.float32(light)}
"""

CLIENT = """
import json, random, sys
import numpy
import websockets.sync.client
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.msgpack_numpy import unpackb
from openpi_client.websocket_client_policy import WebsocketClientPolicy

port, *prompts = sys.argv[1:]
client = WebsocketClientPolicy("127.0.0.1", int(port), api_key="sesame")
said = {"metadata": client.get_server_metadata(), "answers": []}

def observation(number, prompt):
    dice = random.Random(number)
    images = [numpy.frombuffer(dice.randbytes(224 * 224 * 3), "uint8").reshape(224, 224, 3) for _ in range(2)]
    state = numpy.arange(8, dtype="float32") + number
    return {"observation/image": images[0], "observation/wrist_image": images[1], "observation/state": state,
            "prompt": prompt}

broker = ActionChunkBroker(client, action_horizon=25)
steps = [broker.infer(observation(99, "pick"))["actions"].tolist() for _ in range(25)]
for number, prompt in enumerate(prompts):
    try:
        answer = client.infer(observation(number, prompt))
    except RuntimeError as error:
        said["error"] = str(error)
        continue
    kinds = {name: f"{value.dtype}{list(value.shape)}" for name, value in answer.items() if hasattr(value, "dtype")}
    said["answers"].append({**answer, "actions": answer["actions"].tolist(), "kinds": kinds})
said["steps"] = steps
try:
    WebsocketClientPolicy("127.0.0.1", int(port), api_key="open")
except Exception as error:
    said["refused"] = f"{type(error).__name__}: {error}"
header = {"Authorization": "Api-Key sesame"}
with websockets.sync.client.connect(f"ws://127.0.0.1:{port}", additional_headers=header) as compressing:
    said["plain"] = unpackb(compressing.recv())["policy"]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with openpi-client, which forgets to ask for typing_extensions."""
    folder = tmp_path_factory.mktemp("openpi")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "-q", "openpi-client==0.1.2", "typing_extensions"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode:
        pytest.skip(f"openpi-client cannot be installed here: {done.stderr.strip()[-200:]}")
    return python


def _ask(python: Path, server: ServerProcess, *prompts: str) -> dict[str, Any]:
    port = server.url.rsplit(":", 1)[1]
    command = [str(python), "-c", CLIENT, port, *prompts]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env={"PYTHONNOUSERSITE": "1"}
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = orjson.loads(done.stdout)
    return said


def _images(number: int) -> list[bytes]:
    """The images that the client sends in its observation of that number."""
    dice = random.Random(number)
    return [dice.randbytes(224 * 224 * 3) for _ in range(2)]


def test_the_documented_example(
    client_python: Path, tmp_path: Path, server_process: Callable[..., ServerProcess]
) -> None:
    """The policy and the client of docs/policy.md run as they stand there."""
    text = (ROOT / "docs" / "policy.md").read_text()
    policy, client = re.findall(r"```python\n(.*?)```", text.partition("## openpi's clients")[2], re.DOTALL)[:2]
    (tmp_path / "arm_policy.py").write_text(policy)
    server = server_process("arm_policy.py:Arm", "--api-key", "KEY")
    code = client.replace("8000", server.url.rsplit(":", 1)[1])
    done = subprocess.run([str(client_python), "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "'reset_pose': [0.0" in done.stdout
    assert "(50, 7) {'infer_ms': " in done.stdout
    assert server.finish(signal.SIGINT) == 128 + signal.SIGINT


@pytest.mark.parametrize("images", ["hash_only", "full"])
def test_the_real_client(
    images: str,
    client_python: Path,
    tmp_path: Path,
    policy_module: Callable[[str], str],
    server_process: Callable[..., ServerProcess],
) -> None:
    """It connects, acts, waits 45 s for an answer, and sees errors; the trace replays, and keeps no image unasked."""
    policy, folder = policy_module(POLICY), tmp_path / "traces"
    options = ("--record", str(folder), "--record-images", images, "--api-key", "sesame", "--timeout", "300")
    server = server_process(policy, *options)
    prompts = ["pick", "think" if images == "hash_only" else "place", "fail"]
    said = _ask(client_python, server, *prompts)
    assert server.finish(signal.SIGTERM) == 128 + signal.SIGTERM

    assert said["plain"] == said["metadata"]["policy"] == policy
    assert len(said["steps"]) == 25
    assert [answer["kinds"]["actions"] for answer in said["answers"]] == ["float32[50, 8]"] * 2
    assert [answer["seq"] for answer in said["answers"]] == [1, 2]
    assert set(said["answers"][1]["server_timing"]) == {"infer_ms", "prev_total_ms"}
    if images == "hash_only":
        assert said["answers"][1]["server_timing"]["infer_ms"] >= 45_000
    assert said["error"].startswith("Error in inference server:\npolicy-error: ValueError: no such arm")
    assert said["refused"].startswith("InvalidStatus: ")
    assert "401" in said["refused"]

    lines = read_all(only_trace(folder)).lines  # type: ignore[attr-defined]
    assert [line["status"] for line in lines] == [200, 200, 200, 500]
    assert [line["request"]["instruction"] for line in lines] == ["pick", *prompts]
    # The digits of a float32 in the trace, those of a float64 in what the client printed.
    assert numpy.array(lines[1]["response"]["actions"], "float32").tolist() == said["answers"][0]["actions"]
    assert len({line["episode_id"] for line in lines}) == 1
    if images == "hash_only":
        text = b"".join(map(orjson.dumps, lines))
        for image in (image for number in range(3) for image in _images(number)):
            encoded = base64.b64encode(image)
            windows = {text[start : start + 24] for start in range(len(text) - 23)}
            assert not any(window in image or window in encoded for window in windows)
    else:
        result = CliRunner().invoke(
            trace, ["replay", str(only_trace(folder)), "--model", policy, "--fail-on", "actions", "--json"]
        )
        assert result.exit_code == 0, result.output
        summary = orjson.loads(result.stdout)["summary"]
        assert (summary["n_replayed"], summary["n_diffed"], summary["n_pass_actions"]) == (4, 3, 3), summary
