// Controls and the start.
function redraw() {
  const all = [drawCurves(), drawLadder()];
  drawHeat();
  return Promise.all(all);
}

function drawAll() {
  swatches();
  return Promise.all([redraw(), ...Object.keys(data.panels).map(drawPanels), drawMaps()]);
}

function swatches() {
  const space = "http://www.w3.org/2000/svg";
  document.querySelectorAll("#models label").forEach((label, i) => {
    const { color, dash, shape } = look(i);
    const line = document.createElementNS(space, "path"), point = document.createElementNS(space, "path");
    line.setAttribute("d", "M1 7h32");
    line.setAttribute("stroke", color);
    line.setAttribute("stroke-width", "2");
    line.setAttribute("stroke-dasharray", dash.join(" "));
    point.setAttribute("d", SHAPE_PATHS[shape]);
    point.setAttribute("fill", color);
    $("svg", label).replaceChildren(line, point);
  });
}

function startChoices() {
  const form = $("#choices"), models = $("#models");
  const epochs = [...new Set(curves.map((row) => row.epoch).filter((epoch) => epoch != null))].sort((a, b) => a - b);
  options(form.protocol, [...data.protocols.map((name) => [name, name]), ...(data.protocols.length > 1 ? [["*", "all (dashes)"]] : [])]);
  options(form.epoch, [["last", "last"], ...epochs.map((epoch) => [String(epoch), String(epoch)])]);
  options(form.range, [["none", "none"], ...(data.runs.rows.length ? [["runs", "single runs"]] : []),
    ["interval", `${level} interval`], ["band", `${level} band`]]);
  choices.range = form.range.value = "interval";
  choices.split = form.split.value = data.start === "forced_f1" ? "forced_" : "";
  choices.models = data.models.slice(0, 8);
  for (const model of data.models) {
    const box = make("input", { type: "checkbox", value: model, checked: choices.models.includes(model) });
    models.append(make("label", { title: data.kinds[model] }, box, document.createElementNS("http://www.w3.org/2000/svg", "svg"), model));
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    choices[event.target.name] = event.target.value;
    redraw();
  });
  models.addEventListener("input", () => {
    choices.models = [...models.querySelectorAll("input:checked")].map((box) => box.value);
    redraw();
  });
}

function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  return drawAll();
}

function startTheme() {
  const button = $("#theme"), order = ["system", "light", "dark"];
  let at = 0;
  button.addEventListener("click", () => {
    at = (at + 1) % order.length;
    button.textContent = `Theme: ${order[at]}`;
    setTheme(at ? order[at] : "");
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
}

async function save(id) {
  if (!drawn[id]) return;
  const text = await drawn[id].view.toSVG();
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "image/svg+xml" })), download: `${id}.svg` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function start() {
  startChoices();
  startTheme();
  document.querySelectorAll("[data-save]").forEach((button) => button.addEventListener("click", () => save(button.dataset.save)));
  let width = innerWidth, timer = 0;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (innerWidth !== width) drawAll();
      width = innerWidth;
    }, 150);
  });
  addEventListener("hashchange", followHash);
  let theme; // of the screen, while a dark page is printed: paper is white
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
    if (!isDark()) return;
    theme = document.documentElement.dataset.theme ?? "";
    setTheme("light");
  });
  addEventListener("afterprint", () => {
    if (theme !== undefined) setTheme(theme);
    theme = undefined;
  });
  addEventListener("scroll", () => { $("#tip").hidden = true; }, { passive: true });
  return drawAll().then(() => document.documentElement.setAttribute("data-ready", "charts")).then(startExplorer)
    .then(() => document.documentElement.setAttribute("data-ready", "all"));
}
start();
