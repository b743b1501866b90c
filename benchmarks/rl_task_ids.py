"""Whether agents that are told the task gain from it: CartPole, and then CartPole with a reversed motor.

No policy balances both poles: the same push moves the carts to opposite sides. Under `incremental_rl` an agent cannot
know which cart it pushes. Under `task_incremental_rl` it gets the task as a one-hot input, or has a head per task. All
keep the weights of the first task by EWC. Seeds are the same for all three; a gain is the mean of the differences,
beside its standard error. Options were chosen on seed 9.

Run: OMP_NUM_THREADS=1 python benchmarks/rl_task_ids.py. Writes benchmarks/results/rl_task_ids.*.
"""

import time
from statistics import mean, stdev
from typing import Any

from clocked import RUN_OPTIONS, use_one_thread
from common import environment, markdown_table, write

from redwood.methods import get_method
from redwood.settings import get_setting

SEEDS = range(5)
SETTING = {"tasks": ["default", "force_mag=-10"], "steps_per_task": 6_144, "test_episodes": 10}
METHOD = "ppo+ewc"
AGENT = {"n_steps": 256, "n_epochs": 6, "learning_rate": 1.5e-3, "ewc_lambda": 1000.0}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "no id": ("incremental_rl", {}),
    "one-hot input": ("task_incremental_rl", {"task_input": "one_hot"}),
    "head per task": ("task_incremental_rl", {"task_input": "heads"}),
}


def run(variant: str, seed: int) -> dict[str, Any]:
    """The return matrix of one variant and seed."""
    setting_name, options = VARIANTS[variant]
    setting: Any = get_setting(setting_name)(seed=seed, **SETTING)
    began = time.process_time()
    results = setting.apply(get_method(METHOD)(**AGENT, **options), **RUN_OPTIONS)
    print(variant, seed, [[round(value) for value in row] for row in results.return_matrix], flush=True)
    return {
        "returns": results.return_matrix,
        "average_return": results.objective,
        "forgetting": results.metrics["forgetting"],
        "cpu_time_s": time.process_time() - began,
    }


def row_of(variant: str, raw: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """A line of the table."""
    runs, base = raw[variant], raw["no id"]
    final = [mean(one["returns"][-1][task] for one in runs) for task in range(2)]
    gains = [one["average_return"] - other["average_return"] for one, other in zip(runs, base, strict=True)]
    error = stdev(gains) / len(gains) ** 0.5
    verdict = "reached" if mean(gains) > 2 * error else "missed"
    return {
        "networks get": variant,
        "setting": VARIANTS[variant][0],
        "average final return": f"{mean(one['average_return'] for one in runs):.0f}",
        "on task 0, 1": ", ".join(f"{value:.0f}" for value in final),
        "forgetting": f"{mean(one['forgetting'] for one in runs):.0f}",
        "gain (standard error; bar: 2)": "" if runs is base else f"{mean(gains):+.0f} ({error:.0f}; {verdict})",
    }


def main() -> None:
    use_one_thread()
    raw: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
    for seed in SEEDS:
        for variant, runs in raw.items():
            runs.append(run(variant, seed))
    cpu = sum(one["cpu_time_s"] for runs in raw.values() for one in runs)
    text = "\n\n".join(
        [
            f"{METHOD} ({AGENT}) on two contradicting CartPole tasks, {SETTING['steps_per_task']:,} steps each, "
            f"{len(SEEDS)} seeds, {cpu:.0f} s of one core:",
            markdown_table([row_of(variant, raw) for variant in VARIANTS]),
        ]
    )
    print(text)
    write("rl_task_ids", {**environment(), "setting": SETTING, "method": METHOD, "agent": AGENT, "runs": raw}, text)


if __name__ == "__main__":
    main()
