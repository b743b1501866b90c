"""`--preset NAME`: the options of a published result, overridden by flags."""

import json

import pytest
import yaml

from redwood.cli import main
from redwood.core.parts import flat

ON_DIGITS = ("--dataset", "digits", "--accelerator", "cpu", "--quiet")


def test_options_come_from_the_preset_and_flags_win(tmp_path, capsys):
    flags = ("--model", "mlp", "--memory_passes", "1", "--run_dir", str(tmp_path / "run"))
    assert main(["--preset", "gdumb/mnist-4400", *ON_DIGITS, *flags]) == 0, capsys.readouterr().err
    config = flat(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()))
    assert (config["setting"], config["method"], config["dataset"]) == ("class_incremental", "gdumb", "digits")
    assert (config["buffer_size"], config["momentum"], config["model"]) == (4400, 0, "mlp")
    assert "preset" not in config
    said = capsys.readouterr().out
    assert "target: average_accuracy 97 % +- 3" in said and "continual-learning-baselines" in said


def test_a_flag_overrides_a_list(tmp_path):
    order = list("9876543210")
    flags = ("--class_order", *order, "--passes", "1", "--run_dir", str(tmp_path / "run"))
    assert main(["--preset", "si/mnist-task", *ON_DIGITS, *flags]) == 0
    config = flat(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()))
    assert config["class_order"] == list(map(int, order))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "der_pp/cifar10-50"], "There is no preset der_pp/cifar10-50; the nearest are der_pp/cifar10-500"),
        (["--preset", ""], "There is no preset ; "),
        (["--preset", "si/mnist-task", "--config", "a.yaml"], "--preset and --config both set options"),
        (["--preset", "si/mnist-task", "--method", "finetune"], "--importance_scale"),
        (["--preset", "si/mnist-task", "--bufer_size", "3"], "There is no option --bufer_size"),
        (["--preset", "si/mnist-task", "--trust"], "--trust is about the code"),
    ],
)
def test_mistakes_end_in_one_sentence(arguments, said, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_another_method_is_refused_with_the_name_of_the_preset(capsys):
    assert main(["--preset", "si/mnist-task", "--method", "finetune"]) == 2
    assert (
        " are set by --preset si/mnist-task; leave --setting, --method and the choice of its parts to it."
        in capsys.readouterr().err
    )


def test_a_file_cannot_name_a_preset(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("preset: si/mnist-task\n")
    assert main(["--config", str(tmp_path / "a.yaml")]) == 2
    assert "preset has no place" in capsys.readouterr().err


def test_all_are_listed(capsys):
    assert main(["list", "--presets", "--json"]) == 0
    records = {record["name"]: record for record in json.loads(capsys.readouterr().out)}
    assert records["der_pp/cifar10-500"]["target"] == 72.7
    assert records["der_pp/cifar10-500"]["status"] == "not run"
    assert main(["list", "--presets"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in records)


def test_help_shows_the_preset_and_the_options_of_its_pair(capsys):
    assert main(["--preset", "der_pp/cifar10-500", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--buffer_size 500" in said and "table of S-CIFAR-10" in said and "--alpha float" in said
