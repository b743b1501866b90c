"""Predictions that the setting asks for before it serves the labels, and labels that come late."""

import pytest
import torch

from redwood.core.errors import HiddenError, InvalidOptionError, NotTrainedError
from redwood.methods.baselines import Finetune
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import SETTINGS, ClassIncrementalSetting, get_setting
from redwood.settings.assumptions import Range
from tests.cheats import Honest, run
from tests.regression import line
from tests.small_runs import FixedRule, comparable, run_here, small_setting

KEY = "online_class_incremental"


class Notes(Honest):
    """Notes what happens in which order: batches that were asked for, and labels that came."""

    def configure(self, setting):
        super().configure(setting)
        self.asked, self.learned, self.ahead = [], [], []

    def fit(self, phase):
        self.asked.clear()
        for batch in phase.train:
            assert torch.equal(self.asked[len(self.learned)], batch.x)
            self.learned.append(batch.y)
            self.ahead.append(len(self.asked) - len(self.learned))
            self.learn(batch)
        self.learned.clear()

    def predict(self, x, task_id):
        assert task_id is None
        self.asked.append(x.clone())
        return super().predict(x, task_id)


@pytest.mark.parametrize("delay", [1, 3])
def test_each_batch_is_asked_for_before_its_labels_come(delay):
    method = Notes()
    results = run(KEY, method, label_delay=delay, nb_tasks=2)
    steps = len(method.ahead) // 2
    # The last labels come after the last samples.
    assert method.ahead[:steps] == [delay] * (steps - delay) + list(range(delay - 1, -1, -1))
    assert results.online_curve[-1][0] == 160


def online_by_hand(method, delay):
    """The online accuracy of a method that is asked by hand, batch by batch."""
    setting = small_setting(KEY, nb_tasks=1)
    method.configure(setting.for_method())
    (phase,) = setting.phases()
    batches = list(phase.train)
    right = 0
    for number, batch in enumerate(batches):
        for later in batches[number + delay : number + delay + 1] if number else batches[: delay + 1]:
            right += int((method.scores(later.x).argmax(1) == later.y).sum())
        method.learn(batch)
    return right / 160


@pytest.mark.parametrize("delay", [1, 2, 5])
def test_the_score_is_that_of_the_network_before_the_labels(delay):
    results = run(KEY, Honest(), label_delay=delay, nb_tasks=1)
    assert results.metrics["online_accuracy"] == pytest.approx(online_by_hand(Honest(), delay))


def test_what_a_method_draws_to_answer_changes_nothing_else():
    class Noisy(Finetune):
        def predict(self, x, task_id):
            scores = super().predict(x, task_id)
            return scores + 0.5 * torch.randn_like(scores)

    noisy, plain = Noisy(dropout=0.5), Finetune(dropout=0.5)
    one, other = (run(KEY, method, label_delay=1) for method in (noisy, plain))
    assert one.online_curve != other.online_curve
    for mine, theirs in zip(noisy.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_late_labels_cost_accuracy_online_but_change_nothing_else():
    prompt, late = (run(KEY, Honest(), label_delay=delay) for delay in (0, 4))
    assert late.accuracy_matrix == prompt.accuracy_matrix
    assert late.metrics["online_accuracy"] < prompt.metrics["online_accuracy"] - 0.05


class ScoresLabels(Honest):
    """Hands in the labels as its predictions, which nothing prevents where the method scores itself."""

    def score(self, phase, batch):
        phase.score(batch.y, batch)


def test_labels_cannot_be_scored():
    assert run(KEY, ScoresLabels()).metrics["online_accuracy"] == 1
    honest, cheat = (run(KEY, method, label_delay=1) for method in (Honest(), ScoresLabels()))
    assert cheat.online_curve == honest.online_curve


class RecordsLabels(Honest):
    """Tries to take over the scoring."""

    def fit(self, phase):
        record = phase.online.hand_over()
        for step in range(len(phase.train)):
            record(step, torch.zeros(16), torch.zeros(16))


def test_the_score_is_out_of_reach():
    with pytest.raises(HiddenError, match="a method answers by `predict` alone"):
        run(KEY, RecordsLabels(), label_delay=1)


def test_more_labels_than_batches_of_delay():
    """All is predicted before anything is learned."""
    results = run(KEY, Finetune(), label_delay=1000, nb_tasks=1)
    assert len(results.online_curve) == 10
    untrained = run(KEY, Finetune(lr=1e-30), nb_tasks=1)
    assert results.online_curve == untrained.online_curve


def test_a_method_that_cannot_predict_yet_is_wrong_and_it_is_told():
    class Late(FixedRule):
        def fit(self, phase):
            assert len(list(phase.train)) == len(phase.train)
            self.is_trained = True

        def predict(self, x, task_id):
            if not hasattr(self, "is_trained"):
                raise NotTrainedError("not yet")
            return super().predict(x, task_id)

    with pytest.warns(UserWarning, match="Late cannot predict while it has not finished a phase") as told:
        late = run(KEY, Late(), label_delay=1)
    assert len(told) == 1
    always = run(KEY, FixedRule(), label_delay=1)
    ends = [samples for samples, _ in always.online_curve]
    assert all(value == 0 for samples, value in late.online_curve if samples <= ends[len(ends) // 3 - 1])
    assert late.online_curve[-1] == always.online_curve[-1]


def test_numbers():
    by_hand, asked = (
        run_here(small_setting("online_domain_incremental", dataset=line(), label_delay=delay), Finetune(lr=1e-30))
        for delay in (0, 1)
    )
    assert [value for _, value in asked.online_curve] == pytest.approx([value for _, value in by_hand.online_curve])


def test_ids_are_shown_where_the_setting_shows_them_at_test():
    class NotesIds(FixedRule):
        def predict(self, x, task_id):
            shown.append(task_id)
            return super().predict(x, task_id)

    shown = []
    run("online_task_incremental", NotesIds(), label_delay=2, eval_tasks="seen")
    assert {tuple(ids.unique().tolist()) for ids in shown if len(ids) <= 16} == {(0,), (1,), (2,)}


def two_workers_delayed():
    return comparable(run_here(small_setting("distributed_online_class_incremental", label_delay=2), Rehearsal()))


def test_two_workers(two_workers):
    one, other = two_workers.run(two_workers_delayed)
    assert one == other
    assert one["online_accuracy"][-1][0] == 160


def test_samples_that_come_several_times():
    """Settings whose samples may come several times have no such option."""
    has_it = {key for key in SETTINGS if "label_delay" in get_setting(key).option_names()}
    assert has_it == {key for key in SETTINGS if "online" in key} | {"label_budget"}
    with pytest.raises(InvalidOptionError, match="--label_delay -1 has to be at least 0"):
        small_setting(KEY, label_delay=-1)


def test_a_node_that_asks_presents_samples_once():
    with pytest.raises(TypeError, match="so each is presented once"):
        type("Asks", (ClassIncrementalSetting,), {}, predict_first=True)
    asks = type("AsksOnce", (ClassIncrementalSetting,), {}, predict_first=True, passes=Range(1, 1))
    assert "predict_first" in asks.assumptions.promises()
