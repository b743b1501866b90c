import subprocess
import sys

import numpy as np
import torch
from sklearn.datasets import load_digits

from redwood.settings.data import image_sets
from redwood.settings.data.catalog import load_dataset


def test_digits_are_the_original_images_and_labels(tmp_path):
    data = load_dataset("digits", tmp_path, seed=0, image_size=0)
    assert (data.x.dtype, data.x.shape, data.x_test.shape) == (torch.uint8, (1437, 1, 8, 8), (360, 1, 8, 8))
    assert (data.n_classes, data.max_value) == (10, 16)
    bunch = load_digits()
    wanted = sorted(
        (image.tobytes(), label) for image, label in zip(bunch.images.astype(np.uint8), bunch.target, strict=True)
    )
    pairs = zip(torch.cat([data.x, data.x_test]).numpy(), torch.cat([data.y, data.y_test]).tolist(), strict=True)
    assert sorted((image.tobytes(), label) for image, label in pairs) == wanted


def test_digits_come_from_scikit_learn_itself_where_its_file_lies_elsewhere(tmp_path, monkeypatch):
    data = load_dataset("digits", tmp_path, seed=0, image_size=0)
    monkeypatch.setattr(image_sets, "find_spec", lambda name: None)
    other = load_dataset("digits", tmp_path, seed=0, image_size=0)
    for leaf in ("x", "y", "x_test", "y_test"):
        assert torch.equal(getattr(data, leaf), getattr(other, leaf))


def test_loading_digits_imports_no_library_that_takes_half_a_second():
    code = (
        "import sys, pathlib; from redwood.settings.data.catalog import load_dataset; "
        "load_dataset('digits', pathlib.Path(), 0, 0); print({'sklearn', 'scipy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "set()\n"


def test_test_split_is_stratified_and_drawn_by_the_seed(tmp_path):
    first, again, other = (load_dataset("digits", tmp_path, seed, 0) for seed in (0, 0, 1))
    share = torch.bincount(first.y_test) / torch.bincount(torch.cat([first.y, first.y_test]))
    assert torch.allclose(share, torch.full((10,), 0.2), atol=0.01)
    assert torch.equal(first.x_test, again.x_test)
    assert not torch.equal(first.x_test, other.x_test)
