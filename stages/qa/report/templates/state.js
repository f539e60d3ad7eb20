// What all parts share: the data, small DOM helpers, colours of the theme, numbers as text. Text from the data goes into the
// page as textContent alone.
const $ = (selector, within = document) => within.querySelector(selector);
const data = JSON.parse($("#charts-data").textContent);
const records = ({ columns, rows }) => rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
const curves = records(data.curves);
const intervals = records(data.intervals);
const runs = records(data.runs);
const level = `${data.confidence} %`; // of the intervals
const maxLayer = Math.max(...curves.map((row) => row.layer));

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function options(select, pairs, chosen) {
  select.replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
  if (chosen !== undefined) select.value = chosen;
}

// Colours, dashes and shapes all differ, so that curves can be told apart in grey.
const LIGHT = ["#0072b2", "#c44900", "#007a58", "#a8477f", "#8a6000", "#2a7fb8", "#222222", "#6b6b1f", "#882255", "#332288"];
const DARK = ["#5cb8f2", "#ff9257", "#3dd6a3", "#f29ac9", "#f2b84b", "#9ad5ff", "#ededed", "#c9c96b", "#f08fb0", "#aba1f5"];
const DASHES = [[1, 0], [7, 3], [7, 3, 2, 3], [2, 3]];
const SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross"];
const SHAPE_PATHS = { circle: "M17 3a4 4 0 1 0 .01 0z", square: "M13 3h8v8h-8z", "triangle-up": "M17 2l5 9h-10z",
  diamond: "M17 2l5 5-5 5-5-5z", "triangle-down": "M17 12l5-9h-10z", cross: "M15 3h4v2h2v4h-2v2h-4v-2h-2v-4h2z" };

const isDark = () => {
  const forced = document.documentElement.dataset.theme;
  return forced ? forced === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
const palette = () => (isDark() ? DARK : LIGHT);
const look = (i) => ({ color: palette()[i % 10], dash: DASHES[i % 4], shape: SHAPES[i % 6] });
const probe = make("span", { hidden: true });
document.body.append(probe);
const colour = (name) => {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
};

const percent = (value, digits = 1) => (value == null ? "–" : value.toFixed(digits));
const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

const STOPS = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]]; // viridis
function shade(share) {
  const place = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((value, i) => Math.round(value + (STOPS[low + 1][i] - value) * (place - low)));
}
function luminance(rgb) {
  const [r, g, b] = rgb.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
