"""Generative rehearsal: a generator stands in for stored samples (Shin et al., 2017; Zeng et al., 2023)."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from typing_extensions import override

from redwood.branches.generative.generator import DirichletVAE
from redwood.core.checks import check_positive, check_range
from redwood.core.errors import NotApplicableError
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.core.state import State
from redwood.core.workers import sum_over_workers, world_size
from redwood.methods.base import Composition
from redwood.methods.distillation.teacher import Distilling
from redwood.methods.training.step import Replayed, Step
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ClassIncrementalSetting


@dataclass
class GenerativeRehearsal(Distilling):
    """Train on each mini-batch together with generated samples of earlier tasks; no sample is stored.

    L = CE(incoming and generated) + alpha * T^2 * JS(old outputs || outputs)(generated), after "Dirichlet Continual
    Learning" (Zeng et al., 2023). The paper generates sentences of a dialogue; here a conditional autoencoder
    (`DirichletVAE`) generates images and vectors of features. At the end of each task, generator and network are
    copied. In later tasks the copy of the generator makes samples, of earlier classes and tasks as often as the stream
    had shown them. The copy of the network gives the outputs that are distilled on these samples. The generator
    itself learns from incoming and generated samples, by Adam, in one step for each step of the network.

    Attributes:
        generator: The autoencoder in training.
        old_generator: The autoencoder as it was at the end of the latest task.
        shown: How many samples of each task and class earlier tasks have shown (tasks, K).
        showing: How many samples of each task and class this worker has seen in this task (tasks, K).
    """

    target = ClassIncrementalSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE

    divergence: str = "js"  # divergence that distillation minimises: kl (Kullback-Leibler) or js (Jensen-Shannon)
    generated_alpha: float = 1.0  # weight of the distance from the old outputs of generated samples
    generated_ratio: float = 1.0  # generated samples for each incoming one
    latent: int = 16  # components of the generator's latent variable
    generator_width: int = 256  # units of each of the generator's hidden layers
    generator_lr: float = 1e-3  # learning rate of the generator

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "generated_alpha", 0)
        check_positive(self, "generated_ratio")
        check_range(self, "latent", 2, 1_000_000)
        check_range(self, "generator_width", 1, 1_000_000)
        check_positive(self, "generator_lr")

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        assert setting.nb_tasks is not None  # boundaries are announced
        n_conditions = setting.nb_tasks + self.n_outputs
        with preserved_random_state():
            seed_everything(setting.seed, "generator")
            generator = DirichletVAE(
                setting.observation_space, n_conditions, latent=self.latent, width=self.generator_width
            )
        self.generator = self.add_state("generator", generator.to(self.device), buffer=True)
        self.old_generator = self.add_state("old_generator", self._frozen_generator(), buffer=True)
        optimizer = torch.optim.Adam(self.generator.parameters(), self.generator_lr)
        self.generator_optimizer = self.add_state("generator_optimizer", optimizer)
        self.shown = self.add_state("shown", torch.zeros(setting.nb_tasks, self.n_outputs))
        self.showing = self.add_state("showing", torch.zeros(setting.nb_tasks, self.n_outputs))

    @override
    def grow_state(self, saved: State, smaller: Any) -> State:
        if len(self.shown) == len(smaller.shown) and self.n_outputs == smaller.n_outputs:
            return super().grow_state(saved, smaller)
        raise NotApplicableError(
            f"{self.reference()} has to know all tasks and classes beforehand, as its generator is told them; start a "
            "run with all of them, or extend one of another method."
        )

    def _frozen_generator(self) -> DirichletVAE:
        return deepcopy(self.generator).requires_grad_(False)

    @override
    def augment(self, step: Step) -> None:
        super().augment(step)
        if not self.shown.any():
            return
        n = max(1, round(self.generated_ratio * step.n_incoming))
        pairs = torch.multinomial(self.shown.flatten(), n, replacement=True).to(self.device)
        task_id, y = pairs // self.n_outputs, pairs % self.n_outputs
        rows = {"x": self.old_generator(self.conditions(y, task_id)), "y": y, "task_id": task_id}
        step.generated = Replayed(rows, slots=torch.empty(0, dtype=torch.long))
        step.generated_rows = step.join(step.generated)

    def conditions(self, y: Tensor, task_id: Tensor) -> Tensor:
        """Task and class of each sample (B,), one-hot (B, tasks + K)."""
        return torch.cat([F.one_hot(task_id, len(self.shown)), F.one_hot(y, self.n_outputs)], 1).float()

    @override
    def loss(self, step: Step) -> Tensor:
        loss = super().loss(step)
        if step.generated is None:
            return loss
        rows = step.generated_rows
        distances = self.distances(self.outputs(step)[rows], self.teacher(step.batch.x[rows]))
        return loss + self.generated_alpha * distances.mean()

    @override
    def after_backward(self, step: Step) -> None:
        """Train the generator, too, on samples before any augmentation; workers average its gradients."""
        super().after_backward(step)
        batch = step.incoming
        if step.first_pass:
            assert batch.task_id is not None  # ids are shown in training
            pairs = batch.task_id * self.n_outputs + batch.y
            self.showing += torch.bincount(pairs.cpu(), minlength=self.showing.numel()).view_as(self.showing)
        leaves = batch.leaves()
        if step.generated is not None:
            leaves = {name: torch.cat([leaf, step.generated.rows[name]]) for name, leaf in leaves.items()}
        self.flops.note(len(leaves["y"]))
        self.generator_optimizer.zero_grad()
        with torch.enable_grad():
            conditions = self.conditions(leaves["y"], leaves["task_id"])
            loss = self.generator.losses(leaves["x"], conditions).mean()
            loss.backward()  # type: ignore[no-untyped-call]
        self._average_gradients()
        self.generator_optimizer.step()

    def _average_gradients(self) -> None:
        if world_size() == 1:
            return
        gradients = [p.grad for p in self.generator.parameters() if p.grad is not None]
        mean = sum_over_workers(parameters_to_vector(gradients).cpu()) / world_size()
        vector_to_parameters(mean.to(self.device), gradients)

    @override
    def on_task_end(self, task_id: int | None) -> None:
        """Keep the generator beside the network, and count the samples of all workers."""
        super().on_task_end(task_id)
        self.old_generator = self._frozen_generator()
        self.shown = self.shown + sum_over_workers(self.showing)
        self.showing = torch.zeros_like(self.showing)

    @override
    def never_acted(self) -> str | None:
        if self.phase_count < 2:
            return "Nothing was generated: generated samples join the second phase, and this run has only one."
        return super().never_acted()
