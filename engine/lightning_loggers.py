"""Loggers of Lightning's: TensorBoard and MLflow get the rows of `metrics.csv`, each of them once."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger

from redwood.core.errors import RedwoodError, reason_of
from redwood.core.files import read_text, write_atomically
from redwood.core.printable import printable
from redwood.core.schema import Text, check
from redwood.engine.run import Run
from redwood.settings.scores.results import Results

TRACKING_URI = "MLFLOW_TRACKING_URI"
# Unless the environment says otherwise. MLflow itself tries for minutes before it tells that a server is gone.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}


class LightningMetrics:
    """A logger of Lightning's, which holds each row of a run once, however often the run is resumed."""

    def __init__(self, logger: Logger, written: Counter[tuple[str, int]] | None = None) -> None:
        """Write to `logger`.

        Args:
            logger: A logger of Lightning's.
            written: How often each name has been logged at each step already; so many values are passed over.
        """
        self._logger, self._written = logger, written or Counter()
        self._last_step = 0

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log the values that are not there yet."""
        self._last_step = step
        new = dict(metrics)
        for name in metrics:
            if self._written[name, step] > 0:
                self._written[name, step] -= 1
                del new[name]
        if new:
            self._logger.log_metrics(new, step)

    def save(self) -> None:
        """Write what was logged to the disk."""
        self._logger.save()

    def text(self) -> str:
        """Empty: a resumed run gets its rows from the text of `metrics.csv`."""
        return ""

    def log_results(self, results: Results, folder: Path | None) -> None:
        """Log the final metrics and the numbers of the cost, at the last step."""
        values = {f"final/{name}": value for name, value in results.metrics.items()}
        values |= {f"cost/{name}": value for name, value in asdict(results.cost).items()}
        self.log_metrics({name: v for name, v in values.items() if isinstance(v, int | float)}, self._last_step)

    def close(self, failed: bool) -> None:
        """Write the rest, and say how the run ended."""
        self._logger.finalize("failed" if failed else "success")


def open_tensorboard(run: Run, config: Mapping[str, object]) -> LightningMetrics:
    """A log of TensorBoard in the folder `tensorboard` of the run.

    A resumed run writes this log anew. It may hold rows later than the checkpoint, which the run will log again.
    """
    folder = _run_directory(run) / "tensorboard"
    earlier = list(folder.glob("events.out.tfevents.*"))
    for path in earlier:
        path.unlink()
    # By `purge_step`, a viewer that has read the earlier files drops their values, too.
    purge: dict[str, Any] = {"purge_step": 0} if earlier else {}
    logger = TensorBoardLogger(str(folder), name="", version="", **purge)
    options = "\n".join(f"    {name}: {value}" for name, value in config.items())  # indented: Markdown of code
    logger.experiment.add_text("config", printable(options))
    return LightningMetrics(logger)


def open_mlflow(run: Run, config: Mapping[str, object]) -> LightningMetrics:
    """A run of MLflow: on the server of `MLFLOW_TRACKING_URI`, else in a database in the folder `mlflow` of the run.

    Raises:
        RedwoodError: If MLflow cannot be used, or no longer knows the run.
    """
    from mlflow.exceptions import MlflowException

    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    directory = _run_directory(run)
    id_file = directory / "checkpoints" / "mlflow_id"
    try:
        run_id = _read_id(id_file)
        with _quiet_mlflow():
            logger = _mlflow_logger(run, directory, run_id)
            client, own_id = logger.experiment, str(logger.run_id)
        if run_id is None:
            write_atomically(id_file, own_id.encode())
            logger.log_hyperparams(dict(config))
            return LightningMetrics(logger)
        client.update_run(own_id, status="RUNNING")
        names = client.get_run(own_id).data.metrics
        return LightningMetrics(
            logger,
            Counter((name, point.step) for name in names for point in client.get_metric_history(own_id, name)),
        )
    except MlflowException as error:
        remedy = f"or remove {id_file} to begin another run of MLflow" if run.resume else "or leave mlflow out"
        raise RedwoodError(
            f"--logger {run.logger.text}: MLflow cannot be used ({reason_of(error)}); check {TRACKING_URI}, {remedy}."
        ) from error


def _mlflow_logger(run: Run, directory: Path, run_id: str | None) -> MLFlowLogger:
    server = os.environ.get(TRACKING_URI)
    folder = directory.resolve() / "mlflow"
    if not server:
        folder.mkdir(exist_ok=True)
    return MLFlowLogger(
        experiment_name=run.logger.experiment,
        run_name=directory.name,
        tracking_uri=server or f"sqlite:///{folder / 'mlflow.db'}",
        artifact_location=None if server else str(folder / "artifacts"),
        tags=None if run.context.group is None else {"group": run.context.group},
        run_id=run_id,
    )


def _read_id(path: Path) -> str | None:
    """The id of the MLflow run that a resumed run goes on with; None if there is none."""
    if not path.exists():
        return None
    try:
        name = read_text(path)
    except (OSError, ValueError) as error:
        raise RedwoodError(
            f"{path} cannot be read ({reason_of(error)}); remove it to begin another run of MLflow."
        ) from error
    check(name, Text(pattern=r"[0-9A-Za-z_-]{1,128}"), str(path), "remove it to begin another run of MLflow")
    return name


@contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """Silence what MLflow says of a new database, and undo its change of the environment.

    Lightning names the store to MLflow, which sets `MLFLOW_TRACKING_URI`; the next run would log there, too.
    """
    before, level = os.environ.get(TRACKING_URI), logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
        os.environ.pop(TRACKING_URI, None)
        if before is not None:
            os.environ[TRACKING_URI] = before


def _run_directory(run: Run) -> Path:
    assert run.directory is not None  # `open_loggers` refuses to go on without a folder
    return run.directory
