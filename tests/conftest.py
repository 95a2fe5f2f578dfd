"""Fixtures for every test."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Test processes and what they start share the cores; two threads in each would wait for one another."""


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


LONG = {"test_documentation.py", "test_load.py", "test_loop.py"}
"""Files that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no process waits for it alone in the end."""
    items.sort(key=lambda item: (not _needs_ray(item.path), item.path.name not in LONG))


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """In the background of a shell, tests and what they start would ignore Ctrl-C; under nohup, a hang-up."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


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


FEW: dict[str, dict[str, int]] = {
    "samples.darcy_flow.write_piececonst": {"train": 30, "test": 6},
    "samples.darcy_flow.write_pdebench": {"samples": 40},
    "samples.proteins.write_sample": {"num_deepcov": 20, "num_psicov": 4},
    "samples.waves1d.write_solutions": {"samples": 40},
    **{
        f"solvers.{equation}.write_solutions": {"samples": 40}
        for equation in (
            "burgers",
            "compressible_1d",
            "diffusion_sorption",
            "reaction_diffusion_1d",
            "reaction_diffusion_2d",
            "shallow_water",
        )
    },
    "samples.pictures.CIFAR_SIZES": {"train": 100, "test": 40},
    "samples.pictures.DOMAIN_SIZES": {"train": 100, "test": 20},
    "samples.sounds.SPLIT_SIZES": {"tr": 60, "val": 20, "eval": 20},
    "samples.sphere.SIZES": {"train": 50, "test": 20},
}
"""What makes a task's own data, below `pare_tune.tasks`: how few samples show how they are made, split and read."""


@pytest.fixture(scope="module")
def few_samples(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tasks' own data take a second instead of a minute; they are kept apart from those of full size."""
    with pytest.MonkeyPatch.context() as patch:
        for place, sizes in FEW.items():
            module_name, _, name = f"pare_tune.tasks.{place}".rpartition(".")
            module = importlib.import_module(module_name)
            value = getattr(module, name)
            if callable(value):
                assert sizes.keys() <= value.__kwdefaults__.keys(), place
                patch.setattr(value, "__kwdefaults__", {**value.__kwdefaults__, **sizes})
            else:
                assert sizes.keys() == value.keys(), place
                patch.setattr(module, name, sizes)
        patch.setenv("PARE_TUNE_CACHE", str(tmp_path_factory.mktemp("few")))
        yield


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


@pytest.fixture(scope="module")
def in_this_process() -> Iterator[None]:
    """The command line without Ray: trials, final trainings and cells of comparisons run here, one after the other."""
    import torch

    from pare_tune import api, final
    from pare_tune.compare import run as compare_run
    from pare_tune.compare import work
    from pare_tune.train import worker
    from pare_tune.train.final import run_final
    from pare_tune.train.loop import Context
    from pare_tune.train.trial import run_trial
    from pare_tune.tune import run as tune_run

    spec = importlib.util.spec_from_file_location("lone", Path(__file__).parent / "tune" / "lone.py")
    assert spec is not None
    assert spec.loader is not None
    lone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lone)

    @contextmanager
    def no_cluster(**_: object) -> Iterator[Any]:
        yield SimpleNamespace(cpus_for=lambda workers: 1.0, gpus_for=lambda asked: 0.0, node="")

    def launch_final(config: Any, home: Any, **plan: Any) -> None:
        context = Context(report=lambda epoch: None, folder=home.folder, device=torch.device("cpu"))
        kept = ("with_val", "epoch", "members", "searched")
        run_final(config, context, **{name: plan[name] for name in kept})

    def search(config: Any, options: Any) -> Any:
        return tune_run.search(config, replace(options, runner=run_trial))

    def resume(*arguments: Any, options: Any, **named: Any) -> Any:
        return tune_run.resume(*arguments, options=replace(options, runner=run_trial), **named)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in lone.STAND_INS:
            patch.setattr(module, name, value)
        for module, names in ((api, ("_search", "_resume")), (work, ("search", "resume"))):
            for name, value in zip(names, (search, resume), strict=True):
                patch.setattr(module, name, value)
        patch.setattr(compare_run, "run_plan", partial(compare_run.run_plan, on_ray=False))
        patch.setattr(final, "connect", no_cluster)
        patch.setattr(worker, "launch_final", launch_final)
        yield
    torch.set_num_threads(threads)
