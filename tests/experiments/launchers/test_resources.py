import os

import pytest
import torch

from redwood.engine.run import Run
from redwood.experiments.launchers import resources
from redwood.experiments.launchers.resources import Resources, available_cores, find_resources, resources_needed


class TestResources:
    def test_cores(self):
        cores = Resources([None] * 3)
        assert len(cores.take(2)) == 2
        assert cores.take(2) is None
        assert len(cores.take(1)) == 1
        cores.give_back([None, None])
        assert len(cores.take(2)) == 2

    def test_a_wide_run_gets_all_there_are(self):
        cores = Resources([None] * 2)
        taken = cores.take(5)
        assert len(taken) == 2 and cores.take(1) is None
        cores.give_back(taken)
        assert cores.take(1) is not None

    def test_a_gpu_of_its_own_for_each_worker(self):
        gpus = Resources([0, 1, 2])
        assert gpus.take(2) == [0, 1]
        assert gpus.take(2) is None
        assert gpus.take(1) == [2]
        gpus.give_back([0, 1])
        assert gpus.take(2) == [0, 1]

    def test_shared_gpus(self):
        """Two workers of one run never share one, two runs do."""
        gpus = Resources([0, 1, 0, 1])
        assert gpus.take(1) == [0]
        assert sorted(gpus.take(2)) == [0, 1]
        assert gpus.take(2) is None, "only number 1 is left"
        assert gpus.take(1) == [1]

    def test_more_workers_than_gpus(self):
        """It is let in, to be refused with a sentence."""
        assert Resources([0, 0]).take(2) == [0, 0]


class TestFindResources:
    def test_on_the_cpu(self, monkeypatch):
        monkeypatch.setattr(resources, "available_cores", lambda: 5)
        assert find_resources(Run(accelerator="cpu"), None).total == 5
        assert find_resources(Run(accelerator="cpu"), 2).total == 2

    def test_on_gpus(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert find_resources(Run(accelerator="cuda"), None).take(2) == [0, 1]
        assert find_resources(Run(accelerator="cuda"), 3).total == 3
        chosen = find_resources(Run(accelerator="cuda", devices="1,"), None)
        assert (chosen.total, chosen.take(1)) == (1, [None]), "what --devices says stays as it is"

    def test_width_of_a_run(self):
        assert resources_needed(Run(accelerator="cpu"), 2) == 2
        assert resources_needed(Run(accelerator="cpu", threads=3), 2) == 6
        assert resources_needed(Run(accelerator="cuda", threads=3), 2) == 2


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_cores_of_a_control_group(files, expected, tmp_path, monkeypatch):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(resources, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert available_cores() == expected
