"""Pretrained weights: those inside the package, and files from the Hugging Face hub or a local folder.

Only safetensors is read. Pickled checkpoints (.bin, .pth) are refused: unpickling runs code.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from importlib import resources
from pathlib import Path

import huggingface_hub.constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pare_tune.errors import BackboneUnavailable

_PROBE_TIMEOUT_S = 5.0


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file.

    Raises:
        BackboneUnavailable: the file is missing, pickled, or damaged.
    """
    if not path.is_file():
        raise BackboneUnavailable(f"no weights file {path}; check the path (a .safetensors file is expected)")
    if path.suffix != ".safetensors":
        raise BackboneUnavailable(
            f"weights are read from .safetensors only (pickled files can run code), got {path}; "
            f"convert it with safetensors.torch.save_file(state_dict, 'model.safetensors')"
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BackboneUnavailable(
            f"weights file {path} is damaged or cut short ({error}); delete it and fetch it again"
        ) from error


def packaged_weights(name: str) -> Path:
    """Where the package keeps the weights of an embedded backbone."""
    return Path(str(resources.files("pare_tune.backbones"))) / "weights" / f"{name}.safetensors"


def load_packaged(backbone: nn.Module, name: str) -> None:
    """Fill an embedded backbone with its weights, stored as float16 and cast to float32 here.

    Raises:
        BackboneUnavailable: the file is missing or damaged, or is of another version of the backbone.
    """
    path = packaged_weights(name)
    state = {key: value.float() for key, value in read_safetensors(path).items()}
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise BackboneUnavailable(
            f"weights file {path} does not fit {name!r} of this version of pare-tune; "
            f"reinstall pare-tune, or make it again with jobs/pretrain_embedded.py ({error})"
        ) from error


def hub_reachable() -> bool:
    """Whether downloads can be tried: without network the hub's own client retries for close to a minute.

    Proxies set in the environment are honoured; HF_HUB_OFFLINE=1 means no.
    """
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(huggingface_hub.constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_TIMEOUT_S):
            return True
    except urllib.error.HTTPError:
        return True  # it answered
    except (urllib.error.URLError, OSError, ValueError):
        return False


def hub_file(repo: str, file: str, *, cache: Path | None, advice: str) -> Path:
    """One file of a hub repository, from the local cache or downloaded into it.

    Args:
        cache: folder of the hub cache; None for the hub's own (HF_HOME).
        advice: how to point to a local copy instead, for the error.

    Raises:
        BackboneUnavailable: not cached, and not to be had from the hub.
    """
    try:
        cached = huggingface_hub.try_to_load_from_cache(repo, file, cache_dir=cache)
    except HFValidationError as error:
        raise BackboneUnavailable(
            f"{repo} is neither a folder here nor a name of the hub; {advice}"
        ) from error
    if isinstance(cached, str):
        return Path(cached)
    if not hub_reachable():
        raise unavailable(repo, file, "the hub cannot be reached from here", advice)
    try:
        return Path(huggingface_hub.hf_hub_download(repo, file, cache_dir=cache))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise unavailable(repo, file, str(error).strip().splitlines()[0], advice) from error


def unavailable(repo: str, file: str, reason: str, advice: str) -> BackboneUnavailable:
    """The error for a file that is neither here nor downloadable."""
    hub = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return BackboneUnavailable(
        f"missing file {file} of {repo} (huggingface.co): {reason}. On a machine with network, run "
        f"`hf download {repo}` and copy {hub}/hub here, or {advice}; "
        f"micro-swin and micro-roberta need no download"
    )
