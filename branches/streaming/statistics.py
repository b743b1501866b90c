"""Methods that classify by statistics of frozen features, from one pass over the stream."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from typing_extensions import override

from redwood.core.state import State
from redwood.core.workers import sum_over_workers, world_size
from redwood.methods.base import Method
from redwood.methods.networks.backbone import make_backbone
from redwood.methods.training.heads import TaskHeads, count_outputs
from redwood.settings.assumptions import TaskIds
from redwood.settings.batch import Batch
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ContinualSetting

Sums = dict[str, Tensor]

# While a phase is read, a system of d equations is solved again after d / 8 samples, or a tenth of the samples so far.
# Then solving costs of the order of d^2 for each sample, as much as learning it.
SOLVES, FRESH = 8, 0.1
REPORT_EVERY = 10


@dataclass
class StreamingMethod(Method):
    """Sum statistics of frozen features over samples, and classify by a linear function that follows from the sums.

    A subclass defines the sums (`empty`), what a batch adds to them (`learn`), and the weights that follow (`solve`).
    Sums do not depend on the order of the samples. Apart from rounding, they do not depend on the worker that reads a
    sample: at the end of a phase the workers add up their sums. The stream is read once, whatever its `passes`. Nothing
    is trained by gradients.

    Attributes that a subclass may use:
        backbone_network: Maps samples (B, ...) to features (B, d).
        n_classes: The number K of classes.
        place: The device of the sums, which are in double precision.
        sums: The sums over all samples so far; `counts` (K,) holds the samples of each class.
    """

    target = ContinualSetting

    backbone: Any = "identity"  # frozen features: identity (scaled input) or a network by name, such as resnet18
    backbone_weights: str = ""  # file with the state dict of a network given by name (default: random weights)

    @abstractmethod
    def empty(self) -> Sums:
        """The sums of no samples, all on `place`."""

    @abstractmethod
    def learn(self, features: Tensor, y: Tensor) -> None:
        """Add the features (B, d) of samples of classes (B,) to the sums, in double precision."""

    @abstractmethod
    def solve(self) -> tuple[Tensor, Tensor]:
        """Weights (d, K) and biases (K,) of the linear classifier that follows from the sums."""

    def equations(self) -> int:
        """The size of the system that `solve` solves; 0 if there is none."""
        return 0

    def transform(self, features: Tensor) -> Tensor:
        """Further features (B, D) from those of the backbone (B, d), in double precision; by default the same."""
        return features

    def add_products(self, name: str, left: Tensor, right: Tensor) -> None:
        """Add left' right to a sum, in place. torch counts the operations of this form, but not those of `addmm_`."""
        torch.addmm(self.sums[name], left.T, right, out=self.sums[name])

    def one_hot(self, y: Tensor) -> Tensor:
        """Classes (B,) as rows (B, K): to sum by class by a matrix product, which is deterministic on GPUs, too."""
        return F.one_hot(y, self.n_classes).double()

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        self.setting = setting
        self.device = self.run.device(setting.workers)
        self.place = torch.device("cpu") if self.device.type == "mps" else self.device  # which has no doubles
        self.n_classes = count_outputs(setting.action_space)
        space, reads = setting.observation_space, not self.run.is_trained
        network = make_backbone(self.backbone, self.backbone_weights, space, setting.seed, reads=reads)
        self.backbone_network = network.to(self.device)
        if self.backbone_weights:  # without a file, it follows from the seed
            self.add_state("backbone_network", self.backbone_network)
        if self.run.threads:
            torch.set_num_threads(self.run.threads)
        heads = TaskHeads(self.n_classes, active=setting.assumptions.task_ids >= TaskIds.TEST)
        self.heads = self.add_state("heads", heads)
        self.flops = self.add_state("flops", 0.0)
        self.sums = self.add_state("sums", self._no_sums(), buffer=True)
        self._flops_of_batch: dict[int, float] = {}
        self._outdated()

    def forget(self) -> None:
        """Start with no samples."""
        self.sums = self._no_sums()

    def _no_sums(self) -> Sums:
        return self.empty() | {"counts": self._zeros(self.n_classes)}

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.place)

    def _outdated(self) -> None:
        """Solve again before the next prediction: the sums have changed."""
        self._weights: tuple[Tensor, Tensor] | None = None

    @override
    def fit(self, phase: Phase) -> None:
        self.heads.learn(phase.task_classes)
        if self.setting.phases_accumulate:
            self.forget()  # the phase holds all that was read in earlier ones
        self._outdated()
        self._phase_read = self._solved_at = 0
        before = {name: value.clone() for name, value in self.sums.items()} if world_size() > 1 else {}
        for step, batch in enumerate(phase.train, start=1):
            if batch.first_pass:
                self._read(batch, phase)
            if step % REPORT_EVERY == 0:
                self.run.reporter.step(step)
        for name, value in before.items():
            self.sums[name] = value + sum_over_workers((self.sums[name] - value).cpu()).to(self.place)
        self._outdated()
        self.run.global_step += len(phase.train)

    def _read(self, batch: Batch, phase: Phase) -> None:
        if self._phase_read - self._solved_at >= min(self.equations() / SOLVES, FRESH * self._phase_read):
            self._outdated()
            self._solved_at = self._phase_read
        y = batch.y.to(self.place)
        self._solved()  # outside the count: not every batch of this size needs it
        with self._counted(len(y)):
            features = self.features(batch.x)
            scores = self._scores(features, batch.task_id if self.heads.active else None)
            self.learn(features, y)
        self.sums["counts"] += torch.bincount(y, minlength=self.n_classes)
        self._phase_read += len(y)
        phase.score(scores.argmax(1), batch)

    @override
    def features(self, x: Tensor) -> Tensor:
        return self.transform(self.backbone_network(x.to(self.device)).to(self.place).double())

    def _solved(self) -> tuple[Tensor, Tensor]:
        if self._weights is None:
            self._weights = self.solve()
        return self._weights

    def count_solving(self) -> None:
        """Count the operations of a Cholesky decomposition, and of solving for K classes; `solve` has to call it."""
        n = self.equations()
        self.flops += n**3 / 3 + 2 * n**2 * self.n_classes

    @contextmanager
    def _counted(self, n_samples: int) -> Iterator[None]:
        """Count the FLOPs of the body; they depend on the number of samples alone, so each number is counted once."""
        if n_samples in self._flops_of_batch:
            yield
        else:
            with FlopCounterMode(display=False) as counter:
                yield
            self._flops_of_batch[n_samples] = float(counter.get_total_flops())
        self.flops += self._flops_of_batch[n_samples]

    def _scores(self, features: Tensor, task_id: Tensor | None) -> Tensor:
        weights, biases = self._solved()
        scores = features @ weights + biases
        seen = self.sums["counts"] > 0
        # An exported graph cannot look at the counts; one is made of methods that have seen some.
        if not torch.compiler.is_exporting() and not bool(seen.any()):
            scores = torch.rand(scores.shape, dtype=scores.dtype).to(scores.device)
        else:
            # Unseen classes rank behind seen ones, but before those that a task id excludes.
            scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
        return scores if task_id is None else self.heads.mask(scores, task_id.to(scores.device))

    @override
    @torch.no_grad()
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        return self._scores(self.features(x), task_id)

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._outdated()

    @override
    def costs(self) -> dict[str, Any]:
        parameters = sum(p.numel() for p in self.backbone_network.parameters()) + self.classifier_parameters()
        return super().costs() | {"training_flops": self.flops, "parameters": parameters}

    def classifier_parameters(self) -> int:
        """Weights and biases of the classifier."""
        return (self.backbone_network.dim + 1) * self.n_classes
