"""Fill the templates. The page is one HTML file with everything in it: style, scripts, chart library and data.

The page asks no host for anything, and its content security policy forbids it to: only scripts with its hashes run.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

SCRIPTS = ("state.js", "charts.js", "explorer.js", "page.js")
MISSING = "–"
CHARTS = "window.vegaEmbed=vegaEmbed;window.vega=vega;"


@dataclass(frozen=True)
class Table:
    """Rows of texts. The first `names` columns are names, the others numbers."""

    head: list[str]
    rows: list[list[str]]
    names: int = 1
    caption: str = ""


def render(template: str, values: Mapping[str, Any]) -> str:
    """`template` of the folder templates, filled with `values`. Texts are escaped in HTML; in Markdown, filters do."""
    environment = Environment(
        loader=PackageLoader("stages.qa.report", "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"inert": inert, "markdown": markdown}
    return environment.get_template(template).render(values)


def page(values: Mapping[str, Any]) -> str:
    """The report: report.html with `values`, the style, the scripts and their hashes."""
    folder = files("stages.qa.report") / "templates"
    project_script = "".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    # each in a function of its own: their names are many, and some are the same
    scripts = {"charts_script": charts_script()}
    scripts["project_script"] = f'(() => {{\n"use strict";\n{project_script}}})();'
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts.values()]
    style = (folder / "page.css").read_text(encoding="utf-8")
    trusted = {name: Markup(text) for name, text in scripts.items()} | {"style": Markup(style)}  # our own files
    return render("report.html", {**values, **trusted, "hashes": hashes})


def plots_template() -> str:
    """What DVC fills with its plots, for `plots.html_template`; {plot_divs} and {refresh_tag} are left to it.

    DVC's specifications say Vega-Lite 5, for the network's copy of it; here they are drawn by the one that is at hand.
    """
    return render("plots.html", {"charts_script": Markup(charts_script())})


def charts_script() -> str:
    """Vega, Vega-Lite and Vega-Embed, as `vegaEmbed` and `vega` of the window."""
    return f"(() => {{{vl_convert.javascript_bundle(CHARTS)}}})();"


def inert(text: str) -> str:
    """`text` as plain words in Markdown: no markup, HTML, link, line break or invisible character."""
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # a colon before a space neither starts a link nor ends the name of an emoji
    return re.sub(r"[\\`*_\[\]|~$@]|:(?=\S)|(?<=www)\.", r"\\\g<0>", text, flags=re.IGNORECASE)


def markdown(table: Table) -> str:
    """An aligned Markdown table of inert texts, names flush left and numbers flush right."""
    rows = [[inert(cell) for cell in row] for row in (table.head, *table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    rule = ["-" * (width - 1) + "-:"[column >= table.names] for column, width in enumerate(widths)]
    lines = []
    for row in (rows[0], rule, *rows[1:]):
        names, numbers = row[: table.names], row[table.names :]
        cells = [name.ljust(width) for name, width in zip(names, widths, strict=False)]
        cells += [number.rjust(width) for number, width in zip(numbers, widths[table.names :], strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def number(value: float, form: str = ".2f") -> str:
    """`value` with two decimals, or as `form` says (g: a layer); MISSING for a missing value."""
    return MISSING if pd.isna(value) else format(value, form)
