"""Leakage: what images share, and what a split leaves in common."""
