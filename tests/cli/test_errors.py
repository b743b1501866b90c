"""Whatever is wrong with the input: exit code 2, one sentence, no traceback, nothing left behind."""

import re

import numpy as np
import pytest
import torch

from redwood.cli import _print_stop, main
from redwood.core.calls import from_command_line
from redwood.core.child_processes import check_processes
from redwood.core.errors import InvalidOptionError
from tests.cli.command import CLI, assert_one_sentence, content, run, start, start_copy

PAIR = ["--setting", "class_incremental", "--method", "finetune"]
REHEARSAL = [*PAIR[:3], "rehearsal"]

BROKEN_METHODS = {
    "syntax.py": "class Mine(:\n",
    "missing.py": "import no_such_library\n",
    "failing.py": "x = 1\n1 / 0\n",
    "other.py": "class Mine: pass\nnumber = 3\n",
    "clash.py": """
from dataclasses import dataclass
from redwood.methods.baselines import Finetune

@dataclass
class WithRunOption(Finetune):
    quiet: bool = False

@dataclass
class WithSettingOption(Finetune):
    seed: int = 0

@dataclass
class WithCliOption(Finetune):
    config: str = ""
""",
    "needs.py": """
from dataclasses import dataclass
from redwood.methods.base import Method

@dataclass
class Needs(Method):
    temperature: float
    def configure(self, setting): ...
    def fit(self, phase): ...
    def predict(self, x, task_id): ...

class Blind(Method):
    def configure(self, setting): ...
    def fit(self, phase): ...
""",
    "broken_net.py": "def net(:\n",
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    """A folder with one file for each thing that can be wrong with one."""
    folder = tmp_path_factory.mktemp("bad")
    x, y = np.random.default_rng(0).random((60, 4), dtype=np.float32), np.arange(60) % 3
    np.savez(folder / "good.npz", x=x, y=y)
    whole = (folder / "good.npz").read_bytes()
    (folder / "truncated.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(folder / "below.npz", x=x, y=y - 1)
    np.savez(folder / "nan.npz", x=np.where(np.arange(60)[:, None] == 7, np.nan, x).astype(np.float32), y=y)
    np.savez(folder / "text.npz", x=np.array(["a", "b", "c"])[y][:, None], y=y)
    for name, source in BROKEN_METHODS.items():
        (folder / name).write_text(source)
    (folder / "invalid.yaml").write_text("lr: [1\nb: }")
    (folder / "list.yaml").write_text("- 1\n")
    (folder / "unknown.yaml").write_text("setting: class_incremental\nmethod: finetune\nbatch_sise: 3\n")
    (folder / "nested.yaml").write_text("setting: class_incremental\nmethod: finetune\nlr: {a: 1}\n")
    (folder / "resume.yaml").write_text("setting: class_incremental\nmethod: finetune\nresume: somewhere\n")
    (folder / "twice.yaml").write_text("setting: class_incremental\nlr: 0.1\nmethod: finetune\nlr: 0.2\n")
    (folder / "python.yaml").write_text(
        "setting: class_incremental\nmethod: finetune\nmodel: <Sequential, given from Python>\n"
    )
    (folder / "python_run").mkdir()
    (folder / "python_run" / "config.yaml").write_text(f"format: 2\n{(folder / 'python.yaml').read_text()}")
    (folder / "file").write_text("")
    (folder / "no_run").mkdir()
    (folder / "damaged").mkdir()
    (folder / "damaged" / "comparison.yaml").write_text("pairs: 3\n")
    (folder / "full").mkdir()
    (folder / "full" / "results.json").write_text("mine")
    return folder


CASES = {
    # what to run
    "no setting": ([], "--setting is missing"),
    "no method": (PAIR[:2], "--method is missing"),
    "unknown setting": (
        ["--setting", "clas_incremental", *PAIR[2:]],
        "'clas_incremental'. Did you mean class_incremen",
    ),
    "half a method": ([*PAIR[:2], "--method", "ewc+"], r"In ewc\+ a name is missing beside a plus sign"),
    "unknown method": ([*PAIR[:2], "--method", "rehersal"], "named 'rehersal'. Did you mean rehearsal?"),
    "incompatible pair": (["--setting", "continual", "--method", "ewc"], "EWC targets ClassIncrementalSetting"),
    "no pair applies": (["--setting", "continual,task_agnostic", "--method", "ewc,joint"], "EWC targets"),
    "no seeds": ([*PAIR, "--seeds", "0"], "--seeds: 0 has to be at least 1"),
    "a list of seeds": (
        [*PAIR, "--seeds", "0,1,2"],
        "0,1,2 is a list; --seeds takes the number of seeds.*; write --seeds 3;",
    ),
    "a list of later seeds": ([*PAIR, "--seeds", "[4, 3]"], "from --seed on; write --seed 3 --seeds 2;"),
    "a list of seeds with gaps": ([*PAIR, "--seeds", "1,5"], "1,5 is a list; .* from --seed on;"),
    "seeds in words": ([*PAIR, "--seeds", "three"], "'three' is no number; --seeds takes .*, such as --seeds 3;"),
    "jobs in one process": ([*PAIR, "--seeds", "2", "--launcher", "here", "--jobs", "3"], "leave --jobs 3 out"),
    "options of SLURM elsewhere": (
        [*PAIR, "--seeds", "2", "--slurm", "mem=8G"],
        "--slurm mem=8G is for --launcher slurm",
    ),
    "options of SLURM for one run": ([*PAIR, "--slurm", "mem=8G"], "--slurm mem=8G is for several runs; leave it out"),
    "Ray for one run": ([*PAIR, "--launcher", "ray"], "for the workers of one run see docs/distributed.md"),
    "no jobs": ([*PAIR, "--jobs", "0"], "--jobs: 0 has to be at least 1"),
    "version with seeds": (["--version", "--seeds", "3"], "--version goes alone; leave --seeds out."),
    # commands
    "no command": (["resum", "x"], "There is no command resum; did you mean resume?"),
    "nothing like a command": (["elephant"], "There is no command elephant; choose one of resume, predict"),
    "a command as an option": (["--resume", "x"], "--resume is a command now: python cli.py resume DIR"),
    "another one": (["--list"], "--list is a command now: python cli.py list"),
    "a command beside a pair": ([*PAIR, "--sweep", "lr=1,2"], "--sweep is a command now: python cli.py sweep NAME="),
    "a command in a command": (["export", "x", "--resume", "y"], "--resume is a command now"),
    "a command in resume": (
        ["resume", "x", "--sweep", "lr=1,2"],
        "--sweep is a command now: python cli.py sweep NAME=",
    ),
    "a command after options": ([*PAIR, "advise"], "'advise' belongs to no option; a command comes first"),
    "options before the folder": (
        ["resume", "--workers", "2", "x"],
        "DIR comes before --workers: python cli.py resume",
    ),
    "no folder to go on with": (["resume"], "The following arguments are required: DIR"),
    "list with a method": (["list", "--method", "ewc"], "There is no option --method for the command list"),
    "advice with seeds": (
        ["advise", "--seeds", "3"],
        "There is no option --seeds for the command advise; did you mean --seed?",
    ),
    # options
    "an option of agents beside --async": (
        ["--setting", "class_incremental", "--method", "rehearsal", "--async", "true", "--eval_every", "10"],
        "There is no option --eval_every for --setting class_incremental",
    ),
    "unknown option": ([*PAIR, "--batch_sise", "3"], "no option --batch_sise for .*; did you mean --batch_size?"),
    "several unknown options": (
        [*PAIR, "--batch_sise", "3", "--mem_size", "7", "8", "--odd", "--batch_sice=4", "--angles", "0"],
        "no options --batch_sise, --batch_sice for .*; did you mean --batch_size. --mem_size is --buffer_size .* There "
        "is no option --odd; see --help. --angles belongs to --stream rotated",
    ),
    "unknown option, =": ([*PAIR, "--batch_sise=3"], "did you mean --batch_size?"),
    "option of another method": ([*PAIR, "--ewc_lambda", "3"], "no option --ewc_lambda for --setting class_incr"),
    "unknown option of many": (["--setting", "all", "--method", "ewc", "--lamda", "1"], "for any of these pairs"),
    "abbreviated option": ([*PAIR, "--batch", "3"], "no option --batch "),
    "stray argument": ([*PAIR, "--lr", "1", "stray"], "'stray' belongs to no option"),
    "no value": ([*PAIR, "--passes"], "--passes: expected one argument"),
    "wrong type": ([*PAIR, "--batch_size", "many"], "--batch_size: invalid int value: 'many'"),
    "wrong type in a list": ([*PAIR, "--class_order", "1", "x"], "--class_order: invalid int value: 'x'"),
    "no bool": ([*PAIR, "--quiet", "maybe"], "--quiet.*maybe"),
    "out of range": ([*PAIR, "--lr", "-1"], "--lr -1.0 has to be greater than 0"),
    "not a number": ([*PAIR, "--validation", "nan"], "--validation nan has to be"),
    "infinite": ([*PAIR, "--momentum", "inf"], "--momentum inf has to be a finite number"),
    "infinite learning rate": ([*PAIR, "--lr", "inf"], "--lr inf has to be greater than 0, and finite"),
    "unknown choice": ([*PAIR, "--lr_schedule", "cosin"], "--lr_schedule cosin is unknown; did you mean cosine"),
    "unknown optimizer": ([*PAIR, "--optimizer", "sgdd"], "--optimizer sgdd"),
    "unknown network": ([*PAIR, "--model", "mlpp"], "Did you mean mlp?"),
    "unknown accelerator": ([*PAIR, "--accelerator", "abacus"], "choose one of auto, cpu"),
    "wandb nonsense": (
        [*PAIR, "--wandb", "maybe"],
        "--wandb maybe is unknown; choose one of disabled, offline, online",
    ),
    "given twice": (
        [*PAIR, "--lr", "0.01", "--lr", "0.1"],
        "--lr is given twice, as --lr 0.01 and as --lr 0.1; give it once",
    ),
    "given twice, =": ([*PAIR, "--increment", "2", "3", "--increment=5"], "as --increment 2 3 and as --increment=5"),
    "on and off": ([*PAIR, "--quiet", "--noquiet"], "--quiet is given twice, as --quiet and as --noquiet"),
    "two methods": ([*PAIR, "--method", "ewc"], "--method is given twice, as --method finetune and as --method ewc"),
    # contradictions
    "passes": (["--setting", "online_class_incremental", *PAIR[2:], "--passes", "3"], "--passes 3 contradicts"),
    "workers": (["--setting", "distributed_class_incremental", *PAIR[2:], "--workers", "1"], "--workers 1 contradicts"),
    "transition": (
        [*PAIR, "--transition", "gradual"],
        "gradual does not go with ClassIncrementalSetting",
    ),
    "increment": ([*PAIR, "--increment", "3", "3"], "adds up to 6, but the data set has 10 classes"),
    "devices": ([*PAIR, "--devices", "3"], "--devices 3 names 3 devices a machine, but --workers 1"),
    # data
    "unknown data set": ([*PAIR, "--dataset", "digts"], "Did you mean digits?"),
    "truncated file": ([*PAIR, "--dataset", "truncated.npz"], "truncated.npz cannot be read"),
    "no file": ([*PAIR, "--dataset", "nowhere.npz"], "nowhere.npz does not exist"),
    "labels below 0": ([*PAIR, "--dataset", "below.npz"], "labels must not be negative, got -1"),
    "text samples": ([*PAIR, "--dataset", "text.npz"], "not numbers"),
    "NaN": ([*PAIR, "--dataset", "nan.npz"], "NaN"),
    "too many tasks": ([*PAIR, "--dataset", "good.npz", "--nb_tasks", "4"], "--nb_tasks 4 is more than the 3 classes"),
    "empty task": (
        [*PAIR, "--dataset", "good.npz", "--stream", "instance", "--nb_tasks", "30"],
        "Task 12 of good has no test samples",
    ),
    "no images": ([*PAIR, "--dataset", "good.npz", "--stream", "rotated"], "--stream rotated needs images"),
    # folders and files
    "used folder": ([*PAIR, "--run_dir", "full"], "--run_dir full exists and is not empty"),
    "used folder, many": ([*PAIR[:2], "--method", "ewc,finetune", "--run_dir", "full"], "--run_dir full exists"),
    "a file": ([*PAIR, "--run_dir", "file"], "--run_dir file"),
    "below a file": ([*PAIR, "--run_dir", "file/run"], "--run_dir file/run"),
    "no run": (["resume", "no_run"], "resume no_run: there is no run in this folder"),
    "no folder": (["resume", "nowhere"], "resume nowhere: there is no run in this folder"),
    "resume and more": (["resume", "no_run", "--lr", "3"], "resume goes on with what was started, so that --lr stays"),
    "resume and further data": (
        ["resume", "no_run", "--dataset", "d"],
        "so that --dataset stays as it is; leave it out, or learn further data by extend. Options",
    ),
    "resume and more beside": (
        ["resume", "no_run", "--workers", "3", "--sed", "3"],
        "so that --sed stays as it is; leave it out. Options that may change: --accel",
    ),
    "resume and what may change": (["resume", "no_run", "--workers", "3"], "there is no run in this folder"),
    "resume and jobs": (["resume", "no_run", "--jobs", "2"], "goes on with a run, which --jobs does not suit"),
    "damaged comparison": (["resume", "damaged"], "damaged/comparison.yaml is damaged"),
    "resume a comparison and more": (
        ["resume", "damaged", "--workers", "2"],
        "with several runs, which --workers does not",
    ),
    "resume and seeds": (["resume", "no_run", "--seeds=3"], "so that --seeds stays as it is"),
    "invalid YAML": (["--config", "invalid.yaml"], "invalid.yaml is not valid YAML"),
    "key set twice": (["--config", "twice.yaml"], "The configuration file twice.yaml sets lr twice; remove one"),
    "YAML list": (["--config", "list.yaml"], "list.yaml has to hold lines like `lr: 0.1`"),
    "unknown key": (["--config", "unknown.yaml"], "no option --batch_sise .*; did you mean --batch_size?"),
    "nested value": (["--config", "nested.yaml"], "lr has to be a plain value"),
    "key without place": (["--config", "resume.yaml"], "resume has no place"),
    "no YAML file": (["--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
    # methods of the user
    "no method file": ([*PAIR[:2], "--method", "nowhere.py:Mine"], "nowhere.py does not exist"),
    "syntax error": ([*PAIR[:2], "--method", "syntax.py:Mine"], r"SyntaxError: .*\(syntax.py, line 1\)"),
    "missing library": ([*PAIR[:2], "--method", "missing.py:Mine"], "No module named 'no_such_library', in line 1"),
    "failing file": ([*PAIR[:2], "--method", "failing.py:Mine"], "ZeroDivisionError: division by zero, in line 2"),
    "no such class": ([*PAIR[:2], "--method", "needs.py:Nedds"], "named 'Nedds'. Did you mean Needs?"),
    "no method in it": ([*PAIR[:2], "--method", "other.py:Mime"], "named 'Mime'. There is none at all"),
    "file without a class": ([*PAIR[:2], "--method", "needs.py"], "is a file; .* is the method, as in needs.py:Blind"),
    "no predict": ([*PAIR[:2], "--method", "needs.py:Blind"], "Blind has no predict; define what is missing"),
    "network that cannot be imported": ([*PAIR, "--model", "broken_net.py:net"], "cannot be imported .SyntaxError"),
    "network from Python": (["--config", "python.yaml"], "python.yaml cannot hold the model of its run, Sequential"),
    "network from Python, resumed": (["resume", "python_run"], "cannot hold the model of its run, Sequential"),
    "no Method": ([*PAIR[:2], "--method", "other.py:Mine"], "other.py:Mine is not a method"),
    "no class": ([*PAIR[:2], "--method", "other.py:number"], "other.py:number is not a method"),
    "no module": ([*PAIR[:2], "--method", "no_such_module:Mine"], "'no_such_module' cannot be found"),
    "abstract": ([*PAIR[:2], "--method", "redwood.methods.base:Method"], "Method has no configure and fit and predict"),
    "no default": (
        [*PAIR[:2], "--method", "needs.py:Needs"],
        "Needs gives temperature no default; write",
    ),
    "clash with the run": ([*PAIR[:2], "--method", "clash.py:WithRunOption"], "both have an option --quiet"),
    "clash with the setting": ([*PAIR[:2], "--method", "clash.py:WithSettingOption"], "both have an option --seed"),
    # rehearsal buffers
    "no room": ([*REHEARSAL, "--buffer_size", "0"], "--buffer_size 0 has to be at least 1"),
    "several sizes": (
        [*REHEARSAL, "--buffer_size", "50,200"],
        "--buffer_size takes one value, not 50 and 200; .* report DIR DIR, .* by sweep buffer_size=50,200",
    ),
    "several sizes with spaces": ([*REHEARSAL, "--buffer_size", "50", "200"], "takes one value, not 50 and 200"),
    "several seeds": ([*PAIR, "--seed", "1,2"], "--seed takes one value, not 1 and 2; write --seeds 2, which"),
    "a list with commas": ([*PAIR, "--class_order", "0,1"], "write --class_order 0 1"),
    "unknown policy": ([*REHEARSAL, "--buffer_policy", "rong"], "--buffer_policy rong is unknown; did you mean ring"),
    "option of another policy": (
        [*REHEARSAL, "--quota", "3"],
        "--quota belongs to --buffer_policy per_class_random; add that, or leave --quota out",
    ),
    "negative ratio": ([*REHEARSAL, "--replay_ratio", "-1"], "--replay_ratio -1.0 has to be at least 0"),
    "no folder for the buffer": (
        [*REHEARSAL, "--buffer_tier", "mmap", "--buffer_dir", "nowhere"],
        "--buffer_dir nowhere is no folder that can be written to",
    ),
    "hidden tasks": (
        ["--setting", "task_agnostic", *REHEARSAL[2:], "--buffer_sampler", "old_tasks"],
        "--buffer_sampler old_tasks needs task ids, which TaskAgnosticSetting does not give",
    ),
    # draws from all workers' buffers
    "async, nothing to draw": ([*REHEARSAL, "--async", "--replay_ratio", "0"], "nothing to draw with --replay_ratio 0"),
    "async, bytes": ([*REHEARSAL, "--async", "--buffer_bytes", "999"], "give --buffer_size, not --buffer_bytes"),
    "async, policy": (
        [*REHEARSAL[:2], "--method", "async_rehearsal", "--buffer_policy", "herding"],
        "--buffer_policy herding does not go with --async: .* choose one of reservoir",
    ),
    "async, sampler": (
        [*REHEARSAL, "--async", "--buffer_sampler", "grasp"],
        "--buffer_sampler grasp does not go with --async: .* choose one of uniform",
    ),
    "async, method": ([*PAIR[:2], "--method", "mir", "--async"], "--buffer_sampler mir does not go with --async"),
    "async, hidden tasks": (
        ["--setting", "task_agnostic", *REHEARSAL[2:], "--async", "--buffer_sampler", "old_tasks"],
        "--buffer_sampler old_tasks needs task ids, which TaskAgnosticSetting does not give",
    ),
    "async, method without a buffer": ([*PAIR, "--async"], "no option --async for"),
    "clash with the CLI": ([*PAIR[:2], "--method", "clash.py:WithCliOption"], "both have an option --config"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence(case, bad_files, monkeypatch, capsys):
    arguments, sentence = CASES[case]
    monkeypatch.chdir(bad_files)
    before = content(bad_files)
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert_one_sentence(output.err)
    assert re.search(sentence, output.err), output.err
    assert content(bad_files) == before


def test_nobody_reads_on():
    """As in `list --json | head -1`, only that nothing is read at all."""
    process = start("list", "--json")
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


def test_from_a_shell(bad_files, tmp_path):
    """In a process of its own: nothing that a library prints, and the exit code."""
    log = tmp_path / "log.txt"
    process = start_copy(*PAIR, "--dataset", "below.npz", "--run_dir", "new", output=log, cwd=bad_files)
    process.join(120)
    assert process.exitcode == 2
    assert_one_sentence(log.read_text())
    assert not (bad_files / "new").exists()


def test_data_that_is_neither_there_nor_to_be_had(tmp_path, monkeypatch, capsys):
    """The sentence says which files to put where."""

    def unreachable(*args, **kwargs):
        raise OSError("there is no network")

    monkeypatch.setattr("socket.create_connection", unreachable)
    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.chdir(tmp_path)
    assert main([*PAIR, "--dataset", "fashion_mnist", "--data_dir", "empty"]) == 2
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert "train-images-idx3-ubyte" in error and "in empty" in error
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_ours_is_no_usage_error(monkeypatch):
    """A mistake in the code is shown with its traceback, not as one of the user's."""
    monkeypatch.setattr("redwood.experiments.command_line.pairs.select_pairs", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(PAIR)


class TestOutput:
    """Where nothing can be printed, there is no traceback, either."""

    @pytest.mark.parametrize("command", ["list", "--version"])
    def test_a_full_disk(self, command, monkeypatch):
        """Output that fills the stream's buffer fails at once, and less than that at the end."""
        monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
        with open("/dev/full", "w") as full:
            done = run(command, stdout=full)
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            "error: What is printed, or a file, cannot be written (No space left on device); make room there. "
            "A run goes on with resume."
        ]

    def test_a_closed_one(self):
        done = run("-c", 'exec "$0" "$@" >&-', *CLI, "--version", command=["bash"])
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_a_reader_that_goes_away(self):
        done = run("-c", '"$0" "$@" | true; exit ${PIPESTATUS[0]}', *CLI, "list", command=["bash"])
        assert done.returncode in (0, 1) and done.stderr == ""

    def test_a_current_folder_that_is_gone(self, tmp_path, monkeypatch, capsys):
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        assert main(PAIR) == 2
        assert capsys.readouterr().err == "error: The current folder has been deleted; change to another one.\n"


def test_memory_that_is_full(monkeypatch, capsys):
    def fill(argv):
        torch.empty(2**60)

    monkeypatch.setattr("redwood.cli._dispatch", fill)
    assert main(PAIR) == 2
    assert re.fullmatch(r"error: Memory is full \(.*\); use a smaller network, .*\.\n", capsys.readouterr().err)


def test_more_processes_than_a_machine_can_start(monkeypatch):
    monkeypatch.setattr("redwood.core.child_processes.usable_cores", lambda: 1)
    check_processes("workers", 32)
    with pytest.raises(
        InvalidOptionError, match="--workers 33 asks for 33 processes on this machine, which has 1 cores"
    ):
        check_processes("workers", 33)


@pytest.mark.parametrize(
    ("argv", "trusts"),
    [
        ([*PAIR, "--table", "latex:forgetting", "--ray", "address=10.0.0.1:6379"], False),
        ([*PAIR, "--dataset", "continuum:CIFAR10", "--model", "timm:resnet18"], False),
        (["--setting", "class_incremental", "--method", "mine.py:Mine"], True),
        (["resume", "runs/x", "--trust"], True),
    ],
)
def test_the_call_that_goes_on_trusts_code_that_was_named(argv, trusts, capsys):
    with from_command_line("redwood"):
        _print_stop("interrupted", argv, "runs/x")
    assert capsys.readouterr().err == f"interrupted; go on with redwood resume runs/x{' --trust' * trusts}\n"
