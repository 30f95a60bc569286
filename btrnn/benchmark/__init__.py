"""The benchmark: our products and layers beside the dense ones and those of other libraries.

settings    what is varied                     products, layers   the implementations, each as one call
costs       flops, bytes, complexity laws      reference          the float64 numbers that all are checked against
timing      interleaved rounds                 memory             peak memory, a process for each model
floor       what the machine allows        description        on what it ran
run         all of that in order               records            the CSV files that come of it
bars        what is asked of the numbers       report, figures    what is shown of the CSV files
"""
