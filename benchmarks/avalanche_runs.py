"""The same training in Avalanche (https://avalanche.continualai.org), without its metrics and loggers."""

import warnings

import torch
from common import Seconds
from torch import Tensor, nn
from torch.utils.data import Dataset

LR = 0.05
REPLAYS = {None: "Naive", "experience": "Replay, buffer updated once per experience", "batch": "online Replay"}


class Labelled(Dataset[tuple[Tensor, int]]):
    """Samples and labels; Avalanche wants the latter as `targets`, too."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._x, self.targets = x, y.tolist()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One sample and its class."""
        return self._x[index], self.targets[index]


def version() -> str | None:
    """The installed version, or None if Avalanche cannot be imported."""
    try:
        import avalanche.training
    except ImportError:
        return None
    return str(avalanche.__version__)


def train(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    batch_size: int,
    *,
    replay: str | None,
    buffer_size: int,
    nb_tasks: int,
) -> Seconds:
    """Train one pass, classes in order.

    Args:
        network: Maps samples in storage dtype to scores.
        x: Samples (N, ...).
        y: Labels (N,).
        batch_size: Samples per batch, and replayed samples per batch.
        replay: A key of `REPLAYS`: none, from a buffer that is updated once per experience, or a reservoir updated
            with every batch (each of which is an experience then, as Avalanche has it).
        buffer_size: Samples that the buffer holds.
        nb_tasks: Number of experiences that the classes are split into.

    Returns:
        The time of training, without that of making the benchmark.
    """
    from avalanche.benchmarks import nc_benchmark
    from avalanche.benchmarks.scenarios.online import split_online_stream
    from avalanche.training import Naive, ReservoirSamplingBuffer
    from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin

    data = Labelled(x, y)
    stream = nc_benchmark(
        data, data, nb_tasks, task_labels=False, fixed_class_order=list(range(10)), shuffle=False
    ).train_stream
    plugins = []
    if replay == "experience":
        plugins = [ReplayPlugin(buffer_size, batch_size_mem=batch_size)]
    elif replay == "batch":
        policy = ReservoirSamplingBuffer(max_size=buffer_size)
        plugins = [ReplayPlugin(buffer_size, batch_size_mem=batch_size, storage_policy=policy)]
        stream = split_online_stream(stream, experience_size=batch_size)
    strategy = Naive(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=LR),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=batch_size,
        plugins=plugins,
        evaluator=EvaluationPlugin(),
    )
    with warnings.catch_warnings():
        # Avalanche switches its deprecation warnings on again at each of them; printing them would cost it time.
        warnings.showwarning = lambda *args, **kwargs: None
        start = Seconds.now()
        for experience in stream:
            strategy.train(experience)
        return Seconds.now().since(start)
