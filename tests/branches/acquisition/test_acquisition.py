"""The acquisition setting: what is bought, what each phase holds, and what stays hidden until it is bought."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from unittest.mock import Mock, patch

import numpy as np
import pytest
import torch

from redwood.branches.acquisition.offer import InvalidPurchaseError, Offer
from redwood.branches.acquisition.setting import AcquisitionSetting
from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.core.workers import rank
from redwood.methods import Finetune
from redwood.settings.data.dataset import Dataset
from redwood.settings.scores.results import Results
from tests.recorder import Recorder
from tests.samples import numbered
from tests.small_runs import comparable, run_here, small_setting

SIZES = [11] * 6  # training samples of each class of `numbered`


@dataclass
class Buyer(Recorder):
    """Buys what it is told to, and keeps the offers."""

    buys: list[list[int]] = field(default_factory=list)

    def acquire(self, offer: Offer) -> Iterable[int] | None:
        self.offers = [*getattr(self, "offers", []), offer]
        return self.buys[offer.round] if self.buys else None


@dataclass
class Disagrees(Buyer):
    """Buys more on the second worker; the answer is a generator."""

    def acquire(self, offer: Offer) -> Iterable[int]:
        return (1 + rank() for _ in offer.names)


def small(**options):
    usual = {"dataset": numbered(), "initial": [3], "budget": 12.0, "rounds": 2, "passes": 1, "batch_size": 4}
    return AcquisitionSetting(**usual | options)


def rows_of(fitted):
    """The training rows of a phase."""
    return sorted(int(x[0]) for batch in fitted.batches() for x in batch.x)


def of_classes(rows):
    return np.bincount(numbered().y[torch.tensor(rows)], minlength=6).tolist()


class TestPhases:
    def test_each_phase_holds_what_was_bought_so_far(self):
        method = Buyer(buys=[[0, 0, 0, 0, 0, 5], [1, 1, 1, 1, 1, 2]])
        results = run_here(small(), method)
        phases = [rows_of(fitted) for fitted in method.log.fitted]
        assert [of_classes(rows) for rows in phases] == results.slice_sizes
        assert results.slice_sizes == [[3] * 6, [3, 3, 3, 3, 3, 8], [4, 4, 4, 4, 4, 10]]
        assert results.purchases == method.buys and results.spent == [5, 7]
        assert set(phases[0]) < set(phases[1]) < set(phases[2])
        assert all(len(set(rows)) == len(rows) for rows in phases)

    def test_what_a_method_is_told(self):
        method = Buyer(buys=[[0, 0, 0, 0, 0, 5], [0] * 6])
        run_here(small(costs=[1, 1, 1, 1, 1, 2]), method)
        first, second = method.offers
        assert (first.round, first.rounds_left, first.budget) == (0, 2, 12)
        assert (first.sizes, first.pool, first.names) == ((3,) * 6, (8,) * 6, tuple("012345"))
        assert (second.round, second.rounds_left, second.budget) == (1, 1, 2)
        assert (second.sizes, second.pool) == ((3, 3, 3, 3, 3, 8), (8, 8, 8, 8, 8, 3))
        assert [entry.task_id for entry in method.log.fitted] == [None] * 3
        ids, labels = (
            torch.cat([getattr(batch, name) for batch in method.log.fitted[0].batches()]) for name in ("task_id", "y")
        )
        assert torch.equal(ids, labels) and all(shown is None for _, shown in method.log.tested)

    def test_without_an_answer_the_same_is_spent_on_each_slice(self):
        results = run_here(small(costs=[0.5, 1, 1, 1, 1, 1.5], budget=18.0, rounds=1), Buyer())
        spent = np.array(results.purchases).sum(0) * np.array([0.5, 1, 1, 1, 1, 1.5])
        assert spent.tolist() == [3.0] * 6 and sum(results.spent) == 18

    def test_the_last_round_spends_all_but_what_is_indivisible(self):
        results = run_here(small(budget=20.5, costs=[3.0]), Buyer())
        assert sum(results.spent) == 18

    def test_groups_of_the_data_are_slices(self):
        data = numbered()
        group, group_test = (ids % 2 for ids in (torch.arange(66), torch.arange(36)))
        data = Dataset.from_arrays(data.x, data.y, data.x_test, data.y_test, slices=group, slices_test=group_test)
        results = run_here(small(dataset=data, initial=[6, 12]), Buyer(buys=[[2, 3], [4, 3]]))
        assert results.slice_sizes == [[6, 12], [8, 15], [12, 18]]
        assert np.shape(results.accuracy_matrix) == (3, 2)

    def test_a_loop_of_ones_own_gets_equal_shares_each_time(self):
        setting = small()
        for _ in range(2):
            sizes = [sum(len(batch.y) for batch in phase.train) for phase in setting.phases()]
            assert sizes == [18, 24, 30]

    def test_a_setting_can_be_run_twice(self):
        setting = small()
        first, second = (comparable(run_here(setting, Buyer())) for _ in range(2))
        assert first == second == comparable(run_here(small(), Buyer()))

    def test_held_out_samples_are_of_what_was_bought_and_stay_held_out(self):
        setting = small(validation=0.4)
        trained, held_out = [], []
        for phase in setting.phases():
            trained.append({int(x[0]) for batch in phase.train for x in batch.x})
            held_out.append({int(x[0]) for batch in phase.validation for x in batch.x})
        assert [len(a) + len(b) for a, b in zip(trained, held_out, strict=True)] == [18, 24, 30]
        assert held_out[0] <= held_out[1] < held_out[2] and not held_out[2] & trained[2]
        assert [len(part) for part in held_out] == [6, 6, 12]


class TestHiding:
    def test_nothing_leads_to_the_pool(self):
        """What a method can reach in a phase holds no sample that was not served."""
        method = Buyer()
        run_here(small(), method)
        assert method.log.leaks == []
        assert set(rows_of(method.log.fitted[0])) | set(rows_of(method.log.fitted[2])) < set(range(66))

    def test_the_view_has_no_data(self):
        view = small().for_method()
        assert view.dataset == "numbered" and "_stream" not in vars(view) and view.nb_tasks == 6

    def test_a_preview_shows_only_what_was_bought(self):
        seen = []

        @dataclass
        class Looking(Buyer):
            def fit(self, phase):
                seen.append(sorted(int(x[0]) for x in phase.train.preview(1000).x))
                super().fit(phase)

        method = Looking()
        run_here(small(passes=2), method)
        assert seen == [sorted(set(rows_of(fitted))) for fitted in method.log.fitted]


class TestCheating:
    @pytest.mark.parametrize(
        ("buys", "words"),
        [
            ([[13, 0, 0, 0, 0, 0]], "its pool holds 8"),
            ([[8, 5, 0, 0, 0, 0]], "spends 13 in round 0, but 12 of the budget"),
            ([[8, 4, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]], "spends 1 in round 1, but 0 of the budget"),
            ([[1, 0]], "for each of the 6 slices"),
            ([5], "returned no numbers"),
        ],
    )
    def test_purchases_above_what_there_is(self, buys, words):
        with pytest.raises(InvalidPurchaseError, match=words):
            run_here(small(), Buyer(buys=buys))

    def test_an_offer_cannot_be_changed(self):
        class Greedy(Buyer):
            def acquire(self, offer: Offer) -> Iterable[int] | None:
                vars(offer)["budget"] = 1000.0
                return [8] * 6

        with pytest.raises(InvalidPurchaseError, match="12 of the budget"):
            run_here(small(), Greedy())


class TestWorkers:
    def test_two_workers_buy_what_the_first_one_says(self, two_workers):
        outcomes = two_workers.run(run_here, small_setting("acquisition", workers=2), Finetune())
        assert outcomes[0].purchases == outcomes[1].purchases
        assert outcomes[0].accuracy_matrix == outcomes[1].accuracy_matrix
        outcomes = two_workers.run(run_here, small(workers=2), Disagrees())
        assert [outcome.purchases for outcome in outcomes] == [[[1] * 6] * 2] * 2


class TestFiles:
    def test_results_come_back(self, tmp_path):
        results = run_here(small(), Buyer(), run_dir=str(tmp_path / "run"))
        loaded = Results.load(tmp_path / "run" / "results.json")
        assert type(loaded) is type(results) and loaded.to_dict() == results.to_dict()
        assert (loaded.num_phases, loaded.metrics) == (3, results.metrics)
        assert (tmp_path / "run" / "accuracy_curve.png").stat().st_size > 1000

    @pytest.mark.parametrize("phases", [0, 1, 2, 3])
    @pytest.mark.few(1)
    def test_resumed_between_phases(self, tmp_path, phases):
        """Purchases are part of the state: a run that was stopped goes on with what it had bought."""
        whole = run_here(small(), Buyer(buys=[[5, 0, 0, 0, 0, 0], [0, 7, 0, 0, 0, 0]]))
        folder, buys = str(tmp_path / "run"), whole.purchases
        stopped = Buyer(buys=buys)
        fit = stopped.fit

        def fit_until(phase):
            if phase.index == phases:
                raise KeyboardInterrupt
            fit(phase)

        stop = patch.multiple(stopped, fit=fit_until, on_finish=Mock(side_effect=KeyboardInterrupt))
        with stop, pytest.raises(KeyboardInterrupt):
            run_here(small(), stopped, run_dir=folder)
        again = run_here(small(), Buyer(buys=buys), run_dir=folder, resume=True)
        assert again.accuracy_matrix == whole.accuracy_matrix
        assert (again.slice_sizes, again.slice_losses) == (whole.slice_sizes, whole.slice_losses)
        assert (again.purchases, again.spent) == (whole.purchases, whole.spent)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"budget": 49.0}, "--budget 49 is more than the 48 that all samples of the pool cost"),
            ({"budget": 0.0}, "--budget 0.0"),
            ({"initial": [12]}, "--initial 12 is more than the 11 training samples of slice 0"),
            ({"initial": [0]}, "--initial 0 has to be at least 1"),
            ({"initial": []}, "--initial needs one number"),
            ({"initial": [3, 3]}, "--initial has 2 values for the 6 slices"),
            ({"costs": [1.0, 2.0]}, "--costs has 2 values for the 6 slices"),
            ({"costs": [-1.0]}, "--costs -1 has to be greater than 0"),
            ({"costs": [float("inf")]}, "--costs inf"),
            ({"rounds": 0}, "--rounds 0 has to be at least 1"),
            ({"nb_tasks": 3}, "--nb_tasks 3 does not go with acquisition, whose tasks are the slices"),
            ({"stream": "permuted"}, "--stream permuted is unknown; choose one of slices"),
            ({"eval_tasks": {"all": {"lca": 2}}}, "--eval_tasks all has no option lca"),
        ],
    )
    def test_bad_input(self, options, words):
        with pytest.raises(InvalidOptionError, match=words):
            small(**options).open_stream()

    def test_numbers_to_predict(self):
        with pytest.raises(NotApplicableError, match="targets of drift_regression:abrupt are numbers"):
            small(dataset="drift_regression:abrupt").open_stream()
