"""How Lightning writes and reads checkpoint files here: with a seal, and without unpickling anything."""

from pathlib import Path
from typing import Any

from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from redwood.settings.checkpoints import read_checkpoint, write_checkpoint
from redwood.settings.run import FROM_ITS_START


class SealedIO(TorchCheckpointIO):
    """Lightning's files of tensors and plain values; it would unpickle local files itself."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the file atomically."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read it onto the CPU; Lightning moves what belongs elsewhere."""
        return read_checkpoint(Path(path), FROM_ITS_START)
