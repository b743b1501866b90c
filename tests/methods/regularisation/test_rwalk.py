import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.methods.regularisation.rwalk import RWalk, by_maximum
from tests.methods.helpers import configured, weights_of


def take_step(method, gradient, movement):
    """One step of all weights with the same gradient and movement."""
    for name, parameter in method.trained_weights():
        with torch.no_grad():
            parameter += movement
        method.measure.note_step(name, torch.full_like(parameter, gradient), torch.full_like(parameter, movement))
    method.measure.after_step()


def all_are(weights, value):
    return all(torch.allclose(part, torch.tensor(value), rtol=1e-4) for part in weights.values())


class TestIntervals:
    def test_fisher_information_is_a_running_mean(self):
        method = configured(RWalk(rwalk_interval=2, rwalk_alpha=0.8))
        for gradient in (1.0, 3.0, 2.0, 4.0):
            take_step(method, gradient, -0.01)
        first, second = (1 + 9) / 2, (4 + 16) / 2
        assert all_are(method.measure.fisher, 0.8 * second + 0.2 * first)

    def test_scores_are_the_drop_of_the_loss_by_the_length_of_the_way(self):
        method = configured(RWalk(rwalk_interval=2, rwalk_epsilon=0.1))
        take_step(method, 1.0, -0.2)
        assert all_are(method.measure.gained, 0.0), "the interval is not over"
        take_step(method, 1.0, -0.3)
        score = (0.2 + 0.3) / (0.5 * 1.0 * 0.5**2 + 0.1)
        assert all_are(method.measure.gained, score)
        for _ in range(2):
            take_step(method, 1.0, 0.1)
        assert all_are(method.measure.gained, score), "moves that raised the loss count as nothing"

    def test_the_end_of_a_task_ends_the_interval(self):
        method = configured(RWalk(rwalk_interval=100))
        take_step(method, 2.0, -0.1)
        method.on_task_end(0)
        assert all_are(method.measure.fisher, 4.0)
        assert method.measure.steps == 0


def test_importance():
    """Fisher information and score count alike; scores are averaged with those of earlier tasks."""
    method = configured(RWalk(rwalk_interval=1, rwalk_alpha=1.0))
    last = list(method.curvature)[-1]
    for task, gradient in enumerate((1.0, 2.0)):
        take_step(method, gradient, -0.01)
        method.measure.gained[last] = torch.full_like(method.measure.gained[last], 8.0 if task == 0 else 2.0)
        for name in method.measure.gained.keys() - {last}:
            method.measure.gained[name] = torch.full_like(method.measure.gained[name], 1.0)
        method.on_task_end(task)
    assert all_are({last: method.measure.score[last]}, (8.0 + 2.0) / 2)
    assert all_are({last: method.curvature[last]}, 2.0)
    others = {name: value for name, value in method.curvature.items() if name != last}
    assert all_are(others, 1 + 1 / 5)
    assert all(map(torch.equal, method.minimum.values(), weights_of(method)))


@pytest.mark.parametrize(
    "options", [{"rwalk_lambda": -1.0}, {"rwalk_alpha": 1.5}, {"rwalk_epsilon": 0.0}, {"rwalk_interval": 0}]
)
def test_options_out_of_range(options):
    with pytest.raises(InvalidOptionError, match="has to be at least"):
        RWalk(**options)


def test_the_scale_is_the_largest_value_of_all_weights():
    found = by_maximum({"a": torch.tensor([1.0, 4.0]), "b": torch.tensor([[2.0], [0.0]])})
    assert found["a"].tolist() == [0.25, 1.0] and found["b"].tolist() == [[0.5], [0.0]]
    assert by_maximum({"a": torch.zeros(2)})["a"].tolist() == [0, 0]
