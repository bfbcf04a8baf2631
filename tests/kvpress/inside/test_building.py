"""From what is typed to a press: what is refused, and in what words."""

import pytest

from memollm.kvpress.inside.building import build
from memollm.kvpress.inside.catalogue import allowed
from memollm.kvpress.mode import KVPress


@pytest.mark.parametrize("name", ["streaming_llm", "StreamingLLMPress", "streamingllm"])
def test_a_press_goes_by_its_file_or_its_class(name):
    press = build(KVPress(name, 0.25, {"n_sink": 2}))
    assert type(press).__name__ == "StreamingLLMPress"
    assert (press.compression_ratio, press.n_sink) == (0.25, 2)


def test_a_press_of_ones_own_goes_by_its_import_path():
    assert type(build(KVPress("tests.kvpress.inside.presses.Narrow", 0.5))).__name__ == "Narrow"


def test_every_press_is_new():
    mode = KVPress("random", 0.5)
    assert build(mode) is not build(mode)


def test_a_press_inside_another_has_its_ratio():
    press = build(KVPress("adakv", 0.25, {"press": {"press": "snapkv", "window_size": 8}}))
    assert press.compression_ratio == press.press.compression_ratio == 0.25
    assert press.press.window_size == 8


def test_presses_in_a_row_have_ratios_of_their_own():
    inner = {"press": "snapkv", "compression_ratio": 0.25}
    press = build(KVPress("composed", None, {"presses": [inner, inner]}))
    assert [it.compression_ratio for it in press.presses] == [0.25, 0.25]


@pytest.mark.parametrize(
    ("press", "ratio", "settings", "words"),
    [
        ("snapkw", 0.5, {}, "mode.press='snapkw' is not allowed.* did you mean 'snapkv'"),
        ("", 0.5, {}, "mode.press='' is not allowed, choose from .*ebbinghaus.*streaming"),
        ("decoding", None, {}, "mode.press='decoding' is not allowed: .*issues/173"),
        (
            "snapkv",
            0.5,
            {"windowsize": 8},
            "mode.settings.windowsize .* did you mean 'window_size'",
        ),
        ("snapkv", 0.5, {"window_size": "w"}, "mode.settings.window_size='w' .* takes int there"),
        ("snapkv", 0.5, {"window_size": True}, "mode.settings.window_size=True .* takes int there"),
        ("snapkv", 0.5, {"window_size": None}, "mode.settings.window_size=None .* takes int there"),
        ("snapkv", 0.5, {"compression_ratio": 0.1}, "set mode.compression_ratio"),
        ("snapkv", None, {}, "mode.compression_ratio is not set: SnapKVPress"),
        ("adakv", 0.5, {}, "mode.settings.press is not set: AdaKVPress needs it"),
        ("adakv", None, {"press": "snapkv"}, "mode.compression_ratio is not set: AdaKVPress"),
        ("adakv", 0.5, {"press": "snapkw"}, "mode.settings.press.press='snapkw' .*'snapkv'"),
        ("adakv", 0.5, {"press": 3}, "mode.settings.press=3 is not allowed, it must be a press"),
        ("dms", 0.5, {"press": "snapkv"}, "mode.compression_ratio=0.5 .* DMSPress has none to set"),
        (
            "dms",
            None,
            {"press": "snapkv", "decoding": True},
            "mode.settings.decoding=true is not allowed",
        ),
        (
            "composed",
            None,
            {"presses": ["snapkv"]},
            r"mode.settings.presses\[0\].compression_ratio is not set",
        ),
        ("tests.kvpress.inside.presses.NoPress", 0.5, {}, "it is no kvpress.BasePress"),
        ("tests.kvpress.inside.presses.Missing", 0.5, {}, "has no attribute 'Missing'"),
        ("ebbinghaus", 0.5, {"queries": 0}, "queries=0 is not allowed"),
        ("ebbinghaus", 0.5, {"strength": -1.0}, "strength=-1.0 is not allowed"),
    ],
)
def test_refusals_name_the_key_the_value_and_what_is_allowed(press, ratio, settings, words):
    with pytest.raises(ValueError, match=words):
        build(KVPress(press, ratio, settings))


def test_what_is_refused_is_not_offered():
    assert "decoding" not in allowed() and {"ebbinghaus", "snapkv", "random"} <= set(allowed())
