from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from redwood.branches.ctrl.pools import CTRL_STREAMS, Pool, Sizes, ctrl_stream, find_pool
from redwood.core.errors import DataError, InvalidOptionError
from redwood.settings import get_setting
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.combine import combine
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.views import Draws, View, cut


@cache
def load(name):
    return load_dataset(name, Path("data"), 0, 0)


def views(name, seed=0, **options):
    return ctrl_stream(name, find_pool("digits", seed), load, seed, **options)


def sizes(view):
    return view.train_per_class, view.validation_per_class


LARGE, SMALL = (60, 30), (8, 4)


class TestDigits:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("s_minus", [LARGE, SMALL, SMALL, SMALL, SMALL]),
            ("s_plus", [SMALL, SMALL, SMALL, SMALL, LARGE]),
            ("s_in", [LARGE, SMALL, SMALL, SMALL, SMALL]),
            ("s_out", [LARGE, SMALL, SMALL, SMALL, SMALL]),
            ("s_pl", [SMALL, SMALL, SMALL, LARGE]),
        ],
    )
    def test_sizes_and_concepts(self, name, expected):
        tasks = views(name)
        assert [sizes(view) for view in tasks] == expected
        between = tasks[1:-1] if len(tasks) == 5 else tasks[:-1]
        assert [view.dataset for view in between] == ["digits", "prototypes", "digits"]
        assert [view.transform for view in between] == ["permuted", "none", "permuted"]
        assert between[0].seed != between[2].seed
        assert tasks[-1].dataset == "digits" and tasks[-1].classes == (0, 1, 2, 3, 4)

    def test_what_comes_back(self):
        last = {name: views(name)[-1] for name in ("s_minus", "s_in", "s_out")}
        assert (last["s_minus"].transform, last["s_minus"].label_order) == ("none", ())
        assert last["s_in"].transform == "inverted"
        assert last["s_out"].label_order == (4, 0, 1, 2, 3)

    def test_the_main_concept_comes_back_with_other_samples(self):
        data = combine("s_minus", views("s_minus"), load, seed=0)
        first, last = (data.x[data.contexts == task].flatten(1) for task in (0, 4))
        assert len(first) == 5 * 90 and len(last) == 5 * 12
        assert (first[:, None] == last).all(2).sum() < 3, "but for images that the data set holds twice"

    def test_permuted_labels_share_the_classes(self):
        data, draws = load("digits"), Draws(0)
        plain, moved = (cut(views(name)[-1], data, draws) for name in ("s_minus", "s_out"))
        means = [torch.stack([t.x[t.y == label].float().mean(0) for label in range(5)]) for t in (plain, moved)]
        nearest = torch.cdist(means[1].flatten(1), means[0].flatten(1)).argmin(1)
        assert nearest.tolist() == [4, 0, 1, 2, 3]


class TestLong:
    def test_tasks_do_not_depend_on_their_number(self):
        assert len(views("s_long")) == 100 and len(views("s_long", num_tasks=20)) == 100
        assert views("s_long", num_tasks=120)[:100] == views("s_long")
        assert views("s_long", seed=1) != views("s_long")

    def test_classes_and_sizes(self):
        tasks = [view for seed in range(10) for view in views("s_long", seed)]
        assert all(len(set(view.classes)) == 5 for view in tasks)
        large = np.array([sizes(view) == LARGE for view in tasks]).reshape(10, 100)
        assert {sizes(view) for view in tasks} == {LARGE, SMALL}
        assert 0.4 < large[:, :33].mean() < 0.6 and 0.15 < large[:, 33:66].mean() < 0.35 and not large[:, 66:].any()
        shares = [np.mean([view.title == concept.title for view in tasks]) for concept in find_pool("digits", 0).long]
        assert len(shares) == 5 and all(0.15 < share < 0.25 for share in shares)


class TestPaper:
    """The streams of the paper, over data sets that stand for the real ones."""

    @staticmethod
    @cache
    def load(name):
        n, shape = (47, (3, 32, 32)) if name == "dtd" else (10, (1, 28, 28) if "mnist" in name else (3, 32, 32))
        y = torch.arange(n).repeat_interleave(700 if n == 10 else 80)
        x = torch.zeros(len(y), *shape, dtype=torch.uint8)
        return Dataset(name, x, y, x[:: 80 // 4], y[:: 80 // 4], max_value=255)

    def test_sizes(self):
        pool = find_pool("ctrl", 0)
        tasks = ctrl_stream("s_in", pool, self.load, 0)
        assert [view.dataset for view in tasks] == ["mnist", "cifar10", "dtd", "fashion_mnist", "svhn", "mnist"]
        assert [sizes(view) for view in tasks] == [(400, 200), *[(40, 20)] * 4, (5, 3)]
        assert len(tasks[2].classes) == 10, "of 47"
        assert ctrl_stream("s_minus", pool, self.load, 0)[0].dataset == "cifar10"

    def test_sizes_shrink_where_there_are_fewer_samples(self):
        tasks = ctrl_stream("s_long", find_pool("ctrl", 0), self.load, 0)
        assert {sizes(view) for view in tasks} == {(466, 233), (5, 3)}

    def test_all_images_get_one_shape(self):
        data = combine("s_pl", ctrl_stream("s_pl", find_pool("ctrl", 0), self.load, 0), self.load, 0)
        assert data.sample_shape == (3, 32, 32) and data.n_classes == 50


class TestPoolFile:
    TEXT = """
concepts:
- {dataset: digits, classes: [0, 1], name: zero and one}
- {dataset: prototypes}
large: [20, 10]
small: [4, 2]
"""

    def read(self, tmp_path, text):
        path = tmp_path / "pool.yaml"
        path.write_text(text)
        return find_pool(str(path), 0)

    def test_a_pool(self, tmp_path):
        pool = self.read(tmp_path, self.TEXT + "test_per_class: 7\n")
        assert pool == Pool(
            (View("digits", (0, 1), name="zero and one"), View("prototypes")),
            Sizes(20, 10),
            Sizes(4, 2),
            Sizes(4, 2),
            7,
        )
        tasks = ctrl_stream("s_minus", pool, load, 0)
        assert [len(view.classes) for view in tasks] == [2, 10, 2]

    @pytest.mark.parametrize(
        ("old", "new", "sentence"),
        [
            ("large:", "big:", r"has the unknown key big; known are concepts, large, small, smallest, test_per_class"),
            ("large: [20, 10]", "", "is no pool of concepts: it lacks large"),
            ("[20, 10]", "20", "it.large has to be a list, not 20"),
            ("name:", "year:", "Concept 0 of .* has the unknown key year"),
            ("- {dataset: prototypes}", "- 7", "Concept 1 of .* is no task: it has to be a mapping, not 7"),
            ("- {dataset: prototypes}", "", "it.concepts has to have at least 2 entries"),
            ("dataset: prototypes", "classes: [1]", "Concept 1 of .* is no task: it lacks dataset"),
        ],
    )
    def test_a_bad_file(self, tmp_path, old, new, sentence):
        with pytest.raises(DataError, match=sentence):
            self.read(tmp_path, self.TEXT.replace(old, new))

    def test_a_concept_that_is_inverted_already(self, tmp_path):
        pool = self.read(tmp_path, self.TEXT.replace("name: zero and one", "transform: inverted"))
        with pytest.raises(DataError, match="--stream s_in inverts its first concept, but digits inverted is inverted"):
            ctrl_stream("s_in", pool, load, 0)


class TestSetting:
    @pytest.mark.parametrize("stream", CTRL_STREAMS)
    def test_a_run_over_a_part_has_the_same_spaces_and_tasks(self, stream):
        whole, part = (
            get_setting("task_incremental")(stream={stream: {"first_task": first}}, passes=1, nb_tasks=nb_tasks)
            for first, nb_tasks in ((0, None), (2, 1))
        )
        assert whole.action_space == part.action_space and whole.observation_space == part.observation_space
        phases = list(whole.phases())
        (only,) = part.phases()
        batches, own = (torch.cat([batch.x for batch in phase.train]) for phase in (phases[2], only))
        assert torch.equal(batches, own)
        assert part.dataset_name == f"{stream}:digits"

    def test_one_seed_one_stream(self):
        names = [[view.classes for view in views("s_long", seed)] for seed in (0, 0, 1)]
        assert names[0] == names[1] != names[2]

    @pytest.mark.parametrize(
        ("key", "options", "sentence"),
        [
            (
                "class_incremental",
                {},
                "--stream s_minus does not go with ClassIncrementalSetting, which tells no task ids at test",
            ),
            (
                "task_incremental",
                {"stream": {"s_minus": {"concepts": "letters"}}},
                "--concepts letters is unknown; choose one of digits, ctrl, or",
            ),
            ("task_incremental", {"dataset": "mnist"}, "--dataset mnist contradicts --stream s_minus"),
            ("task_incremental", {"nb_tasks": 6}, "--nb_tasks 6 is more than the 5 tasks of s_minus:digits"),
        ],
    )
    def test_options_that_do_not_fit(self, key, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            get_setting(key)(**{"stream": "s_minus"} | options).open_stream()


def test_prototypes_have_the_form_of_digits():
    data, digits = load("prototypes"), load("digits")
    assert (data.sample_shape, data.x.dtype, data.max_value) == (digits.sample_shape, digits.x.dtype, digits.max_value)
    assert data.x.min() >= 0 and data.x.max() == 16 and data.y.bincount().tolist() == [144] * 10
    means = torch.stack([data.x[data.y == label].float().mean(0).flatten() for label in range(10)])
    nearest = torch.cdist(data.x_test.float().flatten(1), means).argmin(1)
    assert (nearest == data.y_test).float().mean() > 0.9
    assert not torch.equal(data.x, load_dataset("prototypes", Path("data"), 1, 0).x)


def test_textures_are_read_from_their_folder(tmp_path):
    root = tmp_path / "dtd" / "dtd"
    for name, grey in (("banded", 10), ("woven", 200)):
        (root / "images" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (30 + number, 20), (grey, grey, grey)).save(
                root / "images" / name / f"{name}_{number}.png"
            )
    (root / "labels").mkdir()
    for number, split in enumerate(("train", "val", "test")):
        (root / "labels" / f"{split}1.txt").write_text("".join(f"{c}/{c}_{number}.png\n" for c in ("banded", "woven")))
    data = load_dataset("dtd", tmp_path, 0, 16)
    assert tuple(data.x.shape) == (4, 3, 16, 16) and data.y.tolist() == [0, 1, 0, 1] and len(data.x_test) == 2
    assert data.x[torch.arange(4)].float().mean((1, 2, 3)).tolist() == [10, 200, 10, 200]
