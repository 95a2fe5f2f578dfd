"""What makes large encoders lighter to train: blocks that are computed again instead of kept, and a compiled encoder.

The model is changed while it trains only: what is kept, exported or used afterwards is as it always was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch.utils.checkpoint import checkpoint

from pare_tune.backbones import Backbone
from pare_tune.config import TrainConfig


@contextmanager
def lighter(encoder: Backbone, settings: TrainConfig) -> Iterator[None]:
    """`encoder` as `settings` want it trained; raises nothing by itself, what cannot be compiled fails when it runs."""
    blocks = encoder.blocks if settings.gradient_checkpointing else ()
    for block in blocks:
        # `forward`, not the block: FSDP's hooks stay outside and do not run a second time in the backward pass.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if settings.compile:
        torch.compiler.reset()  # a process trains one model after the other, and compiles a function so often only
        encoder.stages = torch.compile(encoder.stages)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
        if settings.compile:
            del encoder.stages
