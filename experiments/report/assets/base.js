// Elements, numbers, colours, the tool tip and the theme.
const content = JSON.parse(document.getElementById("content").textContent);
const pairs = content.pairs, settings = content.settings, methods = content.methods;
const USES = ["training", "validation", "selection", "search"];

function add(parent, tag, attributes = {}, text = null) {
  const svg = parent.namespaceURI === "http://www.w3.org/2000/svg" || tag === "svg";
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  parent.append(element);
  return element;
}

const known = value => value !== null && value !== undefined;
const isDone = pair => known(pair.objective);
const measureOf = pair => settings[pair.setting].measure;

function show(measure, value, { signed = false, decimals = measure.decimals } = {}) {
  if (!known(value)) return "–";
  const text = (Math.round(value * measure.factor * 10 ** decimals) / 10 ** decimals + 0).toFixed(decimals);
  return signed && value > 0 ? `+${text}` : text.replace("-", "−");
}

function scaled(value, unit = "") {
  if (!known(value)) return "–";
  const prefixes = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const found = prefixes.find(([least]) => Math.abs(value) >= least * 0.9995);
  const number = found ? value / found[0] : value;
  const digits = Math.abs(number) >= 100 || (!found && Number.isInteger(number)) ? 0 : Math.abs(number) >= 10 ? 1 : 2;
  return `${number.toFixed(digits)}${found || unit ? " " : ""}${found ? found[1] : ""}${unit}`;
}

function seconds(value) {
  if (!known(value)) return "–";
  if (value < 100) return `${value.toFixed(1)} s`;
  if (value < 6000) return `${(value / 60).toFixed(1)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

// The name of a metric without its measure, so that one column holds the averages of accuracies and of returns.
function metricName(name, measure) {
  const words = name.split("_").filter(word => word !== measure.key).join(" ");
  return words === "average" ? measure.name : words || `overall ${measure.name}`;
}

// Colours: a method has the same one in all charts; those after the seventh have dashes, too.
const DASHES = [null, "6 3", "2 3", "8 3 2 3"];
// The figures of runs and comparisons number methods alike: by their names in order.
const look = method => content.looks[method];
const colour = method => `var(--c${look(method) % 7})`;
const dash = method => DASHES[Math.floor(look(method) / 7) % DASHES.length];

// A share in [0, 1] as a tint, in a theme's own colours; text on strong tints is set in the colour of the page.
function tint(element, share, ink = "--strong") {
  const clipped = Math.min(1, Math.max(0, share));
  element.style.background = `color-mix(in oklab, var(${ink}) ${Math.round(6 + 90 * clipped)}%, var(--zero))`;
  element.style.color = clipped > 0.5 ? "var(--back)" : "var(--text)";
}

const RAMP = "background:linear-gradient(90deg, color-mix(in oklab, var(--strong) 6%, var(--zero)), var(--strong))";
// The ends of a scale of tints: all that is possible for shares, else zero and the outermost value, as in figures.
function tintRange(values, measure) {
  return measure.unit === "%" ? [0, 1] : [Math.min(0, ...values), Math.max(0, ...values)];
}

const tip = document.getElementById("tip");
function showTip(event, title, rows = []) {
  tip.replaceChildren();
  add(tip, "b", {}, title);
  if (rows.length) {
    const table = add(tip, "table");
    for (const [name, value, ink] of rows) {
      const row = add(table, "tr"), cell = add(row, "td");
      if (ink) add(cell, "span", { class: "dot", style: `background:${ink}` });
      cell.append(name);
      add(row, "td", {}, value);
    }
  }
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect(), room = document.documentElement.clientWidth;
  const left = event.clientX + 16 + width > room ? Math.max(4, event.clientX - width - 12) : event.clientX + 16;
  const top = event.clientY + 14 + height > innerHeight ? Math.max(4, event.clientY - height - 10) : event.clientY + 14;
  tip.style.left = `${Math.min(left, Math.max(4, room - width - 4)) + scrollX}px`;
  tip.style.top = `${top + scrollY}px`;
}
const hideTip = () => { tip.hidden = true; };

function withTip(element, title, rows) {
  element.addEventListener("pointermove", event => showTip(event, title, rows));
  element.addEventListener("pointerleave", hideTip);
  return element;
}

// The theme: that of the system, until the reader chooses one.
const dark = matchMedia("(prefers-color-scheme: dark)");
let theme = "auto";
try { theme = localStorage.getItem("redwood-theme") ?? "auto"; } catch { /* files may have no storage */ }
function applyTheme() {
  document.documentElement.classList.toggle("dark", theme === "dark" || (theme === "auto" && dark.matches));
}
function addThemeSwitch(parent) {
  const button = add(parent, "button", { type: "button", id: "theme", title: "Colours of the page" });
  const name = () => { button.textContent = { auto: "◐ System", light: "○ Light", dark: "● Dark" }[theme]; };
  button.addEventListener("click", () => {
    theme = { auto: dark.matches ? "light" : "dark", light: dark.matches ? "dark" : "auto", dark: dark.matches ? "auto" : "light" }[theme];
    try { localStorage.setItem("redwood-theme", theme); } catch { /* as above */ }
    applyTheme();
    name();
  });
  name();
  const print = add(parent, "button", { type: "button" }, "Print");
  print.addEventListener("click", () => window.print());
  dark.addEventListener("change", applyTheme);
}
applyTheme();
