"""COCO and NUS-WIDE, in tiny folders of the published form."""

import json

import pytest
import torch
from PIL import Image

from redwood.cli import main
from redwood.core.errors import DataError
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import ClassIncrementalSetting, Images
from redwood.settings.data.catalog import load_dataset
from tests.cli.command import assert_one_sentence
from tests.small_runs import run_here

# Labels of each image; the categories of COCO have gaps in their numbers.
TRAIN = [{1}, {1, 44}, {44}, set(), {1, 90}, {44}]
TEST = [{90}, {1, 44}, {1, 7}]
NAMES = {1: "person", 7: "train", 44: "bottle", 90: "toothbrush"}


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (value, 0, 0)).save(path)


@pytest.fixture
def coco(tmp_path):
    root = tmp_path / "coco"
    for split, images in (("train2017", TRAIN), ("val2017", TEST)):
        pairs = [(number, label) for number, labels in enumerate(images) for label in labels]
        content = {
            "images": [{"id": 100 + i, "file_name": f"{i:012d}.png"} for i in range(len(images))],
            "annotations": [{"image_id": 100 + i, "category_id": label} for i, label in pairs * 2],
            "categories": [{"id": label, "name": name} for label, name in NAMES.items()],
        }
        for i in range(len(images)):
            save(root / split / f"{i:012d}.png", 10 * i)
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def nus_wide(tmp_path):
    labels = tmp_path / "Groundtruth" / "TrainTestLabels"
    labels.mkdir(parents=True)
    (tmp_path / "ImageList").mkdir()
    for split, images in (("Train", TRAIN), ("Test", TEST)):
        files = [f"sky\\{split}_{i}.jpg" for i in range(len(images))]
        (tmp_path / "ImageList" / f"{split}Imagelist.txt").write_text("".join(f"{file} \r\n" for file in files))
        for number, name in NAMES.items():
            lines = [str(int(number in one)) for one in images]
            (labels / f"Labels_{name}_{split}.txt").write_text("\n".join(lines))
        for i in range(len(images)):
            save(tmp_path / "Flickr" / "sky" / f"{split}_{i}.jpg", 10 * i)
    return tmp_path


class TestCoco:
    def test_published_layout(self, coco):
        data = load_dataset("coco", coco, seed=0, image_size=0)
        assert data.x.shape == (6, 3, 224, 224) and data.x_test.shape == (3, 3, 224, 224)
        # Category 7 is in no training image.
        assert data.y.tolist() == [[label in labels for label in (1, 44, 90)] for labels in TRAIN]
        assert data.y_test.tolist() == [[label in labels for label in (1, 44, 90)] for labels in TEST]
        assert data.x[torch.tensor([3])][0, 0].unique().tolist() == [30]

    def test_a_list_that_is_cut_short(self, coco):
        path = coco / "coco" / "annotations" / "instances_val2017.json"
        path.write_text(path.read_text()[:50])
        with pytest.raises(DataError, match="no list of COCO's instances"):
            load_dataset("coco", coco, seed=0, image_size=0)

    def test_an_annotation_of_no_image(self, coco):
        path = coco / "coco" / "annotations" / "instances_val2017.json"
        content = json.loads(path.read_text())
        content["annotations"][0]["image_id"] = 5
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match="no list of COCO's instances"):
            load_dataset("coco", coco, seed=0, image_size=0)

    def test_it_trains(self, coco):
        setting = ClassIncrementalSetting(
            dataset=Images("coco", image_size=8), data_dir=str(coco), nb_tasks=1, passes=1, batch_size=4
        )
        results = run_here(setting, Rehearsal(buffer_policy="partitioning", buffer_size=3))
        assert results.dataset == "coco" and results.metrics["map"] is not None


class TestNusWide:
    def test_published_layout(self, nus_wide):
        data = load_dataset("nus_wide", nus_wide, seed=0, image_size=16)
        assert data.x.shape == (6, 3, 16, 16)
        # In the order of the names: bottle, person, toothbrush; no training image has the label train.
        assert data.y.tolist() == [[label in labels for label in (44, 1, 90)] for labels in TRAIN]
        assert data.y_test.tolist() == [[label in labels for label in (44, 1, 90)] for labels in TEST]
        assert int(data.x_test[torch.tensor([2])][0, 0].float().mean().round()) == pytest.approx(20, abs=2)

    @pytest.mark.parametrize("text", ["1\n0", "1\n2\n0", None])
    def test_labels_that_do_not_fit_the_images(self, nus_wide, text):
        path = nus_wide / "Groundtruth" / "TrainTestLabels" / "Labels_person_Test.txt"
        path.unlink() if text is None else path.write_text(text)
        with pytest.raises(DataError, match="needs one line, 0 or 1, for each of 3 images"):
            load_dataset("nus_wide", nus_wide, seed=0, image_size=0)


@pytest.mark.parametrize(("key", "missing"), [("coco", "train2017"), ("nus_wide", "Flickr")])
def test_missing_data_is_one_sentence_that_says_what_to_put_where(key, missing, tmp_path, capsys):
    arguments = ["--setting", "class_incremental", "--method", "finetune", "--run_dir", str(tmp_path / "run")]
    assert main([*arguments, "--dataset", key, "--data_dir", str(tmp_path)]) == 2
    sentence = capsys.readouterr().err
    assert_one_sentence(sentence)
    assert f"{tmp_path / missing} is missing: put the folders" in sentence and "--data_dir" in sentence
