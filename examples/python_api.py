"""Everything from Python: compare three methods on one setting, and EWC with rehearsal composed of the two."""

from dataclasses import dataclass

from redwood.methods.baselines import Finetune
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import ClassIncrementalSetting


@dataclass
class EWCRehearsal(EWC, Rehearsal):
    """The penalty of EWC on batches that rehearsal augments."""


def main(passes: int = 20) -> dict[str, float]:
    """Return the average accuracy of each method after five tasks of two digits."""
    accuracy = {}
    for method in (Finetune(), EWC(), Rehearsal(buffer_size=100), EWCRehearsal(buffer_size=100)):
        results = ClassIncrementalSetting(nb_tasks=5, passes=passes, seed=0).apply(method, quiet=True)
        accuracy[type(method).__name__] = results.objective
        forgetting = results.metrics["forgetting"]
        print(f"{type(method).__name__:<13} accuracy {results.objective:.3f}  forgetting {forgetting:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
