"""A little of what oe-core's package has, for tests without it."""

BBIMPORTS = ["packagedata", "utils", "path", "go"]
