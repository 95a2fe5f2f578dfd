"""What the tests of the search share: a runner that trains nothing, and configurations around it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from pare_tune.config import RunConfig
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.run import snapshot
from pare_tune.tune.snapshot import Snapshot

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """The module of synthetic runners; Ray's workers cannot import it, so it travels by value."""
    from ray import cloudpickle

    spec = importlib.util.spec_from_file_location("fakes", HERE / "fakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fakes"] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module


@pytest.fixture
def make_config(tmp_path: Path, fakes: ModuleType) -> Callable[..., RunConfig]:
    """RunConfig(budget, epochs, **search) in the test's own folder."""

    def make(budget: str = "6", epochs: int = 4, **search: object) -> RunConfig:
        config: RunConfig = fakes.run_config(tmp_path, budget=budget, epochs=epochs, **search)
        return config

    return make


@pytest.fixture
def without_ray(
    monkeypatch: pytest.MonkeyPatch, fakes: ModuleType
) -> Callable[[], AbstractContextManager[None]]:
    """`with without_ray():` runs the trials of a search one after the other in this process."""
    spec = importlib.util.spec_from_file_location("lone", HERE / "lone.py")
    assert spec is not None
    assert spec.loader is not None
    lone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lone)

    @contextmanager
    def patched() -> Iterator[None]:
        with monkeypatch.context() as patch:
            for module, name, value in lone.STAND_INS:
                patch.setattr(module, name, value)
            yield

    return patched


class Driver:
    """A search in a process of its own, to be signalled."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
            "OMP_NUM_THREADS": "1",
        }
        self._output = (folder / "output.txt").open("a", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "fakes.py"), str(folder), *arguments],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    @property
    def run(self) -> Path:
        return next((self.folder / "runs").iterdir())

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text(encoding="utf-8")

    def wait_until(self, reached: Callable[[Snapshot], bool], *, timeout_s: float = 120.0) -> Snapshot:
        """Poll the run's snapshot."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.output
            if (
                list((self.folder / "runs").glob("*/study.journal"))
                and RunFolder(self.run).run_yaml.is_file()
            ):
                try:
                    seen = snapshot(self.run)
                except (LookupError, OSError, ValueError):
                    seen = None  # the study is being made
                if seen is not None and reached(seen):
                    return seen
            time.sleep(0.1)
        raise AssertionError(f"the search did not get there in {timeout_s:g} s:\n{self.output}")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._output.close()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Start a search in another process; it is killed at the end of the test if it still runs."""
    started: list[Driver] = []

    def start(*arguments: str) -> Driver:
        started.append(Driver(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()
