"""Of which classes messages make objects: those of the program, never a library's unless it is told to."""

from __future__ import annotations

import contextlib
import enum
import http
import importlib
import os
import random
import signal
import subprocess
import sys
import types
import zipapp
from importlib.util import LazyLoader, find_spec, module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import orjson
import pytest
import trio

from horus_async import Miss, Node, Scheduler, Topic, register_messages
from horus_async.errors import ConfigurationError, MessageDecodeError
from horus_async.messages import CmdVel
from horus_async.recorder import open_session
from horus_async.replay.verify.verification import unknown_class
from horus_async.topics.codec import as_bytes, decode, encode, to_json
from horus_async.topics.kinds import admission
from horus_async.topics.kinds.finding import is_missing
from horus_async.topics.packed import schema
from horus_async.topics.packed.schema import Schema, Struct
from horus_async.topics.values.flags import MOST_COMBINATIONS
from tests.engine.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY = """
import dataclasses, enum, typing
import attrs
from tests.engine.programs import ROOT

made = []

class Gear(enum.Enum):
    LOW = 1
    HIGH = 2

@attrs.define
class Wheel:
    speed: float = 0.0
    parts: list = attrs.field(factory=lambda: made.append("a part") or [])

@dataclasses.dataclass
class Axle:
    left: Wheel = dataclasses.field(default_factory=Wheel)
    gear: Gear = Gear.LOW

class Pair(typing.NamedTuple):
    a: int = 0
"""


class Settings(NamedTuple):
    """Of this program."""

    status: http.HTTPStatus = http.HTTPStatus.OK
    statuses: tuple[http.HTTPStatus | None, ...] = ()


@attrs.define
class Report:
    """Of this program; its fields hold an enum of the standard library."""

    number: int = 0
    status: http.HTTPStatus = http.HTTPStatus.OK


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A library that is installed."""
    name = f"acme_{random.getrandbits(60):x}"
    folder = tmp_path / "site-packages" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from .parts import Wheel, Axle, Gear, Pair, made\n")
    (folder / "parts.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setattr(admission, "_told", set())
    monkeypatch.setattr(admission, "_registered", set())
    yield importlib.import_module(name)
    for known in [known for known in sys.modules if known.partition(".")[0] == name]:
        del sys.modules[known]


def message(kind: type, value: Any) -> bytes:
    """One that names this class."""
    return orjson.dumps({"$type": f"{kind.__module__}.{kind.__qualname__}", "value": value})


def open_files() -> int:
    """How many descriptors this process has, where the system tells."""
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0


# Libraries


@pytest.mark.parametrize(("name", "value"), [("Wheel", {}), ("Axle", {}), ("Pair", {"a": 1}), ("Gear", "HIGH")])
def test_no_class_of_a_library_is_made(acme: Any, name: str, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It arrives as a dict, none of its code runs, and the way out is said once."""
    payload = message(getattr(acme, name), value)

    assert decode(payload) == decode(payload) == orjson.loads(payload)
    assert not acme.made
    (said,) = caplog.messages
    assert f"{acme.__name__}.parts.{name}, which arrives as a dict" in said
    assert f"register_messages({acme.__name__}.parts)" in said


@pytest.mark.parametrize("how", ["module", "outer module", "class", "type of a topic", "inside the type of a topic"])
def test_the_ways_out(acme: Any, how: str, namespace: str) -> None:
    """A registered module, a registered class, and the type of a topic with all that it consists of."""
    del namespace
    wheel = acme.Wheel(1.5, ["x"])
    if how == "module":
        register_messages(sys.modules[f"{acme.__name__}.parts"])
    elif how == "outer module":
        register_messages(acme)
    elif how == "class":
        register_messages(acme.Wheel)
    else:
        with Topic("t", acme.Wheel if how == "type of a topic" else acme.Axle) as topic:
            topic.send(wheel if how == "type of a topic" else acme.Axle(wheel, acme.Gear.HIGH))
            assert topic.recv() in (wheel, acme.Axle(wheel, acme.Gear.HIGH))

    assert decode(as_bytes(encode(wheel))) == decode(to_json(encode(wheel))) == wheel


@pytest.mark.parametrize("given", ["acme", None, int, print, LIBRARY])
def test_only_modules_and_classes_of_messages_are_registered(given: Any) -> None:
    """The error says what to give."""
    with pytest.raises(ConfigurationError, match=r"^register_messages\(.* give a module"):
        register_messages(given)


def test_a_registered_module_lets_in_no_other_library() -> None:
    """What it has imported from elsewhere is not its own."""
    module = types.ModuleType("with_imports")
    module.Lock = trio.Lock  # type: ignore[attr-defined]
    register_messages(module)

    assert type(decode(b'{"$type":"trio.Lock","value":{}}')) is dict


@pytest.mark.parametrize(
    "name",
    [
        "trio.Lock",
        "trio._core._entry_queue.EntryQueue",
        "trio._core._io_epoll.EpollIOManager",
        "horus_async.scheduler.options.SchedulerOptions",
        "horus_async.recorder.options.RecordingOptions",
        "horus_async.topics.kinds.checks.Wrong",
        "re.RegexFlag",
        "http.HTTPStatus",
        "urllib.parse.ParseResult",
        "inspect.ArgSpec",
        "attr._make.Attribute",
        "pydantic.main.BaseModel",
        "tests.topics.test_admission.trio.Lock",
        "__main__.trio.Lock",
    ],
)
def test_the_insides_of_what_is_imported(name: str) -> None:
    """Nothing of the standard library, of what this package stands on, or of the package itself."""
    before = open_files()
    for payload in (b'{"$type":"%b","value":{}}' % name.encode(), b'{"$type":"%b","value":65536}' % name.encode()):
        assert decode(b"[" + b",".join([payload] * 50) + b"]") == [orjson.loads(payload)] * 50
    assert open_files() == before


def test_the_names_of_a_loaded_script_lead_nowhere_else() -> None:
    """What is looked up in the module of a node for a recorded script is of the program, too."""
    from horus_async.topics.values.classes import find, use_program

    use_program([__name__])

    assert find("__main__.Report") is Report
    assert find("__main__.trio.Lock") is None
    assert find("__main__.CmdVel") is CmdVel


def test_what_a_program_gets_from_us_may_be_sent_on() -> None:
    """The statistics of a run, with all that they hold, and our messages."""
    scheduler = Scheduler(deterministic=True, tick_rate=10).add(Node("n", tick=lambda _: None))
    scheduler.run_sync(0.2)
    stats = scheduler.stats()

    assert decode(as_bytes(encode([stats, Miss.STOP, CmdVel(1.0)]))) == [stats, Miss.STOP, CmdVel(1.0)]


@pytest.mark.parametrize(
    "value", [Report(1, http.HTTPStatus.NOT_FOUND), Settings(http.HTTPStatus.GONE, (None, http.HTTPStatus.OK))]
)
def test_enums_of_others_in_annotated_fields(value: Any, namespace: str) -> None:
    """A field of a class of the program says that it holds them; packed, as text, and from a recording."""
    del namespace
    with Topic("t") as topic:
        topic.send(value)
        assert topic.recv() == value
    again = decode(to_json(encode([value])))[0]
    assert again == value
    assert type(again.status) is http.HTTPStatus


def test_a_field_lets_in_no_other_enum() -> None:
    """Only what it is annotated with."""
    payload = orjson.dumps(
        {"$type": f"{__name__}.Report", "value": {"number": {"$type": "signal.Signals", "value": "SIGINT"}}}
    )
    assert decode(payload).number == {"$type": "signal.Signals", "value": "SIGINT"}
    assert type(signal.SIGINT) is signal.Signals


def test_a_ring_names_no_other_classes_than_a_text(acme: Any) -> None:
    """The header of a ring may describe any class, and a packed message follows it: it arrives as a dict as well."""
    described = Schema.of(Struct(f"{acme.__name__}.parts.Wheel", (("speed", "float"),)))
    schema.remember(described)

    arrived = decode(described.mark + b"\0" * 8)

    assert arrived == {"$type": f"{acme.__name__}.parts.Wheel", "value": {"speed": 0.0}}
    assert not acme.made


def test_a_recording_goes_by_the_same_rule(acme: Any, tmp_path: Path) -> None:
    """What was sent is in the file, and is made where it may be."""

    def tick(node: Node) -> None:
        node.send("wheel", acme.Wheel(2.0, []))

    scheduler = Scheduler(deterministic=True, tick_rate=10, recording="s", recordings_dir=tmp_path)
    scheduler.add(Node("n", tick=tick, pubs=["wheel"])).run_sync(0.1)
    (output,) = open_session(tmp_path / "s").outputs("n")

    assert output.value["$type"] == f"{acme.__name__}.parts.Wheel"
    register_messages(acme)
    assert output.value == acme.Wheel(2.0, [])


def test_a_verification_says_whose_the_class_is(acme: Any) -> None:
    """What comes as a dict is named in its report: with the way out where there is one, and no enum of a field."""
    name = f"{acme.__name__}.parts.Wheel"

    assert is_missing(name)
    assert f"call register_messages({acme.__name__}.parts) in the program" in unknown_class(name, "t")
    register_messages(acme)
    assert not is_missing(name)
    assert not is_missing("http.HTTPStatus")
    assert is_missing("no.Such")
    assert "that the program does not have" in unknown_class("no.Such", "t")


def test_a_module_that_is_loaded_on_first_use_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking into it would run its code."""
    name = f"slow_{random.getrandbits(60):x}"
    (tmp_path / f"{name}.py").write_text("raise AssertionError('it was loaded')")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)

    payload = b'{"$type":"%b.Pose","value":1}' % name.encode()
    assert decode(payload) == orjson.loads(payload)


def test_long_names_take_no_longer() -> None:
    """A name of a million parts is looked up nowhere."""
    payload = orjson.dumps({"$type": "a." * 1_000_000, "value": 1})
    assert decode(payload) == orjson.loads(payload)


def test_few_classes_are_told_of(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes messages cannot fill the log with the names of all that is imported."""
    monkeypatch.setattr(admission, "_told", set())
    found = [kind for kind in vars(signal).values() if isinstance(kind, type)] + [*vars(http).values()]
    kinds = [kind for kind in (*found, *vars(trio).values()) if isinstance(kind, type)]
    for kind in kinds:
        decode(message(kind, {}))

    assert 3 < len(caplog.messages) <= 20


# Whose a module is

PROGRAM = """
import attrs, sys
from horus_async.topics.codec import decode, encode, as_bytes
IMPORT
value = Pose(1.5)
print(type(decode(as_bytes(encode(value)))).__name__)
"""
POSE = "import attrs\n\n@attrs.define\nclass Pose:\n    x: float = 0.0\n"


def run(*command: str, cwd: Path, path: str = "") -> str:
    """What a program prints."""
    # not sys.path: other tests load programs whose folders stay there
    found = os.pathsep.join(filter(None, (path, str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": found}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_classes_of_a_script(tmp_path: Path) -> None:
    """Run as a file, as text, through a pipe, and as a module."""
    script = PROGRAM.replace("IMPORT", POSE)
    (tmp_path / "robot.py").write_text(script)

    assert run("robot.py", cwd=tmp_path) == "Pose"
    assert run("-c", script, cwd=tmp_path) == "Pose"
    assert run("-m", "robot", cwd=tmp_path) == "Pose"


@pytest.mark.parametrize(
    ("file", "name", "own"),
    [
        ("app/poses.py", "poses", True),
        ("app/robot/__init__.py", "robot", True),
        ("app/robot/parts/poses.py", "robot.parts.poses", True),  # of a namespace package
        ("app/src/robot/poses.py", "robot.poses", True),
        ("app/calendar_of_mine.py", "calendar_of_mine", True),
        ("app/statistics.py", "statistics", True),  # in the place of one of the standard library
        ("venv/lib/python3.11/site-packages/robot/__init__.py", "robot", False),
        ("venv/lib/python3.11/site-packages/robot/parts/poses.py", "robot.parts.poses", False),
        ("usr/lib/python3/dist-packages/robot.py", "robot", False),
        ("eggs/robot-1.0-py3.11.egg/robot/poses.py", "robot.poses", False),
        ("pex/robot-1.0-py3-none-any.whl/robot/poses.py", "robot.poses", False),
    ],
)
def test_whose_a_module_is_goes_by_where_it_lies(file: str, name: str, own: bool, tmp_path: Path) -> None:
    """The program's own folder, wherever it is; not where packages are installed."""
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(POSE)
    root = path.parents[name.count(".") + (path.name == "__init__.py")]
    program = PROGRAM.replace("IMPORT", f"from {name} import Pose")

    assert run("-c", program, cwd=tmp_path, path=str(root)) == ("Pose" if own else "dict")


@pytest.mark.parametrize("packed", [False, True])
def test_what_lies_beside_the_program_is_a_library_if_it_was_installed_there(
    packed: bool,
    tmp_path: Path,
) -> None:
    """As ``pip install --target`` does, also for a zip application; the program beside it stays its own."""
    app = tmp_path / "app"
    info = app / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (app / "acme").mkdir()
    (app / "acme" / "__init__.py").write_text(POSE)
    (app / "poses.py").write_text(POSE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "RECORD").write_text("acme/__init__.py,,\nacme-1.0.dist-info/METADATA,,\nacme-1.0.dist-info/RECORD,,\n")
    both = [PROGRAM.replace("IMPORT", f"from {name} import Pose") for name in ("acme", "poses")]
    (app / "__main__.py").write_text("\n".join([*both, PROGRAM.replace("IMPORT", POSE)]))
    target = str(app)
    if packed:
        target = str(tmp_path / "app.pyz")
        zipapp.create_archive(app, target)

    assert run(target, cwd=tmp_path).split() == ["dict", "Pose", "Pose"]


def test_a_package_that_is_installed_as_editable_is_the_programs_own(tmp_path: Path) -> None:
    """Its files are where they are edited; what is installed only leads there."""
    site, source = tmp_path / "site-packages", tmp_path / "work" / "robot" / "src"
    (source / "robot").mkdir(parents=True)
    (source / "robot" / "__init__.py").write_text(POSE)
    (source / "robot.egg-info").mkdir()
    site.mkdir()
    (site / "__editable__.robot-1.0.pth").write_text(f"{source}\n")
    program = f"import site; site.addsitedir({str(site)!r})\n" + PROGRAM.replace("IMPORT", "from robot import Pose")

    assert run("-c", program, cwd=tmp_path) == "Pose"


def test_a_link_to_where_packages_are_installed(tmp_path: Path) -> None:
    """Another name for a folder changes nothing."""
    real = tmp_path / "venv" / "site-packages"
    real.mkdir(parents=True)
    (real / "acme.py").write_text(POSE)
    (tmp_path / "libraries").symlink_to(real)
    program = PROGRAM.replace("IMPORT", "from acme import Pose")

    assert run("-c", program, cwd=tmp_path, path=str(tmp_path / "libraries")) == "dict"


@pytest.mark.parametrize("how", ["sys._MEIPASS = {!r}", "sys.executable = {!r} + '/robot'"])
def test_an_application_that_was_frozen(how: str, tmp_path: Path) -> None:
    """In it nobody can tell libraries from the rest but the script itself; what it loads from elsewhere is its own."""
    for folder, name in (("dist", "acme"), ("plugins", "poses")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(POSE)
    freeze = f"import sys; sys.frozen = True; {how.format(str(tmp_path / 'dist'))}\n"
    path = f"sys.path[:0] = [{str(tmp_path / 'dist')!r}, {str(tmp_path / 'plugins')!r}]\n"
    parts = [PROGRAM.replace("IMPORT", text) for text in ("from acme import Pose", "from poses import Pose", POSE)]

    assert run("-c", freeze + path + "\n".join(parts), cwd=tmp_path).split() == ["dict", "Pose", "Pose"]


def test_modules_that_a_program_makes_itself() -> None:
    """Those without a file are its own, and so are the classes that it makes in functions."""
    module = types.ModuleType("made_here")
    exec(POSE, vars(module))
    sys.modules["made_here"] = module
    try:
        assert decode(b'{"$type":"made_here.Pose","value":{"x":2.5}}') == module.Pose(2.5)
    finally:
        del sys.modules["made_here"]

    made = attrs.make_class("Made", {"n": attrs.field(type=int)})
    assert decode(as_bytes(encode(made(3)))) == made(3)


# Flags


Lamps = enum.Flag("Lamps", "A B C D E F G H I J K L M N O P")


class Bits(enum.IntFlag):
    """Any number is one."""

    A = 1
    B = 2


def test_combinations_of_flags_do_not_add_up() -> None:
    """Messages may name any number of them, and Python keeps each for ever."""
    kept = len(Bits._value2member_map_)
    name = f"{__name__}.Bits".encode()
    for value in range(20_000):
        arrived = decode(b'{"$type":"%b","value":%d}' % (name, value))
        assert type(arrived) is Bits
        assert arrived == value
    assert len(Bits._value2member_map_) <= kept + 2
    assert decode(b'{"$type":"%b","value":3}' % name) == Bits.A | Bits.B
    for text in (b"-1", b'{"$int":"0x%b"}' % (b"f" * 100), b"true", b'"A"', b"null", b"1.0"):
        with pytest.raises(MessageDecodeError, match="has no member"):
            decode(b'{"$type":"%b","value":%b}' % (name, text))


def test_a_flag_that_is_no_number_is_equal_to_itself() -> None:
    """So combinations are kept, and there are only so many that messages may make."""
    assert decode(as_bytes(encode(Lamps(1) | Lamps(2)))) is Lamps(1) | Lamps(2)
    name = f"{__name__}.Lamps".encode()
    kept = len(Lamps._value2member_map_)
    for value in range(MOST_COMBINATIONS):
        assert decode(b'{"$type":"%b","value":%d}' % (name, value)).value == value
    for value in range(MOST_COMBINATIONS + 100, MOST_COMBINATIONS + 300):
        with contextlib.suppress(MessageDecodeError):
            decode(b'{"$type":"%b","value":%d}' % (name, value))
    with pytest.raises(MessageDecodeError, match="combinations of it were made"):
        decode(b'{"$type":"%b","value":65535}' % name)
    assert len(Lamps._value2member_map_) <= kept + MOST_COMBINATIONS
    mine = Lamps(0xF0F0)
    assert decode(as_bytes(encode(mine))) is mine
