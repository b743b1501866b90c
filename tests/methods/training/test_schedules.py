"""Learning-rate schedules, against those of torch, in passes over the data of a phase."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, MultiStepLR, SequentialLR

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.replay.gdumb import GDumb
from redwood.methods.training.schedules import Milestones, WarmupCosine
from tests.methods.helpers import one_sentence
from tests.methods.test_lightning import N_TASK, Watched, watch
from tests.samples import numbered
from tests.small_runs import run_here, small_setting

PASSES, BATCH = 6, 4
PER_PASS = math.ceil(N_TASK / BATCH)


def rates(**options):
    """The learning rates of each step, phase by phase."""
    method = Watched(lr=0.1, **options)
    watch(method=method, dataset=numbered(), batch_size=BATCH, passes=PASSES)
    return [phase[:-1] for phase in method.watch.rates]


def of_torch(schedule, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule, found = schedule(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


class TestAsTorch:
    def test_milestones(self):
        expected = of_torch(lambda o: MultiStepLR(o, [2 * PER_PASS, 5 * PER_PASS], gamma=0.2), PASSES * PER_PASS)
        for phase in rates(lr_schedule=Milestones([2, 5], 0.2)):
            assert phase == pytest.approx(expected)

    def test_warm_up_and_cosine(self):
        n = 2 * PER_PASS

        def schedule(optimizer):
            rising = LinearLR(optimizer, 1 / n, 1.0, n - 1)
            # Torch's cosine starts at the step after the full rate; here the first step after the warm-up has it, too.
            return SequentialLR(optimizer, [rising, CosineAnnealingLR(optimizer, (PASSES - 2) * PER_PASS)], [n])

        for phase in rates(lr_schedule=WarmupCosine(2.0)):
            assert phase == pytest.approx(of_torch(schedule, PASSES * PER_PASS))

    def test_steps_of_several_batches_count_as_their_batches(self):
        per_pass = math.ceil(PER_PASS / 2)
        expected = of_torch(lambda o: MultiStepLR(o, [3 * per_pass], gamma=0.1), PASSES * per_pass)
        for phase in rates(lr_schedule=Milestones([3]), accumulate_grad_batches=2):
            assert phase == pytest.approx(expected)

    def test_a_schedule_that_is_kept_extends_over_all_phases(self):
        found = rates(lr_schedule=Milestones([2, PASSES + 1]), optimizer_state="keep")
        first, second = 2 * PER_PASS, (PASSES + 1) * PER_PASS
        expected = [0.1] * first + [0.01] * (second - first) + [0.001] * (3 * PASSES * PER_PASS - second)
        assert [rate for phase in found for rate in phase] == pytest.approx(expected)


class TestRefusal:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"lr_schedule": "step"},
                "--lr_schedule step is unknown; choose one of constant, cosine, milestones, warm",
            ),
            ({"lr_schedule": "milestones"}, "--lr_schedule milestones needs numbers of passes"),
            ({"lr_schedule": {"cosine": {"gamma": 0.5}}}, "--lr_schedule cosine has no option gamma; leave it out"),
            (
                {"lr_schedule": {"milestones": {"milestones": [3, 2]}}},
                "--milestones 3 2 have to be numbers above 0 in asc",
            ),
            ({"lr_schedule": {"milestones": {"milestones": [0]}}}, "--milestones 0 have to be numbers above 0"),
            ({"lr_schedule": {"milestones": {"milestones": ["a"]}}}, "--milestones a have to be numbers above 0"),
            (
                {"lr_schedule": {"milestones": {"milestones": [2], "gamma": 0.0}}},
                "--gamma 0.0 has to be greater than 0",
            ),
            ({"lr_schedule": {"warmup_cosine": {"warmup": -1.0}}}, "--warmup -1.0 has to be greater than 0"),
            ({"lr_schedule": {"warmup_cosine": {"warmup": 0.0}}}, "--warmup 0.0 has to be greater than 0"),
        ],
    )
    def test_in_one_sentence(self, options, message):
        with pytest.raises(InvalidOptionError, match=message) as error:
            Finetune(**options)
        assert one_sentence(error.value)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"lr_schedule": Milestones([1, 2])}, "--milestones 2 is never over in a training of 2 pass"),
            ({"lr_schedule": WarmupCosine(2.5)}, "--warmup 2.5 is never over in a training of 2 passes"),
        ],
    )
    def test_a_schedule_that_is_longer_than_the_training(self, options, message):
        with pytest.raises(InvalidOptionError, match=message) as error:
            run_here(small_setting("class_incremental"), Finetune(**options))
        assert one_sentence(error.value)

    def test_gdumb_counts_passes_over_its_memory(self):
        method = GDumb(buffer_size=25, memory_passes=3, lr_schedule=Milestones([2]))
        run_here(small_setting("class_incremental", passes=1), method)
        late = GDumb(buffer_size=25, memory_passes=3, lr_schedule=Milestones([3]))
        with pytest.raises(InvalidOptionError, match="--milestones 3 is never over in a training of 3 passes"):
            run_here(small_setting("class_incremental", passes=1), late)
