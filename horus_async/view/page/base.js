// Small things that all others use: elements, numbers, times, what is shown at the moment.

const $ = (id) => document.getElementById(id);

// An element; text of others comes in as text nodes only.
const h = (tag, attributes, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name === "style") element.style.cssText = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

const SVG = "http://www.w3.org/2000/svg";
const svg = (tag, attributes, ...children) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const count = (number) => number.toLocaleString("en-US");
const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many || one + "s"}`;
const number = (value) => {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return String(value);
  return size !== 0 && (size < 1e-4 || size >= 1e7) ? value.toExponential(4) : String(Number(value.toPrecision(7)));
};

// Seconds since the run began, with as many digits as the step between two times needs.
const time = (us, step = 1000) => {
  const digits = step >= 1e6 ? 0 : clamp(Math.ceil(6 - Math.log10(Math.max(step, 1))), 1, 6);
  const seconds = Math.abs(us) / 1e6, sign = us < 0 ? "−" : "";
  if (seconds < 60) return `${sign}${seconds.toFixed(digits)} s`;
  const whole = Math.floor(seconds), minutes = Math.floor(whole / 60) % 60, hours = Math.floor(whole / 3600);
  const rest = (seconds % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${sign}${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${sign}${minutes}:${rest}`;
};
const span = (us) => {
  if (us === null || us === undefined) return "–";
  const size = Math.abs(us);
  if (size < 1000) return `${us} µs`;
  if (size < 1e6) return `${Number((us / 1000).toPrecision(4))} ms`;
  return size < 6e7 ? `${Number((us / 1e6).toPrecision(4))} s` : time(us);
};
// The time of day, where the run had one.
const wall = (source, us) => {
  if (source.wall === null || source.wall === undefined) return "";
  const at = new Date(Math.floor((source.wall + us) / 1000));
  return Number.isNaN(at.getTime()) ? "" : `${at.toISOString().slice(11, 23)} UTC`;
};

// The last place in a sorted row that is not beyond a value; -1 if all are.
const upTo = (row, value) => {
  let low = 0, high = row.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (row[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
};

// Steps of an axis: round numbers of µs.
const ticksOf = (a, b, most) => {
  const steps = [];
  for (let power = 1; power <= 1e6; power *= 10) steps.push(power, 2 * power, 5 * power);
  steps.push(1e7, 2e7, 3e7, 6e7, 12e7, 3e8, 6e8, 18e8, 36e8, 72e8, 216e8, 864e8);
  steps.sort((one, other) => one - other);
  const step = steps.find((one) => (b - a) / one <= most) || (b - a);
  const found = [];
  for (let at = Math.ceil(a / step) * step; at <= b; at += step) found.push(at);
  return { step, found };
};

// What is shown, and who wants to know when that changes.
const state = { a: 0, b: 1, cursor: 0, message: null, fields: new Set() };
const listeners = { view: [], cursor: [] };
const on = (what, act) => listeners[what].push(act);
const waiting = new Set();
const changed = (what) => {
  if (!waiting.size) requestAnimationFrame(() => {
    const now = [...waiting];
    waiting.clear();
    for (const one of now) for (const act of listeners[one]) act();
  });
  waiting.add(what);
};
const setView = (a, b) => {
  const least = 20, whole = data.end - data.begin;
  let width = clamp(b - a, least, whole);
  const middle = (a + b) / 2;
  const from = clamp(middle - width / 2, data.begin, data.end - width);
  if (from === state.a && from + width === state.b) return;
  [state.a, state.b] = [from, from + width];
  changed("view");
};
const zoom = (factor) => {
  const middle = state.cursor >= state.a && state.cursor <= state.b ? state.cursor : (state.a + state.b) / 2;
  const share = (middle - state.a) / (state.b - state.a), width = (state.b - state.a) / factor;
  setView(middle - width * share, middle + width * (1 - share));
};
const setCursor = (us) => {
  state.cursor = clamp(Math.round(us), data.begin, data.end);
  if (state.cursor < state.a || state.cursor > state.b) {
    const width = state.b - state.a;
    setView(state.cursor - width / 2, state.cursor + width / 2);
  }
  changed("cursor");
};
// Show a moment, near enough to see what was around it.
const closeUp = (us) => {
  const inside = data.sources.filter((source) => source.detail).map((source) => wholeSpan(source, us)).find(Boolean);
  return inside ? (inside[1] - inside[0]) * 1.2 : Math.max(20, (data.end - data.begin) / 8);
};
const goTo = (us, { near = true } = {}) => {
  const width = Math.min(state.b - state.a, near ? closeUp(us) : state.b - state.a);
  setView(us - width / 2, us + width / 2);
  setCursor(us);
};
const timeButton = (us, source, step) =>
  h("button", { class: "time", type: "button", title: wall(source || data.sources[0], us) || "go there",
    on: { click: () => goTo(us) } }, time(us, step || data.step));
