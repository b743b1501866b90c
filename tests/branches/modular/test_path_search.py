"""What all methods do that choose a path of modules for each task."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from redwood.branches.ctrl.streams import SMinus
from redwood.branches.modular.library import ModuleLibrary
from redwood.branches.modular.mntdp import MNTDP
from redwood.branches.modular.task import is_held_out
from redwood.core.errors import InvalidOptionError
from redwood.engine.run import Run
from redwood.methods import get_method
from redwood.methods.training.optimizers import Sgd
from redwood.settings import TaskIncrementalSetting
from redwood.settings.data.dataset import Dataset
from tests.samples import few_digits
from tests.small_runs import comparable, run_here, small_setting

METHODS = ("independent", "finetune_from", "mntdp", "composable")
# Takes over what it can, however bad it is.
REUSES = {"margin": 1.0, "confidence": 0.0}


class Floats(torch.nn.Module):
    """Makes numbers of bytes."""

    def forward(self, x):
        return x.float()


class Watched(MNTDP):
    """Remembers the scores of each task's test samples after each phase."""

    def fit(self, phase):
        super().fit(phase)
        data = few_digits()
        scores = [self.predict(data.x_test, torch.full((len(data.x_test),), task)) for task in range(phase.index + 1)]
        self.seen = [*getattr(self, "seen", []), scores]


class TestForgetting:
    def test_answers_to_a_task_never_change(self):
        method = Watched(**REUSES)
        results = run_here(small_setting("task_incremental"), method)
        assert sum(path["reused"] for path in method.paths) > 0
        for task in range(2):
            assert all(torch.equal(later[task], method.seen[task][task]) for later in method.seen[task:])
        assert results.metrics["forgetting"] == 0.0

    @pytest.mark.parametrize("name", METHODS)
    def test_forgetting_is_exactly_zero(self, name):
        assert run_here(small_setting("task_incremental"), get_method(name)()).metrics["forgetting"] == 0.0


class TestCandidates:
    def test_new_modules_are_trained_as_they_would_be_alone(self):
        # No candidate but the first may be chosen, so the others must not have left a trace.
        alone, beside = get_method("independent")(), MNTDP(margin=0.0, confidence=1.0)
        one, two = (run_here(small_setting("task_incremental", passes=3), method) for method in (alone, beside))
        kept = [number for number, path in enumerate(beside.paths) if not path["reused"]]
        assert 0 in kept and len(kept) > 1
        assert [one.accuracy_matrix[-1][task] for task in kept] == [two.accuracy_matrix[-1][task] for task in kept]

    def test_a_task_that_was_not_met_gets_equal_scores(self):
        method = get_method("mntdp")()
        method.attach(Run(accelerator="cpu"))
        method.configure(small_setting("task_incremental").for_method())
        assert torch.equal(method.predict(few_digits().x_test[:3], torch.zeros(3).long()), torch.zeros(3, 10))

    def test_held_out_samples_are_not_trained_on(self):
        # Every sample that the method holds out has a wrong label; whoever trained on these would learn them.
        data = few_digits(n_train=300)
        y = torch.where(is_held_out(data.x, 0), (data.y + 1) % 10, data.y)
        setting = small_setting(
            "task_incremental",
            dataset=Dataset("wrong", data.x, y, data.x_test, data.y_test, max_value=16),
            nb_tasks=1,
            passes=15,
        )
        method = get_method("independent")()
        results = run_here(setting, method)
        assert results.metrics["average_accuracy"] > 0.8 and method.paths[0]["accuracy"] < 0.2


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"tries": 0}, "--tries 0"),
            ({"tune_tasks": 1}, "--tune_tasks 1 has no effect with one try"),
            ({"optimizer_state": "keep"}, "--optimizer_state keep"),
            ({"neighbours": 0}, "--neighbours 0"),
            ({"margin": 2.0}, "--margin 2.0"),
            ({"search": "stochastic", "tries": 2}, "--tries 2 has no effect with --search stochastic"),
            ({"search": "all"}, "--search all"),
        ],
    )
    def test_bad_options_are_one_sentence(self, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            MNTDP(**options)

    def test_few_held_out_samples_are_told_once(self):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run_here(small_setting("task_incremental", nb_tasks=2), get_method("independent")())
        sentences = [str(one.message) for one in told if "held-out" in str(one.message)]
        assert len(sentences) == 1 and "fewer than 20" in sentences[0] and "--validation" in sentences[0]


class TestSmallTasks:
    def test_a_task_without_held_out_samples_keeps_new_modules(self):
        x = torch.zeros(8, 1, 4, 4, dtype=torch.uint8)  # equal samples are all held out, or none is
        y = torch.tensor([0, 1] * 4)
        method = MNTDP(**REUSES)
        run_here(TaskIncrementalSetting(dataset=Dataset("equal", x, y, x, y), nb_tasks=2, passes=2), method)
        assert [(path["reused"], path["accuracy"]) for path in method.paths] == [(0, None)] * 2

    @pytest.mark.parametrize("search", ["deterministic", "stochastic"])
    @pytest.mark.few(1)
    def test_batches_of_one_sample_are_trained_on(self, search):
        method = MNTDP(search=search)
        results = run_here(small_setting("task_incremental", batch_size=1, passes=4), method)
        assert results.metrics["average_accuracy"] > 0.7

    def test_a_step_of_held_out_samples_alone_changes_no_weight(self):
        changed = []

        class Watching(get_method("independent")):
            def loss(self, step):
                self.before = [weights.detach().clone() for weights in self.modular.tails.parameters()]
                return super().loss(step)

            def on_batch_end(self, step, loss, batch_idx):
                super().on_batch_end(step, loss, batch_idx)
                same = all(map(torch.equal, self.before, self.modular.tails.parameters()))
                changed.append((self.skips_step, not same))

        run_here(
            small_setting("task_incremental", batch_size=1, nb_tasks=1), Watching(optimizer=Sgd(weight_decay=0.01))
        )
        assert set(changed) == {(True, False), (False, True)}


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.few(2)
def test_any_precision(name, precision):
    results = run_here(small_setting("task_incremental", nb_tasks=2), get_method(name)(), precision=precision)
    assert results.metrics["forgetting"] == 0.0


class TestFlops:
    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.few(1)
    def test_what_is_booked_is_what_every_step_costs(self, name):
        """Paths that were never counted are estimated from the others."""

        class Counted(get_method(name)):
            def on_batch_start(self, batch_idx, n_batches):
                super().on_batch_start(batch_idx, n_batches)
                self.counter = FlopCounterMode(display=False)
                self.counter.__enter__()

            def on_batch_end(self, step, loss, batch_idx):
                self.counter.__exit__(None, None, None)
                self.counted = getattr(self, "counted", 0) + self.counter.get_total_flops()
                super().on_batch_end(step, loss, batch_idx)

        method = Counted()
        results = run_here(TaskIncrementalSetting(stream="s_minus", passes=4, batch_size=20, nb_tasks=3), method)
        assert results.cost.training_flops == pytest.approx(method.counted, rel=0.03)


class TestTrials:
    def test_all_trials_are_tried_in_the_first_tasks_alone(self):
        method = get_method("independent")(tries=3, tune_tasks=1)
        results = run_here(small_setting("task_incremental"), method)
        search = results.cost.flops["search"]
        assert search[0] > 0 and search[1:] == [0, 0]
        assert len({path["trial"] for path in method.paths[1:]}) == 1

    def test_what_is_not_kept_counts_as_search(self):
        one, three = (
            run_here(small_setting("task_incremental"), get_method("independent")(tries=n)).cost for n in (1, 3)
        )
        assert sum(three.flops["search"]) == pytest.approx(2 / 3 * three.training_flops, rel=0.01)
        # Three times, but for the online scores of the first pass, which one candidate gives.
        assert 2.5 * one.training_flops < three.training_flops < 3 * one.training_flops


class TestLibrary:
    def stream(self, **options):
        return TaskIncrementalSetting(**{"stream": "s_minus", "passes": 4} | options)

    @pytest.mark.parametrize("name", ["finetune_from", "mntdp", "composable"])
    @pytest.mark.few(1)
    def test_two_runs_with_a_library_do_what_one_run_does(self, name, tmp_path):
        whole = get_method(name)()
        expected = run_here(self.stream(), whole)
        first, second = (get_method(name)(library=str(tmp_path)) for _ in range(2))
        run_here(self.stream(nb_tasks=2), first)
        results = run_here(self.stream(stream=SMinus(first_task=2)), second)
        assert results.accuracy_matrix[-1] == expected.accuracy_matrix[-1][2:]
        chosen = [
            [(path["reused"], path["trial"], path["accuracy"]) for path in run.paths] for run in (whole, first, second)
        ]
        assert chosen[0] == chosen[1] + chosen[2]

    def test_what_a_run_adds_is_in_the_library_once(self, tmp_path):
        for _ in range(2):
            method = MNTDP(library=str(tmp_path), **REUSES)
            run_here(self.stream(nb_tasks=3), method)
        library = ModuleLibrary(tmp_path)
        networks = library.networks()
        modules = [module.key for module in library.modules()]
        assert len(networks) == len({network.key for network in networks})
        assert sorted(modules) == sorted({key for network in networks for key in network.modules})
        assert networks[0].parent is None and any(network.parent == networks[0].key for network in networks)
        assert networks[0].cost["training"] > 0 and networks[0].statistics["mean"]

    @pytest.mark.parametrize("options", [{}, {"search": "stochastic"}])
    def test_what_others_remove_meanwhile_ends_no_run(self, options, tmp_path):
        run_here(self.stream(nb_tasks=1), MNTDP(library=str(tmp_path)))

        class Robbed(MNTDP):
            def on_train_start(self):
                super().on_train_start()
                library = ModuleLibrary(tmp_path)
                for record in [*library.networks(), *library.modules()]:
                    library.remove(record.key, force=True)

        method = Robbed(library=str(tmp_path), **REUSES, **options)
        run_here(self.stream(stream=SMinus(first_task=1), nb_tasks=2), method)
        assert method.paths[0]["reused"] > 0
        kept = ModuleLibrary(tmp_path).networks()[-1]
        assert [ModuleLibrary(tmp_path).load(key) for key in kept.modules]

    def test_networks_of_other_shapes_are_left_alone(self, tmp_path):
        def network(width):
            layers = torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 25)
            return torch.nn.Sequential(torch.nn.Flatten(), Floats(), *layers)

        run_here(self.stream(nb_tasks=1), MNTDP(library=str(tmp_path), model=network(8)))
        with pytest.warns(UserWarning, match="1 of 1 networks in the library are not used"):
            run_here(self.stream(nb_tasks=1), MNTDP(library=str(tmp_path), model=network(16)))

    def test_a_library_of_another_network_is_told_and_left_alone(self, tmp_path):
        run_here(self.stream(nb_tasks=1), MNTDP(library=str(tmp_path)))
        with pytest.warns(UserWarning, match="1 of 1 networks in the library are not used"):
            run_here(self.stream(nb_tasks=1), MNTDP(library=str(tmp_path), model="simple_cnn"))
        assert {network.model for network in ModuleLibrary(tmp_path).networks()} == {"auto", "simple_cnn"}

    def test_a_library_knows_the_bounds_of_integers_alone(self, tmp_path):
        """Floats of two runs differ in their bounds, although they are of one kind."""
        whole = few_digits()
        for data in (whole, replace(whole, x=whole.x / 16, x_test=whole.x_test / 16, max_value=1.0)):
            setting = small_setting("task_incremental", dataset=data, nb_tasks=1)
            run_here(setting, MNTDP(library=str(tmp_path / str(data.max_value))))
        bounds = [ModuleLibrary(folder).networks()[0].inputs.get("high") for folder in sorted(tmp_path.iterdir())]
        assert bounds == [None, 16.0]

    def test_a_run_without_a_library_writes_nothing(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        run_here(self.stream(nb_tasks=1), MNTDP())
        assert not list(tmp_path.iterdir())

    def test_retrieval_may_look_at_the_most_similar_inputs_alone(self):
        few, all_of_them = (MNTDP(retrieve=n) for n in (1, 0))
        one, two = (run_here(self.stream(), method) for method in (few, all_of_them))
        assert one.cost.flops["selection"][-1] < 0.5 * two.cost.flops["selection"][-1]
        assert few.paths[-1]["origin"] == "phase 0"


class TestSeeds:
    def test_two_runs_are_alike_and_another_seed_differs(self):
        first, again, other = (
            comparable(run_here(small_setting("task_incremental", seed=seed), get_method("composable")()))
            for seed in (0, 0, 1)
        )
        assert first == again != other
