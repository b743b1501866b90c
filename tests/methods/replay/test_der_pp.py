from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.replay.der import DER, DERpp
from tests.methods.helpers import augmented, batch_of, configured, filled
from tests.small_runs import run_here, small_setting


def first_draw(step):
    """The rows (r, ...) of the first draw."""
    return {name: leaf[: step.replayed.n_first] for name, leaf in step.replayed.rows.items()}


def second_draw(step):
    """The samples (r, ...) of the second draw and their labels (r,)."""
    start = step.n_incoming + (0 if step.replayed is None else step.replayed.n_first)
    return step.batch.x[start:], step.batch.y[start:]


def explicit_loss(method, step):
    """Equation 7."""
    batch, first, (x, y) = step.incoming, first_draw(step), second_draw(step)
    labels = F.cross_entropy(method.network(x), y)
    outputs = (method.network(first["x"]) - first["logits"]).square().mean()
    return F.cross_entropy(method.network(batch.x), batch.y) + method.alpha * outputs + method.beta * labels


class TestLoss:
    @pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (0.0, 2.0), (2.0, 0.0)])
    @pytest.mark.parametrize("replay_ratio", [0.5, 1, 4])
    def test_it_is_equation_7(self, alpha, beta, replay_ratio):
        method = filled(configured(DERpp(buffer_size=20, alpha=alpha, beta=beta, replay_ratio=replay_ratio)))
        step = augmented(method, batch_of(40, 56))
        torch.testing.assert_close(method.loss(step), explicit_loss(method, step))

    def test_the_two_draws_are_independent(self):
        method = filled(configured(DERpp(buffer_size=30)), 64)
        before, batch, overlaps = method.buffer.n_draws, batch_of(64, 79), []
        for _ in range(40):
            step = augmented(method, batch)
            draws = (first_draw(step)["x"], second_draw(step)[0])
            first, second = ({x.numpy().tobytes() for x in rows} for rows in draws)
            assert len(first) == len(second) == 15
            overlaps.append(len(first & second))
        assert method.buffer.n_draws - before == 80
        # Hypergeometric: 15 of 30 meet 15 of 30, mean 7.5, variance 1.94.
        assert abs(sum(overlaps) / 40 - 7.5) < 4 * (1.94 / 40) ** 0.5

    def test_without_beta_the_weights_are_those_of_der(self):
        """But for the draws, which come twice as often."""
        method, other = (filled(configured(cls)) for cls in (DERpp(buffer_size=16, beta=0.0), DER(buffer_size=16)))
        batch = batch_of(40, 56)  # as many as there are in the buffer: each draw holds all of them
        torch.testing.assert_close(method.loss(augmented(method, batch)), other.loss(augmented(other, batch)))

    def test_without_replayed_samples_it_is_the_cross_entropy(self):
        method, batch = configured(DERpp()), batch_of(0, 16)
        torch.testing.assert_close(
            method.loss(augmented(method, batch)), F.cross_entropy(method.network(batch.x), batch.y)
        )


@dataclass
class Both(EWC, DERpp):
    """Dark experience replay, and weights that are held back."""


class TestComposition:
    def test_the_losses_add_up(self):
        @dataclass
        class Compared(Both):
            def configure(self, setting):
                super().configure(setting)
                self.compared = []

            def loss(self, step):
                loss = super().loss(step)
                if len(second_draw(step)[1]):
                    self.compared.append((loss.detach(), explicit_loss(self, step).detach(), self.penalty().detach()))
                return loss

        method = Compared(buffer_size=20, ewc_lambda=5.0)
        run_here(small_setting("class_incremental"), method)
        for loss, own, penalty in method.compared:
            torch.testing.assert_close(loss, own + penalty)
        assert float(method.compared[-1][2]) > 0


def test_options_out_of_range():
    with pytest.raises(InvalidOptionError, match=r"--beta -1\.0 has to be at least 0"):
        DERpp(beta=-1.0)
