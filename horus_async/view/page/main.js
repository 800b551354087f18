// Search, keys and the start.

const finds = (text) => {
  const wanted = text.toLowerCase(), rows = [];
  if (!wanted) return rows;
  for (const source of data.sources) {
    for (const one of source.incidents) if (`${one.kind} ${one.node} ${one.text}`.toLowerCase().includes(wanted)) rows.push({ t: one.t, source, said: `${one.node ? `${one.node}: ` : ""}${one.text}` });
    for (const line of source.log) if (`${line.level} ${line.node} ${line.text}`.toLowerCase().includes(wanted)) rows.push({ t: line.t, source, said: `${line.level} ${line.node || ""}: ${line.text}` });
    for (const channel of source.channels) {
      const inName = channel.topic.toLowerCase().includes(wanted);
      for (let row = 0; row < channel.seq.length && rows.length < 5000; row++) {
        const value = brief(channel.value[row], 4000);
        if (value.toLowerCase().includes(wanted) || (inName && !row)) rows.push({ t: channel.t[row], source, said: `${channel.topic} #${channel.seq[row]}: ${value.slice(0, 120)}` });
      }
    }
  }
  return rows.sort((one, other) => one.t - other.t);
};

let found = [], at = -1;
const showFound = () => {
  const box = $("found"), text = $("search").value.trim();
  found = finds(text);
  at = -1;
  box.hidden = !text;
  box.replaceChildren(h("p", { role: "status" }, `${plural(found.length, "match", "matches")} for “${text}”${found.length ? ": Enter goes to the next" : ""}`),
    h("ul", { class: "plain" }, found.slice(0, 60).map((one) => h("li", {}, timeButton(one.t, one.source), " ", one.said))));
};
const nextFound = (step) => {
  if (!found.length) return;
  at = (at + step + found.length) % found.length;
  goTo(found[at].t);
  [...document.querySelectorAll("#found li")].forEach((item, place) => item.classList.toggle("chosen", place === at));
};

const stopNear = (step) => {
  const next = step > 0 ? stops.find((us) => us > state.cursor) : [...stops].reverse().find((us) => us < state.cursor);
  if (next !== undefined) goTo(next);
};
const move = (share) => setCursor(state.cursor + Math.sign(share) * Math.max(1, Math.abs(share) * (state.b - state.a)));
const pan = (share) => setView(state.a + share * (state.b - state.a), state.b + share * (state.b - state.a));

const KEYS = [
  ["← →", "move the cursor; with Shift ten times as far"],
  ["+ −", "zoom in and out around the cursor"],
  ["0", "show all"],
  ["n p", "next, previous anomaly or difference"],
  [", .", "show what is to the left, to the right"],
  ["Home End", "the beginning, the end"],
  ["/", "search events, log and messages"],
  ["?", "this help"],
  ["Esc", "close what is open"],
];
const act = {
  ArrowLeft: (event) => move(event.shiftKey ? -0.05 : -0.005), ArrowRight: (event) => move(event.shiftKey ? 0.05 : 0.005),
  "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), 0: () => setView(data.begin, data.end), n: () => stopNear(1), p: () => stopNear(-1),
  ",": () => pan(-0.3), ".": () => pan(0.3), Home: () => setCursor(data.begin), End: () => setCursor(data.end),
  "/": () => $("search").focus(), "?": () => $("help").showModal(),
};

const startBar = () => {
  const button = (text, label, run) => h("button", { type: "button", "aria-label": label, title: label, on: { click: run } }, text);
  $("bar").append(h("span", { id: "at", role: "status", "aria-live": "off" }),
    h("span", { class: "group" }, button("−", "zoom out (−)", () => zoom(0.5)), button("+", "zoom in (+)", () => zoom(2)), button("All", "show all (0)", () => setView(data.begin, data.end))),
    stops.length ? h("span", { class: "group" }, button("‹ prev", "previous anomaly (p)", () => stopNear(-1)), button("next ›", "next anomaly (n)", () => stopNear(1))) : "",
    h("input", { id: "search", type: "search", placeholder: "Search  /", "aria-label": "search events, log and messages", on: { input: showFound, keydown: (event) => {
      if (event.key === "Enter") { event.preventDefault(); nextFound(event.shiftKey ? -1 : 1); }
      if (event.key === "Escape") { $("search").value = ""; showFound(); $("search").blur(); }
    } } }),
    button("?", "help (?)", () => $("help").showModal()));
  $("help").append(h("h2", { id: "help-title" }, "Keys"), h("table", {}, h("tbody", {}, KEYS.map(([key, said]) => h("tr", {}, h("th", { scope: "row" }, key.split(" ").map((one) => [h("kbd", {}, one), " "])), h("td", {}, said))))),
    h("form", { method: "dialog" }, h("button", {}, "Close")));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    if (event.target.closest("input, select, textarea, pre") && event.key !== "Escape") return;
    if (event.key === "Escape") { $("found").hidden = true; $("tree").hidden = true; return; }
    const run = Object.hasOwn(act, event.key) ? act[event.key] : null;
    if (run) { event.preventDefault(); run(event); }
  });
};

const start = () => {
  [state.a, state.b] = [data.begin, data.end];
  for (const begin of [startHead, startNotes, startSummary, startComparison, startTimeline, startPlots, startCursor, startIncidents, startLog, startImages, startTopics, startParams, startAbout, startBar]) begin();
  const begins = first ? first.t : bads.length ? bads[0].t : data.end;
  state.cursor = clamp(begins, data.begin, data.end);
  drawTimeline();
  showCursor();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => changed("view"));
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
  setTimeout(loadLibrary, 30);
};
start();

// For those who look at the page with a program.
window.horus = { data, state, setCursor, setView, goTo, treeOf, messageAt, wholeSpan };
