"""iCaRL (Rebuffi et al., 2017, "iCaRL: Incremental Classifier and Representation Learning")."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.workers import sum_over_workers
from redwood.methods.distillation.lwf_mc import LwFMC
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings.base import Setting
from redwood.settings.batch import Batch


@dataclass
class ICaRL(LwFMC, Rehearsal):
    """Nearest-mean-of-exemplars classification on features that are trained with exemplars and distillation.

    The loss (algorithm 3) is that of LwF.MC, on exemplars, too. At the end of a task herding chooses exemplars of its
    classes from samples that were kept meanwhile, as many as the memory has for a class (algorithms 4 and 5; with
    `--buffer_policy class_balanced` they are random ones). A class is predicted by the nearest mean of exemplars
    (algorithm 1), and while a task is being trained by the network.
    The average with features of mirrored images, which the authors' code takes, is left out.
    """

    buffer_policy: str = "herding"  # which exemplars are kept: herding, class_balanced (random ones), ...
    herding_candidates: int = 2000  # samples of a task kept until its end, per worker, to choose exemplars from

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "herding_candidates", 1)

    def configure(self, setting: Setting) -> None:
        """Build the network and an empty memory."""
        super().configure(setting)
        if "losses" in self.buffer.policy.needs:
            raise InvalidOptionError(
                f"--buffer_policy {self.buffer_policy} needs losses, but icarl chooses by features or at random; "
                "choose another one, such as herding."
            )
        self._candidates_bytes = 0  # that they took at most
        self._means: Tensor | None = None
        self._open_candidates()

    def _open_candidates(self) -> None:
        purpose = f"herding candidates {self.phase_count}"
        self.candidates = self.make_buffer(purpose, "class_balanced", capacity=self.herding_candidates)

    def on_task_start(self, task_id: int | None) -> None:
        """Answer by the network until new exemplars have been chosen."""
        super().on_task_start(task_id)
        self._means = None
        self._open_candidates()

    def keep(self, batch: Batch) -> None:
        """Any sample of the task may become an exemplar."""
        self.store(self.candidates, batch, {})

    def on_task_end(self, task_id: int | None) -> None:
        """Keep the network as the next task's teacher, choose exemplars, and take their means."""
        super().on_task_end(task_id)
        self._candidates_bytes = max(self._candidates_bytes, self.candidates.nbytes)
        with self.flops.count():
            self._choose_exemplars()
            self._means = self.class_means()
        self._open_candidates()

    def _choose_exemplars(self) -> None:
        told = {}
        if "features" in self.buffer.needs:
            told["features"] = self.stored_features(self.candidates)
        self.offer(self.buffer, self.candidates.all(), **told)

    def class_means(self) -> Tensor | None:
        """Normalised means (K, d) of the exemplars' normalised features; infinitely far for classes without any."""
        features = F.normalize(self.stored_features(self.buffer), dim=1)
        labels = self.buffer.all()["y"].to(self.device)
        sums = features.new_zeros(len(self._seen), features.shape[1]).index_add_(0, labels, features)
        sums = sum_over_workers(sums.cpu()).to(self.device)
        means = F.normalize(sums, dim=1)
        return torch.where(sums.any(1, keepdim=True), means, torch.inf)

    @torch.no_grad()
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Minus the distances (B, K) to the means of exemplars; until there are any, the network's scores."""
        if self._means is None:
            return super().predict(x, task_id)
        features = F.normalize(self.features(x.to(self.device)), dim=1)
        # By way of a matrix product, infinite means would give no number.
        scores = -torch.cdist(features, self._means, compute_mode="donot_use_mm_for_euclid_dist")
        return scores if task_id is None else self.heads.mask(scores, task_id.to(self.device))

    def state_dict(self) -> dict[str, Any]:
        """The network's state, the teacher, the memory, the candidates and the means."""
        own = {
            "means": self._means,
            "candidates": self.candidates.state_dict(),
            "candidates_bytes": self._candidates_bytes,
        }
        return super().state_dict() | {"icarl": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        own = state["icarl"]
        self._means = None if own["means"] is None else own["means"].to(self.device)
        self.load_buffer(self.candidates, own["candidates"])
        self._candidates_bytes = own["candidates_bytes"]

    def costs(self) -> dict[str, Any]:
        """The costs of rehearsal and of the teacher; the candidates count as buffer."""
        costs = super().costs()
        candidates = max(self._candidates_bytes, self.candidates.nbytes)
        return costs | {"buffer_bytes": costs["buffer_bytes"] + candidates}


@dataclass
class Hybrid1(ICaRL):
    """Train as iCaRL does, with exemplars and distillation, but predict the class of the highest output.

    The gap to `icarl` is what its nearest-mean classifier brings; the gap to `lwf_mc` is what exemplars bring.
    """

    def class_means(self) -> None:
        """There are no means: the network predicts."""
