import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch.distributions import Dirichlet, kl_divergence

from redwood.branches.generative.generator import LEAST_CONCENTRATION, DirichletVAE
from tests.samples import few_digits

SPACES = {
    "images": Box(0, 255, (1, 4, 4), np.uint8),
    "features": Box(np.array([-3.0, 0.0, 5.0], np.float32), np.array([1.0, 0.5, 5.0], np.float32)),
    "unbounded": Box(-np.inf, np.inf, (3,), np.float32),
    "numbers": Box(-4, 9, (2, 3), np.int64),
}


def generator_for(space, n_conditions=3, latent=4, width=32):
    torch.manual_seed(0)
    return DirichletVAE(space, n_conditions, latent=latent, width=width)


def one_hot(y, n):
    return torch.nn.functional.one_hot(y, n).float()


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
class TestSamples:
    def test_they_lie_in_the_space(self, space):
        generated = generator_for(space)(torch.eye(3)[torch.arange(30) % 3])
        assert generated.shape == (30, *space.shape)
        assert all(space.contains(sample) for sample in generated.numpy())

    def test_the_loss_has_gradients_in_all_weights(self, space):
        generator = generator_for(space)
        x = torch.from_numpy(np.stack([space.sample() for _ in range(8)]))
        losses = generator.losses(x, torch.eye(3)[torch.arange(8) % 3])
        assert losses.shape == (8,)
        losses.mean().backward()
        assert all(bool(p.grad.isfinite().all() and p.grad.any()) for p in generator.parameters())


def test_the_divergence_is_that_of_the_posterior_from_the_flat_prior(monkeypatch):
    """The decoder ignores the latent; what is left is written by hand."""
    generator, x, conditions = generator_for(SPACES["images"]), torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.eye(3)
    monkeypatch.setattr(generator, "_decode", lambda z, c: torch.zeros(2, 16))
    inputs = torch.cat([torch.full((2, 16), -1.0), conditions[:2]], 1)
    concentrations = torch.nn.functional.softplus(generator.encoder(inputs)) + LEAST_CONCENTRATION
    expected = 16 * 1.0 / 2 + kl_divergence(Dirichlet(concentrations), Dirichlet(torch.ones(2, 4)))
    torch.testing.assert_close(generator.losses(x, conditions[:2]), expected)


def test_a_feature_that_never_varies_keeps_its_value():
    generated = generator_for(SPACES["features"])(torch.eye(3))
    assert torch.equal(generated[:, 2], torch.full((3,), 5.0))


def test_trained_on_digits_it_generates_the_class_that_is_asked_for():
    data = few_digits(n_train=600)
    generator = generator_for(Box(0, 16, data.x.shape[1:], np.uint8), n_conditions=10, latent=8, width=64)
    optimizer = torch.optim.Adam(generator.parameters(), 3e-3)
    for _ in range(20):
        for rows in torch.randperm(600).split(32):
            optimizer.zero_grad()
            generator.losses(data.x[rows], one_hot(data.y[rows], 10)).mean().backward()
            optimizer.step()
    wanted = torch.arange(200) % 10
    generated = generator(one_hot(wanted, 10))
    assert generated.dtype == data.x.dtype
    means = torch.stack([data.x[data.y == label].float().mean(0).flatten() for label in range(10)])
    found = torch.cdist(generated.float().flatten(1), means).argmin(1)
    assert (found == wanted).float().mean() > 0.9
    zeros = generated[wanted == 0].float()
    assert zeros.std(0).mean() > 0.3, "samples of a class differ"
