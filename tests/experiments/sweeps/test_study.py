"""The trials of a sweep: chosen from the seed and earlier rounds alone, each once, by any number of processes."""

import math
from dataclasses import replace

import pytest

from redwood.core.errors import DataError
from redwood.experiments.sweeps.space import Choices, Range
from redwood.experiments.sweeps.study import COMPLETE, FAILED, JOURNAL, PRUNED, Ending, Study

SPACE = {"lr": Range(1e-4, 1.0, log=True), "kind": Choices(("a", "b"))}
TOTAL = 22


def study(folder, space=SPACE, directions=("maximize",), seed=3, in_round=4, first=None):
    return Study(folder, space, directions=directions, seed=seed, in_round=in_round, first=first)


def ending(tried):
    """Best at 0.01 and b; some trials fail or end early."""
    score = -((math.log10(tried.parameters["lr"]) + 2) ** 2) - (tried.parameters["kind"] == "a")
    if tried.number % 7 == 3:
        return Ending(PRUNED, curve=(score,), flops=1.0)
    if tried.number % 7 == 5:
        return Ending(FAILED, reason="broken")
    return Ending(COMPLETE, (score,), (score, score), 2.0, 3.0)


def carry_out(folder, order=sorted, total=TOTAL, **options):
    folder.mkdir(exist_ok=True)
    while True:
        one = study(folder, **options)  # as if each round were gone on with by another process
        left = [tried for tried in one.open_round(total) if not tried.is_over]
        if not left:
            return one.trials()
        for number in order([tried.number for tried in left]):
            one.finish(number, ending(one.trials()[number]))


class TestChoice:
    @pytest.fixture(scope="class")
    @classmethod
    def trials(cls, tmp_path_factory):
        return carry_out(tmp_path_factory.mktemp("study"))

    def test_all_are_there_with_what_they_came_to(self, trials):
        assert [tried.number for tried in trials] == list(range(TOTAL))
        assert [tried.ending for tried in trials] == [ending(tried) for tried in trials]
        assert all(1e-4 <= tried.parameters["lr"] <= 1 for tried in trials)

    def test_the_order_in_which_trials_end_changes_nothing(self, trials, tmp_path):
        assert carry_out(tmp_path, order=lambda numbers: sorted(numbers, reverse=True)) == trials

    def test_the_first_may_be_given(self, tmp_path):
        first = {"lr": 0.5, "kind": "a"}
        assert [tried.parameters == first for tried in carry_out(tmp_path, first=first, total=6)] == [True] + [
            False
        ] * 5

    def test_the_seed_decides(self, trials, tmp_path):
        others = carry_out(tmp_path, seed=4, total=4)
        assert [tried.parameters for tried in others] != [tried.parameters for tried in trials[:4]]

    def test_earlier_rounds_decide(self, trials, tmp_path):
        one = study(tmp_path)
        for _ in range(4):
            for tried in one.open_round(TOTAL):
                one.finish(tried.number, Ending(COMPLETE, (1.0 - tried.parameters["lr"],)))
        others = [tried.parameters for tried in one.open_round(TOTAL)]
        chosen = [tried.parameters for tried in trials]
        assert [tried.parameters for tried in one.trials()][:8] == chosen[:8]  # still drawn at random
        assert others[0] != chosen[16]

    def test_it_comes_closer_to_the_best(self, tmp_path):
        one = study(tmp_path, seed=0)
        while left := [tried for tried in one.open_round(28) if not tried.is_over]:
            for tried in left:
                one.finish(tried.number, replace(ending(replace(tried, number=0)), curve=()))
        scores = [tried.ending.values[0] for tried in one.trials()]
        assert sum(scores[16:]) / 12 > sum(scores[:10]) / 10 + 0.5  # the first ten are drawn at random


def test_a_round_that_was_chosen_in_part_is_completed(tmp_path, monkeypatch):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = study(tmp_path / "whole").open_round(6)
    one = study(tmp_path / "killed")
    choose = one._choose

    def killed(number, trials):
        if number == 2:
            raise KeyboardInterrupt
        return choose(number, trials)

    monkeypatch.setattr(one, "_choose", killed)
    with pytest.raises(KeyboardInterrupt):
        one.open_round(6)
    assert len(one.trials()) == 2
    assert study(tmp_path / "killed").open_round(6) == whole


def test_the_first_ending_counts(tmp_path):
    one = study(tmp_path)
    one.open_round(4)
    one.finish(1, Ending(COMPLETE, (0.5,), flops=1.0))
    one.finish(1, Ending(FAILED, reason="too late"))
    assert one.trials()[1].ending == Ending(COMPLETE, (0.5,), flops=1.0)


def test_a_finite_space_is_tried_without_repeats(tmp_path):
    space = {"size": Range(1, 6, whole=True), "kind": Choices(("a", "b"))}
    one = study(tmp_path, space, in_round=5)
    while left := [tried for tried in one.open_round(12) if not tried.is_over]:
        for tried in left:
            one.finish(tried.number, Ending(COMPLETE, (float(tried.parameters["size"]),)))
    assert len({(tried.parameters["size"], tried.parameters["kind"]) for tried in one.trials()}) == 12
    assert one.importances()[0]["size"] > 0.9


def test_two_objectives(tmp_path):
    one = study(tmp_path, directions=["maximize", "minimize"], in_round=12)
    for _ in range(2):
        for tried in one.open_round(24):
            one.finish(tried.number, Ending(COMPLETE, (tried.parameters["lr"], 2.0)))
    by_score, by_flops = one.importances()
    assert by_score["lr"] > by_score["kind"]
    assert by_flops == {}  # all trials have the same


def test_a_line_that_was_written_in_part_is_as_if_not_written(tmp_path):
    wanted = carry_out(tmp_path / "whole", total=8)
    carry_out(tmp_path / "cut", total=4)
    journal = tmp_path / "cut" / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-9])
    assert carry_out(tmp_path / "cut", total=8) == wanted


def test_a_damaged_journal(tmp_path):
    study(tmp_path).open_round(4)
    lines = (tmp_path / JOURNAL).read_text().splitlines()
    (tmp_path / JOURNAL).write_text("\n".join([lines[0][:20], *lines[1:]]) + "\n")
    with pytest.raises(DataError, match=r"journal.log is damaged .*; start the sweep anew"):
        study(tmp_path).trials()


def test_a_journal_of_another_sweep(tmp_path):
    study(tmp_path).open_round(4)
    with pytest.raises(DataError, match="is of another sweep; start the sweep anew"):
        study(tmp_path, {"lr": Range(0.1, 1.0)}).trials()
    with pytest.raises(DataError, match="is of another sweep"):
        study(tmp_path, directions=["minimize"])


@pytest.mark.parametrize("line", ["null", "[" * 100_000, "3", '{"op_code": null}'])
def test_a_line_that_is_no_entry_of_a_journal(tmp_path, line):
    study(tmp_path).open_round(TOTAL)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match="is damaged"):
        study(tmp_path)


def test_a_journal_that_is_a_folder(tmp_path):
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(DataError, match=r"journal\.log is no file"):
        study(tmp_path)
