import torch

from redwood.methods.distillation.teacher import Teacher
from redwood.methods.training.flops import FlopMeter
from tests.samples import few_digits
from tests.small_runs import NormalisedNetwork

X = few_digits().x[:20]
FIRST, LATER = torch.arange(10) < 3, (torch.arange(10) >= 3) & (torch.arange(10) < 5)


def teacher_of(network):
    """It knows nothing yet."""
    return Teacher(network, 10, FlopMeter())


def taught():
    torch.manual_seed(0)
    network = NormalisedNetwork()
    teacher = teacher_of(network)
    network(X)
    teacher.current = FIRST
    teacher.learn()
    return network, teacher


class TestTeacher:
    def test_it_answers_as_the_network_did_whatever_becomes_of_that(self):
        network, teacher = taught()
        expected = network.eval()(X).detach()
        network.train()
        with torch.no_grad():
            for p in network.parameters():
                p += 1
        network(X)
        assert torch.equal(teacher(X), expected)
        assert torch.equal(teacher(X), expected)

    def test_it_is_not_trained(self):
        network, teacher = taught()
        assert not teacher(X).requires_grad
        assert not any(p.requires_grad for p in teacher.copy.parameters())
        assert all(p.requires_grad for p in network.parameters())
        assert network.training

    def test_known_outputs_add_up(self):
        _, teacher = taught()
        teacher.current = LATER
        teacher.learn()
        assert teacher.known.tolist() == [True] * 5 + [False] * 5

    def test_bytes_are_those_of_weights_and_statistics(self):
        network, teacher = taught()
        assert teacher.nbytes == sum(value.nbytes for value in network.state_dict().values())
        assert teacher_of(network).nbytes == 0

    def test_state_is_gone_on_with(self):
        network, teacher = taught()
        other = teacher_of(NormalisedNetwork())
        other.load_state_dict(teacher.state_dict())
        assert torch.equal(other(X), teacher(X))
        assert torch.equal(other.known, FIRST)
        assert torch.equal(other.current, FIRST)
        other.load_state_dict(teacher_of(network).state_dict())
        assert other.copy is None
