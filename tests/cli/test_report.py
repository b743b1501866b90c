"""`report.html` at the end of a command, and `report`."""

from redwood.cli import main
from tests.cli.command import QUICK

PAIR = ["--setting", "class_incremental", "--method", "finetune", *QUICK]


def test_a_run_and_a_comparison_end_in_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*PAIR, "--run_dir", "one"]) == 0
    assert main([*PAIR, "--seeds", "2", "--jobs", "1", "--seed", "1", "--run_dir", "both"]) == 0
    pages = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("report.html"))
    assert pages == ["both/report.html", "one/report.html"]
    capsys.readouterr()
    assert main(["report", "one", "both"]) == 0
    assert capsys.readouterr().out == "written to report.html\n"
    page = (tmp_path / "report.html").read_text()
    assert "3 runs, 3 seeds" in page and page.count('src="data:image/svg+xml;base64,') >= 4
    assert "python cli.py --setting class_incremental --method finetune" in page

    (tmp_path / "one" / "report.html").unlink()
    assert main(["resume", "one"]) == 0
    assert (tmp_path / "one" / "report.html").exists()


def test_what_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, message in {
        ("report", "nowhere"): "error: report nowhere: there is no run, comparison or sweep in this folder;",
        ("report", "nowhere", "--method", "ewc"): "no option --method for the command report",
        ("report", "nowhere", "--lr", "0.1"): "no option --lr for the command report",
        ("report",): "The following arguments are required: DIR",
    }.items():
        assert main(list(arguments)) == 2
        assert message in capsys.readouterr().err
