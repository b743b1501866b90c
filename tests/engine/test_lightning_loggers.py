"""TensorBoard and MLflow: what a run has logged is read back, and is the content of `metrics.csv`."""

import csv
import os
from collections import defaultdict

import pytest

from redwood.cli import main
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.engine import logger_parts, loop
from redwood.engine.lightning_loggers import PATIENCE
from redwood.engine.run import Run
from redwood.methods.baselines import Finetune, Random
from redwood.settings.scores.results import Results
from tests.cli.command import QUICK
from tests.small_runs import run_here, small_setting

BOTH = "csv,tensorboard,mlflow"


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    """Nothing is sent anywhere."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def train(folder, logger=BOTH, **options):
    setting = small_setting("class_incremental", passes=12)
    return run_here(setting, Finetune(), run_dir=str(folder), checkpoint_every=5, logger=logger, **options)


def rows_of_csv(folder):
    """Values by name: (step, value) in the order of the rows."""
    found = defaultdict(list)
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and name != "step":
                    found[name].append((int(row["step"]), pytest.approx(float(value), rel=1e-6)))
    return dict(found)


def in_tensorboard(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def in_mlflow(folder):
    """The metrics of the only run, and the run itself."""
    client = pytest.importorskip("mlflow.tracking").MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert experiment.name == "redwood"
    return {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }, run


def without_results(metrics):
    return {name: points for name, points in metrics.items() if not name.startswith(("final/", "cost/"))}


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "my-run"
    with pytest.MonkeyPatch.context() as patch:
        at_home.__wrapped__(patch)
        results = train(folder)
        assert "MLFLOW_TRACKING_URI" not in os.environ  # MLflow would have the next run log there, too
    return folder, results


class TestComplete:
    def test_tensorboard_has_the_rows_and_the_results(self, logged):
        folder, results = logged
        found = in_tensorboard(folder)
        assert without_results(found) == rows_of_csv(folder)
        assert found["final/average_accuracy"][0][1] == pytest.approx(results.metrics["average_accuracy"])

    def test_mlflow_has_the_rows_the_results_and_the_options(self, logged):
        folder, results = logged
        found, run = in_mlflow(folder)
        assert without_results(found) == rows_of_csv(folder)
        assert found["final/average_accuracy"][0][1] == pytest.approx(results.metrics["average_accuracy"])
        assert (run.info.status, run.info.run_name) == ("FINISHED", "my-run")
        assert run.data.params["setting"] == "class_incremental" and run.data.params["passes"] == "12"

    def test_results_are_those_of_a_run_with_csv_alone(self, logged, tmp_path):
        plain = train(tmp_path / "run", logger="csv")
        assert plain.accuracy_matrix == logged[1].accuracy_matrix
        assert not {"tensorboard", "mlflow"} & {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize("moment", ["inside", "after the rows, before the checkpoint"])
@pytest.mark.few(1)
def test_a_resumed_run_has_no_row_twice_and_stays_one_run(logged, tmp_path, monkeypatch, moment):
    def killed(*arguments):
        raise KeyboardInterrupt

    folder = tmp_path / "my-run"
    save, saves = loop._save, []

    def save_or_stop(*arguments):
        saves.append(arguments)
        (killed if len(saves) == 3 else save)(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if moment == "inside":
            patch.setattr(Finetune, "on_task_end", lambda method, task_id: task_id and killed())
        else:
            patch.setattr(loop, "_save", save_or_stop)
        train(folder)
    assert (folder / "checkpoints" / "inside-phase-001.ckpt").exists()
    assert in_mlflow(folder)[1].info.status == "FAILED"
    train(folder, resume=True)
    expected = rows_of_csv(logged[0])
    assert rows_of_csv(folder) == expected
    assert without_results(in_tensorboard(folder)) == expected
    found, run = in_mlflow(folder)
    assert without_results(found) == expected and run.info.status == "FINISHED"
    assert len(list((folder / "tensorboard").glob("events.out.*"))) == 1


def test_a_logger_that_is_added_later_gets_the_earlier_rows(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Finetune, "on_task_end", lambda method, task_id: (_ for _ in ()).throw(KeyboardInterrupt))
        train(folder, logger="csv")
    train(folder, resume=True)
    expected = rows_of_csv(folder)
    assert without_results(in_tensorboard(folder)) == expected
    assert without_results(in_mlflow(folder)[0]) == expected


def test_mlflow_that_no_longer_knows_the_run(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Finetune, "on_task_end", lambda method, task_id: (_ for _ in ()).throw(KeyboardInterrupt))
        train(folder, logger="mlflow")
    (folder / "checkpoints" / "mlflow_id").write_text("0" * 32)
    with pytest.raises(RedwoodError, match=r"MLflow cannot be used .*remove .*mlflow_id to begin another run"):
        train(folder, logger="mlflow", resume=True)
    (folder / "checkpoints" / "mlflow_id").write_text("../../x y")
    with pytest.raises(RedwoodError, match="mlflow_id"):
        train(folder, logger="mlflow", resume=True)
    (folder / "checkpoints" / "mlflow_id").unlink()
    assert isinstance(train(folder, logger="mlflow", resume=True), Results)


def test_a_server_that_cannot_be_used_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    with pytest.raises(RedwoodError, match="--logger csv,tensorboard,mlflow: MLflow cannot be used"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert os.environ["MLFLOW_TRACKING_URI"] == "nonsense://nowhere"


def test_a_dead_server_is_told_within_seconds(tmp_path, monkeypatch):
    for name in PATIENCE:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    with pytest.raises(RedwoodError, match=r"--logger mlflow: MLflow cannot be used \(.*127\.0\.0\.1.*\); check"):
        train(tmp_path / "run", logger="mlflow")
    assert not (tmp_path / "run").exists()
    settings = pytest.importorskip("mlflow.environment_variables")
    assert settings.MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 10 and settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == 2


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_extra_is_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.setattr(logger_parts, "find_spec", lambda package: None)
    with pytest.raises(InvalidOptionError, match=rf"needs the package {name}; install it by pip install 'redwood\[log"):
        Run(run_dir=str(tmp_path / "run"), logger=f"csv,{name}")


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_without_a_folder_there_is_no_place_for_it(name):
    with pytest.raises(InvalidOptionError, match=f"--logger {name} writes to the run folder; name one by run_dir"):
        run_here(small_setting("class_incremental"), Random(), logger=name)


def test_the_folder_may_be_chosen_by_the_command_line(tmp_path, monkeypatch):
    """Options are parsed before it is; a resumed run gets it from `resume`."""
    monkeypatch.chdir(tmp_path)
    options = ["--setting", "class_incremental", "--method", "finetune", "--quiet", *QUICK, "--logger", "tensorboard"]
    with monkeypatch.context() as patch:
        patch.setattr(Finetune, "on_task_end", lambda method, task_id: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(options) == 130
    (folder,) = (tmp_path / "runs").iterdir()
    assert main(["resume", str(folder)]) == 0
    assert without_results(in_tensorboard(folder)) == rows_of_csv(folder)


@pytest.mark.slow
def test_runs_of_one_process_keep_apart(tmp_path):
    runs = [tmp_path / name for name in ("first", "second")]
    for folder in runs:
        run_here(small_setting("class_incremental"), Random(), run_dir=str(folder), logger="mlflow")
        assert in_mlflow(folder)[1].info.run_name == folder.name
