"""A checkpoint from a stranger runs no code, whichever of its fields holds some: it ends in one sentence."""

import functools
import os
import pickle
import shutil
from functools import partial

import pytest
import torch

from redwood.core.errors import RedwoodError
from redwood.engine.checkpoints import read_checkpoint, write_checkpoint
from redwood.methods.agents.sb3_loop import SB3Loop
from tests.methods.agents.parts import joined
from tests.methods.agents.runs import SMALL, configured, small_setting
from tests.small_runs import run_here

AGENTS = {
    "ppo": SMALL["ppo"][0],
    "dqn": SMALL["dqn"][0],
    "dqn+rehearsal": partial(joined, "dqn+rehearsal", buffer_size=30),
}
INSIDE = "inside-phase-001.ckpt"


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """For an agent the folder of a run that was interrupted inside its second phase."""

    @functools.cache
    def interrupted(name):
        folder = tmp_path_factory.mktemp("run")
        save = SB3Loop._save

        def copying(self):
            save(self)
            if self._phase.index == 1 and not (folder / "copy").exists():
                shutil.copytree(folder / "run", folder / "copy")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SB3Loop, "_save", copying)
            for plot in ("plot_accuracy_matrix", "plot_accuracy_curve"):
                patch.setattr(f"redwood.engine.figures.plots.{plot}", lambda results, path: None)
            run_here(setting(), AGENTS[name](), run_dir=str(folder / "run"), checkpoint_every=20)
        return folder / "copy"

    return interrupted


def setting():
    return small_setting("CartPole-v1", steps_per_task=50)


def fields(content, *above):
    """The way to each field, of lists only to the first three and the last entry."""
    if isinstance(content, dict):
        places = list(content)
    elif isinstance(content, list | tuple):
        places = sorted({*range(min(3, len(content))), len(content) - 1} - {-1})
    else:
        places = []
    for place in places:
        yield (*above, place)
        yield from fields(content[place], *above, place)


def planted(content, way, value):
    """A copy in which one field has another value."""
    if not way:
        return value
    first, *rest = way
    inner = planted(content[first], rest, value)
    if isinstance(content, dict):
        return {**content, first: inner}
    return [inner if place == first else entry for place, entry in enumerate(content)]


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "ppo")) for n in AGENTS])
def test_bytes_are_not_unpickled_and_other_values_are_told(name, saved, tmp_path):
    """As text, tensors and lists of bytes, in the place of any field that the agent or its environments take up."""
    content = read_checkpoint(saved(name) / "checkpoints" / INSIDE, "")["workers"][0]
    attack = pickle.dumps(Payload(tmp_path / "executed"))
    (tmp_path / "attack.zip").write_bytes(attack)
    tensor = torch.frombuffer(bytearray(attack), dtype=torch.uint8)
    agent = configured(AGENTS[name](), setting())
    agent.loop = loop = a_loop(agent)
    loop._load(content, "the checkpoint")  # untouched it fits
    accepted = []
    for way in fields(content):
        for value in (tensor, str(tmp_path / "attack.zip")):
            loop = a_loop(agent)
            try:
                loop._load(planted(content, way, value), "the checkpoint")
            except SB3Loop.FOREIGN:
                continue
            finally:
                assert not (tmp_path / "executed").exists(), way
            accepted.append((*way, type(value).__name__))
    assert "\n".join(map(str, (way for way in accepted if not harmless(way)))) == ""


def harmless(way):
    """What is plain data wherever it is: attributes of the environment that may hold anything."""
    return way[:2] == ("phase", "environments") and "attributes" in way


def a_loop(agent):
    phases = setting().phases()
    next(phases)
    agent.phase = next(phases)
    return SB3Loop(agent, agent.phase)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize("name", ["ppo", "dqn+rehearsal"])
@pytest.mark.parametrize("way", [("phase", "environments", 0, "bases"), ("method", "algorithm_state", "parameters")])
def test_a_run_ends_in_one_sentence_and_leaves_the_folder_as_it_was(name, way, saved, tmp_path):
    shutil.copytree(saved(name), tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / INSIDE
    content = read_checkpoint(path, "")
    attack = torch.frombuffer(bytearray(pickle.dumps(Payload(tmp_path / "executed"))), dtype=torch.uint8)
    write_checkpoint(planted(content, ("workers", 0, *way), attack), path)
    (tmp_path / "run" / ".lock").unlink(missing_ok=True)  # of the process that the copy was taken from
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    with pytest.raises(
        RedwoodError, match=rf"^The checkpoint .*{INSIDE} does not fit this run .*; remove it"
    ) as caught:
        run_here(setting(), AGENTS[name](), run_dir=str(tmp_path / "run"), checkpoint_every=20, resume=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()
    after = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    assert {file: content for file, content in after.items() if file in before} == before
