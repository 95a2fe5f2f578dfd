"""Runs what is missing of a comparison: cells side by side on Ray, our searches one after the other.

A search fills the cluster by itself. Everything else takes one CPU (and a GPU where there is one): peers, trainings
of a default configuration, final trainings. Finished cells are on the disk and are never repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pare_tune.compare.cell import CellResult, load_result
from pare_tune.compare.plan import Cell, Plan
from pare_tune.compare.work import begin, failure, finish, forget, is_searched, save, search_for
from pare_tune.data.files import owned
from pare_tune.errors import ClusterError, DataError, PareTuneError, RunBusy, StorageError
from pare_tune.steps import step
from pare_tune.train.build import open_data
from pare_tune.tune.cluster import connect
from pare_tune.tune.folder import check_writable

Tell = Callable[[CellResult, int, int], None]
"""(result, cells done, cells in all)."""
_Finish = Callable[[Sequence[Cell]], Iterator[CellResult]]


def run_plan(
    plan: Plan,
    *,
    tell: Tell | None = None,
    retry: bool = False,
    cache: Path | None = None,
    on_ray: bool = True,
) -> list[CellResult]:
    """Run the cells that have no result yet; the results of all, in the plan's order.

    Args:
        tell: called for each cell that ends now.
        retry: run failed cells again.
        on_ray: spread cells over the cluster of RAY_ADDRESS, or a local one; otherwise they run here, one after
        another.

    Raises:
        RunBusy: another process compares in this folder.
        DataError, StorageError, ClusterError: something that no cell could go on with.
        KeyboardInterrupt: what is finished is kept, and the same plan goes on from there.
    """
    check_writable(plan.folder)
    with owned(plan.folder, otherwise="wait for it, or give another --runs"):
        if retry:
            _forget_failures(plan.cells)
        missing = [cell for cell in plan.cells if load_result(cell.folder) is None]
        if missing:
            _prepare(missing, cache)
            counted = _Counter(len(plan.cells) - len(missing), len(plan.cells), tell)
            if on_ray:
                asked = plan.cells[0].config.search.gpus_per_worker
                with connect(gpus_per_worker=asked, name="pare-tune compare") as cluster:
                    gpus = cluster.gpus_for(asked)
                    _run(missing, lambda cells: _on_ray(cells, cache, gpus), counted, cache)
            else:
                _run(missing, lambda cells: (finish(cell, cache) for cell in cells), counted, cache)
    results = load_results(plan)
    return [result for result in results if result is not None]


def load_results(plan: Plan) -> list[CellResult | None]:
    """The results that are there, in the plan's order."""
    return [load_result(cell.folder) for cell in plan.cells]


class _Counter:
    def __init__(self, done: int, total: int, tell: Tell | None) -> None:
        self._done, self._total, self._tell = done, total, tell

    def __call__(self, result: CellResult) -> None:
        self._done += 1
        if self._tell is not None:
            self._tell(result, self._done, self._total)


def _run(missing: Sequence[Cell], finish_all: _Finish, count: _Counter, cache: Path | None) -> None:
    direct = [cell for cell in missing if not cell.needs_search or is_searched(cell)]
    for result in finish_all(direct):
        count(result)
    for cell in missing:
        if cell not in direct:
            count(_search_and_finish(cell, finish_all, cache))


def _search_and_finish(cell: Cell, finish_all: _Finish, cache: Path | None) -> CellResult:
    begin(cell)
    try:
        search_for(cell, cache=cache)
    except (StorageError, DataError, ClusterError, RunBusy):
        raise
    except PareTuneError as error:
        return save(failure(cell, str(error)), cell)
    return next(finish_all([cell]))


def _on_ray(cells: Sequence[Cell], cache: Path | None, gpus: float) -> Iterator[CellResult]:
    """Results as they come; when one error ends all of it, or the user does, what runs is stopped."""
    import ray

    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=1)(finish)
    waiting = [remote.remote(cell, cache) for cell in cells]
    by_reference = dict(zip(waiting, cells, strict=True))
    try:
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1)
            yield _got(ready[0], by_reference[ready[0]])
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)


def _got(reference: object, cell: Cell) -> CellResult:
    import ray

    try:
        result: CellResult = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, PareTuneError):
            raise cause from None
        raise
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        # Nobody is left to write it.
        return save(failure(cell, f"its process died: {type(error).__name__}"), cell)
    return result


def _prepare(cells: Sequence[Cell], cache: Path | None) -> None:
    """Prepare every task's data once, before processes race for it; mistakes in them show here."""
    opened: set[str] = set()
    with step("opening the tasks, tasks", len({cell.task for cell in cells})) as count:
        for cell in cells:
            if cell.task not in opened:
                open_data(cell.config.trial, cache)
                opened.add(cell.task)
                count()


def _forget_failures(cells: Sequence[Cell]) -> None:
    for cell in cells:
        result = load_result(cell.folder)
        if result is not None and result.state == "failed":
            forget(cell)
