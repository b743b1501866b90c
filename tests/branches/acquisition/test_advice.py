"""`advise`: the counts spend the budget, the curves are drawn, and bad input is one sentence."""

from dataclasses import replace

import numpy as np
import pytest

from redwood.branches.acquisition.advice import Advise, find_advice
from redwood.cli import main
from redwood.core.errors import RedwoodError
from redwood.experiments.commands import of_branch
from tests.samples import few_digits

OPTIONS = Advise(
    **{"dataset": "", "data_dir": "data", "slices": "", "budget": 50.0, "costs": [], "seed": 0, "picture": ""},
    **{"model": "auto", "optimizer": "sgd", "lr": 0.05, "batch_size": 32, "balance": 1.0},
    **{"repeats": 2, "subsets": 3, "passes": 2},
)
ARGUMENTS = ["--repeats", "2", "--subsets", "3", "--passes", "2"]


@pytest.fixture
def file(tmp_path):
    data = few_digits(n_train=120, n_test=60)
    side = [np.where(y.numpy() < 5, "low", "high") for y in (data.y, data.y_test)]
    arrays = {"x": data.x, "y": data.y, "x_test": data.x_test, "y_test": data.y_test}
    path = tmp_path / "few.npz"
    np.savez(path, side=side[0], side_test=side[1], **{name: array.numpy() for name, array in arrays.items()})
    return str(path)


def test_the_budget_is_spent_where_curves_promise_most(file):
    options = replace(OPTIONS, dataset=file, slices="side", budget=31.0, costs=[1.0, 2.0])
    advice, again = find_advice(options), find_advice(options)
    assert advice.offer.names == ("high", "low") and sum(advice.offer.sizes) == 120
    assert advice.counts == again.counts and 30 <= advice.offer.cost_of(advice.counts) <= 31
    now, then = advice.expected(collected=False), advice.expected(collected=True)
    assert sum(then) < sum(now)


def test_the_command_line(file, tmp_path, capsys):
    picture = tmp_path / "curves.png"
    code = main(
        ["advise", "--dataset", file, "--slices", "side", "--budget", "20", "--picture", str(picture), *ARGUMENTS]
    )
    printed = capsys.readouterr().out
    assert code == 0 and "collect 20 samples for 20" in printed
    assert "x^-" in printed and "largest EER" in printed
    assert picture.stat().st_size > 1000
    of_branch("advise", ["--dataset", file, "--budget", "20", "--picture", str(picture), *ARGUMENTS])  # drawn again


def test_another_picture_is_kept(file, tmp_path):
    picture = tmp_path / "holiday.png"
    picture.write_bytes(b"\x89PNG")
    with pytest.raises(RedwoodError, match=r"--picture .*holiday\.png was not written by this command"):
        of_branch("advise", ["--dataset", file, "--budget", "20", "--picture", str(picture), *ARGUMENTS])
    assert picture.read_bytes() == b"\x89PNG"


def test_classes_are_the_slices_by_default(file, tmp_path, capsys):
    of_branch("advise", ["--dataset", file, "--picture", str(tmp_path / "a.png"), "--budget", "50", *ARGUMENTS])
    assert "by class, budget 50" in " ".join(capsys.readouterr().out.split())


def test_a_slice_without_a_curve_is_told(tmp_path, capsys):
    data = few_digits()
    rows = np.flatnonzero((data.y.numpy() != 3) | (np.cumsum(data.y.numpy() == 3) == 1))
    np.savez(tmp_path / "rare.npz", x=data.x[rows], y=data.y[rows], x_test=data.x_test, y_test=data.y_test)
    of_branch(
        "advise",
        ["--dataset", str(tmp_path / "rare.npz"), "--picture", str(tmp_path / "a.png"), "--budget", "50", *ARGUMENTS],
    )
    assert "No learning curve fits slice 3, so the same is spent on each slice" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", "0"], "--budget 0.0 has to be greater than 0"),
        (["--costs", "1", "2"], "--costs has 2 values for the 10 slices"),
        (["--costs", "-1"], "--costs -1 has to be greater than 0"),
        (["--slices", "region"], "--slices region needs an array 'region'"),
        (["--nonsense", "1"], "no option --nonsense for the command advise"),
        (["--subsets", "2"], "--subsets 2 has to be at least 3"),
    ],
)
def test_bad_input(file, arguments, words, capsys):
    with pytest.raises(RedwoodError, match=words):
        of_branch("advise", ["--dataset", file, *arguments])
    assert main(["advise", "--dataset", file, *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("data", ["drift_regression:abrupt", "nothing.npz"])
def test_data_without_classes(data, capsys):
    assert main(["advise", "--dataset", data]) == 2
    assert capsys.readouterr().err.startswith("error: ")
