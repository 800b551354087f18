"""Misspelt options and callbacks are errors that say what was meant; ordinary names of a program are left alone."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from horus_async import ConfigurationError, Node, node
from horus_async.nodes.misspelt import CALLBACKS, OPTIONS
from horus_async.spelling import is_one_edit

VALUES: dict[str, Any] = {
    "name": "arm",
    "rate": 50.0,
    "on": "scan",
    "pubs": ["scan"],
    "subs": {"scan": int},
    "order": 3,
    "budget": 0.1,
    "deadline": 0.1,
    "on_miss": "skip",
    "failure_policy": None,
    "compute": True,
    "watchdog": 1.0,
}
"""For each option something that it could be."""


def class_of(**attributes: Any) -> type[Node]:
    """A class of nodes with a tick and these attributes."""
    return type("Robot", (Node,), {"tick": lambda _: None, **attributes})


def method(self: Any) -> None:
    """Stands for a method."""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("dealine", "deadline"),
        ("deadlin", "deadline"),
        ("daedline", "deadline"),
        ("Deadline", "deadline"),
        ("Rate", "rate"),
        ("rtae", "rate"),
        ("rat_e", "rate"),
        ("ratee", "rate"),
        ("hz", "rate"),
        ("nmae", "name"),
        ("publishes", "pubs"),
        ("publications", "pubs"),
        ("pub", "pubs"),
        ("pbus", "pubs"),
        ("Pubs", "pubs"),
        ("subscriptions", "subs"),
        ("subscribes", "subs"),
        ("sub", "subs"),
        ("budgt", "budget"),
        ("onMiss", "on_miss"),
        ("onmiss", "on_miss"),
        ("failurepolicy", "failure_policy"),
        ("failure_policiy", "failure_policy"),
        ("compte", "compute"),
        ("watchdg", "watchdog"),
        ("watch_dog", "watchdog"),
        ("ordr", "order"),
    ],
)
def test_misspelt_options(name: str, meant: str) -> None:
    """An attribute that was meant to be an option (user/class_typos)."""
    with pytest.raises(ConfigurationError, match=rf"Robot\.{name} means nothing to a node.*did you mean {meant}\?"):
        class_of(**{name: VALUES[meant]})()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("initialize", "init"),
        ("initialise", "init"),
        ("Init", "init"),
        ("inti", "init"),
        ("on_start", "init"),
        ("shutdwon", "shutdown"),
        ("shut_down", "shutdown"),
        ("onError", "on_error"),
        ("on_eror", "on_error"),
        ("on_exception", "on_error"),
        ("on_stop", "shutdown"),
        ("entersafestate", "enter_safe_state"),
        ("enter_safe_stat", "enter_safe_state"),
    ],
)
@pytest.mark.parametrize(
    "kind",
    [method, staticmethod(method), functools.partial(method)],
    ids=["method", "static method", "partial"],
)
def test_misspelt_callbacks(name: str, meant: str, kind: Any) -> None:
    """A method that nothing will ever call."""
    with pytest.raises(ConfigurationError, match=rf"Robot\.{name} means nothing.*did you mean {meant}\?"):
        class_of(**{name: kind})()


@pytest.mark.parametrize("name", ["tik", "tikc", "Tick", "on_tick", "step", "update", "run", "loop"])
def test_a_misspelt_tick(name: str) -> None:
    """A node without a tick is an error that names the method that may have been meant."""
    with pytest.raises(ConfigurationError, match=f"has no tick: was its method '{name}' meant to be the tick"):
        type("Robot", (Node,), {name: method})()
    with pytest.raises(ConfigurationError, match="has no tick: pass tick=function"):
        type("Robot", (Node,), {"measure": method})()


def test_in_a_base_class() -> None:
    """A mixin's attribute and a base's are looked at too, and what a class further down sets counts."""
    base = class_of(dealine=3)
    with pytest.raises(ConfigurationError, match=r"Robot\.dealine"):
        type("Arm", (base,), {})()
    type("Arm", (base,), {"deadline": 3.0})()
    type("Arm", (base,), {})(deadline=3.0)


PLAIN = """
    state names rates subs_ ticks init_done tick_count last_tick ticked ticker rate_hz_limit max_rate rate2 name_ named
    gate date late crate grate frame game same unit units limits orders ordered border older sums suns hubs cubs tubs
    sub_topics publisher_count subscriber_id initialized initial inits initializer is_init on_off once only one
    deadlines budgets budgeted computed computer computes watchdogs shutdowns errors error on_errors misses miss
    gain kp ki kd pose poses speed speeds velocity target targets goal goals plan plans path paths map maps scan scans
    camera lidar imu odom wheel wheels arm arms joint joints motor motors port host baud timeout period interval
    count counts index seq stamp stamps log_level debug verbose config cfg params options logger logs lostness
    queue buffer cache history window size width height scale offset bias noise sigma mean std variance alpha beta
    model weights policy_name driver device serial address mode modes phase phases stage stages step_size steps
    emergency safe safe_speed is_safe hold held grip gripper battery voltage current power on_time uptime origin
    ratio ration iterate orate pirate private public publics substitute submit tactic tactics tock tack thick trick
    stick sick pick kick lick nick wick rated irate nave knit edit exit emit wait halt hint lint suit quit
"""


@pytest.mark.parametrize("name", sorted(set(PLAIN.split())))
def test_ordinary_names(name: str) -> None:
    """Whatever their value, and although nothing in the class uses them, ordinary names are the program's own."""
    for value in (1, 1.5, "text", ["a", "b"], {"a": 1}, None, True, method, property(method), int, (), object()):
        class_of(**{name: value})()


def test_names_that_the_class_uses() -> None:
    """A name that a method of the class mentions is the program's own, however near it is."""

    class Robot(Node):
        dealine = 3.0
        publishes = ("a",)
        rtae = 5
        watchdg = 1
        budgt = 2

        def __init__(self) -> None:
            super().__init__()
            self.initialize()

        def initialize(self) -> None: ...

        def on_start(self) -> None: ...

        @property
        def left(self) -> float:
            return self.dealine

        @staticmethod
        def all() -> Any:
            return Robot.publishes

        async def tick(self) -> None:
            def inner() -> None:
                self.on_start()

            inner()
            getattr(self, "rtae")  # noqa: B009
            _ = [self.watchdg for _ in range(1)]

        @functools.cache  # noqa: B019
        def cached(self) -> Any:
            return self.budgt

    Robot()


def test_private_names_and_constants() -> None:
    """What begins or ends with an underscore or a digit, constants, nested classes and what Python itself adds."""
    for name in (
        "_rate",
        "__rate",
        "rate_",
        "rate1",
        "RATE",
        "TICK",
        "_init",
        "INIT",
        "_dealine",
        "DEALINE",
        "dealine2",
    ):
        for value in (5, method):
            class_of(**{name: value})()
    class_of(Rate=type("Rate", (), {}), dealine=property(method))()


@dataclasses.dataclass(eq=False)
class Tuned(Node):
    """A node that is a dataclass."""

    rate: float = 20.0
    gain: float = 0.5

    def __post_init__(self) -> None:
        """Make a node of it."""
        Node.__init__(self)

    def tick(self) -> None:
        """Do nothing."""


def test_a_dataclass() -> None:
    """Its fields may be options."""
    assert (Tuned().rate, Tuned(5.0).rate, Tuned.rate) == (20.0, 5.0, 20.0)


@given(st.sampled_from([name for name in (*OPTIONS, *CALLBACKS) if len(name) > 5]), st.data())
@example("deadline", None)
def test_one_edit_of_a_long_name(name: str, data: Any) -> None:
    """Any letter in the middle of a long name left out, put in, replaced or exchanged is found."""
    if data is None:
        return
    at = data.draw(st.integers(1, len(name) - 2))
    letter = data.draw(st.sampled_from("bqxz"))
    edits = [
        name[:at] + name[at + 1 :],
        name[:at] + letter + name[at:],
        name[:at] + letter + name[at + 1 :],
        name[:at] + name[at + 1] + name[at] + name[at + 2 :],
    ]
    wrong = data.draw(st.sampled_from(edits))
    assume(is_one_edit(wrong, name) and wrong not in ("commute", "compete"))
    value = method if name in CALLBACKS else VALUES[name]
    with pytest.raises(ConfigurationError, match=f"did you mean {name}"):
        class_of(**{wrong: value})()


@pytest.mark.parametrize(
    ("option", "advice"),
    [("hz", "rate"), ("sub", "subs"), ("dealine", "deadline"), ("on_start", "init"), ("Rate", "rate")],
)
def test_misspelt_arguments(option: str, advice: str) -> None:
    """An argument that is no option is an error of ours with the one that was meant (user/rate_typos)."""
    given: dict[str, Any] = {option: 5}
    with pytest.raises(ConfigurationError, match=rf"Node\(\) has no option '{option}'; did you mean '{advice}'\?"):
        Node("a", tick=print, **given)
    with pytest.raises(ConfigurationError, match=option):
        node(**given)(print)
    with pytest.raises(ConfigurationError, match=r"has no option 'colour'$"):
        Node("a", tick=print, colour="red")  # type: ignore[arg-type]
