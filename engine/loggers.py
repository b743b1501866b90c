"""The loggers of a run's numbers: `metrics.csv`, and the loggers that `--logger` and `--wandb` ask for."""

import contextlib
import csv
import io
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal, TypeAlias, cast

from redwood.core.errors import InvalidOptionError, RedwoodError, reason_of
from redwood.core.files import read_text, write_atomically
from redwood.core.schema import Text, check
from redwood.core.user_warnings import warn
from redwood.core.workers import rank
from redwood.engine.lightning_loggers import open_mlflow, open_tensorboard
from redwood.engine.progress import Reporter
from redwood.engine.run import MetricsLogger, Run
from redwood.settings.scores.results import Results

INIT_TIMEOUT_S = 20  # W&B would retry for 90 s
# Seconds for a row, for the upload at the end of a run, and to abandon a logger that does not answer.
CALL_S, END_S, ABANDON_S = 60.0, 600.0, 5.0
OFFLINE_END_S = 30.0  # nothing is uploaded
STEP = "trainer/global_step"
_OF_LIGHTNING = {"tensorboard": open_tensorboard, "mlflow": open_mlflow}
_KEPT = ("config.yaml", "results.json", "metrics.csv", "checkpoints/boundary.pt")  # `redwood.load` reads the artifact
WandbResume: TypeAlias = Literal["allow", "never", "must", "auto"]


class CSVMetrics:
    """One row per logged step in one file, which a resumed run goes on with.

    Attributes:
        changed: Whether a row was added.
    """

    def __init__(self, path: Path, logged: str = "") -> None:
        """Write to `path`; a resumed run first writes the rows in its checkpoint, `logged`.

        The file itself is not read: it may hold rows that the run will log again, or be another run's.
        """
        self._path = path
        self.changed = False
        self._rows: list[dict[str, object]] = [
            {name: value for name, value in row.items() if value} for row in csv.DictReader(io.StringIO(logged))
        ]
        self._columns: dict[str, None] = dict.fromkeys(name for row in self._rows for name in row)  # in their order
        self._lines: list[str] = []  # the first rows, as text with these columns

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Add one row."""
        self._rows.append({"step": step, **metrics})
        self.changed = True
        if not self._columns.keys() >= self._rows[-1].keys():
            self._columns |= dict.fromkeys(self._rows[-1])
            self._lines.clear()

    def copy_to(self, logger: MetricsLogger) -> None:
        """Log all rows to another logger, too."""
        for row in self._rows:
            values = {name: float(cast("str", value)) for name, value in row.items()}
            logger.log_metrics(values, step=int(values.pop("step")))

    def text(self) -> str:
        """All rows; the columns are those of any row. Rows are made into text once, unless a column joins."""
        header = self._text_of({name: name for name in self._columns})
        self._lines += map(self._text_of, self._rows[len(self._lines) :])
        return header + "".join(self._lines)

    def _text_of(self, row: dict[str, object]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, list(self._columns)).writerow(row)
        return text.getvalue()

    def save(self) -> None:
        """Write all rows."""
        write_atomically(self._path, self.text().encode())

    def log_results(self, results: Results, folder: Path | None) -> None:
        """Nothing to do: `results.json` holds them."""

    def close(self, failed: bool) -> None:
        """Save; but a run that fails before it logs anything leaves its folder as it was."""
        if self.changed or not failed:
            self.save()


class OutsideLogger:
    """A logger that relies on another process or a server: a run goes on without it once it fails, or hangs.

    Its last calls may send much, so they get more time. A call that hangs is left behind in a thread of its own.
    """

    def __init__(self, name: str, logger: MetricsLogger, limit_s: float = CALL_S, last_s: float = END_S) -> None:
        """Log to `logger`, and call it `name` in warnings.

        Args:
            name: How the user knows it.
            logger: The logger; if it has a method `abandon`, that is called when it is given up.
            limit_s: Seconds that it may take for a row.
            last_s: Seconds that it may take for the results, and to close.
        """
        self._name, self._logger, self._limit_s, self._last_s = name, logger, limit_s, last_s
        self._is_lost = False

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Log one row."""
        self._call(self._limit_s, lambda: self._logger.log_metrics(metrics, step))

    def save(self) -> None:
        """Write what was logged to the disk."""
        self._call(self._limit_s, self._logger.save)

    def text(self) -> str:
        """Empty: `metrics.csv` has all rows."""
        return ""

    def log_results(self, results: Results, folder: Path | None) -> None:
        """Log the final results."""
        self._call(self._last_s, lambda: self._logger.log_results(results, folder))

    def close(self, failed: bool) -> None:
        """End the log."""
        self._call(self._last_s, lambda: self._logger.close(failed))

    def _call(self, limit_s: float, action: Callable[[], object]) -> None:
        if self._is_lost:
            return
        answered, problem = _in_time(limit_s, action)
        if answered and problem is None:
            return
        self._is_lost = True
        reason = reason_of(problem) if problem is not None else f"no answer in {limit_s:g} s"
        warn(f"{self._name} is lost ({reason}); the run goes on without it, and metrics.csv has all rows.")
        _in_time(ABANDON_S, getattr(self._logger, "abandon", bool))


def _in_time(limit_s: float, action: Callable[[], object]) -> tuple[bool, Exception | None]:
    """Call a function with a time limit; return whether it ended in time, and the error that it raised."""
    raised: list[Exception] = []

    def act() -> None:
        try:
            action()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=act, daemon=True)  # it must not keep the process from ending
    thread.start()
    thread.join(limit_s)
    return not thread.is_alive(), raised[0] if raised else None


class WandbMetrics:
    """A run of Weights & Biases."""

    def __init__(self, run: Run, config: Mapping[str, object]) -> None:
        """Start the W&B run.

        Args:
            run: Its options.
            config: All options, which W&B shows.

        Raises:
            RedwoodError: If Weights & Biases cannot be reached, or refuses.
        """
        import wandb

        self._wandb = wandb
        name = run.directory.name if run.directory else f"{config['setting']}-{config['method']}"
        environment = os.environ  # overrides the options, so that sweeps and launchers can set them
        self.is_offline = offline = "offline" in (run.wandb.mode, environment.get("WANDB_MODE"))
        limit = float(environment.get("WANDB_INIT_TIMEOUT", INIT_TIMEOUT_S))
        try:
            # W&B greets on stderr, whatever it is told.
            with contextlib.redirect_stderr(io.StringIO()):
                self.experiment = wandb.init(
                    name=environment.get("WANDB_NAME") or name,
                    group=environment.get("WANDB_RUN_GROUP") or run.context.group,
                    project=run.wandb.project,
                    dir=environment.get("WANDB_DIR") or str(run.directory or "."),
                    mode="offline" if offline else "online",
                    id=_wandb_id(run),
                    resume=cast("WandbResume", environment.get("WANDB_RESUME") or "allow"),
                    reinit="create_new",
                    config=dict(config),
                    settings=wandb.Settings(silent=True, init_timeout=limit),
                )
        except (wandb.errors.Error, ValueError) as error:
            raise RedwoodError(
                f"--wandb {run.wandb.mode}: Weights & Biases cannot be used ({reason_of(error)}); "
                "log in with `wandb login`, or use --wandb offline."
            ) from error
        self.experiment.define_metric(STEP)
        self.experiment.define_metric("*", step_metric=STEP, step_sync=True)
        if not run.quiet:
            print(f"Weights & Biases: {self.experiment.settings.sync_dir if offline else self.experiment.url}")

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Send one row."""
        self.experiment.log({**metrics, STEP: step})

    def save(self) -> None:
        """W&B saves by itself."""

    def text(self) -> str:
        """Empty: W&B keeps the rows of a resumed run."""
        return ""

    def log_results(self, results: Results, folder: Path | None) -> None:
        """Send final metrics, cost, and what there is of the run folder: a run without tests has no pictures."""
        summary = self.experiment.summary
        summary.update({key: value for key, value in results.metrics.items() if value is not None})
        summary.update({f"cost/{key}": value for key, value in asdict(results.cost).items() if value is not None})
        if folder is None:
            return
        pictures = sorted(folder.glob("*.png"))
        if pictures:
            self.experiment.log({path.stem: self._wandb.Image(str(path)) for path in pictures})
        artifact = self._wandb.Artifact(f"run-{self.experiment.id}", type="run")
        for path in (*(folder / name for name in _KEPT), *pictures):
            if path.is_file():
                artifact.add_file(str(path), path.relative_to(folder).as_posix())
        self.experiment.log_artifact(artifact)

    def close(self, failed: bool) -> None:
        """End the W&B run."""
        self.experiment.finish(exit_code=int(failed))

    def abandon(self) -> None:
        """Let go of W&B's process, for which this one would wait at its end."""
        with contextlib.suppress(OSError):
            self._wandb.teardown(1)


def _wandb_id(run: Run) -> str | None:
    """The id by which a resumed run goes on in its curve; None lets W&B choose one."""
    given = os.environ.get("WANDB_RUN_ID")
    if run.directory is None:
        return given
    path = run.directory / "checkpoints" / "wandb_id"
    if given or not path.exists():
        write_atomically(path, (given or secrets.token_hex(4)).encode())
    try:
        name = read_text(path)
    except (OSError, ValueError) as error:
        raise RedwoodError(f"{path} cannot be read ({reason_of(error)}); remove it to begin another curve.") from error
    check(name, Text(pattern=r"[^/\\#?%:\s]{1,128}"), str(path), "remove it to begin another curve")
    return name


def open_loggers(run: Run, config: Mapping[str, object]) -> None:
    """Have the first worker log to `metrics.csv`, and to the loggers that are asked for.

    Raises:
        RedwoodError: If one of them cannot be used; a new run folder is removed then. Or if one needs a run folder.
    """
    further = [name for name in run.logger.each if name in _OF_LIGHTNING]
    if further and run.folder is None:
        raise InvalidOptionError(f"--logger {further[0]} writes to the run folder; name one by run_dir=...")
    if rank() != 0:
        return
    try:
        if run.folder is not None:
            rows = CSVMetrics(run.folder.path / "metrics.csv", run.folder.logged)
            run.loggers.append(rows)
            for name in further:
                opened = _OF_LIGHTNING[name](run, config)
                run.loggers.append(OutsideLogger("MLflow", opened) if name == "mlflow" else opened)
                rows.copy_to(run.loggers[-1])
        if run.wandb.mode is not None:
            wandb_metrics = WandbMetrics(run, config)
            last_s = OFFLINE_END_S if wandb_metrics.is_offline else END_S
            run.loggers.append(OutsideLogger("Weights & Biases", wandb_metrics, last_s=last_s))
    except RedwoodError:
        for logger in run.loggers:
            logger.close(failed=True)
        run.loggers.clear()
        if run.folder is not None and not run.resume:
            shutil.rmtree(run.folder.path, ignore_errors=True)
        raise


def close_loggers(run: Run, failed: bool) -> None:
    """Save what was logged, and end each log, so that another run can start in this process."""
    for logger in run.loggers:
        logger.close(failed)
    run.loggers.clear()
    run.reporter = Reporter()
