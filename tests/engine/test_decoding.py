"""Who decodes the samples of a run changes none of its numbers, also if it is interrupted; nobody is left behind."""

import shutil
from dataclasses import replace
from functools import partial

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint

from redwood.branches.federated.fedavg import FedAvg
from redwood.branches.label_budget.semi_supervised import SemiSupervised
from redwood.core.errors import DataError, InvalidOptionError
from redwood.methods.baselines import Finetune, Random
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import AllTasks
from redwood.settings.protocols import FixedStream
from tests.children import alive, earlier_children  # noqa: F401  # a fixture
from tests.label_sets import few_label_sets
from tests.methods.helpers import one_sentence
from tests.samples import few_digits
from tests.settings.lazy import Lazy, Noisy, lazily
from tests.small_runs import comparable, run_here, small_setting

DIGITS = few_digits(n_train=90, n_test=60)
TESTED_IN_PARTS = "redwood.settings.streams.batches.DECODED_AT_ONCE"
CASES = {
    "passes, validation": ("class_incremental", {"passes": 3, "validation": 0.2}, partial(Rehearsal, buffer_size=20)),
    "in order": ("online_class_incremental", {}, partial(Rehearsal, buffer_size=20)),
    "in order, repeated": ("continual", {"passes": 3, "validation": 0.2}, Finetune),
    "labels late": ("online_class_incremental", {"label_delay": 2}, Finetune),
    "labels on request": (
        "label_budget",
        {"label_budget": 0.5, "label_delay": 1},
        partial(SemiSupervised, pseudo_labels=0.0, consistency=0.5),
    ),
    "learning curve": ("task_incremental", {"eval_tasks": AllTasks(lca=2)}, Finetune),
    "rotated": ("domain_incremental", {"stream": "rotated"}, Finetune),
    "clients": ("federated_class_incremental", {}, FedAvg),
}


def case(name, kind=Noisy, **more):
    key, options, method = CASES[name]
    setting = small_setting(key, dataset=lazily(DIGITS, kind), **{"batch_size": 8} | options | more)
    return setting, method()


@pytest.fixture(autouse=True)
def several_parts(monkeypatch):
    """Tests of few samples need the processes, too."""
    monkeypatch.setattr(TESTED_IN_PARTS, 16)


def nobody_left():
    return not alive()


class TestResults:
    @pytest.mark.parametrize("name", CASES)
    @pytest.mark.few(1)
    def test_processes_that_decode_change_nothing(self, name):
        setting, method = case(name)
        alone = run_here(setting, method, num_workers=0)
        setting, method = case(name)
        before = setting._stream._source.x.asked.sum()
        helped = run_here(setting, method, num_workers=2)
        assert comparable(helped)["config"].pop("num_workers") == 2
        assert without_option(helped) == without_option(alone)
        assert nobody_left()
        if name == "in order":
            assert setting._stream._source.x.asked.sum() - before <= 16, "more than a few hashed samples"

    def test_samples_without_randomness_give_what_samples_in_memory_give(self):
        key, options, method = CASES["passes, validation"]
        wanted = run_here(small_setting(key, dataset=DIGITS, batch_size=8, **options), method())
        setting, method = case("passes, validation", Lazy)
        assert without_option(run_here(setting, method, num_workers=1)) == without_option(wanted)

    def test_label_sets(self):
        sets = few_label_sets()
        x, x_test = ((10 * part + 100).byte() for part in (sets.x, sets.x_test))
        data = replace(sets, x=x, x_test=x_test, max_value=255)
        results = [
            run_here(
                small_setting("domain_incremental", dataset=lazily(data), nb_tasks=2), Finetune(), num_workers=number
            )
            for number in (0, 2)
        ]
        assert without_option(results[0]) == without_option(results[1])

    def test_a_second_run_of_the_same_setting(self):
        setting, method = case("in order")
        first = run_here(setting, method, num_workers=2)
        second = run_here(setting, CASES["in order"][2](), num_workers=0)
        assert without_option(first) == without_option(second)
        assert setting._stream._decoding.workers == 0


def without_option(results):
    content = comparable(results)
    del content["config"]["num_workers"]
    return content


class TestInterruption:
    @pytest.mark.parametrize("name", ["passes, validation", "labels late", "labels on request", "clients"])
    @pytest.mark.few(1)
    def test_resumed_inside_a_phase(self, name, tmp_path, monkeypatch):
        """Each checkpoint inside a phase of a run with processes is gone on from without them, and the reverse."""
        copies = []
        save = ModelCheckpoint._save_checkpoint

        def save_and_copy(callback, trainer, path):
            save(callback, trainer, path)
            copies.append(tmp_path / f"copy{len(copies)}")
            shutil.copytree(tmp_path / "run", copies[-1])

        setting, method = case(name)
        whole = without_option(run_here(setting, method, num_workers=0, checkpoint_every=2))
        monkeypatch.setattr(ModelCheckpoint, "_save_checkpoint", save_and_copy)
        setting, method = case(name)
        run_here(setting, method, num_workers=2, run_dir=str(tmp_path / "run"), checkpoint_every=2)
        monkeypatch.setattr(ModelCheckpoint, "_save_checkpoint", save)
        assert copies
        for number, copy in ((2, copies[-1]), (0, copies[len(copies) // 2])):
            setting, method = case(name)
            options = {"run_dir": str(copy), "resume": True, "checkpoint_every": 2}
            assert without_option(run_here(setting, method, num_workers=number, **options)) == whole
        assert nobody_left()

    def test_a_damaged_sample_ends_the_run_in_one_sentence(self):
        data = lazily(DIGITS)
        data.x._damaged = 40
        with pytest.raises(DataError, match="The sample 40 cannot be read") as caught:
            run_here(small_setting("class_incremental", dataset=data), Finetune(), num_workers=2)
        assert one_sentence(caught.value)
        assert nobody_left()

    def test_a_method_that_fails_leaves_nobody_behind(self):
        class Fails(Finetune):
            def on_batch_end(self, step, loss, batch_idx):
                assert len(alive()) == 2
                raise ArithmeticError

        with pytest.raises(ArithmeticError):
            run_here(small_setting("class_incremental", dataset=lazily(DIGITS)), Fails(), num_workers=2)
        assert nobody_left()

    def test_a_method_that_stops_early_leaves_nobody_behind(self):
        class OneBatch(Random):
            def fit(self, phase):
                next(iter(phase.train))

        run_here(small_setting("class_incremental", dataset=lazily(DIGITS)), OneBatch(), num_workers=2)
        assert nobody_left()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"num_workers": -1}, "num_workers -1"), ({"num_workers": 2}, "--num_workers 2 has no effect on few_digits")],
)
def test_refused(options, sentence, tmp_path):
    with pytest.raises(InvalidOptionError, match=sentence):
        run_here(small_setting("class_incremental"), Random(), run_dir=str(tmp_path / "run"), **options)
    assert not (tmp_path / "run").exists()


def test_environments_refuse_it():
    with pytest.raises(InvalidOptionError, match="--num_workers 2 has no effect without samples in files") as caught:
        FixedStream().decoding(2, share=1, pin_memory=False)
    assert one_sentence(caught.value)
    with FixedStream().decoding(None, share=1, pin_memory=False):
        pass
