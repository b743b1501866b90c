from math import ceil

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from redwood.core.errors import DataError
from redwood.settings.data.holdout import TEST_SHARE, hold_out


@pytest.mark.parametrize("seed", range(40))
def test_samples_are_those_that_scikit_learn_holds_out(seed):
    random = np.random.default_rng(seed)
    k = random.integers(1, 12)
    strata = random.permutation(np.repeat(random.permutation(100)[:k], random.integers(2, 30, size=k)))
    size = max(ceil(TEST_SHARE * len(strata)), k)
    wanted = train_test_split(np.arange(len(strata)), test_size=size, stratify=strata, random_state=seed)
    found = hold_out("data", strata, seed)
    assert [part.tolist() for part in found] == [part.tolist() for part in wanted]


def test_a_stratum_of_one_sample_is_an_error():
    with pytest.raises(DataError, match=r"Data set odd: .* fewer than 2 samples"):
        hold_out("odd", np.array([0, 0, 0, 1]), seed=0)
