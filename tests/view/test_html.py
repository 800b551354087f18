"""A page is one file that loads nothing, and text of others is nothing but text in it."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from horus_async import Node
from horus_async.spelling import printable_lines
from horus_async.view import html
from horus_async.view.html import embedded, page
from horus_async.view.making import PageMaker
from tests.test_hostile_text import HOSTILE, assert_harmless
from tests.view.runs import recorded

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FORBIDDEN = (
    "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "fetch(", "XMLHttpRequest",
    "WebSocket", "import(", "http:", "</script", "<!--",
)  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(value=JSON)
def test_embedded_data_is_the_data(value: Any) -> None:
    """But for text that has to be spelled out; and no markup begins in it."""
    text = embedded(value)
    assert "<" not in text
    assert "&" not in text
    assert_harmless(text, lines=False)
    assert orjson.loads(text) == html.printable_data(value)


def test_integers_that_browsers_round_are_text() -> None:
    """A stamp in nanoseconds is shown with all of its digits."""
    stamp = 1796091963348289001
    assert orjson.loads(embedded({"stamp_ns": stamp, "n": 2**53})) == {"stamp_ns": {"$int": str(stamp)}, "n": 2**53}


def test_what_is_not_ours_cannot_get_out(tmp_path: Path) -> None:
    """Values, keys, names of fields, log lines, errors: hostile all of them."""

    def tick(node: Node) -> None:
        node.send("words", {HOSTILE: HOSTILE, "n": 1, "{{library}}": "{{program}}"})
        node.log.error("%s", HOSTILE)

    maker = PageMaker()
    maker.sessions([("s", recorded(tmp_path, "s", Node("talker", tick=tick, rate=10)))])
    text = maker.html(command=HOSTILE, program=HOSTILE)
    without_library = re.sub(r'(<script type="text/plain" id="library">)[^<]*', r"\1", text)
    assert_harmless(without_library, lines=False)
    assert len(re.findall(r"<script", text)) == 3
    assert len(re.findall(r"</script", text)) == 3
    assert "onload=" not in re.sub(r'<script type="application/json" id="data">[^<]*', "", text)
    data = _data(text)
    assert data["sources"][0]["log"][0]["text"] == printable_lines(HOSTILE)
    assert printable_lines(HOSTILE) in data["sources"][0]["channels"][0]["value"][0]


def _data(text: str) -> Any:
    match = re.search(r'<script type="application/json" id="data">([^<]*)</script>', text)
    assert match is not None
    return orjson.loads(match[1])


def test_the_policy_allows_these_programs_alone() -> None:
    """By their hashes; nothing can be loaded, sent or framed."""
    text = page({"sources": [], "comparison": None}, "<title>")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    allowed = set(re.findall(r"'sha256-([^']*)'", policy))
    programs = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(programs) == 1
    assert base64.b64encode(hashlib.sha256(programs[0].encode()).digest()).decode() in allowed
    assert len(allowed) == 2
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules.keys() == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!#|data:)", text.split("<script")[0])
    assert "<title>&lt;title&gt;</title>" in text


def test_our_programs_make_no_markup_of_text() -> None:
    """They build elements, and give them text."""
    folder = files("horus_async.view") / "page"
    for name in html._SCRIPTS:
        source = folder.joinpath(name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert [word for word in FORBIDDEN if word in source] == [], name


def test_without_the_library_there_is_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no plots, and says what brings them."""
    monkeypatch.setattr(html, "_library", lambda: b"")
    text = page({"sources": [], "comparison": None}, "t")
    assert len(text) < 120_000
    assert _data(text)["has_plots"] is False
    assert len(re.findall(r"'sha256-", text)) == 1
