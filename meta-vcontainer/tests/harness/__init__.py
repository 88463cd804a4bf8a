"""Runs this layer's classes with the real BitBake and a stub of openembedded-core."""
