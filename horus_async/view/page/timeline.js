// The time line: a lane for each node, with its ticks, anomalies and gaps, and one for the log.

const narrow = () => window.innerWidth < 720;
const gutter = () => (narrow() ? 46 : 168);
const RIGHT = 14, LANE = 26, AXIS = 22, LOG = 20;
const LEVELS = { ERROR: 2, CRITICAL: 2, WARNING: 1 };

const lanes = () => [...(data.comparison && first ? [{ source: data.sources[0], node: null, differences: data.comparison.shown }] : []), ...data.sources.flatMap((source) => [
  ...source.nodes.map((node) => ({ source, node })),
  ...(source.log.length || source.incidents.some((one) => !one.node) ? [{ source, node: null }] : []),
])];

const drawTimeline = () => {
  const box = $("lanes"), width = box.clientWidth;
  if (!width) return;
  const left = gutter(), right = width - RIGHT, label = narrow() ? 15 : 0;
  const x = (us) => left + ((us - state.a) / (state.b - state.a)) * (right - left);
  const rows = lanes(), row = LANE + label;
  const height = AXIS + rows.reduce((sum, one) => sum + (one.node ? row : LOG + label), 0) + 4;
  const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said() });
  const { step, found } = ticksOf(state.a, state.b, Math.max(2, (right - left) / 110));
  for (const at of found) {
    drawing.append(svg("line", { class: "grid", x1: x(at), x2: x(at), y1: AXIS - 4, y2: height }));
    const text = svg("text", { class: "axis", x: x(at), y: 12, "text-anchor": "middle" });
    text.textContent = time(at, step);
    drawing.append(text);
  }
  let y = AXIS;
  for (const one of rows) {
    drawing.append(nameOf(one, y, left, label));
    const top = y + label;
    drawing.append(svg("line", { class: "rule", x1: 0, x2: width, y1: y, y2: y }));
    if (one.node) drawLane(drawing, one, top, x, left, right);
    drawIncidents(drawing, one, top, x, left, right);
    y += one.node ? row : LOG + label;
  }
  if (first && first.t >= state.a && first.t <= state.b) {
    drawing.append(svg("line", { class: "first", x1: x(first.t), x2: x(first.t), y1: AXIS - 4, y2: height }));
  }
  for (const source of data.sources) drawWhole(drawing, source, x, left, right);
  box.replaceChildren(drawing, $("hair") || h("div", { id: "hair", class: "hair" }), $("brush") || h("div", { id: "brush", class: "brush" }));
  data.x = { left, right, width };
  placeHair();
};

const said = () => {
  const bad = bads.filter((one) => one.t >= state.a && one.t <= state.b).length;
  return `Time line from ${time(state.a)} to ${time(state.b)}: ${plural(bad, "anomaly", "anomalies")}. `
    + "The tables below say the same in words.";
};

const nameOf = ({ source, node, differences }, y, left, label) => {
  const group = svg("g", {});
  const name = node ? node.name : differences ? "differences" : "run, log";
  const room = label ? 60 : Math.floor((left - 22) / 7.2) - (lettered ? 2 : 0);
  const text = svg("text", { class: "name", x: label ? 14 : 14, y: y + (label ? 12 : 17) });
  text.textContent = (letterOf(source)) + (name.length > room ? `${name.slice(0, room - 1)}…` : name);
  const title = svg("title", {});
  title.textContent = several ? `${source.name}: ${name}` : name;
  group.append(title, text);
  if (node) {
    group.append(svg("rect", { x: 2, y: y + (label ? 4 : 9), width: 7, height: 9, rx: 2, style: `fill:${colourOf(node.name)}` }));
  }
  return group;
};

// Single calls where they are on the page and there is room for them, else a bar for each few of them.
const drawLane = (drawing, { source, node }, top, x, left, right) => {
  const colour = colourOf(node.name), floor = top + LANE - 4, tall = LANE - 9;
  const calls = source.calls[node.name];
  const begin = calls ? Math.max(0, upTo(calls.begins, state.a - node.longest - 1)) : 0;
  const end = calls ? upTo(calls.begins, state.b) + 1 : 0;
  const whole = wholeSpan(source, (state.a + state.b) / 2);
  const inside = whole && whole[0] <= Math.max(state.a, source.begin) + 1 && whole[1] >= Math.min(state.b, source.end) - 1;
  if (calls && inside && end - begin <= (right - left) / 2.5) {
    const quick = [], errors = [];
    for (let place = begin; place < end; place++) {
      const row = calls.order[place];
      const from = clamp(x(calls.t[row]), left, right), to = clamp(x(calls.t[row] + calls.dur[row]), left, right);
      if (x(calls.t[row] + calls.dur[row]) < left || x(calls.t[row]) > right) continue;
      const bar = `M${from.toFixed(1)} ${floor}v${-tall}h${Math.max(to - from, 1.6).toFixed(1)}v${tall}z`;
      (calls.error[row] ? errors : quick).push(bar);
    }
    drawing.append(svg("path", { d: quick.join(""), style: `fill:${colour}`, class: "calls" }));
    if (errors.length) drawing.append(svg("path", { d: errors.join(""), class: "failed" }));
    return;
  }
  const columns = new Map(), width = source.bucket;
  const from = clamp(Math.floor((state.a - source.begin) / width), 0, node.lane.count.length - 1);
  const to = clamp(Math.ceil((state.b - source.begin) / width), 0, node.lane.count.length - 1);
  for (let bucket = from; bucket <= to; bucket++) {
    if (!node.lane.count[bucket]) continue;
    const at = x(source.begin + bucket * width), column = Math.round(at);
    const wide = Math.max(1, Math.ceil(x(source.begin + (bucket + 1) * width)) - column);
    const known = columns.get(column);
    const share = node.most > 1 ? Math.sqrt(node.lane.busy[bucket] / node.most) : 0;
    columns.set(column, [Math.max(known ? known[0] : 0, share), Math.max(known ? known[1] : 0, wide)]);
  }
  const bars = [];
  for (const [column, [share, wide]] of columns) {
    const begins = Math.max(column, left), ends = Math.min(column + wide, right);
    if (ends <= begins) continue;
    const high = 7 + share * (tall - 7);
    bars.push(`M${begins} ${floor}v${(-high).toFixed(1)}h${ends - begins}v${high.toFixed(1)}z`);
  }
  drawing.append(svg("path", { d: bars.join(""), style: `fill:${colour}`, class: "bars" }));
};

// Anomalies that are there one by one; where there are more of them, counts of the buckets stand in.
const drawIncidents = (drawing, { source, node, differences }, top, x, left, right) => {
  if (differences) {
    const inView = differences.filter((one) => one.t >= state.a && one.t <= state.b);
    const ticks = inView.map((one) => `M${x(one.t).toFixed(1)} ${top + 4}v${LOG - 8}`);
    drawing.append(svg("path", { d: ticks.join(""), class: "differ" }));
    return;
  }
  const bad = [], warned = [], centre = top + (node ? 8 : 10);
  const mark = (at, into, round) => {
    const place = x(at);
    if (place < left - 1 || place > right + 1) return;
    into.push(round ? `M${place.toFixed(1)} ${centre - 5}l5 5l-5 5l-5 -5z` : `M${place.toFixed(1)} ${centre - 6}l6 10h-12z`);
  };
  for (const one of source.incidents) {
    if ((one.node || null) !== (node ? node.name : null) && !(node === null && !source.nodes.some((n) => n.name === one.node))) continue;
    if (one.level === "bad") mark(one.t, bad, false);
    else if (one.level === "warning") mark(one.t, warned, true);
  }
  if (node && source.incidents_left_out) {
    node.lane.bad.forEach((many, bucket) => {
      if (many) mark(source.begin + (bucket + 0.5) * source.bucket, bad, false);
    });
  }
  if (!node) {
    for (const line of source.log) {
      const level = LEVELS[line.level];
      if (level) mark(line.t, level === 2 ? bad : warned, true);
    }
    const quiet = source.log.filter((line) => !LEVELS[line.level] && line.t >= state.a && line.t <= state.b);
    const dots = quiet.map((line) => `M${x(line.t).toFixed(1)} ${centre - 3}v6`);
    drawing.append(svg("path", { d: dots.join(""), class: "said" }));
  }
  if (warned.length) drawing.append(svg("path", { d: warned.join(""), class: "warned" }));
  if (bad.length) drawing.append(svg("path", { d: bad.join(""), class: "bad" }));
};

// Below the axis: where all messages are on the page.
const drawWhole = (drawing, source, x, left, right) => {
  for (const [begin, end] of source.detail || []) {
    const from = clamp(x(begin), left, right), to = clamp(x(end), left, right);
    if (to <= from) continue;
    const line = svg("rect", { class: "whole", x: from, width: Math.max(2, to - from), y: AXIS - 4 - source.place * 3, height: 3 });
    const title = svg("title", {});
    title.textContent = "every message of this span is on the page";
    line.append(title);
    drawing.append(line);
  }
};

const timeOf = (x) => state.a + ((x - data.x.left) / (data.x.right - data.x.left)) * (state.b - state.a);
const placeHair = () => {
  if (!data.x) return;
  const share = (state.cursor - state.a) / (state.b - state.a);
  const at = data.x.left + share * (data.x.right - data.x.left);
  for (const hair of document.querySelectorAll(".hair")) {
    hair.hidden = share < 0 || share > 1;
    hair.style.left = `${at}px`;
  }
};

const startTimeline = () => {
  const box = h("div", { id: "lanes", class: "lanes" });
  $("timeline").append(
    h("h2", { id: "timeline-title" }, "Time line"),
    h("p", { class: "hint" }, h("span", { class: "wide" }, "Click to place the cursor, drag to zoom in, double-click to see all. "),
      h("span", { class: "key bad" }), " anomaly ", h("span", { class: "key warned" }), " warning ",
      h("span", { class: "key bars" }), " ticks; the taller, the longer they took",
      data.sources.some((source) => source.detail && source.detail.length)
        ? [" ", h("span", { class: "key whole" }), " every message is on the page"] : "",
      first ? [" ", h("span", { class: "key first" }), " first difference"] : ""),
    box);
  let begun = null;
  const at = (event) => clamp(event.clientX - box.getBoundingClientRect().left, data.x.left, data.x.right);
  box.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    begun = at(event);
    if (event.pointerType === "mouse") box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    if (begun === null || event.pointerType !== "mouse" || Math.abs(at(event) - begun) < 4) return;
    Object.assign($("brush").style, { display: "block", left: `${Math.min(begun, at(event))}px`, width: `${Math.abs(at(event) - begun)}px` });
  });
  const end = (event) => {
    if (begun === null) return;
    const from = Math.min(begun, at(event)), to = Math.max(begun, at(event));
    begun = null;
    $("brush").style.display = "none";
    if (event.type === "pointercancel") return;
    if (to - from < 4 || event.pointerType !== "mouse") setCursor(snapped(timeOf(at(event))));
    else setView(timeOf(from), timeOf(to));
  };
  box.addEventListener("pointerup", end);
  box.addEventListener("pointercancel", end);
  box.addEventListener("dblclick", () => setView(data.begin, data.end));
  box.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const middle = timeOf(at(event)), factor = event.deltaY < 0 ? 1.3 : 1 / 1.3;
    setView(middle - (middle - state.a) / factor, middle + (state.b - middle) / factor);
  }, { passive: false });
  on("view", drawTimeline);
  on("cursor", placeHair);
  new ResizeObserver(() => changed("view")).observe(box);
};

// An anomaly that is near the pointer is what was meant.
const snapped = (us) => {
  const near = (state.b - state.a) / Math.max(1, data.x.right - data.x.left) * 6;
  let best = us, apart = near;
  for (const stop of stops) if (Math.abs(stop - us) < apart) [best, apart] = [stop, Math.abs(stop - us)];
  return best;
};
