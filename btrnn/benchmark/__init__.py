"""The benchmark: our products and layers beside the dense ones and those of other libraries.

`measure` takes the times (torch); the modules here read, judge and tabulate the CSV files that come of it (no torch).
"""
