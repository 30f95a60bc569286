"""Rows of runs: their schema, where they are kept, statistics, and differences between models. No torch."""
