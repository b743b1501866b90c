"""Each file that `resume` reads is looked at as a whole first: one sentence, or the right results."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from redwood.cli import main
from redwood.core.errors import RedwoodError
from redwood.engine.checkpoints import read_checkpoint, write_checkpoint
from tests.cli.command import QUICK, assert_one_sentence, content
from tests.cli.foreign_cases import all_cases
from tests.cli.foreign_files import BOUNDARY, INSIDE, Bench, Trap, call, outcome

CASES = {case.name: case for case in all_cases()}
QUICK_CASES = (
    "boundary.pt: text",
    "boundary.pt: holds a list, without",
    "boundary.pt: holds a tensor, with a seal",
    "boundary.pt: saved again by torch",
    "boundary.pt: a network of other shapes",
    "boundary.pt: a method without its network",
    "boundary.pt: another method's state",
    "boundary.pt: rows that are texts",
    "inside-phase-001.ckpt: a bit flipped at 0.3",
    "inside-phase-001.ckpt: a folder",
    "inside: the boundary's file",
    "boundary: missing",
    "config.yaml: lr is 0.1",
    "config.yaml: seed is 1",
    "config.yaml: precision is 64-true",
    "config.yaml: passes is 3",
    "config.yaml: checkpoint_every may change",
    "config.yaml: deep",
    "config.yaml: method is None",
    "config.yaml: code",
    "metrics.csv: bytes",
    "metrics.csv: a folder",
    "results.json: null costs",
    "results.json: 1e999",
    "results.json: another configuration",
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench")).build("whole", "stopped")


@pytest.fixture(scope="module")
def large_bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench")).build()


@pytest.mark.parametrize("name", QUICK_CASES)
@pytest.mark.few(6)
def test_a_file(name, bench, tmp_path):
    assert outcome(CASES[name], bench, tmp_path / "run") is None


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in QUICK_CASES])
def test_any_file(name, large_bench, tmp_path):
    assert outcome(CASES[name], large_bench, tmp_path / "run") is None


def test_the_sentence_names_what_was_changed(bench, tmp_path, capsys):
    """With both values, so that the user can undo it."""
    folder = tmp_path / "run"
    CASES["config.yaml: lr is 0.1"].change(copy(bench.stopped, folder), bench)
    assert main(["resume", str(folder)]) == 2
    assert "(lr: 0.05 in the checkpoint, 0.1 in config.yaml); undo the change" in capsys.readouterr().err


def test_a_run_on_other_data_is_told(tmp_path, monkeypatch):
    """The options are the same: it is the file that has changed."""
    generator = np.random.default_rng(0)
    x, y = generator.random((80, 4), dtype=np.float32), np.arange(80) % 4
    np.savez(tmp_path / "data.npz", x=x[:60], y=y[:60], x_test=x[60:], y_test=y[60:])
    options = [
        "--setting",
        "class_incremental",
        "--method",
        "finetune",
        *QUICK,
        "--dataset",
        str(tmp_path / "data.npz"),
    ]
    folder = tmp_path / "run"
    assert main([*options, "--run_dir", str(folder)]) == 0
    (folder / "results.json").unlink()
    x[::5] += 1
    np.savez(tmp_path / "data.npz", x=x[:60], y=y[:60], x_test=x[60:], y_test=y[60:])
    before = content(folder)
    code, said = call(["resume", str(folder)])
    assert code == 2 and "is of a run on other data (hash of a few training samples: " in said
    assert content(folder) == before


@pytest.mark.parametrize("name", [BOUNDARY, INSIDE])
def test_every_flipped_bit_is_noticed(name, bench, tmp_path):
    """Wherever it is, in what no reader looks at, too."""
    whole = (bench.stopped / name).read_bytes()
    path, choice = tmp_path / "checkpoint", random.Random(0)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[choice.randrange(len(whole))] ^= 1 << choice.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(RedwoodError, match=r"checkpoint is damaged|changed after it was written"):
            read_checkpoint(path, "start anew")


class TestPayloads:
    """What a stranger has planted in a run directory is not executed, whatever seal it has."""

    @pytest.mark.parametrize("name", [BOUNDARY, INSIDE])
    @pytest.mark.parametrize("save", [torch.save, write_checkpoint])
    def test_in_a_checkpoint(self, name, save, bench, tmp_path):
        folder = copy(bench.stopped, tmp_path / "run")
        state = read_checkpoint(folder / name, "")
        save(state | {"method": Trap(tmp_path / "executed")}, folder / name)
        code, said = call(["resume", str(folder)])
        assert_one_sentence(said)
        assert code == 2 and "holds more than tensors and plain values" in said
        assert not (tmp_path / "executed").exists()

    def test_lightning_unpickles_nothing(self, bench, tmp_path):
        """It would, if it read the file itself."""
        from pytorch_lightning import Trainer

        from redwood.methods.training.trainer import SealedIO

        path = tmp_path / "some.ckpt"
        write_checkpoint({"state_dict": {}, "more": Trap(tmp_path / "executed")}, path)
        trainer = Trainer(plugins=[SealedIO()], logger=False, enable_checkpointing=False, accelerator="cpu")
        with pytest.raises(RedwoodError, match="holds more than tensors"):
            trainer.strategy.load_checkpoint(path, weights_only=False)
        assert not (tmp_path / "executed").exists()

    @pytest.mark.parametrize("key", ["method", "lr", "strange"])
    def test_in_the_configuration(self, key, bench, tmp_path):
        folder = copy(bench.stopped, tmp_path / "run")
        text = (folder / "config.yaml").read_text()
        mark = tmp_path / "executed"
        lines = [line for line in text.splitlines() if not line.startswith(f"{key}:")]
        (folder / "config.yaml").write_text("\n".join([*lines, f"{key}: !!python/object/apply:os.mkdir ['{mark}']"]))
        code, said = call(["resume", str(folder)])
        assert code == 2 and "is not valid YAML" in said
        assert not mark.exists()


OWN_METHOD = """
from pathlib import Path
from redwood.methods.baselines import Random

Path(__file__).with_name("executed").touch()

class Own(Random):
    pass
"""


class TestTrust:
    """Code that a file names runs only if the command line names it, too, or trusts the file."""

    @pytest.fixture
    def own(self, tmp_path):
        (tmp_path / "own.py").write_text(OWN_METHOD)
        return f"{tmp_path / 'own.py'}:Own"

    def config(self, folder: Path, **options) -> Path:
        folder.mkdir()
        path = folder / "config.yaml"
        path.write_text(
            yaml.safe_dump({"format": 2, "setting": "traditional", "method": "random", "quiet": True} | options)
        )
        return path

    @pytest.mark.parametrize("name", ["setting", "method", "model", "dataset", "env"])
    @pytest.mark.parametrize("option", ["--config", "resume"])
    def test_refused(self, name, option, own, tmp_path):
        path = self.config(tmp_path / "run", **{name: own})
        code, said = call([option, str(path if option == "--config" else path.parent)])
        assert_one_sentence(said)
        assert code == 2 and f"names code that would be run, {name}: {own}; look at it, then add --trust" in said
        assert not (tmp_path / "executed").exists()
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("option", ["--config", "resume"])
    @pytest.mark.parametrize(
        "hidden", [{"quiet": ["--method=FILE"]}, {"method=FILE": True}, {"seed": [1, "--method", "FILE"]}]
    )
    def test_no_line_hides_another_option(self, option, hidden, own, tmp_path):
        lines = {
            key.replace("FILE", own): [str(v).replace("FILE", own) for v in value] if isinstance(value, list) else value
            for key, value in hidden.items()
        }
        path = self.config(tmp_path / "run", **lines)
        code, said = call([option, str(path if option == "--config" else path.parent)])
        assert_one_sentence(said)
        assert code == 2 and ("holds another option" in said or "is no name of an option" in said)
        assert not (tmp_path / "executed").exists()

    def test_trusted(self, own, tmp_path):
        path = self.config(tmp_path / "run", method=own)
        assert call(["--config", str(path), "--trust", "--run_dir", str(tmp_path / "new")])[0] == 0
        (tmp_path / "new" / "results.json").unlink()
        assert call(["resume", str(tmp_path / "new")])[0] == 2
        assert call(["resume", str(tmp_path / "new"), "--trust"])[0] == 0

    def test_named_on_the_command_line_as_well(self, own, tmp_path):
        path = self.config(tmp_path / "run", method=own)
        assert call(["--config", str(path), "--method", own, "--run_dir", str(tmp_path / "new")])[0] == 0

    def test_in_a_comparison(self, own, tmp_path):
        arguments = ["--setting", "traditional", "--method", f"random,{own}", "--jobs", "1", "--quiet"]
        folder = tmp_path / "compared"
        assert call([*arguments, "--run_dir", str(folder)])[0] == 0
        code, said = call(["resume", str(folder)])
        assert code == 2 and f"comparison.yaml names code that would be run, method: {own}" in said
        assert call(["resume", str(folder), "--trust"])[0] == 0

    def test_what_is_no_code(self, tmp_path):
        """Redwood's own names with a colon, and a joined method."""
        from redwood.experiments.command_line.trust import names_code

        for name in ("ewc+rehearsal", "drift_regression:abrupt", "continuum:CORe50", "supervised:digits", "digits"):
            assert not names_code(name)
        for name in ("a.py:b", "ewc+own.py:Own", "package:Env-v0", "CartPole-v1,own.py:make", "supervised:own.py:data"):
            assert names_code(name)
        assert not names_code("timm:resnet18", "model")
        assert names_code("timm:/../own.py:data", "dataset")

    def test_it_goes_with_a_file(self):
        code, said = call(["--setting", "traditional", "--method", "random", "--trust"])
        assert code == 2 and "--trust is about the code that a file or a folder names" in said


def copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))
