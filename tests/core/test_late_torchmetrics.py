"""Most of torchmetrics is imported when it is used, and is all there then."""

import importlib.metadata
import subprocess
import sys
import textwrap

import pytest

from redwood.core import late_torchmetrics

FIRST = """
    import sys
    from redwood.core.late_torchmetrics import defer_torchmetrics
    defer_torchmetrics()
    import pytorch_lightning
    late = type(sys.modules["torchmetrics"]).__name__ == "_LatePackage"
    assert late and not {"torchvision", "transformers", "scipy.signal", "torchmetrics.functional"} & set(sys.modules)
"""


def run(code):
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)


def test_lightning_needs_little_and_any_metric_is_whole():
    run(
        FIRST
        + """
    import torch, torchmetrics
    from torchmetrics import Metric
    from torchmetrics.text import BLEUScore
    assert torchmetrics.__version__ and type(torchmetrics).__name__ == "_LatePackage"
    assert issubclass(torchmetrics.Accuracy, object) and type(torchmetrics).__name__ == "module"
    accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=3)
    assert isinstance(accuracy, Metric) and accuracy(torch.tensor([0, 1]), torch.tensor([0, 2])) == 0.5
    assert issubclass(torchmetrics.BLEUScore, BLEUScore) and "F1Score" in dir(torchmetrics)
    assert round(float(torchmetrics.functional.bleu_score(["a b c d e"], [["a b c d e"]])), 6) == 1
    psnr = torchmetrics.image.PeakSignalNoiseRatio(data_range=1.0)
    assert round(float(psnr(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1))), 3) == 20

    class Model(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.accuracy = accuracy
    assert list(Model().children()) == [accuracy]
    from torchmetrics import *
    assert F1Score is torchmetrics.F1Score
    """
    )


@pytest.mark.parametrize(("version", "deferred"), [("1.9.3", 1), ("1.10.0", 0), ("2.0", 0)])
def test_only_of_tested_versions(monkeypatch, version, deferred):
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "torchmetrics", raising=False)
    monkeypatch.setattr(late_torchmetrics, "version", lambda name: version)
    late_torchmetrics.defer_torchmetrics()
    late_torchmetrics.defer_torchmetrics()
    assert len(sys.meta_path) == deferred


def test_nothing_is_deferred_without_the_package(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "torchmetrics", raising=False)
    monkeypatch.setattr(late_torchmetrics, "version", missing)
    late_torchmetrics.defer_torchmetrics()
    assert sys.meta_path == []
