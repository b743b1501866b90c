"""Train on parts of the samples, to see how the loss of each slice falls with its number of samples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from redwood.branches.acquisition.curves import Points
from redwood.core.seeding import derive_seed, generator, preserved_random_state
from redwood.methods.training.flops import FlopMeter
from redwood.methods.training.layers import evaluating

_EVALUATED = 1024  # samples that are predicted at one time


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples whose slices are known.

    Attributes:
        x: Samples (n, ...).
        y: Classes (n,).
        slices: Slice of each sample (n,), 0..S-1.
        num_slices: Number of slices S.
    """

    x: Tensor
    y: Tensor
    slices: Tensor
    num_slices: int

    def __getitem__(self, rows: Tensor) -> "Samples":
        return Samples(self.x[rows], self.y[rows], self.slices[rows], self.num_slices)


@dataclass(frozen=True)
class Trials:
    """The measurement of learning curves: `repeats` times on each of `subsets` parts of the samples.

    Each repetition shuffles the samples of each slice. Its parts grow in equal steps. Each part has at least one sample
    of each slice; the largest leaves out a share `held_out`, at least one sample. So one training serves all slices
    (Tae & Whang, 2021, section 4.2). Losses are measured on held-out samples, as in the paper. Without such samples,
    they are measured on all samples that a training did not use, since slices may be small.

    Attributes:
        subsets: Number of parts K.
        repeats: Number of repetitions R.
        held_out: Share of each slice that the largest part leaves out, unless there are samples to test on.
        batch_size: Samples of a training step.
        passes: How often each sample is presented.
        seed: Decides parts, initial weights and the order of the samples.
    """

    subsets: int
    repeats: int
    held_out: float
    batch_size: int
    passes: int
    seed: int

    def measure(
        self,
        samples: Samples,
        make: Callable[[], tuple[nn.Module, Optimizer]],
        flops: FlopMeter,
        tested: Samples | None = None,
        *,
        largest_alone: bool = False,
    ) -> list[Points]:
        """The losses of each slice (S,) at the sizes that it had in the trainings.

        Args:
            samples: All samples that may be used, on the device of the networks.
            make: Makes a network with new weights, drawn from torch's global generator, and its optimizer.
            flops: Counts all of it as search.
            tested: Samples that no training uses, to measure the losses on; None: those that a training leaves out.
            largest_alone: Whether to train on the largest part alone.
        """
        sizes, losses = [], []
        share_aside = self.held_out if tested is None else 0.0
        for repeat in range(self.repeats):
            for part in range(self.subsets if largest_alone else 1, self.subsets + 1):
                train, left = self._split(samples, share_aside, repeat, part / self.subsets)
                others = samples[left] if tested is None else tested
                if not len(train) or not len(others.y):
                    continue
                with preserved_random_state():
                    torch.manual_seed(derive_seed(self.seed, "trial", repeat, part))
                    network = self._train(samples[train], make, flops)
                sizes.append(torch.bincount(samples.slices[train], minlength=samples.num_slices).cpu().numpy())
                losses.append(_losses(network, others, flops))
        counts, values = np.array(sizes, dtype=np.float64), np.array(losses)
        found = []
        for number in range(samples.num_slices):
            known = np.isfinite(values[:, number]) & (counts[:, number] > 0) if len(values) else np.zeros(0, bool)
            own = (counts[known, number], values[known, number]) if len(values) else (np.zeros(0), np.zeros(0))
            found.append(Points(*own).means())
        return found

    def _split(self, samples: Samples, share_aside: float, repeat: int, share: float) -> tuple[Tensor, Tensor]:
        """The rows to train on, a `share` of all but those of `share_aside`, and all others."""
        train, held_out = [], []
        for number in range(samples.num_slices):
            rows = (samples.slices == number).nonzero().flatten().cpu()
            rows = rows[torch.randperm(len(rows), generator=generator(self.seed, "trial split", repeat, number))]
            aside = min(max(1, round(share_aside * len(rows))), max(0, len(rows) - 1)) if share_aside else 0
            size = max(1, round(share * (len(rows) - aside)))
            train.append(rows[:size])
            held_out.append(rows[size:])
        device = samples.slices.device
        return torch.cat(train).to(device), torch.cat(held_out).to(device)

    def _train(self, samples: Samples, make: Callable[[], tuple[nn.Module, Optimizer]], flops: FlopMeter) -> nn.Module:
        network, optimizer = make()
        network.train()
        n = len(samples.y)
        for _ in range(self.passes):
            for rows in torch.randperm(n).split(self.batch_size):
                if len(rows) == 1 and n > 1:
                    continue  # batch normalisation cannot train on a single sample
                batch = samples[rows.to(samples.y.device)]
                with flops.count_once("search", ("trial", len(rows))):
                    optimizer.zero_grad()
                    F.cross_entropy(network(batch.x), batch.y).backward()
                    optimizer.step()
        return network


@torch.no_grad()
def _losses(network: nn.Module, samples: Samples, flops: FlopMeter) -> np.ndarray:
    """The mean cross-entropy on the samples of each slice (S,); NaN where there are none."""
    sums = torch.zeros(2, samples.num_slices, dtype=torch.float64)
    with evaluating(network):
        for rows in torch.arange(len(samples.y)).split(_EVALUATED):
            batch = samples[rows.to(samples.y.device)]
            with flops.count_once("search", ("trial scores", len(rows))):
                losses = F.cross_entropy(network(batch.x), batch.y, reduction="none")
            values = torch.stack([torch.ones_like(losses), losses]).double().cpu()
            sums.index_add_(1, batch.slices.cpu(), values)
    return (sums[1] / sums[0]).numpy()
