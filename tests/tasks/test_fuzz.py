"""Damaged and hostile files: whatever the bytes, a reader gives what it should or refuses, soon, in little memory.

Each format that a loader reads has a tiny valid release here, of which one file is damaged in 180 seeded ways:
flipped bits, cuts, insertions, zeroed blocks, edited headers, swapped and repeated parts, absurd numbers.
PARE_TUNE_FUZZ says how many ways instead of the default.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import re
import resource
import signal
import sys
import traceback
import wave
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat

from pare_tune.data.images import read_square
from pare_tune.data.store import Record
from pare_tune.errors import PareTuneError
from pare_tune.sources.caltech101 import read_list
from pare_tune.sources.conll2003 import read_words
from pare_tune.sources.textfile import rows
from pare_tune.sources.voc import read_pair
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Task
from pare_tune.tasks.cifar100 import CIFAR100
from pare_tune.tasks.cosmic import COSMIC
from pare_tune.tasks.darcy import DARCY
from pare_tune.tasks.deepsea import DEEPSEA
from pare_tune.tasks.deepsea import FILE as DEEPSEA_FILE
from pare_tune.tasks.domainnet import FOLDER as DOMAINS
from pare_tune.tasks.domainnet import REAL
from pare_tune.tasks.ecg import ECG
from pare_tune.tasks.fsd50k import FSD50K
from pare_tune.tasks.load import _checked
from pare_tune.tasks.ninapro import NINAPRO
from pare_tune.tasks.own.read import open_data
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.pdes import ADVECTION, PDE_DARCY, PDE_DIFFUSION_SORPTION
from pare_tune.tasks.psicov import PSICOV
from pare_tune.tasks.satellite import SATELLITE, TEST_FILE, TRAIN_FILE
from pare_tune.tasks.spherical import SPHERICAL
from pare_tune.tasks.tables import Form, read_splits

MUTATIONS = int(os.environ.get("PARE_TUNE_FUZZ", "180"))
SECONDS = 5.0
"""Of one core's time, for one damaged file."""
MEMORY = 512 << 20
"""Address space that one damaged file may take; the valid ones take less than 1 MB."""

Layout = Mapping[str, tuple[str, int]]
"""Field → dtype and number of axes."""


@dataclass(frozen=True)
class Case:
    """One format, as one loader reads it."""

    name: str
    write: Callable[[Path], None]
    """Makes a valid release in an empty folder."""
    victims: tuple[str, ...]
    """Its files that are damaged."""
    read: Callable[[Path], Iterable[Record]]
    pack: Callable[[bytes], bytes] | None = None
    """A container's content is damaged before it is packed, where checksums would catch the rest."""
    unpack: Callable[[bytes], bytes] | None = None


def of_task(task: Task) -> Callable[[Path], Iterator[Record]]:
    """Every record of a task, through the gate that `load_task` puts before the store."""

    def read(root: Path) -> Iterator[Record]:
        for split, records in task.read(root, 0).items():
            yield from _checked(task, split, records, count=lambda: None)

    return read


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- arrays and pickles


def write_ninapro(root: Path) -> None:
    (root / "ninaPro").mkdir()
    for split in ("train", "val", "test"):
        np.save(root / f"ninaPro/ninapro_{split}.npy", rng().normal(size=(3, 52, 16)).astype(np.float32))
        np.save(root / f"ninaPro/label_{split}.npy", rng().integers(0, 18, 3))


def write_cosmic(root: Path) -> None:
    (root / "cosmic").mkdir()
    for split, numbers in (("train", range(24)), ("test", range(24, 27))):
        names = []
        for i in numbers:
            visit = root / "cosmic" / "npy" / f"visit{i % 5}"
            visit.mkdir(parents=True, exist_ok=True)
            stamp = np.stack(
                [rng(i).normal(size=(16, 16)), rng(i).integers(0, 2, (16, 16)), np.zeros((16, 16))]
            )
            np.save(visit / f"1_{i}.npy", stamp.astype(np.float32))
            np.save(visit / "sky.npy", np.array([30.0]))
            names.append(f"./cosmic/npy/visit{i % 5}/1_{i}.npy")
        np.save(root / "cosmic" / f"{split}_dirs.npy", np.array(names))


def write_satellite(root: Path) -> None:
    for name in (TRAIN_FILE, TEST_FILE):
        content = {"data": rng().normal(size=(12, 46)).astype(np.float32), "label": rng().integers(1, 25, 12)}
        np.save(root / name, np.array(content, object), allow_pickle=True)


def write_psicov(root: Path) -> None:
    n = 6
    for part, names in (("deepcov", ("a", "b", "c", "d", "e")), ("psicov", ("t",))):
        for folder in ("features", "distance"):
            (root / "protein" / part / folder).mkdir(parents=True)
        (root / "protein" / f"{part}.lst").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            shapes = {"ss": (3, n), "pssm": (n, 22), "sa": (n,), "entropy": (n,)}
            shapes |= dict.fromkeys(("ccmpred", "freecon", "potential"), (n, n))
            features = {key: rng().random(shape).astype(np.float16) for key, shape in shapes.items()}
            folder_ = root / "protein" / part
            (folder_ / "features" / f"{name}.pkl").write_bytes(pickle.dumps({"seq": "A" * n, **features}))
            triple = np.empty(3, object)
            triple[:] = [n, "A" * n, 4 + rng().random((n, n))]
            np.save(folder_ / "distance" / f"{name}-cb.npy", triple, allow_pickle=True)


def write_deepsea(root: Path) -> None:
    (root / DEEPSEA_FILE).write_bytes(deepsea_archive(deepsea_array("x_train")))


def deepsea_array(name: str) -> bytes:
    buffer = io.BytesIO()
    bases = np.zeros((2, 1000, 4), np.uint8)
    bases[:, np.arange(1000), rng().integers(0, 4, 1000)] = 1
    np.save(buffer, bases if name.startswith("x") else rng().integers(0, 2, (2, 36)).astype(np.uint8))
    return buffer.getvalue()


def deepsea_archive(x_train: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for split in ("train", "val", "test"):
            for name in (f"x_{split}", f"y_{split}"):
                archive.writestr(f"{name}.npy", x_train if name == "x_train" else deepsea_array(name))
    return buffer.getvalue()


def write_cifar(root: Path, protocol: int) -> None:
    (root / "cifar-100-python").mkdir()
    for name in ("train", "test"):
        content = {
            b"data": rng().integers(0, 3, (6, 3072), dtype=np.uint8),
            b"fine_labels": rng().integers(0, 100, 6).tolist(),
            b"filenames": [b"a.png", "b", (1, None)],
        }
        (root / "cifar-100-python" / name).write_bytes(pickle.dumps(content, protocol))


def write_ecg(root: Path) -> None:
    signals = np.empty(16, object)
    signals[:] = [rng(i).normal(size=1000 + 7 * i).astype(np.float32) for i in range(16)]
    content = {"data": signals, "label": np.array(["N", "A", "O", "~"] * 4, object)}
    (root / "challenge2017.pkl").write_bytes(pickle.dumps(content, 4))


def write_spherical(root: Path) -> None:
    images = np.zeros((5, 3, 60, 60), np.uint8)
    part = {"images": images, "labels": rng().integers(0, 100, 5)}
    (root / "s2_cifar100.gz").write_bytes(gzip.compress(pickle.dumps({"train": part, "test": part}, 2)))


# ---- HDF5, MATLAB


def write_advection(root: Path) -> None:
    with h5py.File(root / "1D_Advection_Sols_beta0.4.hdf5", "w") as file:
        file["tensor"] = rng().normal(size=(20, 2, 8)).astype(np.float32)
        file["x-coordinate"] = np.arange(8, dtype=np.float32)
        file["t-coordinate"] = np.array([0, 2], np.float32)


def write_darcy_chunked(root: Path) -> None:
    with h5py.File(root / "2D_DarcyFlow_beta0.1_Train.hdf5", "w") as file:
        for name, shape in (("nu", (20, 8, 8)), ("tensor", (20, 1, 8, 8))):
            values = rng().random(shape).astype(np.float32)
            file.create_dataset(name, data=values, chunks=(5, *shape[1:]), compression="gzip", shuffle=True)
        file["x-coordinate"] = file["y-coordinate"] = np.arange(8, dtype=np.float32)


def write_sorption(root: Path) -> None:
    with h5py.File(root / "1D_diff-sorp_NA_NA.h5", "w") as file:
        for i in range(20):
            file[f"{i:04}/data"] = rng(i).random((101, 8, 1)).astype(np.float32)
            file[f"{i:04}/grid/x"] = np.arange(8, dtype=np.float32)
            file[f"{i:04}/grid/t"] = np.linspace(0, 500, 101, dtype=np.float32)


def write_darcy(root: Path, kind: str) -> None:
    for number in (1, 2):
        path = root / f"piececonst_r421_N1024_smooth{number}.mat"
        fields = {name: rng(i).random((20, 8, 8)) for i, name in enumerate(("coeff", "sol"))}
        if kind == "7.3":
            with h5py.File(path, "w", userblock_size=512) as file:
                for name, value in fields.items():
                    file[name] = value.T
        else:
            savemat(path, fields, do_compression=kind == "7")


# ---- tables

TABLE = Form(stems=("t",), homepage="https://example.org", target="class", rows=40, features=3, classes=2)


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "a": rng().normal(size=40).round(3),
            "b": rng().choice(["x", "y", "z"], 40),
            "c": rng().integers(0, 9, 40),
            "class": ["u", "v"] * 20,
        }
    )


def write_table(root: Path, suffix: str) -> None:
    table = frame()
    if suffix == "csv":
        table.to_csv(root / "t.csv", index=False)
    elif suffix == "parquet":
        table.to_parquet(root / "t.parquet", index=False)
    else:
        head = "@relation t\n@attribute a numeric\n@attribute b {x,y,z}\n@attribute c integer\n@attribute class {u,v}\n"
        body = "".join(",".join(map(str, row)) + "\n" for row in table.itertuples(index=False))
        (root / "t.arff").write_text(f"% made here\n{head}@data\n{body}")


def read_table(root: Path) -> Iterator[Record]:
    task = get_task("wdbc")
    for split, records in read_splits(TABLE, "tokens", root, 0).items():
        yield from _checked(task, split, records, count=lambda: None)


# ---- sound, pictures, text


def write_sounds(root: Path) -> None:
    folder = root / "audio"
    (folder / "chunks").mkdir(parents=True)
    (folder / "chunks" / "lbl_map.json").write_text(json.dumps({f"label {i}": i for i in range(200)}))
    for i, table in enumerate(("tr.csv", "val.csv", "eval.csv")):
        (folder / f"f{i}").mkdir()
        text = f"files,labels,ext\ndata/f{i}/1_1.wav,label {i},{i}1\ndata/f{i}/2_1.wav,label 7,{i}2\n"
        (folder / "chunks" / table).write_text(text)
        for j in (1, 2):
            with wave.open(str(folder / f"f{i}" / f"{j}_1.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(22050)
                file.writeframes(rng(i).integers(-9000, 9000, 400).astype("<i2").tobytes())


def picture(seed: int) -> Image.Image:
    return Image.fromarray(rng(seed).integers(0, 256, (24, 30, 3), dtype=np.uint8))


def write_domain(root: Path) -> None:
    for part, count in (("train", 6), ("test", 2)):
        lines = []
        for i in range(count):
            name = f"real/{part}/{i}.{'png' if i % 2 else 'jpg'}"
            (root / DOMAINS / name).parent.mkdir(parents=True, exist_ok=True)
            picture(i).save(root / DOMAINS / name)
            lines.append(f"{name} {i}\n")
        (root / DOMAINS / "splits_mini").mkdir(exist_ok=True)
        (root / DOMAINS / "splits_mini" / f"real_{part}.txt").write_text("".join(lines))


def domain_files(*names: str) -> tuple[str, ...]:
    return tuple(f"{DOMAINS}/{name}" for name in names)


def write_picture(root: Path, suffix: str, **options: Any) -> None:
    image = picture(0).quantize(16) if suffix in ("gif", "palette.png") else picture(0)
    image.save(root / f"a.{suffix}", **options)


def read_picture(root: Path, suffix: str) -> Iterator[Record]:
    yield {"x": read_square(root / f"a.{suffix}", 8), "y": np.asarray(0)}


def write_voc(root: Path) -> None:
    picture(0).save(root / "a.jpg")
    mask = Image.fromarray(rng().integers(0, 20, (24, 30), dtype=np.uint8))
    mask.putpalette([v for i in range(256) for v in (i, i, i)])
    mask.save(root / "a.png")


def read_voc(root: Path) -> Iterator[Record]:
    x, y = read_pair(root / "a.jpg", root / "a.png", 8)
    assert set(np.unique(y)) <= {0, 1}
    yield {"x": x, "y": y}


NEWS = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\nGerman JJ I-NP I-MISC\n\nPeter NNP I-NP I-PER\n"


def read_news(root: Path) -> Iterator[Record]:
    words, entities = read_words(root / "eng.train")
    assert len(words) == len(entities)
    yield {"x": np.array(entities), "y": np.asarray(0)}


def write_list(root: Path) -> None:
    (root / "image_list").mkdir()
    (root / "image_list/train.txt").write_text(
        "".join(f"train/class_{i}/image_{i}.jpg {i}\n" for i in range(20))
    )


def read_names(root: Path) -> Iterator[Record]:
    found = read_list(root / "image_list/train.txt")
    assert all(file.is_relative_to(root) and ".." not in file.parts for file in found.files)
    yield {"x": np.asarray(len(found.files)), "y": np.array(found.labels)}


def read_texts(root: Path, name: str) -> Iterator[Record]:
    for label, text in rows(root / name):
        assert label
        assert isinstance(text, str)
        yield {"x": np.asarray(len(text)), "y": np.asarray(0)}


# ---- data of the user's own


def write_own(root: Path) -> None:
    inputs = rng().normal(size=(12, 5))
    np.savez(root / "x.npz", x=inputs)
    with h5py.File(root / "x.h5", "w") as file:
        file["x"] = inputs
    table = pd.DataFrame({f"f{i}": inputs[:, i] for i in range(5)})
    table["y"] = ["a", "b"] * 6
    table.to_csv(root / "x.csv", index=False)
    table.to_parquet(root / "x.parquet", index=False)
    np.save(root / "y.npy", np.arange(12) % 2)


def read_own(root: Path, inputs: str) -> Iterator[Record]:
    is_table = inputs.endswith(("csv", "parquet"))
    at = {"file": root / inputs.partition(":")[0], "key": inputs.partition(":")[2] or None}
    target = {"file": at["file"], "columns": ("y",)} if is_table else {"file": root / "y.npy"}
    spec = OwnData.model_validate({"name": "fuzz", "kind": "point", "input": at, "target": target})
    opened = open_data(spec)
    for x in opened.inputs.each(np.arange(len(opened.inputs))):
        # Any shape will do; gaps and infinities are the survey's to tell, before anything is trained on.
        yield {"x": np.nan_to_num(np.ravel(x).astype(np.float64)), "y": np.asarray(0)}


PICTURES = {"gif": {}, "bmp": {}, "ppm": {}, "tif": {"compression": "tiff_lzw"}, "webp": {}}

CASES = [
    Case("npy", write_ninapro, ("ninaPro/ninapro_train.npy", "ninaPro/label_val.npy"), of_task(NINAPRO)),
    Case(
        "npy of paths",
        write_cosmic,
        ("cosmic/train_dirs.npy", "cosmic/npy/visit1/1_6.npy", "cosmic/npy/visit1/sky.npy"),
        of_task(COSMIC),
    ),
    Case(
        "npy of objects",
        write_psicov,
        ("protein/deepcov/distance/b-cb.npy", "protein/deepcov/features/c.pkl", "protein/deepcov.lst"),
        of_task(PSICOV),
    ),
    Case("npy of a dict", write_satellite, (TRAIN_FILE,), of_task(SATELLITE)),
    Case("npz", write_deepsea, (DEEPSEA_FILE,), of_task(DEEPSEA)),
    Case(
        "npy in npz",
        write_deepsea,
        (DEEPSEA_FILE,),
        of_task(DEEPSEA),
        pack=deepsea_archive,
        unpack=lambda _: deepsea_array("x_train"),
    ),
    *(
        Case(f"pickle {p}", partial(write_cifar, protocol=p), ("cifar-100-python/train",), of_task(CIFAR100))
        for p in (0, 2, 5)
    ),
    Case("pickle of objects", write_ecg, ("challenge2017.pkl",), of_task(ECG)),
    Case("gzip", write_spherical, ("s2_cifar100.gz",), of_task(SPHERICAL)),
    Case(
        "pickle in gzip",
        write_spherical,
        ("s2_cifar100.gz",),
        of_task(SPHERICAL),
        pack=partial(gzip.compress, compresslevel=1),
        unpack=gzip.decompress,
    ),
    Case("hdf5", write_advection, ("1D_Advection_Sols_beta0.4.hdf5",), of_task(ADVECTION)),
    Case(
        "hdf5 in chunks",
        write_darcy_chunked,
        ("2D_DarcyFlow_beta0.1_Train.hdf5",),
        of_task(PDE_DARCY),
    ),
    Case(
        "hdf5 of groups",
        write_sorption,
        ("1D_diff-sorp_NA_NA.h5",),
        of_task(PDE_DIFFUSION_SORPTION),
    ),
    *(
        Case(
            f"mat {kind}",
            partial(write_darcy, kind=kind),
            ("piececonst_r421_N1024_smooth1.mat",),
            of_task(DARCY),
        )
        for kind in ("5", "7", "7.3")
    ),
    *(
        Case(suffix, partial(write_table, suffix=suffix), (f"t.{suffix}",), read_table)
        for suffix in ("csv", "arff", "parquet")
    ),
    Case(
        "wav",
        write_sounds,
        ("audio/f0/2_1.wav", "audio/f1/1_1.wav"),
        of_task(FSD50K),
    ),
    Case(
        "csv and json of sounds",
        write_sounds,
        ("audio/chunks/tr.csv", "audio/chunks/eval.csv", "audio/chunks/lbl_map.json"),
        of_task(FSD50K),
    ),
    Case(
        "jpeg and png",
        write_domain,
        domain_files("real/train/0.jpg", "real/train/1.png"),
        of_task(REAL),
    ),
    Case(
        "list of pictures",
        write_domain,
        domain_files("splits_mini/real_train.txt"),
        of_task(REAL),
    ),
    *(
        Case(
            suffix,
            partial(write_picture, suffix=suffix, **options),
            (f"a.{suffix}",),
            partial(read_picture, suffix=suffix),
        )
        for suffix, options in {**PICTURES, "jpg": {"progressive": True}, "palette.png": {}}.items()
    ),
    Case("jpeg with png mask", write_voc, ("a.jpg", "a.png"), read_voc),
    Case("conll", lambda root: (root / "eng.train").write_text(NEWS) and None, ("eng.train",), read_news),
    Case("list of names", write_list, ("image_list/train.txt",), read_names),
    Case(
        "text in csv",
        lambda root: (root / "a.csv").write_text('text,label\n"a, ""b""",x\nc d,y\n' * 4) and None,
        ("a.csv",),
        partial(read_texts, name="a.csv"),
    ),
    Case(
        "text in lines",
        lambda root: (root / "a.txt").write_text("x\ta b\ny\tc d\n" * 4) and None,
        ("a.txt",),
        partial(read_texts, name="a.txt"),
    ),
    *(
        Case(f"own {name}", write_own, (name.partition(":")[0],), partial(read_own, inputs=name))
        for name in ("x.npz:x", "x.h5:x", "x.csv", "x.parquet")
    ),
]


# ---- damage

NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
WORDS = (b"0", b"-1", b"1e999", b"nan", b"inf", b"99999999999999999999", b"1000000000", b"1.5", b"", b"\xff")


def flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def insert(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.randbytes(chance.randint(1, 64))


def zero(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    block = slice(at, at + chance.randint(1, 256))
    data[block] = bytes(len(data[block]))


def edit_header(data: bytearray, chance: random.Random) -> None:
    length = min(len(data), chance.choice([64, 256, 1024, 4096]))
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(length)] = chance.randrange(256)


def swap(data: bytearray, chance: random.Random) -> None:
    width = min(chance.randint(1, 256), len(data) // 2 + 1)
    a, b = (chance.randrange(len(data) - width + 1) for _ in range(2))
    data[a : a + width], data[b : b + width] = data[b : b + width], data[a : a + width]


def repeat(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    part = data[at : at + chance.randint(1, 256)]
    at = chance.randrange(len(data) + 1)
    data[at:at] = part


def claim(data: bytearray, chance: random.Random) -> None:
    """A number of any size where there may be a length."""
    width = chance.choice([1, 2, 4, 8])
    value = chance.choice(NUMBERS) & ((1 << 8 * width) - 1)
    reach = min(len(data), chance.choice([128, 1024, len(data)]))
    at = chance.randrange(max(1, reach - width + 1))
    data[at : at + width] = value.to_bytes(width, chance.choice(["little", "big"]))


def claim_in_words(data: bytearray, chance: random.Random) -> None:
    """The same where lengths, classes and values are written in digits: .npy headers, tables, lists."""
    found = [m.span() for m in re.finditer(rb"[0-9.]+", bytes(data[:4096]))]
    if found:
        low, high = chance.choice(found)
        data[low:high] = chance.choice(WORDS)


DAMAGES = (flip, cut, insert, zero, edit_header, swap, repeat, claim, claim_in_words)


def damaged(case: Case, content: bytes, number: int) -> tuple[bytes, str]:
    chance = random.Random(f"{case.name} {number}")
    damage = DAMAGES[number % len(DAMAGES)]
    data = bytearray(content if case.unpack is None else case.unpack(content))
    damage(data, chance)
    return bytes(data) if case.pack is None else case.pack(bytes(data)), damage.__name__


# ---- what may come of it


class _TooLong(BaseException):
    """Not an Exception, so that no reader takes it for damage of the file."""


@contextmanager
def bounded() -> Iterator[None]:
    """Stops after `SECONDS` of this process's time, and refuses `MEMORY` more than it has now (Linux)."""

    def stop(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGVTALRM, before)


def layout(records: Iterable[Record]) -> Layout:
    """Fields, dtypes and axes of all records, which must be the same in each; their floats must be finite."""
    found: dict[str, tuple[str, int]] = {}
    for record in records:
        arrays = {name: np.asarray(value) for name, value in record.items()}
        here = {name: (array.dtype.str, array.ndim) for name, array in arrays.items()}
        found = found or here
        assert here == found, f"records differ: {here} after {found}"
        for name, array in arrays.items():
            assert array.dtype.kind != "f" or np.isfinite(array).all(), f"{name} is not finite"
    return found


def overwrite(path: Path, content: bytes) -> None:
    """In place: some file systems wait for the disk where a file is emptied and written anew."""
    with path.open("r+b") as stream:
        stream.write(content)
        stream.truncate()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_damaged_file_is_read_rightly_or_refused(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path)
    expected = layout(case.read(tmp_path))
    assert expected
    contents = {name: (tmp_path / name).read_bytes() for name in case.victims}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: Counter[str] = Counter()
    holes: dict[tuple[str, str], str] = {}
    for number in range(MUTATIONS):
        name = case.victims[number // len(DAMAGES) % len(case.victims)]
        content, damage = damaged(case, contents[name], number)
        overwrite(tmp_path / name, content)
        try:
            with bounded():
                found = layout(case.read(tmp_path))
            # Nothing at all is for the store to refuse, which takes no empty split.
            assert found in (expected, {}), f"read as {found}, not {expected}"
            outcomes["read"] += 1
        except PareTuneError as error:
            outcomes["refused" if str(error) else "silent"] += 1
        except (Exception, _TooLong) as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f for f in frames if "pare_tune" in f.filename] or frames
            where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
            holes.setdefault((type(error).__name__, where), f"{damage} {number} of {name}: {error!r:.200}")
        finally:
            overwrite(tmp_path / name, contents[name])
    assert not holes, "\n".join(f"{kind} at {where}: {what}" for (kind, where), what in holes.items())
    assert outcomes["refused"] > 0
    assert not outcomes["silent"]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    assert grown < MEMORY, f"a damaged file took {grown >> 20} MB"


def spin() -> None:
    while True:
        pass


def test_the_bounds_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SECONDS", 0.05)
    with pytest.raises(_TooLong), bounded():
        spin()
    if sys.platform == "linux":
        with pytest.raises(MemoryError), bounded():
            np.empty(2 * MEMORY, np.uint8)
    np.empty(2 * MEMORY, np.uint8)


def test_every_way_to_damage_a_file_is_seeded_and_damages_it() -> None:
    content = bytes(range(256)) * 8
    case = Case("bytes", lambda _: None, (), lambda _: [])
    for number in range(90):
        first, damage = damaged(case, content, number)
        assert damaged(case, content, number) == (first, damage)
    changed = Counter(
        damage for i in range(900) for new, damage in [damaged(case, content, i)] if new != content
    )
    assert min(changed[damage.__name__] for damage in DAMAGES) > 80
