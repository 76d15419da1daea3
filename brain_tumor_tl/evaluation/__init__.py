"""Evaluation: arrays in, figures out; no files, no Lightning."""
