// Matrices, what was lost, costs and time lines.
function addMatrices() {
  const large = pair => pair.matrix && (pair.matrix.length > 1 || pair.matrix[0].length > 1);
  if (!pairs.some(large)) return;
  const part = section("matrices", "Score on each task after each phase", "Rows: after a phase. Columns: tested on a task. A stronger tint is better.", "Matrices");
  following(part, (body, setting, done) => {
    const shown = done.filter(large).sort(byScore), measure = setting.measure;
    if (!shown.length) return false;
    const values = shown.flatMap(pair => pair.matrix.flat()).filter(known);
    const [low, high] = tintRange(values, measure);
    const grid = add(body, "div", { class: shown.length > 1 ? "grid-of" : "" });
    for (const pair of shown) {
      const box = add(grid, "div", { style: shown.length > 1 ? null : "max-width:560px" });
      if (shown.length > 1) add(box, "h3", {}, `${methods[pair.method]} ${show(measure, pair.objective[0])}`);
      drawMatrix(box, pair, setting, low, high, shown.length === 1);
    }
    const key = add(body, "div", { class: "key" }), ends = [low, high].map(value => `${show(measure, value)} ${measure.unit}`.trim());
    key.append(measure.lower ? ends[1] : ends[0]);
    add(key, "span", { class: "ramp", style: RAMP });
    key.append(measure.lower ? ends[0] : ends[1]);
  });
}

function drawMatrix(box, pair, setting, low, high, large) {
  const matrix = pair.matrix, rows = matrix.length, columns = matrix[0].length, measure = setting.measure;
  const size = Math.min(large ? 52 : 44, (large ? 520 : 150) / columns), tall = rows === 1 ? Math.max(size, 20) : size;
  const left = rows > 1 ? 38 : 0, top = 32, wide = left + Math.max(columns * size, 90), bottom = top + rows * tall;
  const svg = add(box, "svg", { class: "chart", viewBox: `0 0 ${wide} ${bottom}`, role: "img", "aria-label": `${methods[pair.method]}: matrix`, style: `max-width:${wide}px` });
  const numbers = columns <= (large ? 12 : 6);
  const nameOf = (axis, place) => { const at = setting.shown?.[axis]?.[place] ?? place; return setting.tasks?.[at] ?? at; };
  const labelOf = (axis, place) => { const name = String(nameOf(axis, place)); return name.length > 4 ? String(setting.shown?.[axis]?.[place] ?? place) : name; };
  const label = (text, attributes) => add(svg, "text", { style: "font-size:11px", ...attributes }, text);
  label("on task", { x: left, y: 11 });
  for (let column = 0; column < columns; column += Math.ceil(22 / size)) label(labelOf(1, column), { x: left + (column + 0.5) * size, y: top - 5, "text-anchor": "middle" });
  if (rows > 1) {
    label(`after ${setting.phase_name}`, { transform: `translate(11 ${bottom}) rotate(-90)` });
    for (let row = 0; row < rows; row += Math.ceil(14 / size)) label(labelOf(0, row), { x: left - 5, y: top + (row + 0.5) * tall + 4, "text-anchor": "end" });
  }
  matrix.forEach((line, row) => line.forEach((value, column) => {
    const share = known(value) && high > low ? (measure.lower ? high - value : value - low) / (high - low) : 0;
    const ink = known(value) ? `color-mix(in oklab, var(--strong) ${Math.round(6 + 90 * share)}%, var(--zero))` : "none";
    const cell = add(svg, "rect", { x: left + column * size + 0.5, y: top + row * tall + 0.5, width: size - 1, height: tall - 1, rx: 1.5, style: `fill:${ink}` });
    withTip(cell, `${methods[pair.method]}: after ${setting.phase_name} ${nameOf(0, row)}`, [[`on ${nameOf(1, column)}`, known(value) ? `${show(measure, value)} ${measure.unit}` : "not tested"]]);
    if (numbers && known(value)) {
      const text = show(measure, value, { decimals: measure.unit === "%" || Math.abs(value) >= 100 ? 0 : Math.min(1, measure.decimals) });
      const font = Math.min(12.5, size * 0.38, 1.6 * size / text.length);
      add(svg, "text", { x: left + (column + 0.5) * size, y: top + (row + 0.5) * tall + font * 0.36, "text-anchor": "middle", "pointer-events": "none",
        style: `font-size:${font}px;fill:${share > 0.5 ? "var(--back)" : "var(--text)"}` }, text);
    }
  }));
}

function addForgetting() {
  const hasLost = pairs.some(pair => pair.lost?.some(known)), hasSlices = pairs.some(pair => pair.slices);
  if (!hasLost && !hasSlices) return;
  const part = section("forgetting", hasLost ? "Forgetting by task and class" : "Scores by class", null, hasLost ? "Forgetting" : "Classes");
  following(part, (body, setting, done) => {
    const sorted = [...done].sort(byScore), measure = setting.measure;
    const lost = sorted.filter(pair => pair.lost?.some(known)), sliced = sorted.filter(pair => pair.slices);
    if (lost.length) {
      add(body, "p", { class: "lead" }, `What each task has lost at the end since its best score, in ${measure.unit === "%" ? "points of " : ""}${measure.label}. Orange: lost; blue: gained.`);
      const most = Math.max(1e-9, ...lost.flatMap(pair => pair.lost).filter(known).map(Math.abs));
      const names = lost[0].lost.map((_, task) => setting.tasks?.[task] ?? `task ${task}`);
      heatRows(body, lost, names, pair => pair.lost, (cell, value) => tint(cell, Math.abs(value) / (measure.unit === "%" ? 1 : most), value > 0 ? "--bad" : "--strong"), value => show(measure, -value, { signed: true, decimals: measure.unit === "%" ? 0 : measure.decimals }));
    }
    if (sliced.length && setting.slices) {
      const { by, names } = setting.slices;
      add(body, "p", { class: "lead", style: "margin-top:16px" }, `Accuracy (%) on the test samples of each ${by} after the last phase.`);
      heatRows(body, sliced, names, pair => pair.slices, (cell, value) => tint(cell, value), value => (100 * value).toFixed(0));
    }
    return Boolean(lost.length || sliced.length);
  });
}

function heatRows(body, shown, names, read, colourIn, text) {
  const table = add(add(body, "div", { class: "scroll" }), "table", { class: "heat" }), head = add(add(table, "thead"), "tr");
  const turned = names.some(name => String(name).length > 6);
  add(head, "th", { class: "first" });
  names.forEach(name => add(add(head, "th", { scope: "col", class: turned ? "turned" : "flat" }), "span", {}, String(name)));
  const rows = add(table, "tbody");
  for (const pair of shown) {
    const row = add(rows, "tr");
    add(row, "th", { scope: "row", class: "first" }, methods[pair.method]);
    names.forEach((_, place) => {
      const value = read(pair)[place], cell = add(row, "td", { class: known(value) ? "small" : "small none" }, known(value) ? text(value) : "·");
      if (known(value)) colourIn(cell, value);
    });
  }
}

function addCosts() {
  if (!pairs.some(isDone)) return;
  const part = section("cost", "Cost", "Means over seeds. FLOPs count all that a method computes, by use; tests are not counted. Memory is the largest in use; stored: what is kept beside the network.");
  following(part, (body, setting, done) => {
    if (!done.length) return false;
    const sorted = [...done].sort((a, b) => total(b) - total(a)), most = Math.max(1, ...done.map(total));
    const longest = Math.max(1e-9, ...done.map(pair => pair.cost.wall_time_s)), uses = USES.filter(use => done.some(pair => pair.flops[use] > 0));
    const table = add(add(body, "div", { class: "scroll" }), "table", { class: "data" }), head = add(add(table, "thead"), "tr");
    for (const name of ["method", "FLOPs", "", "time", "", `${setting.measure.samples}/s`, "memory", "stored", "parameters", ...(done.some(pair => known(pair.tuning)) ? ["tuning"] : [])]) add(head, "th", { scope: "col", class: name === "method" ? "name first" : "" }, name);
    const rows = add(table, "tbody");
    for (const pair of sorted) {
      const row = add(rows, "tr");
      add(row, "td", { class: "name first" }, methods[pair.method]);
      add(row, "td", {}, scaled(total(pair)));
      const bar = add(add(row, "td"), "div", { class: "bar" });
      uses.forEach(use => add(bar, "i", { style: `width:${100 * pair.flops[use] / most}%;background:var(--c${USES.indexOf(use)})` }));
      withTip(bar, methods[pair.method], uses.map(use => [use, scaled(pair.flops[use]), `var(--c${USES.indexOf(use)})`]));
      add(row, "td", {}, seconds(pair.cost.wall_time_s));
      add(add(add(row, "td"), "div", { class: "bar", style: "width:90px" }), "i", { style: `width:${100 * pair.cost.wall_time_s / longest}%;background:var(--faint)` });
      add(row, "td", {}, scaled(pair.cost.samples_per_s));
      add(row, "td", {}, scaled(pair.cost.peak_memory_bytes, "B"));
      add(row, "td", {}, pair.cost.buffer_bytes ? scaled(pair.cost.buffer_bytes, "B") : "–");
      add(row, "td", {}, pair.cost.parameters ? scaled(pair.cost.parameters) : "–");
      if (done.some(other => known(other.tuning))) add(row, "td", {}, known(pair.tuning) ? `${scaled(pair.tuning)}FLOPs` : "–");
    }
    const key = add(body, "div", { class: "key" });
    for (const use of uses) { add(key, "span", { style: `display:inline-block;width:12px;height:10px;border-radius:2px;background:var(--c${USES.indexOf(use)})` }); key.append(`FLOPs of ${use}`); }
  });
}

function addTimeLine() {
  for (const [number, one] of content.rehearsal.slice(0, 4).entries()) addRehearsal(one, number);
  if (content.spans.length < 2) return;
  const part = section("timeline", "When the runs were made", "From when a run's folder was made until its results were written, by the times of these files. Runs on one line followed each other.", "Time line");
  const long = Math.max(...content.spans.map(span => span[4]));
  const lanes = [], placed = [...content.spans].sort((a, b) => a[3] - b[3]).map(span => {
    let lane = lanes.findIndex(end => end <= span[3] + long * 1e-4);
    if (lane < 0) lane = lanes.push(0) - 1;
    lanes[lane] = span[4];
    return [lane, span];
  });
  chart(part, "Runs over time", (figure, width) => {
    const tall = lanes.length > 24 ? 9 : 18, height = tall * lanes.length + 52, unit = long > 7200 ? [3600, "hours"] : long > 180 ? [60, "minutes"] : [1, "seconds"];
    const frame = axes(figure, width, height, { low: 0, high: long / unit[0] || 1, label: `${unit[1]} since the first run began` }, { low: 0, high: 1, ticks: [], label: "" }, { left: 10, top: 6 });
    for (const [lane, [setting, method, seed, begin, end]] of placed) {
      const x = frame.X(begin / unit[0]), bar = add(frame.svg, "rect", { x, y: 6 + lane * tall, height: tall - 2, width: Math.max(1.5, frame.X(end / unit[0]) - x - 0.6), rx: 1.5, style: `fill:${colour(method)}`, "fill-opacity": 0.85 });
      withTip(bar, `${settings[setting].name} / ${methods[method]}, seed ${seed}`, [["began after", seconds(begin)], ["took", seconds(end - begin)]]);
    }
  });
}

function addRehearsal({ label, spans }, number) {
  const part = section(`rehearsal-${number}`, "Asynchronous rehearsal", `The last training steps of ${label}, above what its background did meanwhile.`);
  const steps = spans.filter(span => span[0] === "step").slice(-4), zero = steps[0][1], end = steps.at(-1)[2];
  const names = ["wait", "insert", "counts", "plan", "gather", "exchange"];
  chart(part, `Time line of ${label}`, (figure, width) => {
    const frame = axes(figure, width, 150, { low: 0, high: end - zero || 1, label: "milliseconds" }, { low: 0, high: 1, ticks: [], label: "" }, { left: 86, top: 6 });
    add(frame.svg, "text", { x: 78, y: 34, "text-anchor": "end" }, "training");
    add(frame.svg, "text", { x: 78, y: 84, "text-anchor": "end" }, "background");
    for (const [name, from, to] of spans) {
      if (to <= zero || from >= end) continue;
      const step = name === "step", x = frame.X(Math.max(from - zero, 0)), wide = Math.max(1, frame.X(Math.min(to, end) - zero) - x);
      const ink = step ? "var(--muted-line)" : name === "wait" ? "var(--text)" : `var(--c${Math.max(0, names.indexOf(name) - 1)})`;
      const bar = add(frame.svg, "rect", { x, width: wide, y: step ? 12 : name === "wait" ? 38 : 62, height: step ? 26 : name === "wait" ? 9 : 36, style: `fill:${ink};stroke:var(--back);stroke-width:${step ? 1 : 0}` });
      withTip(bar, name, [["milliseconds", (to - from).toFixed(2)]]);
    }
  });
  const key = add(part, "div", { class: "key" });
  for (const name of names.filter(one => spans.some(span => span[0] === one))) {
    add(key, "span", { style: `display:inline-block;width:12px;height:10px;background:${name === "wait" ? "var(--text)" : `var(--c${names.indexOf(name) - 1})`}` });
    key.append(name);
  }
}
