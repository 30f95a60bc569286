"""Functions of tensors: contraction of a factorised map, its plan and cost, the recurrence, and native kernels."""
