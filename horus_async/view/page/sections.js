// The parts of the page that are texts and tables.

const AT_FIRST = 100;
// A table whose further rows come when they are asked for.
const table = (heads, rows, make, { most = AT_FIRST, label } = {}) => {
  const body = h("tbody", {}), more = h("button", { type: "button", on: { click: () => show(Infinity) } });
  let shown = rows;
  const show = (limit) => {
    body.replaceChildren(...shown.slice(0, limit).map(make));
    more.hidden = shown.length <= limit;
    more.textContent = `Show all ${count(shown.length)}`;
  };
  show(most);
  const element = h("div", {}, h("div", { class: "scroll" }, h("table", { "aria-label": label },
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col", class: head.startsWith("#") ? "n" : "" }, head.replace(/^#/, ""))))), body)), more);
  return { element, filter: (keep) => { shown = rows.filter(keep); show(most); return shown.length; } };
};
const nodeCell = (name) => h("td", {}, name ? who(name) : "–");

const startHead = () => {
  $("head").append(...data.sources.map((source) => h("div", { class: "source" },
    h(source.place ? "p" : "h1", { class: "title" }, several ? h("span", { class: "letter" }, source.letter) : "", source.name),
    h("p", { class: "facts" }, [
      source.kind === "session" ? "recorded session" : source.kind === "blackbox" ? "black box" : source.kind === "trace" ? "policy trace" : "program",
      source.kind === "session" || source.kind === "live" ? source.mode : "",
      source.tick_rate ? `${source.tick_rate} Hz` : "", source.seed === null ? "" : `seed ${source.seed}`,
      source.started_at ? `started ${source.started_at.replace("T", " ").replace("Z", " UTC")}` : "",
    ].filter(Boolean).join(" · ")))));
};

const startNotes = () => {
  const notes = data.sources.flatMap((source) => source.notes.map((note) => (several ? `${source.letter}: ${note}` : note)));
  if (!notes.length) return;
  const section = $("notes");
  section.hidden = false;
  const item = (note) => h("li", {}, note);
  section.append(h("h2", { id: "notes-title" }, "Not everything is here"),
    h("ul", {}, notes.slice(0, 8).map(item)),
    notes.length > 8 ? h("details", {}, h("summary", {}, `${count(notes.length - 8)} more`), h("ul", {}, notes.slice(8).map(item))) : "");
};

const startSummary = () => {
  const section = $("summary");
  section.append(h("h2", { id: "summary-title", class: "hidden" }, "Summary"));
  for (const source of data.sources) {
    if (source.kind === "live") continue;
    const said = source.summary;
    section.append(h("div", { class: "verdict" },
      h("p", { class: `lead ${said.bad ? "bad" : ""}` }, lettered ? `${source.letter}: ` : "", said.verdict),
      said.first ? h("p", { class: "first-anomaly" }, "First anomaly at ",
        h("button", { class: "time strong", type: "button", on: { click: () => goTo(said.first.t) } }, time(said.first.t, data.step)),
        wall(source, said.first.t) ? `, ${wall(source, said.first.t)}` : "", said.first.tick === null ? "" : `, tick ${count(said.first.tick)}`, ": ",
        said.first.node ? [h("b", {}, who(said.first.node)), " "] : "", said.first.text, ".") : "",
      h("p", { class: "facts" }, said.facts.join(" · ")), source.remarks.map((remark) => h("p", { class: "facts" }, remark))));
  }
  const rows = data.sources.flatMap((source) => source.nodes.map((node) => ({ source, node })));
  if (!rows.length) return;
  const of = ({ source, node }, kind) => source.incident_counts.filter((one) => one.kind === kind && one.node === node.name).reduce((sum, one) => sum + one.count, 0);
  const cell = (value, bad) => h("td", { class: `n${value && bad ? " bad" : ""}${value ? "" : " zero"}` }, value === null || value === undefined ? "–" : count(value));
  const messages = ({ source, node }) => source.channels.filter((channel) => channel.publisher === node.name && channel.external === Boolean(node.outside)).reduce((sum, channel) => sum + channel.count, 0);
  const hasBox = (source) => source.kind === "blackbox" || source.box;
  section.append(table(["node", "#ticks", "#rate", "#messages", "#longest tick", "#misses", "#failures", "#left out", "#gaps"], rows, (row) => {
    const { source, node } = row, seconds = (source.end - source.begin) / 1e6;
    const misses = hasBox(source) ? of(row, "DeadlineMiss") : null;
    return h("tr", { "data-node": node.name },
      h("th", { scope: "row" }, who(node.name, letterOf(source))),
      node.outside ? h("td", { class: "n zero" }, "outside") : cell(node.ticks), h("td", { class: "n" }, source.kind === "blackbox" || node.outside ? "–" : node.rate ? `${number(node.rate)} Hz` : node.on.length ? "on messages" : `${number(Number((node.ticks / seconds).toPrecision(3)))}/s`),
      source.kind === "blackbox" ? h("td", { class: "n zero" }, "–") : cell(messages(row)),
      h("td", { class: "n" }, node.longest_at === null ? "–" : h("button", { class: "time", type: "button", on: { click: () => goTo(node.longest_at) } }, span(node.longest))),
      cell(node.outside ? null : misses, true), cell(node.outside ? null : node.errors, true), cell(node.skipped, false), cell(of(row, "Gap"), false));
  }, { most: 30, label: "Nodes" }).element);
  if (rows.some(({ source }) => source.kind === "session" && !hasBox(source))) {
    section.append(h("p", { class: "hint" }, "Deadline misses are in the black box of a run, and none was found for this one: give it beside the session."));
  }
};

const startIncidents = () => {
  const rows = data.sources.flatMap((source) => source.incidents.map((one) => ({ ...one, source }))).sort((one, other) => one.t - other.t);
  const left = data.sources.reduce((sum, source) => sum + source.incidents_left_out, 0);
  $("incidents").append(h("h2", { id: "incidents-title" }, "What happened"),
    rows.length ? table(["time", "#tick", "node", "event", "what"], rows, (one) => h("tr", { class: one.level },
      h("td", {}, letterOf(one.source), timeButton(one.t, one.source)), h("td", { class: "n" }, one.tick === null ? "–" : count(one.tick)), nodeCell(one.node), h("td", {}, one.kind),
      h("td", {}, one.text, one.more ? h("details", {}, h("summary", {}, "traceback"), h("pre", { tabindex: "0" }, one.more)) : "")), { label: "Events" }).element
      : h("p", { class: "hint" }, "Nothing but ticks."),
    left ? h("p", { class: "hint" }, `${plural(left, "further event")} counted above and marked on the time line, but not listed.`) : "");
};

const startLog = () => {
  const rows = data.sources.flatMap((source) => source.log.map((line) => ({ ...line, source }))).sort((one, other) => one.t - other.t);
  const left = data.sources.reduce((sum, source) => sum + source.log_left_out, 0), section = $("log");
  section.append(h("h2", { id: "log-title" }, "Log"));
  if (!rows.length) {
    section.append(h("p", { class: "hint" }, "Nothing was logged."));
    return;
  }
  const lines = table(["time", "level", "node", "text"], rows, (line) => h("tr", {},
    h("td", {}, letterOf(line.source), timeButton(line.t, line.source)), h("td", {}, levelOf(line)), nodeCell(line.node),
    h("td", { class: "text" }, line.text, line.more ? h("details", {}, h("summary", {}, "traceback"), h("pre", { tabindex: "0" }, line.more)) : "")), { label: "Log" });
  const choice = h("select", { "aria-label": "least level", on: { change: () => lines.filter((line) => line.no >= Number(choice.value)) } },
    [["all levels", -1], ["INFO and up", 20], ["WARNING and up", 30], ["ERROR and up", 40]].map(([text, value]) => h("option", { value }, text)));
  section.append(choice, lines.element,
    left ? h("p", { class: "hint" }, `${plural(left, "line")} of low levels ${left === 1 ? "is" : "are"} not on this page.`) : "");
};

const startImages = () => {
  const entries = data.sources.flatMap((source) => source.images.map((entry) => ({ source, entry })));
  if (!entries.length) return;
  const section = $("images");
  section.hidden = false;
  section.append(h("h2", { id: "images-title" }, "Images"));
  for (const { source, entry } of entries) {
    const channel = source.channels[entry.channel];
    section.append(h("h3", {}, lettered ? `${source.letter}: ` : "", channel.topic),
      h("p", { class: "hint" }, entry.images.length < entry.count ? `${count(entry.images.length)} of ${count(entry.count)}, spread over the time.` : `All ${count(entry.count)}.`),
      h("div", { class: "strip", tabindex: "0", role: "group", "aria-label": `images of ${channel.topic}` }, entry.images.map((image) => h("figure", {},
        h("button", { type: "button", on: { click: () => goTo(image.t) } }, h("img", { src: image.src, alt: `message ${image.seq} at ${time(image.t)}: ${image.said}`, loading: "lazy" })),
        h("figcaption", {}, `${time(image.t, data.step)}, #${image.seq}`)))));
  }
};

const startTopics = () => {
  const rows = data.sources.filter((source) => source.kind !== "live").flatMap((source) => source.channels.map((channel) => ({ source, channel }))).filter(({ channel }) => channel.count);
  if (!rows.length) return;
  $("topics").hidden = false;
  $("topics").append(h("h2", { id: "topics-title" }, "Topics"), table(["topic", "publisher", "#messages", "#rate", "type", "first", "last", "#on this page"], rows, ({ source, channel }) => h("tr", {},
    h("th", { scope: "row" }, letterOf(source), channel.topic), h("td", {}, who(channel.publisher), channel.external ? h("small", {}, " from outside") : ""),
    h("td", { class: "n" }, count(channel.count)), h("td", { class: "n" }, `${number(Number((channel.count / ((source.end - source.begin) / 1e6)).toPrecision(3)))}/s`), h("td", {}, channel.type || "–"),
    h("td", {}, timeButton(channel.first, source)), h("td", {}, timeButton(channel.last, source)),
    h("td", { class: "n" }, channel.seq.length >= channel.count ? "all" : count(channel.seq.length))), { label: "Topics" }).element);
};

const startParams = () => {
  const rows = data.sources.flatMap((source) => source.params.map((one) => ({ ...one, source })));
  if (!rows.length) return;
  $("params").hidden = false;
  $("params").append(h("h2", { id: "params-title" }, data.sources.some((source) => source.kind === "trace") ? "Server" : "Parameters"),
    table(["node", "name", "value", "since"], rows, (one) => h("tr", {}, nodeCell(one.node), h("th", { scope: "row" }, one.name), h("td", {}, h("code", {}, brief(one.value, 200))),
      h("td", {}, one.t === null ? "the start" : timeButton(one.t, one.source))), { label: "Parameters" }).element);
};

const startComparison = () => {
  const found = data.comparison;
  if (!found) return;
  const section = $("comparison"), live = found.kind === "verification";
  section.hidden = false;
  const [a, b] = live ? ["recorded", "live"] : ["A", "B"];
  section.append(h("h2", { id: "comparison-title" }, live ? `What ${found.b} does now` : "Difference"),
    h("p", { class: `lead ${found.differences || !found.compared ? "bad" : ""}` }, `${plural(found.compared, "message")} compared, ${found.differences ? count(found.differences) : "none"} ${found.differences === 1 ? "differs" : "differ"}${found.tolerance ? ` by more than ${found.tolerance}` : ""}.`),
    found.missing_nodes.length ? h("p", {}, `Recorded nodes that the program lacks: ${found.missing_nodes.join(", ")}.`) : "",
    found.only_a.length ? h("p", {}, `Only A has messages on ${found.only_a.join(", ")}.`) : "",
    found.only_b.length ? h("p", {}, `Only B has messages on ${found.only_b.join(", ")}.`) : "",
    found.notes.map((note) => h("p", { class: "hint" }, note)));
  if (first) {
    section.append(h("p", { class: "first-anomaly" }, "First difference at ", h("button", { class: "time strong", type: "button", on: { click: () => { goTo(first.t); showPair(first); } } }, time(first.t, data.step)),
      `, tick ${count(first.tick)}: `, h("b", {}, who(first.node)), `, topic ${first.topic}${first.field ? `, field ${first.field}` : ""}: ${a} `, h("code", {}, first.a), `, ${b} `, h("code", {}, first.b), "."),
      h("div", { id: "pair" }));
  }
  if (found.topics.length) section.append(table(["topic", "#compared", "#differing", "#largest difference"], found.topics, (row) => h("tr", {}, h("th", { scope: "row" }, row.topic),
    h("td", { class: "n" }, count(row.compared)), h("td", { class: `n${row.differing ? " bad" : " zero"}` }, row.differing === null ? "–" : count(row.differing)), h("td", { class: "n" }, number(row.largest))), { most: 30, label: "Topics compared" }).element);
  if (found.shown.length) {
    section.append(h("details", {}, h("summary", {}, found.shown.length < found.differences ? `The first ${count(found.shown.length)} of ${count(found.differences)} differences` : `All ${plural(found.differences, "difference")}`),
      table(["time", "#tick", "node", "topic", "field", a, b], found.shown, (one) => h("tr", {}, h("td", {}, h("button", { class: "time", type: "button", on: { click: () => { goTo(one.t); showPair(one); } } }, time(one.t, data.step))),
        h("td", { class: "n" }, count(one.tick)), nodeCell(one.node), h("td", {}, one.topic), h("td", {}, one.field || "–"), h("td", {}, h("code", {}, one.a)), h("td", {}, h("code", {}, one.b))), { label: "Differences" }).element));
    showPair(first);
  }
};

// A message of both sides, line by line.
const showPair = (one) => {
  const sides = data.sources.slice(0, 2).map((source) => {
    const channel = source.channels.find((each) => each.topic === one.topic && each.publisher === one.node);
    const row = channel ? channel.tick.findIndex((tick, place) => tick === one.tick && !(one.field && channel.value[place] === null)) : -1;
    return row < 0 ? null : { channel, row };
  });
  const texts = sides.map((side) => (side ? pretty(side.channel.value[side.row]).split("\n") : null));
  const pane = (place) => h("div", {}, h("h3", {}, data.sources[place].said, sides[place] ? h("span", { class: "faint" }, ` ${one.topic} #${sides[place].channel.seq[sides[place].row]}, tick ${one.tick}`) : ""),
    texts[place] ? h("pre", { tabindex: "0" }, texts[place].map((line, number) => h("span", { class: texts[1 - place] && texts[1 - place][number] === line ? "" : "differs" }, line || " ")))
      : h("p", { class: "hint" }, "No such message, or it is not on this page."));
  $("pair").replaceChildren(h("div", { class: "pair" }, pane(0), pane(1)));
};

const startAbout = () => {
  const items = [];
  for (const source of data.sources) {
    if (source.kind === "live") {
      items.push(`${source.letter}: of what the program sent, the messages that differ are here, and the plots of their topics; all else is as it was recorded.`);
      continue;
    }
    const name = lettered ? `${source.letter}: ` : "", folded = source.series.filter((one) => one.per > 1).length;
    if (source.detail) items.push(`${name}every message and call is here of ${!source.detail.length ? "no span of time" : source.detail.map(([begin, end]) => `${time(begin)} to ${time(end)}`).join(", ")}; of the rest, some messages of each topic. Counts and plots are of all of them.`);
    else if (source.channels.length || Object.keys(source.calls).length) items.push(`${name}every message and call of the time shown is here.`);
    if (folded) items.push(`${name}${plural(folded, "plot")} of ${count(source.series.length)} are thinned: each point is the least or the greatest value of so many in a row as the table of fields says, so no spike is lost.`);
    for (const entry of source.images) if (entry.images.length < entry.count) items.push(`${name}${count(entry.images.length)} of ${count(entry.count)} images of ${source.channels[entry.channel].topic}.`);
    if (source.log_left_out) items.push(`${name}${plural(source.log_left_out, "log line")} left out.`);
    if (source.fields_left_out) items.push(`${name}${plural(source.fields_left_out, "field")} left out.`);
    if (source.incidents_left_out) items.push(`${name}${plural(source.incidents_left_out, "event")} counted, but not listed.`);
  }
  items.push("Long texts and lists in messages are cut, and say so where they are. Lists of more than 16 numbers are plotted as their least, mean and greatest.");
  $("about").append(h("h2", { id: "about-title" }, "What this page holds"), h("ul", {}, items.map((item) => h("li", {}, item))),
    h("p", { class: "hint" }, `Made by horus-async ${data.version}. The page is one file, loads nothing and sends nothing. `, h("code", {}, data.command)));
};
