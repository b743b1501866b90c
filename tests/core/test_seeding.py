import itertools
import random

import numpy as np
import torch

from redwood.core.seeding import (
    derive_seed,
    generator,
    preserved_random_state,
    random_state,
    seed_everything,
    set_random_state,
)


def draws():
    return random.random(), float(np.random.rand()), float(np.random.standard_normal()), float(torch.rand(()))


class TestDeriveSeed:
    def test_purposes_and_seeds_are_told_apart(self):
        purposes = [("a",), ("b",), ("a", 1), ("a", 2), ("a", 1, 1), ("a", 2, 1), ("a", "b"), ("b", "a"), (1,)]
        derived = [derive_seed(seed, *purpose) for seed, purpose in itertools.product(range(5), purposes)]
        assert len(set(derived)) == len(derived)
        assert all(0 <= value < 2**63 for value in derived)

    def test_values_do_not_depend_on_the_machine(self):
        assert derive_seed(0, "class order") == 6943730684493538653

    def test_generator_leaves_the_global_one_alone(self):
        state = torch.get_rng_state()
        first, again, other = (torch.rand(4, generator=generator(0, p)).tolist() for p in ("a", "a", "b"))
        assert first == again != other
        assert torch.equal(torch.get_rng_state(), state)


class TestGlobalGenerators:
    def test_seed_everything_decides_all_draws(self):
        outcomes = []
        for purpose in ("a", "a", "b"):
            seed_everything(0, purpose)
            outcomes.append(draws())
        assert outcomes[0] == outcomes[1]
        assert all(a != b for a, b in zip(outcomes[1], outcomes[2], strict=True))

    def test_a_state_is_gone_back_to_even_after_a_file(self, tmp_path):
        np.random.standard_normal()  # NumPy keeps the second of each pair of normal draws for the next call
        torch.save(random_state(), tmp_path / "state.pt")
        expected = [draws(), draws()]
        set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
        assert [draws(), draws()] == expected

    def test_preserved_even_if_the_body_fails(self):
        state = random_state()
        expected = draws()
        set_random_state(state)
        try:
            with preserved_random_state():
                draws()
                raise KeyError
        except KeyError:
            pass
        assert draws() == expected
