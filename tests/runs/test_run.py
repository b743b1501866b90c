import csv
import json

import pytest
import yaml

from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.core.files import temporary_path
from redwood.methods.baselines import Finetune, Random
from redwood.runs.run import Run
from redwood.settings.results import Results
from tests.cli.command import RUN_FILES
from tests.small_runs import run_here, small_setting


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"precision": "8-bit"}, "--precision 8-bit is unknown; choose one of 32-true"),
        ({"wandb": "maybe"}, "--wandb maybe is unknown"),
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
        assert config == results.config
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
        with pytest.raises(RedwoodError, match=r"exists and is not empty; choose another folder, or .*--resume"):
            small_setting("class_incremental").apply(Random(), quiet=True, run_dir=str(folder))
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    def test_an_empty_folder_is_used(self, tmp_path):
        small_setting("traditional").apply(Random(), quiet=True, run_dir=str(tmp_path))
        assert (tmp_path / "results.json").exists()

    def test_a_folder_of_a_run_killed_before_it_wrote_anything_is_used(self, tmp_path):
        (tmp_path / "checkpoints").mkdir()
        for name in (".lock", temporary_path(tmp_path / "config.yaml").name):
            (tmp_path / name).touch()
        Run(run_dir=str(tmp_path)).refuse_used_directory()
        (tmp_path / "checkpoints" / "boundary.pt").touch()
        with pytest.raises(RedwoodError, match="exists and is not empty"):
            Run(run_dir=str(tmp_path)).refuse_used_directory()

    def test_of_two_runs_that_start_at_once_the_second_is_refused(self, tmp_path):
        first, second = (Run(run_dir=str(tmp_path / "run")) for _ in range(2))
        for run in (first, second):
            run.refuse_used_directory()
        first.create({})
        first.unlock()  # it may even have ended while the second one waited
        with pytest.raises(RedwoodError, match="exists and is not empty"):
            second.create({})

    def test_nothing_is_written_without_one(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        small_setting("class_incremental").apply(Finetune(), quiet=True)
        assert not list(tmp_path.iterdir())

    def test_it_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(RedwoodError, match="--run_dir"):
            small_setting("traditional").apply(Random(), quiet=True, run_dir=str(tmp_path / "file" / "run"))


class TestBoundary:
    def test_only_a_resumed_run_reads_it(self, tmp_path):
        state = {"next_phase": 1, "global_step": 7}
        run = Run(run_dir=str(tmp_path))
        run.create({})
        run.save_boundary(state)
        assert run.load_boundary() is None
        run.unlock()
        resumed = Run(run_dir=str(tmp_path), resume=True)
        assert resumed.load_boundary() == state
        assert resumed.fingerprint.identity == run.fingerprint.identity

    def test_it_drops_the_checkpoint_inside_the_phase_before(self, tmp_path):
        run = Run(run_dir=str(tmp_path))
        run.create({})
        for phase in (0, 1):
            run.checkpoint_path(phase).write_bytes(b"")
        run.save_boundary({"next_phase": 1})
        assert [run.checkpoint_path(phase).exists() for phase in (0, 1)] == [False, True]

    def test_it_drops_all_that_belongs_to_it(self, tmp_path):
        """The folder of a shared buffer, and what a save that was cut short has left."""
        run = Run(run_dir=str(tmp_path))
        run.create({})
        for phase in (0, 1):
            path = run.checkpoint_path(phase)
            folder = path.with_name(f"{path.name}.rehearsal") / "token"
            folder.mkdir(parents=True)
            for file in (path, folder / "rows", path.with_name(f"{path.name}.token.pending")):
                file.write_bytes(b"")
        run.save_boundary({"next_phase": 1})
        left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
        name = "inside-phase-001.ckpt"
        assert left == ["boundary.pt", name, f"{name}.rehearsal", f"{name}.token.pending"]
        assert (tmp_path / "checkpoints" / f"{name}.rehearsal" / "token" / "rows").exists()

    def test_a_resumed_run_removes_what_a_killed_one_has_left(self, tmp_path):
        """Files that were being written, and the checkpoint inside a phase whose end was saved just before."""
        run = Run(run_dir=str(tmp_path))
        run.create({})
        run.save_boundary({"next_phase": 1, "global_step": 7})
        run.checkpoint_path(0).touch()
        for path in (tmp_path / "accuracy_curve.png", tmp_path / "metrics.csv", run.checkpoint_path(1)):
            temporary_path(path).touch()
        run.unlock()
        resumed = Run(run_dir=str(tmp_path), resume=True)
        resumed.load_boundary()
        resumed.unlock()
        files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
        assert files == {"config.yaml", "checkpoints/boundary.pt"}

    def test_a_damaged_file(self, tmp_path):
        run = Run(run_dir=str(tmp_path), resume=True)
        run.create({})
        assert run.load_boundary() is None
        (tmp_path / "checkpoints" / "boundary.pt").write_bytes(b"PK\x03\x04 cut short")
        with pytest.raises(RedwoodError, match=r"is damaged .*; start the run anew"):
            run.load_boundary()
