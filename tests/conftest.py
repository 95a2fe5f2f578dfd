"""Fixtures for every test."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling


class _Files(LoadScopeScheduling):
    """Test processes take whole files, which build their fixtures once; what needs Ray goes to one of them, which keeps
    one cluster for all.

    (xdist 3.8 has marks for it, `--dist loadgroup`, which do nothing under pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "ray" if _needs_ray(self.config.rootpath / file) else file


@cache
def _needs_ray(file: Path) -> bool:
    text = file.read_text(encoding="utf-8")
    return "ray_cluster" in text or "pytest.mark.ray" in text


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Files:
    return _Files(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first."""
    items.sort(key=lambda item: not _needs_ray(item.path))


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell that starts the tests in the background lets them, and what they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


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

    from pare_tune.tune.cluster import know_own_cluster

    os.environ.pop("RAY_ADDRESS", None)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        runtime_env={"worker_process_setup_hook": know_own_cluster},
    )
    yield
    ray.shutdown()
