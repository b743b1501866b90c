import csv
import json

import pytest
import yaml

from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.engine.run import Run
from redwood.methods.baselines import Finetune, Random
from redwood.settings.scores.results import Results
from tests.cli.command import RUN_FILES
from tests.small_runs import run_here, small_setting


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"precision": "8-bit"}, "--precision 8-bit is unknown; choose one of 32-true"),
        ({"wandb": "maybe"}, "--wandb maybe is unknown"),
        ({"keep_checkpoints": "first"}, "--keep_checkpoints first is unknown; choose one of last, all"),
        ({"logger": "csv,tensorbord"}, "--logger 'tensorbord' is unknown; choose from csv, tensorboard, mlflow"),
        ({"logger": ""}, "--logger '' is unknown"),
        ({"logger": "csv,wandb"}, "--logger wandb has an option of its own; give --wandb online"),
        ({"nodes": 0}, "--nodes 0 has to be at least 1"),
        ({"threads": -1}, "--threads -1"),
        ({"checkpoint_every": -1}, "--checkpoint_every -1"),
        ({"devices": "all"}, "--devices all has to be auto, a number of devices, or device numbers"),
    ],
)
def test_options_out_of_range(options, sentence):
    with pytest.raises(InvalidOptionError, match=sentence):
        Run(**options)


class TestRunDirectory:
    @pytest.fixture(scope="class")
    @classmethod
    def written(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("runs") / "new" / "run"
        results = run_here(
            small_setting("class_incremental", passes=15), Finetune(), run_dir=str(folder), checkpoint_every=5
        )
        return folder, results

    def test_files(self, written):
        folder, _ = written
        assert {path.name for path in folder.iterdir()} == RUN_FILES
        assert [path.name for path in (folder / "checkpoints").iterdir()] == ["boundary.pt"]

    def test_results(self, written):
        folder, results = written
        assert Results.load(folder / "results.json").to_dict() == json.loads(json.dumps(results.to_dict()))

    def test_config(self, written):
        folder, results = written
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config == {"format": 2} | results.config
        assert (config["setting"], config["method"], config["passes"]) == ("class_incremental", "finetune", 15)

    def test_metrics(self, written):
        folder, results = written
        with (folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        evaluated = [row for row in rows if row["phase"]]
        assert [[float(row[f"accuracy/task_{task}"]) for task in range(3)] for row in evaluated] == (
            results.accuracy_matrix
        )
        steps = [int(row["step"]) for row in rows]
        assert steps == sorted(steps)
        assert steps[-1] == 15 * sum(len(phase.train) for phase in small_setting("class_incremental").phases())
        assert all(0 < float(row["loss"]) < 5 for row in rows if not row["phase"])
        assert len(rows) == 9, "a loss each fifty steps, and for each phase its last one and a row of accuracies"

    def test_another_run_does_not_overwrite_it(self, written):
        folder, _ = written
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with pytest.raises(RedwoodError, match=r"exists and is not empty; choose another folder, or .*resume"):
            small_setting("class_incremental").apply(Random(), quiet=True, run_dir=str(folder))
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    def test_an_empty_folder_is_used(self, tmp_path):
        small_setting("traditional").apply(Random(), quiet=True, run_dir=str(tmp_path))
        assert (tmp_path / "results.json").exists()

    def test_nothing_is_written_without_one(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        small_setting("class_incremental").apply(Finetune(), quiet=True)
        assert not list(tmp_path.iterdir())

    def test_it_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(RedwoodError, match="--run_dir"):
            small_setting("traditional").apply(Random(), quiet=True, run_dir=str(tmp_path / "file" / "run"))
