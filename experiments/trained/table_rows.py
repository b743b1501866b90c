"""Rows of a table for a trained model: the columns that its run knows, and the features in the order of training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from redwood.core.parts import flat
from redwood.core.schema import Json
from redwood.settings.data import tables
from redwood.settings.data.columns import USUAL_TARGETS, Columns
from redwood.settings.data.rows import tasks_of
from redwood.settings.signature import Signature

if TYPE_CHECKING:
    import pandas

# Option of a run that names a column -> its field of `Columns`.
OPTIONS = {"target_column": "target", "task_column": "task", "time_column": "time", "period": "period"}


def columns_of(config: Json, signature: Signature) -> Columns:
    """The columns that the options of a run name, and the features that it was trained on."""
    own = flat(config)
    named = {field: str(own.get(option) or "") for option, field in OPTIONS.items()}
    features = tuple(signature.view.get("feature_names", ()))
    return Columns(**named, slices=str(own.get("slices") or ""), features=features)


def groups_of(name: str, others: "pandas.DataFrame", columns: Columns) -> Sequence[str]:
    """The name of each row's task, such as its month; empty if the table does not tell all of them."""
    made_by = columns.time if columns.period else columns.task
    if made_by not in others or others[made_by].isna().any():
        return ()
    tasks, names = tasks_of(name, others, columns)
    return [] if tasks is None else [names[task] for task in tasks.tolist()]


def read_rows(
    name: str, frame: "pandas.DataFrame", columns: Columns
) -> tuple[Tensor, Sequence[str] | Tensor | None, "pandas.DataFrame"]:
    """The samples of a table whose columns of target, task, time and slices may be missing.

    Args:
        name: The table, for messages.
        frame: A pandas DataFrame.
        columns: The columns of the run.

    Returns:
        The features (n, D) in the order of training; the class of each row by its name, targets (n,), or None; and
        the columns that are no features.

    Raises:
        DataError: If features are missing, unknown or no numbers.
    """
    frame = frame.rename(columns=str)
    targets = [columns.target] if columns.target else USUAL_TARGETS
    target = next((column for column in targets if column in frame), None)
    labels: Sequence[str] | Tensor | None = None
    if target is not None:
        column = frame[target]
        numbers = column.dtype.kind == "f"
        labels = torch.from_numpy(column.to_numpy(np.float32, copy=True)) if numbers else column.astype(str).tolist()
    others = [one for one in (target, columns.task, columns.time, columns.slices) if one and one in frame]
    x, _ = tables.features_of(name, frame.drop(columns=others), columns.features)
    return x, labels, frame[others]
