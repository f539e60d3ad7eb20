"""The evidence of a study from its CSVs: bands on the curves, the figures, the section of the findings."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from stages.qa.report.evidence import Evidence, read_evidence, with_bands
from stages.qa.report.evidence_page import evidence_section
from stages.qa.scoring.quality import QUALITY, RELIABILITY, quality_rows, reliability_rows
from tests.report.test_plotting import legend_of, lines
from tests.report.test_plotting import scores as score_frame

from stages.qa.errors import InputError
from stages.qa.report import curve_figures as plotting
from stages.qa.report.evidence_figures import evidence_figures
from stages.qa.scoring.breakdown import BREAKDOWN
from stages.qa.scoring.curves import write_rows
from stages.qa.scoring.intervals import DIFFERENCES, INTERVALS, difference_rows, interval_rows
from tests.scoring.test_intervals import SETTINGS, scores

GROUPS = {"question word": ("what", "who"), "windows": ("one window",)}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Of m0, fine-tuned from m1, with three layers each."""
    folder = tmp_path_factory.mktemp("metrics")
    given = {"m0": {"paper": scores(0, gain=0.3, head=True)}, "m1": {"paper": scores(1)}}
    for key, own in given.items():
        write_rows(folder / f"intervals/{key}.csv", INTERVALS, interval_rows(key, own, SETTINGS))
        write_rows(folder / f"quality/{key}.csv", QUALITY, quality_rows(key, own, {}, SETTINGS))
        write_rows(folder / f"reliability/{key}.csv", RELIABILITY, reliability_rows(key, own, SETTINGS))
        groups = [
            (key, "paper", "probe", layer, name, group, 100, 19 if group == "who" else 60, 9, 1, 2, 10.0 * layer)
            for layer in range(3)
            for name, labels in GROUPS.items()
            for group in labels
        ]
        columns = [*BREAKDOWN]
        rows = [dict(zip(columns, row, strict=True)) for row in groups]
        write_rows(folder / f"breakdown/{key}.csv", columns, rows)
    write_rows(folder / "differences.csv", DIFFERENCES, difference_rows(given, {"m0": "m1"}, SETTINGS))
    return read_evidence(folder, ["m0", "m1"])


def test_bands_stand_round_the_curves(evidence: Evidence) -> None:
    frame = with_bands(score_frame([2, 2], heads=1), evidence.intervals, 0.95)
    figure = plotting.f1_by_layer(frame)
    axes = figure.axes[0]
    assert len(lines(axes)) == 2
    drawn = [c for c in axes.collections if len(c.get_paths()) and len(c.get_paths()[0].vertices) > 4]
    mine = evidence.intervals.query("metric == 'f1' and unit == 'article' and reading == 'probe' and model == 'm0'")
    assert drawn[0].get_paths()[0].vertices[:, 1].min() == pytest.approx(mine["band_low"].min())
    assert drawn[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(mine["band_high"].max())
    assert "band of the whole curve" in legend_of(figure)
    assert "95 % bands, from 12 articles" in figure.get_suptitle()
    without = plotting.f1_by_layer(score_frame([2, 2]))
    assert "band" not in " ".join([*legend_of(without), without.get_suptitle()])


def test_figures(evidence: Evidence) -> None:
    figures = dict(evidence_figures(evidence, "paper", 0.95))
    assert list(figures) == ["differences", "quality", "reliability", "breakdown"]
    number = f"{int(evidence.quality['questions'].iloc[0])} questions of 12 articles"
    for figure in figures.values():
        assert number in figure.get_suptitle()
        FigureCanvasAgg(figure).draw()
        for text in [figure._suptitle, *(axes.xaxis.label for axes in figure.axes)]:
            box = text.get_window_extent()
            assert figure.bbox.padded(1).contains(box.x0, box.y0)
            assert figure.bbox.padded(1).contains(box.x1, box.y1)
    differences = figures["differences"].axes
    assert len(differences) == 2 * 4
    assert list(lines(differences[4])[0].get_xdata()) == [0, 1, 2]  # fine-tuned less pretrained
    assert len(lines(differences[4])) == 1
    assert len(lines(differences[0])) == 2
    shown = [line for axes in figures["breakdown"].axes for line in lines(axes, "wh")]
    assert [line.get_label() for line in shown] == ["what (60)"] * 2  # 19 are too few
    assert list(shown[0].get_ydata()) == [0, 10, 20]
    assert {"first layer", "middle layer", "last layer", "own head", "calibrated"} == set(
        legend_of(figures["reliability"])
    )


def test_the_section_names_layers_that_differ(evidence: Evidence) -> None:
    section = evidence_section(evidence, 0.95)
    rows = evidence.differences.query("metric == 'f1' and unit == 'article' and comparison.str.startswith('fine')")
    for _, row in rows.iterrows():
        told = f"{row['layer']:g}: {row['estimate']:+.1f}"
        assert (told in section) == (row["band_low"] > 0)
    assert "95 % band" in section
    assert "12 articles" in section
    assert "| m1 " in section
    empty = Evidence(**{**evidence.__dict__, "differences": evidence.differences.iloc[:0]})
    assert "from nothing" in evidence_section(empty, 0.95)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"intervals/m0\.csv: not the expected CSV .*run evaluate and compare"):
        read_evidence(tmp_path, ["m0"])
    (tmp_path / "intervals").mkdir()
    pd.DataFrame({"x": np.arange(2)}).to_csv(tmp_path / "intervals/m0.csv")
    with pytest.raises(InputError, match=r"intervals/m0\.csv: no column 'model'"):
        read_evidence(tmp_path, ["m0"])
