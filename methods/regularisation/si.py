"""Synaptic intelligence (Zenke et al., 2017, "Continual Learning Through Synaptic Intelligence")."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from redwood.core.checks import check_range
from redwood.methods.base import Composition
from redwood.methods.regularisation.importance import ImportanceScale, WeightImportance
from redwood.methods.regularisation.path_importance import UNUSED, PathImportance
from redwood.methods.regularisation.quadratic_penalty import IMPORTANCE, ONE_IMPORTANCE, Weights


@dataclass
class SI(ImportanceScale, WeightImportance):
    """Penalise changes of weights whose steps lowered the loss of earlier tasks (equations 3 to 5).

    Weight i's part in the drop of a task's loss is omega_i = - sum over steps of gradient times movement (equation 3).
    With its movement Delta_i over the task, its importance grows by `omega_i / (Delta_i^2 + xi)` (equation 5). The
    penalty of later tasks is `c * sum_i Omega_i (w_i - w*_i)^2` (equation 4), with the weights `w*` after the latest
    task; its strength is bounded (`effective_strength`). A weight whose moves raised the loss has importance 0: a
    negative curvature would drive it away.

    Importances are divided by their mean over all weights, unless `importance_scale` is none. In one pass over a few
    dozen batches little is forgotten, and the penalty changes next to nothing.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    multi_label: ClassVar[bool] = True
    brings: ClassVar[frozenset[str]] = IMPORTANCE
    bars: ClassVar[Mapping[str, str]] = ONE_IMPORTANCE
    unused_options: ClassVar[Mapping[str, str]] = UNUSED

    si_c: float = 0.25  # strength of the penalty (with importance_scale none, as in the paper: 0.1 to 1)
    si_xi: float = 0.1  # damping: added to the squared movement that importance is divided by

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_importance_scale()
        check_range(self, "si_c", 0)
        check_range(self, "si_xi", 1e-12)

    @property
    @override
    def strength(self) -> float:
        return 2 * self.si_c  # a curvature is twice the factor of the square

    @override
    def make_measure(self) -> "PathIntegral":
        return PathIntegral(self, self.si_xi)


class PathIntegral(PathImportance):
    """Divides the part in the drop of the loss by the squared movement, damped by `xi` (equation 5)."""

    def __init__(self, method: SI, xi: float) -> None:
        super().__init__(method)
        self._xi = xi

    @override
    def importance(self) -> Weights:
        minimum = self.method.minimum
        return {
            name: self.path[name].clamp(min=0) / ((p.detach() - minimum[name]).square() + self._xi)
            for name, p in self.method.trained_weights()
        }
