"""Perceiver IO, from scratch: Jaegle et al., ICLR 2022, https://arxiv.org/abs/2107.14795 (library transformers).

Every position of the input is a token of its channels and Fourier features of its place; one query reads the classes or
labels, or one a position the values. The library's default sizes are those of a model of 200 M parameters for text;
these are small enough for the few thousand samples that are compared here.
"""
# Shape suffixes: B = batch, N = positions in, M = queries, D = channels.

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pare_tune.compare.peers.base import Fitted, Peer, Problem, Settings, anything
from pare_tune.compare.peers.network import suggest_optimizer, train_network
from pare_tune.tasks.base import Dense, MultiLabel, Numbers, Output, Point

if TYPE_CHECKING:
    import optuna

_LATENTS, _WIDTH, _LAYERS, _HEADS, _BANDS = 64, 128, 4, 4, 16


class _Network(nn.Module):
    def __init__(self, channels: int, spatial: tuple[int, ...], output: Output, settings: Settings) -> None:
        super().__init__()
        from transformers import PerceiverConfig, PerceiverModel
        from transformers.models.perceiver.modeling_perceiver import (
            PerceiverBasicDecoder,
            PerceiverFourierPositionEncoding,
        )

        self.spatial, self.shape = spatial, _shape(output)
        self.position = PerceiverFourierPositionEncoding(
            num_bands=_BANDS, max_resolution=spatial, concat_pos=True
        )
        width = settings.get("width", _WIDTH)
        config = PerceiverConfig(
            num_latents=settings.get("latents", _LATENTS),
            d_latents=width,
            d_model=channels + self.position.output_size(),
            num_self_attends_per_block=settings.get("layers", _LAYERS),
            num_self_attention_heads=_HEADS,
            num_cross_attention_heads=1,
            attention_probs_dropout_prob=0.0,
        )
        queries = math.prod(self.shape) if isinstance(output, Dense) else 1
        decoder = PerceiverBasicDecoder(
            config,
            output_num_channels=1 if isinstance(output, Dense) else self.shape[0],
            output_index_dims=queries,
            num_channels=width,
            trainable_position_encoding_kwargs={"num_channels": width, "index_dims": queries},
        )
        self.model = PerceiverModel(config, decoder=decoder)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) → (B, *shape)."""
        import torch

        tokens_BND = x.flatten(2).transpose(1, 2)
        place_BND = self.position(self.spatial, len(x), device=x.device, dtype=x.dtype)
        logits_BMD: Tensor = self.model(inputs=torch.cat([tokens_BND, place_BND], dim=-1)).logits
        return logits_BMD.reshape(len(x), *self.shape)


def _shape(output: Output) -> tuple[int, ...]:
    match output:
        case Point():
            return (output.num_classes,)
        case MultiLabel():
            return (output.num_labels,)
        case Numbers():
            return (output.num,)
        case Dense():
            return output.shape


def _suggest(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        **suggest_optimizer(trial),
        "latents": trial.suggest_categorical("latents", [32, 64, 128]),
        "width": trial.suggest_categorical("width", [64, 128, 256]),
        "layers": trial.suggest_int("layers", 2, 8),
    }


def _fit(problem: Problem, settings: Settings, seed: int) -> Fitted:
    return train_network(
        lambda: _Network(problem.data.input_shape[0], problem.spatial, problem.data.output, settings),
        problem,
        settings,
        seed,
    )


PERCEIVER = Peer(
    name="perceiver",
    module="transformers",
    suits=anything,
    suggest=_suggest,
    fit=_fit,
)
