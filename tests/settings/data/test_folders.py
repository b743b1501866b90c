import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from redwood.core.errors import DataError
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.folders import ImageFiles
from redwood.settings.data.paths import PathTable
from tests.images import class_folders, every, save


def sum_of(rows):
    return int(every(rows).sum())


class TestPathTable:
    def test_holds_any_paths_in_their_order(self):
        paths = ["/a/b.png", "/ä/\udce4 c.jpg", "", "/z"]
        table = PathTable(iter(paths))
        assert (len(table), list(table), table[1]) == (4, paths, paths[1])
        assert (len(PathTable([])), list(PathTable([]))) == (0, [])

    def test_little_memory(self):
        n_bytes = len(pickle.dumps(PathTable(f"/data/train/n01440764/{number:08d}.JPEG" for number in range(10_000))))
        assert n_bytes < 10_000 * 50


class TestImageFiles:
    def test_decodes_what_is_indexed_in_that_order(self, tmp_path):
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
        paths = [tmp_path / f"{i}.png" for i in range(20)]
        for path, image in zip(paths, pixels, strict=True):
            Image.fromarray(image).save(path)
        rows = ImageFiles(paths, 8)
        index = torch.tensor([3, 19, 3, 0])
        assert (rows.shape, rows.dtype, len(rows)) == ((20, 3, 8, 8), torch.uint8, 20)
        assert np.array_equal(rows[index].numpy(), pixels[index].transpose(0, 3, 1, 2))
        assert rows[torch.arange(0)].shape == (0, 3, 8, 8)

    def test_converts_to_rgb_and_resizes(self, tmp_path):
        modes = {"L": 7, "1": 1, "P": 7, "RGBA": (7, 7, 7, 0), "LA": (7, 0), "CMYK": (0, 0, 0, 0)}
        paths = [save(tmp_path / f"{m}.{'tif' if m == 'CMYK' else 'png'}", v, (5, 9), m) for m, v in modes.items()]
        images = every(ImageFiles(paths, 6))
        assert images.shape == (6, 3, 6, 6)
        assert [int(image.unique()) for image in images[[0, 1, 3, 4, 5]]] == [7, 255, 7, 7, 255]

    def test_large_photos_are_decoded_at_a_fraction_of_their_size(self, tmp_path):
        rng = np.random.default_rng(0)
        coarse = Image.fromarray(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8))
        coarse.resize((1280, 1024), Image.Resampling.BICUBIC).save(tmp_path / "photo.jpg", quality=95)
        with Image.open(tmp_path / "photo.jpg") as file:
            exact = np.asarray(file.resize((64, 64), Image.Resampling.BILINEAR)).transpose(2, 0, 1).astype(int)
        found = every(ImageFiles([tmp_path / "photo.jpg"], 64))[0].numpy()
        assert 0 < np.abs(found - exact).mean() < 1

    def test_unreadable_image_is_named(self, tmp_path):
        paths = [save(tmp_path / f"{i}.png", i) for i in range(3)]
        rows = ImageFiles(paths, 8)
        paths[1].write_bytes(paths[1].read_bytes()[:40])
        assert rows[torch.tensor([0, 2])].shape == (2, 3, 8, 8)
        with pytest.raises(DataError, match=r"1\.png cannot be read"):
            every(rows)
        paths[1].unlink()
        with pytest.raises(DataError, match=r"1\.png cannot be read"):
            every(rows)

    def test_works_in_a_spawned_process_after_use_in_this_one(self, tmp_path):
        rows = ImageFiles([save(tmp_path / f"{i}.png", i) for i in range(3)], 8)
        wanted = sum_of(rows)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply_async(sum_of, (rows,)).get(timeout=60) == wanted

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_inherited_by_a_fork_it_starts_threads_of_its_own(self, tmp_path):
        rows = ImageFiles([save(tmp_path / f"{i}.png", i) for i in range(3)], 8)
        wanted = sum_of(rows)
        process = multiprocessing.get_context("fork").Process(target=lambda: os._exit(sum_of(rows) != wanted))
        process.start()
        process.join(timeout=30)
        try:
            assert process.exitcode == 0
        finally:
            process.kill()


class TestTinyImagenet:
    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "tiny-imagenet-200"
        for label, wnid in enumerate(("n01443537", "n01629819", "n04099429")):
            for number in range(2):
                save(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", (60 * label,) * 3, (64, 64))
            (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        lines = ["val_0.JPEG\tn04099429\t0\t32\t44\t62", "val_1.JPEG\tn01443537\t52\t55\t57\t59"]
        (root / "val").mkdir()
        (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
        for number, grey in enumerate((120, 0)):
            save(root / "val" / "images" / f"val_{number}.JPEG", (grey,) * 3, (64, 64))
        save(root / "test" / "images" / "test_0.JPEG", 0, (64, 64))
        return root

    def test_published_layout(self, root):
        for folder in (root, root.parent):
            data = load_dataset("tiny_imagenet", folder, 0, 0)
            assert data.sample_shape == (3, 64, 64)
            assert (data.y.tolist(), data.y_test.tolist()) == ([0, 0, 1, 1, 2, 2], [2, 0])
            assert torch.equal(every(data.x)[:, 0, 0, 0].long(), 60 * data.y)
            assert torch.equal(every(data.x_test)[:, 0, 0, 0].long(), 60 * data.y_test)

    def test_image_size(self, root):
        assert load_dataset("tiny_imagenet", root, 0, 32).sample_shape == (3, 32, 32)

    def test_says_what_to_put_where(self, root, tmp_path):
        (root / "val" / "val_annotations.txt").unlink()
        for folder in (root, tmp_path / "none"):
            with pytest.raises(DataError, match=r"unpack tiny-imagenet-200\.zip there.*--data_dir"):
                load_dataset("tiny_imagenet", folder, 0, 0)

    def test_unknown_class_in_the_annotations(self, root):
        (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn00000000\t0\t32\t44\t62\n")
        with pytest.raises(DataError, match="names a class that is not in"):
            load_dataset("tiny_imagenet", root, 0, 0)


class TestCore50:
    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "core50_128x128"
        for session in range(1, 12):
            for thing in range(1, 51):
                value = (session, thing, 0)
                save(root / f"s{session}" / f"o{thing}" / f"C_{session:02d}_{thing:02d}_000.png", value, (4, 4))
        return root

    def test_published_layout(self, root):
        data = load_dataset("core50", root.parent, 0, 4)
        assert (len(data.x), len(data.x_test), data.n_classes) == (8 * 50, 3 * 50, 50)
        x, x_test = every(data.x)[:, :2, 0, 0].long(), every(data.x_test)[:, :2, 0, 0].long()
        assert set(x[:, 0].tolist()) == {1, 2, 4, 5, 6, 8, 9, 11}
        assert set(x_test[:, 0].tolist()) == {3, 7, 10}
        assert torch.equal(x[:, 1] - 1, data.y)
        assert torch.equal(x_test[:, 1] - 1, data.y_test)
        assert load_dataset("core50", root, 0, 0).sample_shape == (3, 128, 128)

    def test_says_what_is_missing(self, root):
        (root / "s4" / "o7" / "C_04_07_000.png").unlink()
        (root / "s4" / "o7").rmdir()
        with pytest.raises(DataError, match=r"s4/o7 is missing: unpack core50_128x128\.zip"):
            load_dataset("core50", root, 0, 0)


class TestOmniglot:
    def test_characters_of_all_alphabets_follow_each_other(self, tmp_path):
        for part, alphabets in (("background", ("Greek", "Latin")), ("evaluation", ("Runes", "Ogham"))):
            for alphabet in alphabets:
                class_folders(tmp_path / "omniglot-py" / f"images_{part}" / alphabet, {"a": 5, "b": 5, "c": 5})
        for folder in (tmp_path, tmp_path / "omniglot-py"):
            data = load_dataset("omniglot", folder, 0, 0)
            assert (data.n_classes, data.sample_shape, data.x.dtype) == (12, (1, 28, 28), torch.uint8)
            assert torch.bincount(data.y).tolist() == [4] * 12
            assert torch.bincount(data.y_test).tolist() == [1] * 12

    def test_what_is_missing_is_named(self, tmp_path):
        (tmp_path / "omniglot-py" / "images_background").mkdir(parents=True)
        with pytest.raises(DataError, match=r"images_evaluation is missing: unpack images_background.zip and"):
            load_dataset("omniglot", tmp_path, 0, 0)


class TestTieredImageNet:
    def test_each_part_has_classes_of_its_own(self, tmp_path):
        for part, count in (("train", 4), ("val", 2)):
            names = {f"{part}{label}": 5 for label in range(count)}
            class_folders(tmp_path / "tiered_imagenet" / part, names, ".jpg")
        train, val = (load_dataset(f"tiered_imagenet:{part}", tmp_path, 0, 0) for part in ("train", "val"))
        assert (train.n_classes, val.n_classes, train.sample_shape) == (4, 2, (3, 84, 84))
        assert load_dataset("tiered_imagenet:val", tmp_path, 0, 16).sample_shape == (3, 16, 16)
        with pytest.raises(DataError, match=r"tiered_imagenet:test is not .*unpack the class folders there"):
            load_dataset("tiered_imagenet:test", tmp_path, 0, 0)
