"""The Trainer of a phase takes callbacks of other packages, which are searched once per process."""

from importlib import metadata
from types import SimpleNamespace

from lightning_fabric.utilities import registry
from pytorch_lightning import Callback

from redwood.methods.baselines import Finetune
from redwood.methods.training import trainer
from tests.small_runs import run_here, small_setting


class Counting(Callback):
    """A callback of another package."""

    phases = 0

    def on_train_start(self, trainer, pl_module):
        Counting.phases += 1


def test_callbacks_from_entry_points_see_each_phase(monkeypatch):
    entry = SimpleNamespace(name="counting", load=lambda: Counting)
    monkeypatch.setattr(trainer, "_entry_points", lambda group: [entry] if "pytorch_lightning" in group else [])
    run_here(small_setting("class_incremental"), Finetune())
    assert Counting.phases == 3


def test_installed_packages_are_searched_once(monkeypatch):
    run_here(small_setting("class_incremental"), Finetune())
    monkeypatch.setattr(metadata, "distributions", lambda **_: 1 / 0)
    run_here(small_setting("class_incremental"), Finetune())
    assert registry.entry_points is metadata.entry_points
