from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from pare_tune.backbones import Backbone, load_backbone
from pare_tune.config import TrainConfig
from pare_tune.errors import ConfigError
from pare_tune.train.lighter import lighter

from .conftest import Toy
from .test_loop import numbers


def stepped(encoder: Backbone, **settings: Any) -> tuple[int, list[Tensor]]:
    """Bytes kept for the backward pass, and the gradients that it makes."""
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    torch.manual_seed(0)
    grid = encoder.spec.token_grid
    tokens = torch.randn(2, grid[0] * grid[1] if grid else 20, encoder.spec.width)
    encoder.zero_grad()
    with lighter(encoder, TrainConfig(epochs=1, batch_size=2, **settings)):
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = sum(stage.square().mean() for stage in encoder.stages(tokens))
        loss.backward()
    size = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    return size, [p.grad for p in encoder.parameters() if p.grad is not None]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("micro-swin", {"drop_path": 0.2}),
        ("micro-roberta", {"dropout": 0.2}),
        ("timm:vit_tiny_patch16_224", {"image_size": 64, "drop_path": 0.2}),
        ("timm:swinv2_tiny_window8_256", {"image_size": 64, "drop_path": 0.2}),
    ],
)
def test_blocks_that_are_computed_again_have_the_same_gradients(name: str, options: dict[str, Any]) -> None:
    encoder = load_backbone(name, pretrained=False, **options).train()
    kept, expected = stepped(encoder)
    less, gradients = stepped(encoder, gradient_checkpointing=True)
    weights = sum(p.nbytes for p in encoder.parameters() if p.requires_grad)
    assert less - weights < (kept - weights) / 4 or less < kept / 3
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))
    assert stepped(encoder)[0] == kept, "afterwards it is as it was"


DYNAMO = "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
"""Of torch 2.14's tracing itself, which looks at the gradients of what it is given."""


@pytest.mark.filterwarnings(DYNAMO)
@pytest.mark.parametrize("setting", ["train.gradient_checkpointing", "train.compile"])
def test_a_lighter_training_has_the_same_curve(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """Compiling is followed up to the graph, which then runs as it is: what a compiler makes of it rounds otherwise."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain, _ = toy.run()
    light, model = toy.changed(**{setting: True}).run()
    assert numbers(light.curve) == numbers(plain.curve)
    assert "stages" not in vars(model.encoder)


@pytest.mark.filterwarnings(DYNAMO)
def test_no_compiler_is_said_in_a_sentence(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError("no g++ here")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=refuse))
    with pytest.raises(ConfigError, match=r"train\.compile: .*no g\+\+ here.* leave it at false"):
        toy.changed(**{"train.compile": True}).run()
