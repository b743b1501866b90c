"""Every block of code in the pages runs, or says in a comment above it why it does not."""

import re
import tomllib
from collections import Counter

import pytest
import torch
import yaml

import redwood
from redwood.cli import main
from redwood.core.errors import RedwoodError
from redwood.experiments.command_line.arguments import parse_selection
from redwood.experiments.command_line.options import Options, check_arguments, parse_options
from redwood.experiments.command_line.pairs import Pair, select_pairs
from redwood.experiments.comparisons.comparison import Comparison
from tests.docs.blocks import ALL, CLI, COMMANDS, ROOT, commands, is_twin

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
LANGUAGES = {"python", "bash", "yaml", "toml", "text", "mermaid"}
# How many comments say why a block or a command is not run, by page.
NOT_RUN = {
    "README.md": 2,
    "CONTRIBUTING.md": 2,
    "docs/async_rehearsal.md": 2,
    "docs/bench.md": 1,
    "docs/clusters.md": 3,
    "docs/data.md": 1,
    "docs/differs.md": 1,
    "docs/distributed.md": 4,
    "docs/generative.md": 1,
    "docs/methods.md": 1,
    "docs/multi_label.md": 1,
    "docs/networks.md": 1,
    "docs/recipes.md": 3,
    "docs/running.md": 2,
    "docs/statistics.md": 2,
    "docs/streams.md": 1,
    "docs/sweeps.md": 1,
}
# What makes a command quick, if its pair takes the option.
FEW = {
    "--passes": "3",
    "--pretraining": "20",
    "--steps_per_task": "32",
    "--n_steps": "16",
    "--test_episodes": "1",
    "--timesteps": "30",
    "--accelerator": "cpu",
}
# What `torchrun` tells a process that is the only one.
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
PYTHON = list(dict.fromkeys(block.page for block in ALL if block.language == "python" and not is_twin(block)))
BASH = [block for block in ALL if block.language == "bash" and CLI in block.text]


def test_each_block_says_its_language():
    others = [f"{block.page}:{block.line} {block.language!r}" for block in ALL if block.language not in LANGUAGES]
    assert not others and len(ALL) > 60


def test_what_is_not_run_is_counted_and_has_a_reason():
    reasons = [(block.page, why) for block in ALL for why in (block.reason, *block.exceptions.values()) if why]
    assert dict(Counter(page for page, _ in reasons)) == NOT_RUN
    assert all(len(why.split()) > 2 for _, why in reasons)


def test_each_exception_is_about_a_command_of_its_block():
    for block in ALL:
        assert all(text in block.text for text in block.exceptions), f"{block.page}:{block.line}"


@pytest.mark.parametrize("page", PYTHON)
@pytest.mark.few(3)
def test_python(page, workshop, monkeypatch):
    """The blocks of a page, one after the other, in one namespace."""
    torch.manual_seed(0)
    names = {"__name__": "__main__", "redwood": redwood}
    for block in ALL:
        if block.page == page and block.language == "python" and block.reason is None and not is_twin(block):
            for name, value in ALONE.items():  # Lightning removes some of them after a fit
                monkeypatch.setenv(name, value)
            start = "\n" * (block.line - block.before.count("\n"))
            exec(compile(start + block.before + block.text, ROOT / page, "exec"), names)


@pytest.mark.parametrize("block", [block for block in ALL if block.language == "yaml"], ids=lambda b: b.page)
def test_yaml(block):
    assert yaml.safe_load(block.text)


@pytest.mark.parametrize("block", [block for block in ALL if block.language == "toml"], ids=lambda b: b.page)
def test_toml(block):
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", BASH, ids=lambda block: f"{block.page}:{block.line}")
def test_commands_are_understood(block, workshop, monkeypatch):
    """Settings, methods, presets and options exist; nothing is trained."""
    for place in ("runs.runner.run_pair", "comparisons.compare.compare", "sweeps.sweep.start_sweep"):
        monkeypatch.setattr(f"redwood.experiments.{place}", understand)
    for command in commands(block):
        if command.words[:2] == CLI.split() and {"--setting", "--preset", "--config"} & set(command.words):
            assert main([word.replace("runs/...", "runs/x") for word in command.words[2:]]) == 0


def understand(pairs: Pair | list[Pair], arguments: list[str] | Options, *_: object, **__: object) -> Comparison:
    if not isinstance(arguments, Options):
        check_arguments(pairs if isinstance(pairs, list) else [pairs], arguments)
    return Comparison([])


@pytest.mark.slow
@pytest.mark.parametrize("block", BASH, ids=lambda block: f"{block.page}:{block.line}")
def test_commands_run(block, workshop):
    """The commands of a block, one after the other."""
    for command in commands(block):
        if command.words[:2] == CLI.split() and command.reason is None:
            print(*command.words)
            assert main(quickly(command.words[2:])) == 0


def quickly(arguments: list[str]) -> list[str]:
    """The arguments of a command with few passes or steps; `runs/...` is the finished run."""
    arguments = [word.replace("runs/...", "runs/x") for word in arguments]
    chosen, rest = parse_selection(arguments)
    if chosen.suite and "--steps_per_task" not in arguments:  # a published budget takes hours
        return [*arguments, "--steps_per_task", "2048"]
    if not (chosen.setting and chosen.method) or chosen.help:
        return arguments
    (pair, *others), _ = select_pairs(chosen.setting, chosen.method, rest)
    assert len(others) < 3 and chosen.seeds < 3, "too long for a test"
    for option, few in FEW.items():
        if option in arguments:
            arguments[arguments.index(option) + 1] = few
        elif understood(pair, [*parse_selection(arguments)[1], option, few]):
            arguments += [option, few]
    return arguments


def understood(pair: Pair, arguments: list[str]) -> bool:
    try:
        check_arguments([pair], arguments)
        parse_options(pair, arguments)
    except RedwoodError:
        return False
    return True


def test_other_commands_are_known():
    for command in COMMANDS:
        if command.reason is None and command.words[:2] != CLI.split():
            assert command.words[:2] == ["pip", "install"], f"{command.where}: {' '.join(command.words)}"
    for text in (word for command in COMMANDS if command.words[0] == "pip" for word in command.words):
        assert set(re.sub(r".*\[(.*)\]", r"\1", text).split(",")) <= EXTRAS.keys() or "[" not in text
