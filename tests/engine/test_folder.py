import pytest

from redwood.core.errors import RedwoodError
from redwood.core.files import temporary_path
from redwood.engine import folder as folder_module
from redwood.engine.checkpoints import read_checkpoint
from redwood.engine.folder import RunFolder


def new(path):
    return RunFolder(path, resume=False, options_file="config.yaml")


def resumed_run(path):
    return RunFolder(path, resume=True, options_file="config.yaml")


def interrupt(*paths):
    raise KeyboardInterrupt


class TestUsed:
    def test_a_folder_of_a_run_killed_before_it_wrote_anything_is_used(self, tmp_path):
        (tmp_path / "checkpoints").mkdir()
        for name in (".lock", temporary_path(tmp_path / "config.yaml").name):
            (tmp_path / name).touch()
        new(tmp_path).refuse_used()
        (tmp_path / "checkpoints" / "boundary.pt").touch()
        with pytest.raises(RedwoodError, match="exists and is not empty"):
            new(tmp_path).refuse_used()

    def test_of_two_runs_that_start_at_once_the_second_is_refused(self, tmp_path):
        first, second = (new(tmp_path / "run") for _ in range(2))
        for run in (first, second):
            run.refuse_used()
        first.create({})
        first.unlock()  # it may even have ended while the second one waited
        with pytest.raises(RedwoodError, match="exists and is not empty"):
            second.create({})


class TestBoundary:
    def test_only_a_resumed_run_reads_it(self, tmp_path):
        state = {"next_phase": 1, "global_step": 7}
        run = new(tmp_path)
        run.create({})
        run.save(state, 1, "")
        assert run.load() is None
        run.unlock()
        resumed = resumed_run(tmp_path)
        assert resumed.load() == state
        assert resumed.fingerprint.identity == run.fingerprint.identity

    def test_it_drops_the_checkpoint_inside_the_phase_before(self, tmp_path):
        run = new(tmp_path)
        run.create({})
        for phase in (0, 1):
            run.inside_phase(phase).write_bytes(b"")
        run.save({}, 1, "")
        assert [run.inside_phase(phase).exists() for phase in (0, 1)] == [False, True]

    def test_it_drops_all_that_belongs_to_it(self, tmp_path):
        """The folder of a shared buffer, and what a save that was cut short has left."""
        run = new(tmp_path)
        run.create({})
        for phase in (0, 1):
            path = run.inside_phase(phase)
            folder = path.with_name(f"{path.name}.rehearsal") / "token"
            folder.mkdir(parents=True)
            for file in (path, folder / "rows", path.with_name(f"{path.name}.token.pending")):
                file.write_bytes(b"")
        run.save({}, 1, "")
        left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
        name = "inside-phase-001.ckpt"
        assert left == ["boundary.pt", name, f"{name}.rehearsal", f"{name}.token.pending"]
        assert (tmp_path / "checkpoints" / f"{name}.rehearsal" / "token" / "rows").exists()

    def test_a_resumed_run_removes_what_a_killed_one_has_left(self, tmp_path):
        """Files that were being written, and the checkpoint inside a phase whose end was saved just before."""
        run = new(tmp_path)
        run.create({})
        run.save({"global_step": 7}, 1, "")
        run.inside_phase(0).touch()
        for path in (tmp_path / "accuracy_curve.png", tmp_path / "metrics.csv", run.inside_phase(1)):
            temporary_path(path).touch()
        run.unlock()
        resumed = resumed_run(tmp_path)
        resumed.load()
        resumed.unlock()
        files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
        assert files == {"config.yaml", "checkpoints/boundary.pt"}

    def test_one_per_phase_is_kept_if_asked_for(self, tmp_path):
        run = RunFolder(tmp_path, resume=False, options_file="config.yaml", keep_all=True)
        run.create({})
        for phase in range(3):
            run.save({"global_step": phase}, phase, "")
        folder = tmp_path / "checkpoints"
        assert sorted(path.name for path in folder.iterdir()) == ["boundary.pt", "phase-000.pt", "phase-001.pt"]
        assert (folder / "boundary.pt").samefile(run.after_phase(1))  # not written twice
        kept = [read_checkpoint(run.after_phase(phase), "") for phase in range(2)]
        assert [(state["global_step"], state["run"]["phase"]) for state in kept] == [(1, 1), (2, 2)]

    def test_a_run_killed_before_the_link_trains_that_phase_again(self, tmp_path, monkeypatch):
        run = RunFolder(tmp_path, resume=False, options_file="config.yaml", keep_all=True)
        run.create({})
        run.save({"global_step": 1}, 1, "")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(folder_module, "link_or_copy", interrupt)
            run.save({"global_step": 2}, 2, "")
        run.unlock()
        assert run.after_phase(1).exists()
        resumed = RunFolder(tmp_path, resume=True, options_file="config.yaml", keep_all=True)
        assert resumed.load() == {"global_step": 1}
        resumed.save({"global_step": 2}, 2, "")
        assert (tmp_path / "checkpoints" / "boundary.pt").samefile(run.after_phase(1))

    def test_a_damaged_file(self, tmp_path):
        run = resumed_run(tmp_path)
        run.create({})
        assert run.load() is None
        (tmp_path / "checkpoints" / "boundary.pt").write_bytes(b"PK\x03\x04 cut short")
        with pytest.raises(RedwoodError, match=r"is damaged .*; start the run anew"):
            run.load()
