"""The peers that a user would pick instead: small adapters behind one interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from pare_tune.compare.peers.base import Peer

_HOMES: Mapping[str, str] = {
    "xgboost": "trees.XGBOOST",
    "lightgbm": "trees.LIGHTGBM",
    "catboost": "trees.CATBOOST",
    "hist-gradient-boosting": "trees.HISTOGRAM",
    "linear": "linear.LINEAR",
    "fno": "grids.FNO",
    "unet": "grids.UNET",
    "minirocket": "minirocket.MINIROCKET",
    "perceiver": "perceiver.PERCEIVER",
}
"""Method → its value in a module here, imported on first use; the libraries themselves only when a peer is fitted."""


class _Registry(Mapping[str, Peer]):
    def __getitem__(self, name: str) -> Peer:
        module, _, value = _HOMES[name].partition(".")
        peer: Peer = getattr(import_module(f"{__name__}.{module}"), value)
        return peer

    def __iter__(self) -> Iterator[str]:
        return iter(_HOMES)

    def __len__(self) -> int:
        return len(_HOMES)


PEERS: Mapping[str, Peer] = _Registry()

__all__ = ["PEERS", "Peer"]
