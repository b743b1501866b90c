from contextlib import nullcontext
from pathlib import Path

import pytest

from redwood.core.calls import from_command_line
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.trust import LOAD, refuse_untrusted


@pytest.mark.parametrize("name", ["setting", "method", "model", "expert_models", "backbone", "dataset", "env"])
@pytest.mark.parametrize("reference", ["file.py:Name", "file.py", "package.module:Name", "redwood.settings./file.py:f"])
def test_whatever_would_run_code_is_refused(name, reference):
    """A file alone, too: what is in it is found out by running it."""
    with pytest.raises(UsageError, match=f"names code that would be run, {name}: {reference}; look at it"):
        refuse_untrusted({name: reference}, Path("config.yaml"), "--config")


@pytest.mark.parametrize(
    "options",
    [
        {"dataset": "data/file.npz", "model": "resnet18", "backbone": "identity", "env": "ALE/Pong-v5"},
        {"dataset": "drift_regression:gradual", "buffer_policy": "ring", "model": None},
        {"dataset": "hf:folder/cats.py:v2", "background": "hf:user/cats", "model": "mlp"},
        {"dataset": "continuum:CORe50", "method": "redwood.methods.regularisation.ewc:EWC"},
    ],
)
def test_names_and_data_are_not(options):
    refuse_untrusted(options, Path("config.yaml"), "--config")


@pytest.mark.parametrize("options", [{"dataset": "hf:cats,file.py:f"}, {"model": "hf:file.py:f"}])
def test_code_beside_data_of_hugging_face_is_refused(options):
    with pytest.raises(UsageError, match="names code that would be run"):
        refuse_untrusted(options, Path("config.yaml"), "--config")


@pytest.mark.parametrize("option", ["stream_file", "concepts"])
def test_code_in_a_file_of_tasks_is_refused(option, tmp_path):
    file = tmp_path / "tasks.yaml"
    file.write_text("tasks:\n  - dataset: digits\n  - {dataset: 'evil.py:make', name: harmless}\n")
    with pytest.raises(UsageError, match=r"the file .*tasks.yaml, whose data set evil.py:make is code.*trust=True"):
        refuse_untrusted({option: str(file)}, Path("config.yaml"), "resume")
    file.write_text("tasks:\n  - dataset: digits\n  - dataset: prototypes\n")
    refuse_untrusted({option: str(file)}, Path("config.yaml"), "resume")


@pytest.mark.parametrize(
    ("option", "reference", "told", "told_in_python"),
    [
        (
            "--config",
            "own.py:Mine",
            "add --trust to the command, or --method own.py:Mine",
            "add trust=True, or --method own.py:Mine",
        ),
        ("resume", "own.py:Mine", "add --trust", 'add trust=True, or call redwood.resume("runs/x", method=Mine)'),
        (LOAD, "__main__:Mine", 'go on from Python, by redwood.load("runs/x", ', 'call redwood.load("runs/x", method'),
    ],
)
def test_the_remedy_can_be_pasted(option, reference, told, told_in_python):
    for start, remedy in ((nullcontext(), told_in_python), (from_command_line("redwood"), told)):
        with start, pytest.raises(UsageError) as raised:
            refuse_untrusted({"method": reference}, Path("runs/x/config.yaml"), option)
        assert remedy in str(raised.value)
    refuse_untrusted({"method": reference}, Path("runs/x/config.yaml"), option, given={reference: object})


def test_the_command_is_told_with_its_trust():
    with from_command_line("redwood", ["predict", "runs/a b"]), pytest.raises(UsageError) as raised:
        refuse_untrusted({"model": "net.py:Net"}, Path("runs/a b/config.yaml"), LOAD)
    assert str(raised.value).startswith("predict runs/a b/config.yaml names code that would be run, model: net.py:Net")
    assert "(redwood predict 'runs/a b' --trust)" in str(raised.value)


@pytest.mark.parametrize("value", ["digits", "missing.yaml", ""])
def test_a_pool_by_name_and_a_missing_file_are_no_code(value):
    refuse_untrusted({"concepts": value, "stream_file": value}, Path("config.yaml"), "resume")
