import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.engine.run import Run


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that this machine has so many GPUs."""

    def install(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return install


class TestDeviceNumbers:
    @pytest.mark.parametrize(
        ("devices", "nodes", "workers", "numbers"),
        [
            ("auto", 1, 1, 1),
            ("auto", 1, 3, 3),
            ("auto", 2, 4, 2),
            ("2", 1, 2, 2),
            ("0,3", 1, 2, [0, 3]),
            ("3,", 1, 1, [3]),
            ("1,2", 2, 4, [1, 2]),
        ],
    )
    @pytest.mark.parametrize("accelerator", ["cpu", "gpu"])
    def test_one_device_a_worker(self, gpus, devices, nodes, workers, numbers, accelerator):
        gpus(4)
        assert Run(devices=devices, nodes=nodes, accelerator=accelerator).device_numbers(workers) == numbers

    @pytest.mark.parametrize(
        ("devices", "nodes", "workers", "sentence"),
        [
            ("auto", 2, 3, "--workers 3 cannot be spread evenly over --nodes 2"),
            ("4", 1, 2, "--devices 4 names 4 devices a machine, but --workers 2"),
            ("0,1,2", 1, 2, "names 3 devices"),
            ("1,1", 1, 2, "names 1 devices"),
            ("auto", 1, 3, "this machine has 2"),
            ("0,2", 1, 2, "need GPU number 2"),
        ],
    )
    def test_numbers_that_do_not_fit(self, gpus, devices, nodes, workers, sentence):
        gpus(2)
        with pytest.raises(InvalidOptionError, match=sentence):
            Run(devices=devices, nodes=nodes).check_devices(workers)


class TestDevice:
    def test_each_worker_has_its_own(self, gpus, monkeypatch):
        gpus(4)
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert Run(accelerator="gpu", devices="0,3").device(2) == torch.device("cuda", 3)
        assert Run(accelerator="cuda").device(2) == torch.device("cuda", 1)
        assert Run(accelerator="cpu").device(2) == torch.device("cpu")

    @pytest.mark.parametrize(("count", "kind"), [(0, "cpu"), (1, "cuda")])
    def test_auto_takes_what_there_is(self, gpus, count, kind):
        gpus(count)
        assert Run().device(1).type == kind

    @pytest.mark.parametrize("accelerator", ["gpu", "cuda", "mps"])
    def test_what_there_is_not(self, gpus, accelerator):
        gpus(0)
        with pytest.raises(InvalidOptionError, match=f"--accelerator {accelerator}: this machine has no such device"):
            Run(accelerator=accelerator).check_devices(1)
