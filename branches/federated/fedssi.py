"""Synergistic synaptic intelligence: each client measures which weights matter to its samples."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from typing_extensions import override

from redwood.branches.federated.fedavg import FedAvg, Weights
from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError
from redwood.methods.regularisation.importance import SCALES, WeightImportance
from redwood.methods.regularisation.quadratic_penalty import mean_of
from redwood.methods.training.heads import sample_losses
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting


@dataclass
class FedSSI(FedAvg):
    """Federated averaging with a penalty on changes of weights that matter to earlier tasks of the client.

    Li et al. (2025), "Rehearsal-Free Continual Federated Learning with Synergistic Synaptic Intelligence". In each task
    a client trains, beside its copy w of the global network, a surrogate v on the same batches. v starts from w_0, the
    global weights before the task. Its steps go along the gradient of its loss + q(lambda) (v - w_0), where q(lambda) =
    (1 - lambda) / (2 lambda) (equation 5). So q is the pull itself, as in public code. As the factor of a penalty
    |v - w_0|^2, it would pull twice as much. v is between a network of the client's own (lambda = 1) and the global one
    (lambda near 0). Weight i's part in the drop of the loss along the path of v is s_i = - sum over steps of gradient
    times movement. When the task is over, its importance to the client grows by s_i / ((v_i - w_0i)^2 + xi), if that is
    positive.

    In later tasks the client's loss is cross-entropy + c * sum_i Omega_i (w_i - w_0i)^2. The paper trains the surrogate
    before the task. As Omega serves later tasks only, it may as well be trained beside w. As in `si`, importances are
    divided by their mean over all weights unless `ssi_scale` is none. Both penalties are bounded: no step takes a
    weight past their minimum (`WeightImportance.effective_strength`).

    Attributes:
        curvature: Omega of each client of this worker, by name of the weight, times the client's unit.
        units: Mean of each client's curvature over all weights; 1 if `ssi_scale` is none.
        surrogates: v of each client that has trained in this task.
        paths: s of each of these clients.
        task_start: w_0.
    """

    ssi_c: float = 2.0  # strength of the penalty on important weights
    ssi_lambda: float = 0.5  # 1: the surrogate is the client's own network; near 0: it stays at the global one
    ssi_xi: float = 0.1  # damping: added to the squared movement that importance is divided by
    # mean: divide a task's importances by their mean over all weights, and average them over tasks; none: as the paper
    ssi_scale: str = "mean"

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "ssi_scale", SCALES)
        check_range(self, "ssi_c", 0)
        check_range(self, "ssi_xi", 1e-12)
        if not 0 < self.ssi_lambda <= 1:
            raise InvalidOptionError(f"--ssi_lambda {self.ssi_lambda} has to be greater than 0 and at most 1.")

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.curvature: dict[int, Weights] = self.add_state("curvature", {}, buffer=True)
        self.units: dict[int, float] = self.add_state("units", {})
        self.surrogates: dict[int, Weights] = self.add_state("surrogates", {}, buffer=True)
        self.paths: dict[int, Weights] = self.add_state("paths", {}, buffer=True)
        self.task_start: Weights = self.add_state("task_start", self.trained_weights(), buffer=True)

    def trained_weights(self) -> Weights:
        """The trained weights as they are now, by name."""
        return {name: p.detach().clone() for name, p in self.network.named_parameters() if p.requires_grad}

    @override
    def on_task_start(self, task_id: int | None) -> None:
        super().on_task_start(task_id)
        self.task_start = self.trained_weights()

    # The penalty.

    @override
    def loss(self, step: Step) -> Tensor:
        loss, turn = super().loss(step), step.incoming.turn
        assert turn is not None
        if turn.client not in self.curvature:
            return loss
        return loss + self.penalty(self.curvature[turn.client], self.units[turn.client])

    def penalty(self, curvature: Weights, unit: float = 1.0) -> Tensor:
        """The value of c * sum_i Omega_i (w_i - w_0i)^2 of one client, with Omega_i = curvature / unit; a scalar."""
        total = torch.zeros((), device=self.device)
        for name, p in self.network.named_parameters():
            if name in curvature:
                strength = (2 * self.ssi_c / unit * curvature[name]).clamp(max=1 / self.phase_lr)
                total = total + (strength * (p - self.task_start[name]).square()).sum()
        return total / 2

    # The surrogate.

    @override
    def after_loss(self, step: Step) -> None:
        super().after_loss(step)
        turn = step.incoming.turn
        assert turn is not None
        if turn.client is not None:
            self.move_surrogate(turn.client, step)

    def move_surrogate(self, client: int, step: Step) -> None:
        """One step of the client's surrogate on the samples of a training step."""
        if client not in self.surrogates:
            self.surrogates[client] = {name: value.clone() for name, value in self.task_start.items()}
            self.paths[client] = {name: torch.zeros_like(value) for name, value in self.task_start.items()}
        surrogate, path = self.surrogates[client], self.paths[client]
        pull = min((1 - self.ssi_lambda) / (2 * self.ssi_lambda), 1 / self.phase_lr)
        for name, gradient in self.gradient_of_loss(surrogate, step).items():
            moved = -self.phase_lr * (gradient + pull * (surrogate[name] - self.task_start[name]))
            surrogate[name] = surrogate[name] + moved
            path[name] = path[name] - gradient * moved

    def gradient_of_loss(self, weights: Weights, step: Step) -> Weights:
        """The gradient of the mean loss of a batch by other weights than the network's."""
        batch = step.batch
        variables = {name: value.detach().requires_grad_() for name, value in weights.items()}
        # Copies, so that running means of the network are those of its own activations.
        buffers = {name: value.clone() for name, value in self.network.named_buffers()}
        outputs = functional_call(self.network, variables | buffers, (batch.x,))
        loss = sample_losses(self.masked(outputs, batch.task_id), batch.y).mean()
        gradients = torch.autograd.grad(loss, list(variables.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(variables, gradients, strict=True))

    @override
    def on_task_end(self, task_id: int | None) -> None:
        super().on_task_end(task_id)
        for client in list(self.surrogates):
            importance = self.importance(self.surrogates.pop(client), self.paths.pop(client))
            if self.ssi_scale == "mean":
                importance = WeightImportance.in_multiples_of_mean(importance)
            before = self.curvature.get(client)
            self.curvature[client] = {
                name: value if before is None else before[name] + value for name, value in importance.items()
            }
            self.units[client] = (mean_of(self.curvature[client]) or 1.0) if self.ssi_scale == "mean" else 1.0

    def importance(self, surrogate: Weights, path: Weights) -> Weights:
        """Return the importance of each weight for the task that is over, for one client; at least 0."""
        return {
            name: path[name].clamp(min=0) / ((surrogate[name] - start).square() + self.ssi_xi)
            for name, start in self.task_start.items()
        }

    @override
    def never_acted(self) -> str | None:
        if self.phase_count < 2:
            return "The penalty on weights never acted: it begins with the second phase, and this run has only one."
        return super().never_acted()
