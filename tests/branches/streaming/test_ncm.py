import pytest
import torch
from sklearn.neighbors import NearestCentroid

from redwood.branches.streaming.ncm import NCM
from redwood.settings import ClassSplit
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


@pytest.mark.parametrize("key", ["traditional", "class_incremental", "continual"])
def test_it_is_the_nearest_centroid_classifier_of_all_samples_together(key):
    data, method = few_digits(), NCM()
    run_here(small_setting(key, stream=ClassSplit(class_order=list(range(10)))), method)
    expected = NearestCentroid().fit(data.x.flatten(1).numpy() / 8 - 1, data.y.numpy())
    answers = method.predict(data.x_test, None).argmax(1)
    assert answers.tolist() == expected.predict(data.x_test.flatten(1).numpy() / 8 - 1).tolist()


def test_accuracy():
    data, method = few_digits(n_train=1400, n_test=300), NCM()
    results = run_here(small_setting("online_class_incremental", dataset=data), method)
    assert results.metrics["average_accuracy"] >= 0.85
    assert torch.isfinite(method.predict(data.x_test, None)).all()
