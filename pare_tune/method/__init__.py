"""PaRe itself, in plain PyTorch: score, select, replace, encode, and the loss (Cai et al., ICML 2024)."""

from pare_tune.method.convolutions import ConvolutionStem, Shares, kernels, num_dilations
from pare_tune.method.embed import (
    GridEmbedder,
    SequenceEmbedder,
    TableEmbedder,
    fix_norm,
    stack_size,
    start_from,
)
from pare_tune.method.gate import Gate, GateConfig, gumbel_like
from pare_tune.method.heads import (
    GridDenseHead,
    GridStagesHead,
    HeadConfig,
    PointHead,
    SequenceAcrossHead,
    SequenceDenseHead,
    SequenceStagesHead,
    TargetScale,
)
from pare_tune.method.loss import LossParts, pare_loss, source_loss
from pare_tune.method.methods import METHODS, Method, make_mixer
from pare_tune.method.mixers import (
    CutMixer,
    GateMixer,
    Mixed,
    Mixer,
    MixupMixer,
    RandomMixer,
    TargetMaskMixer,
    TargetMixupMixer,
)
from pare_tune.method.model import Encoder, PareModel, PareOutput
from pare_tune.method.replace import patch_replace
from pare_tune.method.schedule import KSchedule
from pare_tune.method.select import hard_topk, select_iterative, select_topk, soft_iterative, soft_topk

__all__ = [
    "METHODS",
    "ConvolutionStem",
    "CutMixer",
    "Encoder",
    "Gate",
    "GateConfig",
    "GateMixer",
    "GridDenseHead",
    "GridEmbedder",
    "GridStagesHead",
    "HeadConfig",
    "KSchedule",
    "LossParts",
    "Method",
    "Mixed",
    "Mixer",
    "MixupMixer",
    "PareModel",
    "PareOutput",
    "PointHead",
    "RandomMixer",
    "SequenceAcrossHead",
    "SequenceDenseHead",
    "SequenceEmbedder",
    "SequenceStagesHead",
    "Shares",
    "TableEmbedder",
    "TargetMaskMixer",
    "TargetMixupMixer",
    "TargetScale",
    "fix_norm",
    "gumbel_like",
    "hard_topk",
    "kernels",
    "make_mixer",
    "num_dilations",
    "pare_loss",
    "patch_replace",
    "select_iterative",
    "select_topk",
    "soft_iterative",
    "soft_topk",
    "source_loss",
    "stack_size",
    "start_from",
]
