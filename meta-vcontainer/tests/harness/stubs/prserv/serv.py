"""A PR server that is never there."""


class PRServiceConfigError(Exception):
    """Never raised."""


def auto_start(_d):
    return None


def auto_shutdown():
    return None
