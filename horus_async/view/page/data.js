// The data of the page, and what is looked up in it.

const data = JSON.parse($("data").textContent);
data.begin = Math.min(...data.sources.map((source) => source.begin));
data.end = Math.max(...data.sources.map((source) => source.end));
data.step = data.end - data.begin < 1e5 ? 10 : 1000;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const several = data.sources.length > 1;
// Nodes are told apart by the letters of their sources where there are nodes of several.
const lettered = data.sources.filter((source) => source.kind !== "live").length > 1;
const letterOf = (source) => (lettered ? `${source.letter} ` : "");
const KINDS = ["tick", "init", "shutdown", "safe state", "request"];

const unpack = (row) => {
  const found = [];
  for (const one of row) {
    if (one < 0) for (let zero = 0; zero < -one; zero++) found.push(0);
    else found.push(one);
  }
  return found;
};

const nodeColours = new Map();
data.sources.forEach((source, place) => {
  source.place = place;
  source.letter = LETTERS[place] || String(place + 1);
  source.said = several ? `${source.letter}: ${source.name}` : source.name;
  source.channels.forEach((channel, index) => {
    channel.index = index;
    channel.from = source;
    channel.places = new Map(channel.seq.map((seq, row) => [seq, row]));
  });
  for (const node of source.nodes) {
    if (!nodeColours.has(node.name)) nodeColours.set(node.name, nodeColours.size % 10);
    for (const name of ["count", "busy", "bad"]) node.lane[name] = unpack(node.lane[name]);
    node.most = Math.max(1, ...node.lane.busy);
    node.mostCalls = Math.max(1, ...node.lane.count);
  }
  for (const one of source.series) {
    let at = 0;
    one.t = one.t.map((step) => (at += step));
    one.from = source;
    one.topic = source.channels[one.channel].topic;
    one.publisher = source.channels[one.channel].publisher;
    one.key = `${one.topic}\n${one.publisher}\n${one.field}`;
    one.name = one.field === "value" ? one.topic : `${one.topic} · ${one.field}`;
  }
  for (const calls of Object.values(source.calls)) {
    const order = calls.t.map((_, row) => row).sort((x, y) => calls.t[x] - calls.t[y] || x - y);
    calls.order = order;
    calls.begins = order.map((row) => calls.t[row]);
  }
});
const colourOf = (node) => `var(--n${nodeColours.has(node) ? nodeColours.get(node) : 7})`;
const swatch = (node) => h("span", { class: "swatch", style: `background:${colourOf(node)}`, "aria-hidden": "true" });
const who = (node, before = "") => h("span", { class: node.length < 32 ? "who" : "" }, swatch(node), before, node);

// Whether all messages and calls of a moment are on the page; else only some are.
const isWhole = (source, us) =>
  source.detail === null || source.detail.some(([begin, end]) => begin <= us && us < end);
const wholeSpan = (source, us) =>
  source.detail === null ? [source.begin - 1, source.end + 1] : source.detail.find(([begin, end]) => begin <= us && us < end);

const tickAt = (source, us) => {
  const map = source.ticks;
  if (!map.length) return null;
  const place = clamp(upTo(source.tickTimes || (source.tickTimes = map.map((pair) => pair[1])), us), 0, map.length - 1);
  const [tick, at] = map[place], next = map[place + 1];
  if (!next) return tick + (source.tick_rate && us > at ? Math.floor(((us - at) * source.tick_rate) / 1e6 + 1e-6) : 0);
  return tick + Math.floor(((us - at) * (next[0] - tick)) / Math.max(1, next[1] - at) + 1e-6);
};

// The last message of a channel at a moment, and whether it is known to be the last one.
const messageAt = (channel, us) => {
  const row = upTo(channel.t, us);
  if (row < 0) return null;
  const whole = wholeSpan(channel.from, us);
  const exact = whole !== undefined && (channel.t[row] >= whole[0] || channel.places.has(channel.seq[row] + 1));
  return { channel, row, exact };
};
const named = (source, channel, seq) => {
  const row = source.channels[channel].places.get(seq);
  return row === undefined ? null : { channel: source.channels[channel], row };
};
const callOf = (message) => {
  const { channel, row } = message, number = channel.call[row];
  const calls = channel.from.calls[channel.publisher];
  return number === null || number === undefined || !calls ? null : { calls, row: number, node: channel.publisher };
};

// A value as text on lines of their own, as JSON but for integers that JSON's readers would round.
const pretty = (value) => JSON.stringify(value, (_, item) => item, 2)
  .replace(/\{\s*"\$int": "(-?\w+)"\s*\}/g, "$1");
const brief = (value, most = 90) => {
  const text = JSON.stringify(value).replace(/\{"\$int":"(-?\w+)"\}/g, "$1");
  return text.length > most ? `${text.slice(0, most)}…` : text;
};

const bads = data.sources.flatMap((source) => source.incidents.filter((one) => one.level !== "info")
  .map((one) => ({ ...one, source }))).sort((one, other) => one.t - other.t);
const first = data.comparison && data.comparison.shown.length ? data.comparison.shown[0] : null;
const stops = [...new Set([...bads.map((one) => one.t), ...(data.comparison ? data.comparison.shown.map((one) => one.t) : [])])]
  .sort((one, other) => one - other);
