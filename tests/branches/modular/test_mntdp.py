import pytest
import torch

from redwood.branches.modular.finetune_from import Independent
from redwood.branches.modular.mntdp import MNTDP, Composable, prefixes
from redwood.branches.modular.sources import Source
from redwood.core.errors import InvalidOptionError
from redwood.settings import TaskIncrementalSetting
from redwood.settings.data.dataset import Dataset
from tests.methods.helpers import configured
from tests.small_runs import run_here


def learn(method, stream, **options):
    return run_here(TaskIncrementalSetting(**{"stream": stream, "passes": 15} | options), method)


class TestPrefixes:
    def test_there_is_a_candidate_for_each_number_of_modules(self):
        source = Source("phase 0", ("a", "b", "c"), 5, {})
        assert [one.frozen for one in prefixes(source, with_head=True)] == [("a",), ("a", "b"), ("a", "b", "c")]

    def test_a_head_that_does_not_fit_is_not_taken_over(self):
        source = Source("phase 0", ("a", "b", "c"), 4, {})
        assert [one.frozen for one in prefixes(source, with_head=False)] == [("a",), ("a", "b")]

    def test_a_network_that_is_no_chain_is_told(self):
        with pytest.warns(UserWarning, match="--model resnet18 cannot be cut into modules"):
            x, y = torch.zeros(8, 3, 16, 16, dtype=torch.uint8), torch.arange(8) % 4
            configured(MNTDP(model="resnet18"), "task_incremental", dataset=Dataset("colours", x, y, x, y), nb_tasks=2)


@pytest.mark.parametrize("search", ["deterministic", "stochastic"])
class TestTransfer:
    @pytest.mark.few(1)
    def test_a_task_that_comes_back_is_taken_over_whole(self, search):
        method = MNTDP(search=search)
        results = learn(method, "s_minus")
        assert (method.paths[-1]["origin"], method.paths[-1]["reused"]) == ("phase 0", 3)
        independent = learn(Independent(), "s_minus")
        assert results.accuracy_matrix[-1][-1] >= independent.accuracy_matrix[-1][-1] + 0.04
        assert results.cost.parameters < independent.cost.parameters

    @pytest.mark.few(1)
    def test_other_labels_need_another_head(self, search):
        method = MNTDP(search=search)
        learn(method, "s_out")
        assert method.paths[-1]["origin"] == "phase 0" and method.paths[-1]["reused"] in (1, 2)


def test_one_earlier_network_is_searched():
    """The most related one (Veniat et al., "Efficient continual learning with modular networks", 2021)."""
    found = []

    class Noting(MNTDP):
        def propose(self, samples, classes):
            candidates = super().propose(samples, classes)
            found.append(len({one.origin for one in candidates if one.frozen}))
            return candidates

    learn(Noting(), "s_minus", passes=2)
    assert set(found) == {0, 1}


@pytest.mark.slow
def test_the_stochastic_search_costs_less():
    both = [learn(MNTDP(search=search), "s_minus", passes=6).cost.flops for search in ("deterministic", "stochastic")]
    totals = [sum(map(sum, flops.values())) for flops in both]
    assert totals[1] < totals[0]


class NewThenReuse(Composable):
    """New modules in the first two tasks, and then as many of theirs as there are."""

    def choose(self, candidates, scores):
        return 0 if self.phase_count <= 2 else len(candidates) - 1


class TestComposable:
    def test_mixes_modules_of_several_networks(self):
        mixed = 0
        for seed in range(3):
            method = NewThenReuse(margin=1.0)
            learn(method, "s_plus", passes=6, nb_tasks=3, seed=seed)
            owners = {name.partition("m")[0] for name in method.paths[-1]["modules"]}
            assert owners <= {"p0", "p1", "p2"} and method.paths[-1]["reused"] >= 2
            mixed += {"p0", "p1"} <= owners
        assert mixed > 0

    def test_trains_no_path_of_its_own_for_each_mixture(self):
        with pytest.raises(InvalidOptionError, match=r"--tries 2 does not go with composable"):
            Composable(tries=2)
