"""Stands in for BitBake's PR server, which its package on PyPI lacks. Tests use none."""
