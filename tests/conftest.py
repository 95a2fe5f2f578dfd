"""Fixtures for every test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Prepared data of one test session, also for the processes it starts; the user's cache is left alone."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("PARE_TUNE_CACHE")
    os.environ["PARE_TUNE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["PARE_TUNE_CACHE"]
    else:
        os.environ["PARE_TUNE_CACHE"] = before


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray cluster for all tests that need one; searches join it instead of starting their own."""
    import ray

    os.environ.pop("RAY_ADDRESS", None)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.CRITICAL,
    )
    yield
    ray.shutdown()
