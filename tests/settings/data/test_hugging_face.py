"""Data sets of Hugging Face: images and arrays, classes and their names, splits, folders, and bad input."""

import io

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from redwood.core.errors import DataError, RedwoodError
from redwood.methods import Rehearsal
from redwood.settings import ClassIncrementalSetting, ClassSplit
from redwood.settings.data import images
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.columns import NO_COLUMNS, Columns
from redwood.settings.data.dataset import describe_data
from redwood.settings.data.hugging_face import from_datasets
from redwood.settings.data.images import DecodedImages
from tests.methods.helpers import one_sentence

N, NAMES = 60, ["cat", "dog", "never", "fish"]
CLASSES = datasets.ClassLabel(names=NAMES)
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 10, 8, 3), dtype=np.uint8)
LABELS = [(0, 1, 3)[number % 3] for number in range(N)]


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def pictures(pixels=PIXELS, labels=LABELS, **columns):
    content = {"image": [Image.fromarray(one) for one in pixels], "label": labels} | columns
    return datasets.Dataset.from_dict(content).cast_column("image", datasets.Image()).cast_column("label", CLASSES)


def numbers(**columns):
    return datasets.Dataset.from_dict({"label": LABELS} | columns)


def made(*parts, image_size=0, **columns):
    return from_datasets("pets", parts, Columns(**columns), 0, image_size)


class TestImages:
    def test_images_of_one_size_are_kept_as_bytes(self):
        data = made(pictures())
        assert isinstance(data.x, torch.Tensor) and data.x.dtype == torch.uint8 and data.max_value == 255
        assert data.sample_shape == (3, 10, 8) and data.class_names == ("cat", "dog", "fish")
        together = torch.cat([data.x, data.x_test]).flatten(1)
        assert {tuple(row) for row in together.tolist()} == {
            tuple(row) for row in PIXELS.transpose(0, 3, 1, 2).reshape(N, -1).tolist()
        }

    def test_each_image_keeps_its_label(self):
        pixels = np.broadcast_to(np.arange(N, dtype=np.uint8)[:, None, None], (N, 4, 4))
        data = made(pictures(pixels))
        assert data.sample_shape == (1, 4, 4), "grey"
        assert [data.class_names[label] for label in data.y] == [NAMES[LABELS[int(x[0, 0, 0])]] for x in data.x]

    def test_large_sets_are_decoded_when_they_are_needed(self, monkeypatch):
        kept = made(pictures(), image_size=6)
        monkeypatch.setattr(images, "MOST_BYTES", 0)
        read = made(pictures(), image_size=6)
        assert isinstance(read.x, DecodedImages) and read.x.shape == kept.x.shape
        index = torch.tensor([5, 0, 7])
        assert torch.equal(read.x[index], kept.x[index]) and read.x[index[:0]].shape == (0, 3, 6, 6)
        assert torch.equal(kept.y, read.y)

    def test_other_sizes_need_a_size(self):
        rows = pictures()
        mixed = datasets.concatenate_datasets([rows, pictures(PIXELS[:, :5])])
        with pytest.raises(
            DataError, match=r"of different sizes, 8 x 10 and 8 x 5 \(row \d+\); give --image_size"
        ) as caught:
            made(mixed)
        assert one_sentence(caught.value)
        assert made(mixed, image_size=4).sample_shape == (3, 4, 4)

    @pytest.mark.parametrize(
        ("pixels", "sentence"),
        [
            (np.zeros((N, 4, 4), np.int32), r"image of row \d+ has more than 8 bits per value \(mode I"),
            (np.zeros((N, 4, 4), np.float32), r"image of row \d+ has more than 8 bits per value \(mode F"),
        ],
    )
    def test_deep_images_are_refused(self, pixels, sentence):
        content = {"image": [{"bytes": _tiff(one), "path": None} for one in pixels], "label": LABELS}
        with pytest.raises(DataError, match=sentence) as caught:
            made(datasets.Dataset.from_dict(content).cast_column("image", datasets.Image()))
        assert one_sentence(caught.value)

    def test_a_damaged_image_is_told(self):
        content = {"image": [{"bytes": b"no image", "path": None}] * N, "label": LABELS}
        with pytest.raises(DataError, match=r"image of row \d+ cannot be read .*; leave it out") as caught:
            made(datasets.Dataset.from_dict(content).cast_column("image", datasets.Image()))
        assert one_sentence(caught.value)


def _tiff(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "TIFF")
    return file.getvalue()


class TestColumns:
    def test_numbers_are_features(self):
        data = made(numbers(a=np.arange(N) / 2, b=["x", "y"] * (N // 2)))
        assert data.sample_shape == (3,) and data.class_names == ("0", "1", "3")

    @pytest.mark.parametrize(
        ("feature", "shape", "dtype"),
        [
            (datasets.Array3D((1, 2, 3), "uint8"), (1, 2, 3), torch.uint8),
            (datasets.List(datasets.Value("float64")), (6,), torch.float32),
            (datasets.Array2D((2, 3), "float32"), (2, 3), torch.float32),
        ],
    )
    def test_one_column_of_arrays_holds_the_samples(self, feature, shape, dtype):
        values = np.arange(N * 6).reshape(N, *shape) % 200
        rows = datasets.Dataset.from_dict({"x": values.tolist(), "label": LABELS}).cast_column("x", feature)
        data = made(rows)
        assert data.sample_shape == shape and data.x.dtype == dtype
        assert torch.cat([data.x, data.x_test]).double().sum() == values.sum()

    def test_tasks_and_times(self):
        data = made(pictures(site=[f"s{number // 20}" for number in range(N)]), task="site")
        assert data.task_names == ("s0", "s1", "s2")
        dates = [f"2024-0{1 + number // 30}-0{1 + number % 9}" for number in range(N)]
        assert made(pictures(day=dates), time="day", period="month").task_names == ("2024-01", "2024-02")

    @pytest.mark.parametrize(
        ("rows", "columns", "sentence"),
        [
            (numbers(a=range(N)).rename_column("label", "kind"), {}, "only the columns 'kind', 'a'; name the one to"),
            (pictures().remove_columns("image"), {}, "no column beside the named ones; add features"),
            (pictures(), {"target": "breed"}, "--target_column breed is no column of pets, which has 'image', 'label'"),
            (pictures(), {"target": "image"}, "classes .* of the column image are integers or texts"),
            (pictures(fine=LABELS).cast_column("fine", CLASSES).rename_column("label", "coarse"),
             {}, "name the one to predict by target_column=..."),
            (pictures(labels=[-1] * 3 + LABELS[3:]), {}, "column label has no value in 3 of 60 rows"),
            (numbers(x=[[1, 2]] * N, z=range(N)), {}, "column x holds arrays and there are other features, z"),
            (numbers(x=[[1, 2]] * 59 + [[1]]), {}, "arrays of the column x are not of one shape|cannot"),
            (numbers(text=[f"free text {i}" for i in range(N)]), {}, "column text holds 60 different texts"),
            (pictures(labels=LABELS[:0], pixels=PIXELS[:0]), {}, "has a split without rows"),
        ],
    )  # fmt: skip
    def test_columns_missing_or_of_another_type(self, rows, columns, sentence):
        with pytest.raises(RedwoodError, match=sentence) as caught:
            made(rows, **columns)
        assert one_sentence(caught.value)

    def test_a_transform_is_not_passed_over(self):
        with pytest.raises(DataError, match=r"has a transform \(set_transform\), which would not be applied"):
            made(pictures().with_transform(lambda rows: rows))

    def test_two_columns_of_images(self):
        rows = pictures().add_column("other", [{"bytes": b"", "path": None}] * N).cast_column("other", datasets.Image())
        with pytest.raises(DataError, match="several columns of images, image and other; keep one"):
            made(rows)


class TestSplits:
    @pytest.mark.parametrize("test", ["test", "validation"])
    def test_the_test_split_is_the_test(self, test):
        rows = pictures()
        data = made(datasets.DatasetDict({"train": rows, test: rows.select(range(9))}))
        assert (len(data.y), len(data.y_test)) == (N, 9)
        pair = made(rows, rows.select(range(9)))
        assert describe_data(pair) == describe_data(data)

    def test_a_single_split_is_divided(self):
        data = made(datasets.DatasetDict({"all": pictures()}))
        assert (len(data.y), len(data.y_test)) == (48, 12)

    @pytest.mark.parametrize(
        ("parts", "sentence"),
        [
            (
                (datasets.DatasetDict({"a": pictures(), "b": pictures()}),),
                "has the splits a, b, but none is called train",
            ),
            ((pictures(), numbers(a=range(N))), "column image differs between the training and the test split"),
            ((datasets.DatasetDict({"a": pictures()}), pictures()), "a pair has to hold two splits, not a DatasetDict"),
        ],
    )
    def test_splits_that_do_not_fit(self, parts, sentence):
        with pytest.raises(DataError, match=sentence) as caught:
            made(*parts)
        assert one_sentence(caught.value)


class TestFolders:
    def test_a_folder_holds_what_memory_holds(self, tmp_path):
        rows = pictures()
        rows.save_to_disk(tmp_path / "pets")
        for name in (f"hf:{tmp_path / 'pets'}", "hf:pets"):
            assert describe_data(load_dataset(name, tmp_path, 0, 0)) == describe_data(made(rows))

    def test_a_changed_pixel_is_noticed(self):
        pixels = PIXELS.copy()
        pixels[17, 3, 3] += 1
        assert describe_data(made(pictures(pixels))) != describe_data(made(pictures()))

    def test_a_folder_of_another_kind_is_told(self, tmp_path):
        for name, sentence in (
            (f"hf:{tmp_path}", "cannot be read as a data set of Hugging Face .*; write it by save_to_disk"),
            (f"hf:{tmp_path / 'none'}", "The folder of --dataset hf:.*none does not exist"),
            ("hf:", "does not exist|cannot be read"),
        ):
            with pytest.raises(DataError, match=sentence) as caught:
                load_dataset(name, tmp_path, 0, 0, NO_COLUMNS)
            assert one_sentence(caught.value)

    def test_a_name_needs_a_network(self, monkeypatch, tmp_path):
        def fail(name):
            raise ConnectionError(f"Couldn't reach '{name}' on the Hub (ConnectError).")

        monkeypatch.setattr(datasets, "load_dataset", fail)
        with pytest.raises(
            DataError, match=r"--dataset hf:user/pets could not be loaded .*: a name needs a network; w"
        ) as caught:
            load_dataset("hf:user/pets", tmp_path, 0, 0)
        assert one_sentence(caught.value)

    def test_a_name_is_loaded_where_there_is_one(self, monkeypatch, tmp_path):
        monkeypatch.setattr(datasets, "load_dataset", {"user/pets": pictures()}.__getitem__)
        assert load_dataset("hf:user/pets", tmp_path, 0, 5).sample_shape == (3, 5, 5)


def test_a_run_names_its_classes(tmp_path):
    setting = ClassIncrementalSetting(
        dataset=pictures(), nb_tasks=3, stream=ClassSplit(class_order=[2, 0, 1]), passes=1
    )
    results = setting.apply(Rehearsal(buffer_size=9), quiet=True, run_dir=str(tmp_path / "run"))
    assert results.task_names == ["fish", "cat", "dog"]
    assert results.class_names == ["cat", "dog", "fish"] == results.slices.names
    assert results.dataset == "hugging_face"
