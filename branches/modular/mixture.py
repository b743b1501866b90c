"""Experts behind a hard gate: the expert with the nearest prototype answers for a sample."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.core.workers import gather_objects, sum_over_workers
from redwood.methods.networks.backbone import Backbone
from redwood.methods.training.layers import evaluating

# Rows that an expert answers at a time where its answers must not depend, to the last bit, on other rows.
PIECE = 32


class HardMixture(nn.Module):
    """Expert networks, and prototypes in the space of frozen features, each of one expert.

    In training mode only experts that are not frozen get samples.

    Attributes:
        experts: The networks, of any architectures; each maps samples (B, ...) to scores (B, K).
        n_frozen: Number of experts, the first ones, that are not trained any more.
        prototypes: Features (m, d).
        counts: Number of samples in the mean of each prototype (m,); a prototype with 0 is not in use.
        owner: The number of each prototype's expert (m,).
        choice: The expert (B,) of each sample of the last call.
        in_pieces: Whether experts in evaluation mode answer `PIECE` rows at a time, the last ones padded. The last bits
            of a product depend on the number of rows. So an answer stays the same, bit for bit, if other samples come
            to the same expert.
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
        self.in_pieces = False

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

    def reset(self, experts: Sequence[nn.Module], n_prototypes: int) -> None:
        """Hold these experts and so many prototypes, whose values and owners a state is to bring."""
        self.experts = nn.ModuleList(experts)
        self.prototypes = self.prototypes.new_zeros(n_prototypes, self.backbone.dim)
        self.counts = self.counts.new_zeros(n_prototypes)
        self.owner = self.owner.new_zeros(n_prototypes)

    def remove(self, number: int) -> None:
        """Remove an expert and its prototypes; the experts after it move up by one number."""
        del self.experts[number]
        left = self.owner != number
        self.prototypes, self.counts, self.owner = self.prototypes[left], self.counts[left], self.owner[left]
        self.owner -= (self.owner > number).long()
        self.n_frozen -= int(number < self.n_frozen)

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
        if expert.training or not self.in_pieces:
            return answer(expert, x)
        missing = -len(x) % PIECE
        padded = torch.cat([x, x[:1].expand(missing, *x.shape[1:])])
        return torch.cat([answer(expert, piece) for piece in padded.split(PIECE)])[: len(x)]

    def loads(self) -> Tensor:
        """Number of samples (n_experts,) in the means of each expert's prototypes."""
        return torch.bincount(self.owner, self.counts, minlength=len(self.experts))

    def can_split(self) -> Tensor:
        """Mask (n_experts,): the expert has two different prototypes in use."""
        owned = [self.prototypes[(self.counts > 0) & (self.owner == number)] for number in range(len(self.experts))]
        return torch.tensor([len(rows.unique(dim=0)) > 1 for rows in owned])

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

    def split(self, parent: int, spare: int, seed: int) -> None:
        """Split the prototypes of an expert between it and an expert of its architecture without prototypes.

        Two-means of the prototypes, weighted by their samples, decides the halves. The other expert starts from the
        weights of the first, so that no prediction changes.

        Args:
            parent: Number of the expert; at least two different prototypes of it are in use.
            spare: Number of the expert without prototypes.
            seed: Seed of the clustering.
        """
        rows = ((self.counts > 0) & (self.owner == parent)).nonzero()[:, 0]
        halves, _ = _cluster(self.prototypes[rows].cpu(), 2, seed, weights=self.counts[rows].cpu())
        self.owner[rows[halves[-1].to(rows.device)]] = spare
        self.experts[spare].load_state_dict(self.experts[parent].state_dict())


def answer(expert: nn.Module, x: Tensor) -> Tensor:
    """The scores (B, K) of an expert; batch normalisation cannot train on a single sample, and is not trained by it."""
    if expert.training and len(x) == 1:
        with evaluating(expert):
            scores: Tensor = expert(x)
    else:
        scores = expert(x)
    return scores


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
