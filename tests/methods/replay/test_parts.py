import pickle

import pytest

from redwood.buffers import POLICIES, SAMPLERS
from redwood.core.errors import InvalidOptionError
from redwood.methods.replay.parts import BUFFER_POLICIES, BUFFER_SAMPLERS
from redwood.methods.replay.rehearsal import Rehearsal
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
