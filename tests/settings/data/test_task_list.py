import pytest

from redwood.core.errors import DataError, InvalidOptionError
from redwood.settings.data.task_list import read_task_list, views_of_names
from redwood.settings.data.views import View


def read(tmp_path, text):
    path = tmp_path / "tasks.yaml"
    path.write_text(text)
    return read_task_list(path)


def test_names_of_data_sets():
    assert views_of_names("digits, mnist,digits") == [View("digits"), View("mnist"), View("digits")]
    with pytest.raises(InvalidOptionError, match="--dataset digits, has an empty name between its commas"):
        views_of_names("digits,")


def test_all_keys(tmp_path):
    text = """
- {dataset: digits, classes: [1, 2], transform: rotated, angle: 30, label_order: [1, 0], train_per_class: 5,
   validation_per_class: 2, test_per_class: 3, name: turned, group: digits}
- {dataset: mnist, transform: permuted, seed: 4}
"""
    first, second = read(tmp_path, text)
    assert first == View("digits", (1, 2), "rotated", 0, 30, (1, 0), 5, 2, 3, "turned", None, "digits")
    assert second == View("mnist", transform="permuted", seed=4)
    assert [view.describe() for view in (first, second)] == [
        {"name": "turned", "group": "digits"},
        {"name": "mnist permuted"},
    ]


def test_tasks_are_sorted_by_year_and_keep_their_order_within_a_year(tmp_path):
    years = {"a": 2011, "b": 1998, "c": 2011, "d": 1998}
    text = "\n".join(f"- {{dataset: {name}, year: {year}}}" for name, year in years.items())
    assert [view.dataset for view in read(tmp_path, text)] == ["b", "d", "a", "c"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no list of tasks; start each with '- dataset: NAME'"),
        ("dataset: digits", "holds no list of tasks"),
        ("- digits", "Task 0 of .* is no task: it has to be a mapping"),
        ("- {dataset: digits}\n- {classes: [1]}", "Task 1 of .* is no task: it lacks dataset"),
        ("- {dataset: digits, clases: [1]}", "Task 0 of .* has the unknown key clases; known are dataset, classes,"),
        ("- {dataset: digits, classes: 1}", "it.classes has to be a list, not 1"),
        ("- {dataset: digits, classes: []}", "it.classes has to have at least 1 entries"),
        (
            "- {dataset: digits, transform: mirrored}",
            r"it.transform has to be of the form none\|permuted\|",
        ),
        ("- {dataset: digits, angle: 30}", "Task 0 .* gives angle, which only transform: rotated has; leave it out"),
        ("- {dataset: digits, transform: rotated, seed: 3}", "gives seed, which only transform: permuted has"),
        ("- {dataset: digits, train_per_class: 0}", "it.train_per_class has to be at least 1"),
        ("- {dataset: digits, year: 1999}\n- {dataset: digits}", "Task 1 .* has no year, but others have"),
        ("- {dataset: [", "cannot be read as YAML"),
    ],
)
def test_a_bad_file_is_told_in_a_sentence(tmp_path, text, sentence):
    with pytest.raises(DataError, match=sentence) as told:
        read(tmp_path, text)
    assert "\n" not in str(told.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"There is no file .*nothing.yaml; check the path"):
        read_task_list(tmp_path / "nothing.yaml")
