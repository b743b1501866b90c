"""The results of a sweep: its best trial, its Pareto front and its cost; `sweep.json`, and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from redwood.core.files import write_json
from redwood.core.schema import Json
from redwood.engine.names import short_name
from redwood.engine.terminal import NOT_DEFINED, new_table, scaled
from redwood.experiments.launchers.plan import FOUND
from redwood.experiments.sweeps.plan import FLOPS, HELD_OUT, SCORE, SweepPlan
from redwood.experiments.sweeps.space import Choices, Range, Space, show_values
from redwood.experiments.sweeps.study import COMPLETE, FAILED, PRUNED, Tried
from redwood.settings.scores.cost import TuningCost
from redwood.settings.scores.measure import RETURN
from redwood.settings.scores.pareto import front

_SHOWN = 10  # trials in the table


@dataclass(frozen=True)
class Summary:
    """The trials of a sweep that is over, or so far.

    Attributes:
        plan: The sweep.
        trials: All trials.
        importances: For each objective, how much each option decides of it.
    """

    plan: SweepPlan
    trials: Sequence[Tried]
    importances: Sequence[Mapping[str, float]]

    @property
    def ranked(self) -> list[Tried]:
        """The complete trials, the best score first; of equal ones that with fewer FLOPs, then the earlier one."""
        sign = 1.0 if self.plan.lower_is_better else -1.0
        complete = [tried for tried in self.trials if tried.ending.state == COMPLETE]
        return sorted(complete, key=lambda tried: (sign * tried.ending.values[0], tried.ending.flops, tried.number))

    @property
    def best(self) -> Tried | None:
        """The trial with the best score; None if none is complete."""
        return next(iter(self.ranked), None)

    @property
    def alike(self) -> list[Tried]:
        """The other complete trials with the score of the best one."""
        return [tried for tried in self.ranked[1:] if tried.ending.values[0] == self.ranked[0].ending.values[0]]

    @property
    def front(self) -> list[Tried]:
        """Of two objectives, the complete trials that no other one beats in one without losing in the other one."""
        if len(self.plan.objectives) == 1:
            return []
        sign = 1.0 if self.plan.lower_is_better else -1.0
        points = [(sign * tried.ending.values[0], tried.ending.values[1]) for tried in self.ranked]
        return [self.ranked[index] for index in front(points)]

    @property
    def cost(self) -> TuningCost:
        """The total cost of all trials."""
        endings = [tried.ending for tried in self.trials]
        flops, seconds = sum(ending.flops for ending in endings), sum(ending.seconds for ending in endings)
        return TuningCost(len(endings), flops, seconds)

    def count(self, state: str) -> int:
        """Return the number of trials that ended in a state."""
        return sum(tried.ending.state == state for tried in self.trials)

    def save(self) -> None:
        """Write `sweep.json`."""
        plan, best = self.plan, self.best
        content: dict[str, object] = {
            "setting": plan.pair.setting,
            "method": plan.pair.method,
            "protocol": plan.protocol,
            "phases": plan.phases,
            "objectives": plan.objectives,
            "directions": plan.directions,
            "measure": plan.measure,
            "scored_on": where_scored(plan),
            "validation": plan.validation,
            "space": plan.space,
            "arguments": plan.arguments,
            "seeds": plan.n_seeds,
            "class_orders": plan.n_orders,
            "n_trials": plan.n_trials,
            "cost": self.cost._asdict(),
            "best": None if best is None else _entry(best),
            "pareto_front": [tried.number for tried in self.front],
            "importances": dict(zip(plan.objectives, map(dict, self.importances), strict=True)),
            "trials": [_entry(tried) for tried in self.trials],
        }
        write_json(plan.folder / FOUND, content)

    def print(self, console: Console) -> None:
        """Print the best trials, the importances of the options, and what the sweep has cost."""
        plan = self.plan
        if self.ranked:
            self._print_trials(console)
        if self.front:
            numbers = ", ".join(str(tried.number) for tried in sorted(self.front, key=lambda one: one.number))
            console.print(Text(f"Pareto front of {plan.score.name} and FLOPs: trials {numbers}"), soft_wrap=True)
        for objective, importances in zip(plan.objectives, self.importances, strict=True):
            if len(importances) > 1:
                name = plan.score.name if objective == SCORE else "FLOPs"
                shares = ", ".join(f"{option} {share:.0%}" for option, share in importances.items())
                console.print(Text(f"what decides the {name}: {shares}"), soft_wrap=True)
        cost = self.cost
        ends = [f"{self.count(PRUNED)} ended early", f"{self.count(FAILED)} failed"]
        told = f"{cost.trials} trials ({', '.join(ends)}) took {cost.seconds:.0f} s and {scaled(cost.flops, 'FLOPs')}"
        console.print(Text(told), soft_wrap=True)
        console.print()

    def draw(self, best: Tried, space: Space) -> None:
        """Draw the complete trials into `sweep.png` and `sweep.svg`."""
        from redwood.engine.figures.sweep import Point, plot_sweep  # matplotlib is for the end

        plan = self.plan
        ranked = sorted(self.ranked, key=lambda tried: tried.number)
        plot_sweep(
            [Point(tried.number, tried.parameters, tried.ending.values[0]) for tried in ranked],
            best.number,
            plan.score,
            plan.folder / "sweep",
            on_logs=[name for name, parameter in space.items() if isinstance(parameter, Range) and parameter.log],
            choices={name: parameter.values for name, parameter in space.items() if isinstance(parameter, Choices)},
            lower_is_better=plan.lower_is_better,
            title=f"average {plan.score.name} {where_scored(plan)}\n{' · '.join(_names(plan))}",
        )

    def _print_trials(self, console: Console) -> None:
        plan, measure = self.plan, self.plan.score
        names = list(plan.space)
        table = new_table(f"best trials, average {measure.label} {where_scored(plan)}", padding=1)
        for column in ("trial", measure.name, *names, "FLOPs", "s"):
            table.add_column(column, justify="right")
        for tried in self.ranked[:_SHOWN]:
            parameters = [show_values({"": tried.parameters[name]}).lstrip("=") for name in names]
            flops = scaled(tried.ending.flops, "").replace(" ", "") if tried.ending.flops else NOT_DEFINED
            cells = [str(tried.number), measure.show(tried.ending.values[0]), *parameters, flops]
            table.add_row(*map(Text, [*cells, f"{tried.ending.seconds:.1f}"]))
        console.print(table)
        console.print()


def _names(plan: SweepPlan) -> tuple[str, str]:
    """The short names of the setting and the method."""
    return short_name(plan.pair.setting), short_name(plan.pair.method)


def where_scored(plan: SweepPlan) -> str:
    """Return in words the data that trials are scored on."""
    return "in training" if plan.score is RETURN else "on held-out samples"


def _entry(tried: Tried) -> Json:
    ending = tried.ending
    return {
        "number": tried.number,
        "parameters": dict(tried.parameters),
        "state": ending.state,
        "values": list(ending.values),
        "curve": list(ending.curve),
        "seconds": ending.seconds,
        "flops": ending.flops,
        "reason": ending.reason,
    }


def announce(plan: SweepPlan, console: Console, *, has_defaults: bool) -> None:
    """Say how the options are chosen, before the first trial.

    Args:
        plan: The sweep.
        console: Where to print.
        has_defaults: Whether the first trial has the defaults; else these are outside of the space.
    """
    tuning = "all tasks" if plan.protocol == "all_tasks" else f"the first {plan.phases} tasks, then kept"
    by = f"average {plan.score.name} {where_scored(plan)}" + (" and by FLOPs" if FLOPS in plan.objectives else "")
    lines = [
        f"sweep of {' / '.join(_names(plan))}: {plan.n_trials} trials of {', '.join(plan.space)}, "
        f"{plan.in_round} chosen at a time",
        f"options are chosen on {tuning}, by the {by}; no trial is tested",
    ]
    lines.append(
        "trial 0 has the defaults" if has_defaults else "no trial has the defaults: they are not in this space"
    )
    if plan.score is RETURN:
        lines.append("no episodes are held out in environments: the return in training counts, exploration included")
    if plan.validation is not None:
        lines.append(f"each trial holds out {HELD_OUT:.0%} of its training samples; --validation sets another share")
    for line in lines:
        console.print(Text(line), soft_wrap=True)
