from pathlib import Path

import pytest
import torch

from redwood.core.errors import UnknownNameError
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.drift import CONTEXTS, N_TRAIN, NOISE, STRENGTH
from redwood.settings.data.table import DATASETS

NAMES = [name for name in DATASETS if name.startswith("drift_")]


def load(name, seed=0):
    return load_dataset(name, Path("nowhere"), seed, 0)


def residual(x, y):
    """RMSE of the best linear model of these samples."""
    ones = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    return float((y - ones @ torch.linalg.lstsq(ones, y[:, None]).solution[:, 0]).square().mean().sqrt())


def weights(x, y):
    return torch.linalg.lstsq(x, y[:, None]).solution[:, 0]


@pytest.mark.parametrize("name", NAMES)
def test_samples_come_in_the_order_of_time_cut_into_contexts(name):
    data = load(name)
    n_contexts = CONTEXTS[name.partition(":")[2]]
    assert data.name == name
    assert torch.equal(data.contexts, data.contexts.sort().values)
    for contexts, n in ((data.contexts, N_TRAIN), (data.contexts_test, len(data.x_test))):
        lengths = torch.bincount(contexts)
        assert len(lengths) == n_contexts
        assert n // n_contexts <= int(lengths.min()) <= int(lengths.max()) <= -(-n // n_contexts)
    assert data.is_regression == ("regression" in name)
    assert data.n_outputs == (1 if data.is_regression else 3)


def test_the_seed_decides():
    first, again, other = load(NAMES[0]), load(NAMES[0]), load(NAMES[0], seed=1)
    assert torch.equal(first.x, again.x) and torch.equal(first.y, again.y)
    assert not torch.equal(first.x, other.x)


@pytest.mark.parametrize("kind", ["stationary", "abrupt", "recurring"])
def test_within_a_context_only_the_noise_is_left(kind):
    data = load(f"drift_regression:{kind}")
    for context in range(CONTEXTS[kind]):
        rows = data.contexts == context
        assert residual(data.x[rows], data.y[rows]) == pytest.approx(NOISE, rel=0.25)
    whole = residual(data.x, data.y)
    assert whole == pytest.approx(NOISE, rel=0.1) if kind == "stationary" else whole > 10 * NOISE


def test_a_gradual_rule_turns_steadily_by_half_a_turn():
    data = load("drift_regression:gradual")
    first, middle, last = (weights(data.x[s], data.y[s]) for s in (slice(0, 60), slice(970, 1030), slice(-60, None)))
    assert float((first - last).norm()) > 0.8 * STRENGTH
    # A chord of a quarter against one of half a circle.
    assert float((first - middle).norm() / (first - last).norm()) == pytest.approx(0.5**0.5, abs=0.08)


def test_a_recurring_rule_is_told_by_the_first_input():
    data = load("drift_regression:recurring")
    for regime in (-3.0, 0.0, 3.0):
        rows = data.x[:, 0] == regime
        assert 600 <= int(rows.sum()) <= 700
        assert residual(data.x[rows], data.y[rows]) == pytest.approx(NOISE, rel=0.1)


def test_regional_drift_replaces_one_of_four_rules_at_a_time():
    data = load("drift_regression:regional")
    regions = (data.x[:, :2] > 0).long() @ torch.tensor([2, 1])
    found = torch.stack(
        [
            torch.stack(
                [weights(data.x[rows], data.y[rows]) for region in range(4) for rows in [here & (regions == region)]]
            )
            for context in range(3)
            for here in [data.contexts == context]
        ]
    )
    moved = (found[1:] - found[:-1]).norm(dim=2) > 0.2 * STRENGTH
    assert torch.equal(moved, torch.eye(2, 4, dtype=torch.bool))


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean drift_regression:gradual"):
        load("drift_regression:gradul")


def test_a_source_of_ones_own_may_have_such_a_name(tmp_path, monkeypatch):
    (tmp_path / "drift_mine.py").write_text("from redwood.settings.data.image_sets import digits as make\n")
    monkeypatch.chdir(tmp_path)
    assert load("drift_mine.py:make").name == "digits"
