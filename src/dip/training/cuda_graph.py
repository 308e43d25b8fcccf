"""CUDA graph: forward and backward pass of the step, captured once and replayed with one launch."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.random import fork_rng

from dip.prior.module import DeepImagePrior
from dip.prior.sample import Sample

log = logging.getLogger(__name__)
WARM_UP = 3  # steps before the capture, in which cuDNN chooses its algorithms


class CapturedStep:
    """(target, mask) -> (loss, output) of a prior, by replaying what a GPU did once; it leaves no other trace."""

    def __init__(self, prior: DeepImagePrior, sample: Sample):
        # Copies, since every replay reads these very tensors, and writes what it is called with to them.
        self.target, self.mask = sample.target.clone(), sample.loss_mask.clone()
        self.parameters = [parameter for parameter in prior.parameters() if parameter.requires_grad]
        torch.set_autocast_cache_enabled(False)  # a cast from before the capture would never be renewed
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(aside):  # which ends even where a capture fails
            for _ in range(WARM_UP):
                self.forward_backward(prior)
            with no_waiting():
                self.forward_backward(prior)
            with torch.cuda.graph(self.graph, stream=aside):
                self.loss, self.output, self.gradients = self.forward_backward(prior)
        torch.cuda.current_stream().wait_stream(aside)

    def forward_backward(self, prior: DeepImagePrior) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        for parameter in self.parameters:
            parameter.grad = None
        loss, output = prior.loss_and_output(self.target, self.mask)
        loss.backward()
        return loss.detach(), output.detach(), [parameter.grad for parameter in self.parameters]

    def __call__(self, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        self.target.copy_(target)
        self.mask.copy_(mask)
        self.graph.replay()
        return self.loss, self.output

    def backward(self, loss: Tensor) -> None:
        """Hand out the gradients, which the replay has computed with the loss."""
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raise RuntimeError where something waits for the GPU: a capture that fails breaks its random generator."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


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
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            log.warning("The step runs without a CUDA graph, which is slower: %s", "16-mixed scales each loss anew")
            return
        buffers = [(buffer, buffer.clone()) for buffer in pl_module.buffers()]
        try:
            with fork_rng(range(torch.cuda.device_count())), trainer.precision_plugin.forward_context():
                step = CapturedStep(pl_module, batch)
        except RuntimeError as error:
            said = " ".join(str(error.__context__ or error).split())  # what failed, not that the capture has failed
            log.warning("The step runs without a CUDA graph, which is slower: %s", said)
        else:
            pl_module.replace_step(step, step.backward)
        for buffer, before in buffers:
            buffer.copy_(before)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.restore_step()  # frees the graph, and the module can be copied and pickled again
