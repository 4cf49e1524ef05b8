"""The pieces of a report's page: text is never taken for HTML, and the plot stands where the numbers are."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from frlcore import page as pages


def test_a_table_escapes_what_it_is_given_and_marks_its_last_rows() -> None:
    table = pages.grid(["<a>"], [["x & y"], ["total"]], bold=1)
    assert "<th>&lt;a&gt;</th>" in table and "<tr><td>x &amp; y</td></tr>" in table
    assert '<tr class="total"><td>total</td></tr>' in table


def test_counts_are_coloured_by_their_share_of_the_row() -> None:
    table = pages.heat(np.array([[3, 1], [0, 0]]), ["<a>", "b"])
    assert re.findall(r"/ ([0-9.]+)\)\">(\d+)", table) == [("0.52", "3"), ("0.17", "1"), ("0.00", "0"), ("0.00", "0")]
    assert table.count("&lt;a&gt;") == 2


def test_pixels_come_back_from_the_picture() -> None:
    for channels in (1, 3):
        pixels = np.random.default_rng(0).integers(0, 256, (channels, 4, 5), dtype=np.uint8)
        address = re.search(r"base64,([^\"]+)\"", pages.picture(pages.png(pixels), 'a "b"', "png"))[1]
        back = np.asarray(Image.open(io.BytesIO(base64.b64decode(address))))
        assert np.array_equal(back.reshape(4, 5, channels).transpose(2, 0, 1), pixels)


def test_the_marks_of_the_plot_stand_at_their_values() -> None:
    half, ends = np.array([0.5]), (np.array([0.25]), np.array([1.0]))
    plot = pages.dots(["<a>"], {"standard": (half, *ends), "robust": (half, *ends)})
    middle, right = pages.LEFT + pages.WIDTH / 2, pages.LEFT + pages.WIDTH
    assert f'cx="{middle:.1f}"' in plot and f'd="M{middle:.1f} ' in plot and plot.count(f'x2="{right:.1f}"') == 3
    assert "&lt;a&gt;" in plot and "<a>" not in plot
