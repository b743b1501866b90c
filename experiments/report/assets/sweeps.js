// Sweeps: what decides the score, the score against each option, and the trials.
const MOST_TRIALS = 100;

function addSweep(sweep, number) {
  const several = content.sweeps.length > 1, states = ["complete", "pruned", "failed", "running"];
  const counts = states.map(state => [state, sweep.trials.filter(trial => trial.state === state).length]).filter(([, count]) => count);
  const chosenOn = sweep.protocol === "all_tasks" ? "all tasks" : `the first ${sweep.phases} tasks, then kept`;
  const part = section(`sweep-${number}`, several ? `Tuning of ${sweep.pair}` : "Tuning",
    `${sweep.trials.length} trials (${counts.map(([state, count]) => `${count} ${state === "pruned" ? "ended early" : state}`).join(", ")}) of ${Object.keys(sweep.space).join(", ")}. Options were chosen on ${chosenOn}, by the average ${sweep.measure.label} ${sweep.scored_on}; no trial was tested. Together they took ${seconds(sweep.cost.seconds ?? null)} and ${scaled(sweep.cost.flops ?? null)}FLOPs.`);
  const lower = sweep.directions[0] === "minimize", done = sweep.trials.filter(trial => trial.state === "complete" && known(trial.values[0]));
  addImportances(part, sweep);
  if (done.length) {
    const grid = add(part, "div", { class: "grid-of wide" });
    for (const option of Object.keys(sweep.space)) addOption(add(grid, "div"), sweep, done, option);
    if (sweep.objectives.length > 1) addOption(add(grid, "div"), sweep, done, null);
  }
  addTrials(part, sweep, [...done].sort((a, b) => (a.values[0] - b.values[0]) * (lower ? 1 : -1)));
}

function addImportances(part, sweep) {
  const found = Object.entries(sweep.importances).filter(([, shares]) => Object.keys(shares).length);
  for (const [objective, shares] of found) {
    add(part, "h3", {}, `What decides the ${objective === "flops" ? "FLOPs" : "score"}`);
    const table = add(add(part, "div", { class: "scroll" }), "table"), body = add(table, "tbody");
    for (const [option, share] of Object.entries(shares).sort((a, b) => b[1] - a[1])) {
      const row = add(body, "tr");
      add(row, "th", { scope: "row" }, option);
      add(add(add(row, "td"), "div", { class: "bar" }), "i", { style: `width:${100 * share}%;background:var(--c0)` });
      add(row, "td", {}, `${(100 * share).toFixed(0)} %`);
    }
  }
}

// The score of each complete trial against the value of an option; against its FLOPs without one.
function addOption(parent, sweep, done, option) {
  const raw = trial => option === null ? trial.flops : trial.parameters[option];
  const numeric = done.every(trial => typeof raw(trial) === "number");
  const written = [sweep.space[option] ?? []].flat().flatMap(value => String(value).split(",")).map(value => value.trim());
  const kinds = numeric ? [] : [...new Set(done.map(trial => String(raw(trial))))].sort((a, b) => written.indexOf(a) - written.indexOf(b));
  const at = trial => numeric ? raw(trial) : kinds.indexOf(String(raw(trial)));
  const values = done.map(trial => trial.values[0]), places = done.map(at);
  const log = numeric && Math.min(...places) > 0 && (option === null || /^(int)?log:|^log/.test(String(sweep.space[option])));
  const y = span(values, false), x = numeric ? span(places, log) : { low: -0.5, high: kinds.length - 0.5, ticks: kinds.map((_, place) => place) };
  const name = option ?? "FLOPs", text = value => show(sweep.measure, value), plain = value => option === null ? scaled(value) : String(Number(value.toPrecision(3)));
  chart(parent, `${name} and score`, (figure, width) => {
    const frame = axes(figure, width, 230, { ...x, log, label: name, text: value => numeric ? plain(value) : kinds[value].slice(-Math.max(4, Math.floor(width / kinds.length / 8))) }, { ...y, label: sweep.measure.label, text });
    for (const trial of done) {
      const best = trial.number === sweep.best || (option === null && sweep.pareto_front.includes(trial.number));
      const dot = add(frame.svg, "circle", { cx: frame.X(at(trial)), cy: frame.Y(trial.values[0]), r: best ? 6 : 4, style: `fill:var(--${best ? "c1" : "c0"});stroke:var(--back)`, "fill-opacity": best ? 1 : 0.65 });
      withTip(dot, `trial ${trial.number}${trial.number === sweep.best ? ", the best" : ""}`, readTrial(sweep, trial));
    }
  });
}

function span(values, log) {
  let low = Math.min(...values), high = Math.max(...values);
  if (log) return { low: low / 1.25, high: high * 1.25 };
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return { low: low - room, high: high + room };
}

const valueText = value => typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);
const readTrial = (sweep, trial) => [
  [sweep.measure.label, show(sweep.measure, trial.values[0])], ...Object.entries(trial.parameters).map(([name, value]) => [name, valueText(value)]),
  ["FLOPs", scaled(trial.flops)], ["time", seconds(trial.seconds)],
];

function addTrials(part, sweep, ranked) {
  const others = sweep.trials.filter(trial => !ranked.includes(trial)), options = Object.keys(sweep.space);
  add(part, "h3", { style: "margin-top:14px" }, ranked.length + others.length > MOST_TRIALS ? `The first ${MOST_TRIALS} trials, best first` : "Trials, best first");
  const table = add(add(part, "div", { class: "scroll tall" }), "table", { class: "data" }), head = add(add(table, "thead"), "tr"), body = add(table, "tbody");
  for (const name of ["trial", sweep.measure.label, ...options, "FLOPs", "time"]) add(head, "th", { scope: "col" }, name);
  for (const trial of [...ranked, ...others].slice(0, MOST_TRIALS)) {
    const row = add(body, "tr"), done = trial.state === "complete";
    add(row, "td", {}, String(trial.number));
    add(row, "td", { class: trial.number === sweep.best ? "best" : "", title: trial.reason || null }, done ? show(sweep.measure, trial.values[0]) : trial.state === "pruned" ? "ended early" : trial.state);
    for (const option of options) add(row, "td", {}, known(trial.parameters[option]) ? valueText(trial.parameters[option]) : "–");
    add(row, "td", {}, scaled(trial.flops));
    add(row, "td", {}, seconds(trial.seconds));
  }
}
