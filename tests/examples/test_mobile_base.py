"""``examples/mobile_base``: parts of the robot by themselves, and the whole of it in MuJoCo (the extra sim)."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from horus_async import ActionError, EmergencyStop, Miss, Node, Scheduler, sleep, tick
from horus_async.messages import (
    CmdVel,
    Header,
    LaserScan,
    MapMetaData,
    OccupancyGrid,
    Odometry,
    Point,
    Pose,
    Pose2D,
    Time,
)
from horus_async.testing import run_nodes, unique_namespace

from .pages import as_program, blocks_of
from .programs import EXAMPLES, ROOT, horus, python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOLDER = EXAMPLES / "mobile_base"
needs_mujoco = pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs mujoco")


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a module of the example, as its programs do; none is left behind for other tests."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (FOLDER / f"{name}.py").exists():
            del sys.modules[name]


def wheels_of(captured: Any) -> dict[int, list[float]]:
    """The commands to the wheels by tick."""
    return {message.tick: message.value.velocity for message in captured["wheels"]}


def test_the_wheels_stand_when_nobody_commands(part: Callable[[str], Any]) -> None:
    """From 0.2 s after the last command on, at once; the hand comes before the navigator."""
    feed: dict[str, Any] = {
        "cmd_vel": [(number, CmdVel(0.4, 0.0)) for number in range(0, 100, 5)],
        "teleop.cmd_vel": [(number, CmdVel(-0.1, 0.0)) for number in range(20, 80, 5)],
    }
    wheels = wheels_of(run_nodes(part("motors").Motors(), ticks=150, feed=feed))
    assert wheels[18][0] > 1.0
    assert wheels[92] == pytest.approx([-1.25, -1.25])
    assert wheels[114][0] > 0
    assert wheels[116] == [0.0, 0.0]


def test_a_parameter_limits_the_speed_while_it_drives(part: Callable[[str], Any]) -> None:
    """Set by a call, as from the command line."""

    async def slow(node: Node) -> None:
        if tick() == 60:
            await node.call("params", {"node": "motors", "set": {"max_speed": 0.2}})

    feed = {"cmd_vel": [(number, CmdVel(0.4, 0.0)) for number in range(150)]}
    wheels = wheels_of(run_nodes(part("motors").Motors(), Node("tuner", tick=slow), ticks=150, feed=feed))
    assert wheels[58] == pytest.approx([5.0, 5.0])
    assert wheels[148] == pytest.approx([2.5, 2.5])


def test_the_safe_state_of_the_motors(part: Callable[[str], Any]) -> None:
    """Paused, late, and at an emergency stop: the last command is to stand."""
    motors = part("motors").Motors()
    assert motors.on_miss is Miss.SAFE_MODE
    scheduler = Scheduler(deterministic=True, namespace=unique_namespace())
    sent: list[tuple[int, list[float]]] = []

    async def drive(node: Node) -> None:
        node.send("cmd_vel", CmdVel(0.4, 0.0))
        if tick() == 100:
            scheduler.pause("motors")
        if tick() == 200:
            scheduler.resume("motors")
        if tick() == 300:
            scheduler.emergency_stop("the test wants it")

    def watch(node: Node) -> None:
        while (message := node.recv_message("wheels")) is not None:
            sent.append((tick(), message.value.velocity))

    scheduler.add(Node("driver", tick=drive, pubs=["cmd_vel"])).add(motors)
    scheduler.add(Node("watcher", tick=watch, subs=["wheels"], enter_safe_state=lambda _: None))
    with pytest.raises(EmergencyStop):
        scheduler.run_sync(5.0)
    paused = [velocity for number, velocity in sent if 105 <= number < 200]
    assert all(velocity == [0.0, 0.0] for velocity in paused)
    assert [velocity for number, velocity in sent if 100 <= number < 200][-1] == [0.0, 0.0]
    assert next(velocity for number, velocity in sent if number > 200) != [0.0, 0.0]
    assert (motors.speed, motors.turn) == (0.0, 0.0)


def grid_of(rows: list[str]) -> OccupancyGrid:
    """A map from a drawing: a cell of 1 m a character, ``#`` for what is occupied."""
    data = np.array([[100 if cell == "#" else 0 for cell in row] for row in rows], np.int8)
    fine = data.repeat(20, axis=0).repeat(20, axis=1)
    about = MapMetaData(resolution=0.05, width=fine.shape[1], height=fine.shape[0], origin=Pose(Point()))
    return OccupancyGrid(info=about, data=fine.ravel())


def test_the_way_leads_around_what_is_occupied(part: Callable[[str], Any]) -> None:
    """As far away as the inflation says; and none is found where there is none."""
    search = part("search")
    costs = search.Costs.of(grid_of([".....", ".###.", "....."]), 0.3)
    way = search.find_way(costs, (2.5, 0.3), (2.5, 2.7))
    assert way[0] == (2.5, 0.3)
    assert way[-1] == (2.5, 2.7)
    assert costs.is_way(way)
    assert all(not (0.75 < x < 4.25 and 0.75 < y < 2.25) for x, y in way)
    assert search.find_way(costs, (2.5, 0.3), (2.5, 1.5)) is None
    assert search.find_way(search.Costs.of(grid_of([".#.", ".#."]), 0.3), (0.5, 0.5), (2.5, 0.5)) is None


def robot(part: Callable[[str], Any], tmp_path: Path, script: Any) -> list[Node]:
    """The robot, driven by a task of the test's own."""

    async def begin(node: Node) -> None:
        node.background(script, node)

    nodes = part("robot").build(["body", "brain", "--maps", str(tmp_path)]).nodes
    return [*nodes, Node("test", init=begin, tick=lambda _: None, rate=1)]


@needs_mujoco
def test_it_reaches_a_goal_and_stops_when_one_is_cancelled(part: Callable[[str], Any], tmp_path: Path) -> None:
    """A further goal takes the place of the present one; the map is saved."""
    got: list[Any] = []

    async def script(node: Node) -> None:
        async with node.goal("base.go_to", Pose2D(0.8, 0.4), timeout=5.0) as drive:
            left = [progress.left async for progress in drive]
            got.append((await drive.result(), left[0] > left[-1]))
        async with node.goal("base.go_to", Pose2D(0.8, 2.5), timeout=5.0) as one:
            await sleep(1.0)
            async with node.goal("base.go_to", Pose2D(-0.8, 1.0), timeout=5.0) as two:
                with pytest.raises(ActionError) as caught:
                    await one.result()
                await sleep(1.0)
                two.cancel()
                with pytest.raises(ActionError):
                    await two.result()
                got.append((caught.value.state, two.state))
        await sleep(0.5)
        got.append(await node.call("map.save", {"name": "here"}))
        node.request_stop()

    captured = run_nodes(*robot(part, tmp_path, script), duration=60)
    (reached, nearer), states, saved = got
    truth = captured.values("truth")
    assert nearer
    assert math.dist((reached.x, reached.y), (0.8, 0.4)) <= 0.1
    assert states == ("preempted", "cancelled")
    assert captured.values("wheels")[-1].velocity == [0.0, 0.0]
    assert math.dist((truth[-1].x, truth[-1].y), (truth[-2].x, truth[-2].y)) < 1e-3
    assert (saved, (tmp_path / "here.pgm").read_bytes()[:2]) == (str(tmp_path / "here.pgm"), b"P5")


@needs_mujoco
def test_it_goes_around_an_obstacle_that_comes_in_its_way(part: Callable[[str], Any], tmp_path: Path) -> None:
    """Put there while it drives. It never touches it, searches another way, and its odometry may begin anew."""

    async def script(node: Node) -> None:
        async with node.goal("base.go_to", Pose2D(0.0, 2.6), timeout=5.0) as drive:
            await sleep(2.0)
            await node.call("simulation.place", {"x": 0.0, "y": 1.4})
            await node.call("base.reset_odometry")
            await drive.result()
        node.request_stop()

    captured = run_nodes(*robot(part, tmp_path, script), duration=60)
    truth = captured.values("truth")
    assert math.dist((truth[-1].x, truth[-1].y), (0.0, 2.6)) < 0.25
    assert min(math.dist((pose.x, pose.y), (0.0, 1.4)) for pose in truth[40:]) > 0.42
    assert len(captured["path"]) >= 2


def test_the_mapper_waits_for_frames_of_other_programs(part: Callable[[str], Any], tmp_path: Path) -> None:
    """Scans whose place nobody knows are left out; it once failed."""
    feed: dict[str, Any] = {
        "scan": [(number, LaserScan(Header(Time.from_ns(number * 10**7), "laser"))) for number in range(0, 50, 10)],
        "odom": [(number, Odometry(Header(Time.from_ns(number * 10**7), "odom"))) for number in range(0, 50, 2)],
    }
    captured = run_nodes(part("mapping").Mapper(tmp_path), ticks=50, feed=feed)
    assert captured.values("frames") == []
    assert len(captured["map"]) == 1


@needs_mujoco
@pytest.mark.long
def test_every_block_of_its_page_runs(tmp_path: Path) -> None:
    """As a reader would type it: the tour, verified with no difference, and checked."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "program.py").write_text(as_program(blocks_of("docs/mobile_base.md")))
    done = python("-W", "error", "program.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_mujoco
def test_in_real_time_it_is_verified_with_no_difference(tmp_path: Path) -> None:
    """One near goal, then the program ends by itself."""
    app = FOLDER / "robot.py"
    done = horus("run", "--record", "near", f"{app}:build", "--", "--goal", "0.5,0.0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = horus(
        "replay", "near", "--speed", "max", "--verify", f"{app}:build", "--", "--goal", "0.5,0.0", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
