import pytest
import torch
from torch import nn

from redwood.branches.osaka.maml import ANIL, MAML
from redwood.branches.osaka.setting import OsakaSetting
from redwood.core.errors import InvalidOptionError
from redwood.engine.run import Run
from tests.methods.helpers import configured, one_sentence, step_of, weights_of
from tests.small_runs import NormalisedNetwork, run_here, small_setting

EPISODES = {"pretraining": 4, "query_shots": 2}


def fitted(method, **options):
    """A method in the stream phase of a small setting, and the batches of the stream."""
    setting = small_setting("osaka", **options)
    torch.manual_seed(0)
    method.attach(Run(accelerator="cpu"))
    method.configure(setting.for_method())
    *_, method.phase = setting.phases()
    return method, list(method.phase.train)


class TestStream:
    def test_the_slow_weights_stay(self):
        method, batches = fitted(MAML())
        before = weights_of(method)
        for batch in batches:
            loss = method.loss(step_of(batch))
            loss.backward()
            assert all(weights.grad is None for weights in method.network.parameters())
        assert all(map(torch.equal, before, weights_of(method)))

    def test_the_next_batch_is_predicted_by_weights_adapted_to_this_one(self):
        method, batches = fitted(MAML(inner_steps=3))
        for batch in batches[:2]:  # the second adaptation starts from the slow weights again
            method.loss(step_of(batch))
        expected = method.meta.adapt(method.meta.slow_weights(), batches[1].x, batches[1].y, steps=3)
        assert all(torch.equal(method.fast[name], value) for name, value in expected.items())
        scores = method.predict(batches[2].x, None)
        assert torch.equal(scores, torch.func.functional_call(method.meta.body, expected, (batches[2].x,)))
        assert not torch.equal(scores, method.meta(batches[2].x))

    def test_the_loss_in_the_logs_is_that_before_the_labels(self):
        method, batches = fitted(MAML())
        method.loss(step_of(batches[0]))
        expected = nn.functional.cross_entropy(method.predict(batches[1].x, None), batches[1].y)
        torch.testing.assert_close(method.loss(step_of(batches[1])).detach(), expected)

    def test_anil_adapts_the_last_layer(self):
        method, batches = fitted(ANIL())
        method.loss(step_of(batches[0]))
        slow = method.meta.slow_weights()
        assert {name for name in slow if not torch.equal(slow[name], method.fast[name])} == {"head.weight", "head.bias"}


class TestPretraining:
    @pytest.mark.parametrize("cls", [MAML, ANIL])
    @pytest.mark.parametrize("second_order", [False, True])
    def test_it_moves_slow_weights_and_step_sizes(self, cls, second_order):
        method = configured(cls(second_order=second_order), "osaka", **EPISODES)
        before = weights_of(method)
        run_here(small_setting("osaka", **EPISODES), method)
        assert not any(map(torch.equal, before, weights_of(method)))

    def test_it_makes_a_batch_go_further(self):
        """After pre-training, one batch tells more of the next one than it does from weights as they were drawn."""
        options = {"timesteps": 60, "stay_probability": 0.9, "domain_probabilities": [1.0, 0.0, 0.0]}
        trained, drawn = (
            run_here(small_setting("osaka", **options | episodes), MAML(lr=0.003, inner_steps=2)).objective
            for episodes in ({"pretraining": 400, "query_shots": 2}, {})
        )
        assert trained > drawn + 0.2

    def test_a_query_set_is_scored_after_the_support_set_was_adapted_to(self):
        method = configured(MAML(), "osaka", **EPISODES)
        first, _ = small_setting("osaka", **EPISODES).phases()
        method.phase = first
        episode = next(iter(first.train))
        fast = method.meta.adapt(method.meta.slow_weights(), episode.x[:16], episode.y[:16], steps=4)
        expected = method.meta.loss(fast, episode.x[16:], episode.y[16:])
        torch.testing.assert_close(method.loss(step_of(episode)), expected)

    def test_without_it_a_run_says_so(self):
        with pytest.warns(UserWarning, match="^maml met no pre-training phase") as caught:
            run_here(small_setting("osaka"), MAML())
        assert any(one_sentence(str(warning.message)) for warning in caught if "maml" in str(warning.message))


@pytest.mark.parametrize("cls", [MAML, ANIL])
def test_batch_normalisation_and_dropout(cls):
    results = run_here(small_setting("osaka", **EPISODES), cls(model=NormalisedNetwork(n_outputs=4)))
    assert 0 <= results.objective <= 1


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [({"inner_lr": 0.0}, "--inner_lr 0.0 has to be greater"), ({"inner_steps": 0}, "--inner_steps 0 has to be")],
    )
    def test_values(self, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            MAML(**options)

    def test_gradients_that_are_scaled_in_each_step(self):
        method = MAML()
        method.attach(Run(accelerator="cpu", precision="16-mixed"))
        with pytest.raises(InvalidOptionError, match="--precision 16-mixed scales") as caught:
            method.configure(small_setting("osaka").for_method())
        assert one_sentence(caught.value)

    def test_a_network_without_a_last_layer(self):
        class Rectified(NormalisedNetwork):
            def forward(self, x):
                return super().forward(x).relu()

        method = ANIL(model=Rectified(n_outputs=4))
        with pytest.raises(InvalidOptionError, match="what anil adapts"):
            OsakaSetting(ways=4, timesteps=4).apply(method, quiet=True, accelerator="cpu")
