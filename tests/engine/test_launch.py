"""`setting.apply` over two workers; starting them takes seconds, so everything else is tested on workers that last."""

import os
import signal
from dataclasses import dataclass

import pytest
import torch

from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.core.workers import rank
from redwood.engine.launch import _with_number_of_launcher, run_in_workers
from redwood.engine.launched import is_first_process, launched_processes
from redwood.engine.run import Run
from redwood.methods import get_method
from redwood.methods.replay.async_rehearsal import AsyncRehearsal
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings.rl.tree import DistributedIncrementalRLSetting
from tests.methods.helpers import one_sentence
from tests.settings.rl.clock import Clock
from tests.small_runs import FixedRule, comparable, run_here, small_setting

SOURCE = """
from redwood.methods.replay.rehearsal import Rehearsal

class Mine(Rehearsal):
    "Rehearsal in a file of the user's."
"""

NETWORK = """
from torch import nn

class Net(nn.Linear):
    def __init__(self, n_outputs):
        super().__init__(64, n_outputs)

    def forward(self, x):
        return super().forward(x.flatten(1).float())
"""


def rehearse():
    method = Rehearsal()
    return run_here(small_setting("class_incremental", workers=2), method), list(method.network.parameters())


def test_a_method_from_a_file_is_trained_by_two_workers_and_comes_back(tmp_path, two_workers):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    setting, method = small_setting("class_incremental", workers=2), get_method(f"{path}:Mine")()
    results = setting.apply(method, quiet=True, accelerator="cpu")
    expected, weights = two_workers.run(rehearse)[0]
    assert results.accuracy_matrix == expected.accuracy_matrix
    assert comparable(results)["cost"] == comparable(expected)["cost"]
    assert all(map(torch.equal, method.network.parameters(), weights))
    assert setting.open_stream().evaluate(method).per_task == results.accuracy_matrix[-1]


def test_a_network_of_a_file_that_only_the_workers_have_loaded_comes_back(tmp_path):
    path = tmp_path / "own_network.py"
    path.write_text(NETWORK)
    setting, method = small_setting("class_incremental", workers=2, nb_tasks=1), Rehearsal(model=f"{path}:Net")
    setting.apply(method, quiet=True, accelerator="cpu")
    assert type(method.network).__name__ == "Net"


@dataclass
class Killed(AsyncRehearsal):
    """Is ended on the second worker, as if by a scheduler, after some steps."""

    def augment(self, step):
        if rank() == 1 and self.run.global_step == 0 and self.buffer.n_seen > 40:
            os.kill(os.getpid(), signal.SIGKILL)
        super().augment(step)


def test_a_worker_that_is_killed_ends_the_run_with_one_sentence(quick_processes):
    setting = small_setting("class_incremental", workers=2, nb_tasks=1, batch_size=8)
    with pytest.raises(RedwoodError, match=r"^Worker 1 was ended by signal SIGKILL, and the others with it;") as caught:
        setting.apply(Killed(), quiet=True, accelerator="cpu")
    assert one_sentence(caught.value)


def test_what_no_other_process_can_have_is_refused():
    setting = DistributedIncrementalRLSetting(env=lambda: Clock(), max_episode_steps=5)
    with pytest.raises(InvalidOptionError, match="define functions and classes at the top of a module") as caught:
        setting.apply(FixedRule(), quiet=True, accelerator="cpu")
    assert one_sentence(caught.value)


class TestLaunchers:
    def test_several_machines_need_one(self):
        with pytest.raises(InvalidOptionError, match="start them with torchrun or srun"):
            run_in_workers(small_setting("traditional", workers=2), FixedRule(), Run(nodes=2, accelerator="cpu"))

    def test_another_number_of_processes(self, monkeypatch):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
        monkeypatch.setenv("WORLD_SIZE", "3")
        with pytest.raises(InvalidOptionError, match="The launcher started 3 processes, but --workers is 2"):
            run_in_workers(small_setting("traditional", workers=2), FixedRule(), Run(accelerator="cpu"))

    @pytest.mark.parametrize(
        ("environment", "processes", "first"),
        [
            ({}, 1, True),
            ({"TORCHELASTIC_RUN_ID": "any", "WORLD_SIZE": "3", "RANK": "0"}, 3, True),
            ({"TORCHELASTIC_RUN_ID": "any", "WORLD_SIZE": "3", "RANK": "2"}, 3, False),
            ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "mine", "SLURM_PROCID": "1"}, 2, False),
            ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "bash"}, 1, True),
        ],
    )
    def test_how_many_they_started(self, environment, processes, first, monkeypatch):
        for name in ("RANK", "WORLD_SIZE", "SLURM_NTASKS", "SLURM_PROCID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert (launched_processes(), is_first_process()) == (processes, first)


def test_one_worker_is_not_shared_by_the_processes_of_a_launcher(monkeypatch):
    """They may have been joined by an earlier run of a comparison."""
    monkeypatch.setattr("redwood.engine.launch.world_size", lambda: 2)
    with pytest.raises(InvalidOptionError, match="--workers 1 cannot be run by 2 processes of a launcher"):
        small_setting("class_incremental").apply(get_method("random")(), quiet=True)


class TestRestarts:
    """torchrun starts the workers of a run again."""

    @pytest.fixture
    def launched(self, monkeypatch):
        variables = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "a", "MASTER_PORT": "1", "RANK": "0"}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return monkeypatch

    def test_a_run_of_the_same_start_of_torchrun_goes_on(self, launched, tmp_path, capsys):
        run = Run(run_dir=str(tmp_path / "run"))
        run.go_on_if_restarted()
        assert not run.resume
        run.folder.create({})
        run.folder.unlock()
        again = Run(run_dir=str(tmp_path / "run"))
        again.go_on_if_restarted()
        again.folder.refuse_used()
        assert again.resume
        assert capsys.readouterr().err == (
            f"torchrun has started workers of the same --rdzv-id again; the run in {tmp_path / 'run'} goes on\n"
        )

    def test_a_run_of_another_start_is_refused_as_ever(self, launched, tmp_path):
        run = Run(run_dir=str(tmp_path / "run"))
        run.folder.create({})
        run.folder.unlock()
        launched.setenv("MASTER_PORT", "2")
        other = Run(run_dir=str(tmp_path / "run"))
        other.go_on_if_restarted()
        with pytest.raises(RedwoodError, match="exists and is not empty"):
            other.folder.refuse_used()

    def test_the_number_that_torchrun_has_started_counts(self, launched, capsys):
        for name, value in {"WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3"}.items():
            launched.setenv(name, value)
        setting, run = small_setting("traditional", workers=4), Run(resume=True, accelerator="cpu", nodes=1)
        assert _with_number_of_launcher(setting, run).workers == 6
        assert run.nodes == 2
        assert capsys.readouterr().err == "the run of 4 workers goes on with 6, as torchrun has started so many\n"
