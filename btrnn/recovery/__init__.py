"""Task 4 (b): how well a factorised map of each shape stands for a matrix that it knows through y = W x alone."""
