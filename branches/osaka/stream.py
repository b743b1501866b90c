"""The stream of an OSAKA run: optional pre-training episodes, then steps whose context switches unannounced."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor
from typing_extensions import override

from redwood.branches.osaka.contexts import Visits, draw_entries, draw_visits
from redwood.branches.osaka.results import OsakaResults, accuracy_by_domain, accuracy_since_switch
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import generator
from redwood.core.workers import rank, world_size
from redwood.settings.data.dataset import Dataset, describe_data
from redwood.settings.data.entries import Entries
from redwood.settings.protocols import FixedStream, Learner
from redwood.settings.scores.asked import AskedScore
from redwood.settings.scores.results import Results
from redwood.settings.scores.task_scores import Scores
from redwood.settings.streams.batches import BatchSequence, Source
from redwood.settings.streams.loader import BatchLoader
from redwood.settings.streams.phase import Phase
from redwood.settings.streams.spaces import observation_space_of


class OsakaOptions(Protocol):
    """The options of `OsakaSetting` that decide its stream; see there."""

    seed: int
    stay_probability: float
    ways: int
    shots: int
    query_shots: int
    timesteps: int
    pretraining: int


@dataclass(frozen=True, eq=False)
class VisitSource(Source):
    """Samples whose label is the place of their class among the classes of the visit.

    Attributes:
        classes: Classes (V, N) of each visit.
    """

    classes: Tensor

    @override
    def labels(self, entries: Entries) -> Tensor:
        return (self.classes[entries.tasks] == self.y[entries.rows][:, None]).int().argmax(1)


class OsakaPhase(Phase):
    """A phase of the stream, or of the pre-training before it.

    Attributes:
        pretraining: Whether the phase comes before the stream and is not scored. Then each batch is an episode: its
            first ways * shots samples are the support set, the others the query set.
    """

    pretraining = False


class OsakaStream(FixedStream):
    """The phases of an OSAKA run; a task of the results is a domain.

    Attributes:
        visits: The visits of the contexts of the stream.
    """

    results_type: type[Results] = OsakaResults
    first_task = 0

    def __init__(
        self, setting: OsakaOptions, data: Dataset, names: Sequence[str], probabilities: Sequence[float]
    ) -> None:
        """Draw the contexts, of training and test samples alike: each step is a test of what comes next.

        Args:
            setting: The options.
            data: The samples of all domains; `contexts` tells the domain. The first one is that of pre-training.
            names: Name of each domain.
            probabilities: Probability of each domain.

        Raises:
            InvalidOptionError: If a domain has too few classes, or a class too few samples.
        """
        self._setting, self._names = setting, names
        self.num_tasks, self.num_phases = len(names), 2 if setting.pretraining else 1
        assert data.contexts is not None and data.contexts_test is not None
        assert isinstance(data.x, Tensor) and isinstance(data.x_test, Tensor)  # `combine` reads all
        self._x, self._y = torch.cat([data.x, data.x_test]), torch.cat([data.y, data.y_test])
        contexts, n_train = torch.cat([data.contexts, data.contexts_test]), len(data.y)
        self._data = replace(data, x=self._x[:n_train], x_test=self._x[n_train:])  # parts of it, not once more
        classes = [torch.unique(self._y[contexts == domain]) for domain in range(len(names))]
        self._rows_of = {label: (self._y == label).nonzero().flatten() for label in range(data.n_classes)}
        self._check_sizes(classes)
        self.visits = draw_visits(
            classes,
            probabilities,
            steps=setting.timesteps,
            ways=setting.ways,
            alpha=setting.stay_probability,
            random=generator(setting.seed, "contexts"),
        )
        # Each episode draws its classes anew, and all of them from the first domain.
        self._episodes = setting.pretraining and draw_visits(
            classes[:1],
            [1.0],
            steps=setting.pretraining,
            ways=setting.ways,
            alpha=0.0,
            random=generator(setting.seed, "episodes"),
        )
        self._online: Phase | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """None: a domain may exchange the features."""
        return ()

    def _check_sizes(self, classes: Sequence[Tensor]) -> None:
        ways, shots, query = self._setting.ways, self._setting.shots, self._setting.query_shots
        for number, (name, own) in enumerate(zip(self._names, classes, strict=True)):
            if ways > len(own):
                raise InvalidOptionError(
                    f"--ways {ways} is more than the {len(own)} classes of {name}; use at most {len(own)}."
                )
            smallest = min(len(self._rows_of[label]) for label in own.tolist())
            if shots > smallest:
                raise InvalidOptionError(
                    f"--shots {shots} is more than the {smallest} samples of a class of {name}; use at most {smallest}."
                )
            if number == 0 and self._setting.pretraining and shots + query > smallest:
                raise InvalidOptionError(
                    f"--query_shots {query} beside --shots {shots} is more than the {smallest} samples of a class of "
                    f"{name}; lower one of them, or leave --pretraining out."
                )

    @property
    def observation_space(self) -> Box:
        """Shape, dtype and range of one sample."""
        return observation_space_of(self._data)

    @property
    def action_space(self) -> Discrete:
        """The labels of a step."""
        return Discrete(self._setting.ways)

    # The phases.

    def phase(self, index: int, learner: Learner | None = None) -> Phase:
        """Build one phase; `learner` is asked for its predictions before each batch of the stream."""
        if index == self.num_phases - 1:
            return self._stream_phase(index, learner)
        assert isinstance(self._episodes, Visits)
        setting = self._setting
        entries = self._entries(self._episodes, "samples of episodes", setting.query_shots)
        sequence = self._sequence(self._episodes, entries, setting.ways * (setting.shots + setting.query_shots))
        phase = self._phase(index, sequence)
        phase.pretraining = phase.asks = True
        self._online = None  # of an earlier run of the same setting
        return phase

    def _stream_phase(self, index: int, learner: Learner | None) -> Phase:
        entries = self._entries(self.visits, "samples of contexts", 0)
        sequence = self._sequence(self.visits, entries, self._setting.ways * self._setting.shots)
        self._online = phase = self._phase(index, sequence)
        if learner is not None:
            phase.asks = True
            sequence.watch(AskedScore(learner, sequence, phase.online, self.action_space, seed=self._setting.seed))
        return phase

    def _entries(self, visits: Visits, purpose: str, query: int) -> Entries:
        random = generator(self._setting.seed, purpose)
        return draw_entries(visits, self._rows_of, shots=self._setting.shots, query=query, random=random)

    def _sequence(self, visits: Visits, entries: Entries, batch_size: int) -> BatchSequence:
        source = VisitSource(self._x, self._y, (), visits.classes)
        return BatchSequence(
            source, entries, batch_size, shuffle=False, seed=0, show_ids=False, rank=rank(), workers=world_size()
        )

    def _phase(self, index: int, sequence: BatchSequence) -> OsakaPhase:
        return OsakaPhase(
            index,
            task_id=None,
            task_classes=None,
            train=BatchLoader(sequence),
            validation=None,
            action_space=self.action_space,
        )

    # Scores of a method: of its answers in the stream.

    def tasks_seen(self, phase: int) -> int:
        """All domains: none of them is announced."""
        return self.num_tasks

    def check(self, method: Learner) -> None:
        """Nothing: any method that predicts classes will do."""

    def baseline(self, method: Learner) -> None:
        """None: nothing is predicted outside the stream."""

    def evaluate(self, method: Learner, num_tasks: int | None = None) -> Scores:
        """The online accuracy on each domain, and by steps since the switch; None after pre-training."""
        if self._online is None:
            return Scores([None] * self.num_tasks)
        steps = self._online.online.by_step()
        return Scores(
            accuracy_by_domain(*steps, self.visits, self.num_tasks),
            details=accuracy_since_switch(*steps, self.visits, self.num_tasks),
        )

    # For results and checkpoints.

    def result_fields(self, details: list[dict[str, Any]]) -> dict[str, Any]:
        """The accuracy by steps since the switch."""
        return {"since_switch": details[-1]}

    def drawn(self) -> dict[str, object]:
        """The names of the domains."""
        return {"task_list": [{"name": name} for name in self._names]}

    def fingerprint(self) -> dict[str, object]:
        """The data of all domains. All else follows from the options."""
        return describe_data(self._data)
