"""The figures of a study, by name: what the report stage draws, and `python -m stages.figures` in other formats."""

from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from stages.qa.report import curve_figures as plotting
from stages.qa.report.evidence_figures import evidence_figures
from stages.qa.report.ladder_figure import ladder_panels
from stages.qa.report.probing_figures import probing_figures
from stages.qa.report.results import Results
from stages.qa.report.tables import protocols_of

CURVES = (plotting.f1_by_layer, plotting.exact_by_layer, plotting.panels, plotting.heat_map, plotting.epochs)


def study_figures(results: Results, ladder: Sequence[str], confidence: float) -> Iterator[tuple[str, Figure]]:
    """File name without its ending, and figure, one after the other.

    `protocols` holds a curve for each protocol of the ladder, or without one for each protocol of the study.
    """
    probed = results.probed
    for draw in CURVES:
        yield draw.__name__, draw(probed)
    yield "loss_curves", plotting.loss_curves(results.losses)
    yield "protocols", ladder_panels(probed, ladder or protocols_of(probed))
    yield from evidence_figures(results.evidence, protocols_of(probed)[0], confidence)
    yield from probing_figures(results.probing)
