"""What is timed and how.

products, layers   the implementations, each as one call; the layers' peak memory, a process for each
implementations    what they have in common, and the float64 numbers that check them
timing             interleaved rounds, and the roofline: what the machine allows
run                all of that in order
peers              layers of other libraries with the numbers of ours
formats            every format of the input map, and the layers of others that are of it
"""
