"""Ways of making an intermediate modality out of target and source tokens, one file each."""

from pare_tune.method.mixers.base import Mixed, Mixer
from pare_tune.method.mixers.cutmix import CutMixer
from pare_tune.method.mixers.mixup import MixupMixer
from pare_tune.method.mixers.pare import GateMixer
from pare_tune.method.mixers.random import RandomMixer
from pare_tune.method.mixers.target_mask import TargetMaskMixer
from pare_tune.method.mixers.target_mixup import TargetMixupMixer

__all__ = [
    "CutMixer",
    "GateMixer",
    "Mixed",
    "Mixer",
    "MixupMixer",
    "RandomMixer",
    "TargetMaskMixer",
    "TargetMixupMixer",
]
