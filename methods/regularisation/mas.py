"""Memory aware synapses (Aljundi et al., 2018)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.methods.base import Composition
from redwood.methods.regularisation.importance import ImportanceScale, WeightImportance
from redwood.methods.regularisation.quadratic_penalty import IMPORTANCE, ONE_IMPORTANCE, Weights
from redwood.methods.regularisation.sampled_importance import SampledImportance, mean_over_samples


@dataclass
class MAS(ImportanceScale, WeightImportance):
    """Penalise changes of weights that the network's outputs depend on, right or wrong.

    After each task the importance Omega_i grows by the mean over samples of `|d ||F(x)||^2 / dw_i|` (section 4.1). The
    penalty is `lambda * sum_i Omega_i (w_i - w*_i)^2` (section 4), with the weights `w*` after the latest task; its
    strength is bounded (`effective_strength`). No label is used. The outputs F(x) are those before any softmax; where
    ids are given at test, only the outputs of the sample's task count.

    Importances are divided by their mean over all weights, unless `importance_scale` is none. In one pass over a few
    dozen batches little is forgotten, and the penalty changes next to nothing.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    multi_label: ClassVar[bool] = True
    brings: ClassVar[frozenset[str]] = IMPORTANCE
    bars: ClassVar[Mapping[str, str]] = ONE_IMPORTANCE

    mas_lambda: float = 0.25  # strength of the penalty (with importance_scale none: the paper has 1)
    mas_samples: int = 200  # samples of each task that the importance is measured on

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_importance_scale()
        check_range(self, "mas_lambda", 0)
        check_range(self, "mas_samples", 1)

    @property
    @override
    def strength(self) -> float:
        return 2 * self.mas_lambda  # a curvature is twice the factor of the square

    @override
    def make_measure(self) -> SampledImportance:
        return SampledImportance(self, self.trained_names, self.importance_on, self.mas_samples, "mas")

    def importance_on(self, x: Tensor, y: Tensor, task_id: Tensor) -> Weights:
        """Return the importance of each weight on samples (n, ...) of tasks (n,); see `SampledImportance`."""

        def squared_length(weights: Weights, one: Tensor, task: Tensor) -> Tensor:
            outputs = self.heads.mask(functional_call(self.network, weights, (one[None],)), task[None])
            return outputs.masked_fill(outputs == -torch.inf, 0).square().sum()

        return mean_over_samples(self.network, squared_length, torch.abs, x, task_id)
