"""Text of others in everything that people look at: no command, page or error lets it be more than text.

Every command is called with sessions, boxes, traces, bags, rings, policies and file names that are hostile wherever
others may write. A command that is not called here fails `test_every_command_is_called`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import signal
import subprocess
import sys
import threading
import unicodedata
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import click
import lz4.frame
import orjson
import pytest
from click.testing import CliRunner

from horus_async import Node, Scheduler
from horus_async.blackbox import BlackBox, NodeError
from horus_async.cli import main
from horus_async.cli.terminal.logs import PrintableFormatter
from horus_async.cli.terminal.text import below
from horus_async.errors import NodeFailure, TopicError
from horus_async.frames import stamped
from horus_async.policy.replay.plots import plot
from horus_async.recorder.limits import JSON_FILE_LIMIT
from horus_async.spelling import printable, printable_html
from horus_async.topics import Bus
from horus_async.topics.ring import memory
from tests.engine.programs import environment
from tests.policy.traces import foreign_lines, write_lines
from tests.record_commands.mcap_files import write_mcap
from tests.terminal import at_a_terminal_raw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORGED = "FORGED: all is well"
HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://x\x1b\\go\x1b]8;;\x1b\\\x1bc\x08\x7f\x9b2J\x90q\x9c"  # what terminals obey
    f"\r{FORGED}\n{FORGED}\u2028{FORGED}\x85{FORGED}\x0b\x0c"  # what ends or overwrites a line
    "\u202eexe\u202d\u2066x\u2069\u200e\u200f\u061c"  # another direction
    "\u200bz\u2060\ufeffw\u00ad\u200da\u200c\U000e0041\ufffb\u3164\ufe0f"  # nothing to be seen
    "[/] [red]x[/red] [link=file:///etc]y[/link] [/bold"  # markup of Rich
    "</script><script>alert(1)</script>\" onload=alert(1) x='<svg/onload=alert(1)>javascript:alert(1)"
)
NAME = "".join(letter for letter in HOSTILE[:150] if letter not in "/\0")
"""The part of it that a file may be called."""
PUBLISHER = HOSTILE.encode()[:240].decode(errors="ignore")
"""As much of it as the name of a publisher may have."""
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\r(?=[\n\x1b]|$)")
"""What our own tables and progress bars send to a terminal."""
PATIENCE = 300


def assert_harmless(text: str, *, at_terminal: bool = False, allowed: str = "\n", lines: bool = True) -> None:
    """Nothing in it controls a terminal, changes the direction of writing, hides, or passes for a line of its own."""
    text = OURS.sub("", text) if at_terminal else text
    letters = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert not letters - set(allowed), (letters, text)
    assert not (lines and any(line.startswith(FORGED) for line in text.splitlines())), text
    assert "MarkupError" not in text


def frame(*lines: dict[str, Any]) -> bytes:
    """A frame of a recording."""
    text = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    packed: bytes = lz4.frame.compress(text, content_checksum=True, store_size=False)
    return packed


def header(role: str, node: str) -> dict[str, Any]:
    """The first line of a file whose every text is hostile."""
    texts = dict.fromkeys(("session", "started_at", "namespace", "horus_version", "why", HOSTILE), HOSTILE)
    fields = {"kind": "header", "schema_version": 1, "role": role, "node": node, "tick_rate": 100.0, "seed": 1}
    return {**texts, **fields, "deterministic": True, "start_ns": 0, "pubs": [HOSTILE], "subs": [HOSTILE]}


def tick_line(node_outputs: str) -> dict[str, Any]:
    """A tick in which everything that is text is hostile."""
    output = {"topic": node_outputs, "seq": 0, "stamp_ns": 0, "data": {HOSTILE: HOSTILE, "$type": HOSTILE}}
    times = {"now_ns": 0, "dt_ns": 1, "duration_ns": 0}
    taken = {"topic": HOSTILE, "publisher": HOSTILE, "seq": 0}
    return {"kind": "tick", "tick": 0, **times, "inputs": [taken], "outputs": [output], "error": HOSTILE}


def forged_session(folder: Path, node: str) -> None:
    """A session that nobody recorded."""
    folder.mkdir(parents=True)
    order = {"kind": "tick", "tick": 0, "now_ns": 0, "order": [node], "digest": HOSTILE}
    gap = {"kind": "gap", "tick": 0, "dropped": 1, "reason": HOSTILE}
    said = {"kind": "log", "tick": 0, "now_ns": 0, "node": node, "level": HOSTILE, "message": HOSTILE}
    (folder / "scheduler@00000000.jsonl.lz4").write_bytes(frame(header("scheduler", HOSTILE)) + frame(order, gap))
    (folder / "n@00000000.jsonl.lz4").write_bytes(frame(header("node", node)) + frame(tick_line(HOSTILE), gap))
    (folder / "log@00000000.jsonl.lz4").write_bytes(frame(header("log", "log")) + frame(said))
    manifest = {"schema_version": 1, "started_at": HOSTILE, "tick_rate": 1, "deterministic": True}
    manifest |= {"nodes": {node: HOSTILE}, "scheduler": HOSTILE, "files": [HOSTILE], HOSTILE: HOSTILE}
    around = {"tick": HOSTILE, "kind": HOSTILE, "what": HOSTILE, "text": HOSTILE}
    manifest["trigger"] = {"count": 9, "triggers": [around], "before": HOSTILE}
    (folder / "session.json").write_bytes(orjson.dumps(manifest))
    attached = {"name": HOSTILE, "media_type": HOSTILE, "log_time_ns": 0, "create_time_ns": 0, "bytes": 1, "file": "a"}
    origin = {"file": HOSTILE, "topics": {HOSTILE: HOSTILE}, "nodes": {node: HOSTILE}, "attachments": [attached]}
    origin["metadata"] = [{"name": HOSTILE, "values": {HOSTILE: HOSTILE}}]
    (folder / "origin.json").write_bytes(orjson.dumps(origin))


def record(folder: Path, name: str, value: str) -> None:
    """A real session, whose values are hostile."""

    def tick(node: Node) -> None:
        node.send("words", {HOSTILE: value, "image": value})
        node.log.warning("%s", HOSTILE)

    logging.getLogger("horus_async.node").setLevel(logging.CRITICAL)
    scheduler = Scheduler(deterministic=True, recording=name, recordings_dir=folder)
    scheduler.add(Node("talker", tick=tick, rate=10)).run_sync(0.3)
    logging.getLogger("horus_async.node").setLevel(logging.NOTSET)


def hostile_mcap(path: Path) -> None:
    """A file whose topics, publishers, schemas, metadata and attachments are hostile."""

    def fill(writer: Any) -> None:
        schema = writer.register_schema(HOSTILE, "jsonschema", b"{}")
        for topic, encoding in ((HOSTILE, "json"), ("plain", HOSTILE)):
            channel = writer.register_channel(topic, encoding, schema, {"publisher": HOSTILE, HOSTILE: HOSTILE})
            writer.add_message(channel, 1, orjson.dumps({HOSTILE: HOSTILE}), 1)
        writer.add_attachment(1, 1, HOSTILE, HOSTILE, b"x")
        writer.add_metadata(HOSTILE, {HOSTILE: HOSTILE})

    write_mcap(path, fill)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is hostile in name and content: below it sessions, boxes, traces, bags, policies and programs."""
    folder = tmp_path_factory.mktemp("place") / NAME
    recordings = folder / "recordings"
    recordings.mkdir(parents=True, mode=0o700)
    forged_session(recordings / "forged", HOSTILE)
    forged_session(recordings / "mild", "talker")
    forged_session(recordings / NAME[:60], "talker")
    (recordings / "huge").mkdir()
    (recordings / "huge" / "session.json").write_bytes(b'{"schema_version":' + b" " * JSON_FILE_LIMIT + b"1}")
    for name, value in (("s", HOSTILE), ("other", "else"), ("gone", HOSTILE)):
        record(recordings, name, value)
    lines = foreign_lines(2, embodiment=HOSTILE, model_hash=HOSTILE, session_id=HOSTILE, **{HOSTILE: HOSTILE})
    lines[0] |= dict.fromkeys(("export_dir", "model_type", "export_kind", "config_hash", "reflex_version"), HOSTILE)
    lines[1]["request"] |= {"instruction": HOSTILE, HOSTILE: HOSTILE, "image": "x" * 8, f"{HOSTILE}_b64": "QUJD" * 99}
    lines[1]["episode_id"] = HOSTILE
    lines[1]["cache"] = {"status": HOSTILE}
    lines[2] |= {"error": {"slug": HOSTILE, "message": HOSTILE}, "response": {"actions": []}, "mode": HOSTILE}
    (folder / "traces").mkdir()
    write_lines(folder / "traces" / "t.jsonl", lines)
    write_lines(folder / "traces" / f"{NAME[:60]}.jsonl", lines)
    with BlackBox.create(folder / "boxes", name="scheduler", size_mb=1) as box:
        box.record(NodeError(HOSTILE, HOSTILE, HOSTILE), 0, 0)
        box.custom(HOSTILE, HOSTILE, x=HOSTILE, **{HOSTILE: [HOSTILE]})
    hostile = HOSTILE[:250]  # as long as the name of a frame may be
    placed = [stamped(hostile, "laser"), stamped("laser", f"{hostile}2"), stamped("laser", hostile)]
    scheduler = Scheduler(deterministic=True, recording="placed", recordings_dir=recordings)
    scheduler.add(Node("talker", tick=lambda node: node.send("frames", placed), rate=10)).run_sync(0.3)
    hostile_mcap(folder / "bag.mcap")
    (folder / "bad.mcap").write_bytes((folder / "bag.mcap").read_bytes()[:-300])
    (folder / "policy.py").write_text(
        f"def acts(request):\n    return {{'actions': [[1.0, 2.0]], 'cache': {{'status': {HOSTILE!r}}}}}\n"
        f"def fails(request):\n    raise ValueError({HOSTILE!r})\n"
    )
    (folder / "export").mkdir()
    (folder / "export" / "policy.json").write_bytes(orjson.dumps({HOSTILE: HOSTILE}))
    (folder / "export" / f"{NAME[:40]}.onnx").write_bytes(HOSTILE.encode())
    (folder / "robot.py").write_text(
        "from horus_async import Node, Scheduler\n"
        f"def tick(node):\n    node.log.warning('%s', {HOSTILE!r}, exc_info=True)\n    raise ValueError({HOSTILE!r})\n"
        "def build(args):\n    return Scheduler(deterministic=True).add(Node('n', tick=tick, rate=10))\n"
        f"def broken(args):\n    raise RuntimeError({HOSTILE!r})\n"
    )
    (folder / "twin.py").write_text(
        "from horus_async import Node, Scheduler\n"
        f"def tick(node):\n    node.send('words', {{{HOSTILE!r}: 'x'}})\n"
        "def build(args):\n    return Scheduler(deterministic=True).add(Node('talker', tick=tick, rate=10))\n"
    )
    launch_files(folder)
    (recordings / "set" / "arm").mkdir(parents=True)
    part = {"session": "arm", "started_at": HOSTILE, "ended_at": HOSTILE, "why": HOSTILE}
    programs = {HOSTILE: {"app": HOSTILE, "parts": [{"session": HOSTILE}]}, "arm": {"app": HOSTILE, "parts": [part]}}
    told = {"schema_version": 1, "started_at": HOSTILE, "file": HOSTILE, "programs": programs}
    (recordings / "set" / "set.json").write_bytes(orjson.dumps(told))
    forged_session(recordings / "set" / "base", "talker")
    return folder


def launch_files(folder: Path) -> None:
    """One with programs whose every word is hostile, and one with every error."""
    words = json.dumps(HOSTILE).replace("\\u0000", "").replace("\x7f", "\\u007f")
    (folder / "loud.py").write_text(f"import sys\nprint({HOSTILE!r}, sys.argv)\nraise SystemExit({HOSTILE!r})\n")
    loud = f'[programs.loud]\napp = "loud.py"\nargs = [{words}]\nenv = {{ X = {words} }}\n'
    (folder / "robot.toml").write_text(loud)
    (folder / "wrong.toml").write_text(
        f'[programs.{words}]\napp = "loud.py"\n[programs.arm]\napp = {words}\nafter = [{words}]\n'
        f"after_topics = [{words}]\n"
        f"namespace = {words}\n{words} = 1\noptions = [{words}]\nenv = {{ {words} = 1 }}\nrestart = {words}\n"
        f"[programs.base]\napp = {words}\nafter = [{words}]\nnamespace = {words}\nparams = {{ {words} = 1979-01-01 }}\n"
        f"{words} = 1\n[defaults]\n{words} = 1\n"
    )


Calls = tuple[tuple[str, ...], ...]
COMMANDS: dict[str, Calls] = {
    "demo": (("demo",),),
    "run": (("run", "robot.py", "--duration", "0.2"), ("run", "robot.py:broken"), ("run", f"{NAME}.py")),
    "replay": (
        ("replay", "s", "--speed", "max"), ("replay", "forged"), ("replay", "s", "--verify", "twin.py"),
        ("replay", "s", "--override", HOSTILE), ("replay", "forged", "--override", "x=1"),
        ("replay", "traces/t.jsonl", "--model", "policy.py:fails"), ("replay", "s", "--topic", HOSTILE),
    ),
    "launch": (
        ("launch", "robot.toml"), ("launch", "wrong.toml", "--dry-run"), ("launch", f"{NAME}.toml"),
        ("launch", "robot.toml", "--dry-run"), ("launch", "robot.toml", "--systemd", "--output", "units"),
        ("launch", "robot.toml", "--record", HOSTILE),
    ),
    "check": (("check", "robot.py", "--duration", "0.1", "--runs", "2"), ("check", "robot.py:broken", "--runs", "2")),
    "record start": (
        ("record", "start", "heard", "--duration", "0.5"), ("record", "start", HOSTILE, "--duration", "0.5"),
        ("record", "start", "none", "--duration", "0.5", "--topic", HOSTILE),
    ),
    "record list": (("record", "list"), ("record", "list", "--long")),
    "record find": (
        ("record", "find"), ("record", "find", "--event", "Log"), ("record", "find", "--node", HOSTILE),
        ("record", "find", "--event", HOSTILE), ("record", "find", "--topic", HOSTILE), ("record", "find", "--json"),
        ("record", "find", "--topic", "words", "--where", "image == ''"),
        ("record", "find", "--topic", "words", "--where", "no.such == 1"),
        ("record", "find", "--topic", "words", "--where", HOSTILE),
        ("record", "find", "--topic", "words", "--where", "data", "--since", "7d"),
    ),
    "record sql": (
        ("record", "sql", "SELECT * FROM sessions"), ("record", "sql", "SELECT * FROM words"),
        ("record", "sql", "s", "SELECT * FROM words", "--csv"), ("record", "sql", "s", "SELECT * FROM log"),
        ("record", "sql", "SELECT * FROM events"), ("record", "sql", f"SELECT * FROM {HOSTILE}"),
        ("record", "sql", f'SELECT * FROM "{HOSTILE}"'), ("record", "sql", f"SELECT '{HOSTILE}' AS x"),
        ("record", "sql", HOSTILE, "SELECT 1"), ("record", "sql", "SELECT data FROM messages"),
        ("record", "sql", "forged", "SELECT * FROM ticks"), ("record", "sql", "SELECT no FROM words"),
    ),
    "record info": (
        ("record", "info", "s"), ("record", "info", "forged"), ("record", "info", "mild"), ("record", "info", "set"),
    ),
    "record replay": (("record", "replay", "mild"), ("record", "replay", "forged", "--nodes", "x")),
    "record inject": (
        ("record", "inject", "forged", "--nodes", ","), ("record", "inject", "s", "--nodes", HOSTILE),
        ("record", "inject", "s", "--nodes", "talker", "--into", "twin.py"),
    ),
    "record diff": (("record", "diff", "s", "other"), ("record", "diff", "forged", "mild")),
    "record export": (
        ("record", "export", "s", "--format", "csv", "--output", "s.csv"),
        ("record", "export", "s", "--format", "csv", "--output", "-"),
        ("record", "export", "s", "--format", "jsonl", "--output", "-"),
        ("record", "export", "s", "--format", "parquet", "--output", "-"),
        ("record", "export", "forged", "--format", "mcap", "--output", f"{NAME[:40]}.mcap"),
        ("record", "export", "forged", "--format", "jsonl", "--output", "f.jsonl"),
        ("record", "export", "forged", "--format", "jsonl", "--output", "f.jsonl", "--topic", HOSTILE[::-1]),
    ),
    "record import": (
        ("record", "import", "bag.mcap", "--name", "bag"), ("record", "import", "bad.mcap", "--name", "bad"),
        ("record", "import", f"traces/{NAME[:60]}.jsonl", "--name", "no"), ("record", "import", ".", "--name", HOSTILE),
    ),
    "record cut": (
        ("record", "cut", "forged", "--ticks", "0-", "--name", "part"),
        ("record", "cut", "s", "--time", HOSTILE, "--name", "x"),
    ),
    "record merge": (
        ("record", "merge", "forged", "mild", "--name", "both"),
        ("record", "merge", "s", "other", "--name", "three", "--prefix"),
    ),
    "record check": (
        ("record", "check", "s"), ("record", "check", "forged"), ("record", "check", "huge"),
        ("record", "check", "set"),
        ("record", "check", "traces"), ("record", "check", f"traces/{NAME[:60]}.jsonl"),
    ),
    "record clean": (("record", "clean", "--max-age-days", "0", "--dry-run"),),
    "record delete": (("record", "delete", HOSTILE, "--force"), ("record", "delete", "gone", "--force")),
    "view": (
        ("view", "s", "-o", "v.html"), ("view", "forged", "mild", "-o", "v.html"), ("view", HOSTILE, "-o", "x.html"),
        ("view", "s", "--app", "twin.py", "-o", "view.html"), ("view", "boxes", "-o", f"{NAME[:40]}.html"),
        ("view", "traces/t.jsonl", "--json"), ("view", "s", "--ticks", HOSTILE, "--json"), ("view", "mild", "-o", "-"),
    ),
    "blackbox": (
        ("blackbox",), ("blackbox", "--anomalies"),
        ("blackbox", "--node", HOSTILE), ("blackbox", "traces/t.jsonl"),
    ),
    "top": (("top", "--once"), ("top", "--once", "--namespace", HOSTILE)),
    "log": (
        ("log",), ("log", "s"), ("log", "forged"), ("log", "forged", "--follow"), ("log", HOSTILE),
        ("log", "s", "--node", HOSTILE), ("log", "--namespace", HOSTILE),
    ),
    "topic list": (("topic", "list"),),
    "topic info": (("topic", "info", "words"), ("topic", "info", "other"), ("topic", "info", HOSTILE)),
    "topic echo": (
        ("topic", "echo", "words", "-n", "1"), ("topic", "echo", HOSTILE),
        ("topic", "echo", "words", "-n", "1", "--field", HOSTILE),
    ),
    "topic hz": (("topic", "hz", "words", "-n", "1", "--window", "0.1"),),
    "topic bw": (("topic", "bw", "words", "-n", "1", "--window", "0.1"),),
    "topic pub": (("topic", "pub", "words", HOSTILE), ("topic", "pub", "words", "{}", "--type", HOSTILE)),
    "topic clean": (("topic", "clean", "--dry-run"), ("topic", "clean", "--namespace", HOSTILE)),
    "node list": (("node", "list"), ("node", "list", "--namespace", HOSTILE)),
    "node info": (("node", "info", HOSTILE, "--timeout", "9"),),
    "node pause": (("node", "pause", HOSTILE, "--timeout", "0.1"), ("node", "pause", "talker", "--timeout", "9")),
    "node resume": (("node", "resume", HOSTILE, "--timeout", "0.1"),),
    "param list": (("param", "list"), ("param", "list", HOSTILE), ("param", "list", "--json")),
    "param get": (("param", "get", HOSTILE), ("param", "get", f"{PUBLISHER}.{HOSTILE}")),
    "param set": (("param", "set", f"{PUBLISHER}.{HOSTILE}", HOSTILE, "--timeout", "9"),),
    "param save": (("param", "save"), ("param", "save", "-o", f"{NAME[:40]}.toml"), ("param", "save", HOSTILE)),
    "service list": (("service", "list"),),
    "service call": (
        ("service", "call", "words", "--timeout", "9"), ("service", "call", HOSTILE), ("service", "call", "words", "{"),
    ),
    "action list": (("action", "list"),),
    "action send": (("action", "send", "words", "--timeout", "9"), ("action", "send", HOSTILE)),
    "frames": (
        ("frames", "--moving", "words", "--window", "0.1"), ("frames", "s", "--moving", "words"),
        ("frames", "--moving", HOSTILE), ("frames", HOSTILE), ("frames", "--window", "0.1"),
        ("frames", "placed", "--lookup", HOSTILE, "laser"),
    ),
    "foxglove": (("foxglove", HOSTILE), ("foxglove", "--host", HOSTILE, "--port", "0"), ("foxglove", "s", "-h")),
    "doctor": (("doctor",),),
    "serve": (("serve", "export"), ("serve", "policy.py:none"), ("serve", f"{NAME}:x")),
    "trace list": (("trace", "list", "traces"),),
    "trace query": (("trace", "query", "traces"), ("trace", "query", "traces", "--since", HOSTILE)),
    "trace summary": (
        ("trace", "summary", "traces", "--by", "task"),
        ("trace", "summary", "traces", "--by", "episode"),
    ),
    "trace check": (("trace", "check", "traces"),),
    "trace export": (
        ("trace", "export", "traces", "--output", f"{NAME[:40]}.npz"),
        ("trace", "export", "traces", "--format", "lerobot", "--output", "set", "--fps", "10"),
    ),
    "trace replay": (
        ("trace", "replay", "traces/t.jsonl", "--model", "policy.py:acts", "--diff", "all"),
        ("trace", "replay", "traces/t.jsonl", "--no-replay"),
        ("trace", "replay", "recordings", "--model", "policy.py:acts"),
    ),
}  # fmt: skip
"""How each command is called so that it shows what others wrote."""
CALLS = [(name, number) for name, calls in COMMANDS.items() for number in range(len(calls))]


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command below one, by its words."""
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                below_it = command.get_command(context, name)
                assert below_it is not None
                yield from leaves(below_it, (*path, name))
    else:
        yield " ".join(path), command


LEAVES = dict(leaves(main))


def test_every_command_is_called() -> None:
    """Whoever adds a command says here how it shows what others wrote."""
    assert LEAVES.keys() == COMMANDS.keys()


def answer_of(do: str) -> Any:
    """What a run that is hostile says of itself."""
    about = {"run": PUBLISHER, "pid": 1, "began_ns": 1, "tick": HOSTILE, "spent_ns": HOSTILE, "elapsed_ns": -1}
    texts = dict.fromkeys(("level", "exception", "kind", "node", "text", "error", "traceback", "message"), HOSTILE)
    if do == "list":
        return [{"node": HOSTILE, "state": HOSTILE, "rate": HOSTILE}]
    if do == "log":
        return {**about, "next": HOSTILE, "lines": [{"seq": 1, "levelno": 50, "now_ns": 10**18, **texts}, HOSTILE]}
    if do == "info":
        lists = {key: [HOSTILE] for key in ("on", "sends", "reads")}
        return {**about, **texts, **lists, "class": HOSTILE, "failure_policy": HOSTILE, "last_error": texts}
    columns = ["node", "rate", "on", "ticks", "state", "sends", "reads", HOSTILE]
    rows = [[HOSTILE, "x", [HOSTILE], float(10**30), HOSTILE, [HOSTILE], [HOSTILE, "words"], HOSTILE], HOSTILE, [1]]
    return {**about, "page": 0, "pages": 1, "columns": columns, "rows": rows, "anomalies": [texts, HOSTILE]}


@contextlib.contextmanager
def talking(namespace: str) -> Iterator[None]:
    """A publisher that is hostile in name and messages, and a file with the name of a ring that is none."""
    with Bus(namespace) as bus:
        publisher, over = bus.publisher("words", PUBLISHER), threading.Event()
        other = bus.publisher("other", f"{PUBLISHER}'")
        other.publish(HOSTILE.encode(), 1)
        bus.keep("interfaces", PUBLISHER, 1)
        offered = {HOSTILE: {"value": HOSTILE, "type": HOSTILE, "doc": HOSTILE, "request": HOSTILE, "policy": HOSTILE}}
        said = {"node": PUBLISHER, "params": offered, "services": offered, "actions": offered}
        bus.publisher("interfaces", PUBLISHER).publish(orjson.dumps(said), 1)
        asked: dict[str, tuple[str, dict[str, Any]]] = {
            "nodes/request": ("nodes/reply", {"value": []}),
            "params/request": ("params/reply", {"error": HOSTILE}),
            "words/request": ("words/reply", {"error": HOSTILE}),
            "words/goal": ("words/status", {"state": HOSTILE, "error": HOSTILE}),
        }
        requests = {topic: bus.subscriber(topic) for topic in asked}
        odd = memory.root() / namespace / "odd@0-0-0.0"
        odd.write_bytes(b"x")

        def talk() -> None:
            text = orjson.dumps({HOSTILE: [HOSTILE]})
            while not over.wait(0.005):
                publisher.publish(text, 1)
                for topic, (answers, answer) in asked.items():
                    while (taken := requests[topic].take()) is not None:
                        if topic == "nodes/request":
                            answer = {"value": answer_of(orjson.loads(taken[0]).get("do"))}  # noqa: PLW2901
                        named = {"publisher": taken[1], "seq": taken[2], "stamp_ns": taken[3], **answer}
                        bus.publisher(answers, PUBLISHER).publish(orjson.dumps(named), 1)
                        if "state" in answer:
                            end = {**named, "state": "failed"}
                            bus.publisher(answers, PUBLISHER).publish(orjson.dumps(end), 1)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            odd.unlink(missing_ok=True)


@pytest.fixture
def environ(place: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> Iterator[dict[str, str]]:
    """The environment of a command in that place."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(place / "recordings"))
    monkeypatch.setenv("HORUS_BLACKBOX_DIR", str(place / "boxes"))
    with talking(namespace):
        yield environment()


@pytest.mark.parametrize(("name", "number"), CALLS)
def test_no_command_lets_it_be_more_than_text(name: str, number: int, place: Path, environ: dict[str, str]) -> None:
    """At a terminal on both streams; and what it prints into a pipe, as text and as JSON."""
    arguments = COMMANDS[name][number]
    code, text = at_a_terminal_raw(*arguments, cwd=place)
    is_data = name == "record export" and "-" in arguments  # exact, for programs; a cell may have several lines
    assert_harmless(
        text.replace("\r\n", "\n"), at_terminal=True, lines=not is_data, allowed="\n\t" if is_data else "\n"
    )
    assert code in {0, 1, 2, 3}
    if number:
        return
    as_json = ["--json"] if any(parameter.name == "as_json" for parameter in LEAVES[name].params) else []
    for more in ([], as_json) if as_json else ([],):
        piped = subprocess.run(
            [sys.executable, "-m", "horus_async", *arguments, *more],
            env=environ, cwd=place, capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert_harmless(piped.stdout.decode(), allowed="\n\t" if name.startswith("trace ") else "\n")
        assert_harmless(piped.stderr.decode())


@pytest.mark.parametrize("name", LEAVES)
def test_wrong_usage_is_text(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments and options that nobody knows, and values that fit no option."""
    monkeypatch.chdir(place)
    words = name.split()
    options = [option for option in LEAVES[name].params if isinstance(option, click.Option) and not option.is_flag]
    with_values = [[option.opts[0], HOSTILE] for option in options]
    groups = [[*words[:-1], HOSTILE], [f"--{HOSTILE}"]]
    for arguments in (*([*words, *more] for more in (["--\x1b[2J" + HOSTILE], [HOSTILE] * 9, *with_values)), *groups):
        if arguments[:2] in (["serve", HOSTILE], ["topic", "echo"]):  # no wrong usage
            continue
        result = CliRunner().invoke(main, [*arguments, "--no-such-option"])
        assert result.exit_code == 2, (arguments, result.output, result.exception)
        assert_harmless(result.output)


def test_environment_is_text(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that a parent process set."""
    for variable in ("HORUS_NAMESPACE", "HORUS_RECORDINGS_DIR", "HORUS_BLACKBOX_DIR", "HOME", "COLUMNS"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, f"/x/{HOSTILE}".replace("\0", ""))
            for words in (["topic", "list"], ["record", "list"], ["record", "check", "x"], ["blackbox"], ["doctor"]):
                result = CliRunner().invoke(main, words)
                assert result.exception is None or isinstance(result.exception, SystemExit)
                assert_harmless(result.output)


def test_completion_offers_only_what_can_be_shown(place: Path, environ: dict[str, str]) -> None:
    """The shell prints names as they are."""
    main_of = "from horus_async.cli import main; main(prog_name='horus-async')"
    offered = ""
    for line in (
        "record info ",
        "replay s --topic ",
        "record export forged --topic ",
        "blackbox --node ",
        "topic info ",
    ):
        more = {"COMP_WORDS": f"horus-async {line}", "COMP_CWORD": str(len(line.split()) + 1)}
        done = subprocess.run(
            [sys.executable, "-c", main_of],
            env={**environ, **more, "_HORUS_ASYNC_COMPLETE": "bash_complete"},
            cwd=place, capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert not done.stderr
        assert_harmless(done.stdout.decode())
        offered += done.stdout.decode()
    assert {"plain,s", "plain,words", "plain,mild"} <= set(offered.splitlines())


def test_errors_are_text_however_they_are_printed() -> None:
    """Also where a program of the user lets one through, and Python shows it."""
    assert_harmless(str(TopicError(HOSTILE)).replace("\n", "|"))
    error = TopicError("topic \x1b[2J of \u202e")
    assert str(error) == r"topic \x1b[2J of \u202e"
    failure = NodeFailure("node failed", [error])
    assert r"\x1b[2J" in below(str(failure.exceptions[0]))


def test_a_record_of_the_log_is_one_record() -> None:
    """Its further lines are indented, those of a traceback too."""
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "%s", (HOSTILE,), sys.exc_info())
    shown = PrintableFormatter("%(levelname)s %(message)s").format(record)
    assert_harmless(shown)
    assert all(line.startswith(("ERROR ", "  ")) for line in shown.splitlines())


def test_serve_logs_requests_as_text(place: Path, environ: dict[str, str]) -> None:
    """What a client sends and a policy raises, on the console."""
    with subprocess.Popen(
        [sys.executable, "-m", "horus_async", "serve", "policy.py:fails", "--port", "0"],
        env=environ, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        said = server.stdout.readline().decode()
        try:
            _ask(said.rsplit(" ", 1)[1].strip())
        finally:
            server.send_signal(signal.SIGTERM)
            out, errors = server.communicate(timeout=PATIENCE)
    assert_harmless(said + out.decode())
    assert_harmless(errors.decode())
    assert "policy-error" in errors.decode()


def _ask(url: str) -> None:
    import httpx

    body = {"instruction": HOSTILE, "state": [0.0], "image": HOSTILE, HOSTILE: HOSTILE, "episode_id": HOSTILE}
    headers = {b"X-Request-Id": b"\x9b2J"}
    httpx.post(f"{url}/act", json=body, headers=headers, timeout=PATIENCE)
    httpx.post(f"{url}/act", content=HOSTILE.encode(), headers={"Content-Type": "application/json"}, timeout=PATIENCE)


def test_the_other_reader_of_boxes(place: Path, environ: dict[str, str]) -> None:
    """``python -m horus_async.blackbox``, which shares no code with the package, prints the very values."""
    box = place / "boxes" / "scheduler.hbb"
    done = subprocess.run(
        [sys.executable, "-m", "horus_async.blackbox", box], env=environ, capture_output=True, check=True
    )
    assert_harmless(done.stdout.decode())
    assert json.loads(done.stdout.splitlines()[0])["error"] == HOSTILE
    done = subprocess.run(
        [sys.executable, "-m", "horus_async.blackbox", place / f"{NAME[:20]}.hbb"],
        env=environ, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert_harmless(done.stderr.decode())


class Page(HTMLParser):
    """Collects what is in a page besides text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: dict[str, set[str]] = {}
        self.values: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a tag."""
        self.tags.setdefault(tag, set()).update(name for name, _ in attrs)
        self.values += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Take text, that of styles too."""
        self.text += data


TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "ul", "li", "table", "tr", "th", "td", "p", "b",
    "div", "figure", "figcaption", "img", "svg", "rect", "path", "text",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "viewbox", "role", "aria-label", "x", "y", "width",
    "height", "d", "text-anchor", "src", "alt",
}  # fmt: skip


def assert_page_is_ours(text: str) -> None:
    """No element, attribute, address or style of others, and no character that hides."""
    assert_harmless(text)
    page = Page()
    page.feed(text)
    page.close()
    assert page.tags.keys() <= TAGS, page.tags.keys() - TAGS
    assert set().union(*page.tags.values()) <= ATTRIBUTES
    assert all(value.startswith("data:image/") for name, value in page.values if name == "src")
    assert not any(value.lower().startswith(("javascript:", "data:text")) for name, value in page.values)
    assert text.count("</script>") == text.count("<script") == 0
    assert "default-src 'none'" in text


@pytest.mark.parametrize("policy", ["acts", "fails"])
def test_pages_are_ours(policy: str, place: Path, environ: dict[str, str]) -> None:
    """Those of a replay: header, notes, names of images, instructions, errors, all of others."""
    page = place / f"{policy}.html"
    done = subprocess.run(
        [
            sys.executable, "-m", "horus_async", "trace", "replay", "traces/t.jsonl", "--model", f"policy.py:{policy}",
            "--diff", "all", "--page", page.name, "--output", "report.json",
        ],
        env=environ, cwd=place, capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert_page_is_ours(text)
    assert "&lt;script&gt;alert(1)" in text
    assert HOSTILE in (place / "report.json").read_text() or orjson.loads((place / "report.json").read_bytes())


def test_plots_are_ours() -> None:
    """Labels and ends, whoever named them."""
    drawn = plot([0.0, 1.0], [1.0, float("nan")], first=HOSTILE, last=HOSTILE, label=HOSTILE)
    page = Page()
    page.feed(drawn)
    page.close()
    assert page.tags.keys() == {"svg", "path", "rect", "text"}
    assert set().union(*page.tags.values()) <= ATTRIBUTES
    assert dict(page.values)["aria-label"] == printable(HOSTILE)
    assert_harmless(printable_html(HOSTILE))
