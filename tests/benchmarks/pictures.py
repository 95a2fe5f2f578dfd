"""Pictures of a search (its terminal as SVG, its report as PNG), of a notebook and of the page of a served model.

    python tests/benchmarks/pictures.py runs/psicov-20261128-090148
    python tests/benchmarks/pictures.py --notebook                          # pip install ipykernel ipywidgets nbconvert
    python tests/benchmarks/pictures.py --interface runs/psicov-20261128-090148/final

Pages are drawn by a headless Chromium (`--browser`), scaled down and given few colours.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tempfile
from pathlib import Path

from PIL import Image
from rich.console import Console

from pare_tune.report.view import SearchView
from pare_tune.serving.deploy import Serving, serving
from pare_tune.tune.run import snapshot

HERE = Path(__file__).parent
WIDTH = 1200
COLOURS = 64
CELLS = (
    "import pare_tune\n\nresult = pare_tune.tune(task='balance-scale', budget=6, settings={'train.epochs': 9})",
    "result.trials[['number', 'state', 'best_score', 'best_epoch', 'method', 'optimizer.lr', 'k.start']]",
)


def draw_terminal(run: Path, out: Path) -> None:
    console = Console(file=io.StringIO(), record=True, width=100, height=40, force_terminal=True)
    console.print(SearchView(snapshot(run)))
    console.save_svg(str(out), title="pare-tune --task psicov --budget 50")


def draw_page(url: str, out: Path, browser: str, height: int = 1250) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--window-size={WIDTH},{height}", "--virtual-time-budget=10000", f"--screenshot={shot}", url,
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        with Image.open(shot) as image:
            small = image.convert("RGB").resize((WIDTH * 2 // 3, height * 2 // 3), Image.Resampling.LANCZOS)
    small.quantize(COLOURS).save(out, optimize=True)


def draw_notebook(out: Path, browser: str) -> None:
    """Run the cells in a kernel, and draw what Jupyter's own exporter shows of them."""
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import ExecutePreprocessor
    from nbformat.v4 import new_code_cell, new_notebook

    book = new_notebook(cells=[new_code_cell(text) for text in CELLS])
    with tempfile.TemporaryDirectory() as folder:
        ExecutePreprocessor(timeout=900).preprocess(book, {"metadata": {"path": folder}})
        page = Path(folder) / "notebook.html"
        page.write_text(HTMLExporter().from_notebook_node(book)[0], encoding="utf-8")
        draw_page(page.as_uri(), out, browser, height=680)


def draw_interface(model: Path, out: Path, browser: str) -> None:
    asked = Serving(model=model.absolute(), token="token")
    with serving(asked):
        draw_page(f"http://{asked.host}:{asked.port}/docs", out, browser, height=560)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="a run folder")
    parser.add_argument("--notebook", action="store_true")
    parser.add_argument("--interface", type=Path, metavar="MODEL", help="a final/ folder")
    parser.add_argument("--browser", default="chromium")
    args = parser.parse_args()
    drawn = []
    if args.run is not None:
        drawn += [HERE / "terminal.svg", HERE / "report.png"]
        draw_terminal(args.run, drawn[-2])
        draw_page((args.run / "report.html").absolute().as_uri(), drawn[-1], args.browser)
    if args.notebook:
        drawn.append(HERE / "notebook.png")
        draw_notebook(drawn[-1], args.browser)
    if args.interface is not None:
        drawn.append(HERE / "interface.png")
        draw_interface(args.interface, drawn[-1], args.browser)
    for path in drawn:
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
