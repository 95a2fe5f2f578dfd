"""Source `caltech101`: photographs of 101 kinds of things and a class of anything else.

Fei-Fei, Fergus and Perona, 2004, https://doi.org/10.22002/D1.20086. Read as released, one folder a class, or by the
lists that the official PaRe code expects, whose lines are a file below the lists' folder and a label. Of these the
training list is read, since that code's proxy loader takes no other.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final

from pare_tune.data import images
from pare_tune.data.arrays import read_text
from pare_tune.errors import DataError
from pare_tune.sources import labelled
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.labelled import LabelledFiles
from pare_tune.sources.stored import find_release, image_size

NUM_CLASSES: Final = 102

_FOLDER, _LIST = "101_ObjectCategories", "image_list/train.txt"


def read_list(path: Path) -> LabelledFiles:
    """The files of `image_list/train.txt`, below the folder that holds `image_list`.

    A class is called as the folder that its first file lies in.

    Raises:
        DataError: a line is not a relative path and a label from 0 to 101, or leads out of the folder.
    """
    root = path.parent.parent
    files: list[Path] = []
    labels: list[int] = []
    names: dict[int, str] = {}
    for number, line in enumerate(read_text(path, "write the list anew").splitlines(), start=1):
        if not line.strip():
            continue
        name, label = _entry(line)
        if name is None:
            raise DataError(
                f"{path}, line {number}: expected a file below {root} and a label from 0 to {NUM_CLASSES - 1}, "
                f"found {line[:80]!r}; write the list anew"
            )
        files.append(root / name)
        labels.append(label)
        names.setdefault(label, name.parent.name)
    if len(names) < 2:
        raise DataError(f"{path} must list images of at least two classes, found {len(names)}")
    return LabelledFiles(tuple(names.get(i, f"class {i}") for i in range(max(names) + 1)), files, labels)


def _entry(line: str) -> tuple[PurePosixPath | None, int]:
    text, _, label = line.strip().rpartition(" ")
    name = PurePosixPath(text.strip())
    inside = bool(text.strip()) and not name.is_absolute() and ".." not in name.parts and "\0" not in text
    is_class = label.isascii() and label.isdigit() and len(label) < 4 and int(label) < NUM_CLASSES
    return (name, int(label)) if inside and is_class else (None, -1)


def _open_caltech101(request: SourceRequest) -> SourceData:
    image_size(request)  # said before the files are looked for
    release = find_release(request, CALTECH101)
    photographs = labelled.class_folders(release) if release.is_dir() else read_list(release)
    return labelled.open_labelled(
        CALTECH101,
        request,
        photographs,
        provenance=f"Caltech-101 (Fei-Fei and others, 2004), {len(photographs.files):,} photographs",
    )


CALTECH101 = Source(
    name="caltech101",
    title="Caltech-101: 9,144 photographs of 102 classes, background included",
    kind=SourceKind.IMAGES,
    classes=NUM_CLASSES,
    embedded=False,
    open=_open_caltech101,
    homepage="https://doi.org/10.22002/D1.20086",
    releases=(
        *(home + _FOLDER for home in ("", "caltech101/", "caltech-101/")),
        *(home + _LIST for home in ("", "caltech101/", "caltech-101/")),
    ),
    uses=(labelled, images),
)
