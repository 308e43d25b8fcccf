"""Deep Image Prior (Ulyanov et al., arXiv:1711.10925) as a LightningModule."""

from collections.abc import Callable, Iterable

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from dip.data import Sample


class DeepImagePrior(LightningModule):
    """Trains a network, and its input where that has parameters, to draw the known pixels of one sample.

    model: (1, C', H, W) -> (1, C, H, W), any network; input: () -> (1, C', H, W);
    loss: (output, target, mask) -> scalar; optimizer: parameters -> torch optimizer.
    """

    def __init__(
        self,
        model: nn.Module,
        input: nn.Module,
        loss: Callable[[Tensor, Tensor, Tensor], Tensor],
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    ):
        super().__init__()
        # The memory format in which convolutions are fastest, on CPUs and on GPUs.
        self.model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.input = input.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.loss = loss
        self.optimizer = optimizer

    def forward(self) -> Tensor:
        """The network's picture: (1, C, H, W) float32, in any mixed precision."""
        return self.model(self.input()).float()

    @torch.no_grad()
    def draw(self) -> Tensor:
        """The picture that the weights stand for, as they are now, without the input's noise: (1, C, H, W) float32."""
        self.input.eval()
        picture = self()
        self.input.train()
        return picture

    def judge(self, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a new output, and that output: what `dip.callbacks.CudaGraph` captures of a step."""
        output = self()
        return self.loss(output, target, mask), output

    def training_step(self, sample: Sample) -> dict[str, Tensor]:
        loss, output = self.judge(sample.target, sample.mask)
        return {"loss": loss, "output": output.detach()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())
