"""The page in a real browser: Chromium, without a head. Where there is none, these tests are skipped."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Node, Scheduler, Skip, tick
from horus_async.policy import ImageMode
from horus_async.recorder import open_session
from horus_async.view.html import has_plots
from horus_async.view.making import PageMaker
from tests.policy.traces import exchange, record
from tests.test_hostile_text import HOSTILE, forged_session, frame, header
from tests.view.runs import crash, recorded
from tests.view.test_others import _counter
from tests.view.test_recording import _see

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here"),
    pytest.mark.skipif(not has_plots(), reason="plotly is not installed"),
    # Playwright keeps an event loop of its own, and closes it when the session of tests is over.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def opened(browser: Browser, file: Path, *, plots: bool = True, width: int = 1280, **options: Any) -> Iterator[Page]:
    """A page in it, which must load nothing but itself, and complain about nothing."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        if plots:
            page.wait_for_selector("html[data-plotted]", state="attached")
        yield page
        assert said == []
        assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [file.as_uri()]
    finally:
        context.close()


def settle(page: Page) -> None:
    """Wait until what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def put(folder: Path, maker: PageMaker) -> Path:
    """Write a page."""
    path = folder / "page.html"
    path.write_text(maker.html("horus-async view s"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the arm that stopped in the night."""
    folder = tmp_path_factory.mktemp("night")
    session, box = crash(folder)
    maker = PageMaker()
    maker.sessions([("night", session)], [box])
    return put(folder, maker)


def test_the_first_screen_says_what_went_wrong(browser: Browser, night: Path) -> None:
    """Which node, when, what; and the cursor is there."""
    with opened(browser, night) as page:
        lead = page.locator("#summary .lead").inner_text()
        assert lead == "3 deadline misses of collision_checker, 1 failure of arm_controller and 1 emergency stop."
        assert page.locator("#summary .lead").bounding_box()["y"] < 400  # type: ignore[index]
        first = page.locator(".first-anomaly").inner_text()
        assert "0.504 s, tick 252: " in first
        assert "collision_checker missed its deadline: 4.2 ms instead of 1.9 ms." in first
        assert page.locator("#at").inner_text().startswith("0.504 s")
        assert "missed its deadline" in page.locator("#cursor").inner_text()


def test_figures_are_those_of_the_session(browser: Browser, night: Path) -> None:
    """In the table of nodes, and in the plot itself."""
    session = open_session(night.parent / "night")
    with opened(browser, night) as page:
        for node in session.nodes:
            cells = page.locator(f'#summary tr[data-node="{node}"] > *').all_inner_texts()
            ticks = sum(1 for line in session.executions(node) if line.kind == "tick")
            assert cells[0] == node
            assert cells[1] == str(ticks)
            assert cells[3] == str(sum(1 for _ in session.outputs(node)))
        drawn = page.evaluate("document.querySelector('#figure').data.map((one) => [one.yaxis, one.x, one.y])")
        names = page.evaluate("document.querySelector('#figure').layout.annotations.map((one) => one.text)")
        speed = drawn[names.index("plan · speed")]
        sent = list(session.outputs("planner"))
        assert speed[2] == [one.data["speed"] for one in sent]
        assert speed[1] == pytest.approx([one.stamp_ns / 1e9 for one in sent])


def test_the_keyboard_does_it_all(browser: Browser, night: Path) -> None:
    """Cursor, zoom, anomalies, search, help."""
    with opened(browser, night) as page:
        state = "[horus.state.a, horus.state.b, horus.state.cursor]"
        begin, end, cursor = page.evaluate(state)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowRight")
        assert page.evaluate(state)[2] > cursor
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("+")
        settle(page)
        a, b, _ = page.evaluate(state)
        assert b - a == pytest.approx((end - begin) / 2)
        page.keyboard.press("0")
        assert page.evaluate(state)[:2] == [begin, end]
        page.keyboard.press("Home")
        assert page.evaluate(state)[2] == begin
        page.keyboard.press("n")
        assert page.evaluate(state)[2] == 504_000
        page.keyboard.press("n")
        assert page.evaluate(state)[2] == 514_000
        page.keyboard.press("p")
        assert page.evaluate(state)[2] == 504_000
        page.keyboard.press("/")
        page.keyboard.type("joint limit")
        assert page.locator("#found li").count() >= 2
        assert "joint limit" in page.locator("#found").inner_text()
        page.keyboard.press("Enter")
        assert page.evaluate(state)[2] == 516_000
        page.keyboard.press("Escape")
        assert page.locator("#found").is_hidden()
        page.keyboard.press("?")
        assert page.locator("#help").is_visible()
        page.keyboard.press("Escape")
        assert page.locator("#help").is_hidden()


def test_zoom_of_plots_and_time_line_is_one(browser: Browser, night: Path) -> None:
    """Whichever is zoomed, the other follows; and a drag over the time line zooms."""
    with opened(browser, night) as page:
        page.evaluate("Plotly.relayout('figure', {'xaxis.range[0]': 0.4, 'xaxis.range[1]': 0.5})")
        settle(page)
        assert page.evaluate("[horus.state.a, horus.state.b]") == pytest.approx([400_000, 500_000])
        assert "0.40" in (page.locator("#lanes svg").text_content() or "")
        page.keyboard.press("0")
        settle(page)
        assert page.evaluate("document.querySelector('#figure').layout.xaxis.range") == pytest.approx([0, 0.526])
        box = page.locator("#lanes svg").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 40, steps=5)
        page.mouse.up()
        settle(page)
        a, b = page.evaluate("[horus.state.a, horus.state.b]")
        assert 0 < a < b < 526_000
        assert b - a < 200_000


def test_the_tree_goes_back_to_the_sensor(browser: Browser, night: Path) -> None:
    """From a verdict by its plan to the scene that the camera sent."""
    with opened(browser, night) as page:
        page.evaluate("horus.goTo(525000)")
        settle(page)
        page.locator("#cursor summary", has_text="verdict").click()
        page.locator("#cursor .message button", has_text="What led to it?").click()
        text = page.locator("#tree").inner_text()
        assert "verdict #52 of collision_checker" in text
        assert "in tick 260, 4.8 ms long" in text
        assert "read plan #52 of planner, 4.8 ms before" in text
        assert "read scene #52 of camera" in text
        assert "read no message: where it began" in text
        assert "Cut:" not in text


def test_a_tree_that_is_too_deep_says_so(browser: Browser, tmp_path: Path) -> None:
    """A loop of two nodes goes back for ever."""

    def play(topic: str, other: str) -> Any:
        def act(node: Node) -> None:
            node.recv(other)
            node.send(topic, tick())

        return act

    ping = Node("ping", tick=play("ping", "pong"), rate=100, subs=["pong"], pubs=["ping"])
    pong = Node("pong", tick=play("pong", "ping"), rate=100, subs=["ping"], pubs=["pong"])
    maker = PageMaker()
    maker.sessions([("s", recorded(tmp_path, "s", ping, pong))])
    with opened(browser, put(tmp_path, maker)) as page:
        depth = page.evaluate(
            """() => {
              const channel = horus.data.sources[0].channels[0];
              const { root, cut } = horus.treeOf({ channel, row: channel.seq.length - 1 });
              let deep = 0;
              for (let at = root; at.from.length; at = at.from[0]) deep += 1;
              return [deep, cut.depth];
            }"""
        )
        assert depth == [12, 1]


def test_hostile_text_is_text(browser: Browser, tmp_path: Path) -> None:
    """Nothing of it runs, loads or becomes an element; it is there to be read, spelled out."""

    def say(node: Node) -> None:
        node.send("words", {HOSTILE: HOSTILE, "n": tick(), "<b>x</b>": tick()})
        node.log.error("%s", HOSTILE)
        if tick() == 50:
            raise ValueError(HOSTILE)

    node = Node("talker", tick=say, rate=10, failure_policy=Skip())
    maker = PageMaker()
    maker.sessions([(HOSTILE, recorded(tmp_path, "s", node))])
    path = tmp_path / "page.html"
    path.write_text(maker.html(HOSTILE, HOSTILE), encoding="utf-8")
    with opened(browser, path) as page:
        page.evaluate("() => { window.alert = () => { window.owned = true; }; }")
        page.locator("#cursor summary").first.click()
        page.locator("#cursor .message button", has_text="What led to it?").click()
        page.locator("#fields summary").click()
        page.keyboard.press("/")
        page.keyboard.type("alert(1)")
        settle(page)
        assert page.evaluate("window.owned") is None
        assert page.locator("svg script, main script, [onload], a[href^='javascript']").count() == 0
        text = page.inner_text("body")
        assert "<script>alert(1)</script>" in text
        assert "\\x1b[2J" in text
        assert not set(text) & set("\x1b\u2028\u202e\u200b\x9b")
        assert page.locator("#figure b").count() == 0


def test_two_sessions_stand_side_by_side(browser: Browser, tmp_path: Path) -> None:
    """The first difference is named and marked, and both messages are shown."""
    maker = PageMaker()
    maker.sessions([("a", recorded(tmp_path, "a", _counter(1000))), ("b", recorded(tmp_path, "b", _counter(40)))])
    with opened(browser, put(tmp_path, maker)) as page:
        text = page.locator("#comparison").inner_text()
        assert "100 messages compared, 60 differ." in text
        assert "First difference at 0.400 s, tick 40: counter, topic n, field n: A 40, B 41." in text
        assert page.locator("#pair .differs").all_inner_texts() == ['  "n": 40', '  "n": 41']
        assert page.locator("#lanes svg .first").count() == 1
        assert page.evaluate("document.querySelector('#figure').data.length") == 2
        assert page.locator("#summary tbody th").all_inner_texts() == ["A counter", "B counter"]


def test_images_are_shown_at_the_cursor(browser: Browser, tmp_path: Path) -> None:
    """The one before it; and all that are on the page in a row."""
    maker = PageMaker()
    maker.sessions([("s", recorded(tmp_path, "s", Node("camera", tick=_see, rate=100)))])
    with opened(browser, put(tmp_path, maker), plots=False) as page:
        page.evaluate("horus.goTo(500000)")
        settle(page)
        image = page.locator("#cursor img").first
        assert image.evaluate("(one) => one.naturalWidth") == 60
        assert "message " in (image.get_attribute("alt") or "")
        assert "40 of 100 images" in page.locator("#cursor").inner_text()
        assert page.locator("#images img").count() == 80


def test_a_session_without_everything_says_so_at_the_top(browser: Browser, tmp_path: Path) -> None:
    """Before all else."""
    session, _ = crash(tmp_path)
    (path,) = session.path.glob("planner@*")
    path.write_bytes(path.read_bytes()[:-400])
    maker = PageMaker()
    maker.sessions([("s", open_session(session.path))])
    with opened(browser, put(tmp_path, maker)) as page:
        notes = page.locator("#notes")
        assert notes.is_visible()
        assert "Not everything is here" in notes.inner_text()
        assert "planner@" in notes.inner_text()
        assert notes.bounding_box()["y"] < page.locator("#summary").bounding_box()["y"]  # type: ignore[index]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_can_be_read(browser: Browser, night: Path, width: int, scheme: Any) -> None:
    """Nothing is cut off at the side, text stands out from its ground, everything has a name."""
    with opened(browser, night, width=width, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CONTRAST) == []
        assert page.locator("main, header, aside").count() == 3
        assert page.evaluate("[...document.querySelectorAll('section, aside')].filter((one) => !one.hidden && "
                             "!document.getElementById(one.getAttribute('aria-labelledby'))).length") == 0  # fmt: skip
        assert page.evaluate("[...document.querySelectorAll('img')].filter((one) => !one.alt).length") == 0
        assert page.evaluate("[...document.querySelectorAll('button, input, select')].filter((one) => "
                             "!one.textContent.trim() && !one.getAttribute('aria-label')).length") == 0  # fmt: skip


CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const linear = (v) => (v <= 10.02 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const one of document.querySelectorAll('main *, header *, #bar *')) {
    const hasText = [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!hasText || !one.checkVisibility() || one.closest('svg, li.later')) continue;
    const colours = [light(parse(getComputedStyle(one).color)), light(ground(one))];
    const ratio = (Math.max(...colours) + 0.05) / (Math.min(...colours) + 0.05);
    if (ratio < 4.5) poor.push(`${one.tagName}.${one.className} ${one.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


def test_it_can_be_printed(browser: Browser, night: Path) -> None:
    """As a PDF of some pages, dark or not."""
    with opened(browser, night, color_scheme="dark") as page:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.locator("#search").is_hidden()
        assert len(page.pdf()) > 10_000


def test_an_hour_is_a_small_page(browser: Browser, tmp_path: Path) -> None:
    """Five nodes with ten fields at 100 Hz: here two minutes of it, with no more room than the hour has."""

    def work(node: Node) -> None:
        node.send(node.name, {f"f{number}": tick() * number * 1.1 for number in range(10)})

    nodes = [Node(f"n{number}", tick=work, rate=100) for number in range(5)]
    scheduler = Scheduler(tick_rate=100, deterministic=True, recording="long", recordings_dir=tmp_path)
    for node in nodes:
        scheduler.add(node)
    scheduler.run_sync(120)
    maker = PageMaker()
    maker.sessions([("long", open_session(tmp_path / "long"))])
    path = put(tmp_path, maker)
    assert path.stat().st_size < 6_000_000
    with opened(browser, path) as page:
        about = page.locator("#about").inner_text()
        assert "every message and call is here of" in about
        assert "50 plots of 50 are thinned" in about
        page.evaluate("horus.goTo(60_000_000)")
        settle(page)
        assert "Here only some messages are on the page. All of them:" in page.locator("#cursor").inner_text()
        assert "view long --ticks 5900-6100" in page.locator("#cursor").inner_text()


def _empty(folder: Path) -> PageMaker:
    maker = PageMaker()
    scheduler = Scheduler(tick_rate=100, deterministic=True, recording="odd", recordings_dir=folder)
    scheduler.add(Node("idle", tick=lambda node: None, rate=1)).run_sync(0.0)
    maker.sessions([("odd", open_session(folder / "odd"))])
    return maker


def _forged(folder: Path) -> PageMaker:
    maker = PageMaker()
    forged_session(folder / "forged", HOSTILE)
    maker.sessions([("forged", open_session(folder / "forged"))])
    return maker


def _from_outside(folder: Path) -> PageMaker:
    maker = PageMaker()
    forged_session(folder / "heard", "talker")
    message = {"kind": "message", "tick": 0, "topic": "t", "publisher": "p", "seq": 0, "stamp_ns": -5, "data": {"x": 1}}
    content = frame(header("external", "external")) + frame(message, {**message, "seq": 1, "stamp_ns": 10**15})
    (folder / "heard" / "external@00000000.jsonl.lz4").write_bytes(content)
    maker.sessions([("heard", open_session(folder / "heard"))])
    return maker


def _trace(folder: Path) -> PageMaker:
    maker = PageMaker()
    asked = {"instruction": "lift", "state": [0.5, 1.0]}
    maker.trace(str(record(folder, [exchange(asked), exchange(asked, failure="boom")], images=ImageMode.NONE)))
    return maker


def _box(folder: Path) -> PageMaker:
    maker = PageMaker()
    maker.box(crash(folder)[1])
    return maker


def _three(folder: Path) -> PageMaker:
    maker = PageMaker()
    session, box = crash(folder)
    other = recorded(folder, "a", _counter(1000))
    maker.sessions([("night", session), ("a", other), ("a", other)], [box])
    maker.box(box)
    return maker


@pytest.mark.parametrize("make", [_empty, _forged, _from_outside, _trace, _box, _three])
def test_every_kind_of_page_works(make: Callable[[Path], PageMaker], browser: Browser, tmp_path: Path) -> None:
    """Zoomed, searched, with every message opened, without an error."""
    with opened(browser, put(tmp_path, make(tmp_path)), plots=False) as page:
        page.wait_for_timeout(50)
        for key in ("+", "+", "-", "n", "p", "0", "Home", "End", ".", ",", "ArrowLeft"):
            page.keyboard.press(key)
            settle(page)
        for message in page.locator("#cursor details").all():
            message.locator("summary").click()
        settle(page)
        for button in page.locator("#cursor .message button", has_text="What led to it?").all():
            button.click()
        page.keyboard.press("/")
        page.keyboard.type("e")
        settle(page)
        assert page.locator("#head .title").count() >= 1


def test_without_the_library_the_page_is_complete_but_for_plots(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table has the figures of each field, and it is said what brings the plots."""
    monkeypatch.setattr("horus_async.view.html._library", lambda: b"")
    session, box = crash(tmp_path)
    maker = PageMaker()
    maker.sessions([("night", session)], [box])
    with opened(browser, put(tmp_path, maker), plots=False) as page:
        assert "Plots need the extra view: " in page.locator("#plots").inner_text()
        row = page.locator("#fields tr", has_text="plan · speed").inner_text()
        assert row.split("\t")[-5:-1] == ["0.0001", "0.0001", "0.02", "53"]
        assert page.locator("#lanes svg .bad").count() > 0
