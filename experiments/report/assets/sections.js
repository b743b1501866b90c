// The sections that compare: tiles, the table, the heat map, intervals, curves and the Pareto front.
const main = document.getElementById("main"), contents = document.getElementById("contents");
const followers = [];  // what is drawn again when another setting is chosen
const doneIn = settings.map((_, number) => pairs.filter(pair => pair.setting === number && isDone(pair)).length);
let chosen = doneIn.indexOf(Math.max(...doneIn));
const hidden = new Set();  // methods that are switched off in charts

function section(id, title, lead, short = title) {
  const part = add(main, "section", { id });
  add(part, "h2", {}, title);
  if (lead) add(part, "p", { class: "lead" }, lead);
  add(contents, "a", { href: `#${id}` }, short);
  return part;
}

// A part that shows the chosen setting, and is empty where that has nothing to show.
function following(part, draw) {
  const body = add(part, "div");
  const again = () => {
    body.replaceChildren();
    if (draw(body, settings[chosen], pairs.filter(pair => pair.setting === chosen && isDone(pair)), again) === false)
      add(body, "p", { class: "lead" }, `Nothing to show of ${settings[chosen].name}.`);
  };
  followers.push(again);
  again();
  return again;
}

function addChoice() {
  if (settings.length < 2) return;
  const label = add(contents, "label");
  add(label, "span", {}, "Setting");
  const select = add(label, "select", { id: "setting" });
  settings.forEach((setting, number) => add(select, "option", { value: number }, setting.name));
  select.value = String(chosen);
  select.addEventListener("change", () => {
    chosen = Number(select.value);
    followers.forEach(again => again());
  });
}

const byScore = (a, b) => a.loss - b.loss;
const runsOf = pair => pair.seeds.length;
const seedsOf = pair => [...new Set(pair.seeds)];

function addFacts() {
  const facts = document.getElementById("facts"), done = pairs.filter(isDone);
  const count = (number, word) => number > 1 ? `${number} ${word}s` : null;
  const runs = done.reduce((sum, pair) => sum + runsOf(pair), 0), most = Math.max(0, ...done.map(pair => seedsOf(pair).length));
  const orders = Math.max(0, ...done.map(pair => pair.orders));
  const failed = pairs.length - done.length;
  const time = content.sources.reduce((sum, source) => sum + source.seconds, 0);
  const datasets = [...new Set(settings.flatMap(setting => setting.datasets ?? []))];
  const texts = [
    count(methods.length, "method"), count(settings.length, "setting"), most > 1 ? `${most} seeds` : done.length === 1 ? `seed ${done[0].seeds[0]}` : null, count(orders, "class order"),
    datasets.slice(0, 3).join(", ") + (datasets.length > 3 ? ` and ${datasets.length - 3} more` : ""),
    count(runs, "run"), time ? `${seconds(time)} of training and tests` : null, failed ? `${failed} without results` : null, content.made,
  ];
  texts.filter(Boolean).forEach(text => { add(facts, "span", {}, text); facts.append(" "); });
}

function addTiles() {
  const pair = pairs[0], measure = measureOf(pair), part = section("scores", "Scores");
  const tiles = add(part, "div", { class: "tiles" });
  const tile = (name, value) => { const box = add(tiles, "div"); add(box, "b", {}, value); add(box, "span", {}, name); };
  for (const name of settings[0].metrics) {
    const found = pair.metrics[name];
    if (!found) continue;
    const unit = measure.unit && !name.includes("eer") ? ` ${measure.unit}` : "", spread = runsOf(pair) > 1 ? ` ± ${show(measure, found[1])}` : "";
    tile(name.replaceAll("_", " ").replace(measure.key, measure.name), name.includes("eer") ? found[0].toFixed(3) : `${show(measure, found[0])}${spread}${unit}`);
  }
  tile("FLOPs", scaled(total(pair)));
  tile("seconds", seconds(pair.cost.wall_time_s));
  tile("peak memory", scaled(pair.cost.peak_memory_bytes, "B"));
  tile("parameters", scaled(pair.cost.parameters));
}

const total = pair => isDone(pair) ? USES.reduce((sum, use) => sum + (pair.flops[use] ?? 0), 0) : null;
const spent = pair => isDone(pair) ? total(pair) + (pair.tuning ?? 0) : null;
const MARK_TEXTS = { best: "best", similar: "not distinguishable from best", worse: "worse than best" };

function resultColumns() {
  const columns = [];
  columns.push({ head: "method", name: true, text: pair => methods[pair.method], key: pair => methods[pair.method] });
  if (settings.length > 1) columns.push({ head: "setting", name: true, all: true, text: pair => settings[pair.setting].name, key: pair => pair.setting });
  const measures = [...new Set(settings.map(setting => setting.measure.label))];
  columns.push({ head: measures.length === 1 ? measures[0] : "score", best: true, std: pair => pair.objective[1], text: pair => show(measureOf(pair), pair.objective[0]),
    key: pair => pair.objective?.[0] ?? null, high: true });
  if (pairs.some(pair => pair.mark))
    columns.push({ head: "beside the best", name: true, text: pair => pair.mark ? MARK_TEXTS[pair.mark].replace(" from best", "").replace(" than best", "") : "", key: pair => pair.mark ? Object.keys(MARK_TEXTS).indexOf(pair.mark) : null });
  const names = [...new Set(settings.flatMap(setting => setting.metrics.map(name => metricName(name, setting.measure))))];
  for (const head of names) {
    const repeats = setting => head === setting.measure.name && setting.ranked_by === "average";  // the score itself
    const find = pair => repeats(settings[pair.setting]) ? null : pair.metrics?.[settings[pair.setting].metrics.find(name => metricName(name, measureOf(pair)) === head)]?.[0] ?? null;
    if (!pairs.some(pair => isDone(pair) && known(find(pair)))) continue;
    const signed = /transfer|forgetting/.test(head);
    columns.push({ head, text: pair => head.includes("eer") ? find(pair)?.toFixed(3) ?? "–" : show(measureOf(pair), find(pair), { signed }), key: find, high: true });
  }
  columns.push({ head: "FLOPs", text: pair => scaled(total(pair)) + (pair.front && pairs.filter(other => other.setting === pair.setting && isDone(other)).length > 1 ? " †" : ""), key: total });
  columns.push({ head: "time", text: pair => seconds(pair.cost.wall_time_s), key: pair => pair.cost?.wall_time_s ?? null });
  columns.push({ head: "memory", text: pair => scaled(pair.cost.peak_memory_bytes, "B"), key: pair => pair.cost?.peak_memory_bytes ?? null });
  columns.push({ head: "runs", text: pair => String(runsOf(pair)), key: pair => pair.seeds?.length ?? 0 });
  if (content.sources.length > 1)
    columns.push({ head: "folder", name: true, text: pair => pair.sources.map(number => content.sources[number].name).join(", "), key: pair => pair.sources[0] });
  return columns;
}

// The pairs whose mean is the best of their setting.
function bestPairs() {
  const best = new Map();
  for (const pair of pairs.filter(isDone)) if (!best.has(pair.setting) || pair.loss < best.get(pair.setting)) best.set(pair.setting, pair.loss);
  return new Set(pairs.filter(pair => isDone(pair) && pair.loss === best.get(pair.setting)));
}

function addTable() {
  const part = section("results", "Results", "Means over seeds, ± standard deviation. Bold: the best mean of a setting. †: no method is better in both score and FLOPs. A click on a heading sorts.");
  const narrow = innerWidth < 700 && pairs.length > 30;
  if (settings.length > 1) {
    const label = add(part, "label", { class: "key" }, "Show "), select = add(label, "select", { id: "filter" });
    add(select, "option", { value: "" }, "all settings");
    settings.forEach((setting, number) => add(select, "option", { value: number }, setting.name));
    if (narrow) select.value = "0";
    select.addEventListener("change", () => fill(select.value === "" ? null : Number(select.value)));
  }
  const columns = resultColumns(), best = bestPairs();
  const table = add(add(part, "div", { class: "scroll tall" }), "table", { class: "data", id: "table" });
  const head = add(add(table, "thead"), "tr"), body = add(table, "tbody");
  let order = pairs.map((_, number) => number).sort((a, b) => pairs[a].setting - pairs[b].setting || byLoss(pairs[a], pairs[b]));
  let only = null, sorted = null;
  columns.forEach((column, number) => {
    const cell = add(head, "th", { scope: "col", class: [column.name ? "name" : "", number === 0 ? "first" : ""].join(" ") });
    add(cell, "button", { type: "button" }, column.head).addEventListener("click", () => {
      const down = sorted?.column === number ? !sorted.down : Boolean(column.high);
      sorted = { column: number, down };
      head.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      order = [...order].sort((a, b) => {
        const [left, right] = [column.key(pairs[a]), column.key(pairs[b])];
        if (!known(left) || !known(right)) return known(left) ? -1 : known(right) ? 1 : 0;  // unknown ones stay below
        const sign = typeof left === "string" ? left.localeCompare(right) : left - right;
        return down ? -sign : sign;
      });
      fill(only);
    });
  });
  function fill(setting) {
    only = setting;
    body.replaceChildren();
    head.querySelectorAll("th").forEach((cell, number) => { cell.hidden = only !== null && Boolean(columns[number].all); });
    const shown = columns.filter(column => only === null || !column.all), first = shown.findIndex(column => !column.name);
    for (const pair of order.map(number => pairs[number]).filter(pair => only === null || pair.setting === only)) {
      const row = add(body, "tr"), done = isDone(pair);
      shown.forEach((column, number) => {
        if (!done && number > first) return;
        if (!done && number === first) { add(row, "td", { class: "words", colspan: shown.length - first }, reasonOf(pair)); return; }
        const kind = [column.name ? "name" : "", number === 0 ? "first" : "", column.best && best.has(pair) ? "best" : ""];
        const cell = add(row, "td", { class: kind.join(" ") }, column.text(pair));
        if (column.std && runsOf(pair) > 1) add(cell, "span", { class: "std" }, ` ± ${show(measureOf(pair), column.std(pair))}`);
        if (column.best && pair.failure) { cell.append(" "); add(cell, "span", { class: "tag bad", title: pair.failure }, "some failed"); }
      });
    }
  }
  fill(narrow ? 0 : null);
}

const reasonOf = pair => pair.failure ? `failed: ${pair.failure}` : "not finished";
const byLoss = (a, b) => isDone(a) && isDone(b) ? byScore(a, b) : Number(isDone(b)) - Number(isDone(a));

function addMap() {
  const part = section("map", "Settings and methods", "The mean score of each pair; a stronger tint is better. Framed: the best of a setting. A click on a cell chooses its setting in the charts below.", "Map");
  const table = add(add(part, "div", { class: "scroll" }), "table", { class: "heat", id: "heat" }), best = bestPairs();
  const head = add(add(table, "thead"), "tr"), turned = settings.length > 6 || innerWidth < 900;
  add(head, "th", { class: "first" });
  for (const setting of settings) add(add(head, "th", { scope: "col", class: turned ? "turned" : "flat" }), "span", {}, setting.name);
  const body = add(table, "tbody");
  const cells = new Map(pairs.map(pair => [`${pair.setting} ${pair.method}`, pair]));
  const ranges = settings.map((setting, number) => {
    const values = pairs.filter(pair => pair.setting === number && isDone(pair)).map(pair => pair.loss);
    return tintRange(values, setting.measure);
  });
  methods.forEach((method, row) => {
    const line = add(body, "tr");
    add(line, "th", { scope: "row", class: "first" }, method);
    settings.forEach((setting, column) => {
      const pair = cells.get(`${column} ${row}`);
      if (!pair) { withTip(add(line, "td", { class: "none" }, "·"), `${setting.name} / ${method}`, [[content.kind === "report" ? "no runs" : "does not apply", ""]]); return; }
      if (!isDone(pair)) { withTip(add(line, "td", { class: "failed" }, "×"), `${setting.name} / ${method}`, [[reasonOf(pair), ""]]); return; }
      const cell = add(line, "td", { class: best.has(pair) ? "top" : "" }, show(setting.measure, pair.objective[0]) + (pair.failure ? "*" : ""));
      const [low, high] = ranges[column];
      tint(cell, high > low ? (high - pair.loss) / (high - low) : 0.5);
      withTip(cell, `${setting.name} / ${method}`, [[`average ${setting.measure.label}`, `${show(setting.measure, pair.objective[0])}${known(pair.objective[1]) ? ` ± ${show(setting.measure, pair.objective[1])}` : ""}`],
        ["runs", String(runsOf(pair))], ["FLOPs", scaled(total(pair))], ...(pair.failure ? [[pair.failure, ""]] : [])]);
      cell.addEventListener("click", () => choose(column));
    });
  });
  const key = add(part, "div", { class: "key" });
  key.append("worse");
  add(key, "span", { class: "ramp", style: RAMP });
  key.append("better");
  if (pairs.some(pair => !isDone(pair))) key.append(" · × no results");
  if (pairs.some(pair => isDone(pair) && pair.failure)) key.append(" · * some seeds failed");
  if (pairs.length < settings.length * methods.length) key.append(content.kind === "report" ? " · empty: no runs" : " · empty: does not apply");
}

function choose(number) {
  const select = document.getElementById("setting");
  if (!select) return;
  select.value = String(number);
  select.dispatchEvent(new Event("change"));
}

function addChips(parent, done, redraw) {
  if (done.length < 2) return;
  const chips = add(parent, "div", { class: "chips" });
  for (const pair of done) {
    const button = add(chips, "button", { type: "button", "aria-pressed": String(!hidden.has(pair.method)) });
    const icon = add(button, "svg", { viewBox: "0 0 22 10", "aria-hidden": "true" });
    add(icon, "line", { x1: 0, x2: 22, y1: 5, y2: 5, "stroke-width": 2.4, "stroke-dasharray": dash(pair.method), style: `stroke:${hidden.has(pair.method) ? "var(--muted-line)" : colour(pair.method)}` });
    button.append(methods[pair.method]);
    button.addEventListener("click", () => {
      if (!hidden.delete(pair.method)) hidden.add(pair.method);
      redraw();
    });
  }
}
