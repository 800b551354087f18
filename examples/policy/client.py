"""A simulated arm that asks a policy server where to go, in a closed loop: observe, ask, move.

python client.py http://127.0.0.1:8000 [EPISODES]
"""

from __future__ import annotations

import http.client
import json
import sys
from urllib.parse import urlsplit

import numpy as np
from make_policy import hand_position, sample_states

EXECUTED = 4
CHUNKS = 10


def run_episodes(url: str, episodes: int = 4) -> list[float]:
    """How far from its target the hand ends in each episode, metres."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    distances = []
    for number, start in enumerate(sample_states(episodes, seed=3)):
        state = start.copy()
        for _ in range(CHUNKS):
            chunk = ask(connection, state, f"reach-{number}")
            # Only the first half of a chunk is executed; then the arm observes again.
            state[:2] += np.sum(chunk[:EXECUTED], axis=0)
        distances.append(float(np.linalg.norm(state[2:] - hand_position(state[None, :2])[0])))
    connection.close()
    return distances


def ask(connection: http.client.HTTPConnection, state: np.ndarray, episode: str) -> np.ndarray:
    """The policy's chunk for one observation."""
    observation = {"instruction": "reach the target", "state": state.tolist(), "episode_id": episode}
    connection.request("POST", "/act", json.dumps(observation), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200:
        raise RuntimeError(f"HTTP {response.status}: {answer['error']}: {answer['message']}")
    return np.asarray(answer["actions"])


if __name__ == "__main__":
    for episode, distance in enumerate(run_episodes(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 4)):
        print(f"episode {episode}: the hand ends {1000 * distance:.1f} mm from its target")
