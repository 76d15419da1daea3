"""Run: one training run, from its configuration to its finished folder."""
