from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pare_tune.errors import DataError
from pare_tune.sources import photographs as module
from pare_tune.sources.base import SourceRequest
from pare_tune.sources.photographs import PHOTOGRAPHS, Photograph, crops, digest, photographs


def flat(name: str, colour: tuple[int, int, int], shape: tuple[int, int] = (60, 80)) -> Photograph:
    return Photograph(name, np.full((*shape, 3), colour, dtype=np.uint8), "CC0")


def test_photographs_are_distinct_rgb_and_free() -> None:
    photos = photographs()
    assert len(photos) == len({hashlib.sha256(p.image.tobytes()).digest() for p in photos}) == 14
    assert all(p.image.ndim == 3 and p.image.shape[2] == 3 and p.image.dtype == np.uint8 for p in photos)
    assert all(p.licence.startswith(("CC0 (", "public domain (")) for p in photos)


def test_a_photograph_that_scikit_image_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.FILES, "gone", ("gone.png", "CC0 (nobody)"))
    with pytest.raises(DataError, match=r"data/gone\.png.*reinstall scikit-image"):
        photographs()


def test_crops_have_the_asked_form_and_balanced_labels() -> None:
    images, labels = crops(photographs(), 60, 32, seed=0)
    assert images.shape == (60, 3, 32, 32)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    counts = np.bincount(labels, minlength=14)
    assert counts.max() - counts.min() <= 1


def test_crops_repeat_with_the_seed_and_differ_without() -> None:
    photos = photographs()
    first, again, other = (crops(photos, 20, 16, seed=s)[0] for s in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_labels_name_the_photograph() -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    photos = [flat(str(i), colour) for i, colour in enumerate(colours)]
    images, labels = crops(photos, 30, 8, seed=0)
    assert (images.mean(axis=(2, 3)).argmax(axis=1) == labels).all()


def test_without_jitter_a_crop_is_a_resized_part_perhaps_mirrored() -> None:
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], 256, axis=0).repeat(3, axis=2)
    images, _ = crops([Photograph("ramp", ramp, "CC0")], 40, 16, seed=0, jitter=0.0)
    rising = np.diff(images[:, 0, 8].astype(int), axis=1)
    assert ((rising >= 0).all(axis=1) | (rising <= 0).all(axis=1)).all()
    mirrored = (rising.sum(axis=1) < 0).mean()
    assert 0.2 < mirrored < 0.8


def jitter_step_by_step(
    pixels: npt.NDArray[np.uint8], brightness: float, contrast: float, saturation: float
) -> npt.NDArray[np.uint8]:
    luma = np.array([0.299, 0.587, 0.114])
    x = pixels.astype(float) * brightness
    mean = (x @ luma).mean()
    x = mean + contrast * (x - mean)
    grey = (x @ luma)[..., None]
    x = grey + saturation * (x - grey)
    return np.clip(x + 0.5, 0, 255).astype(np.uint8).transpose(2, 0, 1)


def test_jitter_equals_its_three_steps() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    changed = module._jitter(pixels, 0.4, np.random.default_rng(1))
    factors = np.random.default_rng(1).uniform(0.6, 1.4, (3, 5))
    expected = [jitter_step_by_step(image, *factors[:, i]) for i, image in enumerate(pixels)]
    assert np.abs(changed.astype(int) - np.stack(expected)).max() <= 1  # float32 may round otherwise


def test_the_digest_sees_one_pixel() -> None:
    photo = flat("a", (1, 2, 3))
    changed = Photograph("a", photo.image.copy(), "CC0")
    changed.image[5, 5, 0] += 1
    assert digest([photo]) == digest([flat("a", (1, 2, 3))]) != digest([changed])


def test_the_source_holds_what_crops_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NUM_CROPS", 30)
    monkeypatch.setattr(module, "_CROPS_AT_ONCE", 20)
    source = PHOTOGRAPHS.open(SourceRequest(cache=tmp_path, image_size=16))
    assert len(source.dataset) == 30
    assert source.num_classes == len(source.class_names) == 14
    labels = [int(source.dataset[i]["y"]) for i in range(30)]
    expected = [
        crops(photographs(), n, 16, module.chunk_seed(0, start))[1] for start, n in ((0, 20), (20, 10))
    ]
    assert labels == np.concatenate(expected).tolist()


def test_every_listed_file_opens_as_an_image() -> None:
    for photo in photographs():
        assert Image.fromarray(photo.image).mode == "RGB"
