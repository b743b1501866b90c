"""Class shares that differ: how many training samples of each class are kept."""

from dataclasses import replace

import pytest
import torch

from redwood.cli import main
from redwood.core.errors import InvalidOptionError
from redwood.settings import Auto, ClassIncrementalSetting, DomainIncrementalSetting, Permuted, get_setting
from redwood.settings.data.imbalance import kept_samples
from tests.cli.command import assert_one_sentence
from tests.label_sets import few_label_sets
from tests.regression import line
from tests.samples import few_digits, numbered


def counts(imbalance, data=None, seed=0):
    data = data or few_digits(1000)
    return data.y[kept_samples(data, imbalance, seed)].bincount().double()


def served(setting):
    """Training labels, and test labels, of a stream."""
    trained = torch.cat([batch.y for phase in setting.phases() for batch in phase.train])
    stream = setting.open_stream()
    return trained.bincount(), torch.cat([stream.samples_of(task, test=True)[1] for task in range(5)]).bincount()


class TestShares:
    def test_long_tail(self):
        found = counts("long_tail")
        assert found.tolist() == pytest.approx((found[0] * torch.arange(1, 11) ** -1.6).tolist(), abs=0.6)
        assert found[0] > 90

    def test_a_ratio_is_that_of_the_first_and_the_last_class(self):
        found = counts("long_tail:20")
        assert found.tolist() == pytest.approx((found[0] * 20 ** (-torch.arange(10) / 9)).tolist(), abs=0.6)

    def test_a_large_concentration_keeps_nearly_all(self):
        assert counts("dirichlet:10000").min() > 70

    def test_a_small_concentration_keeps_one_class(self):
        found = sorted(counts("dirichlet:0.001").tolist())
        assert found[:-1] == [1] * 9 and found[-1] > 80

    @pytest.mark.parametrize("alpha", [0.3, 3.0])
    def test_shares_are_a_dirichlet_draw(self, alpha):
        # Of two classes the smaller share is below t with a known probability; see the beta distribution.
        data = replace_classes(few_digits(1000), 2)
        smaller = []
        for seed in range(300):
            found = counts(f"dirichlet:{alpha}", data, seed)
            smaller.append(float(found.min() / found.sum()))
        expected = torch.distributions.Beta(alpha, alpha).sample((20000,))
        expected = torch.minimum(expected, 1 - expected)
        for level in (0.1, 0.3):
            share = sum(value < level for value in smaller) / 300
            assert share == pytest.approx(float((expected < level).double().mean()), abs=0.09)

    def test_another_seed_draws_others(self):
        data = few_digits(1000)
        first, again, other = (kept_samples(data, "dirichlet:1", seed) for seed in (0, 0, 1))
        assert torch.equal(first, again) and not torch.equal(first, other)


def replace_classes(data, n):
    return replace(data, y=data.y % n, y_test=data.y_test % n)


class TestStreams:
    @pytest.mark.parametrize("stream", ["class_split", "instance", "ordered"])
    def test_the_test_samples_stay_balanced(self, stream):
        key = "class_incremental" if stream == "class_split" else "domain_incremental"
        options = {"dataset": few_digits(1000), "passes": 1}
        whole, tail = (
            get_setting(key)(stream={stream: {"imbalance": imbalance}}, **options) for imbalance in ("", "long_tail")
        )
        (_, expected), (trained, tested) = served(whole), served(tail)
        assert torch.equal(tested, expected)
        assert trained.tolist() == counts("long_tail").tolist()

    def test_transformed_tasks_share_the_samples_that_are_left(self):
        setting = DomainIncrementalSetting(dataset=few_digits(500), stream=Permuted(imbalance="long_tail"), passes=1)
        trained, _ = served(setting)
        assert trained.tolist() == (5 * counts("long_tail", few_digits(500))).tolist()

    def test_no_class_vanishes_from_a_task_of_the_data(self):
        data = numbered(contexts=4)
        setting = ClassIncrementalSetting(dataset=data, stream=Auto(imbalance="dirichlet:0.001"), passes=1)
        pairs = {(int(y), int(t)) for y, t in zip(data.y, data.contexts, strict=True)}
        found = set()
        for task, phase in enumerate(setting.phases()):
            found |= {(int(y), task) for batch in phase.train for y in batch.y}
        assert found == pairs

    def test_samples_kept_for_validation_stay(self):
        data = few_digits(300)
        mask = torch.arange(300) % 5 == 0
        kept = kept_samples(replace(data, validation=mask), "long_tail", 0)
        assert bool(kept[mask].all()) and int(kept.sum()) < 140

    def test_methods_do_not_see_it(self):
        view = ClassIncrementalSetting(dataset=few_digits(), stream=Auto(imbalance="long_tail")).for_method()
        assert view.stream == "auto"


class TestBadInput:
    @pytest.mark.parametrize(
        "value",
        ["tail", "long_tail:", "long_tail:1", "long_tail:nan", "dirichlet", "dirichlet:0", "dirichlet:inf"],
    )
    def test_an_unknown_value_is_one_sentence(self, value, tmp_path, capsys):
        run_dir = tmp_path / "run"
        arguments = ["--setting", "class_incremental", "--method", "finetune", "--run_dir", str(run_dir)]
        assert main([*arguments, f"--imbalance={value}"]) == 2
        sentence = capsys.readouterr().err
        assert_one_sentence(sentence)
        assert f"--imbalance {value} is unknown; choose" in sentence and not run_dir.exists()

    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            (line, "targets are numbers"),
            (few_label_sets, "samples have several labels"),
        ],
    )
    def test_data_without_classes(self, make, reason):
        with pytest.raises(InvalidOptionError, match=f"--imbalance long_tail goes by the classes .* {reason}"):
            DomainIncrementalSetting(stream=Auto(imbalance="long_tail"), dataset=make()).open_stream()
