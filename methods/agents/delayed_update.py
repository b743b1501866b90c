"""An update that is computed while other processes step the environments."""

from collections.abc import Callable

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm


class DelayedUpdate:
    """Delays an off-policy algorithm's update until the next step of the environments has begun.

    The update draws from the transitions that it has in the library's order. Only the action of the step beside it is
    chosen before it, by weights that are one update older. The order of both never depends on time, so equal seeds give
    equal results.

    Source: B. Daley, C. Amato, Human-Level Control without Server-Grade Hardware, 2021, whose concurrent training acts
    with the target network meanwhile; here the latest weights before the update act.

    Attributes:
        gradient_steps: Gradient steps of the update that is delayed; 0 if none is.
    """

    def __init__(self, algorithm: OffPolicyAlgorithm, train: Callable[..., None]) -> None:
        """Delay the update that `train` computes, which is the algorithm's own."""
        self._algorithm, self._train = algorithm, train
        self.gradient_steps = 0

    def delay(self, gradient_steps: int, batch_size: int) -> None:
        """Note an update; the library calls this in place of `train`."""
        self.gradient_steps = gradient_steps

    def run(self) -> None:
        """Compute the update that is delayed, if one is."""
        if self.gradient_steps:
            self._train(gradient_steps=self.gradient_steps, batch_size=self._algorithm.batch_size)
            self.gradient_steps = 0
