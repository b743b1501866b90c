"""`report FOLDER...`: what is read, where the page goes, and what is refused."""

from pathlib import Path

import pytest
from rich.console import Console

from redwood.core.errors import DataError, RedwoodError
from redwood.experiments.reporting import read_source, report
from tests.experiments.report.made import made_comparison, made_results, made_run, write_table

QUIET = Console(quiet=True)


def test_a_run(tmp_path):
    results = made_results("class_incremental", "rehearsal", seed=3, nb_tasks=2, batch_size=32, logger="csv")
    source = read_source(made_run(tmp_path / "run", results))
    assert (source.kind, [run.results.seed for run in source.runs]) == ("run", [3])
    assert source.command == "python cli.py --setting class_incremental --method rehearsal --seed=3 --nb_tasks=2"


def test_a_run_from_python_has_no_command(tmp_path):
    results = made_results(dataset="<few digits, given from Python>")
    assert read_source(made_run(tmp_path / "run", results)).command == ""


def test_the_command_of_a_class_in_a_file_is_quoted(tmp_path):
    results = made_results("class_incremental", "my files/mine.py:A", lr=0.1, task_list=[{"name": "x"}])
    command = read_source(made_run(tmp_path / "run", results)).command
    assert "--method 'my files/mine.py:A'" in command
    assert "task_list" not in command


def test_a_comparison(tmp_path):
    folder = made_comparison(tmp_path / "all", ["s", "t"], ["a", "b", "c"], 2)
    for run in ("0-seed0", "0-seed1", "1-seed1", "2-seed0", "2-seed1"):
        (folder / run / "results.json").unlink()
    write_table(folder, {("s", "a"): "it broke,\nsadly", ("s", "b"): "seed 1: no", ("t", "a"): ""})
    source = read_source(folder)
    assert source.failures == {("s", "a"): "it broke, sadly", ("s", "b"): "seed 1: no"}
    assert ("s", "c") not in source.pairs  # the data did not suit it: the table does not have it
    assert len(source.runs) == 7
    assert source.command == "python cli.py --setting s,t --method a,b,c --nb_tasks 2 --seeds 2"


def test_an_unfinished_comparison(tmp_path):
    folder = made_comparison(tmp_path / "all", ["s"], ["a", "b"], 2)
    (folder / "comparison.csv").unlink()
    for seed in range(2):
        (folder / f"1-seed{seed}" / "results.json").unlink()
    source = read_source(folder)
    assert source.pairs == [("s", "a"), ("s", "b")]
    assert source.failures == {} and source.missing == {("s", "b"): 2}
    assert source.notes == [f'2 of 4 runs are there; go on with redwood.resume("{folder}").']
    report([folder], None, QUIET, table="markdown")
    table = (folder / "comparison.md").read_text()
    assert "| b | not run yet |" in table and "2 of 4 runs." in table
    (folder / "comparison.md").unlink()
    for seed in range(2):
        (folder / f"0-seed{seed}" / "results.json").unlink()
    with pytest.raises(RedwoodError, match=r"No run in .* has results yet; finish it by redwood\.resume"):
        report([folder], None, Console(quiet=True), table="latex")
    assert not (folder / "comparison.tex").exists()


def test_a_damaged_run_of_a_comparison_is_left_out(tmp_path):
    folder = made_comparison(tmp_path / "all", ["s"], ["a"], 2)
    damaged = folder / "0-seed1" / "results.json"
    damaged.write_text(damaged.read_text()[:100])
    source = read_source(folder)
    assert [run.results.seed for run in source.runs] == [0]
    assert len(source.notes) == 1 and str(damaged) in source.notes[0]


def test_what_is_no_source(tmp_path):
    with pytest.raises(RedwoodError, match="there is no run, comparison or sweep"):
        read_source(tmp_path)
    folder = made_run(tmp_path / "run", made_results())
    (folder / "results.json").write_text("{}")
    with pytest.raises(DataError, match=r"results\.json"):
        read_source(folder)
    (folder / "results.json").unlink()
    with pytest.raises(RedwoodError, match=r"finish it by redwood.resume\("):
        read_source(folder)


def test_where_the_page_goes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first = made_comparison(tmp_path / "one", ["s"], ["a"], 1)
    second = made_comparison(tmp_path / "two", ["s"], ["b"], 2)
    report([first, Path(f"{first}/.")], None, QUIET)
    assert (first / "report.html").is_file()
    report([first, second], None, QUIET)
    assert (tmp_path / "report.html").is_file()
    report([second], Path("pages/all.html"), QUIET)
    assert (tmp_path / "pages" / "all.html").is_file()
    report([first, second], None, QUIET)  # a report may be written again
    report([second], Path("paper"), Console(), table="latex:average_accuracy", figures="pdf")
    told = capsys.readouterr().out.splitlines()
    names = ["report.html", "comparison-average_accuracy.tex", "comparison.pdf"]
    assert told[-3:] == [f"written to paper/{name}" for name in names]
    assert sorted(path.name for path in Path("paper").iterdir()) == sorted(names)
    report([first], tmp_path / "paper", QUIET)


def test_tables_and_figures_lie_beside_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first = made_comparison(tmp_path / "one", ["s"], ["a", "b"], 2)
    second = made_comparison(tmp_path / "two", ["s"], ["c"], 2)
    report([first], None, Console(), table="latex:forgetting,backward_transfer", figures="pdf")
    text = (first / "comparison-forgetting-backward_transfer.tex").read_text()
    assert text in capsys.readouterr().out and "a & " in text and "c & " not in text
    assert (first / "comparison.pdf").read_bytes().startswith(b"%PDF")
    report([first, second], Path("paper/all.html"), QUIET, table="markdown", figures="svg")
    assert "| c | " in Path("paper/comparison.md").read_text() and Path("paper/comparison.svg").is_file()
    report([first, second], Path("paper/all.html"), QUIET, table="markdown")  # beside a page they may be replaced
    Path("comparison.md").write_text("years of work")
    with pytest.raises(RedwoodError, match=r"comparison\.md may not be of this command"):
        report([first, second], None, QUIET, table="markdown")
    assert not Path("report.html").exists()


def test_figures_of_one_run(tmp_path):
    folder = made_run(tmp_path / "run", made_results())
    report([folder], None, QUIET, figures="pdf")
    assert {path.name for path in folder.glob("*.pdf")} >= {"accuracy_matrix.pdf", "accuracy_curve.pdf"}


def test_other_files_are_kept(tmp_path):
    folder = made_run(tmp_path / "run", made_results())
    (tmp_path / "thesis.html").write_text("<p>years of work")
    with pytest.raises(RedwoodError, match="was not written by this command"):
        report([folder], tmp_path / "thesis.html", QUIET)
    with pytest.raises(RedwoodError, match="cannot be written"):
        report([folder], tmp_path / "thesis.html" / "report.html", QUIET)


@pytest.mark.parametrize("table", ["a,b\n1,2\n", "setting,method,failure\ns,a," + "x" * 200_000, None])
def test_a_damaged_table_of_a_comparison(tmp_path, table):
    folder = made_comparison(tmp_path / "run", ["s"], ["a"], 1)
    (folder / "comparison.csv").unlink(missing_ok=True)
    if table is None:
        (folder / "comparison.csv").mkdir()
    else:
        (folder / "comparison.csv").write_text(table)
    with pytest.raises(DataError, match=r"comparison\.csv"):
        read_source(folder)
