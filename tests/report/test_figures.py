"""The figures: what is drawn is what was recorded, and the drawings do no harm."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memollm.report.cells import read
from memollm.report.evidence import gather, means
from memollm.report.figures import curves, forgetting, heatmap, losses, tradeoff
from memollm.report.figures.figure import Figure, comma_separated, render
from memollm.report.figures.style import SERIES, canvas, drawing, legend, looks
from memollm.report.table import table
from tests.report import sweeps

COORDINATES = st.tuples(*2 * [st.integers(0, 5).map(float)])


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    sweeps.sweep(root)
    return read([root])


@pytest.fixture(scope="module")
def compared(cells):
    return table(cells)


@given(st.lists(COORDINATES, min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(points):
    def beaten(it):
        return any(other != it and other[0] >= it[0] and other[1] >= it[1] for other in points)

    chosen = [points[index] for index in tradeoff.front(points)]
    assert sorted(chosen) == sorted({it for it in points if not beaten(it)})


def test_less_bytes_and_more_accuracy_make_the_front(compared):
    figure = next(it for it in tradeoff.against_bytes(compared) if "accuracy" in it.name)
    front = [row for row in figure.data if row["on the front"]]
    cost = next(key for key in figure.data[0] if key.startswith("KV cache"))
    assert len(figure.data) == 13 and 1 < len(front) < 13
    ordered = sorted(front, key=lambda row: row[cost])
    accuracy = [row["needle accuracy"] for row in ordered]
    assert accuracy == sorted(accuracy)
    assert {row["method"] for row in front} == {"sparse_attention"}


def test_perplexity_on_the_front_falls_with_bytes(compared):
    figure = next(it for it in tradeoff.against_bytes(compared) if "perplexity" in it.name)
    cost = next(key for key in figure.data[0] if key.startswith("KV cache"))
    front = sorted((row for row in figure.data if row["on the front"]), key=lambda row: row[cost])
    values = [row["perplexity"] for row in front]
    assert len(values) > 1 and values == sorted(values, reverse=True)


def test_a_line_joins_cells_that_differ_in_the_parameter_alone(compared):
    figure = next(
        it for it in curves.over_parameters(compared) if it.name == "perplexity_over_threshold"
    )
    lines = {row["line"] for row in figure.data}
    assert lines == {
        f"{mode} memory_strength={strength}"
        for mode in ("soft_delete", "sparse_attention")
        for strength in ("0.5", "5.0")
    }
    steep = [row for row in figure.data if row["line"] == "sparse_attention memory_strength=0.5"]
    assert [row["threshold"] for row in steep] == [0.01, 0.1, 0.3]
    assert all(row["low"] <= row["perplexity"] <= row["high"] for row in steep)
    assert steep[0]["perplexity"] < steep[1]["perplexity"] < steep[2]["perplexity"]


def test_more_lines_than_can_be_told_apart_become_means(tmp_path):
    sweeps.sweep(tmp_path, ["a", "sparse_attention"], [0.1, 0.3], [1.0, 2.0, 3.0, 4.0])
    figure = next(
        it
        for it in curves.over_parameters(table(read([tmp_path])))
        if it.name == "perplexity_over_threshold"
    )
    assert {row["line"] for row in figure.data} == {"a", "sparse_attention"}
    assert {row["cells"] for row in figure.data} == {4}
    strict = [row for row in figure.data if row["line"] != "a"][-1]
    assert strict["low"] < strict["perplexity"] < strict["high"]


def test_a_setting_that_is_no_number_is_no_point(tmp_path):
    sweeps.sweep(tmp_path, thresholds=[0.1, 0.3, "[0.1, 0.2]"], strengths=[1.0])
    for figure in curves.over_parameters(table(read([tmp_path]))):
        assert {row["threshold"] for row in figure.data} == {0.1, 0.3}
        assert "1 settings that are no single number" in figure.caption


def test_heatmaps_pool_a_methods_answers(cells, compared):
    figures = {it.title: it for it in heatmap.heatmaps(compared, gather(cells, compared))}
    assert list(figures) == [
        "needle: untouched model", "needle: soft_delete", "needle: sparse_attention",
    ]  # fmt: skip
    forgetful = figures["needle: sparse_attention"].data
    assert {row["asked"] for row in forgetful} == {6 * 8}
    found = {(row["length"], row["depth"]): row["found"] for row in forgetful}
    assert found[1024, 0.0] < found[512, 0.0] <= found[512, 1.0] == 48


def test_what_is_found_is_told_by_age(cells, compared):
    (figure,) = losses.by_age(compared, gather(cells, compared))
    rows = {(row["line"], row["age"]): row for row in figure.data}
    ages = ["0-64", "256-512", "512-1024", "1024-2048"]
    assert [age for line, age in rows if line == "sparse_attention"] == ages
    found = [rows["sparse_attention", age]["share found"] for age in ages]
    assert found == sorted(found, reverse=True) and found[0] == 1 > found[-1]
    assert rows["untouched model", "1024-2048"]["share found"] == 1


def test_added_loss_is_taken_window_by_window(cells, compared):
    figures = losses.by_bucket(compared, gather(cells, compared))
    added = next(it for it in figures if it.name.endswith("added_by_forgetting_by_position"))
    rows = {(row["line"], row["position"]): row for row in added.data}
    worst = rows["sparse_attention", "64-128"]["nats per token, added"]
    gone = [threshold / strength for threshold in (0.01, 0.1, 0.3) for strength in (0.5, 5.0)]
    assert worst == pytest.approx(sum(gone) / 6)
    assert rows["soft_delete", "64-128"]["nats per token, added"] == pytest.approx(0)
    assert rows["sparse_attention", "0-64"]["nats per token, added"] == pytest.approx(0)


def test_the_error_of_a_mean_loss_is_that_of_a_ratio():
    """Two windows of equal size, 1 and 3 nats a token: the error is half of the spread."""
    found = means([{"0_64": [10, 10.0]}, {"0_64": [10, 30.0]}])["0_64"]
    assert (found.value, found.stderr, found.tokens) == (2.0, pytest.approx(1.0), 20)
    assert means([{"0_64": [10, 10.0]}])["0_64"].stderr is None


def test_lifetimes_are_those_of_the_formula(compared):
    (figure,) = forgetting.given(compared)
    assert "strength 5: 2,303 tokens to threshold 0.01" in figure.caption.replace("5.0", "5")


def test_a_look_is_told_apart_without_colour():
    assert len({(it.marker, it.dash) for it in looks(map(str, range(6))).values()}) == 6
    assert len(set(SERIES)) == 6


HOSTILE = '<script>alert("1")</script> $\\alpha$ & "quoted"'


def test_a_drawing_is_well_formed_and_says_what_it_is_told(tmp_path):
    with drawing():
        picture, axes = canvas()
        axes.plot([1, 2], [3, 4], color=SERIES[0], label=HOSTILE)
        legend(picture, axes)
    figure = Figure("one", HOSTILE, "", HOSTILE, [{"x": HOSTILE, "y": 1}], picture)
    paths, svg = render(figure, tmp_path)
    assert paths[0].read_bytes()[:4] == b"\x89PNG"
    element = ElementTree.fromstring(str(svg))
    assert element.get("aria-label") == HOSTILE
    assert HOSTILE in "".join(element.itertext()) and not list(element.iter("script"))
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert ids and len(ids) == len(set(ids)) and all(it.startswith("one-") for it in ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(ids)
    assert "var(--series-0)" in svg and SERIES[0] not in svg and "http" not in svg
    ElementTree.parse(paths[1])
    assert '"<script>alert(""1"")</script>' in comma_separated(figure)
