"""CUDA graph: forward and backward pass of the step, captured once and replayed."""

import logging
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn
from torch.random import fork_rng

from dip.prior.module import DeepImagePrior
from dip.prior.sample import Sample

log = logging.getLogger(__name__)


class GraphedStep(nn.Module):
    """(target, mask) -> (loss, output) of a prior, as a module, since a capture needs the step's parameters."""

    def __init__(self, prior: DeepImagePrior):
        super().__init__()
        self.prior = prior

    def forward(self, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.prior.loss_and_output(target, mask)


class CudaGraph(Callback):
    """Captures forward and backward pass once and replays them on a GPU, which else waits for hundreds of launches.

    The optimizer is not captured, so that its learning rate can change. A network that cannot be captured, such as one
    that waits for the GPU, trains as it is, with a warning. Buffers and generators stay as they are.
    """

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.tried = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Sample, batch_idx: int) -> None:
        if self.tried or batch.target.device.type != "cuda":
            return
        self.tried = True
        step = GraphedStep(pl_module)
        buffers = [(buffer, buffer.clone()) for buffer in pl_module.buffers()]
        try:
            with fork_rng(range(torch.cuda.device_count())), trainer.precision_plugin.forward_context():
                torch.set_autocast_cache_enabled(False)  # a cast from before the capture would never be renewed
                torch.cuda.make_graphed_callables(step, (batch.target, batch.mask), allow_unused_input=True)
        except RuntimeError as error:
            log.warning("The step runs without a CUDA graph, which is slower: %s", " ".join(str(error).split()))
        else:
            pl_module.replace_step(step.forward)
        for buffer, before in buffers:
            buffer.copy_(before)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.replace_step(
            pl_module.loss_and_output
        )  # frees the graph, and the module can be copied and pickled again
