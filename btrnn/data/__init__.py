"""Data sets: from files to batches. Nothing here knows a model."""
