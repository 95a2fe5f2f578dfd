"""Fixtures for every test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Test processes take whole files, which build their fixtures once; what needs the cluster goes to one of them."""
    for item in items:
        needs_ray = "ray_cluster" in getattr(item, "fixturenames", ()) or item.get_closest_marker("ray")
        item.add_marker(pytest.mark.xdist_group("ray" if needs_ray else str(item.path)))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Prepared data of one test session, also for the processes it starts; the user's cache is left alone."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = tmp_path_factory.getbasetemp().parent / "cache"  # the workers share it
    folder.mkdir(exist_ok=True)
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
