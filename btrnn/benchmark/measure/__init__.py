"""What is timed and how.

products, layers   the implementations, each as one call    reference     the float64 numbers that check them
timing             interleaved rounds                        memory        peak memory, a process for each model
roofline           what the machine allows                   description   on what it ran
run                all of that in order
"""
