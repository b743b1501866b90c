"""Options of a training that a method would ignore are refused."""

from functools import partial

import pytest

from redwood.branches.federated.fedavg import FedAvg
from redwood.branches.federated.fedssi import FedSSI
from redwood.branches.growing.widen import Widen
from redwood.branches.modular.hard_moe import HardMoE
from redwood.branches.modular.mntdp import MNTDP
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import flat
from redwood.experiments.command_line.config_file import as_arguments, load_config
from redwood.experiments.command_line.options import parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.methods.architecture.packnet import PackNet
from redwood.methods.composition import compose
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.regularisation.si import SI
from redwood.methods.replay.agem import AGEM
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.optimizers import Sgd
from redwood.methods.training.recipe import ClipValue
from redwood.methods.training.schedules import Milestones, WarmupCosine
from tests.methods.helpers import one_sentence
from tests.small_runs import run_here, small_setting


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (AGEM, {"accumulate_grad_batches": 2}, "--accumulate_grad_batches 2 does not go with agem, which projects"),
        (PackNet, {"patience": 3}, "--patience 3 does not go with packnet, which prunes after a share"),
        (MNTDP, {"patience": 3}, "--patience 3 does not go with mntdp, which chooses among candidates"),
        (MNTDP, {"accumulate_grad_batches": 2}, "--accumulate_grad_batches 2 does not go with mntdp"),
        (SI, {"patience": 3}, "--patience 3 does not go with si, whose importance is that of all steps"),
        (compose(SI, Rehearsal), {"patience": 3}, r"--patience 3 does not go with si\+rehearsal, whose"),
        (FedAvg, {"accumulate_grad_batches": 2}, "--accumulate_grad_batches 2 does not go with fedavg"),
        (FedSSI, {"patience": 2}, "--patience 2 does not go with fedssi, whose rounds"),
        (FedAvg, {"lr_schedule": Milestones([1])}, "--lr_schedule milestones follows the steps of one"),
        (partial(Widen, widen_when="event"), {"patience": 2}, "--patience 2 restores the best weights of a phase"),
    ],
)
def test_options_without_effect(method, options, message):
    with pytest.raises(InvalidOptionError, match=message) as error:
        method(**options)
    assert one_sentence(error.value)


def test_experts_apart_have_nothing_to_watch():
    method = HardMoE(expert_processes=1, patience=2)
    with pytest.raises(
        InvalidOptionError, match="trains experts without held-out samples, which --patience 2"
    ) as error:
        run_here(small_setting("class_incremental", validation=0.3), method)
    assert one_sentence(error.value)


def test_experts_apart_follow_the_recipe():
    """Each of them is a method of its own, with the options of the mixture."""
    common = {"optimizer": "rmsprop", "lr": 0.001, "clipping": "norm", "augmentation": "RandomRotation(10)"}
    schedule = {"lr_schedule": Milestones([1]), "accumulate_grad_batches": 2}
    results = [
        run_here(
            small_setting("class_incremental", passes=2),
            HardMoE(experts=2, splits=splits, expert_processes=1, **common, **schedule),
        )
        for splits in (0, 1)
    ]
    assert all(found.cost.training_flops > 0 for found in results)


def test_parts_that_refuse_nothing_can_be_joined_with_all_options():
    method = compose(EWC, Rehearsal)(
        buffer_size=20,
        fisher_samples=5,
        optimizer="adamw",
        lr=0.01,
        patience=1,
        accumulate_grad_batches=2,
        clipping=ClipValue(0.1),
        lr_schedule=WarmupCosine(0.5),
        augmentation="RandomHorizontalFlip",
    )
    run_here(small_setting("class_incremental", validation=0.3, passes=4), method)


def test_one_form_on_the_command_line_and_in_files(tmp_path):
    given = {
        "optimizer": Sgd(momentum=0.9, nesterov=True),
        "lr_schedule": Milestones([49.0, 63.0]),
        "augmentation": "RandomCrop(32, padding=4)+RandomHorizontalFlip",
    }
    line = "--optimizer sgd --momentum 0.9 --nesterov --lr_schedule milestones --milestones 49 63"
    arguments = [*line.split(), "--augmentation", given["augmentation"]]
    plain, nested = tmp_path / "flat.yaml", tmp_path / "nested.yaml"
    plain.write_text(
        "{optimizer: sgd, momentum: 0.9, nesterov: true, lr_schedule: milestones, milestones: [49, 63], "
        "augmentation: 'RandomCrop(32, padding=4)+RandomHorizontalFlip'}"
    )
    nested.write_text(
        "{optimizer: {sgd: {momentum: 0.9, nesterov: true}}, lr_schedule: {milestones: {milestones: [49, 63]}}, "
        "augmentation: 'RandomCrop(32, padding=4)+RandomHorizontalFlip'}"
    )
    for own in (arguments, as_arguments(flat(load_config(plain))), as_arguments(flat(load_config(nested)))):
        method = parse_options(Pair("class_incremental", "rehearsal"), own).method
        assert {name: getattr(method, name) for name in given} == given
        assert method == Rehearsal(**given)
