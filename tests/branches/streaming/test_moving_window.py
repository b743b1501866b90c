import pytest
import torch
from sklearn.linear_model import Ridge

from redwood.branches.streaming.moving_window import MovingWindow
from redwood.branches.streaming.prequential import fit_ridge
from redwood.core.errors import InvalidOptionError
from redwood.engine.run import Run
from tests.regression import line
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


def configured(method, data=None):
    method.attach(Run(accelerator="cpu"))
    method.configure(small_setting("continual", dataset=data or line()).for_method())
    return method


class TestWindow:
    def test_it_predicts_as_ridge_regression_on_the_latest_samples(self):
        data, method = line(noise=1.0), configured(MovingWindow(window=20, ridge=0.5))
        for rows in torch.arange(90).split(7):
            method.add(data.x[rows], data.y[rows])
        x, y = method.inputs(data.x[70:90]), data.y[70:90]
        expected = Ridge(alpha=0.5).fit(x.numpy(), y.numpy()).predict(method.inputs(data.x_test).numpy())
        torch.testing.assert_close(method.predict(data.x_test, None), torch.from_numpy(expected).float())

    def test_classes_are_fitted_as_indicators_whose_scores_add_up_to_one(self):
        data, method = few_digits(), configured(MovingWindow(), few_digits())
        method.add(data.x, data.y)
        scores = method.predict(data.x_test, None)
        assert scores.shape == (100, 10)
        torch.testing.assert_close(scores.sum(1), torch.ones(100))
        assert (scores.argmax(1) == data.y_test).float().mean() > 0.7

    def test_between_fits_the_model_stays_and_the_end_of_a_phase_fits_it(self):
        data, method = line(noise=1.0), configured(MovingWindow(window=20, refit_every=3))
        models = []
        for rows in torch.arange(35).split(7):
            method.add(data.x[rows], data.y[rows])
            models.append(method.predict(data.x_test, None))
        assert torch.equal(models[0], models[2]) and not torch.equal(models[2], models[3])
        often, seldom = MovingWindow(window=20), MovingWindow(window=20, refit_every=1000)
        matrices = [run_here(small_setting("continual"), each).accuracy_matrix for each in (often, seldom)]
        assert matrices[0] == matrices[1]

    @pytest.mark.parametrize(("refit_every", "fits"), [(1, 10), (4, 4), (9, 2), (1000, 2)])
    def test_there_is_a_fit_every_so_many_steps_and_one_at_the_end(self, refit_every, fits, monkeypatch):
        sizes = []

        def noted(x, y, penalty):
            sizes.append(len(x))
            return fit_ridge(x, y, penalty)

        monkeypatch.setattr("redwood.branches.streaming.moving_window.fit_ridge", noted)
        run_here(small_setting("continual"), MovingWindow(window=1000, refit_every=refit_every))
        assert (len(sizes), sizes[0], sizes[-1]) == (fits, 16, 160)

    def test_several_numbers_at_once(self):
        data, method = line(components=2), configured(MovingWindow(), line(components=2))
        method.add(data.x, data.y)
        torch.testing.assert_close(method.predict(data.x_test, None), data.y_test, rtol=0.05, atol=0.05)

    def test_costs(self):
        method = MovingWindow(window=20)
        results = run_here(small_setting("continual"), method)
        assert results.cost.buffer_bytes == 20 * (64 + 8)
        assert results.cost.parameters == 65 * 10
        assert results.cost.training_flops > 0


@pytest.mark.parametrize("options", [{"window": 0}, {"refit_every": 0}, {"ridge": 0.0}])
def test_options_out_of_range(options):
    with pytest.raises(InvalidOptionError, match="has to be at least"):
        MovingWindow(**options)
