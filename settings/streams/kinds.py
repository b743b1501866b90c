"""What suits a data set: options, methods, and the meaning of the option `stream` for it."""

from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.settings.data.dataset import Dataset
from redwood.settings.protocols import Learner
from redwood.settings.streams.phases import SupervisedOptions
from redwood.settings.table import name_of_setting


def check_suits(setting: SupervisedOptions, data: Dataset, *, adds_classes: bool) -> None:
    """Check that a data set can be cut as the setting says.

    Args:
        setting: The options and assumptions.
        data: The data set.
        adds_classes: Whether tasks differ in their classes only.

    Raises:
        InvalidOptionError: If an option does not fit the data.
        NotApplicableError: If tasks are to bring classes of their own, but the data has no classes.
    """
    if data.is_regression and adds_classes:
        raise NotApplicableError(
            f"{name_of_setting(type(setting))} adds classes from task to task, but the targets of {data.name} are "
            "numbers; choose a setting whose tasks share their outputs, such as domain_incremental."
        )
    if data.validation is not None and setting.validation:
        raise InvalidOptionError(
            f"--validation {setting.validation} holds out samples of {data.name}, which names its validation "
            "samples itself; leave it out."
        )
    given = {"slices": setting.slices, "imbalance": setting.imbalance}
    option = next((name for name, value in given.items() if value), None)
    if data.kind != "classes" and option is not None:
        what = "targets are numbers" if data.is_regression else "samples have several labels"
        raise InvalidOptionError(
            f"--{option} {given[option]} has no effect on {data.name}, whose {what}; leave it out."
        )


def check_learner(method: Learner, data: Dataset, *, has_background: bool) -> None:
    """Check that a method predicts what a data set asks for, and uses the background samples that are given.

    Raises:
        InvalidOptionError: If there are background samples, and the method does not use them.
        NotApplicableError: If numbers or label sets are to be predicted, and the method cannot.
    """
    if has_background and not method.uses_background:
        raise InvalidOptionError(
            f"--background has no effect on {method.reference()}, which learns no negative class; leave it out, or "
            f"use background+{method.reference()}."
        )
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


def follows_time(kind: str, data: Dataset) -> bool:
    """Whether the tasks of this option `stream` follow each other in the order of the samples."""
    return kind == "ordered" or (kind == "contexts" and data.tasks_follow_time)


def kind_of_tasks(setting: SupervisedOptions, data: Dataset) -> str:
    """The option `stream`, with `auto` resolved.

    Raises:
        InvalidOptionError: If another option has no effect on a stream of this kind.
    """
    kind = setting.stream
    if kind == "auto":
        split = "instance" if data.is_multi_label else "class_split"
        uncut = "ordered" if data.keeps_order else split
        kind = uncut if data.contexts is None else "contexts"
    if follows_time(kind, data) and setting.transition == "blurry":
        raise InvalidOptionError(
            f"--transition blurry mixes the samples of tasks, but --stream {kind} keeps their order; "
            "leave it out or use --stream instance."
        )
    if follows_time(kind, data) and setting.drift_width != type(setting).drift_width:
        raise InvalidOptionError(
            f"--drift_width {setting.drift_width} has no effect on --stream {kind}, which keeps the order; "
            "leave it out or use --stream instance."
        )
    return kind
