from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pare_tune import PareClassifier, PareRegressor
from pare_tune.errors import PareTuneError

QUICK = {"train.epochs": 1, "train.batch_size": 128}
QUICKLY: dict[str, Any] = {"method": "finetune", "settings": QUICK, "random_state": 0}
RNG = np.random.default_rng(0)
SERIES = RNG.normal(size=(40, 2, 30)).astype(np.float32)
HALVES = np.repeat(["down", "up"], 20)


def expected_to_fail(estimator: Any) -> dict[str, str]:
    """Check → why."""
    if isinstance(estimator, PareRegressor):
        return {"check_regressors_train": "wants R² > 0.5 of one epoch; a test below trains for more"}
    return {}


@parametrize_with_checks(
    [
        PareClassifier(**QUICKLY),
        PareRegressor(**QUICKLY),
    ],
    expected_failed_checks=expected_to_fail,
)
def test_scikit_learn_accepts_it(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture
def leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Iterator[None]:
    """In the working directory, among temporary files, or of its samples in the cache."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir())
    assert not list(own_cache.glob("*/sklearn-*"))


@pytest.mark.usefixtures("leaves_no_file")
def test_it_learns_in_a_pipeline() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = make_pipeline(
        StandardScaler(), PareClassifier(random_state=0, settings={"train.epochs": 8, "train.batch_size": 32})
    )
    scores = cross_val_score(model, X, y.map({0: "setosa", 1: "versicolor", 2: "virginica"}), cv=2)
    assert scores.min() > 0.8


def test_numbers_are_learned() -> None:
    X, y = make_regression(200, 5, noise=1.0, random_state=0)
    model = PareRegressor(
        method="finetune", random_state=0, settings={"train.epochs": 12, "train.batch_size": 32}
    ).fit(X, y)
    assert model.score(X, y) > 0.5


def test_one_seed_gives_one_model_and_the_callers_generator_goes_on() -> None:
    model = PareClassifier(**{**QUICKLY, "random_state": 3})
    np.random.seed(0)  # noqa: NPY002
    wanted = np.random.rand(2)  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    np.random.rand(1)  # noqa: NPY002
    first = model.fit(SERIES, HALVES).predict_proba(SERIES)
    assert np.random.rand(1) == wanted[1]  # noqa: NPY002
    assert (clone(model).fit(SERIES, HALVES).predict_proba(SERIES) == first).all()
    other = PareClassifier(**{**QUICKLY, "random_state": 4}).fit(SERIES, HALVES).predict_proba(SERIES)
    assert not (other == first).all()


@pytest.mark.parametrize(
    "X",
    [
        pytest.param(SERIES, id="series"),
        pytest.param(SERIES[:, :1].repeat(30, axis=1)[:, None], id="images"),
        pytest.param(
            pd.DataFrame({"a": RNG.normal(size=40), "colour": np.tile(["red", "blue", None, "red"], 10)}),
            id="table of text with gaps",
        ),
        pytest.param(np.where(RNG.random((40, 3)) < 0.1, np.nan, RNG.normal(size=(40, 3))), id="gaps"),
    ],
)
def test_samples_of_every_kind_are_fitted_and_predicted(X: Any) -> None:
    model = PareClassifier(**QUICKLY).fit(X, HALVES)
    assert list(model.classes_) == ["down", "up"]
    assert model.n_features_in_ == X.shape[1]
    p = model.predict_proba(X)
    assert p.shape == (40, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert set(model.predict(X)) <= {"down", "up"}


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (SERIES[:, :1], "expecting 2 features"),
        (SERIES[:, :, :20], r"takes samples of 2 × 30, got 40 of 2 × 20"),
        (np.full_like(SERIES, np.nan), "series and images have no gaps"),
        (SERIES[:, :, None, None], "a table has 2, series have 3, images 4"),
        (pd.DataFrame({"a": [1.0], "b": [2.0]}), r"not trained on rows of a table"),
    ],
)
def test_samples_that_do_not_fit_are_told(series_model: PareClassifier, X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        series_model.predict(X)


@pytest.fixture(scope="module")
def series_model() -> PareClassifier:
    return PareClassifier(**QUICKLY).fit(SERIES, HALVES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": {"train.epoch": 1}}, "train.epoch"),
        ({"method": "parer"}, "no method named 'parer'"),
        ({"preset": "large"}, "no preset named 'large'"),
        ({"backbone": "micro-swim"}, "no backbone named 'micro-swim'"),
    ],
)
def test_what_there_is_not_is_told(options: Any, message: str) -> None:
    with pytest.raises(PareTuneError, match=message):
        PareClassifier(**options).fit(SERIES, HALVES)


@pytest.mark.usefixtures("in_this_process", "leaves_no_file")
def test_a_budget_searches_first() -> None:
    settings = {**QUICK, "search.confirm": 0, "search.portfolio": False, "search.validation": "split"}
    model = PareClassifier(budget=1, method="finetune", settings=settings, random_state=0).fit(SERIES, HALVES)
    assert model.config_.own is None
    assert model.predict(SERIES).shape == (40,)
