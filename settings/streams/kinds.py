"""Check that settings, options and methods suit a data set."""

from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.settings.data.dataset import Dataset
from redwood.settings.protocols import Learner


def check_suits(setting: str, data: Dataset, validation: float, *, adds_classes: bool) -> None:
    """Check that a data set can be cut as the setting says.

    Args:
        setting: Name of the setting.
        data: The data set.
        validation: Share of the samples that is held out.
        adds_classes: Whether tasks differ in their classes only.

    Raises:
        InvalidOptionError: If an option does not fit the data.
        NotApplicableError: If tasks are to bring classes of their own, but the data has no classes.
    """
    if data.is_regression and adds_classes:
        raise NotApplicableError(
            f"{setting} adds classes from task to task, but the targets of {data.name} are "
            "numbers; choose a setting whose tasks share their outputs, such as domain_incremental."
        )
    if data.validation is not None and validation:
        raise InvalidOptionError(
            f"--validation {validation} holds out samples of {data.name}, which names its validation "
            "samples itself; leave it out."
        )


def check_learner(method: Learner, data: Dataset) -> None:
    """Check that a method can predict the targets of a data set.

    Raises:
        NotApplicableError: If numbers or label sets are to be predicted, and the method cannot.
    """
    if data.is_multi_label and not method.multi_label:
        raise NotApplicableError(
            f"{method.reference()} predicts one class, but samples of {data.name} have several labels; "
            "choose a method that predicts label sets, such as rehearsal."
        )
    if data.is_regression and not method.regression:
        raise NotApplicableError(
            f"{method.reference()} predicts classes, but the targets of {data.name} are numbers; "
            "choose a method that predicts numbers, such as finetune."
        )
