import torch
from torch import nn

from redwood.methods.distillation.teacher import Teacher, outputs_kept
from redwood.methods.training.flops import FlopMeter
from tests.samples import few_digits
from tests.small_runs import NormalisedNetwork

X = few_digits().x[:20]
FIRST, LATER = torch.arange(10) < 3, (torch.arange(10) >= 3) & (torch.arange(10) < 5)


def taught():
    torch.manual_seed(0)
    network, teacher = NormalisedNetwork(), Teacher(10, FlopMeter())
    network(X)
    teacher.copy(network, FIRST)
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
        assert not any(p.requires_grad for p in teacher.network.parameters())
        assert all(p.requires_grad for p in network.parameters())
        assert network.training

    def test_known_outputs_add_up(self):
        network, teacher = taught()
        teacher.copy(network, LATER)
        assert teacher.known.tolist() == [True] * 5 + [False] * 5

    def test_bytes_are_those_of_weights_and_statistics(self):
        network, teacher = taught()
        assert teacher.nbytes == sum(value.nbytes for value in network.state_dict().values())
        assert Teacher(10, FlopMeter()).nbytes == 0

    def test_state_is_gone_on_with(self):
        network, teacher = taught()
        other = Teacher(10, FlopMeter())
        other.load_state_dict(teacher.state_dict(), NormalisedNetwork())
        assert torch.equal(other(X), teacher(X))
        assert torch.equal(other.known, FIRST)
        other.load_state_dict(Teacher(10, FlopMeter()).state_dict(), network)
        assert other.network is None


class TestOutputsKept:
    def test_what_the_network_makes_of_these_samples_is_kept_with_its_gradient(self):
        network = nn.Linear(3, 2)
        x, others = torch.ones(4, 3), torch.ones(4, 3)
        with outputs_kept(network, x) as kept:
            network(others)
            outputs = network(x)
        network(x)
        assert len(kept) == 1
        assert kept[0] is outputs
        assert kept[0].requires_grad
        assert not network._forward_hooks
