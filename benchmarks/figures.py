"""What is measured, against whom, and the goals."""

from __future__ import annotations

from attrs import frozen

from horus_async import native


@frozen
class Side:
    """One half of a comparison: a function of this package that returns samples.

    It is called with the arguments and the scale: 1.0 for as long as it takes to be exact.
    """

    label: str
    module: str
    function: str
    arguments: tuple[str | int, ...] = ()


@frozen
class Figure:
    """A figure of ours, usually beside a peer's. Less is always better."""

    name: str
    title: str
    unit: str
    ours: Side
    peer: Side | None = None
    max_ratio: float | None = None
    """Goal: the highest acceptable ratio of ours / peer's."""
    max_ours: float | None = None
    """Goal: the highest acceptable figure of ours, whatever the peer's is."""
    percentiles: tuple[int, ...] = (50,)
    """Which percentiles of the samples of all rounds are shown."""


def _of(module: str, function: str, label: str = "horus-async", *arguments: str | int) -> Side:
    return Side(label, f"benchmarks.{module}", function, arguments)


def _beside_horus(
    name: str,
    title: str,
    unit: str,
    function: str = "",
    *arguments: int,
    max_ratio: float | None = None,
    max_ours: float | None = None,
) -> Figure:
    """A figure that both sides measure with a function of the same name, by default the name of the figure."""
    ours = _of("ours", function or name, "horus-async", *arguments)
    peer = _of("horus_peer", function or name, "HORUS 0.4.1", *arguments)
    return Figure(name, title, unit, ours, peer, max_ratio, max_ours)


_TOPICS = (
    _beside_horus("dict_send_recv", 'dict {"value", "tick"}: send and receive, one process', "µs", max_ratio=0.25),
    _beside_horus("large_dict_send_recv", "360 floats in a dict: send and receive, one process", "µs", max_ratio=0.3),
    _beside_horus("typed_send_recv", "message class of two floats: send and receive, one process", "µs", max_ratio=1.0),
    Figure(
        "typed_dict",
        "the same, beside a dict of two numbers",
        "µs",
        _of("ours", "typed_send_recv", "message class"),
        _of("ours", "dict_send_recv", "dict"),
        max_ratio=1.5,
    ),
    Figure(
        "imu_send_recv",
        "message class Imu (37 numbers, nested): send and receive, one process",
        "µs",
        _of("ours", "imu_send_recv", "message class"),
        _of("ours", "imu_as_dicts_send_recv", "dicts"),
        max_ratio=0.3,
    ),
    _beside_horus(
        "scan_send_recv", "message class LaserScan, 360 ranges: send and receive, one process", "µs", max_ratio=2.0
    ),
    *(
        Figure(
            f"bytes_{peer}",
            "64 bytes: send and receive, one process",
            "µs",
            _of("ours", "bytes_send_recv"),
            _of(f"{peer}_peer", "bytes_send_recv", label),
            max_ratio=0.3,
        )
        for peer, label in (("zmq", "pyzmq inproc"), ("iceoryx", "iceoryx2"), ("zenoh", "zenoh, one session"))
    ),
    Figure(
        "array_send_recv",
        "array of 1 MiB: send and receive, one process",
        "µs",
        _of("ours", "array_send_recv"),
        _of("plain_copies", "copy_1_mib", "one copy in memory"),
        max_ratio=2.2,
    ),
    Figure(
        "array_send_borrow",
        "array of 1 MiB: send and look at it in place, one process",
        "µs",
        _of("ours", "array_send_borrow"),
        _of("plain_copies", "copy_1_mib", "one copy in memory"),
        max_ratio=2.5,
    ),
)

_LINKS = {
    "ours": ("processes", "horus-async"),
    "zmq": ("zmq_peer", "pyzmq ipc"),
    "horus": ("horus_peer", "HORUS 0.4.1"),
    "iceoryx": ("iceoryx_peer", "iceoryx2"),
    "zenoh": ("zenoh_peer", "zenoh, Unix socket"),
}
"""Modules that link two processes, and what that side is called."""


def _over_link(whose: str, function: str, *arguments: int) -> Side:
    """A measurement of ``links`` over one of these."""
    module, label = _LINKS[whose]
    return _of("links", function, label, f"benchmarks.{module}", *arguments)


def _between_processes(
    name: str,
    title: str,
    function: str,
    *arguments: int,
    peers: tuple[str, ...],
    ours: Side | None = None,
    max_ratios: dict[str, float] | None = None,
) -> tuple[Figure, ...]:
    """A figure for each peer that can do this; the first is called ``name``, the others ``name_peer``."""
    return tuple(
        Figure(
            name if peer == peers[0] else f"{name}_{peer}",
            title,
            "µs",
            ours or _over_link("ours", function, *arguments),
            _over_link(peer, function, *arguments),
            max_ratio=(max_ratios or {}).get(peer),
        )
        for peer in peers
    )


_PROCESSES = (
    *_between_processes(
        "round_trip_asleep",
        "there and back between two processes, both asleep in between",
        "round_trip_asleep",
        peers=("zmq", "iceoryx", "zenoh"),
        ours=_of("processes", "round_trip_asleep"),
        max_ratios={"zmq": 0.6, "iceoryx": 0.6},
    ),
    *_between_processes(
        "round_trip_awake",
        "there and back between two processes, both spinning",
        "round_trip_awake",
        peers=("horus", "zmq", "iceoryx", "zenoh"),
        max_ratios={"horus": 0.8},
    ),
    *_between_processes(
        "flow_64_bytes",
        "64 bytes at full speed to another process: time a message that arrives",
        "time_a_message",
        64,
        peers=("zmq", "horus", "iceoryx", "zenoh"),
        max_ratios={"horus": 0.4, "zenoh": 0.4},
    ),
    Figure(
        "event_node",
        "from a send in another process to the tick of an event node",
        "µs",
        _of("waking", "event_node"),
        _of("waking", "bare", "bare wake-up by eventfd"),
        max_ratio=2.0,
    ),
    *_between_processes(
        "flow_1_mib",
        "1 MiB at full speed to another process: time a message that arrives",
        "time_a_message",
        1 << 20,
        peers=("zmq", "iceoryx", "zenoh"),
        max_ratios={"zmq": 1.0, "iceoryx": 2.0, "zenoh": 1.0},
    ),
    Figure(
        "idle_topics",
        "a process that awaits 100 idle topics: part of a core",
        "%",
        _of("processes", "idle_topics"),
        max_ours=1.0,
    ),
)

_FRAMES = (
    Figure(
        "frame_lookup",
        "frame lookup, five edges that move",
        "µs",
        _of("lookups", "five_edges"),
        max_ours=20.0 if native.core is None else 5.0,
    ),
    Figure(
        "frame_lookup_node",
        "the same in a node, which looks for new ones first",
        "µs",
        _of("lookups", "in_a_node"),
    ),
)

_RUNS = (
    _beside_horus(
        "deterministic_2",
        "deterministic run, 2 nodes, a dict a tick: time a node",
        "µs",
        "time_a_node",
        2,
        max_ratio=0.4,
    ),
    _beside_horus("deterministic_10", "the same with 10 nodes", "µs", "time_a_node", 10, max_ratio=0.4),
    _beside_horus("deterministic_100", "the same with 100 nodes", "µs", "time_a_node", 100, max_ratio=0.3),
    Figure(
        "deterministic_flat",
        "the same: time a node with 100 nodes, beside that with 2",
        "µs",
        _of("ours", "time_a_node", "100 nodes", 100),
        _of("ours", "time_a_node", "2 nodes", 2),
        max_ratio=1.25,
    ),
    Figure(
        "guard",
        "deterministic run, 2 nodes: time a node with the determinism guard",
        "µs",
        _of("ours", "time_a_node", "Guard.WARN", 2),
        _of("ours", "deterministic_unguarded", "Guard.OFF"),
        max_ratio=1.3,
    ),
    Figure(
        "sync_exact",
        "deterministic run: time a pair of messages with equal stamps, sent and matched by `sync`",
        "µs",
        _of("matching", "pairs", "sync", "exact"),
        _of("matching", "pairs", "two recv", "read"),
    ),
    Figure(
        "sync_near",
        "the same with stamps a fifth of a period apart",
        "µs",
        _of("matching", "pairs", "sync", "near"),
        _of("matching", "pairs", "two recv", "read"),
    ),
    Figure(
        "blackbox_run",
        "deterministic run, 2 nodes: time a node with the black box",
        "µs",
        _of("boxes", "deterministic_boxed", "black box"),
        _of("ours", "time_a_node", "none", 2),
        max_ratio=1.1,
    ),
    Figure(
        "blackbox_event",
        "an event of one's own",
        "µs",
        _of("boxes", "event", "black box"),
        _of("boxes", "log_line", "a line by logging.FileHandler"),
        max_ours=1.0,
    ),
    Figure(
        "blackbox_tick",
        "the event of a tick",
        "µs",
        _of("boxes", "tick_event", "black box"),
        _of("boxes", "log_line", "a line by logging.FileHandler"),
        max_ours=1.0,
    ),
    Figure(
        "blackbox_miss",
        "the event of a missed deadline",
        "µs",
        _of("boxes", "miss_event", "black box"),
        _of("boxes", "log_line", "a line by logging.FileHandler"),
        max_ours=1.0,
    ),
    Figure(
        "first_tick",
        "first tick of a run in a fresh process",
        "ms",
        _of("startup", "first_tick"),
        _of("startup", "first_wake_up", "trio.run with one sleep"),
        max_ratio=2.0,
    ),
    Figure(
        "lateness",
        "1 kHz node in real time: lateness of a tick's start",
        "µs",
        _of("ours", "lateness"),
        _of("plain_trio", "lateness", "trio.sleep_until loop"),
        percentiles=(50, 99, 100),
    ),
)

_RECORDINGS = (
    _beside_horus("recording_extra", "deterministic run, 2 nodes: what recording adds to a tick", "µs", max_ratio=0.1),
    _beside_horus("recorded_bytes", "the same: bytes recorded a tick", "B", max_ours=100.0),
    Figure(
        "recording_call",
        "what writing a message takes of the event loop's time, in real time",
        "µs",
        _of("sessions", "recording_call"),
        _of("mcap_peer", "add_message", "mcap's writer"),
        max_ratio=0.5,
    ),
    Figure(
        "recording_and_noting",
        "the same, with the engine's making of the records",
        "µs",
        _of("sessions", "recording_and_noting"),
        _of("mcap_peer", "add_message", "mcap's writer"),
    ),
    Figure(
        "import_bag",
        "import a Nav2 bag of ROS 2 (scans, odometry, transforms, IMU), a message",
        "µs",
        _of("bags", "import_bag", "to a session"),
        _of("bags", "read_bag", "rosbags, read only"),
        max_ratio=1.0,
    ),
    Figure("record_info", "record info: an hour of two nodes at 100 Hz", "s", _of("sessions", "info"), max_ours=0.3),
    Figure(
        "record_info_topics",
        "the same, each node sending on three topics",
        "s",
        _of("sessions", "info_three_topics"),
        max_ours=0.15,
    ),
    Figure("seek", "the hour: open it and read a tick of each node", "s", _of("sessions", "seek"), max_ours=0.2),
    Figure(
        "replay",
        "replay of five nodes at 100 Hz, as fast as possible: time a recorded second",
        "s",
        _of("sessions", "replay"),
        max_ours=0.005,
    ),
    Figure(
        "export_images",
        "record export to Parquet of 1,000 images of 640x480",
        "s",
        _of("images", "export", "horus-async", "parquet"),
        _of("images", "numpy_save", "numpy.save"),
        max_ratio=10,
    ),
)

_POLICIES = (
    Figure(
        "policy_trace",
        "policy server, 50 clients at once: an answer",
        "ms",
        _of("policy", "act_recorded", "with a trace"),
        _of("policy", "act_unrecorded", "without"),
    ),
    Figure(
        "policy_record",
        "what recording a request takes of the policy server's event loop",
        "µs",
        _of("policy", "record_loop_time"),
    ),
    Figure(
        "openpi",
        "openpi's protocol, two images of 224×224: an answer",
        "ms",
        _of("openpi", "unrecorded"),
        _of("openpi", "bare", "bare WebSocket"),
        max_ratio=1.3,
    ),
    Figure(
        "openpi_trace",
        "the same with a trace",
        "ms",
        _of("openpi", "recorded", "with a trace"),
        _of("openpi", "unrecorded", "without"),
    ),
)

_ASKING = (
    *(
        Figure(
            f"{how}_{mode}",
            f"{title} to another node of the program, {mode} time, beside a topic each way by hand",
            "µs",
            _of("asking", "in_a_run", title, how, mode),
            _of("asking", "in_a_run", "by hand", "by hand", mode),
        )
        for how, title in (("call", "a service call"), ("goal", "a goal that succeeds at once"))
        for mode in ("virtual", "real")
    ),
    Figure(
        "call_between",
        "a service call to a node of another process",
        "µs",
        _of("asking", "between_processes"),
        _of("asking", "zmq_between_processes", "pyzmq REQ/REP"),
    ),
)

FIGURES = (*_TOPICS, *_PROCESSES, *_ASKING, *_FRAMES, *_RUNS, *_RECORDINGS, *_POLICIES)
