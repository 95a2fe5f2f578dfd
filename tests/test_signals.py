from __future__ import annotations

import os
import signal
import threading

import pytest

from pare_tune.signals import on_ending_signals


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "interrupted by SIGTERM"),
        (signal.SIGHUP, "interrupted by SIGHUP"),
    ],
)
def test_every_signal_that_ends_interrupts_and_has_its_handler_back(
    number: signal.Signals, told: str
) -> None:
    before = signal.getsignal(number)
    with on_ending_signals(), pytest.raises(KeyboardInterrupt, match=f"^{told}$"):
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with on_ending_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_leaves_the_handlers_alone() -> None:
    handlers: list[object] = []

    def look() -> None:
        with on_ending_signals():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
