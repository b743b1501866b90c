"""The loggers of a run as parts: `--logger` for those of Lightning, `--wandb` for Weights & Biases."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import ClassVar

from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Kind, Part

# Each logger, and the packages of the extra `logging` that it needs.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "csv": (),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}


@dataclass
class Logs(Part):
    """Logs in the run folder. `metrics.csv` is always written."""

    names: str = field(default="csv", metadata={"cmd": False})  # one, or several with commas between

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.each:
            missing = [package for package in PACKAGES[name] if find_spec(package) is None]
            if missing:
                raise InvalidOptionError(
                    f"--logger {name} needs the package {missing[0]}; install it by pip install 'redwood[logging]'."
                )

    @property
    @override
    def text(self) -> str:
        return self.names

    @property
    def each(self) -> tuple[str, ...]:
        """The loggers, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.names.split(",")))


@dataclass
class LogsWithMlflow(Logs):
    """Logs, one of which is a run of MLflow."""

    names: str = field(default="mlflow", metadata={"cmd": False})
    experiment: str = "redwood"  # experiment of MLflow


class _Loggers(Kind):
    """One logger, or several: `csv,tensorboard`."""

    @override
    def find(self, text: str) -> type[Part]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name == "wandb":
                raise InvalidOptionError("--logger wandb has an option of its own; give --wandb online, or offline.")
            if name not in PACKAGES:
                raise InvalidOptionError(f"--logger {name!r} is unknown; choose from {', '.join(PACKAGES)}.")
        return LogsWithMlflow if "mlflow" in names else Logs

    @override
    def names(self) -> list[str]:
        return [*PACKAGES]

    @override
    def told(self, text: str) -> Mapping[str, object]:
        return {"names": text}


LOGGERS = _Loggers("logger", Logs, "redwood.loggers")


@dataclass
class Wandb(Part):
    """Logging to Weights & Biases; `WANDB_MODE=offline` and other variables of W&B count, too."""

    mode: ClassVar[str | None] = None  # as W&B calls it


WANDB = Kind("wandb", Wandb, "redwood.wandb")
WANDB.register("disabled")(Wandb)


@dataclass
class _Logged(Wandb):
    # project of Weights & Biases (default: what WANDB_PROJECT says, else redwood)
    project: str = field(default_factory=lambda: os.environ.get("WANDB_PROJECT") or "redwood")


@WANDB.register("offline")
@dataclass
class Offline(_Logged):
    """The run is logged to files, which `wandb sync` uploads later."""

    mode: ClassVar[str | None] = "offline"


@WANDB.register("online")
@dataclass
class Online(_Logged):
    """The run is logged to the server."""

    mode: ClassVar[str | None] = "online"
