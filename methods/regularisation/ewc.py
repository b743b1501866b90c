"""Elastic weight consolidation (Kirkpatrick et al., 2017), with its online form (Schwarz et al., 2018)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from redwood.core.checks import check_choice, check_range
from redwood.core.seeding import generator
from redwood.core.workers import rank
from redwood.methods.base import Composition
from redwood.methods.regularisation.quadratic_penalty import Weights
from redwood.methods.regularisation.sampled_importance import SampledImportance, mean_over_samples


def fisher_diagonal(network: nn.Module, log_likelihood: Callable[..., Tensor], *data: Tensor) -> Weights:
    """Diagonal of the Fisher information: the mean square of each sample's gradient.

    Args:
        network: Its parameters are differentiated by, in evaluation mode.
        log_likelihood: Maps the network's parameters and one sample of each of `data` to log p(y | x), a scalar.
        *data: Tensors (n, ...), n samples.

    Returns:
        One tensor per parameter that is trained, of the parameter's shape.
    """
    return mean_over_samples(network, log_likelihood, torch.square, *data)


@dataclass
class EWC(SampledImportance):
    """Pull each weight back to where earlier tasks left it, as hard as they depend on it (equation 3).

    Per task, the penalty is lambda/2 * sum over tasks k and weights i of F_ki (w_i - w*_ki)^2, as far as steps of the
    learning rate can follow it (`effective_strength`). The sum over tasks is itself a parabola in each w_i.

    Online ("Progress & Compress", section 4), only the latest weights w* count: after task k the Fisher information is
    F*_k = gamma F*_(k-1) + F_k, and the penalty of the next one lambda/2 * sum_i gamma F*_ki (w_i - w*_i)^2. This is
    the default: the latest weights were held to those of earlier tasks already, so that a pull back to each of these
    counts earlier tasks twice (Huszar, 2018). On ten permuted tasks that ends below fine-tuning.

    The Fisher information F_k of each task is divided by its mean over all weights, unless `importance_scale` is none.
    In one pass over a few dozen batches little is forgotten, and the penalty changes next to nothing.

    The Fisher information is estimated on samples of the task that were kept aside as they came, with labels drawn from
    the network's own predictions, or with the given ones (the empirical Fisher information).
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    state_key: ClassVar[str] = "ewc"
    purpose: ClassVar[str] = "fisher"

    ewc_lambda: float = 0.5  # strength of the penalty (with importance_scale none, as in the papers: 100 and more)
    ewc_form: str = "online"  # online: one term for all earlier tasks, which decays; per_task: one for each
    ewc_gamma: float = 0.95  # online: share of the importance for earlier tasks that is kept at each task's end
    fisher_samples: int = 200  # samples of each task that the Fisher information is estimated on
    fisher_labels: str = "sampled"  # its labels: sampled (from the network's predictions) or given (the true ones)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "ewc_lambda", 0)
        check_choice(self, "ewc_form", ("per_task", "online"))
        check_range(self, "ewc_gamma", 0, 1)
        check_range(self, "fisher_samples", 1)
        check_choice(self, "fisher_labels", ("sampled", "given"))

    @property
    def strength(self) -> float:
        """Lambda, and online gamma."""
        return self.ewc_lambda * self.ewc_gamma if self.ewc_form == "online" else self.ewc_lambda

    @property
    def n_aside(self) -> int:
        """As the option says."""
        return self.fisher_samples

    def importance_on(self, x: Tensor, y: Tensor, task_id: Tensor) -> Weights:
        """The Fisher information."""
        labels = y if self.fisher_labels == "given" else self._answers(x, task_id)

        def log_likelihood(weights: Weights, one: Tensor, label: Tensor, task: Tensor) -> Tensor:
            output = self.heads.mask(functional_call(self.network, weights, (one[None],)), task[None])
            return output.log_softmax(1)[0].gather(0, label[None])[0]

        return fisher_diagonal(self.network, log_likelihood, x, labels, task_id)

    def _answers(self, x: Tensor, task_id: Tensor) -> Tensor:
        choice = generator(self.setting.seed, "fisher labels", self.phase_count, rank())
        scores = self.predict(x, task_id)
        return torch.multinomial(scores.softmax(1).cpu(), 1, generator=choice)[:, 0].to(self.device)

    def consolidate(self, importance: Weights) -> None:
        """Add the parabola of the task that is over, or move the only one."""
        if self.ewc_form == "per_task":
            self.add_penalty(importance)
        else:
            self.move_penalty(importance, decay=self.ewc_gamma)
