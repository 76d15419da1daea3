"""Sources: where images come from if there is no folder of them yet."""
