import pytest
import yaml

from redwood.core.errors import DataError, InvalidOptionError, RedwoodError
from redwood.core.plain_yaml import MOST_REPEATED, read_yaml
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.config_file import load_config, load_entries
from redwood.experiments.command_line.trust import refuse_untrusted
from redwood.experiments.launchers.plan_file import read_plan
from redwood.methods.agents.policy_kwargs import read_policy_kwargs
from redwood.settings.data.task_list import read_task_list

CYCLE = "[&a [*a]]"
BOMB = "\n".join(["- &a0 [x]", *(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))])
MERGED = "\n".join(
    ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10))]
)
HOSTILE = {"cycle": CYCLE, "bomb": BOMB, "merged": MERGED, "deep": "[" * 100_000}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_stands_for_more_than_it_is_refused(text):
    with pytest.raises(yaml.YAMLError):
        read_yaml(text)


def test_aliases_are_read():
    assert read_yaml("base: &b {lr: 1, x: [1]}\none: {<<: *b, lr: 2}\ntwo: *b") == {
        "base": {"lr": 1, "x": [1]},
        "one": {"lr": 2, "x": [1]},
        "two": {"lr": 1, "x": [1]},
    }
    assert len(read_yaml(yaml.safe_dump([1] * (MOST_REPEATED + 1), default_flow_style=True))) == MOST_REPEATED + 1


def test_a_key_that_is_set_twice_is_refused():
    with pytest.raises(RedwoodError, match="sets lr twice"):
        read_yaml("- lr: 1\n  lr: 2")


class TestEachReader:
    """Each ends in one sentence; a walk without a bound would end in none."""

    @pytest.fixture(params=[CYCLE, BOMB], ids=["cycle", "bomb"])
    def file(self, request, tmp_path):
        path = tmp_path / "file.yaml"
        path.write_text(request.param)
        return path

    def test_task_lists(self, file):
        with pytest.raises(DataError, match=r"file.yaml cannot be read as YAML \(.*write (it|them) out\)"):
            read_task_list(file)

    def test_options_and_plans(self, file):
        with pytest.raises(RedwoodError, match="not valid YAML"):
            load_config(file)
        with pytest.raises(UsageError, match="not valid YAML"):
            load_entries(file, "--suite x", "lines")
        with pytest.raises(RedwoodError, match="is damaged"):
            read_plan(file, None, "comparison", ())

    def test_the_look_for_code(self, file):
        """It leaves such a file to the run, which tells what is wrong."""
        refuse_untrusted({"stream_file": str(file)}, file, "resume")

    @pytest.mark.parametrize("text", ["{net_arch: &a [*a]}", "&a {net_arch: *a}"])
    def test_policy_kwargs(self, text):
        with pytest.raises(InvalidOptionError, match=r"is neither YAML nor JSON .*write it out"):
            read_policy_kwargs(text)
