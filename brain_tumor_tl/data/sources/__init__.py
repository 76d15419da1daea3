"""Sources: where images come from when their folder is absent."""
