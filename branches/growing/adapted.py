"""A frozen network beside whose last feature layer an adapter grows, column by column."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.methods.networks.last_layer import output_layer
from redwood.methods.training.layers import evaluating

FEATURE_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Column(nn.Module):
    """The column of one task: U relu(D h) beside the features, and a row of the last layer for each of its classes.

    U starts at zero, so that a new column changes no feature.

    Attributes:
        classes: The classes of the task (c,).
        started: Mask of the rows that have been set to the mean of their class (c,), bool.
    """

    classes: Tensor
    started: Tensor

    def __init__(self, n_in: int, n_features: int, width: int, classes: Tensor) -> None:
        """Draw the weights from torch's global generator.

        Args:
            n_in: Number of inputs of the last feature layer.
            n_features: Number of its outputs, the features that the last layer reads.
            width: Units between the two projections.
            classes: The classes of the task (c,).
        """
        super().__init__()
        self.down = nn.Linear(n_in, width, bias=False)
        self.activation = nn.ReLU()
        self.up = nn.Linear(width, n_features, bias=False)
        nn.init.zeros_(self.up.weight)
        self.rows = nn.Linear(n_features, len(classes), bias=False)
        self.register_buffer("classes", classes)
        self.register_buffer("started", torch.zeros(len(classes), dtype=torch.bool))

    def forward(self, h: Tensor) -> Tensor:
        """Return the column's addition to the features (B, d), from the inputs (B, n_in) of the last feature layer."""
        added: Tensor = self.up(self.activation(self.down(h)))
        return added


class AdaptedNetwork(nn.Module):
    """A network and the columns beside its last feature layer.

    f is the input of the network's last layer. h is the input of the last layer with weights before it (the mean of
    maps and of tokens). Column t scores its classes by s * cos(w, z_t), with z_t = scale * f + shift + sum over j <= t
    of U_j relu(D_j h). Later columns are not part of z_t, so the scores of a column never change again. The classes on
    which the network itself was trained are scored by s * cos(w, f), with the rows w of its last layer. A class of
    several columns gets the highest of their scores, a class of none minus infinity.

    Attributes:
        network: The network.
        columns: The columns, in the order of the tasks.
        trained: The classes that the network itself was trained on (K,), bool.
    """

    trained: Tensor

    def __init__(self, network: nn.Module, observation_space: Box, n_outputs: int, cosine_scale: float) -> None:
        """Look for the layers of `network`.

        Args:
            network: Maps samples (B, ...) in their storage dtype to scores (B, K).
            observation_space: Space of one sample.
            n_outputs: Number of scores K.
            cosine_scale: s, which cosines are multiplied by.

        Raises:
            InvalidOptionError: If it does not end in a linear layer with a bias.
        """
        super().__init__()
        self.network = network
        last = output_layer(network, observation_space, "c_ada replaces")
        samples = torch.from_numpy(np.zeros((2, *observation_space.shape), observation_space.dtype))
        samples = samples.to(last.weight.device)
        # In a tuple, since they are modules of `network` and not of this one.
        self._layers = (last, _layer_before(network, last, samples))
        with evaluating(network), torch.no_grad():
            features, read = self._features(samples)
        self.n_features, self.n_read = features.shape[1], read.shape[1]
        self._cosine_scale = cosine_scale
        self.scale = nn.Parameter(torch.ones(self.n_features), requires_grad=False)
        self.shift = nn.Parameter(torch.zeros(self.n_features), requires_grad=False)
        self.columns = nn.ModuleList()
        self.register_buffer("trained", torch.zeros(n_outputs, dtype=torch.bool))

    @property
    def latest(self) -> Column | None:
        """The column of the latest task; None if there is none."""
        *_, column = [None, *self._columns()]
        return column

    def train_extractor(self, classes: Sequence[int]) -> None:
        """Train the network itself, on these classes."""
        self.trained[list(classes)] = True
        self._layers[0].bias.requires_grad_(False)  # cosines need none

    def add(self, classes: Tensor, width: int) -> Column:
        """Freeze all modules, and add a column for classes (c,); the first column trains scale and shift, too."""
        self.requires_grad_(False)
        column = Column(self.n_read, self.n_features, width, classes).to(self.scale.device)
        for parameter in (self.scale, self.shift):
            parameter.requires_grad_(not len(self.columns))
        self.columns.append(column)
        self.train(self.training)
        return column

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, or back; frozen modules stay in evaluation mode."""
        super().train(mode)
        if len(self.columns):
            self.network.eval()
            for column in self.columns[:-1]:
                column.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, K) of samples (B, ...); before anything is trained, those of the network."""
        if not len(self.columns) and not self.trained.any():
            untrained: Tensor = self.network(x)
            return untrained
        features, read = self.features(x)
        scores = features.new_full((len(x), len(self.trained)), -torch.inf)
        own = self._cosines(features, self._layers[0].weight)
        scores = torch.where(self.trained, own, scores)
        for column, adapted in zip(self._columns(), self.adapted(features, read), strict=True):
            answers = self._cosines(adapted, column.rows.weight)
            so_far = scores[:, column.classes]
            scores = scores.index_copy(1, column.classes, torch.maximum(so_far, answers))
        return scores

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features (B, d) of samples (B, ...), and the inputs (B, n_in) of the last feature layer."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not len(self.columns)):
            return self._features(x)

    def adapted(self, features: Tensor, read: Tensor) -> Iterator[Tensor]:
        """The features (B, d) for each column: z_t."""
        z = self.scale * features + self.shift
        for column in self._columns():
            z = z + column(read)
            yield z

    def overlap(self) -> Tensor:
        """Return the overlap of the latest column with the earlier ones, 0 if they are orthogonal; a scalar.

        ||D_old D_new'||^2 + ||U_old' U_new||^2, the projections of all earlier columns side by side.
        """
        *old, new = self._columns()
        down = torch.cat([column.down.weight for column in old]) @ new.down.weight.T
        up = torch.cat([column.up.weight for column in old], 1).T @ new.up.weight
        return down.square().sum() + up.square().sum()

    def load_columns(self, weights: Mapping[str, Tensor]) -> None:
        """Make room for the columns of a state."""
        while (name := f"columns.{len(self.columns)}.") + "classes" in weights:
            self.add(weights[f"{name}classes"].to(self.scale.device), len(weights[f"{name}down.weight"]))

    def _columns(self) -> Iterator[Column]:
        for column in self.columns:
            assert isinstance(column, Column)
            yield column

    def _cosines(self, features: Tensor, rows: Tensor) -> Tensor:
        return self._cosine_scale * F.linear(F.normalize(features), F.normalize(rows))

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        last, layer = self._layers
        with inputs_of(self._layers) as inputs:
            self.network(x)
        features, read = inputs[last][-1], inputs[layer][-1]
        places = range(1, read.dim() - 1) if isinstance(layer, nn.Linear) else range(2, read.dim())
        return features, read.mean(tuple(places)) if len(places) else read


def _layer_before(network: nn.Module, last: nn.Linear, samples: Tensor) -> nn.Module:
    """The layer with weights that a forward pass reaches last before `last`; `last` itself if there is no other."""
    layers = [part for part in network.modules() if isinstance(part, FEATURE_LAYERS) and part is not last]
    order: list[nn.Module] = []
    handles = [layer.register_forward_pre_hook(lambda layer, args: order.append(layer)) for layer in layers]
    try:
        with evaluating(network), torch.no_grad():
            network(samples)
    finally:
        for handle in handles:
            handle.remove()
    return order[-1] if order else last


@contextmanager
def inputs_of(layers: Iterable[nn.Module]) -> Iterator[dict[nn.Module, list[Tensor]]]:
    """Within, each call of one of the layers appends its input to the list of the layer."""
    inputs: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers}

    def note(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        inputs[layer].append(args[0])

    handles = [layer.register_forward_pre_hook(note) for layer in inputs]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()
