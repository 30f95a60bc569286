"""What carries out a run: configuration, training and resuming, weights, and the record of where it ran."""
