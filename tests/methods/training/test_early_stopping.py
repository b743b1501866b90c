"""A phase ends when held-out samples stop getting better, with the weights that were best."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from pytorch_lightning import Callback

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.replay.gdumb import GDumb
from redwood.settings.scores.results import Results
from tests.label_sets import few_label_sets
from tests.methods.helpers import one_sentence
from tests.regression import line
from tests.small_runs import run_here, small_setting

PASSES = 12


class Scores(Callback):
    """Notes the score and the weights after each pass of each phase."""

    def __init__(self):
        self.scores, self.weights = [], []

    def on_train_start(self, trainer, pl_module):
        self.scores.append([])
        self.weights.append([])

    def on_validation_end(self, trainer, pl_module):
        (score,) = trainer.callback_metrics.values()
        self.scores[-1].append(float(score))
        self.weights[-1].append([p.detach().clone() for p in pl_module.network.parameters()])


@dataclass
class Watched(Finetune):
    """Fine-tuning that keeps the scores of each pass, and the weights at the end of each phase."""

    regression: ClassVar[bool] = True
    multi_label: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        self.seen, self.ends = Scores(), []

    def callbacks(self):
        return [*super().callbacks(), self.seen]

    def fit(self, phase):
        super().fit(phase)
        self.ends.append([p.detach().clone() for p in self.network.parameters()])


def watch(key="class_incremental", patience=2, lr=0.2, **options):
    method = Watched(patience=patience, lr=lr)
    results = run_here(small_setting(key, **{"validation": 0.3, "passes": PASSES} | options), method)
    return method, results


def stops_at(scores, patience, best):
    """After how many passes a phase ends, and which of them was the best one."""
    first = 0
    for number, score in enumerate(scores):
        if best([score, scores[first]]) == score != scores[first]:
            first = number
        if number - first == patience:
            return number + 1, first
    return PASSES, first


class TestEnd:
    @pytest.mark.parametrize(
        ("options", "best"),
        [
            ({}, max),
            ({"key": "traditional", "nb_tasks": None, "dataset": line(noise=3.0), "lr": 0.03}, min),
            ({"key": "task_incremental", "nb_tasks": None, "dataset": few_label_sets(), "lr": 3.0}, min),
        ],
        ids=["classes", "numbers", "label sets"],
    )
    def test_with_the_best_weights(self, options, best):
        method, results = watch(**options)
        lengths = []
        for phase, scores in enumerate(method.seen.scores):
            length, first = stops_at(scores, 2, best)
            assert len(scores) == length
            assert all(map(torch.equal, method.ends[phase], method.seen.weights[phase][first]))
            last = method.seen.weights[phase][-1]
            assert all(map(torch.equal, method.ends[phase], last)) is (first == len(scores) - 1)
            lengths.append(length)
        assert min(lengths) < PASSES
        if best is max:
            assert results.validation == pytest.approx([max(scores) for scores in method.seen.scores])

    def test_without_patience_all_passes_are_made(self):
        method, _ = watch(patience=0)
        assert [len(scores) for scores in method.seen.scores] == [PASSES] * 3

    def test_gdumb_watches_its_memory(self):
        method = GDumb(buffer_size=25, memory_passes=40, patience=1)
        results = run_here(small_setting("class_incremental", validation=0.3, passes=1), method)
        whole = run_here(
            small_setting("class_incremental", validation=0.3, passes=1), GDumb(buffer_size=25, memory_passes=40)
        )
        assert isinstance(results, Results)
        assert results.cost.training_flops < whole.cost.training_flops

    def test_workers_end_together(self, two_workers):
        passes = two_workers.run(count_passes)
        assert passes[0] == passes[1]
        assert min(passes[0]) < PASSES


def count_passes():
    method, _ = watch(patience=1, workers=2, batch_size=8)
    return [len(scores) for scores in method.seen.scores]


class TestRefusal:
    @pytest.mark.parametrize(
        ("key", "options", "message"),
        [
            ("class_incremental", {"passes": 3}, "--patience 1 watches samples that are held out from training"),
            ("class_incremental", {"passes": 1, "validation": 0.3}, "--patience 1 counts passes over the data of a"),
            ("online_class_incremental", {"validation": 0.3}, "--patience 1 counts passes over the data of a phase"),
            ("continual", {"passes": 3, "validation": 0.3}, "--patience 1 counts passes over the data of a phase"),
            ("osaka", {}, "--patience 1 watches samples that are held out from training"),
        ],
    )
    def test_nothing_to_watch(self, key, options, message):
        with pytest.raises(InvalidOptionError, match=message) as error:
            run_here(small_setting(key, **options), Finetune(patience=1))
        assert one_sentence(error.value)
