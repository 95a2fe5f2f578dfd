"""How long the report of a finished search takes, and how large it is.

    python tests/benchmarks/report.py [--trials 50 200 1000] [--epochs 60]

Searches are made up as in tests/report/conftest.py: parameters with a condition, failures, trials stopped early, and a
confirmation. Targets: 20 s and 6 MB for 200 trials.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

from pare_tune.report import write_comparison, write_report


def made_up() -> ModuleType:
    """The module of made-up searches."""
    path = Path(__file__).parents[1] / "report" / "conftest.py"
    spec = importlib.util.spec_from_file_location("made_up", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["made_up"] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[50, 200, 1000])
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    searches = made_up()
    print("| trials × epochs | seconds | MB |")
    print("|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for count in options.trials:
            s = searches.confirmed(count, epochs=options.epochs, run=Path(folder))
            started = time.perf_counter()
            path = write_report(Path(folder), s)
            took = time.perf_counter() - started
            print(f"| {count} × {options.epochs} | {took:.1f} | {path.stat().st_size / 1e6:.2f} |")
        runs = [
            searches.confirmed(200, epochs=options.epochs, run=Path(folder) / f"run-{i}") for i in range(5)
        ]
        started = time.perf_counter()
        path = write_comparison(runs, Path(folder) / "compare.html")
        took = time.perf_counter() - started
        print(f"| 5 runs of 200 compared | {took:.1f} | {path.stat().st_size / 1e6:.2f} |")


if __name__ == "__main__":
    main()
