"""Experts behind a hard gate: the expert with the nearest prototype answers for a sample."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.core.workers import gather_objects, sum_over_workers
from redwood.methods.streaming.backbone import Backbone
from redwood.methods.training.layers import evaluating


class HardMixture(nn.Module):
    """Expert networks of one shape, and prototypes in the space of frozen features, each of one expert.

    In training mode only experts that are not frozen get samples.

    Attributes:
        experts: The networks; each maps samples (B, ...) to scores (B, K).
        n_frozen: Number of experts, the first ones, that are not trained any more.
        prototypes: Features (m, d).
        counts: Number of samples in the mean of each prototype (m,); a prototype with 0 is not in use.
        owner: The number of each prototype's expert (m,).
        choice: The expert (B,) of each sample of the last call.
    """

    prototypes: Tensor
    counts: Tensor
    owner: Tensor

    def __init__(self, backbone: Backbone) -> None:
        """Start without experts.

        Args:
            backbone: Maps samples to the features of the gate.
        """
        super().__init__()
        self.backbone = backbone
        self.experts = nn.ModuleList()
        self.n_frozen = 0
        self.register_buffer("prototypes", torch.zeros(0, backbone.dim))
        self.register_buffer("counts", torch.zeros(0))
        self.register_buffer("owner", torch.zeros(0, dtype=torch.long))
        self.choice = torch.zeros(0, dtype=torch.long)

    def freeze(self) -> None:
        """Stop training all present experts."""
        self.experts.requires_grad_(False)
        self.n_frozen = len(self.experts)

    def grow(self, experts: Sequence[nn.Module], owned: Sequence[int]) -> None:
        """Add experts and, for each, `owned` prototypes that are not in use yet."""
        device = self.prototypes.device
        owners = torch.arange(len(experts)).repeat_interleave(torch.tensor(list(owned))) + len(self.experts)
        self.experts.extend(experts)
        self.prototypes = torch.cat([self.prototypes, self.prototypes.new_zeros(len(owners), self.backbone.dim)])
        self.counts = torch.cat([self.counts, self.counts.new_zeros(len(owners))])
        self.owner = torch.cat([self.owner, owners.to(device)])

    def forward(self, x: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Scores (B, K) of samples (B, ...); `allowed` (B, experts), bool, may exclude experts for a sample."""
        nearest = self.nearest(self.backbone(x), allowed)
        self.choice = self.owner[nearest]
        scores: Tensor | None = None
        for number in self.choice.unique().tolist():
            members = (self.choice == number).nonzero()[:, 0]
            answer = self._answer(self.experts[number], x[members])
            scores = answer.new_zeros(len(x), answer.shape[1]) if scores is None else scores
            scores = scores.index_copy(0, members, answer)
        assert scores is not None
        return scores

    def _answer(self, expert: nn.Module, x: Tensor) -> Tensor:
        if expert.training and len(x) == 1:  # batch normalisation cannot train on a single sample
            with evaluating(expert):
                answer: Tensor = expert(x)
        else:
            answer = expert(x)
        return answer

    def nearest(self, features: Tensor, allowed: Tensor | None = None) -> Tensor:
        """The nearest prototype in use (B,) to features (B, d); if none is in use, the first allowed one."""
        distances = torch.cdist(features, self.prototypes.to(features.dtype))
        distances = distances.masked_fill(self.counts == 0, torch.finfo(distances.dtype).max)
        if self.training:
            distances = distances.masked_fill(self.owner < self.n_frozen, torch.inf)
        if allowed is not None:
            distances = distances.masked_fill(~allowed[:, self.owner], torch.inf)
        return distances.argmin(1)

    def place(self, features: Tensor, seed: int) -> None:
        """Place the prototypes of the experts in training, by k-means.

        Each expert gets one cluster of all features; the clusters within it are its prototypes.

        Args:
            features: Features (n, d) of this worker; the features of all workers are clustered.
            seed: Seed of the clustering.
        """
        together = torch.cat(gather_objects(features.float().cpu()))
        trained = self.owner >= self.n_frozen
        self.counts[trained] = 0
        owners = self.owner[trained].unique().tolist()
        cells, _ = _cluster(together, len(owners), seed)
        for number, members in zip(owners, cells, strict=False):
            rows = (self.owner == number).nonzero()[:, 0]
            inner, centres = _cluster(together[members], len(rows), seed)
            used = rows[: len(inner)]
            self.prototypes[used] = centres.to(self.prototypes)
            self.counts[used] = torch.tensor([float(len(cell)) for cell in inner]).to(self.counts)

    def move(self, features: Tensor) -> None:
        """Move each prototype in training to the mean of all features so far for which it was the nearest.

        This is a step of mini-batch k-means (Sculley, 2010) with the features (n, d) of all workers.
        """
        chosen = F.one_hot(self.nearest(features), len(self.owner)).to(self.counts.dtype)
        added = sum_over_workers(torch.cat([chosen.T @ features.to(chosen.dtype), chosen.sum(0)[:, None]], 1).cpu())
        added = added.to(self.counts.device)
        self.counts += added[:, -1]
        step = added[:, :-1] - added[:, -1:] * self.prototypes
        self.prototypes += step / self.counts.clamp(min=1)[:, None]

    def split(self, spare: int, seed: int) -> bool:
        """Split the prototypes of the most loaded expert in training between it and an expert without prototypes.

        Two-means of the prototypes, weighted by their samples, decides the halves. The other expert starts from the
        weights of the first, so that no prediction changes.

        Args:
            spare: Number of the expert without prototypes.
            seed: Seed of the clustering.

        Returns:
            Whether there was an expert with two prototypes in use.
        """
        used = (self.counts > 0) & (self.owner >= self.n_frozen)
        loads = torch.bincount(self.owner[used], self.counts[used], minlength=len(self.experts))
        loads[torch.bincount(self.owner[used], minlength=len(self.experts)) < 2] = 0
        if not bool(loads.any()):
            return False
        parent = int(loads.argmax())
        rows = (used & (self.owner == parent)).nonzero()[:, 0]
        halves, _ = _cluster(self.prototypes[rows].cpu(), 2, seed, weights=self.counts[rows].cpu())
        self.owner[rows[halves[-1].to(rows.device)]] = spare
        self.experts[spare].load_state_dict(self.experts[parent].state_dict())
        return True


def _cluster(points: Tensor, n_clusters: int, seed: int, weights: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    """Members of each k-means cluster of points (n, d), and the centres; all workers use the result of the first.

    There are fewer clusters if there are fewer different points.
    """
    from sklearn.cluster import KMeans

    n_clusters = min(n_clusters, len(points.unique(dim=0)))
    means = KMeans(n_clusters, n_init=4, random_state=seed % 2**32)
    means.fit(points.double().numpy(), sample_weight=None if weights is None else weights.double().numpy())
    found = torch.from_numpy(means.labels_).long(), torch.from_numpy(means.cluster_centers_)
    labels, centres = gather_objects(found)[0]
    return [(labels == number).nonzero()[:, 0] for number in range(n_clusters)], centres
