"""`redwood.load`: a trained method as a model, which predicts for new samples, and learns further."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary
from torch import Tensor

from redwood.core.calls import errors_in_keywords, in_python
from redwood.core.errors import DataError, InvalidOptionError, NotApplicableError
from redwood.core.imports import only
from redwood.core.parts import flat
from redwood.core.schema import Json
from redwood.core.user_warnings import warn
from redwood.experiments.command_line.config_file import as_arguments
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.command_line.trust import LOAD, refuse_untrusted
from redwood.experiments.runs.continuation import stream_of
from redwood.experiments.runs.given import FromPython
from redwood.experiments.runs.runner import execute, label_of, new_run_dir
from redwood.experiments.runs.saved_run import read_run
from redwood.experiments.trained.extend import extended_options
from redwood.experiments.trained.loading import make_method, restore
from redwood.experiments.trained.table_rows import OPTIONS, columns_of, read_rows
from redwood.methods.base import Method
from redwood.settings.assumptions import TaskIds
from redwood.settings.base import Setting
from redwood.settings.config import is_marked
from redwood.settings.data.conversion import is_table
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.folders import GreyFiles, ImageFiles, image_files
from redwood.settings.data.form import is_grey, stored_alike, with_channel
from redwood.settings.data.parts import DataSource, Table
from redwood.settings.scores.answers import check_form, check_values
from redwood.settings.scores.results import Results
from redwood.settings.signature import Signature

if TYPE_CHECKING:
    import pandas

BATCH = 512
# Samples (n, ...), or the rows of a table.
Given: TypeAlias = "Tensor | np.ndarray | pandas.DataFrame"


class TrainedModel:
    """The trained model of a run, ready to predict.

    Attributes:
        method: The trained method.
        setting: Its view of the setting: options, `observation_space` and `action_space`.
        signature: The same as plain values.
        config: The options of the run, as in `config.yaml`.
        results: The results of the run; None if it is not over.
        folder: The folder that it was loaded from.
        phases: The number of phases that it was trained on, those of the runs that its run extends among them.
        after_phase: The phase after which its state was kept; None: the last one that is over.
    """

    def __init__(
        self,
        method: Method,
        setting: Setting,
        signature: Signature,
        config: Json,
        results: Results | None,
        *,
        folder: Path,
        phases: int,
        device: str,
        given: Json,
        classes: FromPython,
        trusted: bool,
        after_phase: int | None,
    ) -> None:
        self.method, self.setting, self.signature = method, setting, signature
        self.config, self.results, self.folder, self.phases = config, results, folder, phases
        self.after_phase = after_phase
        self._device, self._given, self._classes, self._trusted = device, given, classes, trusted

    def __repr__(self) -> str:
        phases = f"{self.phases} phase{'s' * (self.phases != 1)}"
        outputs = f", {len(self.class_names)} classes" if self.class_names else ""
        return f"<TrainedModel of {self.config['setting']} / {self.config['method']}: {phases}{outputs}>"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each output (K,): that of the data, or else its number; empty where numbers are predicted."""
        space = self.setting.action_space
        if self.signature.class_names or isinstance(space, Box):
            return self.signature.class_names
        assert isinstance(space, Discrete | MultiBinary)
        n = int(space.n) if isinstance(space, Discrete) else space.shape[0]
        return tuple(map(str, range(n)))

    @property
    def classes_by_output(self) -> list[frozenset[str]]:
        """The classes that each output stands for (K,): several where tasks share outputs by their places."""
        classes = self.signature.classes
        return [frozenset(own) for own in (classes.outputs if classes.names else [[one] for one in self.class_names])]

    @property
    def sample_space(self) -> Box:
        """The shape, the type and the bounds of a sample, or of an observation."""
        space = self.setting.observation_space
        assert isinstance(space, Box)
        return space

    @property
    def takes_task_ids(self) -> bool:
        """True if the setting tells the task of each sample at test."""
        return self.setting.assumptions.task_ids >= TaskIds.TEST

    def predict(self, x: Given, task_id: Tensor | int | None = None) -> Tensor:
        """Predict the classes, label sets or numbers of samples.

        Args:
            x: Samples (n, ...) in the form of the training samples, unscaled: uint8 images stay uint8. Images of one
                channel may lack the channel dimension: (n, H, W). Or a DataFrame with the features of training, in any
                order.
            task_id: Task of each sample (n,), or of all of them, where the setting gives task ids at test.

        Returns:
            On the CPU: classes (n,) int64, indices into `class_names`; label sets (n, L) bool; or numbers (n,) or
            (n, d).

        Raises:
            DataError: If the samples have another shape or type.
            InvalidOptionError: If the model needs task ids, or takes none.
        """
        answer = self._answer(x, task_id)
        space = self.setting.action_space
        if isinstance(space, Box) or answer.dtype == torch.bool or answer.dim() == 1:
            return answer
        return answer.argmax(1) if isinstance(space, Discrete) else answer > 0

    def scores(self, x: Given, task_id: Tensor | int | None = None) -> Tensor:
        """The scores (n, K) of all outputs for samples (n, ...); arguments and errors are those of `predict`.

        Raises:
            NotApplicableError: If the method answers with classes or numbers, not with scores.
        """
        answer = self._answer(x, task_id)
        if isinstance(self.setting.action_space, Box) or answer.dim() != 2 or answer.dtype == torch.bool:
            what = "numbers" if isinstance(self.setting.action_space, Box) else "labels"
            raise NotApplicableError(f"{self.method.reference()} predicts {what} without scores; call predict.")
        return answer

    def predict_proba(self, x: Given, task_id: Tensor | int | None = None) -> Tensor:
        """The probabilities (n, K) of all classes for samples (n, ...): the softmax of `scores`.

        Column k is the class `class_names[k]`; rows sum to 1. The largest one is what `predict` answers.

        Raises:
            NotApplicableError: If the method answers without scores, or each sample may have several labels.
        """
        scores = self.scores(x, task_id)
        if not isinstance(self.setting.action_space, Discrete):
            raise NotApplicableError("A sample may have several labels here, which are no distribution; call scores.")
        return scores.double().softmax(1)

    def image_files(self, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> ImageFiles:
        """Image files as samples, each decoded when it is indexed and resized as the images of an image folder are.

        Args:
            paths: The files; or one file; or a folder, of which all images are taken, however deep.

        Raises:
            InvalidOptionError: If the model takes no images of one or three channels.
        """
        shape = self.sample_space.shape or ()
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InvalidOptionError(
                f"The model takes samples {shape}, which are no images of files; give an array x of such samples."
            )
        if isinstance(paths, str | os.PathLike):
            paths = image_files(Path(paths)) if Path(paths).is_dir() else [paths]
        return (GreyFiles if shape[0] == 1 else ImageFiles)([os.fspath(path) for path in paths], shape[1:])

    def read_images(self, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Tensor:
        """Images of files as samples (n, C, H, W) that `predict` takes; see `image_files` for the errors."""
        images = self.image_files(paths)
        return images[torch.arange(len(images))]

    def features(self, x: Given) -> Tensor:
        """Return the features (n, d) of samples (n, ...): the input of the last linear layer, on the CPU.

        Raises:
            DataError: If the samples have another shape or type.
            NotApplicableError: If the method has no network with such a layer.
        """
        samples = self._checked(x)
        return torch.cat([self.method.features(chunk).cpu() for chunk in samples.split(BATCH)])

    def act(self, observation: object, task_id: int | None = None) -> int | np.ndarray:
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

    @errors_in_keywords()
    def test_tasks(self, *, dataset: Any = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The test samples of each task of the run, for scores of your own.

            for task, (x, y) in enumerate(model.test_tasks()):
                print(task, f1_score(model.predict(x), y, task="multiclass", num_classes=10))

        Args:
            dataset: The data of the run, if it was given from Python.

        Returns:
            For each task, samples (n, ...) as `predict` takes them, and their labels (n,), label sets (n, L) or
            targets. A task of an earlier run whose data is gone has no samples.

        Raises:
            NotApplicableError: If the run was not under a supervised setting.
            RedwoodError: If the data is missing, has changed, or has to be given.
        """
        saved = read_run(self.folder, self.after_phase).with_classes(self._classes)
        if self.setting.assumptions.rewards:
            raise NotApplicableError("An agent has no test samples; call model.act(observation) in its environment.")
        if dataset is None and is_marked(saved.options.get("dataset")):
            raise InvalidOptionError(
                f"The run in {self.folder} got its dataset from Python; give it again, as in "
                "model.test_tasks(dataset=...)."
            )
        if not self._trusted:
            refuse_untrusted(saved.options, saved.folder / "config.yaml", LOAD, saved.classes)
        with only(None if self._trusted else ()):
            stream = stream_of(saved, trusted=self._trusted, dataset=dataset)
        return (stream.samples_of(task, test=True) for task in range(stream.num_tasks))

    @errors_in_keywords()
    def learn(
        self,
        dataset: "Dataset | DataSource | tuple[Any, ...] | str | pandas.DataFrame",
        *,
        run_dir: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> Results:
        """Learn further data, new classes included, in a new run; then this model has the state of that run.

        The model changes in place: `predict` answers with the new state, and `results` and `folder` are those of the
        new run. The old run stays in its folder, from where `redwood.load` reads it again.

        Args:
            dataset: The data, as `redwood.run` takes it: its name, a `Dataset`, or arrays `(x, y)`. The columns of a
                DataFrame are those of the run, unless `target_column`, `time_column` and the like name others.
            run_dir: Folder of the new run, which is always written (default: one under `runs/`, named by the time).
            **options: Options that differ from those of the run, such as `nb_tasks`, `passes` or `lr`.

        Returns:
            The `Results` of the new run: also on the earlier tasks, if their data is still there; else a warning says
            that they are on the new tasks alone.

        Raises:
            RedwoodError: If the run cannot be extended, or an option does not fit. The model stays as it is then.
        """
        if self.after_phase is not None:
            raise InvalidOptionError(
                f"A run is extended from its last phase, and this model is the one after phase {self.after_phase}; "
                "load it without phase."
            )
        if is_table(dataset):
            own = flat(self.config)
            columns = {name: str(options.pop(name, own.get(name, ""))) for name in OPTIONS}
            dataset = Table(dataset, slices=str(options.pop("slices", "")), **columns)
        in_memory = None if isinstance(dataset, str) else dataset
        named = {"dataset": dataset} if in_memory is None else {}
        arguments = as_arguments({**named, **options})
        with only(None if self._trusted else arguments):
            extended = extended_options(
                self.folder,
                arguments,
                trusted=self._trusted,
                dataset=in_memory,
                given=self._given,
                classes=self._classes,
            )
            folder = str(run_dir or new_run_dir(label_of(Pair(self.config["setting"], self.config["method"]))))
            results = execute(replace(extended, run=replace(extended.run, run_dir=folder)))
        again = _load(folder, self._classes, device=self._device, trust=self._trusted, phase=None, given=self._given)
        vars(self).update(vars(again))
        return results

    @torch.no_grad()
    def _answer(self, x: Given, task_id: Tensor | int | None) -> Tensor:
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

    def _checked(self, x: Given) -> Tensor:
        """Samples (n, ...) in their storage dtype; integers and whole floats in range are converted."""
        space = self.sample_space
        if is_table(x):
            x = read_rows("table", x, columns_of(self.config, self.signature))[0]
        if not isinstance(x, Tensor | np.ndarray):
            raise DataError(
                f"Samples are a tensor or an array (n, ...), got a {type(x).__name__}; read image files by "
                "model.read_images(paths), and the test samples of the run by model.test_tasks()."
            )
        samples = with_channel(space, torch.as_tensor(x))
        shape = space.shape
        if tuple(samples.shape[1:]) != shape or not len(samples):
            remedy = "bring them to that shape"
            if tuple(samples.shape) == (shape[1:] if is_grey(space) else shape):
                remedy = "pass x[None] for a single sample"
            elif len(shape) == 3 and tuple(samples.shape[1:]) == (*shape[1:], shape[0]):
                remedy = "the channels come first, as np.moveaxis(x, -1, 1) puts them (a tensor: x.movedim(-1, 1))"
            raise DataError(
                f"The model takes samples (n, {', '.join(map(str, shape))}), and at least one of them, got an array "
                f"{tuple(samples.shape)}; {remedy}."
            )
        return stored_alike(space, samples, trained="model", whose="these")

    def _ids(self, task_id: Tensor | int | None, n: int) -> Tensor | None:
        given = self.takes_task_ids
        name, last = self.config["setting"], self.signature.first_task + self.signature.num_tasks - 1
        if given and task_id is None:
            option = "task_id" if in_python() else f"--task_id, from 0 to {last}"
            raise InvalidOptionError(f"The model was trained under {name}, which tells the task; give {option}.")
        if not given and task_id is not None:
            raise InvalidOptionError(f"The model was trained under {name}, which tells no task; leave task_id out.")
        if task_id is None:
            return None
        ids = torch.as_tensor(task_id)
        ids = ids.expand(n) if ids.dim() == 0 else ids
        whole = not ids.dtype.is_floating_point and not ids.dtype.is_complex
        if ids.shape != (n,) or not whole or bool(((ids < 0) | (ids > last)).any()):
            raise DataError(
                f"The tasks of {n} samples are one of the numbers 0 to {last} for each, or one for all of them; got "
                f"{task_id if ids.numel() == 1 else f'{tuple(ids.shape)} {ids.dtype}'}; give task_id so."
            )
        return ids.long()


def load(
    folder: str | os.PathLike[str],
    *,
    setting: type[Setting] | None = None,
    method: type[Method] | None = None,
    device: str = "auto",
    trust: bool = False,
    phase: int | None = None,
    **given: object,
) -> TrainedModel:
    """Load the method that a run has trained: a `TrainedModel`, which predicts for new samples and learns further.

        model = redwood.load("runs/x")
        print(model.results, model.class_names, model.predict(x))

    The state is that after the last phase that is over; a warning says so if phases are missing, and
    `redwood.resume("runs/x")` trains these. The data of the run is not needed, and nothing in the folder is unpickled.

    Args:
        folder: The `run_dir` of a run, or a folder that `export` wrote in the format safetensors.
        setting: The class of the setting, if only a notebook, a script or a function has it.
        method: The class of the method, likewise, such as `method=Mine`. Classes that are given need no trust.
        device: Where to compute: auto, cpu, gpu, cuda or mps.
        trust: Whether code that the run's `config.yaml` names may be run.
        phase: Load the state after this phase, from 0; the run has to have kept it by `--keep_checkpoints all`.
        **given: Options of the method that were given from Python, such as `model`: a file cannot hold these.

    Returns:
        The model: see `predict`, `scores`, `predict_proba`, `features`, `act` and `learn`.

    Raises:
        RedwoodError: If the folder is no run or damaged, no phase is learned, an option or a class is missing, or code
            is not trusted.
    """
    with errors_in_keywords():
        return _load(folder, FromPython(setting, method), device=device, trust=trust, phase=phase, given=given)


def _load(
    folder: str | os.PathLike[str],
    classes: FromPython,
    *,
    device: str,
    trust: bool,
    phase: int | None,
    given: Json,
) -> TrainedModel:
    saved = read_run(folder, phase).with_classes(classes)
    if not trust:
        refuse_untrusted(saved.options, saved.folder / "config.yaml", LOAD, saved.classes)
    with only(None if trust else ()):
        setting, method = make_method(saved, given)
        view = restore(method, saved, setting, device)
    if phase is None and saved.phases_learned < saved.phases_planned:
        warn(f"The run in {saved.folder} has learned {saved.phases_learned} of {saved.phases_planned} phases.")
    file = saved.folder / "results.json"
    results = Results.load(file) if file.exists() and phase is None else None  # these are of the whole run
    return TrainedModel(
        method,
        view,
        saved.signature,
        saved.config,
        results,
        folder=saved.folder,
        phases=saved.state["phases_before"] + saved.state["next_phase"],
        device=device,
        given=given,
        classes=classes,
        trusted=trust,
        after_phase=phase,
    )
