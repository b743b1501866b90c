"""Go on from an earlier run: a new run starts with its trained method, and with its results so far."""

from dataclasses import dataclass, replace
from typing import Any

from redwood.core.errors import InvalidOptionError
from redwood.core.schema import check_alike
from redwood.core.seeding import preserved_random_state
from redwood.core.state import State
from redwood.core.workers import rank, world_size
from redwood.engine.run import RunContext
from redwood.settings.base import Setting


@dataclass
class EarlierRun:
    """A run that another one extends.

    Attributes:
        folder: Its folder, for messages.
        state: The content of its last checkpoint between two phases.
        log: The content of its `metrics.csv` until then.
        view: What its method saw of the setting.
        goes_on: Whether the results of the new run begin with its results: its tasks can still be tested.
    """

    folder: str
    state: State
    log: str
    view: Setting
    goes_on: bool

    @property
    def phases_before(self) -> int:
        """Phases that the method was trained in before the first phase of the new run's results."""
        own = int(self.state["phases_before"])
        return own if self.goes_on else own + int(self.state["next_phase"])

    def hand_over(self, method: Any) -> None:
        """Load what this worker of the earlier run has learned into `method`, which is configured for more classes.

        Raises:
            InvalidOptionError: If the runs differ in their workers.
            RedwoodError: If the method cannot grow.
        """
        states = self.state["method"]
        if len(states) != world_size():
            raise InvalidOptionError(
                f"The run in {self.folder} had {len(states)} workers, each with a state of its own; give --workers "
                f"{len(states)}."
            )
        smaller = replace(method)  # its options, and nothing of what it has learned
        with preserved_random_state():
            smaller.attach(replace(method.run, run_dir=None, context=RunContext()))
            smaller.run.is_trained = True
            smaller.configure(self.view)
        grown = method.grow_state(states[rank()], smaller)
        check_alike(grown, method.state_dict(), f"The checkpoint of the run in {self.folder}")
        method.load_state_dict(grown)
