"""The first tries of users of Avalanche, Mammoth and Sequoia: each word is accepted as redwood's, or answered by it."""

import re
import shlex

import pytest

from redwood.cli import main
from redwood.core.peer_words import TABLE
from redwood.experiments.command_line import options
from redwood.experiments.comparisons.comparison import Comparison
from tests.cli.command import assert_one_sentence

CLASSES = "--setting class_incremental"
REHEARSAL = f"{CLASSES} --method rehearsal"
FINETUNE = f"{CLASSES} --method finetune"

# Commands that mean exactly the same.
ACCEPTED = [
    (f"{CLASSES} --method naive", FINETUNE),
    (f"{CLASSES} --method sgd", FINETUNE),
    (f"{CLASSES} --method er", REHEARSAL),
    (f"{CLASSES} --method=experience_replay", REHEARSAL),
    (f"{CLASSES} --method derpp", f"{CLASSES} --method der_pp"),
    (f"{CLASSES} --method DER++", f"{CLASSES} --method der_pp"),
    (f"{CLASSES} --method EWC", f"{CLASSES} --method ewc"),
    (f"{CLASSES} --method ER_ACE", f"{CLASSES} --method er_ace"),
    (f"{FINETUNE} --dataset CIFAR-100", f"{FINETUNE} --dataset cifar100"),
    ("--setting class-incremental --method ewc", f"{CLASSES} --method ewc"),
    (f"{CLASSES} --method agem_r", f"{CLASSES} --method agem"),
    (f"{CLASSES} --method a-gem", f"{CLASSES} --method agem"),
    (f"{CLASSES} --method ewc_on", f"{CLASSES} --method ewc"),
    (f"{CLASSES} --method SynapticIntelligence", f"{CLASSES} --method si"),
    (f"{CLASSES} --method ewc_on+er", f"{CLASSES} --method ewc+rehearsal"),
    ("--setting class-il --method ewc", f"{CLASSES} --method ewc"),
    ("--setting task-il --method ewc", "--setting task_incremental --method ewc"),
    ("--setting domain-il --method ewc", "--setting domain_incremental --method ewc"),
    ("--setting task_incremental_sl --method hat", "--setting task_incremental --method hat"),
    ("--setting traditional_sl --method naive", "--setting traditional --method finetune"),
    ("--setting incremental_rl --method sb3.ppo", "--setting incremental_rl --method ppo"),
    (f"{FINETUNE} --dataset split_mnist", f"{FINETUNE} --dataset mnist"),
    (f"{FINETUNE} --dataset SplitMNIST", f"{FINETUNE} --dataset mnist"),
    (f"{FINETUNE} --dataset=seq-mnist", f"{FINETUNE} --dataset mnist"),
    (f"{FINETUNE} --dataset split_cifar10", f"{FINETUNE} --dataset cifar10"),
    (f"{FINETUNE} --dataset seq-cifar10", f"{FINETUNE} --dataset cifar10"),
    (f"{FINETUNE} --dataset split_fmnist", f"{FINETUNE} --dataset fashion_mnist"),
    (f"{FINETUNE} --dataset split_digits", f"{FINETUNE} --dataset digits"),
    (f"{FINETUNE} --dataset seq-SVHN", f"{FINETUNE} --dataset svhn"),
    (f"{FINETUNE} --epochs 3", f"{FINETUNE} --passes 3"),
    (f"{FINETUNE} --n_epochs=3", f"{FINETUNE} --passes 3"),
    (f"{FINETUNE} --train_epochs 3", f"{FINETUNE} --passes 3"),
    (f"{FINETUNE} --max_epochs 3", f"{FINETUNE} --passes 3"),
    (f"{FINETUNE} --learning_rate 0.1", f"{FINETUNE} --lr 0.1"),
    ("--setting incremental_rl --method ppo --lr 0.1", "--setting incremental_rl --method ppo --learning_rate 0.1"),
    (f"{REHEARSAL} --mem_size 20", f"{REHEARSAL} --buffer_size 20"),
    (f"{REHEARSAL} --memory_size 20", f"{REHEARSAL} --buffer_size 20"),
    (f"{FINETUNE} --train_mb_size 8", f"{FINETUNE} --batch_size 8"),
    (f"{FINETUNE} --n_tasks 2", f"{FINETUNE} --nb_tasks 2"),
    (f"{FINETUNE} --n_experiences 2", f"{FINETUNE} --nb_tasks 2"),
    (f"{FINETUNE} --optim_mom 0.9 --optim_wd 1e-4", f"{FINETUNE} --momentum 0.9 --weight_decay 1e-4"),
    (f"{FINETUNE} --backbone mlp", f"{FINETUNE} --model mlp"),
    ("--settings class_incremental --methods finetune", FINETUNE),
    (f"{CLASSES} --strategy naive", FINETUNE),
]
# Commands that mean something else or nothing, and the answer.
ANSWERED = [
    (f"{CLASSES} --method replay", "--method rehearsal --buffer_policy class_balanced --buffer_sampler old_tasks."),
    (f"{CLASSES} --method gem", "redwood has no gem; the nearest is --method agem, with one constraint"),
    (f"{CLASSES} --method joint", "Joint targets CumulativeSetting (--setting cumulative)"),
    (f"{CLASSES} --method cumulative", "write --setting cumulative --method finetune."),
    (f"{CLASSES} --method JointTraining", "write --setting traditional --method finetune."),
    (f"{CLASSES} --method xder", "redwood has no xder; the nearest is --method der_pp."),
    (f"{CLASSES} --method l2p", "redwood has no prompts"),
    (f"{CLASSES} --method base_method", "write --method finetune."),
    (f"{CLASSES} --method fdr", "There is no method named 'fdr'. Known: "),
    ("--setting split_mnist --method finetune", "write --setting class_incremental --dataset mnist."),
    (
        "--setting split_cifar100 --method finetune",
        "write --setting class_incremental --dataset cifar100 --nb_tasks 10.",
    ),
    ("--setting permuted_mnist --method ewc", "write --setting domain_incremental --dataset mnist --stream permuted"),
    ("--setting nc --method ewc", "write --setting class_incremental, or task_incremental"),
    ("--setting general-continual --method er", "--setting continual"),
    (
        f"{FINETUNE} --dataset perm_mnist",
        "--setting domain_incremental --dataset mnist --stream permuted --nb_tasks 20.",
    ),
    (f"{FINETUNE} --dataset permutedmnist", "--stream permuted --nb_tasks 20."),
    (f"{FINETUNE} --dataset rot_mnist", "--stream rotated --nb_tasks 20."),
    (f"{FINETUNE} --dataset split_cifar100", "write --dataset cifar100 --nb_tasks 10."),
    (f"{FINETUNE} --dataset seq-cifar100", "write --dataset cifar100 --nb_tasks 10."),
    (f"{FINETUNE} --dataset seq-tinyimg", "write --dataset tiny_imagenet --nb_tasks 10."),
    (f"{FINETUNE} --dataset split_imagenet", "write --dataset FOLDER."),
    (
        f"{REHEARSAL} --buffer 20",
        "There is no option --buffer for --setting class_incremental --method rehearsal; did you mean --buffer_size?",
    ),
    (f"{FINETUNE} --batch 20", "did you mean --batch_size?"),
    (f"{FINETUNE} --mem_size 20", "--mem_size is --buffer_size in redwood, which --setting class_incremental"),
    (f"{REHEARSAL} --minibatch_size 20", "write --replay_ratio."),
    (f"{FINETUNE} --n_iters 20", "redwood counts passes over the samples of a task; write --passes."),
    (f"{FINETUNE} --epochs 2 --passes 3", "--passes is given twice"),
    (f"{FINETUNE} --return_task_id True", "write --setting task_incremental."),
    (f"{FINETUNE} --device cuda:0", "write --accelerator cpu or gpu"),
    (f"{FINETUNE} --nowand 1", "only with --wandb online"),
    (f"{FINETUNE} --scenario class_incremental", "the protocol is --setting"),
    ("--scenario nc --strategy naive", "the protocol is --setting"),
    (
        "--scenario class-il --model er --dataset split_digits",
        "write --setting class_incremental --method rehearsal --dataset digits.",
    ),
    (
        "--scenario task-il --method er --lr 0.1",
        "in redwood it is the setting; write --setting task_incremental --method rehearsal --lr 0.1.",
    ),
    (f"{CLASSES} --method ewc --e_lambda 10", "write --ewc_lambda X --importance_scale none."),
    (f"{FINETUNE} --wandb offline --wandb_project cl", "write --project NAME beside --wandb online or offline."),
    ("--benchmark split_mnist --strategy naive", "write --setting S --dataset D."),
    ("--model er --dataset seq-cifar10", "write --setting class_incremental --method rehearsal --dataset cifar10."),
    (
        "--setting continual --model=derpp --dataset=seq-cifar10 --lr 0.1 --seeds 2",
        "write --setting continual --method der_pp --dataset=cifar10 --lr 0.1 --seeds 2.",
    ),
    (
        "--method icarl --lr 0.1",
        "--setting is missing; for example --setting class_incremental --method icarl --lr 0.1.",
    ),
    ("--method ppo", "for example --setting continual_rl --method ppo."),
    ("--setting incremental_rl --lr 1", "--method is missing; for example --setting incremental_rl --method "),
    ("er --lr 0.1", "er is no command but a method; write --setting class_incremental --method rehearsal --lr 0.1."),
    ("ewc+er", "write --setting class_incremental --method ewc+rehearsal."),
    ("class-il --method ewc", "is no command but a setting; write --setting class_incremental --method ewc."),
    ("seq-mnist", "a data set; write --setting class_incremental --method rehearsal --dataset mnist."),
    ("gem", "redwood has no gem; the nearest is --method agem"),
    ("sweep momentum=0,0.9 --method ewc", "for example momentum=0,0.9 --setting class_incremental --method ewc."),
    ("--model gem --dataset seq-cifar10", "redwood has no gem; the nearest is --method agem"),
    ("train --model er", "There is no command train: a run needs no command word; write --setting S --method M."),
    ("evaluate runs/x", "new samples take predict DIR --dataset D."),
    ("info", "There is no command info: settings and methods are listed by list."),
    ("resume runs/x --epochs 3", "resume goes on with what was started, so that --epochs stays as it is"),
    ("predict runs/x --dataset seq-mnist", "--dataset seq-mnist is --dataset mnist in redwood; write that."),
]


MINE = """
from dataclasses import dataclass
from redwood.methods import Finetune

@dataclass
class Mine(Finetune):
    epochs: int = 1
    strategy: str = ""
"""


@pytest.fixture
def chosen(monkeypatch):
    """The options of the runs that commands would start."""
    found = []
    monkeypatch.setattr("redwood.experiments.runs.runner.run_pair", lambda pair, made, console: found.append(made))
    return found


@pytest.mark.parametrize(("theirs", "ours"), ACCEPTED)
def test_accepted(theirs, ours, chosen, capsys):
    assert main(shlex.split(theirs)) == 0
    assert " in redwood\n" in capsys.readouterr().out
    assert main(shlex.split(ours)) == 0
    assert " in redwood\n" not in capsys.readouterr().out
    first, second = chosen
    assert (first.setting, first.method) == (second.setting, second.method)


def test_nothing_is_told_if_quiet(chosen, capsys):
    assert main(f"{CLASSES} --method er --epochs 2 --dataset seq-mnist --quiet".split()) == 0
    assert capsys.readouterr().out == "" and chosen[0].setting.passes == 2


@pytest.mark.parametrize(("command", "says"), ANSWERED)
def test_answered(command, says, chosen, capsys):
    assert main(shlex.split(command)) == 2
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert says in error
    assert chosen == []


def test_what_the_table_says_is_understood(chosen):
    """All that redwood is said to have, with names in place of the letters."""
    names = {"S": "class_incremental", "M": "finetune", "D": "digits", "NAME": "resnet18", "FOLDER": "digits"}
    texts = {word.ours for kind, entries in TABLE.items() if kind != "option" for word in entries.values()}
    for text in texts:
        words = [names.get(word, word) for word in text.replace("timm:NAME", "timm:resnet18").split()]
        if words and words[0].startswith("--") and "," not in text:
            method = "ppo" if re.search(r"_rl|ppo|a2c|dqn|sac|td3", text) else "finetune"
            setting = "continual_rl" if method == "ppo" else "task_incremental"
            words += ["--milestones", "1"] if "milestones" in words else []
            words += [] if "--setting" in words else ["--setting", setting]
            words += [] if "--method" in words else ["--method", method]
            assert main(words) == 0, text
    assert len(chosen) > 40


def test_the_options_of_the_table_exist():
    pairs = [("class_incremental", "rehearsal"), ("domain_incremental", "ewc"), ("incremental_rl", "ppo")]
    parts = ["--stream", "rotated", "--lr_schedule", "milestones", "--milestones", "1", "--wandb", "online"]
    known = {
        option
        for pair in pairs
        for option in options.make_parser(options.Pair(*pair), parts if pair[1] == "ewc" else [])._option_string_actions
    }
    ours = {word.ours.split()[0] for word in TABLE["option"].values() if word.ours.startswith("--")}
    assert ours <= known


class TestOwnNamesComeFirst:
    def test_an_option_of_an_own_class(self, tmp_path, monkeypatch, chosen, capsys):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine.py").write_text(MINE)
        assert main(f"{CLASSES} --method mine.py:Mine --epochs 7 --strategy naive".split()) == 0
        (made,) = chosen
        assert (made.method.epochs, made.method.strategy, made.setting.passes) == (7, "naive", 20)
        assert " in redwood" not in capsys.readouterr().out

    def test_a_method_of_a_package(self, monkeypatch, chosen):
        monkeypatch.setattr(
            "redwood.core.registry.entries",
            lambda group: [("naive", "redwood.methods.baselines:StableSGD")] if group == "redwood.methods" else [],
        )
        assert main(f"{CLASSES} --method naive".split()) == 0
        assert type(chosen[0].method).__name__ == "StableSGD"

    def test_a_folder_of_data(self, tmp_path, monkeypatch, chosen):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "data" / "split_mnist").mkdir(parents=True)
        assert main(f"{FINETUNE} --dataset split_mnist".split()) == 0
        assert chosen[0].setting.dataset.source == "split_mnist"

    def test_an_option_of_redwood(self, chosen):
        assert main(["--setting", "incremental_rl", "--method", "ppo", "--n_epochs", "2"]) == 0
        assert chosen[0].method.n_epochs == 2


def test_a_comparison_and_a_sweep_take_them_too(monkeypatch, capsys):
    seen = []

    def start(pairs, rest, *_, **__):
        seen.append((pairs, rest))
        return Comparison([])

    for place in ("comparisons.compare.compare", "sweeps.sweep.start_sweep"):
        monkeypatch.setattr(f"redwood.experiments.{place}", start)
    assert main(f"{CLASSES} --method naive,er --epochs 2".split()) == 0
    assert main(f"sweep lr=0.1,0.2 {CLASSES} --method naive --epochs 2".split()) == 0
    (compared, rest), (swept, again) = seen
    assert [pair.method for pair in compared] == ["finetune", "rehearsal"] and swept.method == "finetune"
    assert rest == again == ["--passes", "2"]


def test_a_short_run(tmp_path, capsys):
    folder = tmp_path / "run"
    command = f"--setting class-il --method naive --epochs 1 --n_experiences 2 --accelerator cpu --run_dir {folder}"
    assert main(command.split()) == 0
    text = (folder / "config.yaml").read_text()
    assert "method: finetune" in text and "passes: 1" in text and "epochs" not in text
