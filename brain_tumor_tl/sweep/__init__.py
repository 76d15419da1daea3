"""Sweep: run many jobs from one queue on the devices of one machine, and resume them after an interruption."""
