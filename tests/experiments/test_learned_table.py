"""The figure of learned strength and its rivals: names of neighbours can be read."""

import importlib

from matplotlib.figure import Figure

learned = importlib.import_module("experiments.007_learned_strength.table")


def test_names_of_neighbours_do_not_lie_on_one_another():
    figure = Figure(figsize=(6, 4))
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], "o")
    for name, place in (("rehearsed", (0.5, 0.5)), ("h2o", (0.505, 0.5)), ("window", (0.5, 0.52))):
        panel.annotate(name, place, textcoords="offset points", xytext=learned.BESIDE[0][0])
    figure.draw_without_rendering()
    before = [it.get_window_extent() for it in panel.texts]
    assert before[0].overlaps(before[1]) and before[0].overlaps(before[2])
    learned.part(panel)
    boxes = [it.get_window_extent() for it in panel.texts]
    for box in boxes:
        assert box.count_overlaps(boxes) == 1  # itself
