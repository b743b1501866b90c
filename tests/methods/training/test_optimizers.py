"""Optimizers of torch by name, with their arguments."""

import pytest
import torch

from redwood.branches.federated.fedavg import FedAvg
from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.training.optimizers import OPTIMIZERS, Adam, Sgd, new_optimizer
from tests.methods.helpers import one_sentence
from tests.methods.test_lightning import Watched, watch
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


def optimizer_of(**options):
    method = Finetune(**options)
    method.phase_count = 0
    return new_optimizer(method, [{"params": [torch.nn.Parameter(torch.ones(2, 2))]}])


class TestByName:
    @pytest.mark.parametrize(
        ("name", "cls"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW), ("rmsprop", torch.optim.RMSprop)]
    )
    def test_name_rate_and_decay(self, name, cls):
        made = optimizer_of(optimizer={name: {"weight_decay": 0.125}}, lr=0.25)
        assert type(made) is cls
        assert (made.defaults["lr"], made.defaults["weight_decay"]) == (0.25, 0.125)

    def test_arguments(self):
        made = optimizer_of(optimizer=Adam(betas=(0.8, 0.9), eps=1e-4, amsgrad=True))
        assert (made.defaults["betas"], made.defaults["eps"], made.defaults["amsgrad"]) == ((0.8, 0.9), 1e-4, True)
        assert optimizer_of(optimizer=Sgd(momentum=0.9, nesterov=True)).defaults["nesterov"] is True
        renamed = OPTIMIZERS.find("rmsprop")(rmsprop_alpha=0.5)
        assert optimizer_of(optimizer=renamed).defaults["alpha"] == 0.5

    def test_weights_decay_in_none_of_them_unless_it_is_asked_for(self):
        decays = {name: vars(OPTIMIZERS.find(name)()).get("weight_decay", 0.0) for name in OPTIMIZERS.names()}
        assert decays == dict.fromkeys(decays, 0.0) and len(decays) > 10

    @pytest.mark.parametrize("name", sorted({*OPTIMIZERS.names()} - {"muon"}))
    def test_each_of_them_trains(self, name):
        dataset = few_digits(n_train=60, n_test=40)
        weights = watch(method=Watched(optimizer=name, lr=0.01), dataset=dataset, passes=1).weights
        assert not any(map(torch.equal, weights[0], weights[-1]))

    def test_a_client_starts_anew_with_an_optimizer_that_is_born_with_a_state(self):
        method = FedAvg(optimizer={"adagrad": {"initial_accumulator_value": 0.5}})
        setting = small_setting("federated_class_incremental", clients=2, rounds=2, local_passes=1)
        run_here(setting, method)
        assert method.bytes_sent > 0


class TestRefusal:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"optimizer": "lion"}, r"--optimizer lion is unknown; choose one of adadelta, .*, sgd\."),
            ({"optimizer": "lbfgs"}, "--optimizer lbfgs computes the loss several times in each step"),
            ({"optimizer": "sparseadam"}, "--optimizer sparseadam takes sparse gradients alone"),
            ({"optimizer": {"adam": {"momentum": 0.9}}}, "--optimizer adam has no option momentum; leave it out"),
            ({"optimizer": {"rprop": {"weight_decay": 0.1}}}, "--optimizer rprop has no option weight_decay"),
            ({"optimizer": {"sgd": {"nesterov": True}}}, r"--optimizer sgd cannot be made with .* \(Nesterov"),
            ({"optimizer": {"sgd": {"nesterov": "yes"}}}, "--nesterov has to be of type bool, but 'yes' was given"),
            ({"optimizer": {"sgd": {"momentum": True}}}, "--momentum has to be of type float, but True was given"),
            ({"optimizer": {"sgd": {"momentum": -0.1}}}, "--optimizer sgd cannot be made with --momentum -0.1"),
            ({"optimizer": {"adam": {"betas": (0.9,)}}}, r"--betas has to be 2 numbers, but \(0.9,\) was given"),
            ({"optimizer": {"adam": {"betas": (0.9, 2)}}}, r"cannot be made with .*\(Invalid beta"),
            ({"optimizer": Sgd}, "--optimizer needs a part, and SGD is a class; pass an object"),
            ({"optimizer": 3}, "--optimizer has to be a name, .* or an object of OptimizerPart, but 3 was given"),
        ],
    )
    def test_in_one_sentence(self, options, message):
        with pytest.raises(InvalidOptionError, match=message) as error:
            Finetune(**options)
        assert one_sentence(error.value)

    def test_an_optimizer_of_matrices_and_a_network_with_biases(self):
        with pytest.raises(InvalidOptionError, match="--optimizer muon cannot train this network") as error:
            run_here(small_setting("class_incremental"), Finetune(optimizer="muon"))
        assert one_sentence(error.value)
