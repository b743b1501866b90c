"""The base of methods that answer for each task by a path of modules, chosen among candidates trained side by side."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode
from typing_extensions import override

from redwood.branches.modular.chain import cut, keep_buffers, last_layer_names, put_tensors, shapes_of, tensors_of
from redwood.branches.modular.exploration import DRAWN, Exploration
from redwood.branches.modular.modular_network import Candidate, ModularNetwork, run
from redwood.branches.modular.path_store import PathStore
from redwood.branches.modular.selection import HeldOutScores
from redwood.branches.modular.sources import LibraryLink, Source, TaskPath, statistics_of
from redwood.branches.modular.task import PhaseClasses, TaskSamples, classes_of, is_held_out, look_at, select
from redwood.branches.modular.trials import accuracy_of_trials, best_trials, trial_options
from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Choice
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.core.state import State
from redwood.core.user_warnings import warn
from redwood.core.workers import gather_objects, rank
from redwood.methods.architecture.network_per_phase import NOT_TRAINED, rows_by_phase
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.networks.last_layer import CHUNK
from redwood.methods.networks.parts import GivenNetwork
from redwood.methods.training.layers import evaluating, set_dropout
from redwood.methods.training.optimizers import OPTIMIZERS
from redwood.methods.training.step import Step
from redwood.settings.batch import Batch
from redwood.settings.scores.results import Results
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import TaskIncrementalSetting

# Share of the newest loss in the running loss by which a candidate answers before the choice is made.
NEWEST = 0.2
# Held-out samples of each class below which a choice among candidates is uncertain.
FEW = 20


@dataclass
class PathSearch(LightningMethod):
    """Train candidates for each task on the same batches, and keep the one that does best on held-out samples.

    A phase begins with a look at its samples, which is why they have to be presented several times. A task is answered
    as it was when it was trained last.

    Without `--validation` the method holds out a fifth of the samples of each task itself, chosen by their content.

    Attributes:
        store: The modules of the phases that are over, and the library.
        phase_of: The phase that trained each task.
        classes: The classes of the phase that is being trained.
        candidates: The candidates of that phase.
        running: The running training loss of each of them.
        exploration: Draws paths instead of training all candidates, once a subclass has begun it.
    """

    target = TaskIncrementalSetting
    requires = frozenset({"many_passes"})
    composition: ClassVar[Composition] = Composition.NEVER
    unused_options: ClassVar[Mapping[str, str]] = {
        "accumulate_grad_batches": "which leaves out steps without samples to train on",
        "patience": "which chooses among candidates when all are trained",
    }
    library: str = ""  # folder with modules of earlier runs; this run adds its own modules (default: none)
    optimizer: Choice = OPTIMIZERS.chosen("adam")  # algorithm that updates the weights
    lr: float = 0.003  # learning rate of the first trial
    tries: int = 1  # values of options tried for each candidate: the first is --lr, others are drawn from the seed
    # number of first tasks that try all --tries; later tasks use the best (0: every task tries all)
    tune_tasks: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.model.refuse_more(self.reference(), "which builds the network of a task from modules of earlier ones")
        check_range(self, "tries", 1, 10_000)
        check_range(self, "tune_tasks", 0)
        if self.optimizer_state == "keep":
            raise InvalidOptionError("--optimizer_state keep means nothing to new candidates; use reset.")
        if self.tune_tasks and self.tries == 1:
            raise InvalidOptionError(f"--tune_tasks {self.tune_tasks} has no effect with one try; give --tries.")

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        space = setting.observation_space
        inputs: dict[str, Any] = {"shape": list(space.shape), "dtype": str(space.dtype)}
        if not np.issubdtype(space.dtype, np.floating):  # the bounds of floats differ from run to run
            inputs["high"] = float(space.high.max())
        modules = cut(self.network)
        self.n_modules, shapes = len(modules), shapes_of(modules)
        self.module = self.make_module(ModularNetwork().to(self.device))
        link = LibraryLink(self.library, self.model_name(), inputs, shapes)
        self.store = self.add_state("store", PathStore(self.modular, link, self.new_modules))
        self.exploration = self.add_state("exploration", Exploration(self.modular, self.flops, setting.seed))
        self.classes = PhaseClasses((), {})
        self.phase_of: dict[int, int] = self.add_state("phase_of", {})
        self.candidates: list[State] = self.add_state("candidates", [])
        self.running = self.add_state("running", torch.zeros(0))
        self.skips_step = False  # whether all samples of this step are held out
        self.told = self.add_state("told", False)  # whether a warning of few held-out samples was given
        self.trial_accuracy: list[list[float]] = self.add_state("trial_accuracy", [])  # of each phase and trial

    @property
    def modular(self) -> ModularNetwork:
        """The network, with its type."""
        assert isinstance(self.network, ModularNetwork)
        return self.network

    @property
    def paths(self) -> list[State]:
        """The path of each phase that is over, as `TaskPath` describes it."""
        return self.store.paths

    def model_name(self) -> str:
        """The network as the library names it."""
        return str(self.model.text)

    def new_modules(self, n_outputs: int) -> list[nn.Sequential]:
        """The modules of a new network, whose weights follow from the seed and the number of networks before."""
        with preserved_random_state():
            seed_everything(self.setting.seed, "modules", self.n_networks)
            given = isinstance(self.model, GivenNetwork)
            network = self.make_network() if given else self.model.build(self.setting.observation_space, n_outputs)
        set_dropout(network, self.dropout)
        keep_buffers(network)
        return cut(network.to(self.device))

    @property
    def n_networks(self) -> int:
        """Number of networks that were there before this phase, in the library and in this run.

        Seeds follow from it: tasks that are learned in a later run get the weights that they would get in one run.
        """
        return len(self.store.link.inherited) + self.phase_count

    def fits_head(self, source: Source, classes: PhaseClasses) -> bool:
        """True if a task may take over the head: it has as many outputs, and none for the classes of other tasks."""
        return not isinstance(self.model, GivenNetwork) and source.n_outputs == len(classes.labels)

    # Decisions of a subclass.

    @abstractmethod
    def propose(self, samples: TaskSamples, classes: PhaseClasses) -> list[Candidate]:
        """The candidates for a task, without their trials; the first one is kept if there is nothing to choose by."""

    @abstractmethod
    def choose(self, candidates: Sequence[Candidate], scores: HeldOutScores) -> int:
        """The number of the candidate to keep, of the best trial of each."""

    # A phase: look, propose, train, choose.

    @override
    def fit(self, phase: Phase) -> None:
        self.store.publish()
        self.phase = phase  # before the training sets it: a search asks for its steps
        classes = classes_of(phase)
        samples = look_at(phase, self.device, self.setting.seed)
        self._warn_of_few(samples.n_held_out, classes)
        before = self.flops.by_use()
        self.classes, self.samples = classes, samples
        self.phase_of |= dict.fromkeys(phase.task_classes or {}, self.phase_count)
        proposed = self.propose(samples, classes)
        trials = [replace(one, trial=trial) for one in proposed for trial in self._trials()]
        self._start(trials if samples.n_held_out else trials[:1])
        with warnings.catch_warnings():
            # Lightning warns of the frozen modules, which have to be in evaluation mode.
            warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
            super().fit(phase)
        self.keep_best(before)
        del self.samples

    def _trials(self) -> Sequence[int]:
        """The trials of this phase."""
        if not self.tune_tasks or len(self.trial_accuracy) < self.tune_tasks:
            return range(self.tries)
        means = torch.tensor(self.trial_accuracy[: self.tune_tasks]).mean(0)
        return [int(means.argmax())]

    def trial_options(self, trial: int) -> tuple[float, float]:
        """Learning rate and label smoothing of a trial; the first one has those of the options."""
        return trial_options(trial, self.lr, self.setting.seed)

    def explore(self, sources: Sequence[Source], classes: PhaseClasses, margin: float) -> list[Candidate]:
        """Begin to draw paths of some networks instead of training all; see `Exploration.begin`."""
        fits_head = [self.fits_head(source, classes) for source in sources]
        self.store.fetch({name for source in sources for name in source.modules})
        return self.exploration.begin(sources, fits_head, number=self.n_networks, margin=margin, steps=self.phase.steps)

    def _start(self, candidates: Sequence[Candidate], *, resumed: bool = False) -> None:
        """Build the candidates; those of one task start from the same new weights.

        Args:
            candidates: The candidates to build.
            resumed: Whether the weights come from a checkpoint, and so need not be copied from earlier networks.
        """
        if not resumed:
            self.store.fetch({name for one in candidates for name in one.frozen})
        originals = {} if resumed else self._originals(candidates)
        fresh = self.new_modules(len(self.classes.labels))
        tails = []
        for one in candidates:
            tail = deepcopy(fresh[len(one.frozen) :])
            for module, name in zip(tail, () if resumed else one.copied, strict=False):
                _copy_body(module, originals[name], is_last=module is tail[-1])
            tails.append(tail)
        self.set_candidates(candidates, tails)
        self.running = torch.zeros(len(candidates), device=self.device)
        self.flops.start_anew()

    def set_candidates(self, candidates: Sequence[Candidate], tails: Sequence[Sequence[nn.Module]]) -> None:
        """Set the candidates, each with the modules that it trains."""
        self.modular.start([one.frozen for one in candidates], tails)
        self.candidates = [asdict(one) for one in candidates]

    def _originals(self, candidates: Sequence[Candidate]) -> dict[str, nn.Module]:
        """The modules whose weights the candidates start from, by name."""
        wanted = {one.origin for one in candidates if one.copied}
        found: dict[str, nn.Module] = {}
        for source in self.store.sources() if wanted else ():
            if source.name in wanted:
                found |= zip(source.modules, self.store.modules_of(source), strict=True)
        return found

    @override
    def parameter_groups(self) -> list[dict[str, Any]]:
        """A group for each candidate, with the learning rate of its trial."""
        decay = self.phase_lr / self.lr
        groups = []
        for one, tail in zip(self.candidates, self.modular.tails, strict=True):
            parameters = list(tail.parameters())
            if parameters:
                groups.append({"params": parameters, "lr": decay * self.trial_options(one["trial"])[0]})
        return groups

    @override
    def loss(self, step: Step) -> Tensor:
        """The sum of the candidates' mean losses: each gets the gradients that it would get alone."""
        batch = step.batch
        if self.samples.by_content:
            batch = select(batch, ~is_held_out(step.incoming.x, self.setting.seed))
        self.skips_step = len(batch.y) < self._fewest()
        if self.skips_step:
            return torch.stack([weights.sum() for weights in self.modular.tails.parameters()]).sum() * 0
        losses = self.candidate_losses(batch)
        self.running = torch.where(
            self.running == 0, losses.detach(), (1 - NEWEST) * self.running + NEWEST * losses.detach()
        )
        return losses.sum()

    def _fewest(self) -> int:
        """Return the least number of samples of a step: batch normalisation cannot train on a single one."""
        return 2 if any(isinstance(part, _BatchNorm) for part in self.modular.tails.modules()) else 1

    @override
    def before_optimizer_step(self) -> None:
        """Leave the weights as they are if all samples of the step are held out; momentum would move them."""
        super().before_optimizer_step()
        if self.skips_step and self.setting.workers == 1:
            for weights in self.modular.tails.parameters():
                weights.grad = None

    def candidate_losses(self, batch: Batch) -> Tensor:
        """The mean loss (C,) of each candidate."""
        if self.exploration.active:
            return self.exploration.losses(batch, self.classes)
        outputs = self.modular(batch.x)
        smoothing = [self.trial_options(one["trial"])[1] for one in self.candidates]
        return torch.stack(
            [
                self.classes.losses(self.classes.pick(own), batch, share).mean()
                for own, share in zip(outputs, smoothing, strict=True)
            ]
        )

    @override
    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None:
        super().on_batch_end(step, loss, batch_idx)
        if self.exploration.active:
            self.exploration.after_step(self.samples.held_out, self.classes, self.held_out_scores)

    @property
    @override
    def may_skip_parameters(self) -> bool:
        return self.exploration.active

    def keep_best(self, before: dict[str, float]) -> None:
        """Choose among the candidates, freeze the modules of the best one, and forget the others."""
        if self.exploration.active:
            self.set_candidates(*self.exploration.end())
        candidates = [Candidate(**one) for one in self.candidates]
        if not self.samples.n_held_out:
            self.trial_accuracy.append([0.0] * self.tries)
            self.keep(candidates[0], self.modular.tail(0), None, before)
            return
        with self.flops.count("validation"):
            scores = self.held_out_scores(range(len(candidates)))
        best = best_trials(candidates, scores)
        self.trial_accuracy.append(accuracy_of_trials(candidates, scores, self.tries))
        finalists = [candidates[number] for number in best]
        chosen = best[self.choose(finalists, HeldOutScores(scores.losses[best], scores.correct[best]))]
        self._move_search(chosen, before)
        self.keep(candidates[chosen], self.modular.tail(chosen), float(scores.accuracy[chosen]), before)

    def keep(
        self, chosen: Candidate, tail: Sequence[nn.Module], accuracy: float | None, before: dict[str, float]
    ) -> None:
        """Let a candidate answer for the tasks of this phase from now on."""
        number, labels = self.phase_count - 1, self.classes.labels
        n_frozen = len(chosen.frozen)
        names = [*chosen.frozen, *(f"p{number}m{n_frozen + place}" for place in range(len(tail)))]
        # Sums of what was moved between the uses may end just below 0.
        spent = {use: max(flops - before[use], 0.0) for use, flops in self.flops.by_use().items()}
        together = gather_objects((spent, sum(self.phase.train.sizes)))
        parents = [None] * len(chosen.frozen) + [
            chosen.copied[position] if chosen.copied else None for position in range(len(chosen.frozen), len(names))
        ]
        path = TaskPath(
            modules=tuple(names),
            labels=labels,
            origin=chosen.origin,
            parents=tuple(parents),
            reused=len(chosen.frozen),
            trial=chosen.trial,
            accuracy=accuracy,
            task=f"{self.setting.dataset} {', '.join(map(str, self.classes.by_task))}",
            samples=sum(samples for _, samples in together),
            statistics=statistics_of(self.samples.training.x),
            flops={use: sum(worker[use] for worker, _ in together) for use in spent},
        )
        self.store.add(path, tail)
        self.modular.start([], [])
        self.candidates, self.running = [], torch.zeros(0)

    @torch.no_grad()
    def held_out_scores(self, numbers: Sequence[int]) -> HeldOutScores:
        """Return the scores of some candidates on the held-out samples of all workers."""
        held_out, classes = self.samples.held_out, self.classes
        losses, correct = [], []
        with evaluating(self.modular.tails):
            for number in numbers:
                prefix, tail = self.modular.prefixes[number], self.modular.tail(number)
                outputs = classes.pick(
                    torch.cat([self.modular.path(chunk, prefix, tail) for chunk in held_out.x.split(CHUNK)])
                )
                losses.append(classes.losses(outputs, held_out))
                correct.append(classes.correct(outputs, held_out))
        parts = gather_objects((torch.stack(losses).cpu(), torch.stack(correct).cpu()))
        return HeldOutScores(torch.cat([part[0] for part in parts], 1), torch.cat([part[1] for part in parts], 1))

    def _move_search(self, chosen: int, before: dict[str, float]) -> None:
        """Count the training of the candidates that were not kept as search, by the cost of a sample in each."""
        sample = torch.cat([self.samples.held_out.x[:1], self.samples.training.x[:1]])[:1]
        costs = []
        with evaluating(self.modular.tails), torch.no_grad():
            for number, prefix in enumerate(self.modular.prefixes):
                features = self.modular.path(sample, prefix)
                with FlopCounterMode(display=False) as counter:
                    run(self.modular.tail(number), features)
                costs.append(counter.get_total_flops())
        spent = self.flops.by_use()["training"] - before["training"]
        self.flops.move(spent * (1 - costs[chosen] / max(sum(costs), 1)), "training", "search")

    def _warn_of_few(self, held_out: int, classes: PhaseClasses) -> None:
        if held_out < FEW * len(classes.labels) and rank() == 0 and not self.told:
            self.told = True
            warn(
                f"Task {', '.join(map(str, classes.by_task))} has {held_out} held-out samples for "
                f"{len(classes.labels)} classes: fewer than {FEW} for each make the choice uncertain; raise "
                "--validation. (Told once.)"
            )

    # Answers.

    @override
    @torch.no_grad()
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Scores (B, K) by the path of each sample's task; equal ones for tasks that were not met."""
        assert task_id is not None
        return self.logits(x.to(self.device), task_id.to(self.device))

    @override
    def logits(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        assert task_id is not None
        scores = torch.zeros(len(x), self.n_outputs, device=x.device)
        with evaluating(self.modular.tails):
            for phase, rows in rows_by_phase(task_id, self.phase_of):
                if phase == NOT_TRAINED:
                    continue
                rows = rows.to(x.device)
                scores[rows] = self._answer(x[rows], phase).to(scores.dtype)
        return self.heads.mask(scores, task_id)

    def _answer(self, x: Tensor, phase: int) -> Tensor:
        """Scores (b, K) by the path of a phase; of the phase in training, by the candidate that learns best so far."""
        if phase == len(self.paths):
            return self.classes.spread(self.classes.pick(self.answer_in_training(x)), self.n_outputs)
        path = self.paths[phase]
        classes = PhaseClasses(tuple(path["labels"]), {})
        return classes.spread(classes.pick(self.modular.path(x, path["modules"])), self.n_outputs)

    def answer_in_training(self, x: Tensor) -> Tensor:
        """The outputs (b, n) of the candidate that learns best so far, for the phase that is being trained."""
        best = int(self.running.argmin())
        if self.exploration.active and best == DRAWN:
            return self.exploration.answer(x)
        for n in (len(x), best):  # a step with such an answer costs more than one without
            self.flops.note(n)
        return self.modular.path(x, self.modular.prefixes[best], self.modular.tail(best))

    # The library and the checkpoint.

    @override
    def costs(self) -> State:
        """As of any gradient method; all modules that are kept count as parameters."""
        costs = super().costs()
        return costs | {"parameters": costs["parameters"] + self.store.n_parameters}

    @override
    def on_finish(self, results: Results) -> None:
        self.store.publish()
        super().on_finish(results)

    @override
    def load_state_dict(self, state: State) -> None:
        self.store.restore_modules(state["store"]["places"], state["network"])
        if state["candidates"] != self.candidates:
            self._start([Candidate(**one) for one in state["candidates"]], resumed=True)
        super().load_state_dict(state)


def _copy_body(module: nn.Module, original: nn.Module, *, is_last: bool) -> None:
    """Let a module start from another one's weights; the last linear layer of a network stays new."""
    kept = last_layer_names(module) if is_last else set()
    put_tensors(
        module,
        tensors_of(original) | {name: value for name, value in tensors_of(module).items() if name in kept},
        "The network to start from",
    )
