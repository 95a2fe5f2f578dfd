"""What the desk asks the study for, and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pare_tune.config import RunConfig
from pare_tune.tasks import get_task
from pare_tune.tune.bridge import Desk
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.snapshot import TaskFacts
from pare_tune.tune.space import open_space
from pare_tune.tune.study import Study


def test_as_many_trials_wait_for_nodes_as_run(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    """However many may run at a time: 16 at first, so that an autoscaler has something to go by."""
    config = make_config("200", confirm=0, startup_trials=200)
    space = open_space(config, get_task("wdbc"))
    facts = TaskFacts(task="wdbc", direction="min")
    study = Study(tmp_path / "study.journal", space, config.search, epochs=4, facts=facts)
    desk = Desk(
        study, RunFolder(tmp_path), config.search.budget, ended=lambda number: None, tick=lambda: None
    )
    asked = started = 0
    for running, waiting in ((0, 16), (10, 16), (26, 26), (52, 52)):
        for number in range(started, running):
            desk.start(f"t{number}")
        started = running
        while desk.next(f"t{asked}") != "later":
            asked += 1
        states = [t.state for t in study.views()]
        assert (states.count("running"), states.count("waiting")) == (running, waiting)
