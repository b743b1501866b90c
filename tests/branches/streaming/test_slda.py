from itertools import pairwise

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from redwood.branches.streaming.slda import SLDA
from redwood.settings import ClassSplit
from redwood.settings.data.dataset import Dataset
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


def balanced():
    """As many digits of each class, so that all classes weigh alike in a covariance, however it is pooled."""
    data = few_digits(n_train=700)
    rows = torch.cat([(data.y == label).nonzero()[:30, 0] for label in range(10)])
    return Dataset("balanced", data.x[rows], data.y[rows], data.x_test, data.y_test, max_value=16)


@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@pytest.mark.parametrize(("key", "batch_size"), [("traditional", 300), ("class_incremental", 16), ("continual", 7)])
def test_it_is_linear_discriminant_analysis_of_all_samples_together(key, batch_size, solver):
    data, method = balanced(), SLDA(shrinkage=0.1)
    run_here(
        small_setting(key, dataset=data, batch_size=batch_size, stream=ClassSplit(class_order=list(range(10)))), method
    )
    features, unseen = (x.flatten(1).double().numpy() / 8 - 1 for x in (data.x, data.x_test))
    expected = LinearDiscriminantAnalysis(solver=solver, shrinkage=0.1, priors=[0.1] * 10)
    expected.fit(features, data.y.numpy())
    mine, theirs = method.predict(data.x_test, None), torch.from_numpy(expected.decision_function(unseen))
    torch.testing.assert_close(mine.log_softmax(1), theirs.log_softmax(1), rtol=1e-5, atol=1e-5)


def test_more_shrinkage_leads_to_the_nearest_mean():
    """With all of it the covariance is a multiple of the identity."""
    from redwood.branches.streaming.ncm import NCM

    answers = []
    for method in (SLDA(shrinkage=1.0), NCM(), SLDA()):
        run_here(small_setting("class_incremental"), method)
        answers.append(method.predict(few_digits().x_test, None).argmax(1).tolist())
    assert answers[0] == answers[1] != answers[2]


def test_features_that_vary_little_or_not_at_all():
    """One sample of each class, then several."""
    data = few_digits()
    firsts = torch.stack([(data.y == label).nonzero()[0, 0] for label in range(10)])
    rows = torch.cat([firsts, torch.arange(40)])
    constant = data.x.clone()
    constant[:, :, :4] = 3
    method = SLDA()
    few = Dataset("few", constant[rows], data.y[rows], data.x_test, data.y_test, max_value=16)
    results = run_here(small_setting("online_class_incremental", dataset=few, batch_size=2), method)
    assert torch.isfinite(method.predict(data.x_test, None)).all()
    seen = [seen for seen, _ in results.online_curve]
    assert all(a < b for a, b in pairwise(seen))
