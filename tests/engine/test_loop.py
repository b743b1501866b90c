import pytest
import torch

from redwood.core.errors import NotTrainedError
from redwood.engine.progress import Reporter, make_reporter
from redwood.methods.baselines import Finetune, Random
from redwood.settings.scores.cost import USES
from tests.small_runs import FixedRule, run_here, small_setting


class NeedsTraining(FixedRule):
    """Cannot predict before it was trained, like most models of scikit-learn."""

    trained = False

    def fit(self, phase):
        self.trained = True

    def predict(self, x, task_id):
        if not self.trained:
            raise NotTrainedError("Fit the method first.")
        return super().predict(x, task_id)


class NeverTrained(NeedsTraining):
    def fit(self, phase):
        pass


class Slow(FixedRule):
    """Takes 1,000 seconds to start, 10 for a phase, and 1 for each call of `predict`, on a clock of its own."""

    now = 100.0

    def configure(self, setting):
        super().configure(setting)
        self.now += 1000

    def fit(self, phase):
        self.now += 10

    def predict(self, x, task_id):
        self.now += 1
        return super().predict(x, task_id)


class OneClass(FixedRule):
    def predict(self, x, task_id):
        return torch.ones(len(x), dtype=torch.long)


class TestUntrainedAccuracy:
    def test_a_method_that_needs_training_has_no_forward_transfer(self):
        results = run_here(small_setting("class_incremental"), NeedsTraining())
        assert results.untrained_accuracy is None
        assert results.metrics["forward_transfer"] is None
        assert results.metrics["backward_transfer"] is not None

    def test_others_have_one(self):
        results = run_here(small_setting("class_incremental"), FixedRule())
        first, *rest = (row[index + 1] for index, row in enumerate(results.accuracy_matrix[:-1]))
        expected = (first + sum(rest) - sum(results.untrained_accuracy[1:])) / 2
        assert results.metrics["forward_transfer"] == pytest.approx(expected)

    def test_not_being_trained_after_training_is_an_error(self):
        with pytest.raises(NotTrainedError):
            run_here(small_setting("class_incremental"), NeverTrained())


class TestRunProtocol:
    def test_one_class_for_every_sample_is_told(self, recwarn):
        run_here(small_setting("class_incremental"), Random())
        assert not [one for one in recwarn if "say nothing" in str(one.message)]
        with pytest.warns(UserWarning, match=r"OneClass ends with class 1 for .* all 3 tasks, .*; try more --passes\."):
            run_here(small_setting("class_incremental"), OneClass())

    def test_the_number_of_threads_is_put_back(self):
        before = torch.get_num_threads()
        run_here(small_setting("traditional"), Finetune(), threads=before + 1)
        assert torch.get_num_threads() == before

    def test_costs_are_measured(self):
        cost = run_here(small_setting("class_incremental"), Random()).cost
        assert 0 < cost.wall_time_s < 60
        assert cost.training_time_s is not None and cost.evaluation_time_s is not None
        assert min(cost.training_time_s, cost.evaluation_time_s) > 0
        assert cost.training_time_s + cost.evaluation_time_s < cost.wall_time_s
        assert cost.training_samples == 2 * 160
        assert cost.samples_per_s > cost.training_samples / cost.wall_time_s
        assert cost.peak_memory_bytes > 50e6
        assert (cost.parameters, cost.buffer_bytes, cost.training_flops) == (0, 0, 0)
        assert cost.flops == {use: [0.0] * 3 for use in USES}

    @pytest.mark.parametrize(("options", "calls"), [({}, 1 + 3), ({"validation": 0.25}, 1 + 3 + 3)])
    def test_time_of_evaluation_is_that_of_the_predictions(self, options, calls, monkeypatch):
        method = Slow()
        monkeypatch.setattr("time.perf_counter", lambda: method.now)
        cost = run_here(small_setting("class_incremental", **options), method).cost
        # One pass for all tasks before training and after each phase, and one for all samples that are held out.
        assert (cost.training_time_s, cost.evaluation_time_s) == (3 * 10, calls)
        assert cost.wall_time_s == 3 * 10 + calls

    def test_the_start_is_no_part_of_the_time_of_a_run(self, monkeypatch):
        """The first run of a process imports libraries and reads the data; the next ones would look faster."""
        method = Slow()
        monkeypatch.setattr("time.perf_counter", lambda: method.now)
        cost = run_here(small_setting("class_incremental"), method).cost
        assert cost.wall_time_s == cost.training_time_s + cost.evaluation_time_s

    def test_a_run_that_tests_nothing_spends_no_time_on_it(self, monkeypatch):
        method = Slow()
        monkeypatch.setattr("time.perf_counter", lambda: method.now)
        assert run_here(small_setting("class_incremental", eval_tasks="none"), method).cost.evaluation_time_s == 0

    def test_flops_of_each_phase_by_use(self):
        """Two passes, each followed by a validation; and the run's own scores of the held-out samples so far."""
        method = Finetune(model="mlp")
        cost = run_here(small_setting("class_incremental", validation=0.3), method).cost
        assert sum(cost.flops["training"]) == cost.training_flops == cost.flops_by_use["training"]
        forward = 2 * sum(p.numel() for p in method.network.parameters() if p.dim() == 2)
        scored = [flops / forward for flops in cost.flops["validation"]]
        held_out = []
        for n in scored:
            held_out.append((n - sum(held_out)) / 3)
        assert sum(held_out) == 160 - cost.training_samples / 2
        assert all(n in range(10, 25) for n in held_out)
        assert cost.flops["selection"] == cost.flops["search"] == [0.0] * 3
        assert cost.total_flops == cost.training_flops + sum(cost.flops["validation"])

    def test_a_method_may_count_training_alone(self):
        class Counts(FixedRule):
            def costs(self):
                return super().costs() | {"training_flops": 7.0}

        cost = run_here(small_setting("class_incremental"), Counts()).cost
        assert cost.flops == {use: [0.0] * 3 for use in USES} | {"training": [7.0, 0.0, 0.0]}


class TestReporter:
    def test_a_line_for_each_phase(self, capsys):
        run_here(small_setting("class_incremental"), FixedRule(), quiet=False)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in lines] == ["phase 1/3", "phase 2/3", "phase 3/3"]
        assert all("accuracy on the tasks so far" in line and " steps in " in line for line in lines)

    def test_tasks_to_come_do_not_count(self, capsys):
        results = run_here(small_setting("class_incremental"), FixedRule(), quiet=False)
        lines = capsys.readouterr().out.splitlines()
        shown = [float(line.split()[-2]) for line in lines]
        assert shown == pytest.approx(100 * results.average_curve, abs=0.051)

    def test_quiet(self, capsys):
        assert type(make_reporter(quiet=True, num_phases=1)) is Reporter
        run_here(small_setting("class_incremental"), FixedRule())
        assert capsys.readouterr().out == ""
