from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pare_tune.errors import ConfigError
from pare_tune.figures.landscape import (
    Surface,
    draw,
    grid_steps,
    loss_surface,
    measure,
    moved_parameters,
    random_direction,
    validation_loss,
)
from pare_tune.train.batches import stack

from .conftest import MakeSubject

STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def parameters() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(3)
    sizes = torch.tensor([0.1, 1.0, 30.0])[:, None, None, None]
    return {
        "linear": torch.randn(5, 4, generator=g, dtype=torch.float64),
        "conv": torch.randn(3, 2, 4, 4, generator=g, dtype=torch.float64) * sizes,
        "bias": torch.randn(5, generator=g, dtype=torch.float64),
    }  # fmt: skip


def test_every_filter_of_a_direction_has_the_norm_of_the_weights_filter() -> None:
    weights = parameters()
    direction = random_direction(weights, torch.Generator().manual_seed(0))
    for name in ("linear", "conv"):
        for filter_, like in zip(direction[name], weights[name], strict=True):
            assert filter_.norm().item() == pytest.approx(like.norm().item(), rel=1e-12)
            assert not torch.allclose(filter_, like)
    assert (direction["bias"] == 0).all(), "biases stay where they are"


def test_a_filter_of_zeros_stays() -> None:
    direction = random_direction({"w": torch.zeros(2, 3)}, torch.Generator().manual_seed(0))
    assert (direction["w"] == 0).all()


def test_a_quadratic_loss_gives_the_exact_paraboloid() -> None:
    weights = parameters()
    solution = {name: weight.clone() for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(1)
    first, second = random_direction(weights, generator), random_direction(weights, generator)

    def loss() -> float:
        return 2.5 + sum(float((weights[n] - solution[n]).square().sum()) for n in weights)

    found = loss_surface(loss, weights, first, second, STEPS)
    dot = {
        (i, j): sum(float((p[n] * q[n]).sum()) for n in weights)
        for i, p in enumerate((first, second))
        for j, q in enumerate((first, second))
    }
    expected = [
        [2.5 + a * a * dot[0, 0] + 2 * a * b * dot[0, 1] + b * b * dot[1, 1] for b in STEPS] for a in STEPS
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # Along one direction the paraboloid's curvature is the weights' own squared norm.
    assert dot[0, 0] == pytest.approx(sum(float(weights[n].square().sum()) for n in ("linear", "conv")))
    for name, weight in weights.items():
        assert torch.equal(weight, solution[name]), "the weights are as before"


def test_weights_come_back_when_the_loss_fails() -> None:
    weights = parameters()
    before = {name: weight.clone() for name, weight in weights.items()}
    direction = random_direction(weights, torch.Generator().manual_seed(1))

    def loss() -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loss_surface(loss, weights, direction, direction, STEPS)
    assert all(torch.equal(weights[name], before[name]) for name in weights)


@pytest.mark.parametrize(
    ("count", "span"), [(4, 1.0), (1, 1.0), (5, 0.0), (5, float("inf")), (5, float("nan"))]
)
def test_a_grid_without_the_solution_is_refused(count: int, span: float) -> None:
    with pytest.raises(ConfigError, match="landscape"):
        grid_steps(count, span)


def test_the_middle_of_a_grid_is_the_solution() -> None:
    assert grid_steps(5, 2.0) == (-2.0, -1.0, 0.0, 1.0, 2.0)


def test_only_what_predicts_the_target_is_moved(make_subject: MakeSubject) -> None:
    moved = set(moved_parameters(make_subject("sequence_1d").model))
    assert any(name.startswith("target_embedder.") for name in moved)
    assert any(name.startswith("target_head.") for name in moved)
    assert any(name.startswith("encoder.encoder.") for name in moved)
    assert not any(name.startswith(("mixer.", "source_head.", "encoder.source_embedder.")) for name in moved)


def test_the_loss_is_the_tasks_over_validation_samples(make_subject: MakeSubject) -> None:
    subject = make_subject("sequence_1d")
    whole = stack([subject.data.val.item(i) for i in range(15)])
    with torch.no_grad():
        expected = float(subject.data.loss(subject.model(whole.pop("x")).target, whole))
    assert validation_loss(subject, 99, seed=0)() == pytest.approx(expected, rel=1e-5)
    assert validation_loss(subject, 4, seed=0)() != pytest.approx(expected, rel=1e-5)


def test_the_samples_do_not_depend_on_the_batch_a_run_was_trained_with(make_subject: MakeSubject) -> None:
    subject, other = make_subject("sequence_1d"), make_subject("sequence_1d")
    vars(other).update(config=other.config.with_values({"train.batch_size": 2}))
    assert subject.config.train.batch_size > 2
    assert validation_loss(other, 5, seed=0)() == pytest.approx(validation_loss(subject, 5, seed=0)())


def test_one_seed_is_one_surface_and_its_centre_is_the_solution(make_subject: MakeSubject) -> None:
    subject = make_subject("grid_2d")
    here = validation_loss(subject, 4, seed=4)()
    one, same = (measure(subject, "pare", grid=3, span=0.5, samples=4, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.loss, same.loss)
    assert one.centre == pytest.approx(here)
    other = measure(subject, "pare", grid=3, span=0.5, samples=4, seed=5)
    assert not np.allclose(one.loss, other.loss)


def test_both_runs_are_drawn_with_all_their_numbers() -> None:
    bowl = np.add.outer(np.square(STEPS), np.square(STEPS))
    hills = np.where(bowl > 1, np.inf, 0.1 + 20 * bowl)
    drawing = draw([Surface("pare", STEPS, bowl), Surface("finetune", STEPS, hills)], "toy", "8 samples.")
    assert len(drawing.rows) == 2 * 25
    assert drawing.rows[25 + 5 * 2 + 3] == ("finetune", 0.0, 0.5, pytest.approx(5.1))
    assert "pare 0 at the solution" in drawing.caption
