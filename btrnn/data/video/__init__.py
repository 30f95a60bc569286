"""Clips of classes and groups in folders: the index and its splits, decoding, the cache of frames, the data module."""
