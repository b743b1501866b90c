import re
import socket
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
from torch.nn.parallel import DistributedDataParallel

from redwood.buffers import AsyncRehearsalBuffer, WorkerLostError
from redwood.buffers.strategy.rehearsal import BUFFER_SIZE, REPLAY
from redwood.buffers.strategy.strategy import (
    AsyncRehearsalFSDPStrategy,
    AsyncRehearsalModelParallelStrategy,
    AsyncRehearsalStrategy,
)
from tests.buffers.strategy.plain_modules import Stranger, loader_of, rank, strategy_of, trainer_of
from tests.workers import GlooWorkers, TwoWorkers


class Looking(Stranger):
    """Looks at what it is wrapped in."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.wrapper = type(self.trainer.strategy.model)
        return super().training_step(batch, batch_idx)


class TestByName:
    def test_is_known(self) -> None:
        assert "async_rehearsal" in StrategyRegistry
        strategy = Trainer(strategy="async_rehearsal", accelerator="cpu", logger=False).strategy
        assert isinstance(strategy, AsyncRehearsalStrategy)
        assert isinstance(strategy, DDPStrategy)
        assert strategy.strategy_name == "async_rehearsal"
        assert (strategy.memory.buffer_size, strategy.memory.replay) == (BUFFER_SIZE, REPLAY)

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("async_rehearsal_find_unused_parameters_true", AsyncRehearsalStrategy),
            ("async_rehearsal_fsdp", AsyncRehearsalFSDPStrategy),
            ("async_rehearsal_model_parallel", AsyncRehearsalModelParallelStrategy),
        ],
    )
    def test_others_are_known(self, name: str, kind: type) -> None:
        assert type(StrategyRegistry.get(name)) is kind

    @pytest.mark.slow
    def test_the_buffers_alone_give_lightning_no_name(self) -> None:
        """They need no Lightning; the import of a strategy gives it all names, as the page on Lightning says."""
        program = """
import sys
import redwood.buffers
assert "pytorch_lightning" not in sys.modules
from pytorch_lightning.strategies import StrategyRegistry
print(sorted(name for name in StrategyRegistry if name.startswith("async")))
from redwood.buffers import AsyncRehearsalStrategy
print(sorted(name for name in StrategyRegistry if name.startswith("async")))
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
        names = [f"async_rehearsal{end}" for end in ("", "_find_unused_parameters_true", "_fsdp", "_model_parallel")]
        assert done.stdout.splitlines() == ["[]", str(names)]

    def test_trains_with_default_options(self) -> None:
        module = Looking()
        trainer = trainer_of("async_rehearsal", max_epochs=2)
        trainer.fit(module, loader_of(range(18)))
        assert [len(ids) for ids in module.replayed] == [0, 4] + 8 * [8]


class TestAlone:
    def test_needs_no_process_group_and_no_wrapper(self) -> None:
        module, strategy = Looking(), strategy_of()
        trainer = trainer_of(strategy, devices=1)
        assert strategy.launcher is None
        trainer.fit(module, loader_of(range(8)))
        assert not dist.is_initialized()
        assert module.wrapper is Looking
        assert (trainer.world_size, trainer.global_rank) == (1, 0)

    def test_is_evaluated_without_training(self) -> None:
        class Tested(Stranger):
            def test_step(self, batch: Any, batch_idx: int) -> None:
                self.log("n", float(len(batch["id"])), reduce_fx="sum")

        (result,) = trainer_of(strategy_of()).test(Tested(), loader_of(range(10)), verbose=False)
        assert result == {"n": 10.0}
        assert not dist.is_initialized()


def wrapper_of(strategy: Any) -> tuple[bool, int, int]:
    module = Looking()
    trainer = trainer_of(strategy_of() if strategy is None else strategy)
    trainer.fit(module, loader_of(range(8)))
    return module.wrapper is DistributedDataParallel, trainer.world_size, trainer.global_rank


@pytest.mark.parametrize("strategy", [None, "async_rehearsal"])
def test_workers_are_wrapped(two_workers: TwoWorkers, strategy: str | None) -> None:
    assert two_workers.run(wrapper_of, strategy) == [(True, 2, 0), (True, 2, 1)]


def refused_buffer() -> str:
    """The message for a buffer that another number of workers shared."""
    strategy = strategy_of()
    strategy.memory.prepare(0, 1, "cpu")
    with pytest.raises(ValueError) as raised:
        trainer_of(strategy_of(buffer=strategy.memory)).fit(Stranger(), loader_of(range(8)))
    return str(raised.value)


def test_buffer_of_another_number_of_workers(two_workers: TwoWorkers) -> None:
    message = (
        "This buffer was shared by 1 workers and now there are 2; start as many, or make a new buffer and load a "
        "checkpoint, whose rows are distributed to any number."
    )
    assert two_workers.run(refused_buffer) == [message, message]


def test_rows_that_nothing_marks() -> None:
    memory = AsyncRehearsalBuffer(30, replay=3, tier="shared")
    with pytest.raises(ValueError, match=r"^tier=shared needs the checkpoints of a strategy, .* choose host\.$"):
        memory.open()


def too_small() -> str:
    with pytest.raises(ValueError) as raised:
        trainer_of(strategy_of(buffer_size=1)).fit(Stranger(), loader_of(range(8)))
    return str(raised.value)


def test_fewer_rows_than_workers(two_workers: TwoWorkers) -> None:
    message = "buffer_size=1 has to be at least the number of workers, 2; enlarge it."
    assert two_workers.run(too_small) == [message, message]


def unlike() -> str:
    """The message if workers store samples of other dtypes."""
    module = Stranger()
    with pytest.raises(Exception) as raised:
        trainer_of(strategy_of(replay=3 + rank())).fit(module, loader_of(range(8)))
    return str(raised.value)


def test_options_that_differ_between_workers(gloo_workers: GlooWorkers) -> None:
    messages = gloo_workers.run(2, unlike)
    wanted = (
        "Worker 1 and worker 0 do not store the same leaves in the same way; "
        "give all of them samples of one structure, shape and dtype, and the same options."
    )
    assert messages == [wanted, wanted]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buffer_size": 0}, "^buffer_size has to be at least 1, got 0"),
        ({"replay": 0}, "^replay has to be at least 1, got 0"),
        ({"policy": "herding"}, "^The policy Herding needs"),
        ({"sampler": "grasp"}, "^The sampler .* looks at stored rows"),
        ({"policy": "reservoir", "candidates": 3}, "^candidates=3 chooses the policy per_class_random"),
    ],
    ids=str,
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        strategy_of(**options)


class Idle(Stranger):
    """Has parameters that no step uses."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = torch.nn.Linear(2, 2)


def advised() -> tuple[str, list[int]]:
    """What is said of such a module, and how many samples are replayed in the steps once it is followed."""
    loader = loader_of(range(100 * rank(), 100 * rank() + 12))
    with pytest.raises(RuntimeError, match="parameters that were not used") as raised:
        trainer_of("async_rehearsal").fit(Idle(), loader)
    module = Idle()
    (name,) = re.findall(r"strategy='(\w+)'", str(raised.value))
    trainer_of(name).fit(module, loader)
    return str(raised.value), [len(ids) for ids in module.replayed]


def test_advice_for_unused_parameters_keeps_the_rehearsal(two_workers: TwoWorkers) -> None:
    for message, replayed in two_workers.run(advised):
        assert "AsyncRehearsalStrategy(find_unused_parameters=True)" in message
        assert replayed == [0, 8, 8]


def test_workers_that_do_not_come_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
    for name, value in {**started, **address}.items():
        monkeypatch.setenv(name, str(value))
    trainer = trainer_of(strategy_of(timeout=timedelta(seconds=0.5)), devices=2)
    with pytest.raises(WorkerLostError, match=r"^Not all workers came in time; look for [^.]*raise timeout\.$"):
        trainer.fit(Stranger(), loader_of(range(8)))
