"""The peers that a user would pick instead: one small adapter a file, behind one interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from pare_tune.compare.peers.base import Peer

_MODULES: Mapping[str, str] = {
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "tabpfn": "tabpfn",
    "autogluon": "autogluon",
    "hist-gradient-boosting": "hist_gradient_boosting",
    "linear": "linear",
    "fno": "fno",
    "unet": "unet",
    "minirocket": "minirocket",
    "perceiver": "perceiver",
}
"""Method → module here, imported on first use; the libraries themselves only when a peer is fitted."""


class _Registry(Mapping[str, Peer]):
    def __getitem__(self, name: str) -> Peer:
        peer: Peer = import_module(f"{__name__}.{_MODULES[name]}").PEER
        return peer

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


PEERS: Mapping[str, Peer] = _Registry()

__all__ = ["PEERS", "Peer"]
