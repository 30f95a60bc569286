"""Modules: the factorised linear maps, the recurrent layers on top of them, and decompositions of trained weights."""
