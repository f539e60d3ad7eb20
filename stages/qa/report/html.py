"""Fill the templates. The page is one HTML file with everything in it: style, scripts, chart library and data.

The page asks no host for anything, and its content security policy forbids it to: only scripts with its hashes run.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

SCRIPTS = ("state.js", "charts.js", "explorer.js", "page.js")
MISSING = "–"


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
    """The report: report.html with `values`, the scripts and their hashes."""
    folder = files("stages.qa.report") / "templates"
    script = "".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    # each in a function of its own: their names are many, and some are the same
    scripts = {"charts_script": charts_script(), "project_script": Markup(f'(() => {{\n"use strict";\n{script}}})();')}
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts.values()]
    return render("report.html", {**values, **scripts, "hashes": hashes})


def plots_template() -> str:
    """What DVC fills with its plots, for `plots.html_template`; {plot_divs} and {refresh_tag} are left to it.

    DVC's specifications say Vega-Lite 5, for the network's copy of it; here they are drawn by the one that is at hand.
    """
    return render("plots.html", {"charts_script": charts_script()})


def charts_script() -> Markup:
    """Vega, Vega-Lite and Vega-Embed, as `vegaEmbed` and `vega` of the window."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;window.vega=vega;")
    return Markup(f"(() => {{{bundle}}})();")


def inert(text: str) -> str:
    """`text` as plain words in Markdown: no markup, HTML, link, line break or invisible character."""
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))
    # a colon before a space neither starts a link nor ends the name of an emoji
    markup = r"[\\`*_\[\]|~$@]|:(?=\S)|(?<=www)\."
    return re.sub(markup, r"\\\g<0>", escape(text, quote=False), flags=re.IGNORECASE)


def markdown(table: Table) -> str:
    """An aligned Markdown table of inert texts, names flush left and numbers flush right."""
    rows = [[inert(cell) for cell in row] for row in (table.head, *table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    sides = ["<" if column < table.names else ">" for column in range(len(widths))]
    rule = ["-" * (width - 1) + ("-" if side == "<" else ":") for side, width in zip(sides, widths, strict=True)]
    lines = []
    for row in (rows[0], rule, *rows[1:]):
        cells = [f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def number(value: float, form: str = ".2f") -> str:
    """`value` with two decimals, or as `form` says (g: a layer); MISSING for a missing value."""
    return MISSING if pd.isna(value) else format(value, form)
