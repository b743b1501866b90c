"""Labels on request: a method gets those that it asks for, never more than its budget, and nothing before it asks."""

import dataclasses
from dataclasses import dataclass, field

import pytest
import torch

from redwood.branches.label_budget.label_requests import InvalidQueryError, budget_of, checked_answer
from redwood.branches.label_budget.setting import LabelBudgetSetting
from redwood.core.errors import HiddenError, InvalidOptionError, NotTrainedError, PhaseOverError
from redwood.methods import Finetune, Rehearsal
from redwood.settings.scores.results import Results
from redwood.settings.streams.loader import _SEQUENCES
from tests.cheats import Honest
from tests.methods.helpers import one_sentence
from tests.samples import numbered
from tests.small_runs import comparable, run_here, small_setting
from tests.test_cheating import Copies, GoesOn, KeepsPhases, Pickles, Rewinds

KEY = "label_budget"
SIZES = [52, 55, 53]  # samples of the phases of `small_setting`


def run(method, **options):
    return run_here(small_setting(KEY, **{"batch_size": 4, "label_budget": 0.25} | options), method)


@dataclass
class Asks(Honest):
    """Asks by a function of the number of samples and the limit; notes what it is asked and what it gets."""

    rule: object = None
    windows: list = field(default_factory=list)
    batches: list = field(default_factory=list)

    def query(self, x, task_id, limit):
        self.windows.append((x.clone(), limit))
        return None if self.rule is None else self.rule(len(x), limit)

    def learn(self, batch):
        self.batches.append(batch)
        super().learn(batch)


class TestBudget:
    @pytest.mark.parametrize(("n", "share", "labels"), [(60, 0.1, 6), (100, 0.29, 29), (59, 0.1, 5), (7, 1.0, 7)])
    def test_it_is_the_share_rounded_down(self, n, share, labels):
        assert budget_of(n, share) == labels

    @pytest.mark.parametrize("share", [0.1, 0.33, 1.0])
    @pytest.mark.parametrize("delay", [0, 2, 100])
    def test_full_answers_spend_it_and_fill_the_batches(self, share, delay):
        method = Asks(rule=lambda n, limit: list(range(limit)))
        results = run(method, label_budget=share, label_delay=delay)
        phases = [row[-1] for row in results.labels_used]
        assert phases == [budget_of(n, share) for n in SIZES]
        served = [len(batch.y) for batch in method.batches]
        assert sum(served) == sum(phases) == results.cost.training_samples
        assert max(served) <= 5
        assert min(served) >= 2
        assert sum(len(x) for x, _ in method.windows) == sum(SIZES) == results.online_curve[-1][0]

    def test_what_is_served_is_what_was_asked_for_and_the_rest_has_no_labels(self):
        method = Asks(rule=lambda n, limit: list(range(n))[-limit:])
        run(method, nb_tasks=1)
        for (x, limit), batch in zip(method.windows, method.batches, strict=True):
            assert torch.equal(batch.x, x[-limit:])
            assert torch.equal(batch.unlabelled, x[:-limit])

    def test_what_is_not_spent_may_be_spent_later(self):
        answers = iter([0, 0, 1, 10_000])
        method = Asks(rule=lambda n, limit: list(range(min(limit, next(answers, 10_000)))))
        results = run(method, nb_tasks=1, label_budget=0.1)
        assert [len(batch.y) for batch in method.batches] == [1, 15]
        assert [limit for _, limit in method.windows] == [4, 8, 12, 15]
        assert results.labels_used == [[0, 0, 1, 16]]

    @pytest.mark.parametrize("windows", [0, 3])
    def test_a_checkpoint_holds_two_tensors_however_many_windows_there_were(self, windows):
        first, second = (_SEQUENCES[small_setting(KEY, batch_size=4).open_stream().phase(0).train] for _ in range(2))
        for _ in range(windows):
            first.next_batch()
        state = first.requests.state_dict()
        assert all(isinstance(values, torch.Tensor) for values in state.values()) and len(state) == 2
        second.requests.load_state_dict(state)
        assert len(second.requests.answers) == windows
        for sequence in (first, second):
            sequence.requests.before_batch(10)
        assert [a.tolist() for a in first.requests.answers] == [a.tolist() for a in second.requests.answers]
        assert sum(map(len, second.requests.answers)) == second.requests._n_asked > 0

    def test_a_method_that_never_asks_learns_nothing(self):
        @dataclass
        class Never(Rehearsal):
            def query(self, x, task_id, limit):
                return torch.empty(0)

        results = run(Never(buffer_size=20))
        assert [row[-1] for row in results.labels_used] == [0, 0, 0]
        assert results.cost.training_samples == 0
        assert results.online_curve[-1][0] == 160

    def test_all_labels_are_the_parent(self):
        for method in (Finetune, Rehearsal):
            asked = run_here(small_setting(KEY, label_budget=1.0), method())
            given = run_here(small_setting("online_class_incremental"), method())
            assert asked.accuracy_matrix == given.accuracy_matrix
            assert asked.online_curve == given.online_curve

    @pytest.mark.parametrize("share", [0, -0.1, 1.01])
    def test_shares_out_of_range(self, share):
        with pytest.raises(InvalidOptionError, match=r"--label_budget .* greater than 0 and at most 1"):
            LabelBudgetSetting(label_budget=share)

    def test_less_than_one_label(self):
        with pytest.raises(
            InvalidOptionError, match="less than one label of the smallest phase, of 52 samples; use at"
        ):
            run(Honest(), label_budget=0.01)
        assert run(Honest(), label_budget=0.0193).labels_used == [[1], [1], [1]]

    def test_labels_of_held_out_samples_would_not_be_counted(self):
        with pytest.raises(InvalidOptionError, match=r"--validation 0\.2 does not go with label_budget"):
            LabelBudgetSetting(validation=0.2)

    def test_samples_that_the_data_keeps_for_validation_are_not_handed_out(self):
        data = numbered()
        data = dataclasses.replace(data, validation=torch.arange(len(data.y)) % 5 == 0)
        phase = next(small_setting(KEY, dataset=data).phases())
        assert phase.validation is None


WRONG = {
    "too many": (lambda n, limit: range(limit + 1), r"asks for 5 labels, but --label_budget 0\.25 leaves 4"),
    "all": (lambda n, limit: torch.arange(n), r"asks for 1\d labels, but --label_budget 0\.25 leaves 4"),
    "twice": (lambda n, limit: [1, 0, 1], "asks for the label of sample 1 twice; return each index once"),
    "outside": (lambda n, limit: [n], r"asks for sample 1\d of a window of 1\d"),
    "negative": (lambda n, limit: [-1], "asks for sample -1 of a window of"),
    "a mask": (
        lambda n, limit: torch.zeros(n, dtype=torch.bool),
        r"returned \(1\d,\) of torch.bool; return the indices",
    ),
    "floats": (lambda n, limit: torch.zeros(1), r"returned \(1,\) of torch.float32; return the indices"),
    "a number": (lambda n, limit: 3, "returned int; return the indices"),
    "words": (lambda n, limit: ["first"], "returned list; return the indices"),
}


class TestAnswers:
    @pytest.mark.parametrize("case", WRONG)
    def test_wrong_ones_are_told(self, case):
        rule, sentence = WRONG[case]
        with pytest.raises(InvalidQueryError, match=sentence) as told:
            run(Asks(rule=rule))
        assert one_sentence(told.value)

    @pytest.mark.parametrize("answer", [[], (), torch.empty(0), torch.tensor([2, 0]), [2, 0], range(3)])
    def test_right_ones(self, answer):
        indices = checked_answer(answer, 4, 3, "query", 0.5)
        assert indices.dtype == torch.int64
        assert indices.tolist() == list(map(int, answer))

    def test_no_answer_is_a_random_one(self):
        drawn = [[batch.y.tolist() for batch in method.batches] for method in (Asks(), Asks()) if run(method)]
        assert drawn[0] == drawn[1]
        other = Asks()
        run(other, seed=1)
        assert drawn[0] != [batch.y.tolist() for batch in other.batches]

    def test_a_method_that_cannot_choose_yet_gets_random_ones(self):
        class Late(Asks):
            def query(self, x, task_id, limit):
                raise NotTrainedError("not yet")

        late, usual = Late(), Asks()
        run(late)
        run(usual)
        assert [batch.y.tolist() for batch in late.batches] == [batch.y.tolist() for batch in usual.batches]


class TakesTheBatch(Asks):
    """While it is asked, it takes the labels that the answer would be scored by."""

    def fit(self, phase):
        self.phase = phase
        super().fit(phase)


class WhilePredicting(TakesTheBatch):
    def predict(self, x, task_id):
        for batch in self.phase.train:
            self.learn(batch)
        return super().predict(x, task_id)


class WhileAsking(TakesTheBatch):
    def query(self, x, task_id, limit):
        for batch in self.phase.train:
            self.learn(batch)
        return super().query(x, task_id, limit)


class TestCheats:
    @pytest.mark.parametrize("cheat", [WhilePredicting, WhileAsking])
    def test_labels_before_the_answer(self, cheat):
        method = cheat()
        method.rule = None
        with pytest.raises((HiddenError, PhaseOverError), match=r"cannot be taken while|gone through") as told:
            run(method, eval_tasks="seen")
        assert one_sentence(told.value)
        assert method.batches == []

    @pytest.mark.parametrize("cheat", [GoesOn, Rewinds, Copies, Pickles, KeepsPhases])
    def test_more_training(self, cheat):
        with pytest.raises(PhaseOverError):
            run(cheat())

    def test_scores_of_ones_own_count_for_nothing(self):
        class ScoresTruth(Honest):
            def score(self, phase, batch):
                phase.score(batch.y, batch)

        assert run(ScoresTruth()).online_curve == run(Honest()).online_curve

    def test_the_loader_names_no_other_labels(self):
        class Reads(Asks):
            def fit(self, phase):
                super().fit(phase)
                self.labels = phase.train.labels_shown()

        method = Reads()
        run(method, nb_tasks=1)
        assert torch.equal(method.labels, torch.cat([batch.y for batch in method.batches]))


class TestOwnLoop:
    def test_labels_are_drawn_and_the_method_scores_itself(self):
        for phase in small_setting(KEY, label_budget=0.25, batch_size=4).phases():
            assert not phase.asks
            seen = 0
            for batch in phase.train:
                assert len(batch.unlabelled) >= 2 * len(batch.y)
                phase.score(batch.y, batch)
                seen += len(batch.y)
            assert phase.online.curve()[-1] == (seen, 1.0)


def test_results_keep_the_labels(tmp_path):
    results = run(Honest())
    assert results.labels_used == [[4, 8, 11, 13], [4, 8, 11, 13], [4, 8, 11, 13]]
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json").to_dict() == results.to_dict()
    assert comparable(run(Honest())) == comparable(results)
    assert "labels_used" not in run_here(small_setting("online_class_incremental"), Honest()).to_dict()
