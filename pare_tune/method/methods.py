"""The modes of the one trainer: PaRe, what its paper compares it with, and its ablations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pare_tune.method.gate import Gate, GateConfig
from pare_tune.method.mixers import (
    CutMixer,
    GateMixer,
    Mixer,
    MixupMixer,
    RandomMixer,
    TargetMaskMixer,
    TargetMixupMixer,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What one mode does; everything else of a training is the same for all of them."""

    mixer: type[Mixer] | None = None
    """What mixes other samples into the target; None mixes nothing, so that k and β2 mean nothing."""
    source_loss: bool = False
    """Whether mixed samples are also trained on the source's label, by a head of its own."""
    aligns: bool = False
    """Whether the target embedder is first moved to where the source's samples lie."""
    pretrained: bool = True
    """Whether encoder and embedder begin at pretrained weights."""
    freeze: Literal["layernorm"] | None = None
    """Which encoder parameters train (`Backbone.freeze`), where the method is what decides that."""

    @property
    def reads_source(self) -> bool:
        """Whether it needs samples of a source data set."""
        return self.aligns or (self.mixer is not None and self.mixer.needs_source)

    @property
    def is_gated(self) -> bool:
        """Whether patches are chosen by the gate."""
        return self.mixer is GateMixer


METHODS: Final[dict[str, Method]] = {
    # The paper.
    "pare": Method(mixer=GateMixer, source_loss=True),
    # Patches chosen by chance (its Table 5).
    "random": Method(mixer=RandomMixer, source_loss=True),
    # Other ways of mixing the source in (Table 4).
    "mixup": Method(mixer=MixupMixer, source_loss=True),
    "cutmix": Method(mixer=CutMixer, source_loss=True),
    # The source's patches without its label (Table 18).
    "pare_no_source_loss": Method(mixer=GateMixer),
    # Augmentation without a source (Table 18).
    "target_mixup": Method(mixer=TargetMixupMixer),
    "target_mask": Method(mixer=TargetMaskMixer),
    # Nothing is mixed (NFT).
    "finetune": Method(),
    # Only norms, embedder and heads train (FPT; Lu et al., AAAI 2022, https://arxiv.org/abs/2103.05247).
    "layernorm": Method(freeze="layernorm"),
    # The same architecture, not pretrained (Table 15).
    "scratch": Method(pretrained=False),
    # The target embedder is aligned with the source first, then everything is fine-tuned (Table 15; Shen et al.,
    # ICML 2023, https://arxiv.org/abs/2302.05738).
    "orca": Method(aligns=True),
}
"""Every method by the name that `method:` takes."""


def make_mixer(method: Method, *, width: int, token_grid: tuple[int, int], gate: GateConfig) -> Mixer | None:
    """The method's mixer, its parameters initialised from torch's global generator; None where it mixes nothing.

    Args:
        width: D, of the tokens.
        token_grid: rows and columns of the N tokens; (1, N) for a series.
        gate: of the methods that have one.
    """
    if method.mixer is None:
        return None
    if method.mixer is GateMixer:
        return GateMixer(Gate(width, gate), gate)
    if method.mixer is CutMixer:
        return CutMixer(token_grid)
    return method.mixer()
