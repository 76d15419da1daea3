"""Sweep: what a second start of a run or of many does with what the first one left."""
