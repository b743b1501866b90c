"""Parts: what chooses them, their options on the command line and in files, and those of other packages."""

import copy
import dataclasses
import inspect
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from redwood.cli import main
from redwood.core import branches
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.core.parts import Kind, Part, all_options, flat, kinds_of, option_fields
from redwood.engine.run import Run
from redwood.experiments.command_line.arguments import given_texts, selection_names
from redwood.experiments.command_line.config_file import as_arguments, read_arguments
from redwood.experiments.command_line.options import check_arguments, parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.methods import METHODS, Finetune, get_method
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.optimizers import Adam, OptimizerPart, Sgd
from redwood.settings import SETTINGS, ClassIncrementalSetting, Rotated, get_setting
from redwood.settings.base import why_not_applicable
from redwood.settings.config import describe_options
from redwood.settings.data.parts import DATA, Images
from tests.cli.command import assert_one_sentence

# Values that the type of an option alone does not tell.
VALUES: dict[str, Any] = {
    "widths": [3, 5],
    "milestones": [0.5, 2.0],
    "betas": (0.5, 0.75),
    "etas": (0.25, 1.5),
    "step_sizes": (0.001, 20.0),
    "ns_coefficients": (3.0, -4.0, 2.0),
    "imbalance": "long_tail:7",
    "period": "month",
    "adjust_lr_fn": "original",
    "momentum": 0.5,
    "weights": "none.pt",
    "d": 1.5,
    "beta2_decay": -0.5,
    "nesterov": False,
}
AROUND = {"trainable": {"model": "mlp"}, "buffer_tier": {"asynchronous": True}}
EXCLUSIVE = {"class_order_seed", "task_column"}  # contradict another option of their part


def pairs() -> Iterator[Pair]:
    """Pairs that have each setting and each method."""
    targets = {key: get_setting(key) for key in SETTINGS}
    for setting, cls in targets.items():
        method = "finetune" if why_not_applicable(cls, Finetune) is None else "random"
        yield Pair(setting, method)
    for method in ("rehearsal", *METHODS):
        suitable = (key for key, cls in targets.items() if why_not_applicable(cls, get_method(method)) is None)
        yield Pair(next(suitable), method)


def parts() -> Iterator[tuple[Pair, str, Kind, str]]:
    """Each part of each kind once, with a pair that offers it and the arguments that choose what it lies in."""
    seen: set[type] = set()

    def walk(pair: Pair, owner: type) -> Iterator[tuple[Pair, str, Kind, str]]:
        for option, kind in kinds_of(owner).items():
            for name, part in kind.choices().items():
                if part not in seen and part.why_unsuitable(pair.load()[0]) is None:
                    seen.add(part)
                    yield pair, option, kind, name
                    yield from walk(pair, part)

    for pair in pairs():
        for owner in (*pair.load(), Run):
            yield from walk(pair, owner)


ALL = list(parts())


def other_value(f: "dataclasses.Field[Any]") -> Any:
    """A value of an option that is not its default."""
    default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
    if f.name in VALUES:
        return VALUES[f.name]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        return default / 2 + 0.25
    if isinstance(default, list):
        return [7.5] if "float" in str(f.type) else [1] if "int" in str(f.type) else ["a"]
    return 3 if "int" in str(f.type) else True if "bool" in str(f.type) else "other"


def test_there_are_many() -> None:
    assert len({kind.option for _, _, kind, _ in ALL}) >= 12 and len(ALL) > 60


@pytest.mark.parametrize("option", sorted({option for _, option, _, _ in ALL}))
def test_each_part_comes_back_from_its_description(option: str) -> None:
    """With other values than the defaults: description -> arguments -> object, and through YAML and pickle."""
    for pair, _, kind, name in (one for one in ALL if one[1] == option):
        cls = kind.choices()[name]
        own = {f.name: f for f in dataclasses.fields(cls)}
        given = {key: other_value(own[key]) for key in option_fields(cls) if key not in {*kinds_of(cls), *EXCLUSIVE}}
        around = AROUND.get(option, {})
        arguments = as_arguments({**around, option: name, **given})
        made = parse_options(pair, arguments)
        owners = (made.setting, made.method, made.run)
        described: dict[str, Any] = {}
        for owner in owners:
            described |= describe_options(owner)
        again = parse_options(pair, as_arguments(flat(yaml.safe_load(yaml.safe_dump(described)))))
        assert (again.setting, again.method) == owners[:2]
        chosen = [part for owner in owners for part in found(owner) if type(part) is cls]
        assert chosen, (pair, name)
        for part in chosen:
            assert {key: getattr(part, key) for key in given} == given
            assert pickle.loads(pickle.dumps(part)) == part


def found(owner: Any) -> Iterator[Part]:
    for name in kinds_of(type(owner)):
        part = getattr(owner, name)
        yield part
        yield from found(part)


def test_options_that_are_there_together_have_names_of_their_own() -> None:
    """Also those of parts that can be chosen together: of one option, only one part can."""
    command, shared = {*selection_names()}, set()
    for pair in pairs():
        setting, method = pair.load()
        owners: dict[str, set[str]] = {}
        for root in (setting, method, Run):
            for option, where in places(root, root.__name__, setting):
                owners.setdefault(option, set()).add(where)
        shared |= {(option, *sorted(where)) for option, where in owners.items() if len(where) > 1}
        shared |= {(option, "command") for option in owners.keys() & command}
    assert not shared


def places(cls: type[Any], where: str, setting: type) -> Iterator[tuple[str, str]]:
    """The options of a class and of its parts, each with the field that its part is chosen by."""
    for option in option_fields(cls):
        yield option, where
    for name, kind in kinds_of(cls).items():
        for part in kind.choices().values():
            if part.why_unsuitable(setting) is None:
                yield from places(part, f"{where}.{name}", setting)


class TestFromPython:
    def test_a_name_an_object_and_a_description_are_the_same(self) -> None:
        for value in ("adam", Adam(), {"adam": {}}):
            assert Finetune(optimizer=value).optimizer == Adam()
        assert Finetune(optimizer={"sgd": {"momentum": 0.5}}).optimizer == Sgd(momentum=0.5)

    def test_what_is_chosen_again_keeps_its_usual_options(self) -> None:
        method = get_method("stable_sgd")
        assert method().optimizer == method(optimizer="sgd").optimizer == Sgd(momentum=0.8)
        assert method(optimizer={"sgd": {"nesterov": True}}).optimizer == Sgd(momentum=0.8, nesterov=True)
        assert method(optimizer=Sgd()).optimizer.momentum == 0
        made = parse_options(Pair("class_incremental", "stable_sgd"), ["--optimizer", "sgd", "--nesterov"]).method
        assert made.optimizer == Sgd(momentum=0.8, nesterov=True)  # type: ignore[attr-defined]

    def test_a_subclass_may_say_the_default_as_a_name(self) -> None:
        @dataclass
        class Own(Finetune):
            optimizer: Any = "adam"  # algorithm that updates the weights

        assert Own().optimizer == Adam() and list(kinds_of(Own)) == list(kinds_of(Finetune))

    def test_options_are_fixed_once_a_part_or_a_setting_is_made(self) -> None:
        for made, name in ((Sgd(), "momentum"), (ClassIncrementalSetting(), "passes")):
            with pytest.raises(InvalidOptionError, match=f"{name} of .* is fixed once it is made"):
                setattr(made, name, 3)
        assert dataclasses.replace(Sgd(), momentum=0.5) == Sgd(momentum=0.5)


class TestOnTheCommandLine:
    PAIR = Pair("class_incremental", "rehearsal")

    def test_the_last_choice_counts(self) -> None:
        made = parse_options(self.PAIR, ["--optimizer", "sgd", "--optimizer=adam"]).method
        assert isinstance(made, Rehearsal) and made.optimizer == Adam()

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--betas", "0", "0"], "--betas belongs to --optimizer adam or .*; add that, or leave --betas out"),
            (["--lora_rank", "2"], "--lora_rank belongs to --model auto --trainable lora or"),
            (["--optimizer", "adam", "--momentum", "1"], "--momentum belongs to --optimizer"),
            (["--optimizer", "adam", "--beta", "1"], "There is no option --beta .* did you mean --betas"),
        ],
    )
    def test_an_option_of_a_part_that_is_not_chosen_names_the_part(self, arguments: list[str], sentence: str) -> None:
        with pytest.raises(RedwoodError, match=sentence):
            check_arguments([self.PAIR], arguments)

    def test_what_a_setting_does_not_offer_is_not_in_its_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        shown = {}
        for setting in ("class_incremental", "label_budget"):
            assert main(["--setting", setting, "--method", "finetune", "--help", "all"]) == 0
            shown[setting] = capsys.readouterr().out
        assert "--query_rule" in shown["label_budget"] and "--query_rule" not in shown["class_incremental"]
        assert "--nesterov" in shown["label_budget"] and "--betas" not in shown["label_budget"]


class TestFilesAndCommands:
    PAIR = ("--setting", "domain_incremental", "--method", "finetune")

    def read(self, path: Path, *arguments: str) -> Any:
        own = read_arguments(path, given_texts(arguments), trusted=False)
        return parse_options(Pair("domain_incremental", "finetune"), [*own, *arguments])

    def test_what_is_chosen_again_keeps_the_options_of_a_file_and_another_part_drops_them(self, tmp_path: Path) -> None:
        file = tmp_path / "nested.yaml"
        file.write_text(yaml.safe_dump({"optimizer": {"adam": {"betas": [0.5, 0.75]}}, "lr": 0.5}))
        assert self.read(file).method.optimizer == Adam(betas=(0.5, 0.75))
        assert self.read(file, "--optimizer", "adam").method.optimizer == Adam(betas=(0.5, 0.75))
        assert self.read(file, "--optimizer=sgd").method.optimizer == Sgd()
        assert self.read(file, "--betas", "0", "0.5").method.optimizer == Adam(betas=(0.0, 0.5))

    def test_an_option_beside_a_part_and_in_it(self, tmp_path: Path) -> None:
        file = tmp_path / "twice.yaml"
        file.write_text(yaml.safe_dump({"weight_decay": 0.1, "optimizer": {"adam": {"weight_decay": 0.2}}}))
        with pytest.raises(InvalidOptionError, match="--weight_decay is set twice, as its part has it, too"):
            self.read(file)

    @pytest.mark.parametrize("option", ["optimizer", "stream", "dataset"])
    def test_an_empty_text_chooses_nothing(self, option: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*self.PAIR, f"--{option}="]) == 2
        told = capsys.readouterr().err
        assert_one_sentence(told)
        assert f"--{option} " in told

    def test_a_sweep_over_parts_with_options_of_their_own(self, tmp_path: Path) -> None:
        quick = ["--nb_tasks", "2", "--passes", "1", "--quiet", "--accelerator", "cpu", "--launcher", "here"]
        swept = [
            "sweep",
            "momentum=0.5,0.9",
            "optimizer=adam,sgd",
            *self.PAIR,
            *quick,
            "--lr",
            "0.002",
            "--trials",
            "4",
        ]
        assert main([*swept, "--run_dir", str(tmp_path / "sweep")]) == 0
        assert (tmp_path / "sweep" / "best").is_dir()


class TestObjects:
    def test_a_subclass_of_a_library_s_part_is_copied_as_it_is(self) -> None:
        made = copy.deepcopy(Finetune(optimizer=Gentle(betas=(0.5, 0.75)))).optimizer
        assert type(made) is Gentle and made == Gentle(betas=(0.5, 0.75)) == pickle.loads(pickle.dumps(made))

    def test_a_list_that_changes_later(self) -> None:
        angles = [0.0, 30.0]
        part = Rotated(angles=angles)
        angles.append(60.0)
        assert part.angles == [0.0, 30.0]

    @pytest.mark.parametrize(
        ("option", "value", "sentence"),
        [
            ("optimizer", {"adam": {"betas": (0.5, 0.9, 0.9)}}, "--betas has to be 2 numbers"),
            ("optimizer", {"adam": None}, "--optimizer has to be a name"),
            ("optimizer", {3: {}}, "--optimizer 3 is unknown"),
            ("model", {"mlp": {"name": "resnet18"}}, "--model mlp has no option name; leave it out"),
            ("optimizer", OptimizerPart, "--optimizer needs a part"),
            ("optimizer", torch.optim.AdamW, "the class AdamW was given; write optimizer='adamw'"),
            ("optimizer", torch.optim.SGD([torch.zeros(1)]), "an object of SGD was given; write optimizer='sgd'"),
            ("lr_schedule", CosineAnnealingLR, "the class CosineAnnealingLR was given; write lr_schedule='cosine'"),
            ("lr_schedule", StepLR, "the class StepLR was given; choose one of .*milestones"),
            ("model", dict, "has to be an nn.Module, a class or a function .* but the class dict was given; pass one"),
        ],
    )
    def test_values_that_are_no_part(self, option: str, value: object, sentence: str) -> None:
        with pytest.raises(InvalidOptionError, match=sentence):
            Finetune(**{option: value})

    def test_parts_that_cannot_be_made(self) -> None:
        with pytest.raises(InvalidOptionError, match="OptimizerPart has no maker"):
            OptimizerPart()
        with pytest.raises(RedwoodError, match="is no complete subclass of StreamPart"):
            get_setting("continual")(stream="redwood.settings.streams.cuts:OfOneDataSet")

    def test_an_option_that_a_method_has_no_use_for(self) -> None:
        @dataclass
        class Own(Finetune):
            unused_options: ClassVar[Mapping[str, str]] = {"optimizer": "which has its own"}

        assert Own().optimizer == Sgd()
        with pytest.raises(InvalidOptionError, match=r"--optimizer adam does not go with .*, which has its own"):
            Own(optimizer="adam")


@dataclass
class Gentle(Adam):  # type: ignore[misc]
    """A part of a user."""

    eps: float = 1e-4  # added to the denominator of a step
    extra: int = 3  # an option of its own

    def arguments(self) -> dict[str, Any]:
        return {name: value for name, value in super().arguments().items() if name != "extra"}


SPIRAL = """
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from redwood.buffers import Ring
from redwood.methods.replay.parts import PolicyPart
from redwood.methods.training.optimizers import OptimizerPart
from redwood.settings.streams.cuts import Permuted


class SignDescent(torch.optim.SGD):
    def __init__(self, params, lr, sharpness):
        super().__init__(params, lr=lr * sharpness)


@dataclass
class Sign(OptimizerPart):
    \"\"\"Steps of one length.\"\"\"

    maker: ClassVar[type] = SignDescent

    sharpness: float = 1.0  # how sharp the steps are


@dataclass
class Newest(PolicyPart):
    \"\"\"The newest samples.\"\"\"

    maker: ClassVar[type] = Ring


@dataclass
class Spiral(Permuted):
    \"\"\"Each task has its values in an order of its own.\"\"\"

    turns: int = 2  # how often it turns
"""
ENTRY_POINTS = """
[redwood.optimizers]
sign = spiral:Sign
[redwood.buffer_policies]
newest = spiral:Newest
[redwood.streams]
spiral = spiral:Spiral
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with a stream, an optimizer and a policy, as an installation lays it down."""
    site = tmp_path / "site"
    (site / "spiral-1.0.dist-info").mkdir(parents=True)
    (site / "spiral.py").write_text(SPIRAL)
    (site / "spiral-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: spiral\nVersion: 1.0\n")
    (site / "spiral-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)
    branches.forget_entry_points()
    yield
    sys.modules.pop("spiral", None)
    branches.forget_entry_points()


@pytest.mark.usefixtures("stranger")
def test_a_package_adds_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In help, a run, a resumed one, a configuration file, a sweep and errors, without a line of redwood's."""
    pair = ["--setting", "domain_incremental", "--method", "rehearsal"]
    chosen = ["--stream", "spiral", "--turns", "3", "--optimizer=sign", "--sharpness=2", "--buffer_policy", "newest"]
    quick = ["--nb_tasks", "2", "--passes", "1", "--quiet", "--accelerator", "cpu"]
    assert main([*pair, *chosen, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--sharpness float how sharp the steps are [1.0]" in shown and "contexts, tasks" in shown
    assert all(name in shown for name in ("spiral", "--turns", "newest"))
    run = tmp_path / "run"
    assert main([*pair, *chosen, *quick, "--run_dir", str(run)]) == 0
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["stream"]["spiral"]["turns"] == 3 and config["optimizer"] == {"sign": {"sharpness": 2.0}}
    assert config["buffer_policy"] == "newest"
    (run / "results.json").unlink()
    assert main(["resume", str(run), "--quiet"]) == 0 and (run / "results.json").exists()
    again = tmp_path / "again"
    assert main(["--config", str(run / "config.yaml"), "--run_dir", str(again)]) == 0
    assert yaml.safe_load((again / "config.yaml").read_text()) == config
    swept = ["sweep", "optimizer=sign,sgd", "sharpness=1,2", *pair, *quick, "--trials", "3", "--launcher", "here"]
    assert main([*swept, "--run_dir", str(tmp_path / "sweep")]) == 0
    for arguments, part_of_sentence in (
        (["--sharpness", "2"], "--sharpness belongs to --optimizer sign; add that"),
        (["--optimizer", "sigm"], "--optimizer sigm is unknown; did you mean sign?"),
    ):
        capsys.readouterr()
        assert main([*pair, *arguments]) == 2
        told = capsys.readouterr().err
        assert_one_sentence(told)
        assert part_of_sentence in told
    assert "sharpness" in all_options(Finetune)


@pytest.mark.parametrize(
    ("options", "name", "kind"),
    [
        ({"optimizer": "AdamW"}, "optimizer", "adamw"),
        ({"optimizer": {"AdamW": {"betas": [0.8, 0.9]}}}, "optimizer", "adamw"),
        ({"lr_schedule": "CosineAnnealingLR"}, "lr_schedule", "cosine"),
        ({"clipping": "Norm"}, "clipping", "norm"),
    ],
)
def test_capitals_do_not_count_and_words_of_others_are_known(options, name, kind):
    method = Finetune(**options)
    assert kinds_of(Finetune)[name].text_of(getattr(method, name)) == kind


def test_a_part_in_capitals_is_the_usual_part_with_its_options():
    """`--optimizer SGD` keeps the momentum that a class has chosen for its `sgd`."""
    arguments = ["--optimizer", "SGD", "--lr", "0.1"]
    options = parse_options(Pair("class_incremental", "finetune"), arguments)
    assert (
        options.method.optimizer
        == parse_options(Pair("class_incremental", "finetune"), ["--lr", "0.1"]).method.optimizer
    )


def test_the_name_of_a_folder_of_data_keeps_its_capitals():
    assert DATA.own_name("Digits") == "Digits" and DATA.find("Digits") is Images


@pytest.mark.parametrize("cls", [ClassIncrementalSetting, Rehearsal, Rotated])
def test_the_signature_lists_the_options_for_help_and_completion(cls):
    assert list(inspect.signature(cls).parameters) == [f.name for f in fields(cls)]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Rehearsal(mem_size=50), "Rehearsal has no option mem_size; write buffer_size."),
        (lambda: Rehearsal(bufer_size=50), "Rehearsal has no option bufer_size; write buffer_size."),
        (lambda: Finetune(mem_size=50), "Finetune has no option mem_size; it has "),
        (lambda: ClassIncrementalSetting(epochs=5), "ClassIncrementalSetting has no option epochs; write passes."),
        (lambda: Adam(beta=0.9), "Adam has no option beta; write betas."),
    ],
)
def test_an_unknown_option_of_an_object_is_told_with_what_is_meant(make, sentence):
    with pytest.raises(TypeError, match=re.escape(sentence)):
        make()
