"""transformers' RoBERTa and BERT as backbones: embedding layer split from the encoder.

RoBERTa (Liu et al., 2019), https://arxiv.org/abs/1907.11692; BERT (Devlin et al., 2019), https://arxiv.org/abs/1810.04805
"""
# Shape suffixes: B = batch, N = tokens, D = width, L = samples of a series.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig, RobertaConfig
from transformers.utils import logging as hf_logging

from pare_tune.backbones.base import Backbone, BackboneSpec, Freeze, PatchStart, Stage, spread_layers
from pare_tune.backbones.freezing import Frozen, apply_rule
from pare_tune.backbones.weights_io import hub_file, read_safetensors
from pare_tune.errors import BackboneUnavailable, ConfigError

Tokenize = Callable[[Sequence[str]], list[list[int]]]

_POSITION_OFFSET = {"roberta": True, "xlm-roberta": True, "camembert": True, "bert": False}
"""Families that fit. True: positions are counted from pad_token_id + 1 on, as in fairseq; False: from 0."""


_MOST_UNKNOWN = 0.5
"""Share of a source's sub-tokens; such windows all look alike, and hold no label."""

_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "sentencepiece.bpe.model")


class SequenceBackbone(Backbone):
    """A RoBERTa or BERT: (B, N) token ids or, with a wave embedder, (B, 1, L) series → tokens → features.

    No attention mask and no special tokens: every slot of a window holds a token.
    """

    positions: Tensor

    def __init__(
        self,
        model: Any,
        spec: BackboneSpec,
        *,
        position_offset: int,
        tokenize: Tokenize,
        wave_embedder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.source_embedder = Frozen(model.embeddings)
        self.wave_embedder = None if wave_embedder is None else Frozen(wave_embedder)
        self.encoder = model.encoder
        table = model.embeddings.position_embeddings.weight.detach()
        self.register_buffer(
            "positions", table[position_offset : position_offset + (spec.max_tokens or 0)].clone()
        )
        self._position_offset = position_offset
        self._tokenize = tokenize

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The encoder's layers."""
        return tuple(self.encoder.layer)

    @property
    @torch.no_grad()
    def added_positions(self) -> Tensor:
        """(longest N, D). Text: as the norm behind word, type and position scales them, 6 to 11 times the table in
        MiniLM and AntiBERTy; waves: the table, which is added behind the norm."""
        if self.wave_embedder is not None:
            return self.positions
        embeddings = cast("Any", self.source_embedder.module)
        words_VD = embeddings.word_embeddings.weight + embeddings.token_type_embeddings.weight[0]
        spread = (words_VD.var(dim=1).mean() + self.positions.var(dim=1).mean()).sqrt()
        centred = self.positions - self.positions.mean(dim=1, keepdim=True)
        return cast("Tensor", centred / spread * embeddings.LayerNorm.weight)

    def embed_source(self, x: Tensor, kind: str) -> Tensor:
        """(B, N) ids, or (B, 1, L) series of L = N · `spec.patch_size` samples → (B, N, D).

        Raises:
            ValueError: a kind that it does not read, a wrong shape, or more than `spec.max_tokens` tokens.
        """
        if kind not in self.spec.source_kinds:
            raise ValueError(f"{self.spec.name} embeds {' or '.join(self.spec.source_kinds)}, got {kind!r}")
        if kind == "waves":
            return self._embed_waves(x)
        if x.ndim != 2:
            raise ValueError(f"text must be token ids (B, N), got shape {tuple(x.shape)}")
        self._check_length(x.shape[1])
        # By slot, not by counting non-padding ids as the library would: windows are full.
        slots_1N = torch.arange(x.shape[1], device=x.device)[None] + self._position_offset
        return cast("Tensor", self.source_embedder(input_ids=x, position_ids=slots_1N.expand_as(x)))

    @torch.no_grad()
    def patch_start(
        self, in_channels: int, steps: int | None = None, *, resample: bool = False
    ) -> PatchStart:
        """The norm of the embedding layer and, with a wave embedder, its filters stretched to `steps` time steps.

        Patches shorter than half of the pretrained ones keep a new projection: cut to a point, a filter has no shape.
        With `resample` they get what the pretrained filters make of them once they are stretched to the pretrained
        length (as FlexiViT, Beyer et al., CVPR 2023, https://arxiv.org/abs/2212.08013, resizes patch embeddings).
        Every filter weighs the channels in its own way, drawn once for all; with equal weights, one-hot channels
        (DNA) would all look the same.
        """
        if self.wave_embedder is None:
            norm = cast("Any", self.source_embedder.module).LayerNorm
            return PatchStart(norm_weight=norm.weight.clone(), norm_bias=norm.bias.clone())
        embedder = cast("Any", self.wave_embedder.module)
        projection, norm = embedder.projection, embedder.norm
        samples, weight, bias = projection.in_features, None, None
        if steps is not None and 2 * steps >= samples:
            stretched = nn.functional.interpolate(projection.weight[:, None], size=steps, mode="linear")
            weight = (
                stretched * _channel_mix(len(stretched), in_channels) * (samples / steps / in_channels) ** 0.5
            )
            bias = projection.bias.clone()
        elif steps is not None and resample:
            stretch_SP = nn.functional.interpolate(torch.eye(steps)[:, None], size=samples, mode="linear")[
                :, 0
            ]
            shortened = (projection.weight @ stretch_SP.T)[:, None]
            weight = shortened * _channel_mix(len(shortened), in_channels) / in_channels**0.5
            bias = projection.bias.clone()
        return PatchStart(
            weight=weight, bias=bias, norm_weight=norm.weight.clone(), norm_bias=norm.bias.clone()
        )

    def stages(self, tokens_BND: Tensor) -> tuple[Tensor, ...]:
        """(B, N, D) → the tokens and (B, N, D) of evenly spaced layers."""
        layers = self.encoder.layer
        stages, x, read = [tokens_BND], tokens_BND, spread_layers(len(layers))
        for number, layer in enumerate(layers, start=1):
            x = layer(x)
            if number in read:
                stages.append(x)
        return tuple(stages)

    def freeze(self, rule: Freeze) -> None:
        """See `freezing.apply_rule`."""
        apply_rule(self.encoder, rule, name=self.spec.name)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts → token ids without special tokens. Raises BackboneUnavailable if no vocabulary is here."""
        return self._tokenize(texts)

    def _embed_waves(self, x: Tensor) -> Tensor:
        samples = self.spec.patch_size
        if self.wave_embedder is None or samples is None:
            raise ValueError(f"{self.spec.name} has no embedder for waves")
        if x.ndim != 3 or x.shape[1] != 1 or x.shape[2] % samples:
            raise ValueError(f"waves must be (B, 1, L) with L a multiple of {samples}, got {tuple(x.shape)}")
        num_tokens = x.shape[2] // samples
        self._check_length(num_tokens)
        return cast("Tensor", self.wave_embedder(x)) + self.positions[:num_tokens]

    def _check_length(self, num_tokens: int) -> None:
        if num_tokens > (self.spec.max_tokens or 0):
            raise ValueError(
                f"{self.spec.name} takes at most {self.spec.max_tokens} tokens, got {num_tokens}"
            )


def _channel_mix(num_filters: int, in_channels: int) -> Tensor:
    """(filters, channels, 1) of unit variance; ones for a single channel."""
    shape = (num_filters, in_channels, 1)
    return (
        torch.ones(shape)
        if in_channels == 1
        else torch.randn(shape, generator=torch.Generator().manual_seed(0))
    )


def build_hf(
    name: str, source: str, *, pretrained: bool, cache: Path | None, dropout: float
) -> SequenceBackbone:
    """A backbone from a hub name or a folder made by `save_pretrained`.

    Raises:
        ConfigError: it is not of the RoBERTa or BERT family.
        BackboneUnavailable: a file is missing and cannot be downloaded, is pickled, or damaged.
    """
    if not pretrained and source == "roberta-base":
        config: PretrainedConfig = _roberta_base_config()
    else:
        config = _read_config(source, cache)
    if config.model_type not in _POSITION_OFFSET:
        raise ConfigError(
            f"backbone {name!r} is of type {config.model_type!r}, which is not built in; "
            f"choose a model of type {', '.join(sorted(_POSITION_OFFSET))}"
        )
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    build = _read_model if pretrained else _random_model
    model = build(source, config, cache)
    offset = config.pad_token_id + 1 if _POSITION_OFFSET[config.model_type] else 0
    return SequenceBackbone(
        model,
        sequence_spec(config, name=name, offset=offset),
        position_offset=offset,
        tokenize=_Tokenizer(source, cache),
    )


def sequence_spec(
    config: PretrainedConfig, *, name: str, offset: int, samples_per_token: int | None = None
) -> BackboneSpec:
    """Read the shapes off a configuration."""
    return BackboneSpec(
        name=name,
        kind="sequence",
        width=config.hidden_size,
        feature_width=config.hidden_size,
        patch_size=samples_per_token,
        stages=(Stage(width=config.hidden_size),) * (1 + len(spread_layers(config.num_hidden_layers))),
        max_tokens=config.max_position_embeddings - offset,
        norm_eps=config.layer_norm_eps,
        tokenizer_name=name,
        source_kinds=("text",) if samples_per_token is None else ("waves", "text"),
    )


class _Tokenizer:
    """The model's own tokenizer, read when first used: random weights need no vocabulary at hand."""

    def __init__(self, source: str, cache: Path | None) -> None:
        self._source, self._cache = source, cache
        self._tokenizer: Any = None

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        if self._tokenizer is None:
            self._tokenizer = self._read()
        encoded = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)
        ids = cast("list[list[int]]", encoded["input_ids"])
        self._require_words(ids)
        return ids

    def _require_words(self, ids: Sequence[Sequence[int]]) -> None:
        """Raise ConfigError where most of a text is the one token that stands for whatever is not in the vocabulary."""
        count = sum(map(len, ids))
        unknown = sum(text.count(self._tokenizer.unk_token_id) for text in ids)
        if count and unknown > _MOST_UNKNOWN * count:
            raise ConfigError(
                f"{self._source} must know most words of a source, {unknown:,} of {count:,} are not in its vocabulary; "
                f"choose a source.name of what it was pretrained on, such as textfile with text of your own"
            )

    def _read(self) -> Any:
        folder = Path(self._source)
        if not folder.is_dir():
            folder = hub_file(self._source, _VOCABULARIES[0], cache=self._cache, advice=_advice()).parent
        # Without a vocabulary transformers makes an empty tokenizer and says nothing.
        if not any((folder / file).is_file() for file in _VOCABULARIES):
            raise BackboneUnavailable(f"no tokenizer in {folder}: add the model's {_VOCABULARIES[0]}")
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise BackboneUnavailable(
                f"no tokenizer in {folder}: {_first_line(error)}; add the model's tokenizer.json and "
                f"tokenizer_config.json"
            ) from error


def _roberta_base_config() -> RobertaConfig:
    """What roberta-base's config.json says, for random weights without a download."""
    return RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5
    )


def _read_config(source: str, cache: Path | None) -> PretrainedConfig:
    folder = _folder_of(source, "config.json", cache)
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise BackboneUnavailable(f"cannot read config.json of {source}: {_first_line(error)}") from error


def _read_model(source: str, config: PretrainedConfig, cache: Path | None) -> Any:
    folder = _folder_of(source, "model.safetensors", cache)
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        read_safetensors(folder / "model.safetensors")  # transformers' error for a damaged file names no file
    with _quiet():
        model, info = AutoModel.from_pretrained(
            folder, config=config, use_safetensors=True, add_pooling_layer=False, output_loading_info=True
        )
    if info["missing_keys"]:
        raise BackboneUnavailable(
            f"the weights in {folder} do not fit its config.json: they lack "
            f"{', '.join(sorted(info['missing_keys'])[:3])}; fetch both files again"
        )
    return model


def _random_model(_source: str, config: PretrainedConfig, _cache: Path | None) -> Any:
    return AutoModel.from_config(config, add_pooling_layer=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no report of the unused pooling layer in the middle of a run's output."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def _folder_of(source: str, file: str, cache: Path | None) -> Path:
    """The folder that holds `file`: the given one, or the hub's snapshot."""
    folder = Path(source)
    if not folder.is_dir():
        return hub_file(source, file, cache=cache, advice=_advice()).parent
    if (folder / file).is_file() or (folder / f"{file}.index.json").is_file():
        return folder
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    hint = f"; it holds only pickled weights ({', '.join(pickled)}), which can run code" if pickled else ""
    raise BackboneUnavailable(
        f"no {file} in {folder}{hint}; save the model there with save_pretrained(FOLDER)"
    )


def _advice() -> str:
    return "give a folder with config.json, model.safetensors and tokenizer.json: --backbone hf:FOLDER"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
