"""`micro-roberta`: a RoBERTa of 1.3 M parameters over bytes and waveforms that ships with pretrained weights.

Trained by jobs/pretrain_embedded.py; its pretext was chosen by measured transfer.
"""
# Shape suffixes: B = batch, N = tokens, D = width, L = samples of a series.

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from transformers import RobertaConfig, RobertaModel

from pare_tune.backbones.hf import SequenceBackbone, sequence_spec
from pare_tune.backbones.weights_io import load_packaged

NAME = "micro-roberta"
SAMPLES_PER_TOKEN = 8
MAX_TOKENS = 256
NUM_SPECIAL = 4
"""Ids below it: <s>, <pad>, </s>, <mask>, as RoBERTa counts them; byte b is id b + 4."""
MASK_ID = 3
_POSITION_OFFSET = 2


class WaveEmbedder(nn.Module):
    """Cuts (B, 1, L) into patches of `SAMPLES_PER_TOKEN` samples → linear → LayerNorm: (B, N, D)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.projection = nn.Linear(SAMPLES_PER_TOKEN, width)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x_B1L: Tensor) -> Tensor:
        patches_BNP = x_B1L.squeeze(1).unflatten(1, (-1, SAMPLES_PER_TOKEN))
        return self.norm(self.projection(patches_BNP))  # type: ignore[no-any-return]


def byte_tokens(texts: Sequence[str]) -> list[list[int]]:
    """UTF-8 bytes, each a token."""
    return [[byte + NUM_SPECIAL for byte in text.encode()] for text in texts]


def build_micro_roberta(*, pretrained: bool, dropout: float) -> SequenceBackbone:
    """Up to 256 tokens of width 160, four layers.

    Raises:
        BackboneUnavailable: the packaged weights are missing or damaged.
    """
    config = RobertaConfig(
        vocab_size=256 + NUM_SPECIAL,
        hidden_size=160,
        num_hidden_layers=4,
        num_attention_heads=5,
        intermediate_size=640,
        max_position_embeddings=MAX_TOKENS + _POSITION_OFFSET,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    model = RobertaModel(config, add_pooling_layer=False)
    # RoBERTa's own start (0.02) leaves positions a fortieth of the patch tokens that they are added to after the norm:
    # then nothing that depends on where a sample stands (a shifted wave, say) is learned in a short training.
    nn.init.normal_(model.embeddings.word_embeddings.weight)
    nn.init.normal_(model.embeddings.position_embeddings.weight)
    backbone = SequenceBackbone(
        model,
        sequence_spec(config, name=NAME, offset=_POSITION_OFFSET, samples_per_token=SAMPLES_PER_TOKEN),
        position_offset=_POSITION_OFFSET,
        tokenize=byte_tokens,
        wave_embedder=WaveEmbedder(config.hidden_size, config.layer_norm_eps),
    )
    if pretrained:
        load_packaged(backbone, NAME)
    return backbone
