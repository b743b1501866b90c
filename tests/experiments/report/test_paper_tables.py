import re

import pytest

from redwood.engine.pair_results import PairResults
from redwood.experiments.report.paper_tables import TABLES, latex, markdown
from redwood.settings.scores.results import RegressionResults, Results


def row(method, scores, setting="class_incremental", kind=Results, **more):
    runs = [
        kind(setting=setting, method=method, dataset="d", seed=seed, num_phases=2, accuracy_matrix=[[0.9, 0.1], [s, s]])
        for seed, s in enumerate(scores)
    ]
    return PairResults(setting, method, runs, **more)


ROWS = [
    row("a_b", [0.5 + 0.01 * seed for seed in range(9)]),
    row("c|d", [0.5 + 0.01 * seed + 0.002 * (-1) ** seed - 0.001 for seed in range(9)]),
    row("worse", [0.2 + 0.02 * seed for seed in range(9)]),
]


def test_latex():
    text = latex(ROWS)
    lines = {line.split(" & ")[0]: line for line in text.splitlines() if " & " in line}
    assert lines["a\\_b"].startswith("a\\_b & \\textbf{54.0 $\\pm$ 2.7} & 51.9 to 56.1 & ")
    assert lines["c|d"].startswith("c|d & \\underline{53.9 $\\pm$ 2.7} & ")
    assert lines["worse"].startswith("worse & 28.0 $\\pm$ 5.5 & ")
    assert "$-$36.0" in lines["a\\_b"] and "accuracy (\\%)" in lines["method"]
    assert len({line.count(" & ") for line in lines.values()}) == 1
    assert "of 9 seeds" in text and "underlined: not distinguishable from the best" in text
    assert text.count("\\begin") == text.count("\\end") == 2


def test_every_special_character_is_escaped():
    text = latex([row("a#b_c%{}~^\\", [0.5]), row("b", [0.25])])
    assert "a\\#b\\_c\\%\\{\\}\\textasciitilde{}\\^{}\\textbackslash{} &" in text


def test_markdown():
    lines = markdown(ROWS).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert table[2].startswith("| a_b | **54.0 ± 2.7** | 51.9 to 56.1 |")
    assert table[3].startswith("| c\\|d | *53.9 ± 2.7* |")
    assert table[4].startswith("| worse | 28.0 ± 5.5 |")


def test_a_column_for_each_setting():
    rows = [row("a", [0.5], "s"), row("b", [0.4], "s"), row("b", [0.3], "t"), PairResults("t", "c", failure="no")]
    text = markdown(rows)
    assert "| method | s | t |" in text
    assert "| a | **50.0** | -- |" in text and "| b | 40.0 | 30.0 |" in text and "| c | -- | failed |" in text
    assert "<!-- 1 seed cannot tell methods apart; use at least 6 -->" in text[text.index("Bold") :]


def test_advice_to_the_author_is_not_in_the_caption():
    lines = latex([row("a", [0.5]), row("b", [0.4])]).splitlines()
    (caption,) = [line for line in lines if line.startswith("\\caption")]
    assert caption.endswith("Bold: best mean, as rounded.}") and "seed" not in caption
    assert "% 1 seed cannot tell methods apart; use at least 6" in lines


def test_errors_are_best_where_least():
    rows = [row("a", [5.0] * 2, kind=RegressionResults), row("b", [4.0] * 2, kind=RegressionResults)]
    assert "**4.000 ± 0.000**" in markdown(rows)


def test_one_metric_alone():
    rows = [*ROWS[1:], row("worse", [0.25], "t"), PairResults("t", "b", failure="no")]
    lines = markdown(rows, ["forgetting"]).splitlines()
    assert lines[:3:2] == ["Forgetting (%) under each setting:", "| method | class_incremental | t |"]
    assert "| worse | 62.0 ± 5.5 | 65.0 |" in lines and "| b | -- | failed |" in lines
    assert "| c\\|d | **36.1 ± 2.7** | -- |" in lines, "the least forgetting is the best"
    assert "worse & 62.0 $\\pm$ 5.5 & 65.0 \\\\" in latex(rows, ["forgetting"]).splitlines()


def test_several_metrics_are_columns_under_one_setting_and_tables_under_several():
    lines = markdown(ROWS, ["average_accuracy", "forgetting"]).splitlines()
    assert "| method | Average accuracy (%) | Forgetting (%) |" in lines
    assert "| a_b | **54.0 ± 2.7** | **36.0 ± 2.7** |" in lines and "| worse | 28.0 ± 5.5 | 62.0 ± 5.5 |" in lines
    caption = "Average accuracy (%) and forgetting (%) under class_incremental. Mean and standard"
    assert caption.replace("%", "\\%").replace("_", "\\_") in latex(ROWS, ["average_accuracy", "forgetting"])
    three = markdown(ROWS, ["average_accuracy", "forgetting", "backward_transfer"])
    assert three.startswith("Average accuracy (%), forgetting (%) and backward transfer (%) under class_incremental:")
    text = latex([row("a", [0.5], "s"), row("a", [0.4], "t")], ["average_accuracy", "forgetting"])
    assert text.count("\\begin{table}") == 2 and text.count("method & s & t") == 2


def test_means_that_print_alike_are_marked_alike():
    text = markdown([row("a", [0.50004]), row("b", [0.5]), row("c", [0.498])])
    assert "| a | **50.0** |" in text and "| b | **50.0** |" in text and "| c | 49.8 |" in text


def test_one_metric_under_one_setting_has_its_interval_and_what_cannot_be_told_from_the_best():
    lines = markdown(ROWS, ["backward_transfer"]).splitlines()
    assert "| method | Backward transfer (%) | 95 % interval |" in lines
    assert "| a_b | **-36.0 ± 2.7** | -38.1 to -33.9 |" in lines
    assert any(line.startswith("| c\\|d | *-36.1 ± 2.7* |") for line in lines)
    assert any(line.startswith("| worse | -62.0 ± 5.5 |") for line in lines)


def test_one_metric_under_several_settings_has_the_intervals_of_each():
    lines = markdown([*ROWS, row("worse", [0.25, 0.26], "t"), PairResults("u", "b")], ["forgetting"]).splitlines()
    titles = ["Forgetting (%) under class_incremental:", "Forgetting (%) under t:"]
    assert [line for line in lines if line.endswith(":") and "each" not in line and "|" not in line] == titles
    assert "| a_b | **36.0 ± 2.7** | 33.9 to 38.1 |" in lines


def test_some_seeds_failed():
    assert "50.0*" in markdown([row("a", [0.5], failure="seed 1: no")])


@pytest.mark.parametrize("kind", TABLES)
def test_nothing_succeeded(kind):
    assert "No run has results" in TABLES[kind].make([PairResults("s", "a", failure="no")], [])
