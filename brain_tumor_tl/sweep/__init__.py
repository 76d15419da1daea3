"""Sweep: many runs from one queue on the devices of one machine, and what a second start does with the first's."""
