import pytest

from redwood.buffers import POLICIES, SAMPLERS, MaximallyInterfered, PartitioningReservoir, PerClassRandom, Reservoir
from redwood.core.errors import InvalidOptionError, RedwoodError, UnknownNameError
from redwood.methods.replay.options import make_component
from tests.methods.helpers import one_sentence


def policy(text):
    return make_component("buffer_policy", text, POLICIES)


class TestParts:
    @pytest.mark.parametrize(("known", "name"), [(part, name) for part in (POLICIES, SAMPLERS) for name in part])
    def test_each_name_stands_for_its_class(self, known, name):
        assert type(make_component("buffer_policy", name, known)) is known[name]

    def test_each_call_makes_a_new_one(self):
        assert isinstance(policy("reservoir"), Reservoir)
        assert policy("reservoir") is not policy("reservoir")

    def test_arguments(self):
        plain, several = policy("per_class_random"), policy("per_class_random:candidates=7,quota=3")
        assert isinstance(several, PerClassRandom)
        assert (plain.candidates, plain.quota) == (14, None)
        assert (several.candidates, several.quota) == (7, 3)
        sampler = make_component("buffer_sampler", "mir:candidates=100", SAMPLERS)
        assert isinstance(sampler, MaximallyInterfered)
        assert sampler.candidates == 100

    def test_arguments_that_are_no_integers(self):
        part = policy("partitioning:rho=-0.5")
        assert isinstance(part, PartitioningReservoir)
        assert part.rho == -0.5


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("per_class_random:kandidates=7", "no argument 'kandidates'; it takes candidates, quota."),
            ("reservoir:candidates=7", "reservoir has no argument 'candidates'; it takes none."),
            ("per_class_random:candidates=many", "candidates has to be a number, got 'many'."),
            ("per_class_random:candidates=1.5", "candidates has to be a number, got '1.5'."),
            ("per_class_random:candidates", "candidates has to be a number, got ''."),
            ("per_class_random:candidates=0", "candidates has to be at least 1, got 0."),
            ("per_class_random:7", "no argument '7'"),
            ("partitioning:rho=nan", "rho has to be a number, got 'nan'."),
            ("partitioning:rho=inf", "rho has to be a number, got 'inf'."),
        ],
    )
    def test_an_argument_that_will_not_do(self, text, sentence):
        with pytest.raises(InvalidOptionError, match=sentence) as error:
            policy(text)
        assert str(error.value).startswith(f"--buffer_policy {text}: ")
        assert one_sentence(error.value)

    @pytest.mark.parametrize("text", ["reservior", "", ":candidates=7", "Reservoir", "mir"])
    def test_a_name_that_there_is_not(self, text):
        with pytest.raises(UnknownNameError, match="There is no buffer_policy named"):
            policy(text)

    def test_the_nearest_name_is_suggested(self):
        with pytest.raises(RedwoodError, match="Did you mean reservoir"):
            policy("reservior")
