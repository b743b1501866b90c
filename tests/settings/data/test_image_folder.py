import os

import pytest
import torch

from redwood.core.errors import DataError
from redwood.settings import DomainIncrementalSetting
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.dataset import describe_data
from redwood.settings.data.folders import ImageFiles
from redwood.settings.data.image_folder import image_folder
from tests.images import class_folders, every, save
from tests.methods.helpers import one_sentence

TWO = {"dent": 5, "ok": 5}
LAYOUTS = r"is neither CLASS/file nor TASK/CLASS/file with the same classes in each task"


class TestImageFolder:
    def test_one_folder_per_class_is_split_by_the_seed(self, tmp_path):
        class_folders(tmp_path / "pets", {"cat": 10, "dog": 5})
        data, other = (load_dataset("image_folder", tmp_path / "pets", seed, 8) for seed in (0, 1))
        assert (data.name, data.max_value, data.sample_shape) == ("pets", 255, (3, 8, 8))
        assert torch.bincount(data.y).tolist() == [8, 4]
        assert torch.bincount(data.y_test).tolist() == [2, 1]
        red = torch.cat([every(data.x), every(data.x_test)])[:, 0, 0, 0]
        assert sorted(red.tolist()) == sorted([*range(10), *range(10, 15)])
        assert torch.equal(red >= 10, torch.cat([data.y, data.y_test]) == 1)
        assert list(data.x_test.paths) != list(other.x_test.paths)
        assert data.class_names == ("cat", "dog")

    @pytest.mark.parametrize("test_name", ["test", "val"])
    def test_given_splits_are_used(self, tmp_path, test_name):
        class_folders(tmp_path / "train", {"cat": 3, "dog": 2})
        class_folders(tmp_path / test_name, {"cat": 1, "dog": 2}, suffix=".JPEG")
        data = load_dataset("image_folder", tmp_path, 0, 0)
        assert data.sample_shape == (3, 8, 8)
        assert (data.y.tolist(), data.y_test.tolist()) == ([0, 0, 0, 1, 1], [0, 1, 1])
        assert all(f"/{test_name}/" in path for path in data.x_test.paths)
        assert data.class_names == ("cat", "dog")

    def test_folders_within_a_class_folder(self, tmp_path):
        class_folders(tmp_path / "data" / "cat", {"wild": 3, "tame": 3})
        class_folders(tmp_path / "data", {"dog": 5})
        data = load_dataset("image_folder", tmp_path / "data", 0, 8)
        assert torch.bincount(torch.cat([data.y, data.y_test])).tolist() == [6, 5]

    def test_class_folders_one_level_below_are_named(self, tmp_path):
        class_folders(tmp_path / "data" / "images", {"cat": 5, "dog": 5})
        with pytest.raises(DataError, match=r"found 1\); if they are in .*images, name that folder by --dat") as e:
            load_dataset("image_folder", tmp_path / "data", 0, 8)
        assert one_sentence(e.value)

    def test_a_folder_that_cannot_be_read_is_named(self, tmp_path, monkeypatch):
        class_folders(tmp_path, {"cat": 5, "dog": 5})
        scan = os.scandir

        def refuse(path):
            if os.fspath(path).endswith("dog"):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=r"dog cannot be read \(Permission denied\); allow it") as e:
            load_dataset("image_folder", tmp_path, 0, 8)
        assert one_sentence(e.value)

    def test_hidden_files_and_other_files_are_left_out(self, tmp_path):
        class_folders(tmp_path, {"cat": 5, "dog": 5})
        save(tmp_path / ".thumbnails" / "a.png", 0)
        save(tmp_path / "cat" / "._00.png", 0)
        (tmp_path / "dog" / "notes.txt").write_text("x")
        data = load_dataset("image_folder", tmp_path, 0, 8)
        assert len(data.x) + len(data.x_test) == 10
        assert data.n_classes == 2

    def test_empty_class_folder_is_refused(self, tmp_path):
        class_folders(tmp_path, {"cat": 5, "dog": 5})
        (tmp_path / "emu").mkdir()
        with pytest.raises(DataError, match="emu holds no image"):
            load_dataset("image_folder", tmp_path, 0, 0)

    @pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: class_folders(p, {"cat": 3})])
    def test_fewer_than_two_classes_are_refused(self, tmp_path, make):
        make(tmp_path / "data")
        with pytest.raises(DataError, match=r"two folders of classes at least are needed, found [01]"):
            load_dataset("image_folder", tmp_path / "data", 0, 0)

    def test_test_class_that_is_never_trained_is_refused(self, tmp_path):
        class_folders(tmp_path / "train", {"cat": 3, "dog": 2})
        class_folders(tmp_path / "test", {"cat": 3, "emu": 2})
        with pytest.raises(DataError, match="emu is no class of the training split"):
            load_dataset("image_folder", tmp_path, 0, 0)

    @pytest.mark.parametrize("split", [False, True])
    def test_links_that_lead_back_add_nothing(self, tmp_path, split):
        """To the folder itself, to one around it, to another class, to the other split, to the same file."""
        parts = [tmp_path / name for name in (("train", "test") if split else ("",))]
        for part in parts:
            class_folders(part, {"cat": 5, "dog": 5})
        links = {"loop": ".", "up": "..", "far_up": "../..", "other": "../dog", "0.png": "00.png"}
        for name, target in (links | ({"test": "../../test/cat"} if split else {})).items():
            (parts[0] / "cat" / name).symlink_to(target)
        os.link(parts[0] / "cat" / "00.png", parts[0] / "cat" / "99.png")
        data = load_dataset("image_folder", tmp_path, 0, 8)
        counts = torch.bincount(data.y) + torch.bincount(data.y_test)
        assert counts.tolist() == [5 * len(parts)] * 2
        named = {os.path.basename(path) for path in [*data.x.paths, *data.x_test.paths]}
        assert named == {f"{number:02d}.png" for number in range(5)}, "by names that are no links"

    def test_links_to_files_and_folders_outside_count(self, tmp_path):
        class_folders(tmp_path / "store", {"a": 3, "b": 3})
        for name in ("cat", "dog"):
            (tmp_path / "data" / name).mkdir(parents=True)
            (tmp_path / "data" / name / "pool").symlink_to(tmp_path / "store" / "a")
            (tmp_path / "data" / name / "one.png").symlink_to(tmp_path / "store" / "b" / "00.png")
        (tmp_path / "data" / "emu").symlink_to(tmp_path / "store" / "b")
        data = load_dataset("image_folder", tmp_path / "data", 0, 8)
        assert (torch.bincount(data.y) + torch.bincount(data.y_test)).tolist() == [4, 4, 3]

    def test_pipes_are_left_out_and_broken_links_told(self, tmp_path):
        """A pipe would be waited for without end."""
        class_folders(tmp_path, {"cat": 5, "dog": 5})
        os.mkfifo(tmp_path / "cat" / "pipe.png")
        data = load_dataset("image_folder", tmp_path, 0, 8)
        assert len(data.x) + len(data.x_test) == 10
        with pytest.raises(DataError, match="it is no regular file"):
            every(ImageFiles([tmp_path / "cat" / "pipe.png"], 8))
        (tmp_path / "cat" / "gone.png").symlink_to("nowhere.png")
        data = load_dataset("image_folder", tmp_path, 0, 8)
        with pytest.raises(DataError, match=r"gone\.png cannot be read"):
            every(data.x), every(data.x_test)

    def test_unreadable_image_is_refused_when_it_is_read(self, tmp_path):
        class_folders(tmp_path / "train", {"cat": 3, "dog": 2})
        class_folders(tmp_path / "test", {"cat": 1, "dog": 1})
        (tmp_path / "train" / "cat" / "01.png").write_bytes(b"no image")
        data = load_dataset("image_folder", tmp_path, 0, 8)
        with pytest.raises(DataError, match=r"01\.png cannot be read"):
            every(data.x)


class TestTasks:
    """Folders that hold the same folders are tasks, in the order of their names."""

    def test_a_level_that_repeats_the_class_folders(self, tmp_path):
        for number, month in enumerate(("2024-02", "2024-01")):
            class_folders(tmp_path / "photos" / month, {"ok": 5 + number, "dent": 5})
        data = load_dataset(str(tmp_path / "photos"), tmp_path, 0, 0)
        assert (data.class_names, data.task_names) == (("dent", "ok"), ("2024-01", "2024-02"))
        assert (torch.bincount(data.contexts) + torch.bincount(data.contexts_test)).tolist() == [11, 10]
        for x, y, tasks in ((data.x, data.y, data.contexts), (data.x_test, data.y_test, data.contexts_test)):
            assert set(zip(y.tolist(), tasks.tolist(), strict=True)) == {(0, 0), (0, 1), (1, 0), (1, 1)}
            for path, label, task in zip(x.paths, y.tolist(), tasks.tolist(), strict=True):
                assert f"/{data.task_names[task]}/{data.class_names[label]}/" in path

    @pytest.mark.parametrize("second", [TWO, TWO | {"rust": 5}])
    def test_numbers_in_names_count_by_their_value(self, tmp_path, second):
        for month, inside in (("month_10", TWO), ("month_2", second), ("month_1", TWO)):
            class_folders(tmp_path / "photos" / month, inside)
        data = load_dataset(str(tmp_path / "photos"), tmp_path, 0, 0)
        assert data.task_names == ("month_1", "month_2", "month_10")
        assert "in 3 tasks (month_1, month_2, month_10)" in data.note
        for path, task in zip(data.x.paths, data.contexts.tolist(), strict=True):
            assert f"/{data.task_names[task]}/" in path

    def test_the_months_are_tasks_of_a_run_and_named_in_it(self, tmp_path):
        for month in ("2024-01", "2024-02"):
            class_folders(tmp_path / month, TWO)
        stream = DomainIncrementalSetting(dataset=str(tmp_path)).open_stream()
        assert (stream.task_names(), stream.class_names()) == (("2024-01", "2024-02"), ("dent", "ok"))

    def test_given_splits(self, tmp_path):
        for split, count in (("train", 3), ("test", 2)):
            for month in ("2024-01", "2024-02"):
                class_folders(tmp_path / split / month, {"dent": count, "ok": count})
        data = load_dataset(str(tmp_path), tmp_path, 0, 0)
        assert (data.task_names, data.contexts.tolist()) == (("2024-01", "2024-02"), [0] * 6 + [1] * 6)
        assert data.contexts_test.tolist() == [0] * 4 + [1] * 4
        assert all("/test/" in path for path in data.x_test.paths)
        (tmp_path / "test" / "2024-02").rename(tmp_path / "test" / "2024-03")
        with pytest.raises(DataError, match="has the task folder 2024-02; give both the same") as e:
            load_dataset(str(tmp_path), tmp_path, 0, 0)
        assert one_sentence(e.value)

    def test_the_third_split_is_kept_for_validation(self, tmp_path):
        for split, count in (("train", 3), ("test", 2), ("val", 1)):
            for month in ("2024-01", "2024-02"):
                class_folders(tmp_path / split / month, {"dent": count, "ok": count})
        data = load_dataset(str(tmp_path), tmp_path, 0, 0)
        kept = ["/val/" in path for path in data.x.paths]
        assert sum(kept) == 4 and data.validation.tolist() == kept
        assert data.contexts.tolist() == [0] * 6 + [1] * 6 + [0, 0, 1, 1]
        assert all("/test/" in path for path in data.x_test.paths)
        assert "the 4 of val are kept for validation" in data.note

    def test_an_empty_folder_stands_for_a_class_that_a_task_lacks(self, tmp_path):
        class_folders(tmp_path / "2024-01", TWO)
        class_folders(tmp_path / "2024-02", {"ok": 5})
        (tmp_path / "2024-02" / "dent").mkdir()
        data = load_dataset(str(tmp_path), tmp_path, 0, 0)
        assert data.y[data.contexts == 1].unique().tolist() == [1]
        for image in (tmp_path / "2024-01" / "dent").iterdir():
            image.unlink()
        with pytest.raises(DataError, match=r"No task of .* has an image of the class dent"):
            load_dataset(str(tmp_path), tmp_path, 0, 0)

    def test_links_lead_to_no_other_task(self, tmp_path):
        for month in ("2024-01", "2024-02"):
            class_folders(tmp_path / month, TWO)
        (tmp_path / "2024-01" / "ok" / "other").symlink_to("../../2024-02")
        (tmp_path / "2024-01" / "ok" / "one.png").symlink_to("../../2024-02/ok/00.png")
        data = load_dataset(str(tmp_path), tmp_path, 0, 0)
        assert len(data.x) + len(data.x_test) == 21, "the link to a file counts, the one to a folder does not"

    @pytest.mark.parametrize("names", [("train", "valid"), ("Training", "Testing")])
    def test_splits_by_other_names_are_no_tasks(self, tmp_path, names):
        for name in names:
            class_folders(tmp_path / name, TWO)
        with pytest.raises(DataError, match=f"{names[0] if names[0] != 'Training' else 'Testing'} has the name of a "):
            load_dataset(str(tmp_path), tmp_path, 0, 0)


class TestTasksWithDifferentClasses:
    """Names that are numbered alike tell that folders are tasks, whatever classes these have."""

    def test_a_class_that_comes_later(self, tmp_path):
        class_folders(tmp_path / "photos" / "2024-01", TWO)
        class_folders(tmp_path / "photos" / "2024-02", TWO | {"rust": 5})
        class_folders(tmp_path / "photos" / "2024-03", {"rust": 5})
        data = load_dataset(str(tmp_path / "photos"), tmp_path, 0, 0)
        assert (data.class_names, data.task_names) == (("dent", "ok", "rust"), ("2024-01", "2024-02", "2024-03"))
        assert [sorted(set(data.y[data.contexts == task].tolist())) for task in range(3)] == [[0, 1], [0, 1, 2], [2]]
        own = "dent (2024-01, 2024-02); ok (2024-01, 2024-02); rust (2024-02, 2024-03)"
        assert f"in 3 tasks (2024-01, 2024-02, 2024-03), not all with the classes {own}, 8 x 8 pixels" in data.note

    def test_a_class_without_any_image_is_left_out(self, tmp_path):
        for month in ("2024-01", "2024-02"):
            class_folders(tmp_path / "photos" / month, {"dent": 5, "ant": 0, "ok": 5})
            (tmp_path / "photos" / month / "ant").mkdir()
        with pytest.warns(UserWarning, match="No task of .* has an image of the class ant, which is left out"):
            data = load_dataset(str(tmp_path / "photos"), tmp_path, 0, 0)
        assert data.class_names == ("dent", "ok") and data.y.unique().tolist() == [0, 1]
        assert "not all with" not in data.note

    def test_only_the_tasks_of_an_earlier_run(self, tmp_path):
        class_folders(tmp_path / "photos" / "2024-01", TWO)
        class_folders(tmp_path / "photos" / "2024-02", TWO)
        before = load_dataset(str(tmp_path / "photos"), tmp_path, 0, 0)
        class_folders(tmp_path / "photos" / "2024-03", {"rust": 5})
        data = image_folder(tmp_path / "photos", 0, 0, before.task_names)
        assert describe_data(data) == describe_data(before) and data.class_names == before.class_names


class TestOtherLayouts:
    @pytest.mark.parametrize(
        ("folders", "why"),
        [
            ({"north": TWO, "south": {"dent": 5, "ok": 5, "rust": 5}}, "south dent, ok, rust"),
            ({"north": TWO, "south": {"rust": 5, "bent": 5}}, "no image lies beside the folders dent, ok of north"),
            ({"week1": TWO, "week01": {"dent": 5, "rust": 5}}, "or number the tasks in their order"),
            ({"2024-01": TWO, "2024-02": TWO, "": {"more": 1}}, "more holds images, and other folders repeat dent"),
            ({"a/2024-01": TWO, "a/2024-02": TWO, "b/2024-01": TWO, "b/2024-02": TWO}, "a/2024-01 holds folders that"),
        ],
        ids=["other classes", "none shared", "a number twice", "images beside", "one level more"],
    )
    def test_are_one_sentence_with_both(self, tmp_path, folders, why):
        for name, counts in folders.items():
            class_folders(tmp_path / "photos" / name, counts)
        with pytest.raises(DataError, match=LAYOUTS) as e:
            load_dataset(str(tmp_path / "photos"), tmp_path, 0, 0)
        assert one_sentence(e.value) and why in str(e.value)

    def test_one_folder_more_in_each_class_is_no_task(self, tmp_path):
        for name in ("cat", "dog"):
            class_folders(tmp_path / name, {"images": 5})
        assert load_dataset(str(tmp_path), tmp_path, 0, 0).class_names == ("cat", "dog")


class TestSizes:
    def sizes(self, folder, *sizes):
        for number, size in enumerate(sizes):
            class_folders(folder / f"{number}", {"": 3}, size=size)
        return load_dataset(str(folder), folder, 0, 0)

    def test_small_images_of_one_size_keep_it(self, tmp_path):
        data = self.sizes(tmp_path / "photos", (16, 12), (16, 12))
        assert (data.sample_shape, every(data.x).shape[2:]) == ((3, 12, 16), (12, 16))
        assert data.note == "photos: 4 training and 2 test images of 2 classes (0, 1), 16 x 12 pixels"

    def test_others_are_brought_to_the_longest_side(self, tmp_path):
        data = self.sizes(tmp_path / "photos", (16, 12), (20, 10))
        assert data.sample_shape == (3, 20, 20)
        assert data.note.endswith("of 2 classes (0, 1), resized from 16 x 12 ... 20 x 10 to 20 x 20 pixels")

    def test_to_224_pixels_at_most(self, tmp_path):
        data = self.sizes(tmp_path / "photos", (300, 200), (300, 200))
        assert data.sample_shape == (3, 224, 224)
        assert data.note.endswith(", resized from 300 x 200 to 224 x 224 pixels")

    def test_an_option_decides(self, tmp_path):
        self.sizes(tmp_path / "photos", (16, 12), (16, 12))
        data = load_dataset(str(tmp_path / "photos"), tmp_path, 0, 8)
        assert data.sample_shape == (3, 8, 8)
        assert data.note.endswith(", brought to 8 x 8 pixels")

    def test_one_that_is_no_image_is_named(self, tmp_path):
        class_folders(tmp_path, {"cat": 3, "dog": 3})
        for folder in ("cat", "dog"):
            (tmp_path / folder / "00.png").write_bytes(b"no image")
        with pytest.raises(DataError, match=r"00\.png cannot be read"):
            load_dataset(str(tmp_path), tmp_path, 0, 0)


class TestSeveralFolders:
    def test_without_a_stream_of_tasks_are_told(self, tmp_path):
        with pytest.raises(DataError, match=r"names 2 data sets, which are the tasks of a stream; add --stream tasks"):
            DomainIncrementalSetting(dataset=f"{tmp_path / 'a'},{tmp_path / 'b.npz'}").open_stream()

    def test_are_the_tasks_of_a_stream_with_a_note_of_each(self, tmp_path):
        for name in ("a", "b"):
            class_folders(tmp_path / name, TWO)
        names = ",".join(str(tmp_path / name) for name in ("a", "b"))
        stream = DomainIncrementalSetting(dataset=names, stream="tasks").open_stream()
        assert [line.partition(":")[0] for line in stream.note.splitlines()] == ["a", "b"]
