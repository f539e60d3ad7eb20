// The question explorer: every answer of every layer, unpacked, searched, and shown in its paragraph.
const ROW = 58; // pixels of a row of the list; only those in sight are in the page
const NEVER = 255;
const explorer = { sets: [], found: [], question: -1, reading: -1 };
const filters = { text: "", model: "", protocol: "", kind: "", word: "", right: "", first: "", disagree: false };

async function unpack() {
  const raw = Uint8Array.from(atob($("#explorer-data").textContent), (char) => char.charCodeAt(0));
  const header = await new Response(new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
  const count = header.ids.length;
  header.characters = header.contexts.map((text) => [...text]); // places count whole characters, not UTF-16 units
  const sets = header.sets.map((set) => {
    const probes = set.layers.filter((layer) => typeof layer === "number").length;
    const times = new Uint8Array(count), first = new Uint8Array(count).fill(NEVER), since = new Uint8Array(count).fill(NEVER);
    for (let layer = 0; layer < probes; layer++) {
      for (let q = 0; q < count; q++) {
        if (set.right[layer * count + q]) {
          times[q]++;
          if (first[q] === NEVER) first[q] = layer;
          if (since[q] === NEVER) since[q] = layer;
        } else since[q] = NEVER;
      }
    }
    return { ...set, texts: new Map(set.texts), probes, times, first, since };
  });
  const lower = header.questions.map((question, q) => [question, header.ids[q], header.titles[q],
    ...header.golds[q].map((gold) => goldText(header, q, gold))].join("\n").toLowerCase());
  Object.assign(explorer, header, { sets, lower, lowerContexts: header.contexts.map((text) => text.toLowerCase()) });
}

function goldText(header, q, gold) {
  return typeof gold === "string" ? gold : sliceOf(header.characters[header.context[q]], ...gold);
}

const sliceOf = (characters, start, length) => characters.slice(start, start + length).join("");

const setOf = (model, protocol) => explorer.sets.find((set) => set.model === model && set.protocol === protocol);
const setsOf = (protocol) => explorer.sets.filter((set) => set.protocol === protocol);

function search() {
  const set = setOf(filters.model, filters.protocol);
  const rivals = setsOf(filters.protocol).filter((other) => other.probes);
  const count = explorer.ids.length, text = filters.text.trim().toLowerCase();
  const inContext = text && explorer.lowerContexts.map((context) => context.includes(text));
  const wanted = filters.right === "" || filters.right === "none" || filters.right === "all" || filters.right === "some" ? null : Number(filters.right);
  explorer.found = [];
  for (let q = 0; q < count; q++) {
    if (filters.kind && (explorer.golds[q].length > 0) !== (filters.kind === "has")) continue;
    if (filters.word && explorer.word[q] !== filters.word) continue;
    if (wanted !== null && set.times[q] !== wanted) continue;
    if (filters.right === "none" && set.times[q] > 0) continue;
    if (filters.right === "all" && set.times[q] < set.probes) continue;
    if (filters.right === "some" && (set.times[q] === 0 || set.times[q] === set.probes)) continue;
    if (filters.first && set.first[q] !== (filters.first === "never" ? NEVER : Number(filters.first))) continue;
    if (filters.disagree) {
      const verdicts = rivals.map((rival) => rival.right[(rival.probes - 1) * count + q]);
      if (verdicts.every((verdict) => verdict === verdicts[0])) continue;
    }
    if (text && !inContext[explorer.context[q]] && !explorer.lower[q].includes(text)) continue;
    explorer.found.push(q);
  }
  $("#found").textContent = `${plural(explorer.found.length, "question")} of ${count.toLocaleString("en")}`;
  $("#list .tall").style.height = `${explorer.found.length * ROW}px`;
  $("#list").scrollTop = 0;
  fillList();
}

function fillList() {
  const list = $("#list"), tall = $(".tall", list), set = setOf(filters.model, filters.protocol);
  const start = Math.max(0, Math.floor(list.scrollTop / ROW) - 3);
  const end = Math.min(explorer.found.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 3);
  const rows = [];
  for (let i = start; i < end; i++) {
    const q = explorer.found[i];
    const strip = Array.from({ length: set.probes }, (_, layer) => (set.right[layer * explorer.ids.length + q] ? "■" : "□")).join("");
    const sub = set.probes ? `${strip} right in ${set.times[q]} of ${set.probes} layers` : "";
    const row = make("div", { class: "row", role: "option", id: `option-${q}`, "aria-selected": String(q === explorer.question),
      "aria-setsize": explorer.found.length, "aria-posinset": i + 1, onclick: () => openQuestion(q) },
    make("span", { dir: "auto" }, explorer.questions[q]), make("span", { class: "sub" }, sub + (explorer.golds[q].length ? "" : " · no answer")));
    row.style.top = `${i * ROW}px`;
    rows.push(row);
  }
  tall.replaceChildren(...rows);
  if (explorer.found.includes(explorer.question)) list.setAttribute("aria-activedescendant", `option-${explorer.question}`);
  else list.removeAttribute("aria-activedescendant");
}

function moveInList(event) {
  const place = explorer.found.indexOf(explorer.question), last = explorer.found.length - 1;
  const page = Math.max(1, Math.floor($("#list").clientHeight / ROW) - 1);
  const next = { ArrowDown: place + 1, ArrowUp: place - 1, PageDown: place + page, PageUp: place - page, Home: 0, End: last }[event.key];
  if (next === undefined || last < 0) return;
  event.preventDefault();
  const to = Math.min(Math.max(next, 0), last), list = $("#list");
  if (to * ROW < list.scrollTop) list.scrollTop = to * ROW;
  if ((to + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (to + 1) * ROW - list.clientHeight;
  openQuestion(explorer.found[to]);
}

function answerOf(set, reading, q) {
  const cell = reading * explorer.ids.length + q;
  const span = [set.start[cell], set.length[cell]];
  return { span, answered: set.answered[cell], right: set.right[cell], f1: set.f1[cell], nothing: set.nothing[cell],
    text: set.texts.get(cell) ?? sliceOf(explorer.characters[explorer.context[q]], ...span) };
}

const layerName = (layer) => (layer === "head" ? "own head" : layer === 0 ? "0 (emb.)" : String(layer));

function openQuestion(q, reading) {
  const set = setOf(filters.model, filters.protocol);
  const changed = q !== explorer.question;
  explorer.question = q;
  if (reading !== undefined) explorer.reading = reading;
  if (explorer.reading < 0 || explorer.reading >= set.layers.length) explorer.reading = set.probes ? set.probes - 1 : 0;
  fillList();
  drawReader(set, q);
  if (changed && started) history.replaceState(null, "", `#question=${encodeURIComponent(explorer.ids[q])}`);
}

function drawReader(set, q) {
  const golds = explorer.golds[q], chosen = answerOf(set, explorer.reading, q);
  const focused = document.activeElement?.dataset?.cell;
  const goldTexts = [...new Set(golds.map((gold) => goldText(explorer, q, gold)))];
  const where = layerName(set.layers[explorer.reading]);
  const title = explorer.titles[q];
  const nodes = [
    make("h3", { dir: "auto" }, explorer.questions[q]),
    make("p", { class: "caption" }, `${title ? title + " · " : ""}id ${explorer.ids[q]}`),
    make("p", {}, make("strong", {}, golds.length ? "Gold: " : "Gold: no answer in this paragraph. "), make("bdi", {}, goldTexts.join(" | "))),
    verdictGrid(q),
    make("p", {}, ...course(set, q)),
    passage(q, golds, chosen),
    make("p", { class: "key" }, make("span", {}, make("mark", { class: "gold" }, "gold answer")),
      make("span", {}, make("mark", { class: "pick" }, `best span of ${set.model}, layer ${where}`),
        chosen.answered ? "" : ` (not given: “no answer” scores higher)`)),
    answerTable(set, q),
    make("p", { class: "caption" }, "P(answer): the probability of the best span against no answer. F1: of the best span, given or not, against gold."),
  ];
  $("#reader").replaceChildren(...nodes);
  if (focused) $(`[data-cell="${CSS.escape(focused)}"]`, $("#reader"))?.focus();
}

// When the model gets it right, in words.
function course(set, q) {
  if (!set.probes) return [];
  const first = set.first[q], since = set.since[q], name = make("strong", {}, set.model);
  if (first === NEVER) return [name, " gets it right at no layer."];
  const at = ` is right from layer ${set.layers[first]}`;
  if (since === first) return [name, first === 0 ? " is right at every layer." : `${at} on.`];
  const then = since === NEVER ? ", but not at the last" : `, and from layer ${set.layers[since]} on for good`;
  return [name, ` is first right at layer ${set.layers[first]}${then} (${set.times[q]} of ${set.probes} layers).`];
}

// A row for each model, a button for each layer: which were right.
function verdictGrid(q) {
  const sets = setsOf(filters.protocol);
  const layers = [...new Set(sets.flatMap((set) => set.layers))].sort((a, b) => (a === "head") - (b === "head") || a - b);
  const head = make("tr", {}, make("th", { scope: "col" }, "layer"), ...layers.map((layer) => make("th", { scope: "col" }, layer === "head" ? "head" : String(layer))));
  const rows = sets.map((set) => make("tr", {}, make("th", { scope: "row" }, set.model), ...layers.map((layer) => {
    const reading = set.layers.indexOf(layer);
    if (reading < 0) return make("td");
    const answer = answerOf(set, reading, q);
    const kind = answer.right ? "right" : answer.answered ? "wrong" : "silent";
    const pressed = set.model === filters.model && reading === explorer.reading;
    const said = `${set.model}, layer ${layerName(layer)}: ${kind === "silent" ? "wrong, no answer" : kind}`;
    return make("td", {}, make("button", { type: "button", class: kind, "aria-pressed": String(pressed), "aria-label": said, title: said,
      "data-cell": `${set.model}/${reading}`, onclick: () => {
        filters.model = set.model;
        $("#filters").model.value = set.model;
        fillFilterRanges();
        search();
        openQuestion(q, reading);
      } }, { right: "✓", wrong: "✗", silent: "∅" }[kind]));
  })));
  return make("div", { class: "scroll" }, make("table", { class: "grid" }, make("thead", {}, head), make("tbody", {}, ...rows)),
    make("p", { class: "caption" }, "✓ right  ✗ wrong answer  ∅ wrongly no answer"));
}

function passage(q, golds, chosen) {
  const context = explorer.characters[explorer.context[q]];
  const spans = golds.filter((gold) => typeof gold !== "string").map(([start, length]) => ["gold", start, start + length]);
  if (chosen.span[1]) spans.push(["pick", chosen.span[0], chosen.span[0] + chosen.span[1]]);
  const cuts = [...new Set([0, context.length, ...spans.flatMap(([, start, end]) => [start, end])])].sort((a, b) => a - b);
  const parts = [];
  for (let i = 0; i + 1 < cuts.length; i++) {
    const text = context.slice(cuts[i], cuts[i + 1]).join("");
    const kinds = [...new Set(spans.filter(([, start, end]) => start <= cuts[i] && end >= cuts[i + 1]).map(([kind]) => kind))];
    parts.push(kinds.length ? make("mark", { class: kinds.join(" ") }, text) : text);
  }
  return make("div", { class: "passage", dir: "auto" }, ...parts);
}

function answerTable(set, q) {
  const rows = set.layers.map((layer, reading) => {
    const answer = answerOf(set, reading, q);
    const kind = answer.right ? "right" : answer.answered ? "wrong" : "silent";
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${(100 - answer.nothing) * 0.4}px`;
    const text = answer.answered ? make("td", { class: "text" }, make("bdi", {}, answer.text))
      : make("td", { class: "text" }, make("span", { class: "no" }, "no answer"), answer.text ? " (best span: " : "", make("bdi", {}, answer.text), answer.text ? ")" : "");
    return make("tr", { class: reading === explorer.reading ? "chosen" : "", onclick: () => openQuestion(q, reading) },
      make("th", { scope: "row" }, layerName(layer)), text,
      make("td", { class: "n" }, `${100 - answer.nothing} %`, bar),
      make("td", { class: "n extra" }, golds(q) ? `${answer.f1}` : "–"),
      make("td", {}, make("span", { class: `badge ${kind}` }, { right: "right", wrong: "wrong", silent: "wrong" }[kind])));
  });
  return make("div", { class: "scroll" }, make("table", { class: "answers" },
    make("thead", {}, make("tr", {}, ...[["layer"], [`answer of ${set.model}`], ["P(answer)", "n"], ["F1", "n extra"], [""]]
      .map(([text, cls]) => (text ? make("th", { scope: "col", class: cls }, text) : make("td"))))),
    make("tbody", {}, ...rows)));
}
const golds = (q) => explorer.golds[q].length > 0;

function fillFilterRanges() {
  const form = $("#filters"), set = setOf(filters.model, filters.protocol), probes = set.probes;
  const layers = set.layers.slice(0, probes);
  options(form.right, [["", "any"], ["none", "none"], ["some", "some, not all"], ["all", "all"],
    ...Array.from({ length: probes + 1 }, (_, n) => [String(n), `exactly ${n}`])], filters.right);
  options(form.first, [["", "any"], ["never", "never"], ...layers.map((layer, i) => [String(i), `layer ${layer}`])], filters.first);
  if (form.right.value === "") filters.right = form.right.value = "";
  if (form.first.value === "") filters.first = form.first.value = "";
}

let started = false;
async function startExplorer() {
  if (!$("#explorer-data")) return;
  const state = $("#explorer-state");
  if (typeof DecompressionStream === "undefined") {
    state.textContent = "This browser cannot unpack the answers: it has no DecompressionStream (browsers since 2023 have it).";
    return;
  }
  await unpack();
  const form = $("#filters"), protocols = [...new Set(explorer.sets.map((set) => set.protocol))];
  options(form.model, explorer.sets.filter((set) => set.protocol === protocols[0]).map((set) => [set.model, set.model]));
  options(form.protocol, protocols.map((name) => [name, name]));
  options(form.word, [["", "any"], ...explorer.words.map((word) => [word, word])]);
  Object.assign(filters, { model: form.model.value, protocol: form.protocol.value });
  fillFilterRanges();
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    filters[event.target.name] = event.target.type === "checkbox" ? event.target.checked : event.target.value;
    if (event.target.name === "model" || event.target.name === "protocol") fillFilterRanges();
    search();
    if (explorer.found.length && !explorer.found.includes(explorer.question)) openQuestion(explorer.found[0]);
    else if (explorer.found.length) openQuestion(explorer.question);
  });
  let waiting = false;
  $("#list").addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; fillList(); });
  });
  $("#list").addEventListener("keydown", moveInList);
  $("#explorer").hidden = false;
  state.textContent = "";
  search();
  openQuestion(firstQuestion());
  started = true;
  followHash();
}

// To begin with: a question that the first model learns to answer half way up.
function firstQuestion() {
  const set = setOf(filters.model, filters.protocol), count = explorer.ids.length;
  let best = 0, most = -1;
  for (let q = 0; q < count; q++) {
    const since = set.since[q], rise = golds(q) && since !== NEVER && since > 0 ? Math.min(since, set.probes - since) : -1;
    if (rise > most) [best, most] = [q, rise];
  }
  return best;
}

function followHash() {
  const match = location.hash.match(/^#question=(.+)$/);
  if (!match || !explorer.ids) return;
  const q = explorer.ids.indexOf(decodeURIComponent(match[1]));
  if (q < 0) return;
  openQuestion(q);
  $("#questions").scrollIntoView();
}
