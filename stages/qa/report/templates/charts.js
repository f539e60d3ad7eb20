// The charts, as Vega-Lite specifications of what is chosen.
const SPLITS = { "": "all questions", HasAns_: "HasAns questions", NoAns_: "NoAns questions", forced_: "HasAns questions, an answer forced" };
const SCORES = { f1: "F1", exact: "Exact match" };
const choices = { score: "f1", split: "", protocol: data.protocols[0], epoch: "last", range: "none", models: [] };
const drawn = {};

const metric = () => choices.split + choices.score;
const scoreTitle = () => `${SCORES[choices.score]} (%)`;

// Rows of the probes (or heads) that are chosen: of each model and protocol, one epoch or the optimum.
function chosenRows(reading) {
  const rows = curves.filter((row) => row.reading === reading && choices.models.includes(row.model)
    && (choices.protocol === "*" || row.protocol === choices.protocol) && row[metric()] != null);
  const last = new Map();
  for (const row of rows) {
    const key = row.model + "\n" + row.protocol;
    last.set(key, Math.max(last.get(key) ?? -1, row.epoch ?? -1));
  }
  return rows.filter((row) => row.epoch == null
    || row.epoch === (choices.epoch === "last" ? last.get(row.model + "\n" + row.protocol) : Number(choices.epoch)));
}

const curveName = (row) => (choices.protocol === "*" ? `${row.model}, ${row.protocol}` : row.model);

function rangeOf(row) {
  if (choices.range === "none" || choices.range === "runs") return null;
  if (choices.epoch !== "last") return null;
  const at = intervalIndex.get([row.model, row.protocol, row.reading, row.layer, metric()].join("\n"));
  if (!at) return null;
  const pair = choices.range === "band" ? [at.band_low, at.band_high] : [at.low, at.high];
  return pair[0] == null ? null : pair;
}
const intervalIndex = new Map(intervals.map((row) => [[row.model, row.protocol, row.reading, row.layer, row.metric].join("\n"), row]));

function config() {
  const ink = colour("--ink"), soft = colour("--soft"), line = colour("--line");
  const font = getComputedStyle(document.body).fontFamily;
  return {
    background: null, font, view: { stroke: null },
    axis: { labelColor: soft, titleColor: soft, gridColor: line, domainColor: line, tickColor: line, labelFontSize: 12,
      titleFontSize: 12, titleFontWeight: "normal", labelPadding: 6 },
    axisX: { grid: false }, axisY: { domain: false, ticks: false },
    header: { labelColor: ink, labelFontSize: 13, labelFontWeight: "bold", labelLimit: 260, titleColor: soft },
    legend: { labelColor: ink, titleColor: soft, labelLimit: 0, labelFontSize: 12, titleFontWeight: "normal" },
    title: { color: ink }, text: { color: ink },
  };
}

// One drawing at a time in a place, so that the last choice is the one that stays.
const waiting = {};
function draw(id, spec, description) {
  waiting[id] = (waiting[id] ?? Promise.resolve()).then(() => embed(id, spec, description));
  return waiting[id];
}

async function embed(id, spec, description) {
  const host = document.getElementById(id);
  drawn[id]?.finalize();
  delete drawn[id];
  if (spec === null) host.textContent = "Nothing to show for these choices.";
  else {
    const whole = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", description,
      autosize: { type: "fit", contains: "padding" }, ...spec };
    drawn[id] = await vegaEmbed(host, whole, { ast: true, renderer: "svg", actions: false, tooltip: showTip, config: config() });
  }
  host.setAttribute("data-drawn", String(Number(host.getAttribute("data-drawn") ?? 0) + 1));
}

function showTip(handler, event, item, value) {
  const tip = $("#tip");
  if (!value || typeof value !== "object") {
    tip.hidden = true;
    return;
  }
  const { title, ...lines } = value;
  tip.replaceChildren(...(title ? [make("b", {}, String(title))] : []),
    ...Object.entries(lines).map(([name, text]) => make("div", {}, make("span", {}, name), make("span", {}, String(text)))));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${event.clientY + height + 24 > innerHeight ? event.clientY - height - 12 : event.clientY + 14}px`;
}

function drawCurves() {
  const rows = chosenRows("probe"), heads = chosenRows("head");
  const several = choices.protocol === "*";
  const looks = data.models.map((_, i) => look(i));
  const strip = maxLayer + Math.max(1, Math.round(maxLayer * 0.1));
  const points = rows.map((row) => {
    const range = rangeOf(row);
    return { model: row.model, protocol: row.protocol, name: curveName(row), layer: row.layer, value: row[metric()],
      low: range?.[0] ?? null, high: range?.[1] ?? null };
  });
  const ownHeads = heads.map((row) => ({ model: row.model, protocol: row.protocol, name: curveName(row), layer: strip, value: row[metric()] }));
  const label = (point) => percent(point.value, 2) + (point.low == null ? "" : ` (${percent(point.low)} to ${percent(point.high)})`);
  const names = [...new Set([...points, ...ownHeads].map((point) => point.name))];
  const columns = [...new Set([...points, ...ownHeads].map((point) => point.layer))].map((layer) => {
    const row = { layer, title: layer === strip ? "own head" : layer === 0 ? "layer 0 (embeddings)" : `layer ${layer}` };
    names.forEach((name, i) => {
      const point = (layer === strip ? ownHeads : points).find((p) => p.name === name && p.layer === layer);
      row[`v${i}`] = point ? label(point) : "–";
    });
    return row;
  });
  const floor = choices.split === "" ? data.no_answer : { HasAns_: 0, NoAns_: 100 }[choices.split];
  const scale = (range) => ({ domain: data.models, range });
  const dash = several ? { field: "protocol", type: "nominal", scale: { domain: data.protocols, range: data.protocols.map((_, i) => DASHES[i % 4]) },
    legend: { orient: "bottom", title: null, symbolType: "stroke", symbolSize: 600 } }
    : { field: "model", type: "nominal", scale: scale(looks.map((l) => l.dash)), legend: null };
  const color = { field: "model", type: "nominal", scale: scale(looks.map((l) => l.color)), legend: null };
  const shape = { field: "model", type: "nominal", scale: scale(looks.map((l) => l.shape)), legend: null };
  const layers = [...new Set(rows.map((row) => row.layer))].sort((a, b) => a - b);
  const width = $("#curves").clientWidth;
  const step = Math.max(1, Math.ceil(layers.length / (width / 34)));
  const ticks = layers.filter((layer) => layer % step === 0).concat(heads.length ? [strip] : []);
  const x = { field: "layer", type: "quantitative", title: "layer (0 = embeddings)",
    scale: { domain: [Math.min(...layers, maxLayer), heads.length ? strip : maxLayer], nice: false, padding: 18 },
    axis: { values: ticks, format: "d", labelExpr: heads.length ? `datum.value == ${strip} ? '${width < 480 ? "head" : "own head"}' : datum.label` : "datum.label", tickSize: 0, domain: false, labelOverlap: false } };
  const y = { field: "value", type: "quantitative", title: scoreTitle(), scale: { zero: false, nice: true, padding: 6 } };
  const detail = { field: "protocol", type: "nominal" };
  const layer = [];
  if (floor !== undefined) {
    const rule = { data: { values: [{ value: floor, text: "always “no answer”" }] } };
    layer.push({ ...rule, mark: { type: "rule", strokeDash: [2, 4], color: colour("--edge") }, encoding: { y } });
    layer.push({ ...rule, mark: { type: "text", align: "right", dy: floor > 90 ? 11 : -7, fontSize: 11, color: colour("--soft"), x: "width" },
      encoding: { y, text: { field: "text" } } });
  }
  if (points.some((point) => point.low != null)) {
    layer.push({ mark: { type: "area", opacity: 0.18, line: false }, encoding: { x, detail, color,
      y: { ...y, field: "low" }, y2: { field: "high" } }, transform: [{ filter: "datum.low != null" }] });
  }
  if (choices.range === "runs" && choices.epoch === "last") {
    const singles = runs.filter((row) => choices.models.includes(row.model) && (several || row.protocol === choices.protocol)
      && row[metric()] != null).map((row) => ({ ...row, value: row[metric()] }));
    layer.push({ data: { values: singles }, mark: { type: "line", strokeWidth: 0.8 },
      encoding: { x, y, color, detail: [detail, { field: "single", type: "nominal" }] } });
  }
  layer.push({ mark: { type: "line", strokeWidth: 2 }, encoding: { x, y, color, strokeDash: dash, detail } });
  layer.push({ mark: { type: "point", filled: true, size: 55, opacity: 1 }, encoding: { x, y, color, shape } });
  if (ownHeads.length) layer.push({ data: { values: ownHeads }, mark: { type: "point", filled: false, size: 80, strokeWidth: 2, opacity: 1 }, encoding: { x, y, color, shape } });
  layer.push({ data: { values: columns }, params: [{ name: "near", select: { type: "point", fields: ["layer"], on: "pointerover", clear: "pointerout", nearest: false } }],
    mark: { type: "rule", strokeWidth: Math.max(10, width / (maxLayer + 2) - 2), color: colour("--edge") },
    encoding: { x, opacity: { condition: { param: "near", empty: false, value: 0.16 }, value: 0 },
      tooltip: [{ field: "title", title: "title" }, ...names.map((name, i) => ({ field: `v${i}`, title: name }))] } });
  const what = `${SCORES[choices.score]} of ${SPLITS[choices.split]}`;
  const range = { none: "", runs: " Thin: single runs and seeds.", interval: ` Range: ${level} interval of each point.`,
    band: ` Range: ${level} band of the whole curve.` }[choices.range];
  const note = choices.epoch === "last" ? "" : " Intervals are those of the last epoch.";
  $("#curves-caption").textContent = `${what}; ${choices.epoch === "last" ? "last epoch" : `epoch ${choices.epoch}`}. Point at a layer for its numbers.${range}${note}`;
  if (!points.length && !ownHeads.length) return draw("curves", null);
  return draw("curves", { data: { values: points }, width, height: Math.min(330, Math.max(240, innerHeight * (width < 480 ? 0.29 : 0.34))), layer },
    `${what} by layer: ` + names.join(", "));
}

function drawHeat() {
  const rows = chosenRows("probe");
  const layers = [...Array(maxLayer + 1).keys()].filter((layer) => rows.some((row) => row.layer === layer));
  const values = rows.map((row) => row[metric()]);
  const low = Math.min(...values), high = Math.max(...values);
  const names = [...new Set(rows.map(curveName))];
  const head = make("tr", {}, make("th", { scope: "col" }, "layer"), ...layers.map((layer) => make("th", { scope: "col" }, String(layer))));
  const body = names.map((name) => make("tr", {}, make("th", { scope: "row" }, name), ...layers.map((layer) => {
    const row = rows.find((r) => curveName(r) === name && r.layer === layer);
    const cell = make("td", {}, percent(row?.[metric()]));
    if (row) {
      const rgb = shade(high > low ? (row[metric()] - low) / (high - low) : 0.5);
      cell.style.background = `rgb(${rgb.join(" ")})`;
      cell.style.color = luminance(rgb) > 0.18 ? "#000" : "#fff";
    }
    return cell;
  })));
  $("#heat").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
  $("#map-caption").textContent = `${SCORES[choices.score]} of ${SPLITS[choices.split]} (%), as chosen above.`;
}

// Small multiples, as charts.py describes them: own heads (without x) stand in a strip on the right.
function drawPanels(id) {
  const { x, y, lines, panels, across, levels, ...table } = data.panels[id];
  const host = $(`#${id}-chart`), rows = records(table);
  if (!host) return null;
  if (!rows.length) return draw(host.id, null);
  const names = lines.map(String);
  const columns = Math.max(1, Math.min(across || panels.length, Math.floor(host.clientWidth / (across ? 230 : 300))));
  const ordered = typeof lines[0] === "number"; // layers: colours from dark to pale
  const at = (i) => (isDark() ? 1 : 0.9) * (isDark() ? 0.3 + 0.7 * i / lines.length : 1 - i / lines.length);
  const looks = names.map((_, i) => (ordered ? { ...look(0), color: `rgb(${shade(at(i)).join(",")})` } : look(i)));
  const scale = (name) => ({ domain: names, range: looks.map((line) => line[name]) });
  const legend = { title: ordered ? "layer" : null, orient: "bottom", symbolOpacity: 1, columns: Math.max(1, Math.floor(host.clientWidth / (ordered ? 70 : 190))) };
  const series = { field: "line", type: "nominal" };
  const [color, shape, strokeDash] = ["color", "shape", "dash"].map((name) => ({ ...series, scale: scale(name), legend }));
  const deepest = Math.max(...rows.map((row) => row.x ?? 0)), heads = rows.some((row) => row.x == null);
  const strip = deepest + Math.max(1, Math.round(0.1 * deepest));
  const points = rows.map((row) => ({ ...row, x: row.x ?? strip, head: row.x == null, line: String(row.line), title: row.panel,
    text: row.value.toFixed(2), at: row.x ?? "own head" }));
  const axis = x === "layer" ? { tickMinStep: 1, format: "d", labelOverlap: true,
    labelExpr: heads ? `datum.value == ${strip} ? 'head' : datum.value > ${deepest} ? '' : datum.label` : "datum.label" } : { format: "~r", labelOverlap: true };
  const place = { x: { field: "x", type: "quantitative", title: x, axis, scale: { nice: false, padding: 8 } },
    y: { field: "value", type: "quantitative", title: y || null, scale: { zero: false, nice: true } }, color };
  const tooltip = [["title", "title"], ["line", "line"], ["at", x], ["text", y || "value"]].map(([field, title]) => ({ field, title }));
  const only = (test) => ({ transform: [{ filter: test }] });
  const layer = [
    { ...only("datum.value != null && !datum.head"), mark: { type: "line", strokeWidth: ordered ? 1.4 : 1.8 }, encoding: { ...place, ...(ordered ? {} : { strokeDash }) } },
    { ...only("datum.value != null && !datum.head"), mark: { type: "point", filled: true, size: 38, opacity: ordered ? 0 : 1 }, encoding: { ...place, ...(ordered ? {} : { shape }), tooltip } },
  ];
  if (points.some((point) => point.low != null)) {
    layer.unshift({ ...only("datum.low != null && !datum.head"), mark: { type: "area", opacity: 0.18 }, encoding: { ...place, y: { ...place.y, field: "low" }, y2: { field: "high" } } });
  }
  if (heads) layer.push({ ...only("datum.head"), mark: { type: "point", filled: false, size: 50, strokeWidth: 2, opacity: 1 }, encoding: { ...place, shape, tooltip } });
  const drawable = new Set(points.map((point) => point.panel));
  const rules = levels.filter(([panel]) => drawable.has(panel)).map(([panel, text, level]) => ({ panel, text, level }));
  const ruled = rules.length === drawable.size; // Vega warns of panels without one
  if (ruled) layer.unshift({ ...only("datum.level != null"), mark: { type: "rule", strokeDash: [2, 4], color: colour("--edge") }, encoding: { y: { ...place.y, field: "level" } } });
  return draw(host.id, {
    data: { values: ruled ? [...points, ...rules] : points },
    columns, autosize: { type: "pad" }, facet: { field: "panel", type: "nominal", sort: panels, title: null, header: { labelExpr: "split(datum.label, ': ')" } },
    spec: { width: Math.max(120, host.clientWidth / columns - 70), height: 170, layer }, resolve: { scale: { y: across ? "independent" : "shared" } },
  }, `${y} by ${x}: ${names.join(", ")}`);
}

// Layer against layer: a panel for each pair of models.
function drawMaps() {
  const host = $("#similarity-chart"), rows = records(data.similarity);
  const panels = [...new Set(rows.map((row) => row.panel))];
  const columns = Math.max(1, Math.min(panels.length, Math.floor(host.clientWidth / 270)));
  const axis = { labelOverlap: true, labelAngle: 0 };
  return draw(host.id, {
    data: { values: rows.map((row) => ({ ...row, title: row.panel, text: row.value.toFixed(2) })) },
    columns, autosize: { type: "pad" }, facet: { field: "panel", type: "nominal", sort: panels, title: null },
    spec: { width: 190, height: 190, mark: { type: "rect" }, encoding: {
      x: { field: "layer", type: "ordinal", title: "layer", axis },
      y: { field: "other_layer", type: "ordinal", sort: "descending", title: "layer of the second", axis },
      color: { field: "value", type: "quantitative", scale: { scheme: "viridis", domainMin: 0 }, legend: { title: null, gradientLength: 120 } },
      tooltip: [["title", "title"], ["layer", "layer"], ["other_layer", "other layer"], ["text", "value"]].map(([field, title]) => ({ field, title })) } },
  }, `CKA, layer by layer: ${panels.join(", ")}`);
}

function drawLadder() {
  const host = $("#ladder-chart");
  if (!host) return null;
  const name = choices.split === "" ? "f1" : `${choices.split}f1`;
  const rows = records(data.ladder).filter((row) => choices.models.includes(row.model))
    .map((row) => ({ ...row, change: row[name], text: row[name] == null ? "–" : (row[name] >= 0 ? "+" : "") + row[name].toFixed(2), title: row.model }));
  if (!rows.length) return draw("ladder-chart", null);
  const steps = [...new Set(rows.map((row) => row.step))], models = [...new Set(rows.map((row) => row.model))];
  const columns = Math.max(1, Math.min(models.length, Math.floor(host.clientWidth / 380)));
  return draw("ladder-chart", {
    data: { values: rows }, columns, autosize: { type: "pad" }, facet: { field: "model", type: "nominal", sort: models, title: null },
    spec: { width: Math.max(120, host.clientWidth / columns - 220), height: { step: 24 }, mark: { type: "bar" }, encoding: {
      y: { field: "step", type: "nominal", sort: steps, title: null, axis: { labelLimit: 200, domain: false, ticks: false } },
      x: { field: "change", type: "quantitative", title: "points" },
      color: { condition: { test: "datum.change < 0", value: palette()[1] }, value: palette()[0] },
      tooltip: [{ field: "title", title: "title" }, { field: "step", title: "step" }, { field: "text", title: "points" }] } },
  }, "Change of F1 at the last layer by each step of the ladder");
}
