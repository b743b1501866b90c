"""`--help`, `list` and `--version`."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from itertools import chain, dropwhile

import pytest

from redwood import __version__
from redwood.cli import main
from redwood.core.parts import kinds_of, option_fields, parts_of
from redwood.engine.run import Run
from redwood.experiments.command_line.options import parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.methods import METHODS, get_method
from redwood.methods.lightning import LightningMethod
from redwood.settings import SETTINGS, get_setting
from redwood.settings.base import why_not_applicable
from redwood.settings.data.table import DATASETS
from redwood.settings.supervised import SupervisedSetting
from tests.cli.command import environment

# Their targets are no parents of multi_task.
ELSEWHERE = {
    *("joint", "fedavg", "fedssi", "maml", "anil", "continual_maml", "uniform", "water_filling", "slice_tuner"),
    "semi_supervised",
}
AGENTS = {"ppo", "a2c", "dqn", "sac", "td3"}

SELECTION = {
    *("setting", "method", "seeds", "class_orders", "table", "jobs", "launcher", "slurm", "ray"),
    *("config", "preset", "suite", "trust", "version", "help"),
}

# An option of each command that has a parser of its own.
OWN = {
    "resume": "launcher",
    "predict": "task_id",
    "extend": "dataset",
    "export": "format",
    "report": "out",
    "bench": "select",
    "sweep": "protocol",
    "list": "presets",
    "advise": "costs",
}

METHOD_FILE = """
from dataclasses import dataclass
from redwood.methods.baselines import Finetune

@dataclass
class Mine(Finetune):
    \"\"\"Does half as much.\"\"\"

    share: float = 0.5  # 50% of the samples, not %(prog)s
    names: str | None = None  # which ones
    fast: bool = True  # do less
"""


def printed(capsys, *arguments):
    assert main(list(arguments)) == 0
    output = capsys.readouterr()
    assert output.err == ""
    return output.out


def shown_options(text):
    """Each option of a help text, with what it says of it."""
    options = {}
    for line in text.partition("\n\n")[2].splitlines():
        found = re.match(r"  --(\w+)", line)
        if found:
            name = found[1]
            options[name] = line
        elif line.startswith("   ") and options:
            options[name] += " " + line.strip()
    return options


@pytest.mark.parametrize(("command", "option"), [*OWN.items()])
def test_the_help_of_a_command_shows_its_own_options(capsys, tmp_path, command, option):
    text = printed(capsys, command, "--help")
    assert text.startswith(f"usage: cli.py {command} ") and option in shown_options(text)
    assert command == "sweep" or not {"setting", "seeds"} & shown_options(text).keys()


def test_the_help_of_predict_names_every_kind_of_file(capsys):
    told = shown_options(printed(capsys, "predict", "--help"))["dataset"]
    assert all(kind in told for kind in (".npz", ".h5", ".csv", ".parquet", "image"))


def test_the_help_of_a_command_needs_no_finished_run(capsys, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("format: 2\nsetting: class_incremental\nmethod: finetune\n")
    for command in ("predict", "report", "resume", "export", "extend"):
        assert "usage: cli.py" in printed(capsys, command, str(folder), "--help")
    assert "nb_tasks" in shown_options(printed(capsys, "extend", str(folder), "--help"))
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_the_help_of_a_sweep_shows_the_options_of_its_pair(capsys):
    text = printed(capsys, "sweep", "--setting", "class_incremental", "--method", "ewc", "--help")
    assert {"trials", "setting", "ewc_lambda", "nb_tasks"} <= shown_options(text).keys()


@pytest.mark.parametrize(
    ("called", "name"), [("/bin/redwood", "redwood"), ("/lib/redwood/__main__.py", "python -m redwood")]
)
def test_it_calls_itself_as_the_user_did(capsys, monkeypatch, called, name):
    monkeypatch.setattr(sys, "argv", [called])
    text = printed(capsys, "--help")
    assert text.startswith(f"usage: {name} --setting S") and f"  {name} --setting class_incremental" in text
    pair = printed(capsys, "--setting", "class_incremental", "--method", "ewc", "--help")
    assert pair.startswith(f"usage: {name} --setting class_incremental --method ewc [") and "cli.py" not in text + pair


def test_it_is_a_module_that_runs():
    command = [sys.executable, "-m", "redwood", "--version"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    assert shown.stdout == f"{__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(capsys, shell):
    script = printed(capsys, "completion", shell)
    assert all(word in script for word in ("resume", "class_incremental", "buffer_size", "n_steps", "osaka"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["--setting", "class_"], {"class_incremental"}),
        (["--buffer_s"], {"--buffer_sampler", "--buffer_size"}),
        (["pre"], {"predict"}),
    ],
)
def test_completion_in_bash(capsys, tmp_path, written, expected):
    (tmp_path / "script").write_text(printed(capsys, "completion", "bash"))
    words = " ".join(["redwood", *written])
    code = (
        f"source {tmp_path / 'script'}; COMP_WORDS=({words}); COMP_CWORD={len(written)}; _shtab_redwood; "
        'echo "${COMPREPLY[@]}"'
    )
    shown = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert {*shown.stdout.split()} == expected


def test_completion_of_no_shell(capsys):
    assert main(["completion", "fish"]) == 2
    assert "choose from" in capsys.readouterr().err


class TestPair:
    @pytest.mark.parametrize(
        "pair", [("class_incremental", "ewc"), ("continual", "rehearsal"), ("traditional", "random")]
    )
    def test_options_of_these_two_only(self, pair, capsys):
        text = printed(capsys, "--setting", pair[0], "--method", pair[1], "--help", "all")
        made = parse_options(Pair(*pair), [])
        owners = [made.setting, made.method, made.run]
        owners += [part for owner in owners for part in parts_of(owner)]
        offered = {name for owner in owners for name in option_fields(type(owner))}
        if "asynchronous" in offered:  # shown by its short name
            offered = offered - {"asynchronous"} | {"async"}
        shown = shown_options(text).keys()
        assert shown <= offered | SELECTION
        # Where a setting leaves no choice, as it has one task.
        assert (offered | SELECTION) - shown <= {"transition", "version"}

    def test_help_and_default_of_each(self, capsys):
        text = printed(capsys, "--setting", "class_incremental", "--method", "ewc", "--help", "all")
        options = {name: " ".join(line.split()) for name, line in shown_options(text).items()}
        for name in options.keys() - SELECTION:
            assert text.count(f"\n  --{name} ") == 1
        made = parse_options(Pair("class_incremental", "ewc"), [])
        roots = [made.setting, made.method, made.run]
        for owner in [*roots, *(part for root in roots for part in parts_of(root))]:
            kinds = kinds_of(type(owner))
            for name in options.keys() & option_fields(type(owner)):
                default = getattr(owner, name)
                told = kinds[name].text_of(default) if name in kinds else default
                in_words = "(default" in options[name] or default in (None, "", [], ())
                assert in_words or options[name].endswith(f" [{told}]"), options[name]
        assert options["lr"].split() == ["--lr", "float", "learning", "rate", "[0.05]"]
        assert options["passes"].split()[-4:] == ["20;", "online", "settings:", "1)"]
        assert "no_op" not in text and "%(" not in text

    def test_it_stays_short(self, capsys):
        """A class has the options that nearly everybody sets; those of one choice belong to a part."""
        text = printed(capsys, "--setting", "class_incremental", "--method", "rehearsal", "--help", "all")
        assert len(shown_options(text)) <= 65 and text.count("\n") <= 160
        limits = {SupervisedSetting: 12, LightningMethod: 14, Run: 14}
        assert all(len(fields(cls)) <= most for cls, most in limits.items())

    def test_first_the_options_that_most_users_need(self, capsys):
        pair = ["--setting", "domain_incremental", "--method", "ewc"]
        text = printed(capsys, *pair, "--stream", "rotated", "--help")
        shown = shown_options(text).keys()
        assert {"dataset", "nb_tasks", "lr", "ewc_lambda", "angles", "help"} <= shown
        assert not {"imbalance_seed", "checkpoint_every", "launcher", "momentum"} & shown
        assert text.count("\n") <= 65
        everything = shown_options(printed(capsys, *pair, "--stream", "rotated", "--help", "all")).keys()
        assert shown < everything
        assert f"\n{len(everything - shown)} more options: --help all\n" in text

    def test_what_the_classes_say(self, capsys):
        text = printed(capsys, "--setting", "class_incremental", "--method", "ewc", "--help", "all")
        for cls in (get_method("ewc"), get_setting("class_incremental")):
            assert f"\n{cls.__name__}: {cls.__doc__[:20]}" in text

    def test_method_of_the_user(self, tmp_path, capsys):
        (tmp_path / "mine.py").write_text(METHOD_FILE)
        text = printed(capsys, "--setting", "continual", "--method", f"{tmp_path / 'mine.py'}:Mine", "--help", "all")
        options = {name: " ".join(line.split()) for name, line in shown_options(text).items()}
        assert options["share"] == "--share float 50% of the samples, not %(prog)s [0.5]"
        assert options["names"] == "--names str which ones"
        assert options["fast"].endswith("do less [True]")
        assert "Mine: Does half as much:" in text


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in OWN)])
@pytest.mark.few(3)
def test_help_loads_nothing_heavy(arguments, tmp_path):
    """It has to be there at once: no torch, no Lightning, no numpy."""
    code = (
        f"import sys; from redwood.cli import main; code = main({arguments});"
        "heavy = {'torch', 'pytorch_lightning', 'numpy', 'rich', 'yaml', 'simple_parsing', 'wandb'} & set(sys.modules);"
        "print(heavy, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.strip()) == (0, "set()") and done.stdout.startswith("usage: ")


def test_general_help_names_everything(capsys):
    text = printed(capsys, "--help")
    assert shown_options(text).keys() == SELECTION
    for name in (*OWN, *SETTINGS, *METHODS):
        assert re.search(rf"\b{name}\b", text)


@pytest.mark.parametrize(
    ("given", "says", "option"),
    [
        (["--setting", "incremental_rl"], "Add --method to --setting incremental_rl; these apply: random, ", "env"),
        (["--method", "rehearsal"], "Add --setting to --method rehearsal; it applies under these: continual, ", "lr"),
    ],
)
def test_a_setting_or_a_method_alone(capsys, given, says, option):
    for text in (printed(capsys, *given, "--help"), printed(capsys, "--help", *given)):
        assert text.startswith(says) and "As an example, the options of --setting " in text
        assert option in shown_options(text[text.index("usage:") :])


@pytest.mark.parametrize(
    ("arguments", "status", "printed"),
    [
        (["list"], 0, "task_incremental"),
        (["sweep", "lr=1,2", "--setting", "continual", "--method", "ewc"], 2, "EWC targets ClassIncrementalSetting"),
        (["--setting", "continual", "--method", "ewc"], 2, "EWC targets ClassIncrementalSetting"),
    ],
)
def test_the_tree_and_what_does_not_apply_do_without_torch(arguments, status, printed, tmp_path):
    code = (
        f"import sys; from redwood.cli import main; status = main({arguments});"
        "print({'torch', 'pytorch_lightning', 'scipy', 'matplotlib', 'wandb'} & set(sys.modules)); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status and printed in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


def test_version(capsys):
    assert printed(capsys, "--version") == f"{__version__}\n"


class TestList:
    def test_one_setting_of_a_file(self, capsys):
        name = "examples/noisy_labels.py:NoisyLabels"
        text = " ".join(printed(capsys, "list", name).split())
        assert "under class_incremental" in text and "rehearsal, async_rehearsal" in text
        assert "noisy_labels (labels of training samples are wrong, in later tasks more often)" in text
        record = json.loads(printed(capsys, "list", name, "--json"))
        assert record["assumptions"][-1] == "noisy_labels" and record["parents"] == ["class_incremental"]
        assert main(["list", "nosuch"]) == 2 and main(["list", "osaka", "--presets"]) == 2

    def test_one_method_as_other_libraries_call_it(self, capsys):
        text = " ".join(printed(capsys, "list", "er").split())
        assert text.startswith("rehearsal experience replay: trains") and "others of replay async_rehearsal, " in text
        assert "applies under continual, " in text and text.endswith("--method rehearsal --help")
        record = json.loads(printed(capsys, "list", "ppo", "--json"))
        assert record["settings"][0] == "continual_rl" and record["family"] == "agents"

    def test_names_of_other_kinds(self, capsys):
        assert printed(capsys, "list", "class-il").startswith("class_incremental\n")
        assert json.loads(printed(capsys, "list", "Replay", "--json"))["replay"].keys() >= {"rehearsal", "der"}
        assert main(["list", "gem"]) == main(["list", "clas_incremental"]) == 2
        told = capsys.readouterr().err
        assert "the nearest is --method agem" in told and "did you mean class_incremental?" in told

    def test_data_sets(self, capsys):
        text = " ".join(printed(capsys, "list", "--datasets").split())
        assert "need no download: digits, prototypes, " in text and "are downloaded when first used: mnist, " in text
        groups = json.loads(printed(capsys, "list", "--datasets", "--json"))
        assert sorted(chain(*groups.values())) == sorted(DATASETS)

    def test_methods_by_family(self, capsys):
        text = printed(capsys, "list", "--methods")
        assert text.index("\nreplay ") < text.index("\n  rehearsal ") < text.index("\ndistillation ")
        families = json.loads(printed(capsys, "list", "--methods", "--json"))
        assert sorted(chain(*families.values())) == sorted(METHODS)
        assert families["osaka"].keys() == {"maml", "anil", "continual_maml"}
        assert main(["list", "osaka", "--methods"]) == 2 and main(["list", "--methods", "--presets"]) == 2

    def test_tree(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "200")
        lines = list(dropwhile(lambda line: "──" not in line, printed(capsys, "list").splitlines()))
        depth, named, gone = {}, {}, {}
        for line in lines:
            found, listed = re.search(r"── (\w+)", line), line.strip(" │,")
            if found:
                name = found[1]
                depth[name], named[name], gone[name] = found.start(), [], []
            elif listed.startswith("not "):
                gone[name] = listed.removeprefix("not ").split(", ")
            else:
                named[name] += listed.split(", ")
        known = set(map(get_setting, SETTINGS))
        for name, methods in named.items():
            parents = [parent for parent in get_setting(name).__bases__ if parent in known]
            assert methods == [
                key
                for key, method in ((key, get_method(key)) for key in METHODS)
                if why_not_applicable(get_setting(name), method) is None
                and all(why_not_applicable(parent, method) for parent in parents)
            ]
            assert all(why_not_applicable(get_setting(name), get_method(key)) for key in gone[name])
        assert gone["online_task_incremental"] == [
            "reuse_outputs",
            "independent",
            "finetune_from",
            "mntdp",
            "composable",
        ]
        assert depth.keys() == SETTINGS.keys()
        chain = ["continual", "task_agnostic", "class_incremental", "task_incremental", "multi_task"]
        assert [depth[name] for name in chain] == sorted({depth[name] for name in chain})

    def test_json(self, capsys):
        records = json.loads(printed(capsys, "list", "--json"))
        assert [record["key"] for record in records] == list(SETTINGS)
        for record in records:
            assert record.keys() == {"key", "class", "parents", "assumptions", "methods"}
        by_key = {record["key"]: record for record in records}
        assert by_key["multi_task"] == {
            "key": "multi_task",
            "class": "MultiTaskSetting",
            "parents": ["task_incremental", "traditional"],
            "assumptions": [
                "labels",
                "discrete_contexts",
                "stationary",
                "task_boundaries",
                "task_ids_in_training",
                "task_ids_at_test",
            ],
            "methods": [method for method in METHODS if method not in ELSEWHERE | AGENTS],
        }
        assert "joint" in by_key["cumulative"]["methods"] and "ewc" not in by_key["continual"]["methods"]
        assert by_key["continual"]["parents"] == ["SupervisedSetting"]
