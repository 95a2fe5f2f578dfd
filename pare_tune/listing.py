"""What `pare-tune tasks` and `pare-tune data status` print."""

from __future__ import annotations

from rich.console import Console

from pare_tune.report import TaskRow
from pare_tune.tasks import TASKS
from pare_tune.tasks.base import Dense, MultiLabel, Output, Point, Task


def task_rows() -> list[TaskRow]:
    """One row a task."""
    return [_row(task) for task in TASKS.values()]


def print_data_status(console: Console) -> None:
    """Each task's own data, and where its release is found."""
    for task in TASKS.values():
        console.print(
            f"[bold]{task.name}[/bold]  without --data: {task.embedded_provenance}", highlight=False
        )
        console.print(f"  release: {task.homepage}", highlight=False, soft_wrap=True)
        if task.files:
            console.print(f"  files:   {', '.join(task.files)}", highlight=False, soft_wrap=True)


def _row(task: Task) -> TaskRow:
    score = "" if task.paper.score is None else f"{task.paper.score:g}"
    return TaskRow(
        name=task.name,
        modality=task.modality.value,
        input="×".join(map(str, task.input_shape)),
        output=_output(task.output),
        metric=task.metric.name,
        paper=score,
        data=task.embedded_provenance,
    )


def _output(output: Output) -> str:
    match output:
        case Point():
            return f"{output.num_classes} classes"
        case MultiLabel():
            return f"{output.num_labels} labels"
        case Dense():
            return "×".join(map(str, output.shape))
