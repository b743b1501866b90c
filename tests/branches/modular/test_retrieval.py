import numpy as np
import torch
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from redwood.branches.modular.retrieval import neighbour_accuracy


def test_is_the_leave_one_out_accuracy_of_nearest_neighbours():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (60,), generator=generator)
    x = torch.randn(60, 5, generator=generator) + y[:, None]
    for k in (1, 3):  # of one or three votes for two or more classes, ties are rare, and of one vote there are none
        scores = cross_val_score(KNeighborsClassifier(k, weights="distance"), x.numpy(), y.numpy(), cv=LeaveOneOut())
        assert abs(neighbour_accuracy(x, y, k) - float(np.mean(scores))) <= (0 if k == 1 else 0.04)


def test_large_means_do_not_drown_the_differences():
    x = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
    y = torch.tensor([0, 0, 1, 1])
    assert neighbour_accuracy(x, y, 1) == neighbour_accuracy(x + 1e6, y, 1) == 1


def test_of_equal_votes_the_nearer_label_wins():
    x = torch.tensor([[0.0], [1.0], [-3.0]])
    y = torch.tensor([1, 1, 0])
    # The first sample has a vote for each label; the nearer is right. The last has two votes for a wrong one.
    assert neighbour_accuracy(x, y, 2) == 1 / 3 + 1 / 3 * float(neighbour_accuracy(x[:2], y[:2], 1))


def test_one_sample_tells_nothing():
    assert neighbour_accuracy(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long), 5) == 0
