"""The benchmark: our products and layers beside the dense ones and those of other libraries.

`measure` takes the times (torch); `results` reads, judges and tabulates the CSV files that come of it (no torch).
"""
