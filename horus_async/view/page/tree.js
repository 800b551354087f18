// What led to a message: the call that sent it, the messages that this call had read, and so on back.

const DEEPEST = 12, MOST_BRANCHES = 250;

// The tree as data: also what the tests look at.
const treeOf = (message) => {
  const root = message.channel.t[message.row];
  let left = MOST_BRANCHES;
  const cut = { branches: 0, depth: 0 };
  const seen = new Set();
  const grow = ({ channel, row }, depth, how) => {
    const key = `${channel.index} ${channel.seq[row]}`;
    const branch = { topic: channel.topic, publisher: channel.publisher, seq: channel.seq[row], t: channel.t[row], tick: channel.tick[row],
      before: root - channel.t[row], how, channel, row, from: [], call: null };
    if (seen.has(key)) {
      branch.again = true;
      return branch;
    }
    seen.add(key);
    const call = callOf({ channel, row });
    if (!call) {
      branch.end = channel.external ? "came from outside" : channel.publisher === "client" ? "came from a client" : "which call sent it is not known";
      return branch;
    }
    const { calls, row: place } = call;
    branch.call = { tick: calls.tick[place], t: calls.t[place], dur: calls.dur[place], kind: KINDS[calls.kind[place]], error: calls.error[place] };
    const reads = [["in", "read"], ["saw", "looked at"]].flatMap(([name, said]) => {
      const found = [], row = calls[name][place];
      for (let i = 0; i < row.length; i += 2) found.push([row[i], row[i + 1], said]);
      return found;
    }).filter(([one, seq], i, all) => all.findIndex(([other, number]) => one === other && seq === number) === i);
    if (!reads.length) branch.end = "read no message: where it began";
    if (reads.length && depth >= DEEPEST) {
      cut.depth += reads.length;
      branch.end = `read ${plural(reads.length, "message")}: deeper than ${DEEPEST} steps`;
      return branch;
    }
    for (const [number, seq, said] of reads) {
      if (left-- <= 0) {
        cut.branches += 1;
        continue;
      }
      const next = named(channel.from, number, seq), other = channel.from.channels[number];
      branch.from.push(next ? grow(next, depth + 1, said)
        : { topic: other.topic, publisher: other.publisher, seq, how: said, from: [], call: null, end: "not on this page one by one" });
    }
    return branch;
  };
  return { root: grow(message, 0, ""), cut };
};

const branchItem = (branch) => h("li", {},
  h("div", { class: "branch" }, swatch(branch.publisher),
    branch.how ? h("span", { class: "faint" }, `${branch.how} `) : "",
    branch.channel ? h("button", { type: "button", class: "link", on: { click: () => showTree(branch) } }, `${branch.topic} #${branch.seq}`) : h("b", {}, `${branch.topic} #${branch.seq}`),
    ` of ${branch.publisher}`,
    branch.t === undefined ? "" : [h("span", { class: "faint" }, branch.before ? `, ${span(branch.before)} before, at ` : ", at "), timeButton(branch.t, branch.channel.from)],
    branch.call ? h("span", { class: "faint" }, ` in ${branch.call.kind} ${branch.call.tick}${branch.call.dur ? `, ${span(branch.call.dur)} long` : ""}`) : "",
    branch.call && branch.call.error ? h("b", { class: "bad" }, ` ${branch.call.error}`) : "",
    branch.channel ? h("code", { class: "brief" }, brief(branch.channel.value[branch.row], 70)) : "",
    branch.again ? h("span", { class: "faint" }, " (shown above)") : "",
    branch.end ? h("span", { class: "faint" }, ` — ${branch.end}`) : ""),
  branch.from.length ? h("ul", {}, branch.from.map(branchItem)) : null);

const showTree = (message) => {
  state.message = message;
  const { root, cut } = treeOf(message), section = $("tree");
  section.hidden = false;
  section.replaceChildren(
    h("h2", { id: "tree-title", tabindex: "-1" }, `What led to ${root.topic} #${root.seq}`),
    h("p", { class: "hint" }, "The call that sent it, the messages that this call had read (or looked at without taking them), and so on back. ",
      cut.branches || cut.depth ? h("b", {}, `Cut: ${plural(cut.branches + cut.depth, "branch", "branches")} left out. `) : "",
      h("button", { type: "button", on: { click: () => { section.hidden = true; } } }, "Close")),
    h("ul", { class: "tree" }, branchItem(root)),
    h("pre", { tabindex: "0" }, pretty(message.channel.value[message.row])));
  $("tree-title").focus({ preventScroll: true });
  section.scrollIntoView({ block: "nearest", behavior: "auto" });
};
