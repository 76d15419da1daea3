"""Inference: finished runs, used: opened from their folders, applied to new images, checked and exported."""
