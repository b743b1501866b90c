"""The LightningModule behind every gradient method: one training step, and the state of the run in its checkpoints."""

from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from redwood.core.errors import RedwoodError
from redwood.core.seeding import random_state, set_random_state
from redwood.core.state import State
from redwood.core.user_warnings import warn
from redwood.core.workers import gather_objects, rank
from redwood.engine.fingerprint import STAMP
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.heads import sample_losses
from redwood.methods.training.layers import stray_layers
from redwood.methods.training.optimizers import make_optimizer
from redwood.methods.training.step import OnlineScorer, Step, take_step
from redwood.settings.batch import Batch


class LearnerModule(LightningModule):
    """Trains `network` by the loss of `method` on the batches that `method` augments."""

    def __init__(self, method: LightningMethod, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.method = method
        self._random_state: State | None = None
        self._told = False
        self._scorer = OnlineScorer(method, network)

    def __setattr__(self, name: str, value: Tensor | nn.Module) -> None:
        """Set an attribute; Lightning's note of the hook it is in skips torch's search for parameters in the value.

        Lightning takes that note some fifty times a step, which was 4 % of the time of a small network's step.
        """
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, K) of samples (B, ...)."""
        scores: Tensor = self.network(x)
        return scores

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch | Step:
        """Move the tensors of a batch; a training batch becomes the `Step` that all further hooks get."""
        return self.as_step(batch, device) if self.trainer.training else moved(batch, device)

    def as_step(self, batch: Batch, device: torch.device) -> Step:
        """The step that a training batch, as the loader has just yielded it, is trained on at a device."""
        incoming = moved(batch, device)
        if batch.batch_id is None:  # a Trainer that converts numbers (64-true) builds a batch anew
            train = self.method.phase.train
            batch.with_id(train.batch_id)
            rest = train.unlabelled
            incoming.with_id(train.batch_id).with_unlabelled(None if rest is None else rest.to(device))
        rest = incoming.unlabelled
        if rest is not None and rest.is_floating_point():
            rest = rest.to(incoming.x.dtype)
        return Step(incoming=incoming, on_host=batch, first_pass=batch.first_pass, batch=incoming, unlabelled=rest)

    def training_step(self, step: Step, batch_idx: int) -> Tensor:
        """The loss of one training step."""
        return take_step(self.method, step, self._scorer)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the accuracy on held-out samples as `validation_accuracy`, for callbacks that watch it.

        Of regression, it is the mean squared error, as `validation_mse`; of label sets, the mean binary cross-entropy,
        as `validation_loss`.
        """
        with self.method.flops.count_once("validation", kind=len(batch.y)):
            scores = self.method.logits(batch.x, batch.task_id)
        if batch.y.is_floating_point():
            name, value = "validation_mse", sample_losses(scores, batch.y).mean()
        elif batch.y.dtype == torch.bool:
            name, value = "validation_loss", sample_losses(scores, batch.y).mean()
        else:
            name, value = "validation_accuracy", (scores.argmax(1) == batch.y).float().mean()
        self.log(name, value, batch_size=len(batch.y), sync_dist=True)

    def log(self, *values: Any, **options: Any) -> None:
        """Log a value to Lightning, as `validation_step` does.

        Raises:
            RedwoodError: In a training step of the lean loop, where Lightning takes no values.
        """
        if self._current_fx_name is None:
            raise RedwoodError(
                "self.module.log(...) takes nothing in a training step; use self.run.log({name: value}), which "
                "metrics.csv shows."
            )
        super().log(*values, **options)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer and schedule, if it has one, new or with the state kept from the phase before."""
        steps = int(self.trainer.estimated_stepping_batches)
        optimizer, schedule = make_optimizer(self.method, steps, self.method.phase.train.passes)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Limit the gradients, if the step has any: torch refuses to limit none by value."""
        if gradient_clip_val and any(p.grad is not None for group in optimizer.param_groups for p in group["params"]):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: State) -> None:
        """Add all that Lightning does not know: the method, the position in the stream, the random generators."""
        state = self.method.inside_state()
        del state["network"], state["initial"]  # Lightning saves the one, the checkpoint between phases the other
        own = {
            "method": state,
            "phase": self.method.phase.state_dict(),
            "random": random_state(),
            "seconds": self.method.run.phase_seconds(),
        }
        checkpoint["redwood"] = gather_objects(own)
        checkpoint[STAMP] = self.method.run.stamp(self.method.phase.index)

    def on_load_checkpoint(self, checkpoint: State) -> None:
        """Put it back; the generators only just before the next step, since starting up draws from them."""
        own = checkpoint["redwood"][rank()]
        prefix = "network."
        weights = {
            name.removeprefix(prefix): value
            for name, value in checkpoint["state_dict"].items()
            if name.startswith(prefix)
        }
        self.method.load_state_dict({**own["method"], "network": weights})
        self.method.phase.load_state_dict(own["phase"])
        self.method.run.earlier_s = own["seconds"]
        self._random_state = own["random"]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Restore the random generators of a resumed run; after a step, report layers that it has not changed."""
        self.restore_random_state()
        if batch_idx == 1:
            self.tell_stray_layers()

    def update_gradient_exchange(self) -> None:
        """Let workers exchange the gradients of parameters that have replaced others within a phase."""
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy):
            strategy.model = self
            strategy.configure_ddp()

    def tell_stray_layers(self) -> None:
        """Warn once of layers among the method's attributes that get gradients, and that no optimizer moves."""
        if self._told:
            return
        stray = stray_layers(self.method, self.network, self.trainer.optimizers)
        if stray:
            self._told = True
            warn(
                f"{type(self.method).__name__}.{stray[0]} holds layers that no optimizer trains; make them part of the "
                "network, which make_network returns."
            )

    def restore_random_state(self) -> None:
        """Put the random generators where the checkpoint left them, if that has not been done yet."""
        if self._random_state is not None:
            set_random_state(self._random_state)
            self._random_state = None


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch at a device, without waiting for it; itself on the CPU."""
    return batch if device.type == "cpu" else batch.to(device, non_blocking=True)
