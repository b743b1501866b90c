"""The node `osaka`: its phases, its scores, and what it refuses."""

import dataclasses

import pytest
import torch

from redwood.branches.osaka.results import OsakaResults
from redwood.branches.osaka.setting import OsakaSetting
from redwood.core.errors import DataError, InvalidOptionError, NotTrainedError
from redwood.methods.baselines import Finetune
from redwood.settings import TaskAgnosticSetting
from redwood.settings.data.dataset import Dataset
from redwood.settings.scores.results import Results
from tests.cheats import Honest, run
from tests.methods.helpers import one_sentence
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

KEY = "osaka"


class TestPhases:
    def test_the_stream_alone(self):
        (phase,) = small_setting(KEY).phases()
        batches = list(phase.train)
        assert [len(batch.y) for batch in batches] == [16] * 10
        assert all(torch.bincount(batch.y).tolist() == [4] * 4 for batch in batches)
        assert all(batch.task_id is None for batch in batches)
        assert (phase.pretraining, phase.task_id, phase.task_classes, phase.validation) == (False, None, None, None)

    def test_episodes_come_first(self):
        first, second = small_setting(KEY, pretraining=5, query_shots=2).phases()
        batches = list(first.train)
        assert (first.pretraining, second.pretraining) == (True, False)
        assert [len(batch.y) for batch in batches] == [24] * 5
        assert all(torch.bincount(batch.y[:16]).tolist() == [4] * 4 for batch in batches)
        assert all(torch.bincount(batch.y[16:]).tolist() == [2] * 4 for batch in batches)

    def test_pretraining_does_not_change_the_stream(self):
        (alone,), (_, after) = small_setting(KEY).phases(), small_setting(KEY, pretraining=5, query_shots=2).phases()
        for a, b in zip(alone.train, after.train, strict=True):
            assert torch.equal(a.x, b.x)
            assert torch.equal(a.y, b.y)

    def test_episodes_hold_samples_of_the_first_domain_only(self):
        data = few_digits()
        known = {tuple(x.flatten().tolist()) for x in torch.cat([data.x, data.x_test])}
        first, _ = small_setting(KEY, pretraining=20, query_shots=2).phases()
        assert all(tuple(x.flatten().tolist()) in known for batch in first.train for x in batch.x)

    def test_test_samples_are_shown_too(self):
        """Omniglot has 20 samples of a character, 4 of which are its test split: 5 shots and 15 queries take all."""
        x, x_test = torch.arange(96.0)[:, None], torch.arange(96.0, 120.0)[:, None]
        data = Dataset("characters", x, torch.arange(96) % 6, x_test, torch.arange(24) % 6)
        options = {"ways": 3, "shots": 5, "query_shots": 15, "out_of_distribution": []}
        first, _ = small_setting(KEY, dataset=data, pretraining=4, **options).phases()
        episode = next(iter(first.train))
        assert [len(episode.x[episode.y == label].unique()) for label in range(3)] == [20] * 3

    def test_a_label_is_one_class_during_a_visit(self):
        """Samples of a label stand for the class at its place; other visits have other classes there."""
        data = few_digits()
        setting = small_setting(KEY, domain_probabilities=[1.0, 0.0, 0.0], timesteps=30, stay_probability=0.8)
        samples, labels = torch.cat([data.x, data.x_test]), torch.cat([data.y, data.y_test])
        class_of = {tuple(x.flatten().tolist()): int(y) for x, y in zip(samples, labels, strict=True)}
        visits = setting.open_stream().visits
        (phase,) = setting.phases()
        for batch, visit in zip(phase.train, visits.of_steps().tolist(), strict=True):
            for x, label in zip(batch.x, batch.y.tolist(), strict=True):
                assert class_of[tuple(x.flatten().tolist())] == int(visits.classes[visit, label])
        assert len({tuple(row) for row in visits.classes.tolist()}) > 3

    def test_seeds_draw_other_streams(self):
        starts = [small_setting(KEY, seed=seed, timesteps=200).open_stream().visits.starts.tolist() for seed in (0, 1)]
        assert starts[0] != starts[1]

    def test_the_view_tells_the_sizes_but_not_what_comes(self):
        view = small_setting(KEY).for_method()
        assert (view.batch_size, view.ways, view.shots, int(view.action_space.n)) == (16, 4, 4, 4)
        assert view.out_of_distribution is view.domain_probabilities is view.stay_probability is None

    def test_a_setting_can_be_made_anew_with_another_option(self):
        assert dataclasses.replace(small_setting(KEY), ways=3).for_method().batch_size == 12


class Notes(Honest):
    """Notes what it answers to each mini-batch, and the labels that follow."""

    def configure(self, setting):
        super().configure(setting)
        self.answers, self.labels = [], []

    def predict(self, x, task_id):
        scores = super().predict(x, task_id)
        self.answers.append(scores.argmax(1))
        return scores

    def learn(self, batch):
        self.labels.append(batch.y)
        super().learn(batch)


class TestScores:
    def test_they_are_those_of_the_answers_before_the_labels(self):
        method, setting = Notes(), small_setting(KEY, timesteps=40, stay_probability=0.8)
        results = run_here(setting, method)
        right = torch.stack([(a == y).double().mean() for a, y in zip(method.answers, method.labels, strict=True)])
        assert results.objective == results.metrics["online_accuracy"] == pytest.approx(float(right.mean()))
        visits = setting.open_stream().visits
        domains, since = visits.domains[visits.of_steps()], torch.arange(40) - visits.starts[visits.of_steps()]
        for domain, value in enumerate(results.accuracy_matrix[0]):
            assert value == pytest.approx(float(right[domains == domain].mean()))
            for step, at in enumerate(results.since_switch["accuracy"][domain]):
                members = right[(domains == domain) & (since == step)]
                assert results.since_switch["steps"][domain][step] == len(members)
                assert at is None if not len(members) else at == pytest.approx(float(members.mean()))
        assert results.metrics["average_accuracy"] == pytest.approx(sum(results.accuracy_matrix[0]) / 3)

    def test_pretraining_is_not_scored(self):
        results = run(KEY, Honest(), pretraining=6, query_shots=2)
        assert (len(results.accuracy_matrix), results.num_phases) == (1, 1)
        assert results.online_curve[-1][0] == 160
        assert results.cost.training_samples == 160 + 6 * 24

    def test_they_survive_a_file(self, tmp_path):
        results = run(KEY, Honest(), stay_probability=1.0)  # two domains are never visited
        assert [value is None for value in results.accuracy_matrix[0]].count(True) == 2
        results.save(tmp_path / "results.json")
        for cls in (Results, OsakaResults):
            loaded = cls.load(tmp_path / "results.json")
            assert isinstance(loaded, OsakaResults)
            assert loaded.to_dict() == results.to_dict()
            assert loaded.domains == ["few_digits", "few_digits permuted", "few_digits inverted"]

    def test_who_cannot_predict_yet_is_wrong(self):
        class Late(Honest):
            def predict(self, x, task_id):
                raise NotTrainedError("later")

        with pytest.warns(UserWarning, match="count as wrong"):
            assert run(KEY, Late()).objective == 0

    def test_a_network_that_learns_is_better_the_longer_a_context_lasts(self):
        long, short = (
            run(KEY, Finetune(optimizer="adam", lr=0.01), stay_probability=alpha, timesteps=60) for alpha in (1.0, 0.0)
        )
        assert long.objective > short.objective + 0.2


BAD = [
    ({"stay_probability": 1.2}, "--stay_probability 1.2 has to be at least 0 and at most 1"),
    ({"ways": 1}, "--ways 1 has to be at least 2"),
    ({"ways": 11}, "--ways 11 is more than the 10 classes of few_digits; use at most 10"),
    ({"shots": 24}, "--shots 24 is more than the 23 samples of a class of few_digits; use at most 23"),
    ({"shots": 0}, "--shots 0 has to be at least 1"),
    ({"timesteps": 0}, "--timesteps 0 has to be at least 1"),
    ({"pretraining": -1}, "--pretraining -1 has to be at least 0"),
    ({"query_shots": 3}, "--query_shots 3 are samples of episodes, which need --pretraining"),
    ({"pretraining": 4, "query_shots": 20}, "--query_shots 20 beside --shots 4 is more than the 23 samples"),
    ({"domain_probabilities": [0.5, 0.5]}, "has 2 numbers, but there are 3 domains"),
    ({"domain_probabilities": [0.5, 0.5, 0.5]}, "numbers in 0..1 that sum to 1"),
    ({"domain_probabilities": [1.5, -0.5, 0.0]}, "numbers in 0..1 that sum to 1"),
    ({"domain_probabilities": [float("nan"), 0.5, 0.5]}, "numbers in 0..1 that sum to 1"),
    ({"out_of_distribution": ["permuted", "permuted"]}, "other domains than --dataset, each once"),
    ({"passes": 2}, "--passes 2 contradicts OsakaSetting, which needs passes=1"),
    ({"workers": 2}, "--workers 2 contradicts OsakaSetting, which needs workers=1"),
]
IGNORED = {"nb_tasks": 3, "batch_size": 16, "validation": 0.2}
NO_CHOICE = {"stream": "permuted", "transition": "blurry", "eval_tasks": "seen"}


class TestBadInput:
    @pytest.mark.parametrize(("options", "sentence"), BAD)
    def test_values(self, options, sentence):
        sizes = {"dataset": few_digits(190), "out_of_distribution": ["permuted", "inverted"], "ways": 4, "shots": 4}
        with pytest.raises(InvalidOptionError, match=sentence) as caught:
            _ = OsakaSetting(**sizes | options).observation_space
        assert one_sentence(caught.value)

    @pytest.mark.parametrize("name", IGNORED)
    def test_options_that_decide_nothing(self, name):
        with pytest.raises(InvalidOptionError, match=f"^--{name} .* does not go with osaka, which draws") as caught:
            OsakaSetting(**{name: IGNORED[name]})
        assert one_sentence(caught.value)

    @pytest.mark.parametrize("name", NO_CHOICE)
    def test_there_is_one_stream(self, name):
        with pytest.raises(InvalidOptionError, match=f"^--{name} {NO_CHOICE[name]} is unknown; choose one of"):
            OsakaSetting(**{name: NO_CHOICE[name]})

    def test_domains_that_cannot_be_brought_to_one_form(self):
        vectors = Dataset.from_arrays(
            torch.rand(40, 3), torch.arange(40) % 4, torch.rand(8, 3), torch.arange(8) % 4, name="vectors"
        )
        with pytest.raises(DataError, match="vectors mixes samples"):
            _ = OsakaSetting(dataset=vectors, ways=2).observation_space

    def test_vectors_have_domains_of_their_own(self):
        vectors = Dataset.from_arrays(
            torch.rand(40, 3), torch.arange(40) % 4, torch.rand(8, 3), torch.arange(8) % 4, name="vectors"
        )
        setting = OsakaSetting(dataset=vectors, ways=2, timesteps=5, out_of_distribution=["permuted", "inverted"])
        assert run_here(setting, Finetune()).metrics["online_accuracy"] is not None


def test_the_defaults_are_three_domains_of_generated_and_installed_data():
    stream = OsakaSetting(timesteps=10).open_stream()
    assert [task["name"] for task in stream.drawn()["task_list"]] == ["digits", "digits permuted", "prototypes_20"]
    assert stream.observation_space.shape == (1, 8, 8)


def test_each_option_of_the_parents_decides_something_or_is_refused():
    used = {"seed", "workers", "passes", "dataset", "data_dir"}
    refused = IGNORED.keys() | NO_CHOICE.keys()
    assert set(TaskAgnosticSetting.option_names()) == used | refused
    assert IGNORED.keys() == OsakaSetting.unused_options.keys()
