import pytest
import torch

from redwood.branches.modular.chain import last_layer_names
from redwood.branches.modular.finetune_from import FinetuneFrom, Independent
from redwood.core.errors import InvalidOptionError
from redwood.settings import TaskIncrementalSetting
from tests.small_runs import run_here, small_setting


def origins(method):
    return [path["origin"] for path in method.paths]


class Started(FinetuneFrom):
    """Remembers the weights that the candidates start from."""

    def _start(self, candidates):
        super()._start(candidates)
        self.first = {name: value.clone() for name, value in self.modular.tails[0].named_parameters()}


class TestSource:
    def test_previous_starts_from_the_task_before_with_a_new_last_layer(self):
        method = Started(source="previous")
        run_here(small_setting("task_incremental"), method)
        assert origins(method) == [None, "phase 0", "phase 1"]
        names = method.paths[1]["modules"]
        for position, name in enumerate(names):
            earlier = method.modular.library[name]
            new = last_layer_names(earlier) if position == len(names) - 1 else set()
            for parameter, value in earlier.named_parameters():
                assert torch.equal(method.first[f"{position}.{parameter}"], value) == (parameter not in new)

    def test_relevant_finds_the_planted_source(self):
        # The last task of s_minus is the first one again, with fewer samples.
        method = FinetuneFrom(source="relevant")
        run_here(TaskIncrementalSetting(stream="s_minus", passes=10), method)
        assert origins(method)[-1] == "phase 0"

    def test_new_weights_win_where_nothing_is_related(self):
        method = FinetuneFrom(source="relevant")
        run_here(TaskIncrementalSetting(stream="s_pl", passes=10), method)
        assert origins(method)[1:].count(None) >= 2

    def test_all_tries_every_network_and_new_weights(self):
        method = FinetuneFrom(source="all")
        results = run_here(small_setting("task_incremental"), method)
        search, training = results.cost.flops["search"], results.cost.flops["training"]
        assert search == pytest.approx([0, training[1], 2 * training[2]], rel=0.02)

    def test_independent_is_the_same_by_both_names(self):
        one, two = (
            run_here(small_setting("task_incremental"), m) for m in (Independent(), FinetuneFrom(source="independent"))
        )
        assert one.accuracy_matrix == two.accuracy_matrix

    def test_an_unknown_source_is_one_sentence(self):
        with pytest.raises(InvalidOptionError, match="--source next"):
            FinetuneFrom(source="next")
