"""What a replay found, as one HTML page that needs nothing else: no network, no programs, no other files.

Everything on it that comes from a trace or a policy is escaped, and the page forbids programs besides.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from attrs import asdict

from horus_async.spelling import printable_html

from .actions import as_dict
from .gathered import DIMENSIONS
from .pictures import pictures
from .plots import plot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .gathered import Gathered, Sample
    from .model_facts import ModelFacts
    from .report import ReplaySummary
    from .results import Rows

_ROOM = 24 << 20
"""Bytes that the images of a page may take together; mail and CI systems do not like larger files."""
_HEADER = (
    "model_hash", "config_hash", "model_type", "export_kind", "embodiment", "providers", "policy", "export_dir",
    "horus_version", "reflex_version", "session_id", "started_at", "redaction",
)  # fmt: skip
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1120px;padding:0 1em;color:#1a1a1a;background:#fff}
h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}
table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;padding:.25em .8em .25em 0}
td,li,figcaption{unicode-bidi:isolate;overflow-wrap:anywhere}
tr{border-bottom:1px solid #ddd}.differs{color:#b00020;font-weight:600}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:.6em}
figure{margin:0}figcaption{font-size:.85em}svg{width:100%;max-width:480px}
svg path{fill:none;stroke-linecap:round;stroke-linejoin:round}
.recorded{stroke:#7fb3d9;stroke-width:3.5}.replayed{stroke:#d9480f;stroke-width:1.2}.frame{fill:none;stroke:#bbb}
svg text{font-size:9px;fill:#555}b.recorded{color:#3f83b5}b.replayed{color:#d9480f}
.request{border-top:1px solid #ddd;padding:.8em 0}.images{display:flex;flex-wrap:wrap;gap:.6em}
.images img{max-width:260px;max-height:260px;image-rendering:pixelated;border:1px solid #ccc}
@media(prefers-color-scheme:dark){body{color:#e4e4e4;background:#161616}tr,.request{border-color:#444}
.frame{stroke:#555}svg text{fill:#aaa}.differs{color:#ff8a80}}
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(
    summary: ReplaySummary,
    gathered: Gathered,
    model: ModelFacts,
    *,
    trace_file: str,
    header: dict[str, Any],
    notes: list[str],
) -> str:
    """The page. ``header`` is that of the trace, ``notes`` what is worth knowing of it."""
    title = f"Replay of {trace_file.rpartition('/')[2]} through {model.name}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_text(title)}</h1><ul>",
        *(f"<li>{_text(line)}</li>" for line in summary.lines()),
        *(f"<li>note: {_text(note)}</li>" for note in notes),
        "</ul><h2>Models</h2>",
        _models(header, model),
        *_plots(summary, gathered),
        *_worst(gathered),
        "</body></html>\n",
    ]
    return "".join(parts)


def _models(header: dict[str, Any], model: ModelFacts) -> str:
    now = {**asdict(model), "policy": model.name}
    rows = []
    for name in _HEADER:
        then, today = header.get(name), now.get(name)
        if then or today:
            known = then and today and name not in ("policy", "export_dir")
            differs = known and _plain(then) != _plain(today)
            mark = ' class="differs"' if differs else ""
            rows.append(f"<tr{mark}><th>{name}</th><td>{_text(_plain(then))}</td><td>{_text(_plain(today))}</td></tr>")
    return f"<table><tr><th></th><th>recorded</th><th>replayed</th></tr>{''.join(rows)}</table>"


def _plots(summary: ReplaySummary, gathered: Gathered) -> Iterator[str]:
    """A plot a dimension: the first action of each request, over the trace."""
    seqs = gathered.seqs
    if not gathered.series:
        return
    yield (
        '<h2>Actions</h2><p>The first action of each request, <b class="recorded">recorded</b> and '
        '<b class="replayed">replayed</b>. Where there are many, a place shows the least and the greatest.</p>'
    )
    if gathered.more_dimensions > 0:
        yield f"<p>Shown are the first {DIMENSIONS} dimensions, {gathered.more_dimensions} more are not.</p>"
    yield '<div class="plots">'
    for dim, series in enumerate(gathered.series):
        largest = (
            f", largest difference {summary.per_dim_max_abs[dim]:.3g}" if dim < len(summary.per_dim_max_abs) else ""
        )
        drawn = plot(
            series.recorded, series.replayed, first=f"seq {seqs[0]}", last=f"{seqs[-1]}", label=f"dimension {dim}"
        )
        yield f"<figure>{drawn}<figcaption>dimension {dim}{largest}</figcaption></figure>"
    yield "</div>"


def _worst(gathered: Gathered) -> Iterator[str]:
    worst = gathered.worst
    if not worst:
        yield "<h2>Worst requests</h2><p>No request differs.</p>"
        return
    yield f"<h2>Worst requests</h2><p>The {len(worst)} that differ most, the worst first.</p>"
    room = _ROOM
    for sample in worst:
        yield '<div class="request"><table>'
        yield from (f"<tr><th>{name}</th><td>{_text(value)}</td></tr>" for name, value in _facts(sample))
        yield f"</table>{_chunk(sample)}"
        images = list(_images(sample, room))
        room -= sum(map(len, images))
        yield f'<div class="images">{"".join(images)}</div></div>'


def _facts(sample: Sample) -> Iterator[tuple[str, str]]:
    request, result = sample.request, sample.result
    yield "seq", str(request.seq)
    if request.episode is not None:
        yield "episode", request.episode
    if request.instruction:
        yield "instruction", request.instruction
    if result.raised is not None:
        yield "the policy failed", result.raised
    for name, diff in (("actions", result.actions), ("latency", result.latency), ("cache", result.cache)):
        if diff is not None:
            shown = {
                key: value for key, value in as_dict(diff).items() if key != "per_dim_max_abs" and value is not None
            }
            yield name, ", ".join(f"{key} {_plain(value)}" for key, value in shown.items())
    if result.lacking:
        yield "replayed without", ", ".join(result.lacking)


def _chunk(sample: Sample) -> str:
    """The dimension that differs most, over the steps of both chunks."""
    diff = sample.result.actions
    if diff is None or not diff.per_dim_max_abs:
        return ""
    sizes = [math.inf if math.isnan(size) else size for size in diff.per_dim_max_abs]
    dim = sizes.index(max(sizes))
    recorded, replayed = (list(_column(rows, dim)) for rows in (sample.request.actions, sample.answered))
    drawn = plot(recorded, replayed, first="step 0", last=f"{len(recorded) - 1}", label=f"dimension {dim} by step")
    return f"<figure>{drawn}<figcaption>dimension {dim}, step by step</figcaption></figure>"


def _column(rows: Rows, dim: int) -> Iterable[float]:
    return (float(row[dim]) for row in rows)


def _images(sample: Sample, room: int) -> Iterator[str]:
    for picture in pictures(sample.request):
        caption = f"{_text(picture.name)}, {len(picture.data)} bytes"
        if picture.kind is None:
            yield f"<p>{caption}: of a kind that browsers do not show</p>"
            continue
        text = base64.b64encode(picture.data).decode()
        room -= len(text)
        if room < 0:
            yield f"<p>{caption}: left out, since the page would become too large</p>"
            continue
        image = f'<img src="data:{picture.kind};base64,{text}" alt="{_text(picture.name)}">'
        yield f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _text(text: str) -> str:
    return printable_html(text)
