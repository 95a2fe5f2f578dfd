from __future__ import annotations

import math

import pytest

from pare_tune.report.ink import Ink


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "no-such-encoding"])
def test_every_text_can_be_encoded(encoding: str) -> None:
    said = Ink(encoding).clean("λ → 2.9 Å · … \ud800 日本 \x1b[31mred\x1b[0m\nnext\x07 \u202e")
    said.encode("ascii" if encoding == "no-such-encoding" else encoding)
    assert said.isprintable()


def test_ascii_has_stand_ins_that_can_be_read() -> None:
    assert Ink("ascii").clean("λ in Å · 2−1 …") == "lambda in A | 2-1 ..."


def test_unicode_is_left_alone() -> None:
    assert Ink("utf-8").clean("λ in Å · 日本") == "λ in Å · 日本"


def test_a_spark_line_goes_from_lowest_to_highest() -> None:
    assert Ink("utf-8").spark([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8) == "▁▂▃▄▅▆▇█"
    assert Ink("ascii").spark([7.0, 0.0], 8) == "#_"


def test_a_long_curve_is_averaged_whole() -> None:
    assert Ink("utf-8").spark([0.0, 0.0, 7.0, 7.0, math.nan, 0.0], 3) == "▁█▁"


def test_gaps_stay_gaps() -> None:
    assert Ink("utf-8").spark([1.0, math.nan, 2.0], 8) == "▁ █"
    assert Ink("utf-8").spark([math.nan], 8) == ""
    assert Ink("utf-8").spark([2.0, 2.0], 8) == "▄▄"
