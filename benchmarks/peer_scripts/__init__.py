"""The same training as other people write it; each script runs on its own."""
