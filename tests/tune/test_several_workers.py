"""Trials with several workers each: Ray Train inside Ray Tune."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType

import pytest

from pare_tune.config import RunConfig
from pare_tune.tune.run import search


@pytest.mark.usefixtures("ray_cluster")
def test_trials_with_two_workers_are_trained_stopped_and_leave_nothing_behind(
    make_config: Callable[..., RunConfig], fakes: ModuleType
) -> None:
    import ray

    result = search(make_config("2", epochs=4, workers_per_trial=2), runner=fakes.train)
    first, second = result.snapshot.trials
    assert (first.state, first.epoch) == ("complete", 4)
    assert (second.state, second.epoch) == ("pruned", 2), (
        "Ray leaks the workers of a stopped trial unless told right"
    )

    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == 2
