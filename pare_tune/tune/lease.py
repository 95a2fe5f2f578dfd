"""Who drives a run that lives in a store: a claim that is renewed and expires, for a store has no locks and a machine
that is lost unlocks nothing.

Every driver keeps a file of its own below `.drivers/`. Their ages are compared by the times that the store gives them,
so that the clocks of the machines do not matter.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid

from pare_tune.data.remote import UrlStore, without_secrets
from pare_tune.errors import RunBusy

LEASE_S = 90.0
"""A driver that has not renewed its claim for so long is taken for dead."""
RENEW_S = 15.0
_CLAIMS = ".drivers"


class Lease:
    """The claim of this process to a run."""

    def __init__(self, store: UrlStore) -> None:
        self._store = store
        self._name = f"{_CLAIMS}/{uuid.uuid4().hex}.json"
        self._renewed = float("-inf")

    def take(self) -> None:
        """Claim the run; of two that claim it in the same moment neither gets it.

        Raises:
            RunBusy: another driver has it.
            StorageError: the store cannot be written.
        """
        try:
            self.renew()
        except RunBusy:
            self.release()
            raise
        for name in self._store.all_stamps(_CLAIMS):
            if name != self._name:
                self._store.delete(name)  # of the dead

    def renew(self) -> None:
        """Say that this process lives, every few seconds at most. Raises RunBusy where another one took over."""
        if time.monotonic() - self._renewed < RENEW_S:
            return
        about = {"pid": os.getpid(), "host": socket.gethostname()}
        self._store.write(self._name, json.dumps(about).encode())
        claims = {name: changed for name, (_, changed) in self._store.all_stamps(_CLAIMS).items()}
        now = claims.pop(self._name, 0)
        rival = next((name for name, changed in claims.items() if now - changed < LEASE_S * 1e9), None)
        if rival is not None:
            raise RunBusy(
                f"{without_secrets(self._store.url)} is in use by {self._owner(rival)}; wait for it or stop it first "
                f"(if it is lost, its claim ends after {LEASE_S:g} s)"
            )
        self._renewed = time.monotonic()

    def release(self) -> None:
        """Give the run back."""
        self._store.delete(self._name)

    def _owner(self, claim: str) -> str:
        try:
            about = json.loads(self._store.read(claim))
            return f"process {about['pid']} on {about['host']}"
        except (FileNotFoundError, ValueError, KeyError):
            return "another process"


def is_driven(store: UrlStore) -> bool:
    """Whether a living driver has the run, if this machine's clock is right."""
    now = time.time_ns()
    return any(now - changed < LEASE_S * 1e9 for _, changed in store.all_stamps(_CLAIMS).values())
