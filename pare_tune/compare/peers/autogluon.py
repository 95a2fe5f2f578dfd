"""AutoGluon-Tabular: Erickson et al., 2020, https://arxiv.org/abs/2003.06505.

It chooses among models of its own, so there is nothing to search around it: it runs once, with its own preset, and sees
validation as its tuning data.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from pare_tune.compare.peers.base import (
    Array,
    Fitted,
    Peer,
    Problem,
    Settings,
    flat,
    logits_of,
    tables_of_classes,
    varying,
)
from pare_tune.tasks.base import Point

if TYPE_CHECKING:
    import pandas as pd

_CLASS = "class"
_AUROC = "auroc_error"


def _fit(problem: Problem, settings: Settings, seed: int) -> Fitted:
    from autogluon.tabular import TabularPredictor

    output = problem.data.output
    assert isinstance(output, Point)
    kept = varying(flat(problem.train.x))
    metric = None
    if problem.data.task.metric.name == _AUROC:
        metric = "roc_auc" if output.num_classes == 2 else "roc_auc_ovo"
    np.random.seed(seed)  # noqa: NPY002 - what its models draw from
    folder = tempfile.TemporaryDirectory(prefix="pare-tune-autogluon-")
    predictor = TabularPredictor(label=_CLASS, eval_metric=metric, path=folder.name, verbosity=0)
    train = _frame(problem.train.x, kept).assign(**{_CLASS: problem.train.y})
    tuning = _frame(problem.val.x, kept).assign(**{_CLASS: problem.val.y})
    predictor.fit(
        train, tuning_data=tuning, num_cpus=1, num_gpus=int(problem.device.type == "cuda"), **settings
    )

    def predict(x: Array) -> Array:
        _ = folder  # its models are read from there
        found = predictor.predict_proba(_frame(x, kept))
        return logits_of(found.to_numpy(), np.asarray(found.columns, dtype=np.int64), output.num_classes)

    return Fitted(predict)


def _frame(x: Array, kept: Any) -> pd.DataFrame:
    import pandas as pd

    rows = flat(x)[:, kept]
    return pd.DataFrame(rows, columns=[f"f{i}" for i in range(rows.shape[1])])


PEER = Peer(
    name="autogluon",
    title="AutoGluon-Tabular (Erickson et al., 2020)",
    module="autogluon.tabular",
    install="pip install autogluon.tabular",
    suits=tables_of_classes,
    fit=_fit,
)
