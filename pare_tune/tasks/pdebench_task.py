"""What PDEBench's tasks have in common beside their files (`pdebench`): fields on a grid in, a field on it out, nRMSE,
and data that are solved here where no release is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pare_tune.tasks.base import Dense, Modality, PaperSettings, Task
from pare_tune.tasks.metrics import NRMSE
from pare_tune.tasks.pdebench import HOMEPAGE, ArrayFile, Channel, Frame, GroupFile, Splits


def first_to_last(*fields: str, file: str, points: int, end_time: float) -> ArrayFile:
    """The layout of a 1D file of arrays: the first saved frame of each of `fields` in, the last one of each out."""
    return ArrayFile(
        file=file,
        inputs=tuple(Frame(name, 0) for name in fields),
        targets=tuple(Frame(name, -1) for name in fields),
        points=(points,),
        end_time=end_time,
    )


def channel_to_channel(
    first: int, last: int, *, file: str, channels: int, points: tuple[int, ...], end_time: float
) -> GroupFile:
    """The layout of a file of groups: channel `first` of the first saved frame in, `last` of the last one out."""
    return GroupFile(
        file=file,
        inputs=(Channel(first, time=0),),
        targets=(Channel(last, time=-1),),
        channels=channels,
        points=points,
        end_time=end_time,
    )


def pdebench_task(
    layout: ArrayFile | GroupFile,
    *,
    name: str,
    title: str,
    loss: str = "nrmse",
    make: Callable[..., None],
    release_size: Mapping[str, int],
    read: Callable[[Path, int], Splits] | None = None,
    output: Dense | None = None,
    scale_target: bool | Literal["pointwise"] = False,
    embedded: Mapping[str, Any] | None = None,
) -> Task:
    """The task of the file that `layout` describes, of one target; the other arguments are fields of `Task`.

    x is (inputs, *points) float32 and y (*points), on fewer points where the file was solved on fewer. A task that
    makes more of the frames than that, or has several targets, brings `read` and `output` of its own.
    """
    return Task(
        name=name,
        title=title,
        modality=Modality.DENSE_1D if len(layout.points) == 1 else Modality.DENSE_2D,
        input_shape=(len(layout.inputs), *layout.points),
        output=output or Dense(layout.points),
        loss=loss,
        metric=NRMSE,
        paper=PaperSettings.of(name),
        embedded_provenance="solved",
        homepage=HOMEPAGE,
        files=(layout.file,),
        read=read or layout.read,
        make=make,
        release_size=release_size,
        scale_target=scale_target,
        embedded=embedded or {},
    )
