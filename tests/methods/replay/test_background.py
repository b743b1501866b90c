"""Background samples as a negative class: never predicted, and out-of-class samples are answered less surely."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from redwood.core.errors import DataError, InvalidOptionError, RedwoodError
from redwood.methods import Background, Finetune, get_method
from redwood.methods.training.step import Step
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.dataset import Dataset
from redwood.settings.tree import ClassIncrementalSetting, TaskIncrementalSetting
from tests.methods.helpers import batch_of, configured, one_sentence
from tests.regression import line
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


def split_digits():
    """Digits 0-5 as the stream, 6 and 7 as background; the test images of 8 and 9, which nobody has shown."""
    data = load_dataset("digits", Path(), seed=0, image_size=0)

    def part(name, low, high):
        own, own_test = ((y >= low) & (y < high) for y in (data.y, data.y_test))
        labels = (data.y[own] - low, data.y_test[own_test] - low)
        return Dataset(name, data.x[own], labels[0], data.x_test[own_test], labels[1], max_value=16)

    return part("known", 0, 6), part("background", 6, 8), part("unknown", 8, 10).x_test


def run(method, **options):
    return run_here(small_setting("class_incremental", **{"background": "prototypes"} | options), method)


def test_the_loss_is_the_cross_entropy_with_one_more_class_whose_score_is_0():
    method = configured(Background(background_ratio=0.5))
    batch = batch_of(0, 20)
    unknown = 16 * torch.rand(10, *batch.x.shape[1:])
    background = type("Samples", (), {"draw": lambda self, n: unknown[:n]})()
    method.phase = type("Phase", (), {"background": background})()
    step = Step(incoming=batch, on_host=batch, first_pass=True, batch=batch)
    loss = method.loss(step)
    scores = F.pad(method.network(torch.cat([batch.x.float(), unknown])), (0, 1))
    labels = torch.cat([batch.y, torch.full((10,), scores.shape[1] - 1)])
    assert loss.item() == pytest.approx(F.cross_entropy(scores, labels, reduction="sum").item() / 20, rel=1e-5)


def test_the_negative_class_is_never_predicted():
    known, background, _ = split_digits()
    setting = ClassIncrementalSetting(dataset=known, background=background, nb_tasks=2, passes=3)
    method = Background()
    assert setting.apply(method, quiet=True, accelerator="cpu").metrics["average_accuracy"] > 0.3
    scores = method.predict(background.x, None)
    assert scores.shape == (len(background.x), 6)


@pytest.mark.parametrize(
    ("cls", "kinds"), [(ClassIncrementalSetting, ("background", "unknown")), (TaskIncrementalSetting, ("background",))]
)
@pytest.mark.few(1)
def test_samples_of_no_class_get_lower_scores(cls, kinds):
    known, background, unknown = split_digits()
    highest = {}
    for name, given in (("background+rehearsal", background), ("rehearsal", "")):
        method = get_method(name)(buffer_size=200)
        setting = cls(dataset=known, background=given, nb_tasks=2, passes=10)
        results = setting.apply(method, quiet=True, accelerator="cpu")
        assert results.objective > 0.8
        for kind, x in (("background", background.x_test), ("unknown", unknown)):
            ids = torch.zeros(len(x), dtype=torch.long) if cls is TaskIncrementalSetting else None
            highest[name, kind] = float(method.predict(x, ids).amax(1).mean())
    for kind in kinds:
        assert highest["background+rehearsal", kind] < highest["rehearsal", kind] - 1


def test_joined_with_others():
    for name in ("background+er_ace", "icarl+background", "background+ewc+rehearsal", "lwf+background"):
        assert run(get_method(name)()).objective >= 0
    run_here(
        small_setting("label_budget", background="prototypes"), get_method("background+rehearsal")(query_rule="margin")
    )


class TestRefusals:
    @pytest.mark.parametrize("method", ["finetune", "rehearsal", "ncm"])
    def test_methods_that_make_no_use_of_it(self, method):
        with pytest.raises(
            InvalidOptionError, match=f"--background has no effect on {method}.*use background[+]"
        ) as told:
            run(get_method(method)())
        assert one_sentence(told.value)

    def test_a_run_without_background(self):
        with pytest.warns(UserWarning, match="No background sample was ever shown; name a data set"):
            run(Background(), background="")

    def test_without_background_it_is_fine_tuning(self):
        with pytest.warns(UserWarning, match="No background"):
            results = run(Background(), background="")
        assert results.accuracy_matrix == run(Finetune(), background="").accuracy_matrix

    def test_values(self):
        with pytest.raises(InvalidOptionError, match="--background_ratio 0"):
            Background(background_ratio=0.0)
        with pytest.raises(DataError, match="--background digits has samples"):
            run(
                Background(),
                background="digits",
                dataset=dataclasses.replace(
                    few_digits(), x=few_digits().x.flatten(1), x_test=few_digits().x_test.flatten(1)
                ),
            )
        with pytest.raises(InvalidOptionError, match="dataset has to be a name"):
            small_setting("class_incremental", background=3)

    def test_numbers(self):
        with pytest.raises(RedwoodError) as told:
            run_here(small_setting("domain_incremental", dataset=line(), background="prototypes"), Background())
        assert one_sentence(told.value)
