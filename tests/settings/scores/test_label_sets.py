"""Scores of label sets, against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from redwood.settings.scores.label_sets import average_precision, label_groups, label_scores, sample_f1


def random_answers(seed, n=80, n_labels=7, levels=0):
    """Random scores and label sets; with `levels`, the scores take so few values that many are equal."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, n_labels, generator=generator)
    y = torch.rand(n, n_labels, generator=generator) < torch.linspace(0.6, 0.05, n_labels)
    return (scores * levels).round() / levels if levels else scores, y


@pytest.mark.parametrize("levels", [0, 2])
@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_scikit_learns(seed, levels):
    scores, y = random_answers(seed, levels=levels)
    for label in y.any(0).nonzero().flatten().tolist():
        expected = average_precision_score(y[:, label].numpy(), scores[:, label].numpy())
        assert average_precision(scores[:, label], y[:, label]) == pytest.approx(expected, abs=1e-12)


def test_one_sample_and_masked_scores():
    assert average_precision(torch.tensor([0.3]), torch.tensor([True])) == 1.0
    masked = torch.full((4,), -torch.inf)
    assert average_precision(masked, torch.tensor([True, False, False, False])) == 0.25


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_means_over_the_labels_that_some_sample_has(seed):
    scores, y = random_answers(seed)
    y[:, 2] = False
    values = label_scores(scores, y, {"majority": [0, 1], "moderate": [2], "minority": [3, 4, 5, 6]})
    known = y.any(0).numpy()
    predicted, truth = (scores > 0).numpy(), y.numpy()
    assert values["map"]["all"] == pytest.approx(average_precision_score(truth[:, known], scores.numpy()[:, known]))
    assert values["cf1"]["all"] == pytest.approx(f1_score(truth[:, known], predicted[:, known], average="macro"))
    assert values["of1"]["all"] == pytest.approx(f1_score(truth, predicted, average="micro"))
    tail = np.array([3, 4, 5, 6])[known[3:]]
    assert values["cf1"]["minority"] == pytest.approx(f1_score(truth[:, tail], predicted[:, tail], average="macro"))
    assert values["of1"]["majority"] == pytest.approx(f1_score(truth[:, :2], predicted[:, :2], average="micro"))
    assert {values[score]["moderate"] for score in values} == {None}


def test_label_sets_may_be_predicted_without_scores():
    scores, y = random_answers(0)
    groups = label_groups(y.sum(0))
    both = [label_scores(answer, y, groups) for answer in (scores, scores > 0)]
    assert both[0]["cf1"] == both[1]["cf1"]
    assert label_scores(y, y, groups)["map"]["all"] == 1.0


def test_groups_go_by_the_share_of_the_most_frequent_label():
    groups = label_groups(torch.tensor([69, 100, 70, 10, 9, 0]))
    assert groups == {"majority": [1, 2], "moderate": [0, 3], "minority": [4, 5]}


def test_f1_of_single_samples():
    predicted = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 1, 1]]).bool()
    y = torch.tensor([[1, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 1]]).bool()
    assert sample_f1(predicted, y).tolist() == pytest.approx([2 / 3, 1, 0, 1])
