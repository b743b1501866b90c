import itertools
import random
import sys
from types import ModuleType

import pytest

from redwood.methods import Finetune
from redwood.settings.assumptions import FREE, Assumption, Assumptions, Context, Range, TaskIds, merge_assumptions
from redwood.settings.base import Setting, why_not_applicable
from redwood.settings.tree import (
    ClassIncrementalSetting,
    ContinualSetting,
    Distributed,
    Online,
    OnlineClassIncrementalSetting,
    TaskIncrementalSetting,
)

noisy_labels = Assumption("labels are wrong at times")
RANGES = [Range(low, high) for low in range(1, 5) for high in (None, 1, 2, 3, 4)]  # empty ones included


def some_assumptions(count):
    choose = random.Random(0).choice
    flags = (False, True)
    free = (FREE, Range(1, 1), Range(2), Range(2, 3))
    declared = [dict.fromkeys(names, noisy_labels) for names in ((), ("noisy_labels",), ("noisy_labels", "other"))]
    return [
        Assumptions(
            choose(flags),
            choose(flags),
            choose(list(Context)),
            choose(flags),
            choose(list(TaskIds)),
            choose(flags),
            choose(flags),
            choose(flags),
            choose(free),
            choose(free),
            choose(declared),
        )
        for _ in range(count)
    ]


@pytest.fixture(params=["ranges", "assumptions"])
def elements(request):
    return RANGES if request.param == "ranges" else [Assumptions(), *some_assumptions(24)]


class TestLattice:
    def test_order_is_reflexive_and_antisymmetric(self, elements):
        assert all(a <= a for a in elements)
        assert all(a == b for a, b in itertools.product(elements, repeat=2) if a <= b and b <= a)

    def test_order_is_transitive(self, elements):
        assert all(a <= c for a, b, c in itertools.product(elements, repeat=3) if a <= b and b <= c)

    def test_join_is_the_least_upper_bound(self, elements):
        for a, b in itertools.product(elements, repeat=2):
            join = a | b
            assert a <= join
            assert b <= join
            assert all(join <= c for c in elements if a <= c and b <= c)

    def test_order_and_join_agree(self, elements):
        assert all((a <= b) == (a | b == b) for a, b in itertools.product(elements, repeat=2))

    def test_join_is_commutative_and_associative(self, elements):
        assert all(a | b == b | a for a, b in itertools.product(elements, repeat=2))
        assert all((a | b) | c == a | (b | c) for a, b, c in itertools.product(elements, repeat=3))

    def test_the_least_element_promises_nothing(self, elements):
        least = FREE if isinstance(elements[0], Range) else Assumptions()
        assert all(least <= a and least | a == a for a in elements)

    def test_some_elements_cannot_be_compared(self, elements):
        assert any(not a <= b and not b <= a for a, b in itertools.combinations(elements, 2))


class TestRange:
    def test_membership_is_that_of_the_interval(self):
        for allowed, value in itertools.product(RANGES, range(6)):
            assert (value in allowed) == (allowed.low <= value <= (allowed.high or 99))

    def test_a_greater_range_allows_less(self):
        for a, b in itertools.product(RANGES, repeat=2):
            allowed = [{v for v in range(1, 9) if v in r} for r in (a, b, a | b)]
            assert allowed[2] == allowed[0] & allowed[1]
            if allowed[0] and allowed[1]:
                assert (a <= b) == (allowed[1] <= allowed[0])

    def test_clip_gives_the_nearest_allowed_value(self):
        for allowed, value in itertools.product(RANGES, range(1, 9)):
            members = [v for v in range(1, 99) if v in allowed]
            if members:
                assert allowed.clip(value) == min(members, key=lambda v: abs(v - value))

    @pytest.mark.parametrize(
        ("allowed", "text"), [(Range(1, 1), "=1"), (Range(2), ">=2"), (Range(2, 4), " in 2..4"), (FREE, ">=1")]
    )
    def test_text(self, allowed, text):
        assert str(allowed) == text


class TestPromises:
    def test_the_repr_names_them(self):
        assert repr(Assumptions(labels=True, passes=Range(1, 1))) == "<Assumptions: labels, passes=1>"

    def test_none(self):
        assert Assumptions().promises() == ()
        assert repr(Assumptions()) == "<Assumptions: none>"

    def test_all_by_name(self):
        record = Assumptions(
            labels=True,
            rewards=True,
            context=Context.STATIONARY,
            boundaries=True,
            task_ids=TaskIds.TEST,
            shared_outputs=True,
            past_accessible=True,
            passes=Range(1, 1),
            workers=Range(2),
            declared={"noisy_labels": noisy_labels},
        )
        assert record.promises() == (
            "labels",
            "rewards",
            "discrete_contexts",
            "stationary",
            "task_boundaries",
            "task_ids_in_training",
            "task_ids_at_test",
            "shared_outputs",
            "past_accessible",
            "passes=1",
            "workers>=2",
            "noisy_labels",
        )

    def test_they_grow_with_the_record(self):
        records = some_assumptions(40)
        for a, b in itertools.product(records, repeat=2):
            if a <= b and a.passes == b.passes and a.workers == b.workers:
                assert set(a.promises()) <= set(b.promises())


class TestMerge:
    def test_parents_are_joined_and_own_promises_added(self):
        left, right = Assumptions(labels=True), Assumptions(context=Context.DISCRETE)
        merged = merge_assumptions("Node", __name__, [left, right], {"boundaries": True})
        assert merged == Assumptions(labels=True, context=Context.DISCRETE, boundaries=True)

    def test_assumptions_are_frozen(self):
        with pytest.raises(AttributeError):
            ContinualSetting.assumptions.labels = False


class TestClassCreation:
    """`class Node(*bases, **added)` either makes a node that promises more, or raises."""

    @pytest.mark.parametrize(
        ("bases", "added", "sentence"),
        [
            ((Setting,), {"task_ids": TaskIds.TEST}, "task ids in training announce the boundaries"),
            ((Setting,), {"boundaries": True}, "continuously has no boundaries"),
            ((ContinualSetting,), {"boundaries": True}, "continuously has no boundaries"),
            ((ContinualSetting,), {"rewards": True}, "labels and rewards are two halves"),
            ((Online,), {"passes": Range(2)}, "no number of passes is at least 2 and at most 1|takes back"),
            ((Distributed,), {"workers": Range(1, 1)}, "takes back the inherited"),
            ((OnlineClassIncrementalSetting,), {"passes": FREE}, "passes=>=1 takes back the inherited =1"),
            ((ClassIncrementalSetting,), {"boundaries": False}, "takes back the inherited True"),
            ((TaskIncrementalSetting,), {"task_ids": TaskIds.NEVER}, "takes back the inherited"),
            ((ClassIncrementalSetting,), {"context": Context.CONTINUOUS}, "takes back the inherited"),
            ((ContinualSetting,), {"labels": False}, "a child setting can only add assumptions"),
            ((ContinualSetting,), {"colour": "red"}, "there is no assumption named colour"),
        ],
    )
    def test_contradictions_and_take_backs(self, bases, added, sentence):
        with pytest.raises(TypeError, match=sentence):
            type("Node", bases, {}, **added)

    def test_bases_that_exclude_each_other(self):
        one_worker = type("OneWorker", (Setting,), {}, workers=Range(1, 1))
        with pytest.raises(TypeError, match="no number of workers is at least 2 and at most 1"):
            type("Node", (one_worker, Distributed), {})

    def test_a_diamond_loses_no_promise(self):
        node = type("Node", (TaskIncrementalSetting, OnlineClassIncrementalSetting), {})
        assert node.assumptions == TaskIncrementalSetting.assumptions | OnlineClassIncrementalSetting.assumptions
        assert (node.assumptions.task_ids, node.assumptions.passes) == (TaskIds.TEST, Range(1, 1))

    def test_a_repeated_promise_is_harmless(self):
        node = type("Node", (ClassIncrementalSetting,), {}, boundaries=True)
        assert node.assumptions == ClassIncrementalSetting.assumptions

    def test_a_number_is_the_range_that_holds_it_alone(self):
        node = type("Node", (ContinualSetting,), {}, passes=2)
        assert node.assumptions.passes == Range(2, 2)
        assert node().passes == 2


class NoisyLabels(ClassIncrementalSetting, noisy_labels=True):
    """Some labels are wrong."""


class TestDeclared:
    """Promises that the file of a setting declares."""

    def test_children_inherit_them(self):
        child = type("Child", (NoisyLabels,), {"__module__": "elsewhere"}, task_ids=TaskIds.TEST)
        assert "noisy_labels" in child.assumptions and "noisy_labels" not in ClassIncrementalSetting.assumptions
        assert child.assumptions.declared == {"noisy_labels": noisy_labels}

    def test_they_are_in_order_and_applicability(self):
        assert ClassIncrementalSetting.assumptions <= NoisyLabels.assumptions
        assert not NoisyLabels.assumptions <= ClassIncrementalSetting.assumptions
        method = type("Robust", (Finetune,), {"target": NoisyLabels})
        assert why_not_applicable(NoisyLabels, method) is None
        assert "Robust targets NoisyLabels" in str(why_not_applicable(ClassIncrementalSetting, method))

    @pytest.mark.parametrize(
        ("bases", "added", "sentence"),
        [
            ((NoisyLabels,), {"noisy_labels": False}, "noisy_labels=False takes back the inherited True"),
            ((ContinualSetting,), {"noisy_labels": False}, "noisy_labels=False promises nothing; write"),
            ((ContinualSetting,), {"noisy_labels": 2}, "noisy_labels=2 promises nothing; write noisy_labels=True"),
            ((ContinualSetting,), {"some_name": True}, "there is no assumption named some_name; declare it above"),
            ((ContinualSetting,), {"RANGES": True}, "there is no assumption named RANGES"),
        ],
    )
    def test_wrong_ones_are_told(self, bases, added, sentence):
        with pytest.raises(TypeError, match=sentence):
            type("Node", bases, {"__module__": __name__}, **added)

    @pytest.mark.parametrize(("name", "words"), [("passes", "no number and no range"), ("stationary", "redwood's own")])
    def test_names_of_our_own_are_taken(self, name, words, monkeypatch):
        monkeypatch.setitem(globals(), name, Assumption("something else"))
        with pytest.raises(TypeError, match=words):
            type("Node", (ContinualSetting,), {"__module__": __name__}, **{name: True})

    def test_two_files_with_one_name(self, monkeypatch):
        other = ModuleType("other")
        vars(other)["noisy_labels"] = Assumption("microphones are noisy")
        monkeypatch.setitem(sys.modules, "other", other)
        theirs = type("Theirs", (ClassIncrementalSetting,), {"__module__": "other"}, noisy_labels=True)
        with pytest.raises(TypeError, match="Both: two files declare an assumption named noisy_labels; rename"):
            type("Both", (NoisyLabels, theirs), {})
        with pytest.raises(TypeError, match="Again: two files declare an assumption named noisy_labels; rename"):
            type("Again", (NoisyLabels,), {"__module__": "other"}, noisy_labels=True)
