"""Where the numbers of a run go: `metrics.csv`, and Weights & Biases if asked for."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger, WandbLogger

from redwood.settings.errors import RedwoodError

if TYPE_CHECKING:
    from redwood.settings.results import Results
    from redwood.settings.run import Run


class CSVMetrics(Logger):
    """One row per logged step in one file, which a resumed run goes on with.

    Lightning's CSVLogger deletes the file of an earlier run of the same folder, so a resumed run would lose its past.
    """

    def __init__(self, path: Path, last_step: int | None) -> None:
        """Open `path`; rows after `last_step` are dropped, since the resumed run will log them again."""
        super().__init__()
        self._path = path
        self._rows: list[dict[str, Any]] = []
        if path.exists() and last_step is not None:
            with path.open(newline="") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["step"]) <= last_step]

    @property
    def name(self) -> str:
        """Lightning asks for a name."""
        return "metrics"

    @property
    def version(self) -> str:
        """Lightning asks for a version."""
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Options are in `config.yaml`."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add one row."""
        self._rows.append({"step": step, **metrics})

    def save(self) -> None:
        """Write all rows; the columns are those of any row."""
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._rows)
        temporary.replace(self._path)


def make_loggers(run: "Run", config: dict[str, Any]) -> list[Logger]:
    """The loggers of a run."""
    loggers: list[Logger] = []
    if run.directory is not None:
        loggers.append(CSVMetrics(run.directory / "metrics.csv", run.global_step if run.resume else None))
    if run.wandb != "disabled":
        loggers.append(_wandb_logger(run, config))
    return loggers


def _wandb_logger(run: "Run", config: dict[str, Any]) -> WandbLogger:
    import wandb

    folder = str(run.directory or ".")
    name = Path(folder).name if run.directory else f"{config['setting']}-{config['method']}"
    try:
        logger = WandbLogger(
            name=name, project=run.project, save_dir=folder, offline=run.wandb == "offline", config=config
        )
        _ = logger.experiment
    except (wandb.errors.UsageError, wandb.errors.CommError) as error:
        raise RedwoodError(
            f"--wandb online cannot reach Weights & Biases ({str(error).splitlines()[0]}); "
            "log in with `wandb login`, or use --wandb offline."
        ) from error
    return logger


def log_outcome(run: "Run", results: "Results") -> None:
    """Send final metrics, cost, plots and the run directory to Weights & Biases."""
    from dataclasses import asdict

    for logger in run.loggers:
        if not isinstance(logger, WandbLogger):
            continue
        import wandb

        experiment = logger.experiment
        experiment.summary.update({key: value for key, value in results.metrics.items() if value is not None})
        experiment.summary.update({f"cost/{key}": value for key, value in asdict(results.cost).items()})
        if run.directory is None:
            continue
        experiment.log({path.stem: wandb.Image(str(path)) for path in sorted(run.directory.glob("*.png"))})
        artifact = wandb.Artifact(f"run-{experiment.id}", type="run")
        for name in ("config.yaml", "results.json", "metrics.csv", "accuracy_matrix.png", "accuracy_curve.png"):
            artifact.add_file(str(run.directory / name))
        experiment.log_artifact(artifact)
        experiment.finish()
