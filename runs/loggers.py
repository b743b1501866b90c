"""Where the numbers of a run go: `metrics.csv`, and Weights & Biases if asked for."""

import contextlib
import csv
import io
import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger, WandbLogger

from redwood.core.errors import RedwoodError, reason_of
from redwood.core.files import write_atomically
from redwood.core.schema import Text, check

if TYPE_CHECKING:
    from redwood.runs.run import Run
    from redwood.settings.results import Results


INIT_TIMEOUT_S = 20  # W&B would retry for 90 s


class CSVMetrics(Logger):
    """One row per logged step in one file, which a resumed run goes on with.

    Lightning's CSVLogger deletes the file of an earlier run of the same folder, so a resumed run would lose its past.
    """

    def __init__(self, path: Path, logged: str = "") -> None:
        """Write to `path`, after the rows that a resumed run has `logged` up to its checkpoint, which holds them.

        The file itself is not read: it may hold rows that the run will log again, or be another run's.
        """
        super().__init__()
        self._path = path
        self.changed = False
        self._rows: list[dict[str, Any]] = [
            {name: value for name, value in row.items() if value} for row in csv.DictReader(io.StringIO(logged))
        ]

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
        self.changed = True

    def text(self) -> str:
        """All rows; the columns are those of any row."""
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self._rows)
        return text.getvalue()

    def save(self) -> None:
        """Write all rows."""
        write_atomically(self._path, self.text().encode())


def make_loggers(run: "Run", config: dict[str, Any]) -> list[Logger]:
    """The loggers of a run."""
    loggers: list[Logger] = []
    if run.directory is not None:
        loggers.append(CSVMetrics(run.directory / "metrics.csv", run.logged))
    if run.wandb != "disabled":
        loggers.append(_wandb_logger(run, config))
    return loggers


def _wandb_logger(run: "Run", config: dict[str, Any]) -> WandbLogger:
    import wandb

    name = run.directory.name if run.directory else f"{config['setting']}-{config['method']}"
    environment = os.environ  # what it says counts, so that sweeps and launchers can say it
    offline = "offline" in (run.wandb, environment.get("WANDB_MODE"))
    limit = float(environment.get("WANDB_INIT_TIMEOUT", INIT_TIMEOUT_S))
    resume: Any = environment.get("WANDB_RESUME") or "allow"
    try:
        # It greets on stderr whatever it is told; a WandbLogger that starts the run itself changes the environment.
        with contextlib.redirect_stderr(io.StringIO()):
            experiment = wandb.init(
                name=environment.get("WANDB_NAME") or name,
                group=environment.get("WANDB_RUN_GROUP") or run.group,
                project=run.project,
                dir=environment.get("WANDB_DIR") or str(run.directory or "."),
                mode="offline" if offline else "online",
                id=_wandb_id(run),
                resume=resume,
                reinit="create_new",
                config=config,
                settings=wandb.Settings(silent=True, init_timeout=limit),
            )
    except (wandb.errors.Error, ValueError) as error:
        raise RedwoodError(
            f"--wandb {run.wandb}: Weights & Biases cannot be used ({reason_of(error)}); "
            "log in with `wandb login`, or use --wandb offline."
        ) from error
    experiment.define_metric("trainer/global_step")
    experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    if not run.quiet:
        print(f"Weights & Biases: {experiment.settings.sync_dir if offline else experiment.url}")
    return WandbLogger(experiment=experiment)


def _wandb_id(run: "Run") -> str | None:
    """What makes a resumed run go on in its curve rather than begin another; None lets W&B choose."""
    given = os.environ.get("WANDB_RUN_ID")
    if run.directory is None:
        return given
    path = run.directory / "checkpoints" / "wandb_id"
    if given or not path.exists():
        write_atomically(path, (given or secrets.token_hex(4)).encode())
    try:
        name = path.read_text()
    except (OSError, ValueError) as error:
        raise RedwoodError(f"{path} cannot be read ({reason_of(error)}); remove it to begin another curve.") from error
    check(name, Text(pattern=r"[^/\\#?%:\s]{1,128}"), str(path), "remove it to begin another curve")
    return name


def log_outcome(run: "Run", results: "Results") -> None:
    """Send final metrics, cost, plots and the run directory to Weights & Biases."""
    for logger in run.loggers:
        if not isinstance(logger, WandbLogger):
            continue
        import wandb

        experiment = logger.experiment
        experiment.summary.update({key: value for key, value in results.metrics.items() if value is not None})
        experiment.summary.update(
            {f"cost/{key}": value for key, value in asdict(results.cost).items() if value is not None}
        )
        if run.directory is None:
            continue
        experiment.log({path.stem: wandb.Image(str(path)) for path in sorted(run.directory.glob("*.png"))})
        artifact = wandb.Artifact(f"run-{experiment.id}", type="run")
        pictures = (f"{results.measure.key}_matrix.png", f"{results.measure.key}_curve.png")
        for name in ("config.yaml", "results.json", "metrics.csv", *pictures):
            artifact.add_file(str(run.directory / name))
        experiment.log_artifact(artifact)


def close_loggers(loggers: list[Logger], failed: bool) -> None:
    """Bring to the disk what was logged, and end the W&B run, so that another one can start in this process."""
    for logger in loggers:
        # A run that fails before it logs anything leaves its folder as it was.
        if not (failed and isinstance(logger, CSVMetrics) and not logger.changed):
            logger.save()
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=int(failed))
