"""A strategy for data-parallel training on one device: no processes, no process group, no wrapper."""

from typing import Any


class AloneMixin:
    """Lets any Lightning strategy for data-parallel training do without all that joins workers if there is only one."""

    @property
    def _is_alone(self) -> bool:
        return self.num_processes * self.num_nodes == 1  # type: ignore[attr-defined,no-any-return]

    def _configure_launcher(self) -> None:
        if not self._is_alone:
            super()._configure_launcher()  # type: ignore[misc]

    def setup_distributed(self) -> None:
        """Join the other processes, if there are any."""
        if self._is_alone:
            self.set_world_ranks()  # type: ignore[attr-defined]
        else:
            super().setup_distributed()  # type: ignore[misc]

    def configure_ddp(self) -> None:
        """Average gradients over the workers, if there are several."""
        if not self._is_alone:
            super().configure_ddp()  # type: ignore[misc]

    def setup(self, trainer: Any) -> None:
        """Prepare the module; to be evaluated alone, it need not take over the weights of another worker."""
        if not self._is_alone or trainer.state.fn == "fit":
            super().setup(trainer)  # type: ignore[misc]
            return
        self.accelerator.setup(trainer)  # type: ignore[attr-defined]
        self.precision_plugin.convert_module(self.model)  # type: ignore[attr-defined]
        self.model_to_device()  # type: ignore[attr-defined]
        self.setup_precision_plugin()  # type: ignore[attr-defined]
