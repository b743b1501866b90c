"""The metrics of continual learning, as pure functions of the accuracy matrix.

`R` is the accuracy matrix of shape (P, T): `R[i, j]` is the accuracy in [0, 1] on the test samples of task `j` after
phase `i`. Where tasks are learned one after the other, P = T; a protocol with one phase for the whole stream has P = 1.
Where tasks come back, P > T, and `order` (P,) is the task of each phase; tasks are numbered as they come.
For errors, forgetting and transfer are computed from the negated matrix; averages are not negated.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = Sequence[float] | NDArray[np.float64]
Matrix: TypeAlias = Sequence[Vector] | NDArray[np.float64]
Order: TypeAlias = Sequence[int]


def average_accuracy(R: Matrix, order: Order | None = None) -> float:
    """Return the accuracy after the last phase, averaged over tasks: `ACC = 1/T sum_j R[P-1, j]`.

    From Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning" (NeurIPS 2017).

    Args:
        R: Accuracy matrix (P, T).
        order: The task of each phase (P,) where tasks come back; else P in {1, T}.

    Raises:
        ValueError: If `R` is ragged or empty, or P fits neither T nor `order`.
    """
    return float(_accuracy_matrix(R, order)[-1].mean())


def average_accuracy_curve(R: Matrix, order: Order | None = None) -> NDArray[np.float64]:
    """Return the average accuracy on the tasks learned so far, after each phase: `A_i = 1/(i+1) sum_{j<=i} R[i, j]`.

    With one phase (P = 1) all T tasks are learned at once: `A_0` is their mean. From Rebuffi et al., "iCaRL:
    Incremental Classifier and Representation Learning" (CVPR 2017), section 4, for tasks of equal size.

    Args:
        R: Accuracy matrix (P, T).
        order: The task of each phase (P,) where tasks come back; else P in {1, T}.

    Returns:
        Array (P,).

    Raises:
        ValueError: If `R` is ragged or empty, or P fits neither T nor `order`.
    """
    matrix = _accuracy_matrix(R, order)
    if len(matrix) == 1:
        return np.array([matrix.mean()])
    seen = np.maximum.accumulate(_order(matrix, order)) + 1
    return np.array([row[:n].mean() for row, n in zip(matrix, seen, strict=True)])


def average_incremental_accuracy(R: Matrix, order: Order | None = None) -> float:
    """Return the mean over phases of the average accuracy on the tasks learned so far: `1/P sum_i A_i`.

    `A_i` is that of `average_accuracy_curve`; with one phase this is the average accuracy. From Rebuffi et al., "iCaRL"
    (CVPR 2017), section 4.

    Args:
        R: Accuracy matrix (P, T).
        order: The task of each phase (P,) where tasks come back; else P in {1, T}.

    Raises:
        ValueError: If `R` is ragged or empty, or P fits neither T nor `order`.
    """
    return float(average_accuracy_curve(R, order).mean())


def forgetting(R: Matrix, order: Order | None = None) -> float | None:
    """Return how far each task fell from its best: `F = 1/(T-1) sum_{j<T-1} (max_{l<T-1} R[l, j] - R[T-1, j])`.

    From Chaudhry et al., "Riemannian Walk for Incremental Learning" (ECCV 2018): the maximum is over all phases before
    the last, the task trained last is left out, and a negative value means that earlier tasks improved.

    Args:
        R: Accuracy matrix (P, T), NaN where a task was not tested; such phases do not count. Nor does a task whose
            value in the last row is NaN, as where none of its samples has a label of some group.
        order: The task of each phase (P,) where tasks come back; else P in {1, T}.

    Returns:
        A value in [-1, 1], lower is better; 0.0 for a single task; None if one phase trained several tasks (P = 1 < T),
        as nothing was measured before, or no earlier task has a value.

    Raises:
        ValueError: If `R` is ragged or empty, or P fits neither T nor `order`.
    """
    matrix = _accuracy_matrix(R, order)
    if len(matrix) < matrix.shape[1]:
        return None
    earlier = _all_but(matrix, _order(matrix, order)[-1])
    if not len(earlier):
        return 0.0
    earlier = earlier[~np.isnan(matrix[-1, earlier])]
    if not len(earlier):
        return None
    best = np.nanmax(matrix[:-1, earlier], axis=0)
    return float((best - matrix[-1, earlier]).mean())


def backward_transfer(R: Matrix, order: Order | None = None) -> float | None:
    """Return the change of each task since it was learned: `BWT = 1/(T-1) sum_{j<T-1} (R[T-1, j] - R[j, j])`.

    From Lopez-Paz & Ranzato, "Gradient Episodic Memory" (NeurIPS 2017). A task that comes back was learned last when it
    was trained last.

    Args:
        R: Accuracy matrix (P, T).
        order: The task of each phase (P,) where tasks come back; else P in {1, T}.

    Returns:
        A value in [-1, 1], higher is better; 0.0 for a single task; None if one phase trained several (P = 1 < T).

    Raises:
        ValueError: If `R` is ragged or empty, or P fits neither T nor `order`.
    """
    matrix = _accuracy_matrix(R, order)
    if len(matrix) < matrix.shape[1]:
        return None
    trained = _order(matrix, order)
    earlier = _all_but(matrix, trained[-1])
    if not len(earlier):
        return 0.0
    last = [int(np.flatnonzero(trained == task)[-1]) for task in earlier]
    return float((matrix[-1, earlier] - matrix[last, earlier]).mean())


def forward_transfer(R: Matrix, untrained: Vector | None, order: Order | None = None) -> float | None:
    """Return how much earlier tasks help the next one: `FWT = 1/(T-1) sum_{j>=1} (R[j-1, j] - b[j])`.

    From Lopez-Paz & Ranzato, "Gradient Episodic Memory" (NeurIPS 2017). For a task that comes back,
    the row before its first training counts.

    Args:
        R: Accuracy matrix (P, T).
        untrained: Accuracy `b` (T,) of the untrained network on each task, or None if it was not measured.
        order: The task of each phase (P,) where tasks come back; else P in {1, T}.

    Returns:
        A value in [-1, 1], higher is better; 0.0 for a single task; None if `untrained` is None, one phase trained
        several tasks (P = 1 < T), or a task was not tested before it was trained (NaN).

    Raises:
        ValueError: If `R` is ragged or empty, P fits neither T nor `order`, or `untrained` does not hold T values.
    """
    matrix = _accuracy_matrix(R, order)
    if untrained is None or len(matrix) < matrix.shape[1]:
        return None
    baseline = np.asarray(untrained, dtype=np.float64)
    if baseline.shape != (matrix.shape[1],):
        raise ValueError(
            f"The accuracy matrix has {matrix.shape[1]} tasks but the untrained accuracies have shape "
            f"{baseline.shape}; give one per task."
        )
    if matrix.shape[1] == 1:
        return 0.0
    trained, later = _order(matrix, order), np.arange(1, matrix.shape[1])
    before = [int(np.flatnonzero(trained == task)[0]) - 1 for task in later]
    transfer = float((matrix[before, later] - baseline[1:]).mean())
    return None if np.isnan(transfer) else transfer


def transfer_to_last(R: Matrix, independent: Matrix, order: Order | None = None) -> float | None:
    """Return how much a stream helps its last task: `T = R[P-1, l] - I[P-1, l]`, where phase P-1 trains task `l`.

    From Veniat et al., "Efficient continual learning with modular networks and task-driven priors" (ICLR 2021), section
    3: `I` is of a model that learned each task from nothing.

    Args:
        R: Accuracy matrix (P, T).
        independent: Accuracy matrix (P, T) of the independent models on the same stream.
        order: The task of each phase (P,) where tasks come back; else P in {1, T}.

    Returns:
        A value in [-1, 1], higher is better; None if one phase trained several tasks (P = 1 < T).

    Raises:
        ValueError: If a matrix is ragged or empty, P fits neither T nor `order`, or the shapes differ.
    """
    matrix, reference = _accuracy_matrix(R, order), _accuracy_matrix(independent, order)
    if matrix.shape != reference.shape:
        raise ValueError(f"The accuracy matrices have shapes {matrix.shape} and {reference.shape}; give one stream's.")
    if len(matrix) < matrix.shape[1]:
        return None
    last = _order(matrix, order)[-1]
    return float(matrix[-1, last] - reference[-1, last])


def online_accuracy(curve: Sequence[tuple[int, float]]) -> float | None:
    """Return the prequential accuracy: the share of training samples predicted right before they were learned.

    `1/n_K sum_k (n_k - n_{k-1}) a_k` with `n_0 = 0`. From Gama et al., "On evaluating stream learning algorithms"
    (Machine Learning 90, 2013).

    Args:
        curve: Points `(n_k, a_k)`: training samples seen so far, increasing, and the accuracy on those since the
            previous point.

    Returns:
        A value in [0, 1], higher is better; None if nothing was measured.
    """
    if not curve:
        return None
    samples, accuracies = np.array(curve, dtype=np.float64).T
    return float(np.average(accuracies, weights=np.diff(samples, prepend=0.0)))


def online_rmse(curve: Sequence[tuple[int, float]]) -> float | None:
    """Return the prequential root mean squared error: `sqrt(1/n_K sum_k (n_k - n_{k-1}) e_k^2)` with `n_0 = 0`.

    Args:
        curve: Points `(n_k, e_k)`: training samples seen so far, increasing, and the RMSE on those since the previous
            point, before they were learned.

    Returns:
        A value, lower is better; None if nothing was measured.
    """
    mean = online_accuracy([(samples, error**2) for samples, error in curve])
    return None if mean is None else mean**0.5


def _order(matrix: NDArray[np.float64], order: Order | None) -> NDArray[np.int64]:
    """The task (P,) that each phase trained."""
    return np.arange(len(matrix)) if order is None else np.asarray(order, dtype=np.int64)


def _all_but(matrix: NDArray[np.float64], task: int) -> NDArray[np.int64]:
    return np.delete(np.arange(matrix.shape[1], dtype=np.int64), task)


def _accuracy_matrix(R: Matrix, order: Order | None = None) -> NDArray[np.float64]:
    lengths = {np.size(row) for row in R}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"The accuracy matrix must have rows of one length above zero, got lengths {sorted(lengths)}.")
    matrix = np.array(R, dtype=np.float64)
    phases, tasks = matrix.shape
    if order is not None:
        if len(order) != phases or list(dict.fromkeys(order)) != list(range(tasks)):
            raise ValueError(
                f"The accuracy matrix has {phases} phases and {tasks} tasks, which the order {list(order)} does not "
                "fit; give the task of each phase, numbered as they come."
            )
        return matrix
    if phases not in (1, tasks):
        raise ValueError(
            f"The accuracy matrix has {phases} phases for {tasks} tasks; metrics need one phase, or one for each task."
        )
    return matrix
