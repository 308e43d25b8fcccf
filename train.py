"""Repairs one picture: python train.py data.image=PHOTO data.mask=MASK. All keys: python train.py --help."""

import sys

import hydra
from omegaconf import DictConfig

from dip.cli.command import one_line_errors, prepare, quick_imports
from dip.config.check import check_types


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def train(cfg: DictConfig) -> float | None:
    with quick_imports():
        from dip.cli.jobs import run  # imports torch, so that help and errors do not wait for it

    return run(cfg)


if __name__ == "__main__":
    with one_line_errors():
        sys.argv[1:] = prepare(sys.argv[1:])
        check_types(sys.argv[1:])
        train()
