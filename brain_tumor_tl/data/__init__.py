"""Data: files become an index, the index a split, the files one decoded array, and the array batches."""
