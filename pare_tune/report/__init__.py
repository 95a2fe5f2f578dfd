"""What people see of a search: the live view, the summary, TensorBoard scalars and the HTML report.

Everything is drawn from a `Snapshot` and the files of the run folder. Importing this package loads rich and nothing
heavier; plotly, optuna, tensorboard and jinja2 are loaded by the calls that need them.
"""

from pare_tune.report.bars import Bars, mode_of
from pare_tune.report.events import snapshot_json
from pare_tune.report.html import write_report
from pare_tune.report.live import LiveView
from pare_tune.report.notebook import NotebookView, in_notebook
from pare_tune.report.outcome import resume_command, status_text, summary
from pare_tune.report.several import write_comparison
from pare_tune.report.tables import (
    DataRow,
    SourceRow,
    TaskRow,
    data_table,
    source_table,
    stale_lines,
    task_table,
)
from pare_tune.report.tensorboard import FinalWriter, TensorBoardWriter

__all__ = [
    "Bars",
    "DataRow",
    "FinalWriter",
    "LiveView",
    "NotebookView",
    "SourceRow",
    "TaskRow",
    "TensorBoardWriter",
    "data_table",
    "in_notebook",
    "mode_of",
    "resume_command",
    "snapshot_json",
    "source_table",
    "stale_lines",
    "status_text",
    "summary",
    "task_table",
    "write_comparison",
    "write_report",
]
