"""Methods of Avalanche (https://avalanche.continualai.org) on tasks that redwood has cut."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from avalanche_runs import Labelled
from torch import Tensor, nn

Plugins = Callable[[], list[Any]]


class Samples(NamedTuple):
    """The data of one task: samples (n, ...) in storage dtype and their labels (n,)."""

    x: Tensor
    y: Tensor


def replay(size: int, batch_size: int) -> list[Any]:
    """Experience replay with Avalanche's default buffer."""
    from avalanche.training.plugins import ReplayPlugin

    return [ReplayPlugin(size, batch_size_mem=batch_size)]


def ewc(strength: float) -> list[Any]:
    """EWC with a penalty for each earlier task."""
    from avalanche.training.plugins import EWCPlugin

    return [EWCPlugin(strength)]


def si(strength: float) -> list[Any]:
    """Synaptic intelligence."""
    from avalanche.training.plugins import SynapticIntelligencePlugin

    return [SynapticIntelligencePlugin(strength)]


def lwf(strength: float) -> list[Any]:
    """Learning without forgetting, at temperature 2."""
    from avalanche.training.plugins import LwFPlugin

    return [LwFPlugin(strength, 2)]


def accuracy_of(
    network: nn.Sequential,
    tasks: Sequence[Samples],
    tests: Sequence[Samples],
    *,
    plugins: list[Any] | None,
    memory: int,
    lr: float,
    batch_size: int,
    passes: int,
) -> float:
    """Train on one task after the other by SGD, then return the average accuracy over the tasks' test sets.

    Args:
        network: Its parts `scale`, `features` and `head`.
        tasks: What to train on.
        tests: What to test on.
        plugins: Of Avalanche's plain strategy; None stands for its iCaRL.
        memory: Exemplars of iCaRL.
        lr: Learning rate.
        batch_size: Samples per batch.
        passes: How often each task is gone through.
    """
    from avalanche.training import ICaRL, Naive
    from avalanche.training.plugins import EvaluationPlugin

    shared: dict[str, Any] = {
        "optimizer": torch.optim.SGD(network.parameters(), lr=lr),
        "train_mb_size": batch_size,
        "eval_mb_size": 256,
        "train_epochs": passes,
        "evaluator": EvaluationPlugin(),
    }
    with warnings.catch_warnings():
        warnings.showwarning = lambda *args, **kwargs: None  # Avalanche switches them on again each time
        strategy: Any
        if plugins is None:
            body = nn.Sequential(network.scale, network.features)
            strategy = ICaRL(
                feature_extractor=body,
                classifier=network.head,
                memory_size=memory,
                buffer_transform=None,
                fixed_memory=True,
                **shared,
            )
            stream = _class_stream(tasks)
        else:
            strategy = Naive(model=network, criterion=nn.CrossEntropyLoss(), plugins=plugins, **shared)
            stream = _stream(tasks)
        for experience in stream:
            strategy.train(experience, num_workers=0)
        strategy.model.eval()
        with torch.no_grad():
            hits = [(strategy.model(x).argmax(1) == y).float().mean().item() for x, y in tests]
    return sum(hits) / len(hits)


def _stream(tasks: Sequence[Samples]) -> Any:
    from avalanche.benchmarks import dataset_benchmark

    data = [Labelled(x, y) for x, y in tasks]
    return dataset_benchmark(data, data).train_stream


def _class_stream(tasks: Sequence[Samples]) -> Any:
    """The same with the bookkeeping of classes that Avalanche's iCaRL needs."""
    from avalanche.benchmarks import nc_benchmark

    order = [label for _, y in tasks for label in y.unique().tolist()]
    data = Labelled(torch.cat([x for x, _ in tasks]), torch.cat([y for _, y in tasks]))
    return nc_benchmark(data, data, len(tasks), task_labels=False, fixed_class_order=order, shuffle=False).train_stream
