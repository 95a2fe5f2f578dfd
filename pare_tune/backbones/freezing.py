"""Which parameters of an encoder train: found by the kind and place of a module, not by names alone.

The rules are those of the official PaRe code (`set_param_grad`): "all" there is "none" here, "Wv" is
"query_key", "layernorm" is the frozen pretrained transformer (FPT) of Lu et al., arXiv:2103.05247.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from pare_tune.backbones.base import Freeze
from pare_tune.errors import ConfigError

_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)

_SEPARATE = (("query", "key", "value"), ("q_proj", "k_proj", "v_proj"))
"""Names of the projections inside one attention: transformers' BERT family, and its newer models."""

_ALSO_QUERY_KEY = ("q_norm", "k_norm", "q_bias", "logit_scale")
"""What fused attentions keep outside `qkv` and shapes only queries and keys (ViT with norms, Swin v2)."""


class Frozen(nn.Module):
    """A private copy of a module that never trains: no gradient, and always in evaluation mode."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


class SplitQkv(nn.Module):
    """A fused (3·A, D) query-key-value projection as two parameters, so that queries and keys freeze alone.

    Masking the gradient of the q and k rows would not do: AdamW's weight decay moves a row whose gradient is
    zero. A parameter without gradient is left alone by every optimiser. The state dict keeps the fused names
    and shapes, so weights are exchangeable with models that were never split.
    """

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        cut = fused.out_features // 3 * 2
        self.in_features, self.out_features = fused.in_features, fused.out_features
        weight = fused.weight.detach()
        self.query_key_weight = nn.Parameter(weight[:cut].clone())
        self.value_weight = nn.Parameter(weight[cut:].clone())
        self.query_key_bias: nn.Parameter | None = None
        self.value_bias: nn.Parameter | None = None
        bias: Tensor | None = fused.bias
        if bias is not None:
            self.query_key_bias = nn.Parameter(bias.detach()[:cut].clone())
            self.value_bias = nn.Parameter(bias.detach()[cut:].clone())
        self.register_state_dict_post_hook(_fuse_state)
        self.register_load_state_dict_pre_hook(_split_state)

    @property
    def weight(self) -> Tensor:
        """(3·A, D), q rows first; Swin v2 reads it directly."""
        return torch.cat([self.query_key_weight, self.value_weight])

    @property
    def bias(self) -> Tensor | None:
        """(3·A,), or None."""
        if self.query_key_bias is None or self.value_bias is None:
            return None
        return torch.cat([self.query_key_bias, self.value_bias])

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)

    def query_key_parameters(self) -> Iterator[nn.Parameter]:
        """The part that the rule "query_key" freezes."""
        yield self.query_key_weight
        if self.query_key_bias is not None:
            yield self.query_key_bias


def apply_rule(encoder: nn.Module, rule: Freeze, *, name: str) -> None:
    """Set `requires_grad` of every parameter of `encoder` by the rule. Call it before the optimiser is made.

    "query_key" replaces fused projections by `SplitQkv`, once; the other rules work on both forms.

    Raises:
        ConfigError: the rule is unknown, or "query_key" meets an attention whose layout is not known.
    """
    if rule not in ("none", "layernorm", "query_key", "all"):
        raise ConfigError(
            f"freeze takes none, layernorm, query_key or all, got {rule!r}; correct the config or option"
        )
    encoder.requires_grad_(rule in ("none", "query_key"))
    if rule == "layernorm":
        for module in encoder.modules():
            if isinstance(module, _NORMS):
                module.requires_grad_(True)
    elif rule == "query_key":
        frozen = [parameter for module in list(encoder.modules()) for parameter in _query_key_of(module)]
        if not frozen:
            raise ConfigError(
                f"freeze: query_key finds no query and key projections in backbone {name!r} (known: a fused "
                f"qkv, query/key/value, q_proj/k_proj/v_proj); use freeze: none, layernorm or all for it"
            )
        for parameter in frozen:
            parameter.requires_grad_(False)


def _query_key_of(attention: nn.Module) -> Iterator[nn.Parameter]:
    """Query and key parameters that belong directly to this module; none if it is no attention."""
    fused = getattr(attention, "qkv", None)
    if isinstance(fused, nn.Linear):
        fused = attention.qkv = SplitQkv(fused).train(fused.training)
    if isinstance(fused, SplitQkv):
        yield from fused.query_key_parameters()
        for extra in (getattr(attention, name, None) for name in _ALSO_QUERY_KEY):
            if isinstance(extra, nn.Parameter):
                yield extra
            elif isinstance(extra, nn.Module):
                yield from extra.parameters()
    for names in _SEPARATE:
        query, key, value = (getattr(attention, name, None) for name in names)
        if isinstance(query, nn.Module) and isinstance(key, nn.Module) and isinstance(value, nn.Module):
            yield from query.parameters()
            yield from key.parameters()


def _fuse_state(_module: SplitQkv, state: dict[str, Tensor], prefix: str, _metadata: object) -> None:
    for part in ("weight", "bias"):
        query_key = state.pop(f"{prefix}query_key_{part}", None)
        value = state.pop(f"{prefix}value_{part}", None)
        if query_key is not None and value is not None:
            state[prefix + part] = torch.cat([query_key, value])


def _split_state(_module: SplitQkv, state: dict[str, Tensor], prefix: str, *_rest: object) -> None:
    for part in ("weight", "bias"):
        fused = state.pop(prefix + part, None)
        if fused is not None:
            cut = fused.shape[0] // 3 * 2
            state[f"{prefix}query_key_{part}"] = fused[:cut]
            state[f"{prefix}value_{part}"] = fused[cut:]
