"""Runs as tasks of Ray. `benchmarks/ray_nodes.py` has many machines that come and go."""

import json
import platform
import signal
import subprocess
import sys
import time
import warnings
from types import SimpleNamespace

import pytest

from redwood.cli import main
from redwood.core.errors import RedwoodError
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.launchers.jobs import Job
from redwood.experiments.launchers.ray_cluster import RayCluster, _run_task, parse_ray
from tests.cli.command import environment

PAIRS = ["--setting", "class_incremental", "--method", "finetune,ewc", "--nb_tasks", "3", "--accelerator", "cpu"]


class TestOptions:
    def test_an_address_and_numbers(self):
        assert parse_ray(["address=10.0.0.1:6379", "num_gpus=0.5"]) == {"address": "10.0.0.1:6379", "num_gpus": 0.5}

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            (["gpus=1"], "--ray gpus=1: 'gpus' is unknown; choose from address, storage, num_cpus, num_gpus, memory."),
            (["num_cpus"], "--ray num_cpus has no value; write it as num_cpus=VALUE."),
            (["num_cpus=many"], "--ray num_cpus=many: num_cpus has to be a number."),
            (["num_cpus=1", "num_cpus=2"], "--ray num_cpus is given twice, as 1.0 and as 2; give it once."),
        ],
    )
    def test_wrong_ones(self, given, sentence):
        with pytest.raises(UsageError) as error:
            parse_ray(given)
        assert str(error.value) == sentence

    def test_they_are_for_ray_alone(self, capsys):
        assert main([*PAIRS, "--ray", "num_cpus=1"]) == 2
        assert "--ray num_cpus=1 is for --launcher ray; add it." in capsys.readouterr().err

    def test_without_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(RedwoodError, match="--launcher ray needs the package ray"):
            RayCluster({}, on_cpu=True)


def test_another_version(monkeypatch):
    ray = pytest.importorskip("ray")
    utils = pytest.importorskip("ray._private.utils")
    there = {"ray_version": "2.0.1", "python_version": "3.8.2"}
    monkeypatch.setattr(ray, "init", lambda **_: utils.check_version_info(there, "here"))
    with pytest.raises(RedwoodError) as error, RayCluster({}, on_cpu=True):
        pass
    here = f"Ray {ray.__version__}, Python {platform.python_version()}"
    assert str(error.value) == (
        f"--launcher ray: the cluster has other versions (there: Ray 2.0.1, Python 3.8.2; here: {here}); install the "
        "same of Ray and Python on all machines."
    )


def found_in(folder):
    """What the runs have found, without what differs from one process to another."""
    read = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/results.json")}
    return {name: (one["accuracy_matrix"], one["metrics"], one["config"]["seed"]) for name, one in read.items()}


@pytest.mark.slow
def test_no_cluster(tmp_path, capsys):
    pytest.importorskip("ray")
    assert main([*PAIRS, "--launcher", "ray", "--ray", "address=127.0.0.1:1", "--run_dir", str(tmp_path / "none")]) == 2
    assert "--launcher ray finds no cluster" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True])
def test_a_machine_is_lost_in_the_middle(kept, tmp_path):
    """Its run goes on elsewhere from the last checkpoint, to the results of runs in one process."""
    utils = pytest.importorskip("ray.cluster_utils")
    quick = [*PAIRS, "--seeds", "2", "--passes", "3"]
    assert main([*quick, "--jobs", "1", "--quiet", "--run_dir", str(tmp_path / "here")]) == 0
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    lost = cluster.add_node(num_cpus=1)
    storage = [f"storage=file://{tmp_path}/bucket"] if kept else []
    onto = ["--launcher", "ray", "--ray", f"address={cluster.address}", *storage, "--run_dir", str(tmp_path / "ray")]
    at, level = (tmp_path / "bucket", "*/*") if kept else (tmp_path / "ray", "*")
    driver = subprocess.Popen([sys.executable, "-m", "redwood", *quick, *onto], env=environment())
    try:
        deadline = time.monotonic() + 240
        while not any(at.glob(f"{level}/checkpoints/*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        cluster.remove_node(lost, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        assert driver.wait(240) == 0
    finally:
        driver.kill()
        cluster.shutdown()
    assert found_in(tmp_path / "ray") == found_in(tmp_path / "here")
    assert len(found_in(tmp_path / "ray")) == 4


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on(tmp_path):
    """Ctrl-C ends the tasks, which save a checkpoint; `resume` starts no run from its beginning."""
    pytest.importorskip("ray")
    folder = tmp_path / "ray"
    long = [*PAIRS, "--passes", "400", "--launcher", "ray", "--ray", "num_cpus=1", "--run_dir", str(folder)]
    command = [sys.executable, "-m", "redwood"]
    driver = subprocess.Popen([*command, *long], env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 240
        while not any(folder.glob("*/checkpoints/*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(3.0)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(120) == 130
    finally:
        driver.kill()
    assert driver.stderr is not None and "go on with" in driver.stderr.read()
    assert list(folder.glob("*/checkpoints/inside-*")), "a run saves itself inside its phase"
    assert not list(folder.glob("*/failure.json"))


class TestLacks:
    """Without a cluster: what Ray knows is given."""

    def test_what_no_machine_has_is_told(self, tmp_path):
        pytest.importorskip("ray")
        cluster = RayCluster({"num_gpus": 2.0}, on_cpu=True)
        machines = [{"Alive": True, "Resources": {"CPU": 4, "GPU": 1}}, {"Alive": False, "Resources": {"GPU": 8}}]
        cluster._ray = SimpleNamespace(nodes=lambda: machines)
        with pytest.warns(UserWarning, match="No machine of the cluster has --ray num_cpus=1 num_gpus=2; runs wait"):
            cluster._warn_of_lack({"num_cpus": 1, "num_gpus": 2.0})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cluster._warn_of_lack({"num_cpus": 4, "num_gpus": 1.0})
            cluster._warn_of_lack({"num_cpus": 1, "num_gpus": 2.0})  # told once

    def test_a_machine_that_does_not_see_the_folder(self, tmp_path):
        job = Job(Pair("class_incremental", "finetune"), (), 0, tmp_path / "elsewhere" / "run")
        failure = _run_task(job, None, str(tmp_path), [], None)
        assert "does not see the folder" in failure.reason and "--ray storage=URL" in failure.reason
        assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_a_sweep_and_a_session_of_the_users(tmp_path):
    ray = pytest.importorskip("ray")
    pytest.importorskip("optuna")
    ray.init(address="local", num_cpus=2, log_to_driver=False)
    try:
        words = [
            "sweep",
            "lr=0.01,0.1",
            *PAIRS[:2],
            "--method",
            "finetune",
            *PAIRS[4:],
            "--trials",
            "2",
            "--passes",
            "1",
        ]
        results = {}
        for launcher in ("ray", "here"):
            folder = tmp_path / launcher
            assert (
                main([*words, "--validation", "0.2", "--launcher", launcher, "--quiet", "--run_dir", str(folder)]) == 0
            )
            trials = json.loads((folder / "sweep.json").read_text())["trials"]
            results[launcher] = [(trial["parameters"], trial["values"][0]) for trial in trials]
        assert results["ray"] == results["here"]
        assert ray.is_initialized(), "redwood ends only what it has started"
    finally:
        ray.shutdown()
