import torch

from redwood.methods.distillation.icarl import Hybrid1, ICaRL
from tests.methods.helpers import weights_of
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


def test_it_trains_as_icarl_does_and_predicts_by_the_network():
    icarl, hybrid = ICaRL(buffer_size=20), Hybrid1(buffer_size=20)
    for method in (icarl, hybrid):
        run_here(small_setting("class_incremental"), method)
    x = few_digits().x_test
    assert all(map(torch.equal, weights_of(hybrid), weights_of(icarl)))
    assert torch.equal(hybrid.buffer.all()["x"], icarl.buffer.all()["x"])
    with torch.no_grad():
        assert torch.equal(hybrid.predict(x, None), hybrid.network(x))
    assert not torch.equal(hybrid.predict(x, None).argmax(1), icarl.predict(x, None).argmax(1))
