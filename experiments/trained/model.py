"""A trained method as a model: what it predicts for samples that nobody has seen."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from redwood.core.errors import DataError, InvalidOptionError, NotApplicableError
from redwood.methods.base import Method
from redwood.settings.assumptions import TaskIds
from redwood.settings.base import Setting
from redwood.settings.results import Results
from redwood.settings.scores.answers import check_form, check_values
from redwood.settings.signature import Signature

BATCH = 512


class TrainedModel:
    """What a run has learned, ready to predict.

    Attributes:
        method: The trained method.
        setting: Its view of the setting: options, `observation_space` and `action_space`.
        signature: The same as plain values.
        config: The options of the run, as in `config.yaml`.
        results: The results of the run; None if it is not over.
        folder: The folder that it was loaded from.
        phases: The number of phases that it was trained on.
    """

    def __init__(
        self,
        method: Method,
        setting: Setting,
        signature: Signature,
        config: dict[str, Any],
        results: Results | None,
        *,
        folder: Path,
        phases: int,
    ) -> None:
        self.method, self.setting, self.signature = method, setting, signature
        self.config, self.results, self.folder, self.phases = config, results, folder, phases

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each output (K,): that of the data, or else its number; empty where numbers are predicted."""
        space = self.setting.action_space
        if self.signature.class_names or isinstance(space, Box):
            return self.signature.class_names
        n = int(space.n) if isinstance(space, Discrete) else space.shape[0]  # type: ignore[index]
        return tuple(map(str, range(n)))

    @property
    def sample_space(self) -> Box:
        """The shape, the type and the bounds of a sample, or of an observation."""
        space = self.setting.observation_space
        assert isinstance(space, Box)
        return space

    @property
    def takes_task_ids(self) -> bool:
        """Whether the setting tells the task of each sample at test."""
        return self.setting.assumptions.task_ids >= TaskIds.TEST

    def predict(self, x: Tensor | np.ndarray, task_id: Tensor | int | None = None) -> Tensor:
        """What the model takes samples for.

        Args:
            x: Samples (n, ...) in the form of the training samples, unscaled: uint8 images stay uint8.
            task_id: Task of each sample (n,), or of all of them, where the setting gives task ids at test.

        Returns:
            Classes (n,) int64, places in `class_names`; label sets (n, L) bool; or numbers (n,) or (n, d). On the CPU.

        Raises:
            DataError: If the samples have another shape or type.
            InvalidOptionError: If the model needs task ids, or takes none.
        """
        answer = self._answer(x, task_id)
        space = self.setting.action_space
        if isinstance(space, Box) or answer.dtype == torch.bool or answer.dim() == 1:
            return answer
        return answer.argmax(1) if isinstance(space, Discrete) else answer > 0

    def scores(self, x: Tensor | np.ndarray, task_id: Tensor | int | None = None) -> Tensor:
        """The scores (n, K) of all outputs for samples (n, ...); arguments and errors are those of `predict`.

        Raises:
            NotApplicableError: If the method answers with classes or numbers, not with scores.
        """
        answer = self._answer(x, task_id)
        if isinstance(self.setting.action_space, Box) or answer.dim() != 2 or answer.dtype == torch.bool:
            what = "numbers" if isinstance(self.setting.action_space, Box) else "labels"
            raise NotApplicableError(f"{self.method.reference()} predicts {what} without scores; call predict.")
        return answer

    def features(self, x: Tensor | np.ndarray) -> Tensor:
        """What the network makes of samples (n, ...) before its last linear layer (n, d), on the CPU.

        Raises:
            DataError: If the samples have another shape or type.
            NotApplicableError: If the method has no such network.
        """
        samples = self._checked(x)
        return torch.cat([self.method.features(chunk).cpu() for chunk in samples.split(BATCH)])

    def act(self, observation: Any, task_id: int | None = None) -> Any:
        """The best action for one observation of an environment.

        Args:
            observation: As the environment returns it.
            task_id: The task, where the setting gives task ids at test.

        Returns:
            An action that `env.step` takes: a number, or an array.
        """
        if not self.setting.assumptions.rewards:
            raise NotApplicableError("act is for agents; this model predicts, by predict(x).")
        batch = torch.from_numpy(np.asarray(observation)[None])
        action = self.method.predict(batch, self._ids(task_id, 1))[0].cpu().numpy()
        return action.item() if isinstance(self.setting.action_space, Discrete) else action

    @torch.no_grad()
    def _answer(self, x: Tensor | np.ndarray, task_id: Tensor | int | None) -> Tensor:
        """The checked answer of the method for samples (n, ...), on the CPU."""
        samples = self._checked(x)
        ids = self._ids(task_id, len(samples))
        space, answers = self.setting.action_space, []
        for start in range(0, len(samples), BATCH):
            chunk = samples[start : start + BATCH]
            answer = self.method.predict(chunk, None if ids is None else ids[start : start + BATCH])
            check_form(answer, space, len(chunk), "predict returned", scores=True)
            check_values(answer, space, "predict returned")
            answers.append(answer.cpu())
        return torch.cat(answers)

    def _checked(self, x: Tensor | np.ndarray) -> Tensor:
        """Samples (n, ...) in their storage dtype; small differences of integers or floats are converted."""
        space = self.sample_space
        samples = torch.as_tensor(x)
        wanted = torch.from_numpy(np.empty(0, space.dtype)).dtype
        shape = space.shape
        if tuple(samples.shape[1:]) != shape or not len(samples):
            raise DataError(
                f"The model takes samples {shape}, and at least one of them, got an array {tuple(samples.shape)}; give "
                f"{('n', *shape)}, such as x[None] for a single sample."
            )
        if samples.dtype == wanted:
            return samples
        alike = samples.dtype.is_floating_point == wanted.is_floating_point
        if alike and (wanted.is_floating_point or torch.equal(samples.to(wanted).to(samples.dtype), samples)):
            return samples.to(wanted)
        bounds = f" in {space.low.min():g}..{space.high.max():g}"
        raise DataError(
            f"The model takes samples of {str(wanted).removeprefix('torch.')} as they are stored{bounds}, got "
            f"{samples.dtype}; undo any scaling."
        )

    def _ids(self, task_id: Tensor | int | None, n: int) -> Tensor | None:
        given = self.takes_task_ids
        name = self.config["setting"]
        if given and task_id is None:
            raise InvalidOptionError(f"The model was trained under {name}, which tells the task; give task_id.")
        if not given and task_id is not None:
            raise InvalidOptionError(f"The model was trained under {name}, which tells no task; leave task_id out.")
        if task_id is None:
            return None
        ids = torch.as_tensor(task_id)
        return ids.expand(n) if ids.dim() == 0 else ids
