"""A generator of samples: a variational autoencoder with a Dirichlet latent, conditioned on class and task."""

import math

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional as F

from redwood.methods.networks import Scale

# Concentrations stay away from zero, where draws underflow and have no gradient.
LEAST_CONCENTRATION = 0.02
# The least variance of a reconstruction, for values in [-1, 1].
LEAST_VARIANCE = 1e-4


class DirichletVAE(nn.Module):
    """q(z | x, c) = Dirichlet(encoder(x, c)), p(z) = Dirichlet(1, ..., 1), p(x | z, c) = Normal(decoder(z, c), s^2).

    It is the conditional autoencoder of Sohn et al. (2015) with the latent of Zeng et al. (2023): z is a point of a
    simplex. `Dirichlet.rsample` draws it with the exact gradient (implicit reparameterisation, Figurnov et al., 2018).
    The softmax of a normal variable would only be near a Dirichlet distribution.

    The variance s^2 is the best one for each mini-batch (Rybkin et al., 2021), so that the weight of the reconstruction
    needs no option. Encoder and decoder have two hidden layers, whatever the shape of the samples.

    Attributes:
        latent: Number of components of z.
    """

    low: Tensor
    high: Tensor

    def __init__(self, space: Box, n_conditions: int, *, latent: int, width: int) -> None:
        """Draw the weights from torch's global generator.

        Args:
            space: Space of one sample, of any shape and dtype.
            n_conditions: Numbers that say which sample is wanted, such as its class and its task, one-hot.
            latent: Components of z.
            width: Units of each hidden layer.
        """
        super().__init__()
        self.latent = latent
        self._shape = space.shape
        self._dtype = torch.from_numpy(np.empty(0, space.dtype)).dtype
        n_values = math.prod(space.shape)
        self.scale = Scale(space)
        for name, bounds in (("low", space.low), ("high", space.high)):
            self.register_buffer(name, torch.from_numpy(np.asarray(bounds, np.float32)), persistent=False)
        self.encoder = _layers(n_values + n_conditions, width, latent)
        self.decoder = _layers(latent + n_conditions, width, n_values)

    def losses(self, x: Tensor, conditions: Tensor) -> Tensor:
        """The negative evidence lower bound (B,), up to a constant.

        Args:
            x: Samples (B, ...) in their storage dtype.
            conditions: The class and task of each sample (B, n_conditions).
        """
        values = self.scale(x).flatten(1)
        concentrations = F.softplus(self.encoder(torch.cat([values, conditions], 1))) + LEAST_CONCENTRATION
        posterior = Dirichlet(concentrations)
        errors = (self._decode(posterior.rsample(), conditions) - values).square()
        variance = errors.mean().detach().clamp(min=LEAST_VARIANCE)
        losses: Tensor = errors.sum(1) / (2 * variance) + kl_divergence(posterior, self._prior(conditions))
        return losses

    @torch.no_grad()
    def forward(self, conditions: Tensor) -> Tensor:
        """New samples (B, ...) in their storage dtype, for conditions (B, n_conditions)."""
        values = self._decode(self._prior(conditions).sample(), conditions).unflatten(1, self._shape)
        gain = self.scale.gain
        # A feature that never varies has a gain of 0.
        unscaled: Tensor = torch.where(gain == 0, self.low, (values - self.scale.bias) / gain)
        bounded = unscaled.clamp(self.low, self.high)
        rounded = bounded if self._dtype.is_floating_point else bounded.round()
        return rounded.to(self._dtype)

    def _prior(self, conditions: Tensor) -> Dirichlet:
        return Dirichlet(conditions.new_ones(len(conditions), self.latent))

    def _decode(self, z: Tensor, conditions: Tensor) -> Tensor:
        # The mean of each component is 1 / latent.
        decoded: Tensor = self.decoder(torch.cat([self.latent * z - 1, conditions], 1))
        return decoded


def _layers(n_in: int, width: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_out))
