"""Parameters: checked, set before a run or between two ticks, recorded, and replayed at their ticks."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from horus_async import ConfigurationError, Node, Param, ParamError, Scheduler, ServiceError
from horus_async.recorder import open_session
from tests.interface.programs import both_modes, collector, count, run_and_verify, scheduler_of

if TYPE_CHECKING:
    from pathlib import Path


class Gait(Enum):
    """How it walks."""

    WALK = "walk"
    TROT = 2


class Arm(Node):
    """Has parameters of every type."""

    name = "arm"
    gain = Param(0.8, min=0.0, max=2.0, unit="1/s", doc="How hard it pulls back.")
    steps = Param(3, min=1)
    label = Param("left", choices=("left", "right"))
    on_line = Param(default=True)
    gait = Param(Gait.WALK)
    limits = Param([1.0, 2.0], max=10)
    names = Param(("a", "b"))

    def tick(self) -> None:
        """Shows its values."""
        self.send("state", [self.gain, self.steps, self.label])


def setter(*changes: tuple[int, dict[str, Any]], node: str = "arm") -> Node:
    """A node that sets parameters at these ticks, and sends what comes of it."""

    async def ask(self: Node) -> None:
        number = count(self)
        for at, values in changes:
            if at == number:
                try:
                    self.send("answer", await self.call("params", {"node": node, "set": values}, timeout=5.0))
                except ServiceError as error:
                    self.send("answer", str(error))

    return Node("setter", tick=ask, order=-1)


GOOD = [
    ("gain", 1, 1.0),
    ("gain", 0.0, 0.0),
    ("steps", 10**30, 10**30),
    ("label", "right", "right"),
    ("on_line", False, False),
    ("gait", "walk", Gait.WALK),
    ("gait", 2, Gait.TROT),
    ("gait", "TROT", Gait.TROT),
    ("gait", Gait.TROT, Gait.TROT),
    ("limits", (1, 2.5), [1.0, 2.5]),
    ("limits", [], []),
    ("names", ["x"], ("x",)),
]
BAD = [
    ("gain", 2.1, "float from 0.0 to 2.0 1/s, not 2.1"),
    ("gain", -1, "float from 0.0 to 2.0 1/s, not -1"),
    ("gain", math.nan, "not nan"),
    ("gain", math.inf, "not inf"),
    ("gain", "1.0", "has to be float"),
    ("gain", True, "has to be float"),
    ("gain", None, "has to be float"),
    ("gain", 10**400, "has to be float"),
    ("steps", 0, "int of at least 1, not 0"),
    ("steps", 1.0, "int of at least 1, not 1.0"),
    ("steps", False, "has to be int"),
    ("label", "up", "one of 'left', 'right', not 'up'"),
    ("on_line", 1, "has to be bool, not 1"),
    ("gait", "run", "one of 'walk', 2, not 'run'"),
    ("gait", True, "one of 'walk', 2, not True"),
    ("limits", [1.0, 11], "list of float of at most 10, not 11"),
    ("limits", "12", "has to be a row"),
    ("names", [1], "tuple of str, not 1"),
    ("label", "x" * 20_000, "can have 10000 characters, not 20000"),
]


@pytest.mark.parametrize(("name", "value", "comes_to"), GOOD)
def test_a_value_that_fits_is_taken_in_its_own_type(name: str, value: Any, comes_to: Any) -> None:
    """As the node reads it."""
    arm = Arm()
    setattr(arm, name, value)
    got = getattr(arm, name)
    assert (got, type(got)) == (comes_to, type(comes_to))
    assert getattr(Arm(), name) == getattr(Arm, name).default  # no other node's


@pytest.mark.parametrize(("name", "value", "says"), BAD)
def test_a_value_that_does_not_fit_is_refused_and_the_old_one_stays(name: str, value: Any, says: str) -> None:
    """The error names the parameter, what is allowed, and what was given."""
    arm = Arm()
    before = getattr(arm, name)
    with pytest.raises(ParamError) as caught:
        setattr(arm, name, value)
    assert str(caught.value).startswith(f"arm.{name} ")
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300
    assert getattr(arm, name) == before


@both_modes
def test_a_change_takes_effect_between_two_ticks_and_replays_there(*, deterministic: bool, tmp_path: Path) -> None:
    """All of it or nothing; verified bit for bit."""
    got: list[Any] = []

    def make() -> list[Node]:
        return [
            setter(
                (3, {"gain": 1, "steps": 9}),
                (5, {"gain": 0.5, "steps": 0}),
                (7, {"gian": 1}),
                (8, {}),
            ),
            Arm(),
            collector(got, "answer"),
        ]

    report = run_and_verify(make, tmp_path, deterministic=deterministic, duration=0.15)
    assert (report.differences, report.compared > 15) == (0, True), report
    values = {"label": "left", "on_line": True, "gait": "walk", "limits": [1.0, 2.0], "names": ["a", "b"]}
    assert got[0] == {"gain": 1.0, "steps": 9, **values}
    assert got[1] == "params: arm.steps has to be int of at least 1, not 0"
    assert got[2] == "params: arm has no parameter 'gian'; did you mean 'gain'?"
    assert got[3] == got[0]
    states = [sent.payload for sent in open_session(tmp_path / "run").outputs("arm") if sent.topic == "state"]
    assert {bytes(state) for state in states} == {b'[0.8,3,"left"]', b'[1.0,9,"left"]'}
    if deterministic:
        assert states.index(b'[1.0,9,"left"]') in (3, 4)


def test_set_twice_in_one_tick(tmp_path: Path) -> None:
    """Each is checked, answered and recorded, in order; the last one stays."""
    got: list[Any] = []

    def make() -> list[Node]:
        return [setter((2, {"steps": 4}), (2, {"steps": 5})), Arm(), collector(got, "answer")]

    assert run_and_verify(make, tmp_path, deterministic=True, duration=0.05).differences == 0
    assert [answer["steps"] for answer in got] == [4, 5] * 2  # in the run, and in the verification


def test_a_change_is_an_event_of_the_black_box(tmp_path: Path) -> None:
    """With what it was and what it is; one that changes nothing is none."""
    scheduler = scheduler_of(
        [setter((2, {"gain": 1.5}), (3, {"gain": 1.5}), (4, {"gain": 9})), Arm()],
        deterministic=True, blackbox_mb=1, blackbox_dir=tmp_path,
    )  # fmt: skip
    scheduler.run_sync(0.1)
    assert scheduler.blackbox is not None
    events = [(found.tick, str(found.event)) for found in scheduler.blackbox.events("Custom")]
    changes = [(at, event) for at, event in events if "->" in event]
    assert [at for at, _ in changes] == [2], events
    assert "arm.gain: 0.8 -> 1.5" in changes[0][1]
    refused = [event for _, event in events if "arm.gain has to be" in event]
    assert len(refused) == 1


def test_a_scheduler_sets_parameters_for_its_run_alone(tmp_path: Path) -> None:
    """They are in the recording, verification takes them from there, and the node is afterwards what it was."""
    arm = Arm()
    arm.steps = 7
    scheduler = scheduler_of(
        [arm, setter((1, {"steps": 8}))], deterministic=True, params={"arm.gain": 2}, recording="run",
        recordings_dir=tmp_path,
    )  # fmt: skip
    scheduler.run_sync(0.05)
    assert (arm.gain, arm.steps) == (0.8, 7)
    assert open_session(tmp_path / "run").nodes["arm"].params["gain"] == 2.0

    async def verify() -> None:
        live = scheduler_of([Arm(), setter((1, {"steps": 8}))])
        report = await Scheduler.verify(tmp_path / "run", live)
        assert (report.differences, report.compared > 5, report.notes) == (0, True, ())

        class Other(Arm):
            gain = Param(0.8, max=1.0)
            label = None  # type: ignore[assignment]

            def tick(self) -> None:
                self.send("state", [2.0, self.steps, "left"])

        report = await Scheduler.verify(tmp_path / "run", scheduler_of([Other()]), ["arm"])
        assert (
            "recorded parameter arm.gain = 2.0 cannot be set any more: has to be float of at most 1.0"
            in report.notes[0]
        )
        assert "recorded parameter arm.label = 'left' is none of the program's any more" in report.notes[1]

    trio.run(verify)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"arm.gian": 1.0}, "no parameter 'arm.gian'; did you mean 'arm.gain'?; there are arm.gain, "),
        ({"leg.gain": 1.0}, "no parameter 'leg.gain'"),
        ({"arm.gain": 1.0, "arm.steps": "many"}, "arm.steps has to be int of at least 1, not 'many'"),
    ],
)
def test_what_cannot_be_set_keeps_the_run_from_beginning(params: dict[str, Any], says: str) -> None:
    """And nothing is half set."""
    arm = Arm()
    with pytest.raises(ParamError) as caught:
        scheduler_of([arm], deterministic=True, params=params).run_sync(0.02)
    assert says in str(caught.value)
    assert arm.gain == 0.8
    with pytest.raises(ParamError, match="no node of this run has any"):
        scheduler_of([Node("n", tick=lambda _: None)], params=params).run_sync(0.02)
    with pytest.raises(ConfigurationError, match="give a dict"):
        Scheduler(params=["arm.gain"])  # type: ignore[arg-type]


def test_a_running_node_does_not_set_its_own_by_assignment() -> None:
    """That would be a change that nobody hears of."""

    class Own(Arm):
        def tick(self) -> None:
            with pytest.raises(
                ParamError, match=r"arm\.gain is a parameter, and the node is running: set it from outside"
            ):
                self.gain = 1.0
            self.request_stop()

    scheduler_of([Own()], deterministic=True).run_sync(1.0)


def test_a_node_of_functions_has_parameters_too(tmp_path: Path) -> None:
    """Read as its attributes; the same `Param` may serve two nodes."""
    gain = Param(1.0)

    def show(node: Any) -> None:
        node.send(f"{node.name}.state", node.gain)

    def make() -> list[Node]:
        nodes = [Node(name, tick=show, params={"gain": gain}) for name in ("arm", "leg")]
        return [*nodes, setter((1, {"gain": 2}))]

    assert run_and_verify(make, tmp_path, deterministic=True, duration=0.05).differences == 0
    session = open_session(tmp_path / "run")
    ends = {n: [s.payload for s in session.outputs(n) if s.topic == f"{n}.state"][-1] for n in ("arm", "leg")}
    assert ends == {"arm": b"2.0", "leg": b"1.0"}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"rate": Param(1.0)}, "every node has something of that name"),
        ({"not a name": Param(1.0)}, "it has to be one of Python"),
        ({"gain": 1.0}, r"give a Param\(...\)"),
    ],
)
def test_parameters_of_functions_that_cannot_be(params: dict[str, Any], says: str) -> None:
    """Said where they are given."""
    with pytest.raises(ConfigurationError, match=says):
        Node("arm", tick=lambda _: None, params=params)


@pytest.mark.parametrize(
    ("default", "options", "says"),
    [
        (None, {}, "the default has to be a bool, an int"),
        ({}, {}, "the default has to be a bool, an int"),
        ([1, "a"], {}, "the items of a row have to be of one type"),
        ([[1]], {}, "the items of a row have to be of one type"),
        (5.0, {"max": 2.0}, "the default has to be float of at most 2.0, not 5.0"),
        ("up", {"choices": ("left",)}, "the default has to be one of 'left', not 'up'"),
        (math.nan, {}, "not nan"),
    ],
)
def test_a_parameter_that_cannot_be(default: Any, options: Any, says: str) -> None:
    """The default says the type, and has to be allowed."""
    with pytest.raises(ConfigurationError) as caught:
        Param(default, **options)
    assert says in str(caught.value)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["gain", "steps", "label", "on_line", "gait", "limits", "names", "x"]), _json))
def test_whatever_is_asked_for_all_of_it_is_set_or_nothing(values: dict[str, Any]) -> None:
    """And every value that a node has is one that it may have."""
    arm = Arm()
    before = {name: getattr(arm, name) for name in arm._offers.params}  # type: ignore[union-attr]
    got: list[Any] = []
    seen: list[Any] = []
    watch = Node("watch", tick=lambda _: seen.append({name: getattr(arm, name) for name in before}), order=9)
    scheduler_of([setter((1, values)), arm, collector(got, "answer"), watch], deterministic=True).run_sync(0.03)
    after = seen[-1]
    for name, value in after.items():
        assert getattr(Arm, name).check(value) == value
    if isinstance(got[0], str):
        assert after == before
    else:
        assert all(after[name] == getattr(Arm, name).check(value) for name, value in values.items())
