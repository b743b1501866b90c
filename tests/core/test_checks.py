import dataclasses
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from redwood.core.checks import LARGEST_SEED, check_choice, check_range, check_types
from redwood.core.errors import InvalidOptionError, RedwoodError, UnknownNameError
from redwood.engine.run import Run
from redwood.methods import AGENT_PARTS, METHODS, get_method
from redwood.methods.baselines import Finetune
from redwood.settings import SETTINGS, ClassSplit, TaskList, get_setting
from redwood.settings.tree import ClassIncrementalSetting


def options(value):
    return SimpleNamespace(size=value)


class TestCheckRange:
    @pytest.mark.parametrize(("value", "high"), [(1, None), (10**9, None), (1, 1), (2.5, 3)])
    def test_inside(self, value, high):
        check_range(options(value), "size", 1, high)

    @pytest.mark.parametrize(
        ("value", "high", "sentence"),
        [
            (0, None, "--size 0 has to be at least 1."),
            (4, 3, "--size 4 has to be at least 1 and at most 3."),
            (float("nan"), None, "--size nan has to be a finite number."),
            (2**32, 2**32 - 1, "--size 4294967296 has to be at least 1 and at most 4294967295."),
            (10**400, 3, "--size 2^1328 or more has to be at least 1 and at most 3."),
        ],
    )
    def test_outside(self, value, high, sentence):
        with pytest.raises(InvalidOptionError) as caught:
            check_range(options(value), "size", 1, high)
        assert str(caught.value) == sentence


def test_check_choice():
    check_choice(options("a"), "size", ("a", "b"))
    with pytest.raises(InvalidOptionError) as caught:
        check_choice(options("c"), "size", ("a", "b"))
    assert str(caught.value) == "--size c is unknown; choose one of a, b."


class TestUnknownNameError:
    def test_it_names_the_nearest(self):
        error = UnknownNameError("method", "rehersal", ["ewc", "rehearsal"])
        assert str(error) == "There is no method named 'rehersal'. Did you mean rehearsal? Known: ewc, rehearsal."

    def test_nothing_is_near(self):
        assert "Did you mean" not in str(UnknownNameError("method", "qqq", ["ewc", "rehearsal"]))


def test_all_errors_of_ours_are_value_errors():
    assert issubclass(RedwoodError, ValueError)
    assert issubclass(UnknownNameError, RedwoodError)


class TestUntypedOptions:
    def test_an_option_of_a_parent_is_refused(self):
        for parent, name in ((Finetune, "lr"), (ClassIncrementalSetting, "passes")):
            with pytest.raises(
                TypeError, match=rf"Mine.{name} = 3 does not change the option {name}; write {name}: int = 3"
            ):
                type("Mine", (parent,), {name: 3})

    def test_a_new_one_is_told(self):
        with pytest.warns(
            UserWarning, match=r"Mine.epsilon = 0.1 has no type, .* write epsilon: float = 0.1, or annotate"
        ):
            type("Mine", (Finetune,), {"epsilon": 0.1})

    def test_what_is_no_option_is_not(self):
        attributes = {"__annotations__": {"own": "ClassVar[int]", "lr": "float"}, "own": 3, "lr": 0.3}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            type("Mine", (Finetune,), attributes | {"LIMIT": 3, "_hidden": 2, "regression": True, "help": print})


ARRAY = np.ones((200, 3))


class TestTypes:
    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda: Finetune(lr="0.1"), "--lr has to be of type float, but '0.1' was given"),
            (lambda: Finetune(lr=True), "--lr has to be of type float, but True was given"),
            (lambda: Finetune(optimizer_state=print), "--optimizer_state has to be of type str"),
            (
                lambda: ClassIncrementalSetting(batch_size=16.0),
                "--batch_size has to be of type int, but 16.0 was given",
            ),
            (
                lambda: ClassIncrementalSetting(stream=ClassSplit(increment=2)),
                r"--increment has to be a list, but 2 was given; pass \[2\]",
            ),
            (lambda: Run(quiet="yes"), "--quiet has to be of type bool"),
            (lambda: TaskList([(ARRAY, ARRAY)] * 9), "--first_task has to be of type int, but a list of 9 was given"),
            (
                lambda: ClassIncrementalSetting(stream=ClassSplit(increment=ARRAY)),
                r"has to be a list, but ndarray \(200, 3\) float64 was given; pass its tolist\(\)",
            ),
            (lambda: Finetune(model=ARRAY), r"but ndarray \(200, 3\) float64 was given"),
        ],
    )
    def test_other_values_are_refused(self, make, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            make()

    def test_what_stands_for_a_plain_value_becomes_one(self):
        setting = ClassIncrementalSetting(
            seed=np.int64(3), data_dir=Path("data"), stream=ClassSplit(increment=range(2, 3))
        )
        assert (type(setting.seed), setting.data_dir) == (int, "data")
        assert type(Finetune(lr=np.float32(0.5)).lr) is float and Finetune(lr=1).lr == 1
        assert Run(devices=1).devices == "1"


class TestLargeNumbers:
    """Counts that no machine can handle are refused, whichever class has the option."""

    CLASSES = (
        Run,
        *(get_setting(name) for name in SETTINGS),
        *(get_method(name) for name in METHODS),
        *(get_method(f"dqn+{name}") for name in AGENT_PARTS if name != "reset_critic"),
        get_method("ppo+reset_critic"),
    )

    @pytest.mark.parametrize("value", [2**63, 10**400, 10**5000], ids=["2^63", "10^400", "10^5000"])
    def test_of_every_option(self, value):
        names = set()
        for cls in self.CLASSES:
            for f in dataclasses.fields(cls):
                if str(f.type) in ("int", "int | None", "<class 'int'>") and f.metadata.get("cmd", True):
                    names.add(f.name)
                    with pytest.raises(RedwoodError, match=rf"--{f.name} \d\S*( or more)? .*\.$"):
                        check_types(cls(**{f.name: value}))
        assert len(names) > 60

    def test_of_lists(self):
        with pytest.raises(InvalidOptionError, match=r"--increment 2\^1328 or more has to be at most 1000000000\."):
            ClassIncrementalSetting(stream=ClassSplit(increment=[2, 10**400]))

    def test_seeds_have_32_bits(self):
        assert ClassIncrementalSetting(seed=LARGEST_SEED).seed == LARGEST_SEED
        for name, cls in (("seed", ClassIncrementalSetting), ("class_order_seed", ClassSplit)):
            with pytest.raises(InvalidOptionError, match=f"--{name} 4294967296 has to be at most 4294967295"):
                cls(**{name: LARGEST_SEED + 1})

    @pytest.mark.parametrize(
        ("name", "option"),
        [
            ("osaka", "timesteps"),
            ("federated_class_incremental", "rounds"),
            ("continual_rl", "test_episodes"),
            ("hard_moe", "experts"),
            ("mntdp", "tries"),
            ("maml", "inner_steps"),
            ("ranpac", "projection_dim"),
            ("ppo", "n_envs"),
        ],
    )
    def test_each_takes_room_or_time(self, name, option):
        cls = get_setting(name) if name in SETTINGS else get_method(name)
        with pytest.raises(InvalidOptionError, match=f"--{option} 1000000000 has to be at least [01] and at most"):
            cls(**{option: 10**9})
