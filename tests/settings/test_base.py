import pytest
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings.tree import ClassIncrementalSetting


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((Rehearsal,), r"apply needs a method, and Rehearsal is a class; pass Rehearsal\(\)\."),
        (("rehearsal",), "apply needs a method, such as .*, but got 'rehearsal'"),
        ((nn.Linear(2, 2),), "apply needs a method, such as .*, but got a Linear"),
        ((), "apply needs a method, such as .*, but got None"),
    ],
)
def test_apply_says_what_it_needs(arguments, sentence):
    with pytest.raises(InvalidOptionError, match=sentence):
        ClassIncrementalSetting().apply(*arguments)


def test_apply_on_a_class():
    with pytest.raises(InvalidOptionError, match=r"needs an instance of the setting; .*Setting\(\).apply"):
        ClassIncrementalSetting.apply(Finetune())


def test_a_misspelt_option_of_the_run(tmp_path):
    with pytest.raises(InvalidOptionError, match=r"apply has no option quite=True; did you mean quiet\?"):
        ClassIncrementalSetting().apply(Finetune(), quite=True)
    with pytest.raises(InvalidOptionError, match=r"apply has no option epochs=3; known are accelerator, .*, wandb\."):
        ClassIncrementalSetting().apply(Finetune(), epochs=3)


def test_an_option_of_the_method_that_was_set_afterwards():
    method = Finetune()
    method.lr = "0.1"
    with pytest.raises(InvalidOptionError, match="--lr has to be of type float"):
        ClassIncrementalSetting().apply(method)
