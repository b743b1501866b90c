import pickle
from pathlib import Path

import pytest

from redwood.buffers import POLICIES, SAMPLERS, RehearsalBuffer
from redwood.cli import main
from redwood.core.errors import InvalidOptionError
from redwood.methods.replay.parts import BUFFER_POLICIES, BUFFER_SAMPLERS
from redwood.methods.replay.rehearsal import Rehearsal
from tests.buffers.helpers import fill, stored
from tests.docs.blocks import ALL
from tests.methods.helpers import one_sentence

PARTS = [(BUFFER_POLICIES, POLICIES), (BUFFER_SAMPLERS, SAMPLERS)]


@pytest.mark.parametrize(("kind", "known"), PARTS, ids=("policies", "samplers"))
def test_each_name_makes_a_new_object_of_its_class(kind, known):
    assert kind.names() == list(known)
    for name in known:
        part = kind.make(name)
        assert type(part.make()) is known[name]
        assert part.make() is not part.make()
        assert pickle.loads(pickle.dumps(part)) == part


def test_options():
    part = BUFFER_POLICIES.make({"per_class_random": {"candidates": 7, "quota": 3}})
    assert (part.make().candidates, part.make().quota) == (7, 3)
    assert (BUFFER_POLICIES.make("per_class_random").make().candidates, part.quota) == (14, 3)
    assert BUFFER_SAMPLERS.make({"mir": {"mir_candidates": 100}}).make().candidates == 100
    assert BUFFER_POLICIES.make({"partitioning": {"rho": -0.5}}).make().rho == -0.5


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"per_class_random": {"kandidates": 7}}, "--buffer_policy per_class_random has no option kandidates"),
        ({"per_class_random": {"candidates": "many"}}, "--candidates has to be of type int, but 'many' was given"),
        ({"per_class_random": {"candidates": 0}}, "--buffer_policy per_class_random: candidates has to be at least 1"),
        ({"partitioning": {"rho": float("nan")}}, "--rho nan has to be a finite number"),
        ("reservior", "--buffer_policy reservior is unknown; did you mean reservoir"),
        ("", "--buffer_policy  is unknown; choose one of reservoir"),
        ("mir", "--buffer_policy mir is unknown"),
    ],
)
def test_mistakes_are_told_in_one_sentence(given, sentence):
    with pytest.raises(InvalidOptionError, match=sentence) as error:
        Rehearsal(buffer_policy=given)
    assert one_sentence(error.value)


OWN = """
from dataclasses import dataclass
from typing import ClassVar

from redwood.buffers import Reservoir, Uniform
from redwood.buffers.policies import ClassQuota
from redwood.methods.replay.parts import PolicyPart, SamplerPart


class Sparse(Reservoir):
    def __init__(self, every: int = 10) -> None:
        if every < 1:
            raise ValueError(f"every has to be at least 1, got {every}")
        self.every = every


class Forgetful(Reservoir):
    def __init__(self, every: int = 10) -> None:
        self.n = every


class Strict(Reservoir):
    def __init__(self, every: int) -> None:
        self.every = every


@dataclass
class Own(PolicyPart):
    maker: ClassVar[type] = Sparse
    every: int = 10


@dataclass
class Unnamed(PolicyPart):
    every: int = 10


@dataclass
class Misspelt(PolicyPart):
    makes: ClassVar[type] = Sparse
    every: int = 10


@dataclass
class OfSampler(PolicyPart):
    maker: ClassVar[type] = Uniform


@dataclass
class OfPolicy(SamplerPart):
    maker: ClassVar[type] = Sparse


@dataclass
class Abstract(PolicyPart):
    maker: ClassVar[type] = ClassQuota


@dataclass
class Other(PolicyPart):
    maker: ClassVar[type] = Sparse
    evry: int = 10


@dataclass
class Fieldless(PolicyPart):
    maker: ClassVar[type] = Strict


@dataclass
class Kept(PolicyPart):
    maker: ClassVar[type] = Forgetful
    every: int = 10
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A file with parts of a user, most of them with a mistake."""
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return str(path)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"Own": {"every": 0}}, "every has to be at least 1, got 0"),
        ({"Unnamed": {}}, "Unnamed has no maker that is a Policy; write `maker: ClassVar"),
        ({"Misspelt": {}}, "Misspelt has no maker that is a Policy"),
        ({"OfSampler": {}}, "OfSampler has no maker that is a Policy"),
        ({"Abstract": {}}, "ClassQuota has no chance; define what is missing"),
        (
            {"Other": {}},
            "Sparse cannot take the fields of Other .*argument 'evry'.; let these be its arguments",
        ),
        ({"Fieldless": {}}, "Strict cannot take the fields of Fieldless .missing a required argument: 'every'"),
        ({"Kept": {}}, "Forgetful does not keep its argument every; write self.every = every in its __init__"),
    ],
)
def test_mistakes_in_a_part_of_ones_own_are_told_in_one_sentence(own, given, sentence):
    ((name, options),) = given.items()
    with pytest.raises(InvalidOptionError, match=sentence) as error:
        Rehearsal(buffer_policy={f"{own}:{name}": options})
    assert str(error.value).startswith(f"--buffer_policy {own}:{name}: ") and one_sentence(error.value)


def test_a_sampler_of_ones_own_needs_a_sampler(own):
    with pytest.raises(
        InvalidOptionError, match=f"^--buffer_sampler {own}:OfPolicy: OfPolicy has no maker .* Sampler;"
    ):
        Rehearsal(buffer_sampler=f"{own}:OfPolicy")


def test_the_policy_of_the_page(tmp_path, monkeypatch):
    """The file of `docs/buffers.md` serves the command below it, and keeps its state."""
    blocks = [block for block in ALL if block.page == "docs/buffers.md"]
    (place,) = (i for i, block in enumerate(blocks) if "(PolicyPart)" in block.text)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies.py").write_text(blocks[place].text)
    command = blocks[place + 1].text.split()
    assert command[:2] == ["python", "cli.py"]
    assert main([*command[2:], "--passes", "1", "--quiet", "true"]) == 0
    policies = [BUFFER_POLICIES.make({"policies.py:Every": {"every": 2}}).make() for _ in range(2)]
    buffers = [RehearsalBuffer(4, policy=policy) for policy in policies]
    fill(buffers[0], 12)
    assert stored(buffers[0]) == [4, 6, 8, 10]
    buffers[1].load_state_dict(buffers[0].state_dict())
    for buffer in buffers:
        fill(buffer, 4, start=12)
        assert stored(buffer) == [8, 10, 12, 14]
