import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.methods.distillation.lwf_mc import Fixed, LwFMC
from redwood.methods.training.optimizers import Sgd
from redwood.settings import ClassSplit
from tests.methods.helpers import one_sentence
from tests.small_runs import NormalisedNetwork, run_here, small_setting


class Watched(Fixed):
    """Notes the network, statistics of normalisation included, after each task."""

    def configure(self, setting):
        super().configure(setting)
        self.states = []

    def on_task_end(self, task_id):
        super().on_task_end(task_id)
        self.states.append({name: value.clone() for name, value in self.network.state_dict().items()})


@pytest.fixture(scope="module")
def states():
    method = Watched(model=NormalisedNetwork(), optimizer=Sgd(momentum=0.9, weight_decay=0.1), dropout=0.2)
    run_here(small_setting("class_incremental", stream=ClassSplit(class_order=list(range(10)))), method)
    assert method.teacher.copy is None
    return method.states


def test_the_representation_stays_as_the_first_task_left_it(states):
    last = list(states[0])[-2:]
    assert any("running_mean" in name for name in states[0])
    for later in states[1:]:
        assert all(torch.equal(later[name], states[0][name]) for name in later if name not in last)


def test_a_task_trains_the_outputs_of_its_own_classes_only(states):
    weight = list(states[0])[-2]
    for before, after, first, stop in ((*states[:2], 4, 7), (*states[1:], 7, 10)):
        changed = (before[weight] != after[weight]).any(1)
        assert changed.nonzero()[:, 0].tolist() == list(range(first, stop))


def test_the_first_task_is_that_of_lwf_mc():
    setting = small_setting("class_incremental", nb_tasks=1)
    methods = Fixed(), LwFMC()
    for method in methods:
        run_here(setting, method)
    assert all(map(torch.equal, *(method.network.parameters() for method in methods)))


def test_an_optimizer_of_other_weights_cannot_be_kept():
    with pytest.raises(InvalidOptionError, match="optimizer_state keep does not go with fixed") as caught:
        Fixed(optimizer_state="keep")
    assert one_sentence(caught.value)
