import torch

from redwood.methods.replay.er_ace import ERACE
from tests.methods.helpers import augmented, batch_of, configured, filled

PRESENT = (0, 1, 7)
ABSENT = [2, 3, 4, 5, 6, 8, 9]


def incoming_and_replayed(n_stored=32):
    """The scores of a batch of three classes and of samples replayed with it, its labels, and the loss."""
    method = filled(configured(ERACE(buffer_size=40, replay_ratio=2)), n_stored)
    batch = batch_of(40, 70, PRESENT)
    assert set(batch.y.tolist()) == set(PRESENT)
    step, seen = augmented(method, batch), []
    method.network.register_forward_hook(lambda network, args, scores: seen.append(scores))
    loss = method.loss(step)
    return seen[0], step.batch.y, len(batch.y), loss


def by_hand(scores, y, n):
    """Equation 2, sample by sample."""
    of_incoming = [-(s[label] - s[list(PRESENT)].logsumexp(0)) for s, label in zip(scores[:n], y[:n], strict=True)]
    of_replayed = [-(s[label] - s.logsumexp(0)) for s, label in zip(scores[n:], y[n:], strict=True)]
    return sum(torch.stack(part).mean() for part in (of_incoming, of_replayed) if part)


class TestLoss:
    def test_it_is_equation_2(self):
        scores, y, n, loss = incoming_and_replayed()
        assert len(y) == 3 * n > n
        torch.testing.assert_close(loss, by_hand(scores, y, n))

    def test_without_replayed_samples(self):
        scores, y, n, loss = incoming_and_replayed(n_stored=0)
        assert len(y) == n
        torch.testing.assert_close(loss, by_hand(scores, y, n))

    def test_incoming_samples_leave_absent_classes_alone(self):
        scores, _, n, loss = incoming_and_replayed()
        (gradient,) = torch.autograd.grad(loss, scores)
        assert bool((gradient[:n, ABSENT] == 0).all())
        assert bool((gradient[:n, list(PRESENT)] != 0).all())
        assert bool((gradient[n:] != 0).all())

    def test_a_single_class_has_no_competitor(self):
        method = configured(ERACE())
        batch = batch_of(0, 80, (3,))
        loss = method.loss(augmented(method, batch))
        loss.backward()
        assert float(loss.detach()) == 0
        assert not any(bool(p.grad.any()) for p in method.network.parameters())
