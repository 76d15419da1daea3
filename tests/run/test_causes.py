"""Causes: each once, however an error came about."""

from __future__ import annotations

from brain_tumor_tl.run.causes import causes


def test_causes__from_the_error_to_what_led_to_it() -> None:
    first, second, third = ValueError("first"), KeyError("second"), OSError("third")
    third.__cause__, second.__context__ = second, first
    assert list(causes(third)) == [third, second, first]
    assert list(causes(None)) == []


def test_causes__of_an_error_among_its_own_causes() -> None:
    first, second = ValueError(), ValueError()
    first.__context__, second.__context__ = second, first
    assert list(causes(first)) == [first, second]
