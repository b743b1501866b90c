from copy import deepcopy
from typing import ClassVar

import pytest
import torch
from torch import nn

from redwood.branches.modular.hard_moe import HardMoE
from redwood.core.errors import DataError, InvalidOptionError, NotTrainedError
from redwood.engine.run import Run
from tests.methods.helpers import configured, one_sentence
from tests.samples import few_digits
from tests.small_runs import comparable, run_here, small_setting

DATA = few_digits()
X, Y, UNSEEN = DATA.x, DATA.y, DATA.x_test
MODELS = ["mlp", "simple_cnn"]


def trained_state():
    method = HardMoE(experts=2, expert_models=MODELS)
    run_here(small_setting("class_incremental"), method)
    return method.state_dict()


STATE = []


@pytest.fixture
def method():
    """Three tasks of digits, two experts each, an `mlp` and a `simple_cnn`."""
    if not STATE:
        STATE.append(trained_state())
    return loaded(STATE[0])


def loaded(state, **options):
    method = HardMoE(**{"experts": 2, "expert_models": MODELS} | options)
    method.attach(Run(quiet=True, accelerator="cpu"))
    method.configure(small_setting("class_incremental").for_method())
    method.load_state_dict(state)
    return method


def answers(method, x=UNSEEN):
    """Scores, and the expert of each sample."""
    scores = method.predict(x, None)
    return scores, method.mixture.choice.clone()


def assert_others_untouched(before, after, number):
    """All samples that went to another expert and have not changed over to the new one."""
    (scores, choice), (new_scores, new_choice) = before, after
    kept = (choice != number) & (new_choice != number)
    assert kept.sum() > 10
    assert torch.equal(scores[kept], new_scores[kept])


class TestAdd:
    def test_it_learns_the_new_data_and_leaves_the_others(self, method):
        turned = X.rot90(1, (2, 3))
        unknown = answers(method, turned[:40])[0].argmax(1) == Y[:40]
        before, weights = answers(method), deepcopy(method.mixture.experts.state_dict())
        number = method.add_expert(turned[:40], Y[:40], torch.full((40,), 7))
        assert number == 6 and method.architectures[6] == 0 and method.tasks_of[6] == [7]
        after = answers(method)
        assert_others_untouched(before, after, number)
        for name, value in weights.items():
            assert torch.equal(value, method.mixture.experts.state_dict()[name])
        scores, choice = answers(method, turned[:40])
        assert (choice == number).float().mean() > 0.8
        assert (scores.argmax(1) == Y[:40]).sum() > unknown.sum()

    def test_one_sample_is_enough(self, method):
        number = method.add_expert(X[:1].flip(3), Y[:1])
        assert int(answers(method, X[:1].flip(3))[1]) == number
        assert int((method.mixture.counts[method.mixture.owner == number] > 0).sum()) == 1


class TestSplit:
    def test_both_halves_start_from_its_weights(self, method):
        before = answers(method)
        new = method.split_expert(1)
        after = answers(method)
        assert torch.equal(before[0], after[0])
        assert set(after[1][before[1] == 1].tolist()) <= {1, new}
        assert method.architectures[new] == method.architectures[1] and method.tasks_of[new] == method.tasks_of[1]

    def test_the_halves_are_trained_on_without_the_others(self, method):
        new = method.split_expert(1)
        before = answers(method)
        own = X[answers(method, X)[1] == new]
        method.train_experts([new], X, Y)
        after = answers(method)
        assert torch.equal(before[1], after[1])
        others = before[1] != new
        assert torch.equal(before[0][others], after[0][others])
        assert not torch.equal(*(next(method.mixture.experts[n].parameters()) for n in (1, new)))
        assert len(own)

    def test_one_prototype_cannot_be_split(self, method):
        number = method.add_expert(X[:1].flip(3), Y[:1])
        with pytest.raises(InvalidOptionError, match=f"Expert {number} has less than two") as error:
            method.split_expert(number)
        assert one_sentence(error.value)


class TestRemove:
    @pytest.mark.parametrize("number", [0, 3, 5])
    def test_its_samples_fall_to_the_nearest_others(self, method, number):
        before = answers(method)
        method.remove_expert(number)
        scores, choice = answers(method)
        others = before[1] != number
        assert 0 < others.sum() < len(others)
        assert torch.equal(scores[others], before[0][others])
        expected = before[1][others]
        assert torch.equal(choice[others], expected - (expected > number).long())
        assert len(method.mixture.experts) == len(method.tasks_of) == len(method.architectures) == 5

    def test_the_last_one_stays(self, method):
        for _ in range(5):
            method.remove_expert(0)
        with pytest.raises(InvalidOptionError, match="Expert 0 is the only one") as error:
            method.remove_expert(0)
        assert one_sentence(error.value)


class TestReplace:
    def test_a_new_one_takes_its_prototypes(self, method):
        before, gate = answers(method), method.mixture.prototypes.clone()
        method.replace_expert(2, X, Y, architecture=1)
        after = answers(method)
        assert torch.equal(gate, method.mixture.prototypes) and torch.equal(before[1], after[1])
        assert_others_untouched(before, after, 2)
        assert any(isinstance(part, nn.Conv2d) for part in method.mixture.experts[2].modules())

    def test_what_does_not_exist(self, method):
        far = torch.zeros_like(X[:1])
        chosen = int(answers(method, far)[1])
        other = 5 if chosen != 5 else 4
        with pytest.raises(DataError, match=f"gives none of the 1 samples to expert {other};"):
            method.replace_expert(other, far, Y[:1])
        with pytest.raises(InvalidOptionError, match="The architecture 2 is none"):
            method.replace_expert(chosen, far, Y[:1], architecture=2)


def edit(method):
    method.remove_expert(1)
    method.split_expert(len(method.mixture.experts) - 1)
    method.add_expert(X[:20].flip(2), Y[:20])
    method.replace_expert(2, X, Y, architecture=1)


class TestState:
    def test_an_edited_mixture_is_loaded_as_it_is(self, method):
        edit(method)
        other = loaded(method.state_dict())
        assert torch.equal(answers(other)[0], answers(method)[0])
        assert other.architectures == method.architectures and other.mixture.n_frozen == method.mixture.n_frozen

    @pytest.mark.slow
    def test_it_learns_on_and_a_resumed_run_does_the_same(self, tmp_path):
        class Edited(HardMoE):
            stop: ClassVar[bool] = False

            def on_task_end(self, task_id):
                edit(self)

            def on_task_start(self, task_id):
                if self.stop and self.phase_count == 2:
                    raise KeyboardInterrupt

        def run(folder, stop=False, **more):
            method = Edited(experts=2, expert_models=MODELS, splits=1)
            method.stop = stop
            results = run_here(small_setting("class_incremental"), method, run_dir=str(tmp_path / folder), **more)
            return comparable(results), method

        expected, whole = run("whole")
        with pytest.raises(KeyboardInterrupt):
            run("stopped", stop=True)
        found, resumed = run("stopped", resume=True)
        assert found == expected and whole.architectures == resumed.architectures
        for mine, other in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
            assert torch.equal(mine, other)
        assert len(whole.mixture.experts) > 6


def test_answers_do_not_depend_on_how_many_samples_an_expert_gets(method):
    scores, _ = answers(method, X)
    for rows in (torch.arange(1), torch.arange(3), torch.arange(70), torch.randperm(len(X))):
        assert torch.equal(answers(method, X[rows])[0], scores[rows])


def test_no_edits_before_the_first_phase_or_inside_one(method):
    with pytest.raises(NotTrainedError) as error:
        configured(HardMoE()).remove_expert(0)
    assert one_sentence(error.value)
    method.fits = True
    with pytest.raises(InvalidOptionError, match="do it in on_task_end"):
        method.split_expert(0)


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (X[:2], Y[:1], "do not fit"),
        (X[:0], Y[:0], "do not fit"),
        (X[:2, 0], Y[:2], "do not fit"),
        (X[:2], Y[:2] + 9, "from 0 to 9"),
        (X[:2], Y[:2].float(), "whole numbers"),
    ],
)
def test_samples_that_do_not_fit(method, x, y, sentence):
    if sentence == "from 0 to 9":
        y = torch.tensor([0, 10])
    with pytest.raises(DataError, match=sentence) as error:
        method.add_expert(x, y)
    assert one_sentence(error.value)


def test_tasks_that_do_not_fit(method):
    with pytest.raises(DataError, match="give one of each sample") as error:
        method.add_expert(X[:3], Y[:3], torch.zeros(2, dtype=torch.long))
    assert one_sentence(error.value)


def test_where_ids_are_given_experts_have_to_be_told_tasks():
    method = HardMoE()
    run_here(small_setting("task_incremental"), method)
    with pytest.raises(DataError, match="give task_id"):
        method.add_expert(X[:5], Y[:5])
    number = method.add_expert(X[:5], Y[:5], torch.full((5,), 3))
    scores = method.predict(UNSEEN, torch.full((len(UNSEEN),), 3))
    assert method.mixture.choice.unique().tolist() == [number]
    others = sorted(set(range(10)) - set(Y[:5].tolist()))
    assert torch.isinf(scores[:, others]).all()


@pytest.mark.parametrize("number", [-1, 6])
def test_numbers_of_no_expert(method, number):
    with pytest.raises(InvalidOptionError, match=f"There is no expert {number}; give a number from 0 to 5"):
        method.remove_expert(number)


def test_a_state_of_other_architectures(method):
    with pytest.raises(DataError, match="other --expert_models") as error:
        loaded(method.state_dict(), expert_models=["mlp"])
    assert one_sentence(error.value)
