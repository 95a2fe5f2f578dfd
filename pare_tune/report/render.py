"""Jinja templates → the text of one self-contained page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from pare_tune.report.figure import Chart


def render_page(template: str, charts: Sequence[Chart], **values: Any) -> str:
    """A page of `page/` with its script; plotly is inlined once, and only where there is something to draw."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    figures = {chart.key: chart.figure for chart in charts}
    return render_template(
        "pare_tune.report",
        template,
        **values,
        js=Markup(_page_file("report.js")),
        # Not read where there is nothing to draw: it is most of the page.
        plotly=Markup(get_plotlyjs()) if figures else "",
        figures=Markup(_script_json(figures)),
    )


def render_template(package: str, template: str, **values: Any) -> str:
    """A template of a package's folder `page/`, which gets the common style as `css`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader(package, "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values, css=Markup(_page_file("report.css")))


def _page_file(name: str) -> str:
    return (resources.files("pare_tune.report") / "page" / name).read_text(encoding="utf-8")


def _script_json(value: Any) -> str:
    # "</script>" in a string would end the element, "<!--" change how the rest is read.
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
