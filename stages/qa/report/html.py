"""One HTML file with everything in it: templates, style, scripts, the chart library and the data.

The page asks no host for anything, and its content security policy forbids it to: only scripts with its hashes run.
"""

import base64
import hashlib
import math
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

SCRIPTS = ("state.js", "charts.js", "explorer.js", "page.js")
CHARTS = "window.vegaEmbed=vegaEmbed;window.vega=vega;"


def render(template: str, values: Mapping[str, Any]) -> str:
    """`template` of the folder templates, filled with `values`; texts are escaped."""
    loader = PackageLoader("stages.qa.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"percent": _percent, "signed": _signed}
    return environment.get_template(template).render(values)


def page(values: Mapping[str, Any]) -> str:
    """The report: page.html with `values`, the style, the scripts and their hashes."""
    folder = files("stages.qa.report") / "templates"
    own = "".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    # each in a function of its own: their names are many, and some are the same
    scripts = {"charts_script": charts_script()}
    scripts["own_script"] = f'(() => {{\n"use strict";\n{own}}})();'
    if any("</script" in text.lower() or "<!--" in text for text in scripts.values()):
        raise ValueError("a script would end its own element")
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts.values()]
    style = (folder / "page.css").read_text(encoding="utf-8")
    trusted = {name: Markup(text) for name, text in scripts.items()} | {"style": Markup(style)}  # our own files
    return render("page.html", {**values, **trusted, "hashes": hashes})


def plots_template() -> str:
    """What DVC fills with its plots, for `plots.html_template`; {plot_divs} and {refresh_tag} are left to it.

    DVC's specifications say Vega-Lite 5, for the network's copy of it; here they are drawn by the one that is at hand.
    """
    return render("plots.html", {"charts_script": Markup(charts_script())})


def charts_script() -> str:
    """Vega, Vega-Lite and Vega-Embed, as `vegaEmbed` and `vega` of the window."""
    return f"(() => {{{vl_convert.javascript_bundle(CHARTS)}}})();"


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"
