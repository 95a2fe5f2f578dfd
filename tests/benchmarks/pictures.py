"""README's pictures of a search: its terminal as SVG, its report as PNG.

    python tests/benchmarks/pictures.py runs/psicov-20261128-090148

The report is drawn by a headless Chromium (`--browser`), scaled down and given few colours.
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
from pare_tune.tune.run import snapshot

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1200, 1250
COLOURS = 64


def draw_terminal(run: Path, out: Path) -> None:
    console = Console(file=io.StringIO(), record=True, width=100, height=40, force_terminal=True)
    console.print(SearchView(snapshot(run)))
    console.save_svg(str(out), title="pare-tune --task psicov --budget 50")


def draw_report(run: Path, out: Path, browser: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "report.png"
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--window-size={WIDTH},{HEIGHT}", "--virtual-time-budget=10000", f"--screenshot={shot}",
                (run / "report.html").absolute().as_uri(),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        with Image.open(shot) as image:
            small = image.convert("RGB").resize((WIDTH * 2 // 3, HEIGHT * 2 // 3), Image.Resampling.LANCZOS)
    small.quantize(COLOURS).save(out, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--browser", default="chromium")
    args = parser.parse_args()
    draw_terminal(args.run, HERE / "terminal.svg")
    draw_report(args.run, HERE / "report.png", args.browser)
    for name in ("terminal.svg", "report.png"):
        print(f"{HERE / name}: {(HERE / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
