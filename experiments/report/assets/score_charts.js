// Curves, the Pareto front, and intervals with verdicts, of the chosen setting.
const MOST_COLOURED = 12;

function addCurves() {
  const has = {
    curve: pair => pair.curve?.length > 1, online: pair => pair.online, return: pair => pair.tests?.return, success: pair => pair.tests?.success,
  };
  const kinds = [["curve", "after each task"], ["online", "before learning"], ["return", "return in tests"], ["success", "success in tests"]].filter(([name]) => pairs.some(has[name]));
  if (!kinds.length) return;
  const part = section("curves", "Curves", "The average on the tasks so far after each task, or the score on new samples before they are learned; with --eval_every, the tests of all tasks over the steps. Point at a chart to read it; a click on a name hides its line.");
  let kind = kinds[0][0];
  const tabs = kinds.length > 1 ? add(part, "div", { class: "tabs" }) : null;
  const again = following(part, (body, setting, done, redraw) => {
    const shown = done.filter(has[kind]).sort(byScore);
    if (!shown.length) return false;
    if (kind === "return" || kind === "success") return addTests(body, setting, shown, kind, redraw);
    const area = add(body, "div"), few = shown.length <= MOST_COLOURED;
    const quiet = new Set(few ? [] : shown.slice(8).map(pair => pair.method));
    chart(area, `${setting.name}: ${kind} of ${shown.length} methods`, (figure, width) => {
      const lines = shown.filter(pair => !hidden.has(pair.method)).map(pair => lineOf(pair, kind, quiet)).reverse();
      const ends = line => line.points.flatMap(([, value], i) => known(value) ? [value - (line.spread?.[i] ?? 0), value + (line.spread?.[i] ?? 0)] : []);
      const values = lines.flatMap(ends);
      const [low, high] = limits(values, setting.measure), last = Math.max(1, ...lines.flatMap(line => line.points.map(([at]) => at)));
      const online = kind === "online", measure = setting.measure;
      const tasks = setting.tasks?.length ? setting.tasks : null;
      const x = online ? { low: 0, high: last, label: `${measure.samples} seen`, text: value => scaled(value), name: value => `after ${Math.round(value)} ${measure.samples}` }
        : { low: 0, high: last, label: `after ${setting.phase_name}`, ticks: linearTicks(0, last, Math.min(12, last)).filter(Number.isInteger), name: value => `after ${setting.phase_name} ${tasks?.[value] ?? value}` };
      const y = { low, high, label: online ? measure.online_label : `average ${measure.label}`, text: value => show(measure, value, { decimals: measure.unit === "%" ? 0 : Math.min(measure.decimals, 2) }) };
      lineChart(figure, width, lines, x, y, measure);
    });
    addChips(body, shown, redraw);
    if (!few) add(body, "p", { class: "lead" }, "The eight best are coloured; all others are grey.");
  });
  for (const [name, text] of tabs ? kinds : []) {
    const button = add(tabs, "button", { type: "button", "aria-pressed": String(name === kind) }, text);
    button.addEventListener("click", () => {
      kind = name;
      tabs.querySelectorAll("button").forEach(other => other.setAttribute("aria-pressed", String(other === button)));
      again();
    });
  }
}

// Tests of all tasks inside phases, over the steps: their mean, and below it a chart for each task.
function addTests(body, setting, shown, kind, redraw) {
  const measure = kind === "success" ? content.success : setting.measure, visible = shown.filter(pair => !hidden.has(pair.method));
  const last = Math.max(1, ...shown.flatMap(pair => pair.tests.steps));
  const draw = (parent, label, valuesOf, spreadOf) => chart(parent, `${setting.name}: ${label}`, (figure, width) => {
    const lines = visible.map(pair => ({ method: pair.method, label: methods[pair.method], spread: spreadOf(pair), points: pair.tests.steps.map((at, i) => [at, valuesOf(pair)[i]]) })).reverse();
    const [low, high] = limits(visible.flatMap(pair => [...pair.tests[kind].mean, ...pair.tests[kind].tasks.flat()]).filter(known), measure);
    const x = { low: 0, high: last, label: "environment steps", text: value => scaled(value), name: value => `after ${value} steps` };
    lineChart(figure, width, lines, x, { low, high, label, text: value => show(measure, value, { decimals: 0 }) }, measure);
  });
  draw(add(body, "div"), `mean ${measure.label}`, pair => pair.tests[kind].mean, pair => pair.tests[kind].spread);
  addChips(body, shown, redraw);
  const tasks = Math.max(...shown.map(pair => pair.tests[kind].tasks.length));
  const grid = add(body, "div", { class: "grid-of wide" });
  for (let task = 0; tasks > 1 && task < tasks; task++)
    draw(add(grid, "div"), `${measure.label} on task ${setting.tasks?.[task] ?? task}`, pair => pair.tests[kind].tasks[task] ?? [], () => null);
  return true;
}

function lineOf(pair, kind, quiet) {
  const points = kind === "online" ? pair.online[0].map((at, i) => [at, pair.online[1][i]]) : pair.curve.map((value, at) => [at, value]);
  return { method: pair.method, label: methods[pair.method], points, spread: kind === "curve" ? pair.spread : null, quiet: quiet.has(pair.method) };
}

function addFront() {
  if (!settings.some((_, number) => pairs.filter(pair => pair.setting === number && isDone(pair) && spent(pair) > 0).length > 1)) return;
  const part = section("pareto", "Score against compute", "Error, or what stands for it, against the FLOPs of the whole run, for all uses, and of the trials that chose its options. No method is better in both than those on the line, the Pareto front.", "Compute");
  following(part, (body, setting, done) => {
    const counted = done.filter(pair => spent(pair) > 0), measure = setting.measure;
    if (counted.length < 2) return false;
    const value = pair => measure.unit === "%" ? 1 - pair.objective[0] : pair.objective[0];
    const isReturn = measure.unit !== "%" && !measure.lower;
    chart(body, `${setting.name}: error against FLOPs`, (figure, width) => {
      const shown = counted.filter(pair => !hidden.has(pair.method));
      if (!shown.length) return;
      const costs = shown.map(spent), height = Math.max(260, Math.min(420, width * 0.45));
      const values = shown.map(value), low = Math.min(...values), high = Math.max(...values), room = Math.max((high - low || Math.abs(high) || 1) * 0.12, measure.unit === "%" ? 0.01 : 0);
      const y = { low: measure.unit === "%" ? Math.max(0, low - room) : low - room, high: high + room, text: v => show(measure, v, { decimals: measure.unit === "%" ? (high - low < 0.08 ? 1 : 0) : measure.decimals }),
        label: measure.unit === "%" ? `error (${measure.unit})` : `average ${measure.label}` };
      const x = { low: Math.min(...costs) / 1.4, high: Math.max(...costs) * 1.4, log: true, label: counted.some(pair => known(pair.tuning)) ? "total FLOPs, with tuning" : "total FLOPs", text: v => scaled(v).replace(/\.0+(?= |$)/, "").replace(/(\.\d*[1-9])0+(?= |$)/, "$1") };
      const frame = axes(figure, width, height, x, y);
      const front = shown.filter(pair => pair.front).sort((a, b) => spent(a) - spent(b));
      let line = "";
      front.forEach((pair, place) => {
        const [px, py] = [frame.X(spent(pair)), frame.Y(value(pair))];
        line += place ? `H${px}V${py}` : `M${px} ${py}`;
      });
      if (front.length) add(frame.svg, "path", { d: `${line}H${frame.right}`, fill: "none", class: "axis", "stroke-width": 1.4 });
      const marks = shown.map(pair => {
        const [px, py] = [frame.X(spent(pair)), frame.Y(value(pair))];
        const shape = mark(frame.svg, pair.method, px, py, pair.front ? 6.5 : 5);
        withTip(shape, methods[pair.method], [[isReturn || measure.unit !== "%" ? measure.label : y.label, show(measure, value(pair))], ["FLOPs", scaled(total(pair))], ...(known(pair.tuning) ? [["FLOPs of tuning", scaled(pair.tuning)]] : []), ["seconds", seconds(pair.cost.wall_time_s)], ...(pair.front ? [["on the Pareto front", ""]] : [])]);
        return { x: px, y: py, name: methods[pair.method], front: pair.front };
      });
      nameMarks(frame.svg, marks.sort((a, b) => Number(b.front) - Number(a.front)).slice(0, width < 500 ? 10 : 24), frame);
    });
    const volume = content.hypervolume[String(chosen)], free = done.filter(pair => spent(pair) === 0).map(pair => methods[pair.method]);
    const unit = measure.unit === "%" ? "error from 0 to 1" : measure.label;
    const texts = [known(volume) ? `Hypervolume ${volume.toPrecision(4)}, in decades of FLOPs times ${unit}.` : "", free.length ? `Without counted FLOPs, and not drawn: ${free.join(", ")}.` : ""].filter(Boolean);
    if (texts.length) add(body, "p", { class: "key" }, texts.join(" "));
  });
}

function addSignificance() {
  if (!pairs.some(pair => isDone(pair) && runsOf(pair) > 1)) return;
  const tested = pairs.some(pair => pair.mark);
  const part = section("significance", tested ? "Significance" : "Scores by seed",
    "Small dots: single runs. Large dots: means, with the interval that covers the mean with a probability of 95 %. Methods are compared by paired permutation tests with Holm's correction.", tested ? "Significance" : "Seeds");
  following(part, (body, setting, done) => {
    const sorted = [...done].sort(byScore);
    if (!sorted.length) return false;
    const inks = { best: "var(--strong)", similar: "var(--c2)", worse: "var(--bad)" };
    const rows = sorted.map(pair => ({
      name: methods[pair.method], value: pair.objective[0], low: pair.interval?.[0] ?? null, high: pair.interval?.[1] ?? null, points: pair.objectives ?? [],
      ink: inks[pair.mark] ?? "var(--faint)", note: readingOf(pair),
    }));
    chart(body, `${setting.name}: scores with intervals`, (figure, width) => intervalChart(figure, width, rows, setting.measure, `average ${setting.measure.label}`));
    const key = add(body, "div", { class: "key" });
    for (const name of ["best", "similar", "worse"].filter(name => done.some(pair => pair.mark === name))) {
      add(key, "span", { style: `display:inline-block;width:14px;height:4px;border-radius:2px;background:${inks[name]}` });
      key.append(MARK_TEXTS[name]);
    }
    if (setting.test?.note) add(body, "p", { class: "key" }, `${setting.test.note}.`);
  });
}

function readingOf(pair) {
  const measure = measureOf(pair), rows = [[`average ${measure.label}`, show(measure, pair.objective[0])]];
  if (pair.interval) rows.push(["interval", `${show(measure, pair.interval[0])} to ${show(measure, pair.interval[1])}`]);
  if (pair.mark) rows.push([MARK_TEXTS[pair.mark], known(pair.p) ? `p = ${pair.p.toPrecision(2)}` : ""]);
  return [...rows, [seedsOf(pair).length > 1 ? "seeds" : "seed", seedsOf(pair).join(", ")]];
}
