"""The results of the setting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from redwood.core.schema import ListOf, Number, Spec
from redwood.settings import Results
from redwood.settings.scores.results import Draw, Rows


@dataclass(kw_only=True)
class CrowdResults(Results):
    """The outcome of a run, and the share of wrong labels of each member (M,)."""

    own_entries: ClassVar[Mapping[str, Spec]] = {"wrong_labels": ListOf(Number(0, 1), least=1)}

    wrong_labels: list[float] = field(default_factory=list)

    def further_rows(self) -> Sequence[Rows]:
        """The shares, for a terminal."""
        members = tuple(map(str, range(len(self.wrong_labels))))
        return [Rows("wrong labels (%) of member", members, {"share": self.wrong_labels})]

    def figures(self) -> Mapping[str, Draw | str]:
        """The picture of the shares."""
        return {"wrong_labels": "redwood_crowd.figure:plot_wrong_labels"}
