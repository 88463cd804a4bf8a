"""What other multiconfigs of the build make for this one. Theirs have `TMPDIR = "${TOPDIR}/tmp-<name>"`."""

import bb.parse


def is_there(d, name: str) -> bool:
    """Whether the build has a multiconfig."""
    return name in (d.getVar("BBMULTICONFIG") or "").split()


def depend(d, task: str, name: str, what: str) -> None:
    """Has a task of a multiconfig (`recipe:do_task`) done before one of this recipe."""
    current = d.getVar("BB_CURRENT_MC")
    here = "" if current == "default" else current
    d.appendVarFlag(task, "mcdepends", " mc:%s:%s:%s" % (here, name, what))


# Where the build is belongs into no signature.
@bb.parse.vardepsexclude("TOPDIR")
def deploy_dir(d, name: str, machine: str) -> str:
    """Where a multiconfig deploys images of its machine."""
    return d.expand("${TOPDIR}/tmp-%s/deploy/images/%s" % (name, machine))
