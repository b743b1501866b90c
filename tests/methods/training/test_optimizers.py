"""Optimizers of torch by name, with their arguments."""

import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.federated.fedavg import FedAvg
from redwood.methods.training.optimizers import OPTIMIZERS, new_optimizer
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
        made = optimizer_of(optimizer=name, lr=0.25, weight_decay=0.125)
        assert type(made) is cls
        assert (made.defaults["lr"], made.defaults["weight_decay"]) == (0.25, 0.125)

    def test_arguments(self):
        made = optimizer_of(optimizer="adam", optimizer_options=["betas=0.8,0.9", "eps=1e-4", "amsgrad=True"])
        assert (made.defaults["betas"], made.defaults["eps"], made.defaults["amsgrad"]) == ((0.8, 0.9), 1e-4, True)
        assert optimizer_of(momentum=0.9, optimizer_options=["nesterov=True"]).defaults["nesterov"] is True

    @pytest.mark.parametrize("name", sorted({*OPTIMIZERS} - {"muon"}))
    def test_each_of_them_trains(self, name):
        dataset = few_digits(n_train=60, n_test=40)
        weights = watch(method=Watched(optimizer=name, lr=0.01), dataset=dataset, passes=1).weights
        assert not any(map(torch.equal, weights[0], weights[-1]))

    def test_a_client_starts_anew_with_an_optimizer_that_is_born_with_a_state(self):
        method = FedAvg(optimizer="adagrad", optimizer_options=["initial_accumulator_value=0.5"])
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
            ({"optimizer": "adam", "momentum": 0.9}, "--momentum 0.9 is of sgd, and has no effect on adam"),
            ({"optimizer": "rprop", "weight_decay": 0.1}, "--weight_decay 0.1 has no effect on rprop"),
            ({"optimizer_options": ["nesterov=True"]}, r"--optimizer sgd nesterov=True cannot be made \(Nesterov"),
            ({"optimizer_options": ["beta=0.9"]}, "beta=0.9 is unknown; choose among dampening, nesterov, "),
            ({"optimizer_options": ["lr=0.9"]}, "--optimizer_options lr=0.9 has an option of its own; give --lr"),
            (
                {"optimizer_options": ["optimizer=Sgd(momentum=0.9, momentum=0.9)"]},
                "momentum=0.9 has an option of its own; give --momentum",
            ),
            ({"optimizer_options": ["nesterov"]}, "nesterov has to be of the form name=value"),
            ({"optimizer_options": ["dampening="]}, "dampening= has to be of the form name=value"),
            ({"optimizer_options": ["nesterov=yes"]}, "nesterov=yes has to be of type bool"),
            ({"optimizer_options": ["nesterov=__import__('os')"]}, "has to be of type bool"),
            ({"optimizer_options": ["dampening=True"]}, "dampening=True has to be of type float"),
            ({"optimizer_options": ["dampening=0", "dampening=1"]}, "--optimizer_options gives dampening twice"),
            ({"optimizer_options": "nesterov=True"}, "--optimizer_options has to be a list"),
            ({"optimizer": "adam", "optimizer_options": ["betas=0.9"]}, r"has to be of type tuple\[float, float\]"),
            ({"optimizer": "adam", "optimizer_options": ["betas=0.9,2"]}, "cannot be made .Invalid beta"),
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
