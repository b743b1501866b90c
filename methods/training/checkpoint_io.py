"""How Lightning writes and reads checkpoint files here: with a seal, and without unpickling anything."""

from pathlib import Path
from typing import Any

from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from redwood.settings.checkpoints import read_checkpoint, write_checkpoint
from redwood.settings.run import FROM_ITS_START
from redwood.settings.schema import ANYTHING, ListOf, MapOf, Number, Record, Text, check

_COUNT, _STATE = Number(low=0, whole=True), MapOf(ANYTHING)
_WORKER = Record({"method": _STATE, "phase": _STATE, "random": _STATE, "seconds": Number(low=0)})
# What is read of a checkpoint; strategies and plugins may add to it.
_CONTENT = Record(
    {
        "epoch": _COUNT,
        "global_step": _COUNT,
        "pytorch-lightning_version": Text(),
        "state_dict": _STATE,
        "loops": _STATE,
        "callbacks": _STATE,
        "optimizer_states": ListOf(_STATE),
        "lr_schedulers": ListOf(_STATE),
        "redwood": ListOf(_WORKER, least=1),
    }
)


class SealedIO(TorchCheckpointIO):
    """Lightning's files of tensors and plain values; it would unpickle local files itself."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the file atomically."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read it onto the CPU; Lightning moves what belongs elsewhere.

        Raises:
            RedwoodError: If it is damaged, or no checkpoint inside a phase.
        """
        content = read_checkpoint(Path(path), FROM_ITS_START)
        known = {name: content.get(name) for name in _CONTENT.entries}
        check(known, _CONTENT, f"The checkpoint {path}", FROM_ITS_START)
        return content
