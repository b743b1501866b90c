"""A mixture of experts that can be edited between phases: experts are added, split, removed and replaced."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from redwood.branches.modular.expert import Course, Learned, Lesson, Shard, checked_shard, steps_of
from redwood.branches.modular.mixture import HardMixture
from redwood.core.checks import check_range
from redwood.core.errors import DataError, InvalidOptionError, NotTrainedError
from redwood.core.growth import grow, sizes_of
from redwood.core.seeding import derive_seed, preserved_random_state, seed_everything
from redwood.core.state import State
from redwood.methods.lightning import LightningMethod
from redwood.methods.networks import build_network
from redwood.methods.networks.backbone import Backbone, make_backbone
from redwood.methods.training.layers import evaluating, set_dropout
from redwood.settings.supervised import SupervisedSetting

TaskClasses = Mapping[int, tuple[int, ...]] | None


class EditableMixture(LightningMethod):
    """Experts behind a hard gate, and the operations that change a trained mixture.

    An operation leaves all other experts as they are. For the samples that still go to these, `predict` answers as
    before, bit for bit. Operations are for the time between phases, as in `on_task_end`, and after a run; the next
    checkpoint holds what they changed. They take samples (n, ...) as they are stored, labels (n,), and where ids are
    given at test the task of each sample (n,). Experts are numbered from 0.

    Options that a subclass declares:
        expert_models: Networks of the experts, in turn; none: that of `model`.
        prototypes: Prototypes of the gate for each expert.
        backbone: Features that the gate goes by, see `make_backbone`; "trained": those of the first expert.
        backbone_weights: File with a state dict for it.
    """

    expert_models: list[str]
    prototypes: int
    backbone: Any
    backbone_weights: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "prototypes", 1, 10_000)
        if self.expert_models and self.model.text != "auto":
            raise InvalidOptionError("--expert_models names the networks of all experts; leave --model out.")
        if self.expert_models:
            self.model.refuse_more(self.reference(), "which names the networks of its experts by --expert_models")
        if self.optimizer_state == "keep":
            raise InvalidOptionError("--optimizer_state keep means nothing to new experts; use reset.")

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.module = self.make_module(HardMixture(self._make_backbone(setting)).to(self.device))
        self.n_made = self.add_state("n_made", 0)  # experts so far, those included that are gone
        # Of each expert: the number of its network in `expert_models`, and the tasks that it was trained on.
        self.architectures: list[int] = self.add_state("architectures", [])
        self.tasks_of: list[list[int]] = self.add_state("tasks_of", [])
        self.fits = False  # whether a phase is being trained

    @property
    def mixture(self) -> HardMixture:
        """The network, with its type."""
        assert isinstance(self.network, HardMixture)
        return self.network

    @override
    def make_network(self) -> nn.Module:
        return self._make_architecture(0)

    def _make_architecture(self, architecture: int) -> nn.Module:
        if not self.expert_models:
            return super().make_network()
        return build_network(self.expert_models[architecture], self.setting.observation_space, self.n_outputs)

    def _make_backbone(self, setting: SupervisedSetting) -> Backbone:
        space = setting.observation_space
        if self.backbone == "trained":
            if self.backbone_weights:
                raise InvalidOptionError("--backbone_weights is for a network given by name; leave it out.")
            return Backbone(self.network, space, before_last_layer=True)
        reads = not self.run.is_trained
        return make_backbone(self.backbone, self.backbone_weights, space, setting.seed, reads=reads)

    def _architecture_of(self, made: int) -> int:
        """The architecture of an expert, by how many were made before it."""
        return made % max(1, len(self.expert_models))

    def _new_expert(self, architecture: int) -> nn.Module:
        with preserved_random_state():
            seed_everything(self.setting.seed, "expert", self.n_made)
            expert = self._make_architecture(architecture)
        self.n_made += 1
        set_dropout(expert, self.dropout)
        return expert.to(self.device)

    def grow(self, architectures: Sequence[int], owned: Sequence[int]) -> None:
        """Add new experts of these architectures, each with so many prototypes that are not in use yet."""
        self.mixture.grow([self._new_expert(architecture) for architecture in architectures], owned)
        self.architectures += architectures
        self.tasks_of += [[] for _ in architectures]

    def drop(self, number: int) -> None:
        """Take an expert out, with its prototypes."""
        self.mixture.remove(number)
        del self.architectures[number], self.tasks_of[number]

    def teach(
        self,
        shards: Mapping[int, Shard],
        task_classes: TaskClasses,
        *,
        processes: int = 1,
        part: tuple[int, int] = (0, 1),
        share: tuple[float, float] = (0.0, 1.0),
        optimizers: Mapping[int, State | None] | None = None,
    ) -> dict[int, Learned]:
        """Train experts apart from each other, each on samples of its own, and take over their weights.

        Args:
            shards: The samples of each expert, by number.
            task_classes: See `Phase`.
            processes: Number of processes that train them; it changes no result.
            part: Number of this part, from 0, and of all parts that the share is divided into.
            share: Where the training begins and ends, in shares of the setting's passes over the samples.
            optimizers: States of their optimizers after the part before.

        Returns:
            The trained state of each expert.
        """
        from redwood.branches.modular.side_by_side import learn  # starts Lightning

        course = self._course(task_classes, part)
        begin, length = share[0], (share[1] - share[0]) / part[1]
        span = begin + part[0] * length, begin + (part[0] + 1) * length
        lessons = {n: self._lesson(n, shard, span, (optimizers or {}).get(n)) for n, shard in shards.items()}
        learned = dict(zip(lessons, learn(course, list(lessons.values()), processes), strict=True))
        for number, one in learned.items():
            self.mixture.experts[number].load_state_dict(one.weights)
            self.flops.add(one.flops)
            self.run.global_step += len(lessons[number].steps)
        return learned

    def _course(self, task_classes: TaskClasses, part: tuple[int, int]) -> Course:
        own = {f.name: getattr(self, f.name) for f in fields(LightningMethod)}
        run = {name: getattr(self.run, name) for name in ("accelerator", "devices", "precision")}
        return Course(
            setting=self.setting,
            options=own | {"lr": self.phase_lr, "regime": "constant"},
            run=run | {"threads": self.run.threads or 1, "quiet": True, "checkpoint_every": 0},
            task_classes=task_classes,
            heads=self.heads.state_dict(),
            part=part,
        )

    def _lesson(self, number: int, shard: Shard, span: tuple[float, float], optimizer: State | None) -> Lesson:
        with preserved_random_state():
            network = self._make_architecture(self.architectures[number])
        network.load_state_dict(self.mixture.experts[number].state_dict())
        total = steps_of(len(shard), self.setting.batch_size, self.setting.passes)
        seed = derive_seed(self.setting.seed, "lesson", self.phase_count, self.n_made, number)
        return Lesson(network, shard, range(round(total * span[0]), round(total * span[1])), seed, optimizer)

    def add_expert(self, x: Tensor, y: Tensor, task_id: Tensor | None = None) -> int:
        """Add an expert for new data: k-means of its features gives it prototypes, and it is trained on all of it.

        Returns:
            The number of the expert.

        Raises:
            DataError: If the samples do not fit the setting.
            NotTrainedError: Before the first phase is over.
        """
        shard, task_classes = self._checked(x, y, task_id)
        number = len(self.mixture.experts)
        self.mixture.freeze()
        self.grow([self._architecture_of(self.n_made)], [self.prototypes])
        self.mixture.place(self.features_of(shard), derive_seed(self.setting.seed, "added", self.n_made))
        self.tasks_of[number] = sorted(task_classes or {})
        self.teach({number: shard}, task_classes)
        return number

    def split_expert(self, number: int) -> int:
        """Split an expert in two, by two-means of its prototypes; both halves start from its weights.

        No prediction changes until `train_experts` or a phase trains one of the halves.

        Returns:
            The number of the new expert.

        Raises:
            InvalidOptionError: If there is no such expert, or it has less than two different prototypes in use.
            NotTrainedError: Before the first phase is over.
        """
        self._check_number(number)
        if not self.mixture.can_split()[number]:
            raise InvalidOptionError(
                f"Expert {number} has less than two different prototypes in use; choose another one to split."
            )
        new = len(self.mixture.experts)
        self.grow([self.architectures[number]], [0])
        self.mixture.split(number, new, derive_seed(self.setting.seed, "split apart", self.n_made))
        self.tasks_of[new] = list(self.tasks_of[number])
        return new

    def remove_expert(self, number: int) -> None:
        """Remove an expert and its prototypes; its samples fall to the nearest others. Later experts move up by one.

        Raises:
            InvalidOptionError, NotTrainedError: As `split_expert`; also if no other expert has a prototype in use.
        """
        self._check_number(number)
        if not bool((self.mixture.counts[self.mixture.owner != number] > 0).any()):
            raise InvalidOptionError(f"Expert {number} is the only one with prototypes in use; replace it instead.")
        self.drop(number)

    def replace_expert(
        self, number: int, x: Tensor, y: Tensor, task_id: Tensor | None = None, *, architecture: int | None = None
    ) -> None:
        """Put a new expert behind the prototypes of another, trained on those of the samples that the gate gives it.

        Args:
            number: The expert.
            x: Samples.
            y: Labels.
            task_id: Tasks.
            architecture: Number of its network in `expert_models`; None: that of the expert before.

        Raises:
            DataError: If the samples do not fit the setting, or the gate gives none of them to this expert.
            InvalidOptionError, NotTrainedError: As `split_expert`; also if there is no such architecture.
        """
        self._check_number(number)
        shard, task_classes = self._checked(x, y, task_id)
        shards = self._shards_of([number], shard)
        chosen = self.architectures[number] if architecture is None else architecture
        if chosen not in range(max(1, len(self.expert_models))):
            raise InvalidOptionError(f"The architecture {chosen} is none of --expert_models; give the number of one.")
        self.mixture.experts[number] = self._new_expert(chosen)
        self.architectures[number] = chosen
        self.tasks_of[number] = sorted(task_classes or {})
        self.teach(shards, task_classes)

    def train_experts(self, numbers: Sequence[int], x: Tensor, y: Tensor, task_id: Tensor | None = None) -> None:
        """Train some experts on, such as the halves of a split, each on those of the samples that the gate gives it.

        Raises:
            DataError, InvalidOptionError, NotTrainedError: As `replace_expert`.
        """
        for number in numbers:
            self._check_number(number)
        shard, task_classes = self._checked(x, y, task_id)
        shards = self._shards_of(numbers, shard)
        for number in numbers:
            self.tasks_of[number] = sorted({*self.tasks_of[number], *(task_classes or {})})
        self.teach(shards, task_classes)

    def features_of(self, shard: Shard) -> Tensor:
        """Return the features (n, d) of the samples, by which the gate chooses."""
        with self.flops.count():
            features: Tensor = self.mixture.backbone(shard.x.to(self.device))
        return features

    def _shards_of(self, numbers: Sequence[int], shard: Shard) -> dict[int, Shard]:
        """The samples that the gate gives to each of some experts, as it does at test."""
        with evaluating(self.mixture):
            choice = self.mixture.owner[self.mixture.nearest(self.features_of(shard))].cpu()
        shards = {number: shard[choice == number] for number in numbers}
        for number, own in shards.items():
            if not len(own):
                raise DataError(
                    f"The gate gives none of the {len(shard)} samples to expert {number}; give it some of its own."
                )
        return shards

    def _check_number(self, number: int) -> None:
        self._check_editable()
        n_experts = len(self.mixture.experts)
        if number not in range(n_experts):
            raise InvalidOptionError(f"There is no expert {number}; give a number from 0 to {n_experts - 1}.")

    def _check_editable(self) -> None:
        if not getattr(self, "phase_count", 0):
            raise NotTrainedError("Experts can be edited once a phase has trained them; train the mixture first.")
        if self.fits:
            raise InvalidOptionError("Experts cannot be edited while a phase trains them; do it in on_task_end.")

    def _checked(self, x: Tensor, y: Tensor, task_id: Tensor | None) -> tuple[Shard, TaskClasses]:
        """The samples, and the labels of each task, which the heads have learned then."""
        self._check_editable()
        if task_id is None and self.heads.active:
            raise DataError("Where ids are given at test, experts have to be told the tasks of samples; give task_id.")
        shard = checked_shard(x, y, task_id, self.setting.observation_space.shape, self.n_outputs)
        tasks = shard.classes_by_task()
        self.heads.learn(tasks)
        return shard, tasks

    @override
    def forward(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        # If ids are given at test, only experts that were trained on the task answer, if there are any.
        if task_id is None or not self.heads.active:
            outputs: Tensor = self.network(x)
            return outputs
        known = torch.tensor([[task in tasks for tasks in self.tasks_of] for task in range(int(task_id.max()) + 1)])
        known |= ~known.any(1, keepdim=True)
        routed: Tensor = self.network(x, known.to(x.device)[task_id])
        return routed

    @override
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        # The online score is made of whole batches: what they cost counts.
        self.mixture.in_pieces = not self.fits
        return super().predict(x, task_id)

    @override
    def state_dict(self) -> State:
        # The experts as a list: a new method, which a resumed run starts with, may have more of them.
        state = super().state_dict()
        gate = {name: value for name, value in state["network"].items() if not name.startswith("experts.")}
        experts = [expert.state_dict() for expert in self.mixture.experts]
        return state | {"network": gate, "experts": experts, "n_frozen": self.mixture.n_frozen}

    @override
    def grow_state(self, saved: State, smaller: Any) -> State:
        sizes = sizes_of(self.mixture.experts[0], smaller.mixture.experts[0])
        experts = [grow({}, {}, expert, sizes) for expert in saved["experts"]]
        return super().grow_state(saved, smaller) | {"experts": experts, "n_frozen": saved["n_frozen"]}

    @override
    def inside_state(self) -> State:
        state = super().inside_state()
        del state["experts"]  # Lightning saves the whole network
        return state

    @override
    def load_state_dict(self, state: State) -> None:
        weights = dict(state["network"])
        for number, expert in enumerate(state.get("experts", [])):
            weights |= {f"experts.{number}.{name}": value for name, value in expert.items()}
        self._take_shape(state["architectures"], len(weights.get("owner", ())))
        super().load_state_dict(state | {"network": weights})
        self.mixture.n_frozen = state["n_frozen"]

    def _take_shape(self, architectures: Sequence[int], n_prototypes: int) -> None:
        """Have experts of these architectures, and so many prototypes, before their values are loaded."""
        if not {*architectures} <= {*range(max(1, len(self.expert_models)))}:
            raise DataError(
                "The checkpoint is of a mixture with other --expert_models; give those that it was made with."
            )
        if architectures != self.architectures or n_prototypes != len(self.mixture.owner):
            with preserved_random_state():
                experts = [self._make_architecture(architecture) for architecture in architectures]
            for expert in experts:
                set_dropout(expert, self.dropout)
            self.mixture.reset([expert.to(self.device) for expert in experts], n_prototypes)
