// What was at the cursor: what each node was doing, the newest message of each topic, the log, images.

const openTopics = new Set();

const doing = (source, node) => {
  if (node.outside) return "outside of this session";
  const calls = source.calls[node.name];
  if (!isWhole(source, state.cursor)) return "not on this page one by one";
  if (!calls) return "not called";
  const place = upTo(calls.begins, state.cursor);
  if (place < 0) return "not called yet";
  const row = calls.order[place], end = calls.t[row] + calls.dur[row];
  const name = calls.kind[row] ? KINDS[calls.kind[row]] : "tick", error = calls.error[row];
  const what = source.kind === "trace" ? `request ${calls.tick[row]}` : `${name} ${calls.tick[row]}`;
  const how = calls.dur[row] ? `, ${span(calls.dur[row])} long` : "";
  const when = end >= state.cursor && calls.dur[row] ? "going on" : `${span(state.cursor - calls.t[row])} ago`;
  return [`${what}${how}, ${when}`, error ? h("b", { class: "bad" }, ` ${error}`) : null];
};

const lineOf = (channel) => {
  const found = messageAt(channel, state.cursor), source = channel.from, key = `${source.place} ${channel.index}`;
  if (!found) return null;
  const { row, exact } = found, age = state.cursor - channel.t[row];
  const details = h("details", { open: openTopics.has(key), on: { toggle: () => {
    if (details.open) openTopics.add(key); else openTopics.delete(key);
    if (details.open && details.children.length === 1) details.append(messageOf(found));
  } } }, h("summary", {}, swatch(channel.publisher), h("b", {}, letterOf(source), channel.topic),
    h("span", { class: "faint" }, ` #${channel.seq[row]}, ${span(age)} ago`, exact ? "" : " (later ones are not on this page)"),
    h("code", { class: "brief" }, brief(channel.value[row]))));
  if (details.open) details.append(messageOf(found));
  return details;
};

const messageOf = (message) => {
  const { channel, row } = message;
  return h("div", { class: "message" },
    h("p", { class: "hint" }, `${channel.publisher} sent it at `, timeButton(channel.t[row], channel.from), ` in ${channel.from.kind === "trace" ? "request" : "tick"} ${channel.tick[row]} `,
      h("button", { type: "button", on: { click: () => showTree(message) } }, "What led to it?")),
    h("pre", { tabindex: "0" }, pretty(channel.value[row])));
};

const nearImage = (source, entry) => {
  const place = upTo(entry.images.map((image) => image.t), state.cursor);
  const image = entry.images[Math.max(0, place)], channel = source.channels[entry.channel];
  if (!image) return null;
  const apart = image.t - state.cursor;
  return h("figure", {}, h("img", { src: image.src, alt: `${channel.topic}, message ${image.seq}: ${image.said}` }),
    h("figcaption", {}, `${channel.topic} #${image.seq}, ${span(Math.abs(apart))} ${apart > 0 ? "later" : "earlier"}`,
      entry.images.length < entry.count ? h("span", { class: "faint" }, ` (${count(entry.images.length)} of ${count(entry.count)} images are on this page)`) : ""));
};

const logNear = (source) => {
  const place = upTo(source.logTimes || (source.logTimes = source.log.map((line) => line.t)), state.cursor);
  return source.log.slice(Math.max(0, place - 4), place + 3).map((line) =>
    h("li", { class: line.t > state.cursor ? "later" : "" }, timeButton(line.t, source), " ", levelOf(line), " ",
      line.node ? [h("b", {}, who(line.node)), " "] : "", line.text));
};
const levelOf = (line) => h("span", { class: `level ${LEVELS[line.level] === 2 ? "bad" : LEVELS[line.level] === 1 ? "warned" : ""}` }, line.level);

const happened = (source) => {
  const near = Math.max(data.step * 2, (state.b - state.a) / 400);
  const found = new Map();
  for (const one of source.incidents) {
    if (Math.abs(one.t - state.cursor) > near) continue;
    const key = `${one.node} ${one.text}`, known = found.get(key);
    found.set(key, { ...(known || one), times: (known ? known.times : 0) + 1 });
  }
  return [...found.values()].slice(0, 12);
};

const showCursor = () => {
  showBar();
  const aside = $("cursor-now");
  const parts = [];
  for (const source of data.sources) {
    const now = happened(source);
    if (now.length) {
      parts.push(h("h3", {}, lettered ? `${source.letter}: ` : "", "Happened here"), h("ul", { class: "plain" }, now.map((one) =>
        h("li", {}, one.node ? [h("b", {}, who(one.node)), " "] : "", h("span", { class: one.level === "bad" ? "bad" : one.level === "warning" ? "warned" : "" }, one.text), one.times > 1 ? ` × ${one.times}` : ""))));
    }
  }
  const rows = data.sources.flatMap((source) => source.nodes.map((node) => h("tr", {},
    h("th", { scope: "row" }, who(node.name, letterOf(source))), h("td", {}, doing(source, node)))));
  if (rows.length) parts.push(h("h3", {}, "Nodes"), h("table", { class: "tight" }, h("tbody", {}, rows)));
  const images = data.sources.flatMap((source) => source.images.map((entry) => nearImage(source, entry)).filter(Boolean));
  if (images.length) parts.push(h("h3", {}, "Images"), h("div", { class: "images" }, images));
  const messages = data.sources.flatMap((source) => source.kind === "live" ? [] : source.channels.map(lineOf).filter(Boolean));
  if (data.sources.some((source) => source.channels.length)) {
    parts.push(h("h3", {}, "Newest messages"), messages.length ? messages : h("p", { class: "hint" }, "None yet."));
    const hidden = data.sources.filter((source) => source.channels.length && !isWhole(source, state.cursor));
    if (hidden.length) parts.push(h("p", { class: "hint" }, "Here only some messages are on the page. All of them: ", h("code", {}, detailCommand(hidden[0]))));
  }
  for (const source of data.sources) {
    const lines = logNear(source);
    if (lines.length) parts.push(h("h3", {}, lettered ? `${source.letter}: ` : "", "Log"), h("ul", { class: "plain log" }, lines));
  }
  aside.replaceChildren(...parts.flat());
};

const detailCommand = (source) => {
  const tick = tickAt(source, state.cursor) || 0, wide = Math.max(2, Math.round(source.tick_rate || 1));
  return `${data.program} view ${source.ref || source.name} --ticks ${Math.max(0, tick - wide)}-${tick + wide}`;
};

const barText = () => {
  const source = data.sources[0], tick = tickAt(source, state.cursor), day = wall(source, state.cursor);
  return [time(state.cursor, Math.max(1, Math.min(1000, (state.b - state.a) / 500))), tick === null ? "" : `tick ${count(tick)}`, day].filter(Boolean);
};
const showBar = () => {
  const [at, ...rest] = barText();
  $("at").replaceChildren(h("b", {}, at), h("span", { class: "faint" }, rest.map((one) => `  ${one}`).join("")));
};

const startCursor = () => {
  $("cursor").append(h("h2", { id: "cursor-title" }, "At the cursor"), h("div", { id: "cursor-now", "aria-live": "off" }));
  on("cursor", showCursor);
};
