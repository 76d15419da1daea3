"""Fixtures of the tests of bad input."""

from tests.cli.conftest import refused

__all__ = ["refused"]
