"""The node of labels on request: a method asks for a share of the labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from redwood.branches.label_budget.query_rules import QUERY_RULES, RandomQueries
from redwood.branches.label_budget.stream import RequestedStream
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Choice
from redwood.settings.assumptions import Assumption, Range
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.tree import OnlineClassIncrementalSetting

labels_on_request = Assumption("the method chooses the samples that it gets labels of, and sees the others, too")


@dataclass
class LabelBudgetSetting(
    OnlineClassIncrementalSetting, predict_first=True, labels_on_request=True, workers=Range(1, 1)
):
    """Class-incremental learning in one pass, in which a method may ask for a share of the labels of each phase.

    A rule chooses the samples, by the predictions of any method. A method with rules of its own has a hook, `query`;
    see `redwood.branches.label_budget.label_requests.Query`.
    """

    hooks: ClassVar[tuple[str, ...]] = ("query",)
    stream_type: ClassVar[type[SupervisedStream]] = RequestedStream
    unused_options: ClassVar[Mapping[str, str]] = {
        "validation": "whose --label_budget does not count the labels of held-out samples"
    }

    batch_size: int = 4  # labels per mini-batch: the fewer, the more often labels are asked for
    label_budget: float = 0.1  # share of the labels of each phase that a method may ask for
    query_rule: Choice = QUERY_RULES.chosen("random")  # which samples get their labels

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.label_budget <= 1:
            raise InvalidOptionError(f"--label_budget {self.label_budget} has to be greater than 0 and at most 1.")
        if self.label_budget == 1 and not isinstance(self.query_rule, RandomQueries):
            raise InvalidOptionError(
                f"--query_rule {QUERY_RULES.text_of(self.query_rule)} has no sample to choose with --label_budget 1, "
                "which leaves none without a label; leave it out."
            )
