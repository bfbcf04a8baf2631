"""The retention page as a file: its numbers, its size, and that nothing in it is obeyed."""

import gzip
import json
import re

import numpy as np
import pytest

from memollm.report import retention_page
from memollm.report.inert import visible
from memollm.traces.file import coded
from tests.traces.scripted import scripted

HOSTILE = [
    "</script><script>alert(1)</script>", "\x1b[31mred", "\u202eright to left\u202c", "שלום",
    "👩‍👩‍👧", "\ud83d", "<!--", "&lt;", "{{ 7 * 7 }}", "x" * 10_000, "\n", "\x00", "'\"`",
]  # fmt: skip


def unpacked(trace):
    """What the page's script makes of the payload."""
    data = np.frombuffer(gzip.decompress(retention_page.payload(trace)), dtype=np.uint8)
    layers, steps, tokens = trace.received.shape
    parts, size = [], steps * tokens

    def words(count):
        nonlocal data
        low, high, data = data[:count], data[count : 2 * count], data[2 * count :]
        return low.astype(np.uint16) | (high.astype(np.uint16) << 8)

    for _ in range(layers):
        if trace.strength is not None:
            for _ in range(2):
                parts.append(words(size).reshape(steps, tokens).cumsum(axis=0, dtype=np.uint16))
        parts.append(data[:size].reshape(steps, tokens))
        data = data[size:]
    return parts, words(layers * tokens).reshape(layers, tokens), data


@pytest.mark.parametrize("fades", [True, False])
def test_the_payload_holds_the_codes(fades):
    trace = scripted(tokens=300, steps=7, fades=fades)
    parts, forgotten, rest = unpacked(trace)
    codes = coded(trace)
    assert rest.size == 0
    np.testing.assert_array_equal(forgotten, trace.forgotten_at)
    for layer in range(3):
        if codes.strength is not None and codes.recalled is not None:
            np.testing.assert_array_equal(parts[3 * layer], codes.strength[layer])
            np.testing.assert_array_equal(parts[3 * layer + 1], codes.recalled[layer])
        np.testing.assert_array_equal(parts[layer * len(parts) // 3 - 1 + len(parts) // 3],
                                      codes.received[layer])  # fmt: skip


def test_no_text_is_markup_and_nothing_is_loaded():
    told = {it: it for it in HOSTILE}
    page = retention_page.page(scripted(tokens=13, words=HOSTILE, facts=told, settings=told))
    page = page.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert page.count("<script") == 3 and page.count("</script>") == 3
    assert (
        not re.search("https?:|src=|@import|url\\(", page) and "49" not in page.split("<script")[0]
    )
    assert "\x1b" not in page and "\u202e" not in page and "\x00" not in page
    page.encode("utf-8")  # no half characters
    tokens = json.loads(re.search('id="about">(.*?)</script>', page, re.S)[1])["tokens"]
    assert tokens[0] == HOSTILE[0] and tokens[1] == visible(HOSTILE[1])
    assert tokens[3:5] == HOSTILE[3:5]
    assert tokens[9] == "x" * 10_000 and tokens[10] == "↵\n"


def test_the_page_says_what_was_merged_and_what_there_is_none_of():
    page = retention_page.page(scripted(steps_taken=4000))
    assert "The memory took 4,000 steps" in page and "merged into 5" in page
    assert "No retention here" not in page
    page = retention_page.page(scripted(fades=False))
    assert "No retention here.</strong> <bdi>h2o</bdi> ranks" in page and "merged into" not in page
    page = retention_page.page(scripted(still_seen="It is still seen & faint."))
    assert "It is still seen &amp; faint." in page


def test_a_page_is_smaller_than_one_and_a_half_times_its_file(tmp_path):
    from memollm.traces import file

    trace = scripted(tokens=1000, steps=30)
    bytes_of_file = file.save(trace, tmp_path).stat().st_size
    text = len(retention_page.page(trace)) - len(retention_page.page(scripted(tokens=4, steps=2)))
    assert text < 1.5 * bytes_of_file
