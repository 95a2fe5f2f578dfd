from __future__ import annotations

import torch

from pare_tune.train.batches import fetch
from pare_tune.train.features import Samples, as_series, compact_target, draw_rows, frozen_features

from .conftest import Tokens


def test_classes_values_and_labels_stay_and_maps_shrink_to_their_means() -> None:
    assert compact_target(torch.tensor(3)).item() == 3
    assert compact_target(torch.zeros(200)).shape == (200,)
    assert compact_target(torch.arange(1024.0))[0] == 1.5, "means of four"
    grid = torch.arange(64.0)[:, None].expand(64, 32)
    small = compact_target(grid)
    assert small.shape == (16, 16)
    assert small[0, 0] == 1.5
    assert compact_target(torch.zeros(8, 40)).shape == (8, 16)
    assert compact_target(torch.zeros(2, 64, 64, dtype=torch.bool)).shape == (2, 16, 16)


def test_a_picture_is_its_pixels_in_reading_order() -> None:
    picture = torch.zeros(1, 3, 32, 32)
    picture[0, :, 0:2, 2:4] = 1.0
    series = as_series(picture)
    assert series.shape == (1, 3, 256)
    assert series[0, 0].nonzero().tolist() == [[1]]
    assert as_series(series) is series


def test_subsets_are_fixed_by_the_seed_and_repeat_nothing() -> None:
    rows = draw_rows(100, 20, 3)
    assert len(set(rows.tolist())) == 20
    assert rows.tolist() == draw_rows(100, 20, 3).tolist() != draw_rows(100, 20, 4).tolist()
    assert draw_rows(5, 20, 0).tolist() == [0, 1, 2, 3, 4]


def test_items_are_fetched_at_once_where_that_is_possible() -> None:
    class AtOnce(Tokens):
        def __getitems__(self, rows: list[int]) -> list[dict[str, torch.Tensor]]:
            self.asked = rows
            return [self[row] for row in rows]

    data = AtOnce(4)
    assert [int(item["x"][0]) for item in fetch(data, [2, 0])] == [3, 1]
    assert data.asked == [2, 0]
    assert len(fetch(Tokens(4), [1])) == 1


def test_features_do_not_depend_on_the_batch_and_carry_no_gradient() -> None:
    class Doubler(torch.nn.Module):
        def encode(self, tokens: torch.Tensor) -> torch.Tensor:
            assert not self.training
            return 2.0 * tokens

    x = torch.randn(130, 5, 3, requires_grad=True)
    found = frozen_features(x, lambda part: part, Doubler())  # type: ignore[arg-type]
    torch.testing.assert_close(found, 2.0 * x.detach().mean(1))
    assert not found.requires_grad


def test_what_stands_for_classes_is_said() -> None:
    def labels(y: torch.Tensor) -> str:
        return Samples(name="a", x=y, y=y, provenance="").labels

    assert labels(torch.tensor([0, 4, 4])) == "2 classes"
    assert labels(torch.arange(30.0)) == "10 pseudo-classes (k-means) of values"
    assert labels(torch.eye(3)) == "3 pseudo-classes (k-means) of targets of several values"
