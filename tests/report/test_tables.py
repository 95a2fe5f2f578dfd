from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from pare_tune.report import DataRow, SourceRow, TaskRow, data_table, source_table, stale_lines, task_table
from pare_tune.report.tables import FOLD
from pare_tune.report.words import size


def draw(renderable: object, encoding: str = "utf-8", width: int = 80) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width, force_terminal=False).print(renderable)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def task(
    benchmark: str, name: str, modality: str, inside: str, output: str, metric: str, **fields: Any
) -> TaskRow:
    return TaskRow(
        benchmark=benchmark,
        name=name,
        modality=modality,
        input=inside,
        output=output,
        metric=metric,
        **{"unit": "", "direction": "min", "paper": None, "data": "sample", **fields},
    )


TASKS = [
    task("NAS-Bench-360", "psicov", "dense_2d", "57×512×512", "512×512", "mae_8", unit="Å", paper=0.99),
    task(
        "NAS-Bench-360", "deepsea", "sequence_1d", "4×1000", "36 labels", "multilabel_auroc_error", paper=0.28
    ),
    task("PDEBench", "pde-reaction-diffusion-2d", "dense_2d", "1×128×128", "128×128", "nrmse", paper=8.2e-1),
    *(
        task("OpenML-CC18", f"table-number-{i}", "table", "1×6", "4 classes", "auroc_error")
        for i in range(FOLD + 1)
    ),
]
SOURCES = [
    SourceRow(
        name=name,
        title="photographs of all kinds of things, labelled by what they show",
        kind=kind,
        classes=classes,
        data=data,
        path=path,
        looks_for=("VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt",),
        homepage=f"https://example.org/{name}",
    )
    for name, kind, classes, data, path in [
        ("photographs", "images", 14, "embedded", None),
        ("voc", "masked_images", 1, "missing", None),
        (
            "tiny-imagenet",
            "images",
            200,
            "found",
            "/a/folder/of/some/length/tiny-imagenet-200/train/n01443537",
        ),
        ("imagefolder", "images", None, "your own", None),
    ]
]
DATA = [
    DataRow(
        benchmark=benchmark,
        name=name,
        data=data,
        prepared_bytes=prepared,
        store=None,
        files=files,
        lacking=lacking,
        homepage="https://example.org",
    )
    for benchmark, name, data, prepared, files, lacking in [
        ("NAS-Bench-360", "psicov", "real", 6_812_345, ("protein/deepcov.lst", "protein/deepcov"), ()),
        ("PDEBench", "pde-reaction-diffusion-2d", "solved", None, ("2D_NA.h5",), ("2D_NA.h5",)),
        ("miniDomainNet", "domainnet", "missing", None, (), None),
        ("miniDomainNet", "other", "sample", None, ("one", "two", "three"), None),
    ]
]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_every_table_fits_eighty_columns(encoding: str) -> None:
    for table in (task_table(TASKS), task_table(TASKS, fold=False), source_table(SOURCES), data_table(DATA)):
        assert max(cell_len(line) for line in draw(table, encoding).splitlines()) <= 80


def test_tasks_stand_under_their_benchmark_with_unit_and_the_papers_best() -> None:
    text = draw(task_table(TASKS))
    lines = [line.split() for line in text.splitlines()]
    assert lines[1] == ["NAS-Bench-360"]
    assert lines[2] == ["psicov", "2D", "dense", "57×512×512", "512×512", "mae_8,", "Å", "0.99"]
    assert lines.index(["PDEBench"]) < lines.index(["OpenML-CC18"])
    assert "pde-reaction-diffusion-2d" in text


def test_a_family_is_folded_into_a_paragraph_that_names_all() -> None:
    folded, whole = draw(task_table(TASKS)), draw(task_table(TASKS, fold=False))
    assert "13 tasks: table; auroc_error. One a row: pare-tune tasks openml" in folded
    for row in TASKS:
        assert row.name in folded
        assert row.name in whole
    assert len(folded.splitlines()) < len(whole.splitlines())
    assert len(whole.splitlines()) >= 1 + 3 + len(TASKS)


def test_sources_say_whether_they_are_there_and_what_is_missing_is_found_where() -> None:
    lines = draw(source_table(SOURCES)).splitlines()
    voc = next(line for line in lines if line.startswith("voc"))
    assert voc.split()[1:6] == ["masked", "images", "1", "missing", "VOCdevkit/VOC2012/ImageSets/Segmen"]
    assert lines[-1].strip() == "voc: https://example.org/voc"
    assert "https://example.org/tiny-imagenet" not in "".join(lines)


def test_data_say_what_is_read_and_what_a_release_lacks() -> None:
    lines = {words[0]: words[1:] for words in map(str.split, draw(data_table(DATA)).splitlines()) if words}
    assert lines["psicov"] == ["real", "6.81", "MB", "protein/deepcov.lst", "and", "1", "more"]
    assert lines["pde-reaction-diffusion-2d"] == ["solved", "–", "no", "2D_NA.h5"]
    assert lines["domainnet"] == ["missing", "–", "https://example.org"]
    assert lines["other"] == ["sample", "–", "one", "and", "2", "more"]


def test_what_was_cleaned_is_summed_up() -> None:
    cache = Path("/cache")
    folders = [
        (cache / "prepared" / "a", 1_500_000, "other code"),
        (cache / "sources" / "b", 500_000, "unfinished"),
    ]
    assert stale_lines(cache, folders, dry_run=True) == [
        "prepared/a  1.5 MB  (other code)",
        "sources/b  500 kB  (unfinished)",
        "would free 2 MB in 2 folders of /cache",
    ]
    assert stale_lines(cache, [], dry_run=False) == ["freed 0 bytes in 0 folders of /cache"]


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (999_499, "999 kB"), (999_600, "1 MB"),
        (3_449_000, "3.45 MB"), (206e9, "206 GB"), (5.5e15, "5.5e+03 TB"),
    ],
)  # fmt: skip
def test_sizes(count: int, shown: str) -> None:
    assert size(int(count)) == shown
