"""Elastic weight consolidation (Kirkpatrick et al., 2017), with its online form (Schwarz et al., 2018)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from redwood.core.checks import check_choice, check_range
from redwood.core.seeding import generator
from redwood.core.workers import rank
from redwood.methods.base import Composition
from redwood.methods.regularisation.importance import ImportanceScale, WeightImportance
from redwood.methods.regularisation.quadratic_penalty import IMPORTANCE, ONE_IMPORTANCE, Weights
from redwood.methods.regularisation.sampled_importance import SampledImportance, mean_over_samples
from redwood.methods.training.heads import log_likelihoods, predicts_label_sets


def fisher_diagonal(network: nn.Module, log_likelihood: Callable[..., Tensor], *data: Tensor) -> Weights:
    """Diagonal of the Fisher information: the mean square of each sample's gradient.

    Args:
        network: The gradient is taken by its parameters, in evaluation mode.
        log_likelihood: Maps the network's parameters and one sample of each of `data` to log p(y | x), a scalar.
        *data: Tensors (n, ...), n samples.

    Returns:
        One tensor per parameter that is trained, of the parameter's shape.
    """
    return mean_over_samples(network, log_likelihood, torch.square, *data)


@dataclass
class EWC(ImportanceScale, WeightImportance):
    """Penalise changes of weights that earlier tasks depend on (equation 3).

    In the form `per_task` the penalty is lambda/2 times the sum over tasks k and weights i of `F_ki (w_i - w*_ki)^2`;
    its strength is bounded (`effective_strength`). The sum over tasks is itself a parabola in each `w_i`.

    In the form `online` ("Progress & Compress", section 4), only the latest weights `w*` count. After task k the Fisher
    information is `F*_k = gamma F*_(k-1) + F_k`, and the next penalty `lambda/2 * sum_i gamma F*_ki (w_i - w*_i)^2`.
    This is the default. The latest weights were already held near those of earlier tasks, so a penalty around each of
    these counts earlier tasks twice (Huszar, 2018). On ten permuted tasks that ends below fine-tuning.

    The Fisher information F_k of each task is divided by its mean over all weights, unless `importance_scale` is none.
    It is estimated on samples of the task, with labels drawn from the network's own predictions, or with the given
    labels (the empirical Fisher information).

    In one pass over a few dozen batches little is forgotten, and the penalty changes next to nothing.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    multi_label: ClassVar[bool] = True
    brings: ClassVar[frozenset[str]] = IMPORTANCE
    bars: ClassVar[Mapping[str, str]] = ONE_IMPORTANCE

    ewc_lambda: float = 0.5  # strength of the penalty (with importance_scale none, as in the papers: 100 and more)
    ewc_form: str = "online"  # online: one term for all earlier tasks, which decays; per_task: one for each
    ewc_gamma: float = 0.95  # online: share of the importance for earlier tasks that is kept at each task's end
    fisher_samples: int = 200  # samples of each task that the Fisher information is estimated on
    # labels for the Fisher information: sampled (from the network's predictions) or given (true)
    fisher_labels: str = "sampled"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_importance_scale()
        check_range(self, "ewc_lambda", 0)
        check_choice(self, "ewc_form", ("per_task", "online"))
        check_range(self, "ewc_gamma", 0, 1)
        check_range(self, "fisher_samples", 1)
        check_choice(self, "fisher_labels", ("sampled", "given"))

    @property
    @override
    def strength(self) -> float:
        return self.ewc_lambda * self.ewc_gamma if self.ewc_form == "online" else self.ewc_lambda

    @override
    def make_measure(self) -> SampledImportance:
        return SampledImportance(self, self.trained_names, self.importance_on, self.fisher_samples, "fisher")

    def importance_on(self, x: Tensor, y: Tensor, task_id: Tensor) -> Weights:
        """Return the importance of each weight on samples (n, ...) of tasks (n,); see `SampledImportance`."""
        labels = y if self.fisher_labels == "given" else self._sampled_labels(x, task_id)

        def log_likelihood(weights: Weights, one: Tensor, label: Tensor, task: Tensor) -> Tensor:
            output = self.heads.mask(functional_call(self.network, weights, (one[None],)), task[None])
            return log_likelihoods(output, label[None])[0]

        return fisher_diagonal(self.network, log_likelihood, x, labels, task_id)

    def _sampled_labels(self, x: Tensor, task_id: Tensor) -> Tensor:
        choice = generator(self.setting.seed, "fisher labels", self.phase_count, rank())
        scores = self.predict(x, task_id)
        if predicts_label_sets(self.setting.action_space):
            return torch.bernoulli(scores.sigmoid().cpu(), generator=choice).bool().to(self.device)
        return torch.multinomial(scores.softmax(1).cpu(), 1, generator=choice)[:, 0].to(self.device)

    @override
    def consolidate(self, importance: Weights) -> None:
        if self.ewc_form == "per_task":
            self.add_penalty(importance)
        else:
            self.move_penalty(importance, decay=self.ewc_gamma)
