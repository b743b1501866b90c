from dataclasses import dataclass

import pytest

from redwood.core.errors import InvalidOptionError
from redwood.engine.pair_results import PairResults
from redwood.engine.run import Run
from redwood.experiments.command_line.options import Options
from redwood.experiments.report.wanted_table import read_table
from redwood.methods import Finetune
from redwood.settings import ClassIncrementalSetting
from redwood.settings.rl.results import ReturnResults
from redwood.settings.scores.results import Results
from redwood.settings.streams.supervised_stream import SupervisedStream


def options(setting=ClassIncrementalSetting):
    return [Options(setting(dataset="digits"), Finetune(), Run())]


@pytest.mark.parametrize("text", [None, "latex", "markdown:forgetting", "latex:average_accuracy,lca"])
def test_metrics_that_runs_may_have(text):
    assert read_table(text, options()) == read_table(text)


def test_no_run_will_have_it():
    with pytest.raises(InvalidOptionError, match="no metric 'forgeting' of these runs; did you mean forgetting"):
        read_table("latex:average_accuracy,forgeting", options())
    with pytest.raises(InvalidOptionError, match="no metric 'accuracy' of these runs; did you mean average_accuracy"):
        read_table("latex:accuracy", options())
    with pytest.raises(InvalidOptionError, match="no metric 'acc' of these runs; did you mean average_accuracy"):
        read_table("latex:acc", options())
    with pytest.raises(InvalidOptionError, match="no metric 'average_return'"):
        read_table("latex:average_return", options())


def test_results_of_ones_own_may_have_any_metric():
    @dataclass(kw_only=True)
    class Mine(Results):
        @property
        def metrics(self):
            return super().metrics | {"mine": 1.0}

    class Stream(SupervisedStream):
        results_of_classes = Mine

    @dataclass
    class Own(ClassIncrementalSetting):
        stream_type = Stream

    assert read_table("latex:mine", options(Own)).metrics == ("mine",)


def pair(setting, kind, score):
    made = kind(
        setting=setting, method="m", dataset="d", seed=0, num_phases=2, accuracy_matrix=[[0.9, 0.1], [score] * 2]
    )
    return PairResults(setting, "m", [made])


def test_a_file_for_each_choice_of_metrics_with_the_measures_that_have_them(tmp_path):
    pairs = [pair("s", Results, 0.5), pair("t", ReturnResults, 7.0)]
    assert "50.0" in read_table("latex").write(pairs, tmp_path)
    alone = read_table("markdown:average_return").write(pairs, tmp_path)
    assert "7.00" in alone and "50.0" not in alone
    read_table("markdown:average_accuracy,forgetting").write(pairs, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "comparison.tex",
        "comparison-average_return.md",
        "comparison-average_accuracy-forgetting.md",
    }
    with pytest.raises(InvalidOptionError, match="no metric 'lca' of these runs; choose from average_accuracy"):
        read_table("latex:lca").write(pairs, tmp_path)
