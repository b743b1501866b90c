"""A network and a data set of one's own: any nn.Module, any arrays."""

from pathlib import Path

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from torch import nn

from redwood.methods.networks.builtin import Scale
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import Dataset, OnlineClassIncrementalSetting


def wine(data_dir: Path = Path(), seed: int = 0, image_size: int = 0) -> Dataset:
    """The wine data of scikit-learn: 13 measurements of 178 wines from three cultivars.

    With these three arguments it serves the command line, too: --dataset examples/own_network_and_data.py:wine
    """
    x, x_test, y, y_test = train_test_split(*load_wine(return_X_y=True), test_size=0.25, random_state=seed)
    return Dataset.from_arrays(x, y, x_test, y_test, name="wine")


def main() -> float:
    """Return the average accuracy over the three classes, learned one after the other in one pass."""
    setting = OnlineClassIncrementalSetting(dataset=wine(), nb_tasks=3, batch_size=4)
    torch.manual_seed(0)
    network = nn.Sequential(Scale(setting.observation_space), nn.Linear(13, 64), nn.Tanh(), nn.Linear(64, 3))
    results = setting.apply(Rehearsal(model=network, buffer_size=60, replay_ratio=0.5, lr=0.1), quiet=True)
    print(f"accuracy {results.objective:.3f}, online accuracy {results.metrics['online_accuracy']:.3f}")
    return results.objective


if __name__ == "__main__":
    main()
