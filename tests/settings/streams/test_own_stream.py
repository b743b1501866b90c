"""A stream and results of one's own: what they may do, and the sentences for what they may not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from redwood.core.errors import DataError, NotApplicableError, RedwoodError
from redwood.core.imports import only
from redwood.core.schema import ListOf, Number, Spec
from redwood.engine.terminal import Terminal
from redwood.experiments.report.tables import print_results
from redwood.methods.baselines import Random
from redwood.settings.scores.results import Results, Rows
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.tree import ClassIncrementalSetting, DomainIncrementalSetting
from tests.regression import line
from tests.small_runs import run_here


@dataclass(kw_only=True)
class Counted(Results):
    """Results that say how many samples were left out."""

    own_entries: ClassVar[Mapping[str, Spec]] = {"left_out": ListOf(Number(low=0, whole=True))}

    left_out: list[int] = field(default_factory=list)


class Thinned(SupervisedStream):
    """A stream that leaves out all samples of each phase but some."""

    kept: ClassVar[int] = 30
    results_of_classes: ClassVar[type[Results]] = Counted

    def split_into_phases(self) -> Any:
        phases, held_out = super().split_into_phases()
        self.left_out = [len(entries) - self.kept for entries in phases]
        return [entries[torch.arange(self.kept)] for entries in phases], held_out

    def result_fields(self, details: list[dict[str, Any]]) -> dict[str, Any]:
        return {"left_out": self.left_out}


def setting_with(stream: type[SupervisedStream]) -> ClassIncrementalSetting:
    cls = type("Own", (ClassIncrementalSetting,), {"stream_type": stream, "__module__": __name__})
    made: ClassIncrementalSetting = cls(nb_tasks=2, passes=1)
    return made


def changed(base: type, **attributes: Any) -> Any:
    return type("Changed", (base,), {**attributes, "__module__": __name__})


def test_samples_can_be_left_out() -> None:
    results = run_here(setting_with(Thinned), Random())
    assert results.cost.training_samples == 60
    assert Counted.from_dict(results.to_dict()).left_out == results.to_dict()["left_out"]
    assert min(results.to_dict()["left_out"]) > 600


def test_a_phase_without_samples_is_told() -> None:
    with pytest.raises(DataError, match="A phase of digits has no training sample; leave it one at least"):
        run_here(setting_with(changed(Thinned, kept=0)), Random())


def test_a_source_shows_all_samples() -> None:
    def half(self: SupervisedStream, x: Any, y: Any) -> Any:
        return SupervisedStream.training_source(self, x[::2], y[::2])

    with pytest.raises(DataError, match=r"training_source shows \d+ samples .* leave samples out in split_into"):
        run_here(setting_with(changed(SupervisedStream, training_source=half)), Random())


def test_fields_that_results_do_not_have() -> None:
    stream = changed(Thinned, result_fields=lambda self, details: {"lost": [1]})
    with pytest.raises(DataError, match=r"result_fields names lost, which Counted does not have; add the field"):
        run_here(setting_with(stream), Random())


def test_values_that_a_file_cannot_hold() -> None:
    stream = changed(Thinned, result_fields=lambda self, details: {"left_out": torch.ones(2)})
    with pytest.raises(DataError, match=r"is no plain value .*; use numbers, texts, lists and dictionaries"):
        run_here(setting_with(stream), Random()).save("unused.json")


BARE = changed(Results, left_out=0)
NO_DEFAULT = dataclass(kw_only=True)(changed(Results, __annotations__={"left_out": int}))
UNWRITTEN = dataclass(kw_only=True)(changed(Results, left_out=0, __annotations__={"left_out": int}))
UNKNOWN = dataclass(kw_only=True)(changed(Counted, own_entries={"left": ListOf(Number()), **Counted.own_entries}))


@pytest.mark.parametrize(
    ("results", "words"),
    [
        (BARE, "Changed is no dataclass; put @dataclass"),
        (NO_DEFAULT, "Changed.left_out has no default; give it one"),
        (UNWRITTEN, "Changed.left_out would not be written; name it in own_entries"),
        (UNKNOWN, "Changed.own_entries names left, which the class does not have"),
    ],
)
def test_results_are_looked_at_before_anything_is_learned(results: type[Results], words: str) -> None:
    with pytest.raises(RedwoodError, match=words):
        setting_with(changed(Thinned, results_of_classes=results)).open_stream()


def test_a_picture_that_fails_ends_no_run(tmp_path: Path) -> None:
    def fails(results: Results, path: Path) -> None:
        raise ValueError("no ink")

    stream = changed(
        Thinned, results_of_classes=dataclass(kw_only=True)(changed(Counted, figures=lambda self: {"a": fails}))
    )
    with pytest.warns(UserWarning, match=r"The picture a was not drawn: ValueError: no ink"):
        setting_with(stream).apply(Random(), quiet=True, run_dir=str(tmp_path))
    assert (tmp_path / "results.json").exists() and (tmp_path / "accuracy_matrix.png").exists()


def test_results_for_classes_alone_are_refused_for_other_data() -> None:
    cls = type("Own", (DomainIncrementalSetting,), {"stream_type": Thinned, "__module__": __name__})
    with pytest.raises(NotApplicableError, match="has results of its own for classes, and line has none; use other"):
        cls(dataset=line(), nb_tasks=2, passes=1).open_stream()


def test_a_class_that_was_defined_again_is_the_last_one() -> None:
    again = dataclass(kw_only=True)(type("Counted", (Counted,), {"__module__": __name__}))
    found = Results.from_dict(run_here(setting_with(Thinned), Random()).to_dict())
    assert type(found) is again and again.__qualname__ == Counted.__qualname__


def test_a_class_that_is_gone_leaves_the_results_of_its_base(monkeypatch: pytest.MonkeyPatch) -> None:
    content = run_here(setting_with(Thinned), Random()).to_dict()
    content["results"][0] = "/gone/away.py:Counted"
    with only(None), pytest.warns(UserWarning, match="cannot be loaded|was not loaded"):
        found = Results.from_dict(content)
    assert type(found) is Results and found.accuracy_matrix == content["accuracy_matrix"]


def test_rows_may_be_counts(capsys: pytest.CaptureFixture[str]) -> None:
    cls = changed(Counted, further_rows=lambda self: [Rows("left out", ("0", "1"), {"count": self.left_out}, False)])
    stream = changed(Thinned, results_of_classes=dataclass(kw_only=True)(cls))
    results = run_here(setting_with(stream), Random())
    print_results(results, Terminal())
    counts = r"\s+".join(map(str, results.to_dict()["left_out"]))
    assert re.search(rf"^count\s+{counts}\s*$", capsys.readouterr().out, re.MULTILINE)
