"""`predict`: the table that is written, and what is printed."""

import csv
import os

import numpy as np
import pytest
import torch
from PIL import Image

import redwood
from redwood.branches.streaming.ncm import NCM
from redwood.cli import main
from redwood.methods.baselines import Finetune, Random
from redwood.settings.data.dataset import Dataset
from tests.cli.command import assert_one_sentence
from tests.experiments.report.made import made_results, made_run
from tests.experiments.trained.answers import SAMPLES
from tests.label_sets import few_label_sets
from tests.regression import line
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
DATA = few_digits(n_test=200)


def train(folder, method=None, setting="class_incremental", names=(), **options):
    data = DATA
    if names:
        data = Dataset("named", data.x, data.y, data.x_test, data.y_test, max_value=16, class_names=tuple(names))
    learner = method or Finetune()
    run_here(small_setting(setting, **{"dataset": data} | options), learner, run_dir=str(folder))
    return learner


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict") / "run"
    return folder, train(folder).predict(SAMPLES, None)


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict") / "run"
    return folder, train(folder, names=NAMES).predict(SAMPLES, None)


def predicted(run, dataset, out, *options):
    """The rows of the table."""
    arguments = ["predict", str(run), "--dataset", str(dataset), "--out", str(out), "--accelerator", "cpu"]
    assert main([*arguments, *options]) == 0
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def saved(path, **arrays):
    np.savez(path, **{name: np.asarray(array) for name, array in arrays.items()})
    return path


def percentage(right):
    return f"accuracy {100 * right.float().mean():.2f} %"


class TestFiles:
    def test_images_of_one_channel_may_be_without_it(self, finished, tmp_path):
        run, scores = finished
        rows = predicted(run, saved(tmp_path / "new.npz", x=SAMPLES[:, 0]), tmp_path / "out.csv")
        assert [int(row["class"]) for row in rows] == scores.argmax(1).tolist()

    def test_samples_without_labels(self, finished, tmp_path, capsys):
        run, scores = finished
        rows = predicted(run, saved(tmp_path / "new.npz", x=SAMPLES), tmp_path / "out.csv")
        assert [row["sample"] for row in rows] == [str(number) for number in range(len(SAMPLES))]
        assert [int(row["class"]) for row in rows] == scores.argmax(1).tolist()
        best = scores.softmax(1).max(1).values.tolist()
        assert [float(row["probability"]) for row in rows] == pytest.approx(best, rel=1e-5)
        assert capsys.readouterr().out == f"200 predictions in {tmp_path / 'out.csv'}\n"

    def test_the_whole_path_is_told_and_that_a_table_is_replaced(self, finished, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        command = ["predict", str(finished[0]), "--dataset", str(saved(tmp_path / "new.npz", x=SAMPLES[:3]))]
        for told in ("", " in the place of an earlier table"):
            assert main([*command, "--accelerator", "cpu"]) == 0
            assert capsys.readouterr().out == f"3 predictions in {tmp_path / 'predictions.csv'}{told}\n"

    def test_labels_give_an_accuracy(self, finished, tmp_path, capsys):
        run, scores = finished
        predicted(run, saved(tmp_path / "new.npz", x=SAMPLES, y=DATA.y_test), tmp_path / "out.csv")
        assert percentage(scores.argmax(1) == DATA.y_test) in capsys.readouterr().out

    def test_labels_are_compared_by_the_names_of_their_classes(self, named, tmp_path, capsys):
        """The file numbers its classes in another order."""
        run, scores = named
        path = saved(tmp_path / "new.npz", x=SAMPLES, y=9 - DATA.y_test, class_names=NAMES[::-1])
        rows = predicted(run, path, tmp_path / "out.csv")
        assert [row["class"] for row in rows] == [NAMES[output] for output in scores.argmax(1).tolist()]
        assert percentage(scores.argmax(1) == DATA.y_test) in capsys.readouterr().out

    def test_labels_that_the_model_does_not_know(self, named, tmp_path, capsys):
        run, _ = named
        predicted(run, saved(tmp_path / "new.npz", x=SAMPLES, y=DATA.y_test), tmp_path / "out.csv")
        assert "no label is the name of a class of the model" in capsys.readouterr().out

    def test_all_scores(self, named, tmp_path):
        run, scores = named
        rows = predicted(run, saved(tmp_path / "new.npz", x=SAMPLES), tmp_path / "out.csv", "--scores")
        found = [[float(row[f"score of {name}"]) for name in NAMES] for row in rows]
        np.testing.assert_allclose(found, scores.numpy(), rtol=1e-5)

    def test_one_sample_and_a_floating_type(self, finished, tmp_path):
        run, scores = finished
        path = saved(tmp_path / "new.npz", x=SAMPLES[:1].long())
        assert int(predicted(run, path, tmp_path / "out.csv")[0]["class"]) == scores[0].argmax()

    def test_more_samples_than_fit_into_a_batch(self, finished, tmp_path):
        run, scores = finished
        rows = predicted(run, saved(tmp_path / "new.npz", x=SAMPLES.repeat(6, 1, 1, 1)), tmp_path / "out.csv")
        assert [int(row["class"]) for row in rows] == scores.argmax(1).tolist() * 6


@pytest.mark.parametrize(
    "text",
    ["{}", "sample,class\r\n0.png,3\r\n", '"sample","class"\n"0.png","3"\n', ""],
    ids=["json", "csv", "quoted", "empty"],
)
def test_only_a_table_of_predictions_is_written_over(finished, tmp_path, capsys, text):
    """Not the results of the run, either, nor somebody's labels under the same headings."""
    run, _ = finished
    path = saved(tmp_path / "new.npz", x=SAMPLES[:3])
    out = tmp_path / "out"
    out.write_text(text, newline="")
    assert main(["predict", str(run), "--dataset", str(path), "--out", str(out), "--accelerator", "cpu"]) == 2
    told = capsys.readouterr().err
    assert_one_sentence(told)
    assert f"--out {out} was not written by this command" in told
    assert out.read_bytes() == text.encode()
    out.unlink()
    for _ in range(2):
        assert len(predicted(run, path, out)) == 3


class TestTables:
    @pytest.fixture(scope="class")
    @classmethod
    def table(cls, tmp_path_factory):
        """A table, a run on it, and the classes that it predicts for all rows."""
        pandas = pytest.importorskip("pandas")
        folder = tmp_path_factory.mktemp("table")
        random = np.random.default_rng(0)
        frame = pandas.DataFrame(random.normal(size=(120, 3)), columns=["a", "b", "c"])
        frame["kind"] = np.where(frame.a > 0, "high", "low")
        frame["month"] = np.arange(120) // 40
        frame["shop"] = np.array(["north", "south"])[np.arange(120) % 2]
        frame.to_csv(folder / "data.csv", index=False)
        options = [
            "--dataset",
            str(folder / "data.csv"),
            "--target_column",
            "kind",
            "--task_column",
            "month",
            "--quiet",
        ]
        pair = ["--setting", "continual", "--method", "finetune", "--run_dir", str(folder / "run"), "--passes", "1"]
        assert main([*pair, *options, "--accelerator", "cpu"]) == 0
        shops = np.stack([frame.shop == "north", frame.shop == "south"], 1)
        x = torch.from_numpy(np.concatenate([frame[["a", "b", "c"]], shops], 1).astype(np.float32))
        model = redwood.load(folder / "run", device="cpu")
        return frame, folder / "run", [model.class_names[output] for output in model.predict(x).tolist()]

    @pytest.mark.parametrize("left_out", [[], ["month"], ["kind", "month"]])
    def test_target_and_task_may_be_missing(self, table, tmp_path, capsys, left_out):
        frame, run, wanted = table
        frame.drop(columns=left_out).to_csv(tmp_path / "new.csv", index=False)
        rows = predicted(run, tmp_path / "new.csv", tmp_path / "out.csv")
        assert [row["class"] for row in rows] == wanted
        right = torch.tensor([own == label for own, label in zip(wanted, frame.kind, strict=True)])
        assert (percentage(right) in capsys.readouterr().out) is ("kind" not in left_out)

    def test_columns_may_stand_in_another_order_and_texts_may_be_missing(self, table, tmp_path):
        frame, run, wanted = table
        frame[["shop", "c", "a", "b"]].iloc[::2].to_csv(tmp_path / "new.csv", index=False)
        rows = predicted(run, tmp_path / "new.csv", tmp_path / "out.csv")
        assert [row["class"] for row in rows] == wanted[::2]

    def test_refusals(self, table, tmp_path, capsys):
        frame, run, _ = table
        frame.assign(colour="red").to_csv(tmp_path / "more.csv", index=False)
        frame.assign(shop="west").to_csv(tmp_path / "texts.csv", index=False)
        frame[["a", "kind"]].to_csv(tmp_path / "few.csv", index=False)
        frame.assign(b=frame.b.where(frame.index != 5)).to_csv(tmp_path / "gap.csv", index=False)
        for name, sentence in [
            ("more", "has a column colour of texts, unlike the data of the run; give it the same columns"),
            ("texts", "the column shop holds 'west', which the data of the run did not; leave these rows out"),
            ("few", "lacks the column b, unlike the data of the run; give it the same columns"),
            ("gap", "the column b has no value in 1 of 120 rows (counted from 0: 5)"),
        ]:
            assert main(["predict", str(run), "--dataset", str(tmp_path / f"{name}.csv")]) == 2
            said = capsys.readouterr().err
            assert_one_sentence(said)
            assert sentence in said

    def test_a_data_frame_is_predicted_in_python_too(self, table):
        frame, run, wanted = table
        model = redwood.load(run, device="cpu")
        shuffled = frame[["shop", "c", "b", "a", "kind"]]
        assert [model.class_names[output] for output in model.predict(shuffled).tolist()] == wanted
        assert model.predict_proba(shuffled.drop(columns="kind")).argmax(1).equal(model.predict(shuffled))


class TestImages:
    @pytest.fixture
    def images(self, tmp_path):
        """Test digits as grey files of other sizes, in folders with the names of their classes."""
        for number, (image, label) in enumerate(zip(SAMPLES[:30], DATA.y_test[:30].tolist(), strict=True)):
            path = tmp_path / "images" / NAMES[label] / "deep" / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).convert("RGB" if number % 2 else "L").save(path)
        (tmp_path / "images" / "notes.txt").write_text("no image")
        return tmp_path / "images"

    def test_one_image(self, named, images, tmp_path, capsys):
        run, scores = named
        (path,) = images.glob("*/deep/00.png")
        (row,) = predicted(run, path, tmp_path / "out.csv")
        assert (row["sample"], row["class"]) == ("00.png", NAMES[int(scores[0].argmax())])
        assert main(["predict", str(run), "--dataset", str(tmp_path / "missing.png")]) == 2
        assert "missing.png names no image file that is there" in capsys.readouterr().err

    def test_rows_by_file_and_an_accuracy_by_folder(self, named, images, tmp_path, capsys):
        run, scores = named
        rows = predicted(run, images, tmp_path / "out.csv")
        assert sorted(row["sample"] for row in rows) == [row["sample"] for row in rows]
        by_number = {int(row["sample"][-6:-4]): row["class"] for row in rows}
        best = scores[:30].argmax(1)
        assert [by_number[number] for number in range(30)] == [NAMES[output] for output in best.tolist()]
        assert percentage(best == DATA.y_test[:30]) in capsys.readouterr().out

    def test_a_loop_and_a_pipe_add_no_rows(self, named, images, tmp_path):
        (images / "one" / "deep" / "loop").symlink_to("../..")
        os.mkfifo(images / "one" / "pipe.png")
        assert len(predicted(named[0], images, tmp_path / "out.csv")) == 30

    def test_without_class_folders(self, named, images, tmp_path, capsys):
        run, _ = named
        assert len(predicted(run, images / "one" / "deep", tmp_path / "out.csv")) == 1
        assert "accuracy" not in capsys.readouterr().out

    def test_refusals(self, named, images, tmp_path, capsys):
        run, _ = named
        (tmp_path / "empty").mkdir()
        (images / "one" / "broken.png").write_bytes(b"no image")
        vectors = tmp_path / "vectors"
        train(vectors, Finetune(), "continual", dataset=line())
        cases = [(run, tmp_path / "empty", "no image"), (run, images, "broken.png"), (vectors, images, "takes samples")]
        for model, folder, sentence in cases:
            assert main(["predict", str(model), "--dataset", str(folder), "--out", str(tmp_path / "x.csv")]) == 2
            said = capsys.readouterr().err
            assert_one_sentence(said)
            assert sentence in said and not (tmp_path / "x.csv").exists()


class TestOtherAnswers:
    def test_a_data_set_by_name(self, tmp_path, capsys):
        run_here(small_setting("class_incremental", dataset="digits"), Finetune(), run_dir=str(tmp_path / "run"))
        tested = predicted(tmp_path / "run", "digits", tmp_path / "out.csv")
        assert "accuracy" in capsys.readouterr().out
        trained = predicted(tmp_path / "run", "digits", tmp_path / "out.csv", "--split", "train")
        assert (len(tested), len(trained)) == (360, 1437)

    def test_scores_that_are_no_probabilities(self, tmp_path):
        learner = train(tmp_path / "run", NCM())
        rows = predicted(tmp_path / "run", saved(tmp_path / "new.npz", x=SAMPLES), tmp_path / "out.csv")
        best = learner.predict(SAMPLES, None).max(1).values.tolist()
        assert [float(row["score"]) for row in rows] == pytest.approx(best, rel=1e-5)

    def test_classes_without_scores(self, tmp_path, capsys):
        train(tmp_path / "run", Random())
        path = saved(tmp_path / "new.npz", x=SAMPLES)
        assert predicted(tmp_path / "run", path, tmp_path / "out.csv")[0].keys() == {"sample", "class"}
        assert main(["predict", str(tmp_path / "run"), "--dataset", str(path), "--scores"]) == 2
        assert "without scores" in capsys.readouterr().err

    def test_numbers(self, tmp_path, capsys):
        data = line(components=2)
        learner = train(tmp_path / "run", Finetune(), "continual", dataset=data)
        path = saved(tmp_path / "new.npz", x=data.x_test, y=data.y_test)
        rows = predicted(tmp_path / "run", path, tmp_path / "out.csv")
        wanted = learner.predict(data.x_test, None)
        found = [[float(row[f"prediction_{i}"]) for i in range(2)] for row in rows]
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5)
        assert f"RMSE {(wanted - data.y_test).square().mean().sqrt():.4g}" in capsys.readouterr().out

    def test_label_sets(self, tmp_path):
        data = few_label_sets(contexts=False)
        learner = train(tmp_path / "run", Finetune(), "continual", dataset=data)
        rows = predicted(
            tmp_path / "run", saved(tmp_path / "new.npz", x=data.x_test, y=data.y_test), tmp_path / "out.csv"
        )
        sets = [{int(label) for label in row["labels"].split("; ") if label} for row in rows]
        wanted = learner.predict(data.x_test, None) > 0
        assert sets == [set(row.nonzero().flatten().tolist()) for row in wanted]

    def test_task_ids(self, tmp_path, capsys):
        learner = train(tmp_path / "run", Finetune(), "task_incremental")
        path = saved(tmp_path / "new.npz", x=SAMPLES)
        rows = predicted(tmp_path / "run", path, tmp_path / "out.csv", "--task_id", "1")
        ids = torch.ones(len(SAMPLES), dtype=torch.long)
        assert [int(row["class"]) for row in rows] == learner.predict(SAMPLES, ids).argmax(1).tolist()
        ids = torch.arange(len(SAMPLES)) % 3
        rows = predicted(tmp_path / "run", saved(tmp_path / "ids.npz", x=SAMPLES, t=ids), tmp_path / "out.csv")
        assert [int(row["class"]) for row in rows] == learner.predict(SAMPLES, ids).argmax(1).tolist()
        assert main(["predict", str(tmp_path / "run"), "--dataset", str(path)]) == 2
        assert "give --task_id, from 0 to 2." in capsys.readouterr().err

    def test_outputs_that_tasks_share_have_no_accuracy_without_names(self, tmp_path, capsys):
        train(tmp_path / "run", Finetune(), "domain_incremental")
        predicted(tmp_path / "run", saved(tmp_path / "new.npz", x=SAMPLES, y=DATA.y_test), tmp_path / "out.csv")
        assert "without an accuracy" in capsys.readouterr().out

    def test_an_exported_run(self, finished, tmp_path):
        run, scores = finished
        assert main(["export", str(run), "--out", str(tmp_path / "exported")]) == 0
        rows = predicted(tmp_path / "exported", saved(tmp_path / "new.npz", x=SAMPLES), tmp_path / "out.csv")
        assert [int(row["class"]) for row in rows] == scores.argmax(1).tolist()


class TestRefusals:
    @pytest.mark.parametrize(
        ("arrays", "options", "sentence"),
        [
            ({"x": SAMPLES[:, 0, 0]}, [], "The model takes samples (n, 1, 8, 8)"),
            ({"x": SAMPLES.float() / 16}, [], "as they are stored"),
            ({"x": SAMPLES[:0]}, [], "no samples"),
            ({"images": SAMPLES}, [], "has no array 'x'"),
            ({"x": SAMPLES, "y": DATA.y_test[:5]}, [], "save as many of both"),
            ({"x": SAMPLES}, ["--task_id", "1"], "leave task_id out"),
            ({"x": SAMPLES}, ["--task_id", "-1"], "--task_id: -1 has to be at least 0"),
            ({"x": SAMPLES}, ["--split", "all"], "--split: invalid choice: 'all'"),
            ({"x": SAMPLES}, ["--seeds", "2"], "There is no option --seeds"),
            ({"x": SAMPLES}, ["--lr", "2"], "There is no option --lr"),
            ({"x": SAMPLES}, ["--out", "/no/such/folder/out.csv"], "cannot be written"),
        ],
    )
    def test_each_is_one_sentence(self, finished, tmp_path, capsys, arrays, options, sentence):
        path = saved(tmp_path / "new.npz", **arrays)
        out = [] if "--out" in options else ["--out", str(tmp_path / "out.csv")]
        assert main(["predict", str(finished[0]), "--dataset", str(path), *out, *options]) == 2
        said = capsys.readouterr().err
        assert_one_sentence(said)
        assert sentence in said
        assert [file.name for file in tmp_path.iterdir()] == ["new.npz"]

    def test_no_data_and_no_run(self, finished, tmp_path, capsys):
        for arguments, sentence in [
            ([str(finished[0])], "The following arguments are required: --dataset"),
            ([str(finished[0]), "--dataset", "missing.npz"], "does not exist"),
            ([str(tmp_path), "--dataset", "digits"], "no config.yaml"),
        ]:
            assert main(["predict", *arguments]) == 2
            said = capsys.readouterr().err
            assert_one_sentence(said)
            assert sentence in said

    @pytest.mark.parametrize("inside", ["", "best"])
    def test_of_several_runs_each_is_named(self, tmp_path, capsys, inside):
        for name in ("one", "the other"):
            made_run(tmp_path / inside / name, made_results())
        for command in ("predict", "extend"):
            assert main([command, str(tmp_path), "--dataset", "digits"]) == 2
            said = capsys.readouterr().err
            assert_one_sentence(said)
            assert f"name one: {tmp_path / inside / 'one'} or '{tmp_path / inside / 'the other'}'." in said
