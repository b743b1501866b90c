"""iCaRL (Rebuffi et al., 2017, "iCaRL: Incremental Classifier and Representation Learning")."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from redwood.buffers import RehearsalBuffer
from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Choice
from redwood.core.state import State
from redwood.core.workers import sum_over_workers
from redwood.methods.distillation.lwf_mc import LwFMC
from redwood.methods.networks.last_layer import features_of
from redwood.methods.replay.exemplars import Exemplars
from redwood.methods.replay.parts import BUFFER_POLICIES
from redwood.methods.replay.replay import add_incoming, stored_features
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting


@dataclass
class ICaRL(LwFMC, Exemplars):
    """Nearest-mean-of-exemplars classification on features that are trained with exemplars and distillation.

    The loss (algorithm 3) is that of LwF.MC, on exemplars, too. At the end of a task, herding chooses exemplars of its
    classes from samples kept during the task (algorithms 4 and 5). Their number is that of the memory for a class. With
    `--buffer_policy class_balanced` they are random ones. A class is predicted by the nearest mean of exemplars
    (algorithm 1). While a task is trained, the network predicts. The authors' code also averages with features of
    mirrored images; this is left out.
    """

    brings: ClassVar[frozenset[str]] = frozenset({"exemplars"})

    buffer_policy: Choice = BUFFER_POLICIES.chosen("herding")  # policy that chooses the samples to keep, here exemplars
    herding_candidates: int = 2000  # samples of a task, per worker, among which exemplars are chosen at its end

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "herding_candidates", 1)
        if self.asynchronous:
            raise InvalidOptionError(
                f"--async does not go with {self.reference()}, which chooses its exemplars at the end of a task; "
                "leave it out."
            )

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        if "losses" in self.buffer.policy.needs:
            raise InvalidOptionError(
                f"--buffer_policy {BUFFER_POLICIES.text_of(self.buffer_policy)} needs losses, but icarl chooses by "
                "features or at random; choose another one, such as herding."
            )
        self.means: Tensor | None = self.add_state("means", None)
        self.candidates = self.add_state("candidates", self._empty_candidates())
        self.candidates_bytes = self.add_state("candidates_bytes", 0)  # peak bytes of the candidates

    def _empty_candidates(self) -> RehearsalBuffer:
        purpose = f"herding candidates {self.phase_count}"
        return self.make_buffer(purpose, self.setting.seed, "class_balanced", capacity=self.herding_candidates)

    @override
    def on_task_start(self, task_id: int | None) -> None:
        """Answer by the network until new exemplars have been chosen."""
        super().on_task_start(task_id)
        self.means = None
        self.candidates = self._empty_candidates()

    @override
    def add(self, step: Step) -> None:
        """Any sample of the task may become an exemplar."""
        add_incoming(self.candidates, step, on_gpu=self.is_on_gpu(self.device))

    @override
    def on_task_end(self, task_id: int | None) -> None:
        """Choose exemplars from the candidates, and take their means."""
        super().on_task_end(task_id)
        self.candidates_bytes = max(self.candidates_bytes, self.candidates.nbytes)
        with self.flops.count():
            self._choose_exemplars()
            self.means = self.class_means()
        self.candidates = self._empty_candidates()

    def _choose_exemplars(self) -> None:
        side_info = {}
        if "features" in self.buffer.needs:
            side_info["features"] = stored_features(self.candidates, self)
        self.buffer.add(self.candidates.all(), **side_info)

    def class_means(self) -> Tensor | None:
        """Normalised means (K, d) of the exemplars' normalised features; infinitely far for classes without any."""
        features = F.normalize(stored_features(self.buffer, self), dim=1)
        labels = self.buffer.all()["y"].to(self.device)
        sums = features.new_zeros(self.n_outputs, features.shape[1]).index_add_(0, labels, features)
        sums = sum_over_workers(sums.cpu()).to(self.device)
        means = F.normalize(sums, dim=1)
        return torch.where(sums.any(1, keepdim=True), means, torch.inf)

    @override
    def grow_state(self, saved: State, smaller: Any) -> State:
        state = super().grow_state(saved, smaller)
        if state["means"] is not None:
            further = state["means"].new_full((self.n_outputs - smaller.n_outputs, state["means"].shape[1]), torch.inf)
            state["means"] = torch.cat([state["means"], further])
        return state

    @torch.no_grad()
    @override
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Minus the distances (B, K) to the means of exemplars; until there are any, the network's scores."""
        if self.means is None:
            return super().predict(x, task_id)
        features = F.normalize(features_of(self.network, x.to(self.device)), dim=1)
        # A matrix product would turn infinite means into NaN.
        scores = -torch.cdist(features, self.means, compute_mode="donot_use_mm_for_euclid_dist")
        return scores if task_id is None else self.heads.mask(scores, task_id.to(self.device))

    @override
    def costs(self) -> State:
        costs = super().costs()
        candidates = max(self.candidates_bytes, self.candidates.nbytes)
        return costs | {"buffer_bytes": costs["buffer_bytes"] + candidates}


@dataclass
class Hybrid1(ICaRL):
    """Train as iCaRL does, with exemplars and distillation, but predict the class of the highest output.

    The gap to `icarl` is what its nearest-mean classifier brings; the gap to `lwf_mc` is what exemplars bring.
    """

    def class_means(self) -> None:
        """There are no means: the network predicts."""
