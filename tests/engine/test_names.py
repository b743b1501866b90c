import pytest

from redwood.engine.names import names_in_logs


@pytest.mark.parametrize(
    ("names", "n_tasks", "shown"),
    [
        ((), 2, ["task_0", "task_1"]),
        (("2024-01", "2024-02"), 2, ["2024-01", "2024-02"]),
        (("a, b", "é/\x1b[2J"), 2, ["a_ b", "é___2J"]),
        (("digits", "digits", "digits"), 3, ["digits", "digits 1", "digits 2"]),
        (("a 2", "a", "a"), 3, ["a 2", "a", "a 2 2"]),
        (("0", "1", "2024-03"), 3, ["task_0", "task_1", "2024-03"]),
        (("apple, aquarium_fish, baby", ""), 2, ["task_0", "task_1"]),
        (("of sixteen chars", "seventeen letters"), 2, ["of sixteen chars", "task_1"]),
    ],
)
def test_each_task_has_a_column_of_its_own(names, n_tasks, shown):
    assert names_in_logs(names, n_tasks) == shown
