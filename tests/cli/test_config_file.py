"""Options from a file, overridden by flags."""

import json

import pytest
import yaml

from redwood.cli import main
from redwood.core.parts import flat

FILE = {
    "setting": "class_incremental",
    "method": "rehearsal",
    "passes": 1,
    "lr": 0.1,
    "increment": [5, 5],
    "nb_tasks": None,
    "class_order": [],
    "quiet": True,
}


@pytest.fixture
def run_config(tmp_path, capsys):
    """Run a configuration file with flags; give back the configuration that the run wrote."""

    def go(content, *flags):
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
        code = main(["--config", str(tmp_path / "run.yaml"), "--run_dir", str(tmp_path / "run"), *flags])
        assert code == 0, capsys.readouterr().err
        return yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())

    return go


def test_file_alone(run_config, tmp_path, capsys):
    config = run_config(FILE)
    options = flat(config)
    for name in ("setting", "method", "passes", "lr", "increment", "nb_tasks"):
        assert options[name] == FILE[name]
    assert "phase" not in capsys.readouterr().out, "quiet is an option, too"
    assert json.loads((tmp_path / "run" / "results.json").read_text())["config"] | {"format": 2} == config


def test_flags_win(run_config):
    config = run_config(FILE, "--lr", "0.3", "--method", "finetune", "--increment", "4", "3", "3")
    assert (config["lr"], config["method"], flat(config)["increment"], config["passes"]) == (
        0.3,
        "finetune",
        [4, 3, 3],
        1,
    )
    assert "buffer_size" not in config


def test_numbers_that_a_command_line_would_take_for_options(run_config, tmp_path, capsys):
    """YAML writes small numbers as 1.0e-05, and a negative one must not become an option's name."""
    assert run_config(FILE | {"lr": 1e-05})["lr"] == 1e-05
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(FILE | {"lr": -1e-05}))
    assert main(["--config", str(tmp_path / "run.yaml")]) == 2
    assert "--lr -1e-05 has to be greater than 0" in capsys.readouterr().err


def test_another_method_may_lack_an_option(run_config, tmp_path, capsys):
    config = run_config(FILE)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["--config", str(tmp_path / "run.yaml"), "--method", "finetune", "--run_dir", str(tmp_path / "b")]) == 2
    message = capsys.readouterr().err
    assert "There are no options --" in message
    assert (
        f" set by --config {tmp_path / 'run.yaml'}; leave --setting, --method and the choice of its parts to it."
        in message
    )
    assert main(["--config", str(tmp_path / "run.yaml"), "--lrr", "1"]) == 2
    assert " set by " not in capsys.readouterr().err


def test_a_folder_is_no_file(tmp_path, capsys):
    assert main(["--config", str(tmp_path)]) == 2
    assert f"is a folder; name the file in it, {tmp_path / 'config.yaml'}." in capsys.readouterr().err


def test_seeds_and_lists_of_pairs(tmp_path):
    config = {"setting": "traditional", "method": "random,finetune", "seeds": 2, "jobs": 1, "passes": 1, "quiet": True}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["--config", str(tmp_path / "run.yaml"), "--run_dir", str(tmp_path / "run"), "--method", "random"]) == 0
    assert {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()} == {
        "traditional-random-seed0",
        "traditional-random-seed1",
    }


def test_help_of_the_pair_in_a_file(tmp_path, capsys):
    (tmp_path / "run.yaml").write_text("setting: class_incremental\nmethod: ewc\n")
    assert main(["--config", str(tmp_path / "run.yaml"), "--help"]) == 0
    assert "--ewc_lambda" in capsys.readouterr().out
