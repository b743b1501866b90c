from dataclasses import dataclass

import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.distillation.wa import WA, align
from redwood.methods.replay.rehearsal import Rehearsal
from tests.methods.helpers import configured, one_sentence, trained
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


class TestAlign:
    def test_the_mean_norms_are_equal_and_all_else_is_as_it_was(self):
        weight = torch.randn(10, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 11)[:, None]
        before, old, new = weight.clone(), torch.arange(10) < 4, (torch.arange(10) >= 4) & (torch.arange(10) < 7)
        align(weight, old, new)
        norms = weight.norm(dim=1)
        torch.testing.assert_close(norms[new].mean(), norms[old].mean())
        assert torch.equal(weight[~new], before[~new])
        factors = weight[new] / before[new]
        torch.testing.assert_close(factors, factors[0, 0].expand_as(factors))
        assert factors[0, 0] < 1


@dataclass
class Watched(WA):
    """Notes the last layer around each task's end."""

    def configure(self, setting):
        super().configure(setting)
        self.ends = []

    def on_task_end(self, task_id):
        new, bias = self.teacher.current & ~self.teacher.known, self.network.head.bias.detach().clone()
        known = self.teacher.known
        super().on_task_end(task_id)
        self.ends.append((known, new, bias, self.network.head))


class TestRun:
    def test_after_each_task_old_and_new_classes_have_weights_of_one_mean_norm(self):
        class Checking(Watched):
            def on_task_end(self, task_id):
                super().on_task_end(task_id)
                known, new, bias, head = self.ends[-1]
                norms = head.weight.detach().norm(dim=1)
                if known.any():
                    torch.testing.assert_close(norms[new].mean(), norms[known].mean())
                assert bool((head.weight >= 0).all())
                assert torch.equal(head.bias, bias)
                x = few_digits().x_test
                torch.testing.assert_close(self.teacher(x), self.predict(x, None))

        method = Checking(buffer_size=20)
        run_here(small_setting("class_incremental"), method)
        assert [int(known.sum()) for known, *_ in method.ends] == [0, 4, 7]

    @pytest.mark.parametrize("key", ["traditional", "multi_task", "online_traditional"])
    def test_without_old_classes_it_is_rehearsal(self, key):
        methods = WA(buffer_size=20), Rehearsal(buffer_size=20, lr=0.2)
        for method in methods:
            run_here(small_setting(key), method)
        assert all(map(torch.equal, *(method.network.parameters() for method in methods)))

    @pytest.mark.parametrize("key", ["task_incremental", "domain_incremental"])
    def test_where_new_classes_do_not_compete_with_old_ones_nothing_is_clipped(self, key):
        method = Watched(buffer_size=20)
        run_here(small_setting(key), method)
        assert bool((method.network.head.weight < 0).any())

    def test_distillation_acts(self):
        @dataclass
        class Free(WA):
            def distances(self, outputs, taught):
                return super().distances(outputs, taught) * 0

        assert not all(map(torch.equal, trained(WA(buffer_size=20)), trained(Free(buffer_size=20))))


def test_a_network_without_a_linear_last_layer():
    class Squashed(nn.Sequential):
        def forward(self, x):
            return super().forward(x.float()).tanh()

    with pytest.raises(
        InvalidOptionError, match=r"--model Squashed does not end in a linear layer .* wa aligns"
    ) as error:
        configured(WA(model=Squashed(nn.Flatten(), nn.Linear(64, 10))))
    assert one_sentence(error.value)
