from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pare_tune.distance.otdd import classes_of, otdd
from pare_tune.errors import ConfigError
from pare_tune.figures.clouds import Clouds, make_clouds, numbers_of_patches, pair, require_mixed
from pare_tune.figures.subject import Subject
from pare_tune.figures.transport import distances, make

from .conftest import MakeSubject


def clouds_of(subject: Subject, *, features: bool = False, seed: int = 0) -> Clouds:
    source = require_mixed(subject)
    n = subject.num_tokens
    return make_clouds(
        subject, source, pair(subject, source, 12, seed), [0, n // 2, n], features=features, seed=seed
    )


@pytest.mark.parametrize("modality", ["sequence_1d", "grid_2d"])
def test_no_patch_replaced_is_the_target_and_all_of_them_are_the_source(
    make_subject: MakeSubject, modality: str
) -> None:
    subject = make_subject(modality)
    clouds = clouds_of(subject, features=True)
    for way in ("gate", "random"):
        none, every = clouds.mixed[way, 0], clouds.mixed[way, subject.num_tokens]
        assert torch.equal(none.embedding_SP, clouds.target.embedding_SP)
        assert torch.equal(none.feature_SP, clouds.target.feature_SP)
        torch.testing.assert_close(every.embedding_SP, clouds.source.embedding_SP)
        torch.testing.assert_close(every.feature_SP, clouds.source.feature_SP, rtol=1e-4, atol=1e-4)
    halves = (clouds.mixed[way, subject.num_tokens // 2].embedding_SP for way in ("gate", "random"))
    assert not torch.allclose(*halves), "the gate does not choose by chance"


def test_the_target_is_at_no_distance_from_itself_and_at_the_plain_one_from_the_source(
    make_subject: MakeSubject,
) -> None:
    clouds = clouds_of(make_subject("grid_2d"))
    target_y, source_y = classes_of(clouds.target_y_S), classes_of(clouds.source_y_S)

    def distance(x_a: Tensor, y_a: Tensor, x_b: Tensor, y_b: Tensor) -> float:
        return otdd(x_a, y_a, x_b, y_b)

    found = {(p.way, p.k): p for p in distances(clouds, distance, target_y, source_y)}
    plain = otdd(clouds.target.embedding_SP, target_y, clouds.source.embedding_SP, source_y)
    assert plain > 0.1
    for way in ("gate", "random"):
        assert found[way, 0].to_target == 0.0
        assert found[way, 0].to_source == pytest.approx(plain, rel=1e-9)
    ks = sorted(k for way, k in found if way == "gate")
    away, near = ([getattr(found["gate", k], side) for k in ks] for side in ("to_target", "to_source"))
    assert away == sorted(away)
    assert near == sorted(near, reverse=True)


def test_the_same_seed_gives_the_same_points(make_subject: MakeSubject) -> None:
    subject = make_subject()
    one, same, other = clouds_of(subject), clouds_of(subject), clouds_of(subject, seed=1)
    half = subject.num_tokens // 2
    assert torch.equal(one.mixed["random", half].embedding_SP, same.mixed["random", half].embedding_SP)
    assert not torch.equal(one.mixed["random", half].embedding_SP, other.mixed["random", half].embedding_SP)
    before = torch.get_rng_state()
    clouds_of(subject)
    assert torch.equal(before, torch.get_rng_state()), "drawing changes nothing outside"


def test_numbers_of_patches_are_different_and_rise() -> None:
    assert numbers_of_patches((0.0, 0.125, 0.25, 1.0), 4) == [0, 1, 4]
    assert numbers_of_patches((0.5, 0.25), 64) == [16, 32]


@pytest.mark.parametrize("method", ["mixup", "random"])
def test_other_ways_of_mixing_are_measured_beside_chance(make_subject: MakeSubject, method: str) -> None:
    drawing = make(make_subject(method=method), samples=12, inner="gaussian", seed=0)
    assert {row[0] for row in drawing.rows} == {method, "random"}


def test_it_is_drawn_with_its_numbers_and_says_that_data_are_a_sample(make_subject: MakeSubject) -> None:
    subject = make_subject("sequence_1d")
    drawing = make(subject, samples=12, inner="exact", seed=0)
    assert drawing.columns == ("selection", "k", "share", "to_target", "to_source")
    assert len(drawing.rows) == 2 * len(numbers_of_patches([i / 8 for i in range(9)], subject.num_tokens))
    assert "data: sample" in drawing.figure.get_suptitle()
    assert "OTDD (exact distance" in drawing.caption
    assert "simulated" in drawing.caption


@pytest.mark.parametrize("method", ["finetune", "target_mask"])
def test_a_method_that_mixes_no_source_in_is_told(make_subject: MakeSubject, method: str) -> None:
    with pytest.raises(ConfigError, match=f"method {method} .* give a run of method pare"):
        make(make_subject(method=method), samples=12, inner="gaussian", seed=0)
