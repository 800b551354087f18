"""The page of a replay: one file that needs nothing else, shows what differs, and runs nothing."""

from __future__ import annotations

import base64
import math
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from horus_async.cli import main
from horus_async.policy import ImageMode, TraceReader
from horus_async.policy.replay.pictures import pictures
from horus_async.policy.replay.plots import HEIGHT, WIDTH, plot
from tests.policy.traces import exchange, foreign_lines, record, write_lines

if TYPE_CHECKING:
    from collections.abc import Callable

SAME = f"{Path(__file__).parent / 'conftest.py'}:reach"
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J\u202e'
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(64))).decode()


class Parsed(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data

    def count(self, tag: str) -> int:
        """How many elements of a kind."""
        return sum(name == tag for name, _ in self.elements)


def run(*arguments: str | Path) -> Result:
    """``horus-async trace replay``."""
    return CliRunner().invoke(main, ["trace", "replay", *map(str, arguments)])


def page_of(path: Path, model: str, *more: str) -> Parsed:
    """The page of a replay, which has been looked at for what no page may have."""
    output = path.parent / "page.html"
    result = run(path, "--model", model, "--output", output, *more)
    assert result.exit_code == 0, result.output
    text = output.read_text()
    parsed = Parsed(text)
    assert parsed.count("script") == parsed.count("link") == parsed.count("iframe") == 0
    for tag, attributes in parsed.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        assert not {"href", "srcset", "action", "data"} & attributes.keys()
        assert (attributes.get("src") or "data:image/").startswith("data:image/")
    assert "http://" not in text
    assert "https://" not in text
    assert "\x1b" not in text
    for svg in re.findall(r"<svg.*?</svg>", text):
        ElementTree.fromstring(svg)
    return parsed


def test_the_page_shows_models_plots_and_the_worst_requests(
    tmp_path: Path, policy_module: Callable[[str], str]
) -> None:
    """Both headers, a plot a dimension, and what differs most first."""
    lines = foreign_lines(30)
    path = write_lines(tmp_path / "t.jsonl", lines)
    other = policy_module(
        "def policy(r): return [[v * (s + 1) / 10 + 0.001 * r['state'][0] for v in r['state']] for s in range(4)]"
    )
    parsed = page_of(path, other)
    for text in ("7a8b3c1d9f2e4a55", "pi05", "franka", "python", "actions: ", "dimension 0", "dimension 1"):
        assert text in parsed.text
    assert re.findall(r"seq(\d+)", parsed.text)[:3] == ["29", "28", "27"]
    assert parsed.count("svg") == 2 + 12


def test_a_page_without_differences_says_so(tmp_path: Path) -> None:
    """Rather than list the first twelve."""
    assert "No request differs." in page_of(write_lines(tmp_path / "t.jsonl", foreign_lines()), SAME).text


def test_what_a_trace_holds_is_shown_and_not_run(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """Instruction, episode, header, camera's name and the policy's error."""
    lines = foreign_lines(2, embodiment=HOSTILE, model_hash=HOSTILE)
    for line in lines[1:3]:
        line["episode_id"] = HOSTILE
        line["request"] |= {"instruction": HOSTILE, f"{HOSTILE}_b64": PIXEL}
        line["cameras"] = [HOSTILE]
    path = write_lines(tmp_path / "t.jsonl", lines)
    parsed = page_of(path, policy_module(f"def policy(r): raise ValueError({HOSTILE!r})"))
    assert parsed.text.count("<script>alert(1)</script>") >= 2 * 3 + 2
    assert parsed.count("img") == 2
    assert r"\x1b[2J\u202e" in parsed.text


def test_images_of_a_full_trace_are_on_the_page(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """Byte for byte, with the camera's name; a kind that browsers do not show is said."""
    tiff = base64.b64encode(b"II*\0" + bytes(range(64))).decode()
    request = {"state": [1.0], "image": PIXEL, "wrist_camera": tiff}
    path = record(tmp_path / "t", [exchange(request, result=[[1.0]])], images=ImageMode.FULL)
    model = policy_module("def policy(r): return [[2.0]]")
    parsed = page_of(path, model)
    assert [attributes["src"] for tag, attributes in parsed.elements if tag == "img"] == [
        f"data:image/png;base64,{PIXEL}"
    ]
    assert "image, 72 bytes" in parsed.text
    assert "of a kind that browsers do not show" in parsed.text
    hashed = record(tmp_path / "hashed", [exchange({"state": [1.0]}, result=[[1.0]])])
    assert page_of(hashed, model).count("img") == 0


def test_an_image_that_could_hold_a_program_is_not_shown(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """SVG can."""
    svg = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>").decode()
    lines = foreign_lines(1)
    lines[1]["request"]["image_b64"] = f"data:image/svg+xml;base64,{svg}"
    lines[1]["cameras"] = ["image"]
    path = write_lines(tmp_path / "t.jsonl", lines)
    assert page_of(path, policy_module("def policy(r): return [[2.0]]")).count("img") == 0


@pytest.mark.parametrize(
    ("pixels", "depth"),
    [
        (numpy.arange(30, dtype="u1").reshape(2, 5, 3), 8),
        (numpy.arange(30, dtype="u1").reshape(3, 2, 5), 8),
        (numpy.arange(10, dtype="u2").reshape(2, 5) * 7000, 16),
        (numpy.linspace(0, 1, 10).reshape(2, 5), 8),
    ],
)
def test_arrays_become_pictures(pixels: Any, depth: int, tmp_path: Path) -> None:
    """Whatever the order of their channels and their depth: PNG of the same size."""
    lines = foreign_lines(1)
    lines[1] |= {"cameras": ["observation.front.left"]}
    lines[1]["request"]["observation"] = {"front.left": pixels.tolist()}
    with TraceReader(write_lines(tmp_path / "t.jsonl", lines)) as trace:
        (picture,) = [picture for request in trace.requests() for picture in pictures(request)]
    assert picture.kind == "image/png"
    width, height, found = struct.unpack(">IIB", picture.data[16:25])
    assert (width, height, found) == (5, 2, depth)
    first = zlib.decompress(picture.data[41:-16])[:4]
    if depth == 8 and pixels.ndim == 3:
        assert list(first) == [0, *(pixels[0, 0] if pixels.shape[2] == 3 else pixels[:, 0, 0])]


numbers = st.lists(st.floats(), max_size=40)


@given(numbers, numbers, st.integers(1, 60))
def test_any_numbers_make_a_plot(recorded: list[float], replayed: list[float], times: int) -> None:
    """Of bounded size, with every point inside, and well-formed; NaN, infinity and the largest floats too."""
    text = plot(recorded * times, replayed * times, first="<", last=">", label='"')
    svg = ElementTree.fromstring(text)
    assert len(text) < 60_000
    for path in svg.iter("path"):
        for x, y in re.findall(r"[ML](\S+) ([\d.-]+)", path.attrib["d"]):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT


def test_peaks_of_a_long_trace_stay_in_its_plot() -> None:
    """One value in a hundred thousand is what somebody looks for."""
    values = [0.0] * 100_000
    values[54_321] = 5.0
    (path,) = re.findall(r'class="replayed" d="([^"]+)"', plot([], values, first="", last="", label=""))
    heights = [float(y) for y in re.findall(r"[ML]\S+ ([\d.]+)", path)]
    assert sum(height < max(heights) for height in heights) == 1


def test_the_page_is_the_same_from_several_processes(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """Plots and worst requests are put together again."""
    path = write_lines(tmp_path / "t.jsonl", foreign_lines(50))
    model = policy_module("def policy(r): return [[v * 2, *([1.0] if r['state'][0] > 2 else [])] for v in r['state']]")
    pages = []
    for jobs in ("1", "3"):
        page_of(path, model, "--jobs", jobs)
        pages.append((tmp_path / "page.html").read_text())
    assert pages[0] == pages[1]


@pytest.mark.parametrize("arguments", [["--page", "/no/such/folder/p.html"], ["--output", "/no/such/folder/r.json"]])
def test_a_report_that_cannot_be_written_is_said_before_the_work(tmp_path: Path, arguments: list[str]) -> None:
    """Not after hours of replaying."""
    result = run(write_lines(tmp_path / "t.jsonl", foreign_lines()), "--model", SAME, *arguments)
    assert result.exit_code == 2
    assert "seq=" not in result.stdout


def test_report_and_page_can_be_had_at_once(tmp_path: Path) -> None:
    """--output for programs, --page for people."""
    path = write_lines(tmp_path / "t.jsonl", foreign_lines())
    arguments = ["--output", str(tmp_path / "r.json"), "--page", str(tmp_path / "p.html")]
    assert run(path, "--model", SAME, *arguments).exit_code == 0
    assert (tmp_path / "r.json").read_bytes().startswith(b"{")
    assert (tmp_path / "p.html").read_text().startswith("<!doctype html>")
    assert run(path, "--model", SAME, "--output", tmp_path / "a.html", "--page", tmp_path / "p.html").exit_code == 2


def test_nan_does_not_hide_other_differences() -> None:
    """The least and greatest of a plot are of what is finite."""
    assert "2" in plot([1.0, math.nan], [2.0, math.inf], first="", last="", label="")
