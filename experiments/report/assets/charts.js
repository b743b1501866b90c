// Charts as SVG: axes, lines, points, intervals and spans. They are drawn again when the width of the page changes.
const drawn = [];
function chart(parent, label, draw) {
  const figure = add(parent, "figure");
  const again = () => {
    const width = Math.max(260, Math.round(figure.getBoundingClientRect().width || 700));
    figure.replaceChildren();
    draw(figure, width);
    const svg = figure.querySelector("svg");
    if (svg) { svg.setAttribute("role", "img"); svg.setAttribute("aria-label", label); }
  };
  drawn.push({ figure, again, width: 0 });
  again();
  return again;
}
let waiting = 0, pageWidth = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === pageWidth) return;  // a phone changes the height while it scrolls
  pageWidth = innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(() => drawn.filter(one => one.figure.isConnected).forEach(one => one.again()), 120);
});

function linearTicks(low, high, most = 6) {
  const span = high - low || 1, raw = span / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(candidate => span / candidate <= most);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-6; tick += step) ticks.push(Number(tick.toPrecision(12)));
  return ticks;
}

function logTicks(low, high, most = 6) {
  const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
  for (const factors of [[1, 2, 5], [1, 3], [1]]) {
    const ticks = [];
    for (let power = from; power <= to; power++)
      for (const factor of factors) if (factor * 10 ** power >= low * 0.999 && factor * 10 ** power <= high * 1.001) ticks.push(factor * 10 ** power);
    if (ticks.length <= most || factors.length === 1) {
      const every = Math.ceil(ticks.length / most);
      return ticks.filter((_, place) => place % every === 0);
    }
  }
  return [];
}

// Axes: `x` and `y` have `low`, `high`, `label`, and may have `log`, `ticks` (values) and `text` (a value's text).
function axes(parent, width, height, x, y, { left = null, right = 14, top = 12, bottom = 42 } = {}) {
  const levels = y.ticks ?? linearTicks(y.low, y.high, 5);
  left ??= 30 + 7 * Math.max(2, ...levels.map(tick => (y.text ?? String)(tick).length));
  const svg = add(parent, "svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height });
  const scale = (axis, from, to) => {
    const f = axis.log ? Math.log10 : value => value;
    const low = f(axis.low), span = f(axis.high) - low || 1;
    return value => from + (f(value) - low) / span * (to - from);
  };
  const X = scale(x, left, width - right), Y = scale(y, height - bottom, top);
  const most = Math.max(2, Math.min(8, Math.floor((width - left) / 70)));
  for (const tick of levels) {
    add(svg, "line", { class: "grid", x1: left, x2: width - right, y1: Y(tick), y2: Y(tick) });
    add(svg, "text", { x: left - 7, y: Y(tick) + 4, "text-anchor": "end" }, (y.text ?? String)(tick));
  }
  for (const tick of x.ticks ?? (x.log ? logTicks(x.low, x.high, most) : linearTicks(x.low, x.high, most))) {
    add(svg, "line", { class: "grid", x1: X(tick), x2: X(tick), y1: top, y2: height - bottom });
    add(svg, "text", { x: X(tick), y: height - bottom + 17, "text-anchor": "middle" }, (x.text ?? String)(tick));
  }
  add(svg, "line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom });
  add(svg, "text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, x.label);
  add(svg, "text", { transform: `translate(12 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, y.label);
  return { svg, X, Y, left, right: width - right, top, bottom: height - bottom };
}

function limits(values, measure) {
  if (measure.unit === "%") return [0, 1];
  const low = Math.min(0, ...values), high = Math.max(0, ...values);
  return low === high ? [0, 1] : [low, high + (high - low) * 0.04];
}

const path = (points, X, Y) => {
  let text = "", pen = "M";
  for (const [x, y] of points) {
    if (!known(y)) { pen = "M"; continue; }
    text += `${pen}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`;
    pen = "L";
  }
  return text;
};

// Lines of several methods with a reading beside the pointer. A line has `method`, `points`, and maybe `spread`.
function lineChart(figure, width, lines, x, y, measure) {
  const height = Math.max(240, Math.min(400, width * 0.42));
  const frame = axes(figure, width, height, x, y);
  const { svg, X, Y } = frame;
  for (const line of lines) {
    if (!line.spread || lines.length > 8 || line.quiet) continue;
    const up = line.points.map(([at, value], i) => [at, known(value) ? value + (line.spread[i] ?? 0) : null]);
    const down = line.points.map(([at, value], i) => [at, known(value) ? value - (line.spread[i] ?? 0) : null]).reverse();
    const inside = value => Math.min(frame.bottom, Math.max(frame.top, Y(value)));
    const outline = [...up, ...down].filter(([, value]) => known(value)).map(([at, value]) => `${X(at).toFixed(1)} ${inside(value).toFixed(1)}`);
    add(svg, "polygon", { points: outline.join(" "), style: `fill:${colour(line.method)}`, "fill-opacity": 0.12 });
  }
  const shapes = lines.map(line => add(svg, "path", {
    d: path(line.points, X, Y), fill: "none", "stroke-width": line.quiet ? 1.2 : 2, "stroke-linejoin": "round", "stroke-dasharray": line.quiet ? null : dash(line.method),
    style: `stroke:${line.quiet ? "var(--muted-line)" : colour(line.method)}`,
  }));
  const single = lines.filter(line => line.points.length === 1);
  for (const line of single) add(svg, "circle", { cx: X(line.points[0][0]), cy: Y(line.points[0][1]), r: 4, style: `fill:${colour(line.method)}` });
  const rule = add(svg, "line", { class: "axis", y1: frame.top, y2: frame.bottom, visibility: "hidden" });
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect();
    const at = (event.clientX - box.left) * width / box.width, level = (event.clientY - box.top) * height / box.height;
    const places = [...new Set(lines.flatMap(line => line.points.map(([place]) => place)))];
    if (!places.length) return;
    const nearest = places.reduce((a, b) => Math.abs(X(b) - at) < Math.abs(X(a) - at) ? b : a);
    const values = lines.map((line, number) => ({ line, number, value: line.points.reduce((a, b) => Math.abs(b[0] - nearest) < Math.abs(a[0] - nearest) ? b : a)[1] }))
      .filter(({ value }) => known(value)).sort((a, b) => b.value - a.value);
    if (!values.length) return;
    const hot = values.reduce((a, b) => Math.abs(Y(b.value) - level) < Math.abs(Y(a.value) - level) ? b : a);
    shapes.forEach((shape, number) => shape.classList.toggle("hot", number === hot.number));
    rule.setAttribute("x1", X(nearest));
    rule.setAttribute("x2", X(nearest));
    rule.setAttribute("visibility", "visible");
    const place = values.indexOf(hot), from = Math.max(0, Math.min(place - 5, values.length - 11));
    showTip(event, (x.name ?? (value => `${x.label} ${value}`))(nearest),
      values.slice(from, from + 11).map(({ line, value }) => [line.label + (line === hot.line && lines.length > 1 ? " ◂" : ""), show(measure, value), colour(line.method)]));
  });
  svg.addEventListener("pointerleave", () => {
    hideTip();
    rule.setAttribute("visibility", "hidden");
    shapes.forEach(shape => shape.classList.remove("hot"));
  });
}

const MARKS = ["circle", "square", "triangle", "diamond"];
function mark(svg, method, x, y, r = 5.5) {
  const style = `fill:${colour(method)};stroke:var(--back);stroke-width:1.2`;
  const shape = MARKS[Math.floor(look(method) / 7) % MARKS.length];
  if (shape === "circle") return add(svg, "circle", { cx: x, cy: y, r, style });
  const corners = {
    square: [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([a, b]) => [a * r * 0.88, b * r * 0.88]),
    triangle: [[0, -1.15], [1.1, 0.85], [-1.1, 0.85]].map(([a, b]) => [a * r, b * r]),
    diamond: [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]].map(([a, b]) => [a * r, b * r]),
  }[shape];
  return add(svg, "polygon", { points: corners.map(([a, b]) => `${x + a},${y + b}`).join(" "), style });
}

// Names beside points, moved apart from each other as far as there is room; those without room are left to the tool tip.
function nameMarks(svg, marks, frame) {
  const taken = marks.map(({ x, y }) => [x - 7, y - 7, x + 7, y + 7]);
  for (const { x, y, name } of marks) {
    const text = name.length > 26 ? `${name.slice(0, 25)}…` : name, wide = text.length * 6.4;
    const places = [[9, 4], [-9 - wide, 4], [-wide / 2, -11], [-wide / 2, 20], [9, -8], [9, 16], [-9 - wide, -8], [-9 - wide, 16]];
    for (const [dx, dy] of places) {
      const box = [x + dx, y + dy - 11, x + dx + wide, y + dy + 3];
      if (box[0] < frame.left || box[2] > frame.right + 10 || box[1] < 0 || box[3] > frame.bottom) continue;
      if (taken.some(other => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1] && !(other[0] === x - 7 && other[1] === y - 7))) continue;
      taken.push(box);
      add(svg, "text", { x: x + dx, y: y + dy, class: "name" }, text);
      break;
    }
  }
}

// Horizontal intervals: one line each, with `name`, `value`, `low`, `high`, `points`, `ink`, `note`.
function intervalChart(figure, width, rows, measure, label) {
  const long = Math.min(width * 0.42, 12 + 6.9 * Math.max(...rows.map(row => row.name.length)));
  const height = 22 * rows.length + 58, all = rows.flatMap(row => [row.low, row.high, row.value, ...row.points]).filter(known);
  let low = Math.min(...all), high = Math.max(...all);
  const least = measure.unit === "%" ? 0.02 : 1e-9;
  const room = Math.max((high - low || Math.abs(high) || 1) * 0.05, (least - (high - low)) / 2);
  [low, high] = [low - room, high + room];
  const text = value => show(measure, value, { decimals: (high - low) * measure.factor < 4 ? measure.decimals : Math.max(0, measure.decimals - 1) });
  const frame = axes(figure, width, height, { low, high, label, text }, { low: 0, high: 1, ticks: [], label: "" }, { left: long, top: 8 });
  rows.forEach((row, number) => {
    const y = 20 + 22 * number, X = frame.X, letters = Math.floor((long - 11) / 6.9);
    const group = add(frame.svg, "g");
    add(group, "rect", { x: 0, y: y - 11, width, height: 22, fill: "transparent" });
    add(group, "text", { x: long - 10, y: y + 4, "text-anchor": "end", class: "name" }, row.name.length > letters ? `${row.name.slice(0, letters - 1)}…` : row.name);
    for (const point of row.points) add(group, "circle", { cx: X(point), cy: y, r: 2.2, style: `fill:${row.ink}`, "fill-opacity": 0.35 });
    if (known(row.low)) add(group, "line", { x1: X(row.low), x2: X(row.high), y1: y, y2: y, style: `stroke:${row.ink}`, "stroke-width": 2.4, "stroke-linecap": "round" });
    add(group, "circle", { cx: X(row.value), cy: y, r: 4.6, style: `fill:${row.ink};stroke:var(--back)` });
    withTip(group, row.name, row.note);
  });
}
