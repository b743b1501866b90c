"""The node `osaka` of the tree: Online faSt Adaptation and Knowledge Accumulation (Caccia et al., 2020)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import fsum, isclose
from typing import ClassVar, Self

from gymnasium.spaces import Discrete
from typing_extensions import override

from redwood.branches.osaka.stream import OsakaStream
from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Choice, Kind
from redwood.settings.assumptions import Assumption, Range
from redwood.settings.data.combine import combine
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.parts import DATA
from redwood.settings.data.views import View
from redwood.settings.eval_tasks import EvalAll
from redwood.settings.protocols import Stream
from redwood.settings.streams.cuts import tasks_by_context
from redwood.settings.streams.extended import Earlier
from redwood.settings.streams.tasks import Cut, StreamPart, Tasks
from redwood.settings.streams.transitions import Abrupt
from redwood.settings.supervised import not_to_be_extended
from redwood.settings.tree import Online, TaskAgnosticSetting

OF_PRETRAINING = ("permuted", "inverted")
"""Domains made of the pre-training data: their pixels in another order, or high and low values exchanged."""
PERMUTATION = 1

recurring = Assumption("contexts come back after others")
locally_stationary = Assumption("all samples of a mini-batch come from one context")


@dataclass
class DrawnContexts(StreamPart):
    """Contexts that the setting draws step by step."""

    joins: ClassVar[bool] = True

    @override
    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        return tasks_by_context(data, None), data.n_outputs


# Nothing is left to choose: the stream draws its contexts, which switch at once, and each step is a test.
_STREAM = Kind("stream", DrawnContexts, "redwood.osaka_streams")
_STREAM.register("drawn")(DrawnContexts)
_TRANSITION = Kind("transition", Abrupt, "redwood.osaka_transitions")
_TRANSITION.register("abrupt")(Abrupt)
_EVAL_TASKS = Kind("eval_tasks", EvalAll, "redwood.osaka_eval_tasks")
_EVAL_TASKS.register("all")(EvalAll)


@dataclass
class OsakaSetting(
    Online,
    TaskAgnosticSetting,
    workers=Range(1, 1),
    recurring=True,
    locally_stationary=True,
    predict_first=True,
):
    """A few samples of a context at a time, which have to be predicted before their labels come; contexts come back.

    Each step keeps the latent context with probability alpha; else it draws a domain, and classes of it, whose order
    gives the labels. Neither contexts nor switches are announced. An optional first phase holds episodes of one
    domain: `phase.pretraining` says so. The score is the cumulative online accuracy. See Caccia et al., "Online Fast
    Adaptation and Knowledge Accumulation" (NeurIPS 2020).
    """

    unused_options: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("nb_tasks", "batch_size", "validation"), "which draws its contexts and batches itself"
    )

    stream: Choice = _STREAM.chosen("drawn")  # contexts are drawn step by step
    transition: Choice = _TRANSITION.chosen("abrupt")  # contexts switch from one step to the next
    eval_tasks: Choice = _EVAL_TASKS.chosen("all")  # domains that are scored: all
    dataset: Choice = DATA.chosen("digits")  # data set of the first domain, from which the pre-training episodes come
    # the other domains: names of data sets, or permuted or inverted (pixels of --dataset)
    out_of_distribution: list[str] = field(default_factory=lambda: ["permuted", "prototypes_20"])
    # probability of each domain, that of --dataset first (default: 1/2, and the others share 1/2)
    domain_probabilities: list[float] = field(default_factory=list)
    stay_probability: float = 0.98  # alpha: probability to stay in a context from one step to the next
    ways: int = 5  # classes of a context (N)
    shots: int = 5  # samples of each class in a step (K)
    timesteps: int = 1500  # steps of the stream
    pretraining: int = 0  # episodes before the stream (0: none)
    query_shots: int = 15  # pretraining: further samples of each class in an episode, to test what was adapted

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "stay_probability", 0, 1)
        check_range(self, "ways", 2)
        check_range(self, "shots", 1)
        check_range(self, "timesteps", 1, 10_000_000)
        check_range(self, "pretraining", 0, 10_000_000)
        check_range(self, "query_shots", 1)
        if not self.pretraining and self.query_shots != type(self).query_shots:
            raise InvalidOptionError(
                f"--query_shots {self.query_shots} are samples of episodes, which need --pretraining; add that, or "
                "leave them out."
            )
        self._check_domains()

    def _check_domains(self) -> None:
        names = self.out_of_distribution
        for name in names:
            if not isinstance(name, str) or not name or names.count(name) > 1 or name == self.dataset.name:
                raise InvalidOptionError(
                    f"--out_of_distribution {' '.join(map(str, names))} has to name other domains than --dataset, each "
                    "once."
                )
        given = self.domain_probabilities
        shown = " ".join(map(str, given))
        if given and len(given) != 1 + len(names):
            raise InvalidOptionError(
                f"--domain_probabilities {shown} has {len(given)} numbers, but there are {1 + len(names)} domains; "
                "give one to each, that of --dataset first."
            )
        if given and not (all(0 <= share <= 1 for share in given) and isclose(fsum(given), 1, abs_tol=1e-6)):
            raise InvalidOptionError(
                f"--domain_probabilities {shown} has to hold numbers in 0..1 that sum to 1; change one of them."
            )

    @cached_property
    @override
    def _stream(self) -> OsakaStream:  # type: ignore[override]
        self.check_not_a_view("The stream")
        views = [View(self.dataset_name)] + [self._view(name) for name in self.out_of_distribution]
        data = combine(self.dataset_name, views, self._source(), self.seed)
        others = len(views) - 1
        probabilities = self.domain_probabilities or ([0.5] + [0.5 / others] * others if others else [1.0])
        return OsakaStream(self, data, [view.title for view in views], probabilities)

    @override
    def after(self, earlier: Earlier) -> Self:
        raise not_to_be_extended(self)

    def _view(self, name: str) -> View:
        return View(self.dataset_name, transform=name, seed=PERMUTATION) if name in OF_PRETRAINING else View(name)

    def _source(self) -> Callable[[str], Dataset]:
        """Loads the data of a domain, which for the first one may be in memory."""
        load = self.dataset.loader(self.data_dir, self.seed)
        first = self._load()
        return lambda name: first if name == self.dataset_name else load(name)

    @override
    def open_stream(self) -> Stream:  # type: ignore[override]
        return self._stream

    @cached_property
    @override
    def action_space(self) -> Discrete:
        """The labels of a step, 0..N-1."""
        return self._stream.action_space

    @override
    def for_method(self) -> Self:
        """A view in which `batch_size` is the number of samples in a step."""
        view = super().for_method()
        vars(view)["batch_size"] = self.ways * self.shots
        return view

    @override
    def hidden_fields(self) -> frozenset[str]:
        """Return the fields that tell the coming contexts."""
        return super().hidden_fields() | {"stay_probability", "out_of_distribution", "domain_probabilities"}
