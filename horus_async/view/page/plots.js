// Plots of any numeric field, one below the other, on the axis of the time line.

const series = new Map();
for (const source of data.sources) for (const one of source.series) {
  one.isFlag = one.per === 1 && one.v.every((value) => value === 0 || value === 1 || value === null);
  if (!series.has(one.key)) series.set(one.key, []);
  series.get(one.key).push(one);
}
const MOST_AT_FIRST = 4, PLOT = 118;

// Fields of nodes with anomalies or differences first; of each topic the first ones.
const choose = () => {
  const wanted = new Map();
  for (const one of data.comparison ? data.comparison.shown : []) wanted.set(`${one.topic}\n${one.node}`, 3);
  for (const one of bads) {
    const node = one.source.nodes.find((each) => each.name === one.node);
    for (const channel of one.source.channels) {
      const near = channel.publisher === one.node || (node && node.subs.concat(node.on).includes(channel.topic));
      const key = `${channel.topic}\n${channel.publisher}`;
      if (near) wanted.set(key, Math.max(wanted.get(key) || 0, channel.publisher === one.node ? 2 : 1));
    }
  }
  const moving = [...series.values()].filter((row) => row.some((one) => one.min !== one.max));
  const ranked = moving.map((row, place) => {
    const inTopic = moving.slice(0, place).filter((other) => other[0].topic === row[0].topic).length;
    return { key: row[0].key, rank: (wanted.get(`${row[0].topic}\n${row[0].publisher}`) || 0) * 4 - inTopic - place / 1e4 };
  });
  if (data.comparison && first) {
    for (const one of ranked) if (one.key === `${first.topic}\n${first.node}\n${first.field}`) one.rank += 100;
  }
  ranked.sort((one, other) => other.rank - one.rank);
  for (const one of ranked.slice(0, MOST_AT_FIRST)) state.fields.add(one.key);
};

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const seriesColour = (one) => style(`--n${nodeColours.has(one.publisher) ? nodeColours.get(one.publisher) : 7}`);

// Where lines stand in every plot: anomalies, and the first difference.
const marks = [...new Set([...(first ? [first.t] : []), ...bads.filter((one) => one.level === "bad").map((one) => one.t)])];

// What is drawn of a series: points in view and one to each side, so that lines go on beyond the edges.
const visible = (one) => {
  const begin = Math.max(0, upTo(one.t, state.a) - 1), end = Math.min(one.t.length, upTo(one.t, state.b) + 2);
  return [one.t.slice(begin, end).map((us) => us / 1e6), one.v.slice(begin, end)];
};

const drawPlots = () => {
  if (!window.Plotly || !$("figure")) return;
  const chosen = [...series.keys()].filter((key) => state.fields.has(key));
  const figure = $("figure");
  $("no-fields").hidden = chosen.length > 0;
  figure.hidden = !chosen.length;
  if (!chosen.length) return;
  const left = gutter(), height = 24 + chosen.length * PLOT, traces = [];
  const ink = style("--ink"), faint = style("--line");
  const { step, found } = ticksOf(state.a, state.b, Math.max(2, (figure.clientWidth - left) / 110));
  const layout = {
    height, margin: { l: left, r: RIGHT, t: 4, b: 24 }, showlegend: false, hovermode: "x", hoverdistance: -1, dragmode: "zoom",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", annotations: [], shapes: [], uirevision: "kept",
    font: { family: style("--font"), size: 11, color: ink },
    xaxis: { range: [state.a / 1e6, state.b / 1e6], tickvals: found.map((us) => us / 1e6), ticktext: found.map((us) => time(us, step)),
      gridcolor: faint, zeroline: false, anchor: `y${chosen.length}` === "y1" ? "y" : `y${chosen.length}` },
  };
  chosen.forEach((key, place) => {
    const name = place ? `y${place + 1}` : "y", rows = series.get(key), top = 1 - place / chosen.length;
    layout[place ? `yaxis${place + 1}` : "yaxis"] = {
      domain: [top - 1 / chosen.length + 0.1 / chosen.length, top - 0.16 / chosen.length], gridcolor: faint, zeroline: false,
      fixedrange: true, nticks: 4, automargin: false, tickfont: { size: 10 },
    };
    layout.annotations.push({ text: plain(rows[0].name), xref: "paper", yref: "paper", x: 0, y: top, xanchor: "left", yanchor: "top",
      showarrow: false, font: { size: 12, color: ink }, yshift: 2 });
    rows.forEach((one, side) => {
      const [x, y] = visible(one);
      traces.push({ type: "scatter", mode: x.length < 150 ? "lines+markers" : "lines", x, y, yaxis: name, name: one.from.said,
        marker: { size: 3.5, color: seriesColour(one) }, connectgaps: false,
        line: { color: side ? style("--other") : seriesColour(one), width: side ? 1.2 : 1.5, dash: side ? "dot" : "solid", shape: one.isFlag ? "hv" : "linear" },
        hovertemplate: `%{y}<extra>${plain(several ? one.from.letter : "")}</extra>` });
    });
    for (const at of marks.filter((us) => us >= state.a && us <= state.b).slice(0, 60)) {
      layout.shapes.push({ type: "line", xref: "x", yref: `${name} domain`, x0: at / 1e6, x1: at / 1e6, y0: 0, y1: 1, layer: "below",
        line: { width: 1, color: first && first.t === at ? style("--first") : style("--bad-line") } });
    }
  });
  window.Plotly.react(figure, traces, layout, { displayModeBar: false, responsive: false, doubleClick: false, showTips: false });
  if (!figure.listens) {
    figure.listens = true;
    figure.on("plotly_relayout", (to) => {
      if (to["xaxis.range[0]"] !== undefined) setView(to["xaxis.range[0]"] * 1e6, to["xaxis.range[1]"] * 1e6);
    });
    figure.on("plotly_click", (event) => setCursor(Math.round(event.points[0].x * 1e6)));
    figure.on("plotly_doubleclick", () => setView(data.begin, data.end));
  }
  figure.setAttribute("role", "img");
  figure.setAttribute("aria-label", `Plots of ${chosen.map((key) => series.get(key)[0].name).join(", ")}. The table of fields has their figures.`);
};
// Plotly reads a few tags in texts: names are no tags.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/%\{/g, "% {");

const fieldRows = () => [...series.values()].map((rows) => {
  const one = rows[0], box = h("input", { type: "checkbox", "aria-label": `plot ${one.name}`, on: { change: () => {
    if (box.checked) state.fields.add(one.key); else state.fields.delete(one.key);
    changed("view"); changed("cursor");
  } } });
  box.checked = state.fields.has(one.key);
  const now = h("td", { class: "n now", "data-key": one.key });
  return h("tr", { "data-find": `${one.name} ${one.publisher}`.toLowerCase() },
    h("td", {}, data.has_plots ? box : null),
    h("th", { scope: "row" }, swatch(one.publisher), one.name, h("small", {}, ` ${one.publisher}`)),
    now,
    h("td", { class: "n" }, number(Math.min(...rows.map((each) => each.min ?? Infinity)))),
    h("td", { class: "n" }, number(Math.max(...rows.map((each) => each.max ?? -Infinity)))),
    h("td", { class: "n" }, count(one.n)),
    h("td", {}, rows.map(thinned).filter(Boolean).join("; ")));
});
const thinned = (one) => [
  one.per > 1 ? `least and greatest of each ${count(one.per)}` : "",
  one.bad ? `${count(one.bad)} NaN or infinite` : "",
].filter(Boolean).join(", ");

const valueAt = (one, us) => {
  const place = upTo(one.t, us);
  return place < 0 ? null : one.v[place];
};
const showValues = () => {
  if (!$("fields").open) return;
  for (const cell of document.querySelectorAll("#fields .now")) {
    cell.textContent = series.get(cell.dataset.key).map((one) => number(valueAt(one, state.cursor))).join(" | ");
  }
};

// The library comes packed, and is a program that the page's policy knows by its hash.
const loadLibrary = async () => {
  const text = $("library").textContent;
  if (!text || !$("figure")) return;
  try {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const program = document.createElement("script");
    program.textContent = await new Response(stream).text();
    document.head.append(program);
    $("library").textContent = "";
  } catch (error) {
    $("plots-wait").textContent = `The plots cannot be drawn in this browser (${error}). The table of fields has their figures.`;
    return;
  }
  if (!$("plots-wait")) return;
  $("plots-wait").remove();
  drawPlots();
  document.documentElement.dataset.plotted = String(Math.round(performance.now()));
};

const startPlots = () => {
  const section = $("plots");
  choose();
  section.append(h("h2", { id: "plots-title" }, "Plots"));
  if (!series.size) {
    section.append(h("p", { class: "hint" }, data.sources.some((source) => source.kind === "blackbox")
      ? "A black box holds no messages." : "No message has a number in it."));
    return;
  }
  const filter = h("input", { type: "search", placeholder: "filter fields", "aria-label": "filter fields", on: { input: () => {
    for (const row of document.querySelectorAll("#fields tbody tr")) row.hidden = !row.dataset.find.includes(filter.value.toLowerCase());
  } } });
  const left = data.sources.reduce((sum, source) => sum + source.fields_left_out, 0);
  if (!data.has_plots) {
    section.append(h("p", { class: "notice" }, "Plots need the extra view: ", h("code", {}, data.install), ". The table has the figures of each field."));
  } else {
    section.append(h("p", { id: "plots-wait", class: "hint" }, "Drawing …"), h("p", { id: "no-fields", class: "hint", hidden: true }, "No field is chosen."),
      h("div", { class: "figure" }, h("div", { id: "figure" }), h("div", { class: "hair" })));
  }
  section.append(h("details", { id: "fields", open: !data.has_plots, on: { toggle: showValues } },
    h("summary", {}, `All fields (${count(series.size)})`), filter,
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, data.has_plots ? "plot" : ""), h("th", {}, "field"),
      h("th", { class: "n" }, "at cursor"), h("th", { class: "n" }, "least"), h("th", { class: "n" }, "greatest"), h("th", { class: "n" }, "values"), h("th", {}, "thinned to"))),
    h("tbody", {}, fieldRows()))),
    left ? h("p", { class: "hint" }, `${plural(left, "further field")} not on this page.`) : null));
  on("view", drawPlots);
  on("cursor", showValues);
  showValues();
};
