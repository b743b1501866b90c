"""Which runs are joined, and how pairs of one name are told apart."""

from redwood.experiments.report.entries import entries_of
from redwood.experiments.reporting import read_source
from tests.experiments.report.made import made_comparison, made_results, made_run


def entries(*folders):
    return entries_of([read_source(folder) for folder in folders])


def labels(found):
    return [(entry.setting, entry.method, [run.results.seed for run in entry.runs]) for entry in found]


def test_other_seeds_are_joined(tmp_path):
    folders = [made_comparison(tmp_path / str(first), ["s"], ["a", "b"], 2, first=first) for first in (0, 2)]
    found, notes = entries(*folders)
    assert labels(found) == [("s", "a", [0, 1, 2, 3]), ("s", "b", [0, 1, 2, 3])]
    assert notes == []


def test_equal_runs_count_once(tmp_path):
    first = made_comparison(tmp_path / "one", ["s"], ["a"], 2)
    second = made_comparison(tmp_path / "two", ["s"], ["a"], 3)
    found, notes = entries(first, second)
    assert labels(found) == [("s", "a", [0, 1, 2])]
    assert notes == ["Runs with equal options and results count once: s / a."]


def test_other_results_of_the_same_seed_are_kept_apart(tmp_path):
    folders = [
        made_comparison(tmp_path / name, ["s"], ["a"], 2, phases=phases) for name, phases in (("one", 2), ("two", 3))
    ]
    found, notes = entries(*folders)
    assert labels(found) == [("s", "a [one]", [0, 1]), ("s", "a [two]", [0, 1])]
    assert len(notes) == 1 and "one" in notes[0] and "two" in notes[0] and notes[0].endswith("kept apart.")


def test_folders_of_one_name(tmp_path):
    folders = [
        made_comparison(tmp_path / name / "runs", ["s"], ["a"], 1, phases=len(name) + at)
        for at, name in enumerate(("one", "two"))
    ]
    assert [entry.method for entry in entries(*folders)[0]] == [f"a [{folder}]" for folder in folders]


def test_other_options_are_kept_apart(tmp_path):
    folders = [
        made_run(tmp_path / str(lr), made_results("class_incremental", "ewc", seed, lr=lr, nb_tasks=5))
        for seed, lr in enumerate((0.1, 0.2))
    ]
    found, notes = entries(*folders)
    assert [entry.method for entry in found] == ["ewc (lr=0.1)", "ewc (lr=0.2)"]
    assert {entry.setting for entry in found} == {"class_incremental"}
    assert notes == []


def test_options_of_the_setting_stand_with_its_name(tmp_path):
    folders = [
        made_run(tmp_path / str(n), made_results("class_incremental", "ewc", nb_tasks=n, passes=1)) for n in (2, 5)
    ]
    found, _ = entries(*folders)
    assert [entry.setting for entry in found] == ["class_incremental (nb_tasks=2)", "class_incremental (nb_tasks=5)"]
    assert {entry.method for entry in found} == {"ewc"}


def test_what_machines_and_seeds_decide_does_not_matter(tmp_path):
    options = [{"threads": 1, "task_list": [{"name": "x"}]}, {"threads": 4, "task_list": [{"name": "y"}]}]
    folders = [made_run(tmp_path / str(seed), made_results(seed=seed, **own)) for seed, own in enumerate(options)]
    assert labels(entries(*folders)[0]) == [("s", "m", [0, 1])]


def test_an_order_of_classes_matters_if_it_was_chosen(tmp_path):
    folders = [
        made_run(tmp_path / str(seed), made_results(seed=seed, class_order=order))
        for seed, order in enumerate(([0, 1, 2, 3], [3, 2, 1, 0]))
    ]
    assert len(entries(*folders)[0]) == 2


def test_labels_are_distinct(tmp_path):
    first = made_comparison(tmp_path / "one", ["s"], ["a"], 1, lr=0.1)
    second = made_comparison(tmp_path / "two", ["s"], ["a"], 1, lr=0.2)
    third = made_comparison(tmp_path / "three", ["s"], ["a"], 1, lr=0.3)
    (third / "0-seed0" / "results.json").unlink()
    found, _ = entries(first, second, third)
    assert len({(entry.setting, entry.method) for entry in found}) == 3
