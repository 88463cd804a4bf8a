"""What is said about containers and nothing reads: without the distro feature, or by a name that no container has."""

from typing import Iterable, List

import bb
import bb.data

from . import bundle, entries

FEATURE = "vcontainer"
_ADD = 'add to local.conf:\n    DISTRO_FEATURES:append = " %s"' % FEATURE


def configuration(d) -> None:
    """Warns of what local.conf says in vain. Other multiconfigs may have distros of their own, for what is no host."""
    if d.getVar("BB_CURRENT_MC") not in ("", "default") or not d.getVar("CONTAINER_CONFIGURED").split():
        return
    if FEATURE not in (d.getVar("DISTRO_FEATURES") or "").split():
        bb.warn("BUNDLED_CONTAINERS is set, and images do not have these containers, other than those whose recipes inherit"
                " container-cross-install. For all images, " + _ADD)
    try:
        found = entries.parse_list(d.getVar("CONTAINER_CONFIGURED"))
    except entries.EntryError:
        # Recipes tell.
        return
    for name in _unknown(service_names(d), found):
        bb.warn("CONTAINER_SERVICE_FILE[%s] is for none of BUNDLED_CONTAINERS: %s. If it is for a recipe with container-bundle, set it"
                " there." % (name, _sources(found)))


def recipe(d) -> None:
    """Warns of an image whose own recipe names containers, and has no class that puts them into it."""
    if not bb.data.inherits_class("image", d) or bb.data.inherits_class("container-cross-install", d):
        return
    value = d.getVar("BUNDLED_CONTAINERS") or ""
    if value != d.getVar("CONTAINER_CONFIGURED") and bundle.is_host(d):
        bb.warn("%s: BUNDLED_CONTAINERS is set for this recipe, and the image does not have them: `inherit container-cross-install`"
                " there, or %s" % (d.getVar("PN"), _ADD))


def root_filesystem(d) -> None:
    """After do_rootfs: warns of packages with containers that nothing has put into stores."""
    if d.getVar("BB_CURRENTTASK") != "rootfs" or bb.data.inherits_class("container-cross-install", d):
        return
    folder = d.getVar("IMAGE_ROOTFS") + d.expand("${datadir}/" + bundle.FOLDER)
    packages = sorted({package for _runtime, package in bundle.installed_packages(folder)})
    if packages:
        bb.warn("%s: the containers of %s are in no store: `inherit container-cross-install` in the recipe, or %s" % (
            d.getVar("PN"), ", ".join(packages), _ADD))


def service_names(d) -> List[str]:
    """The flags of CONTAINER_SERVICE_FILE that name a file."""
    return sorted(name for name, path in (d.getVarFlags("CONTAINER_SERVICE_FILE", expand=[]) or {}).items() if path)


def own_service_files(d, variable: str) -> None:
    """Warns of flags of CONTAINER_SERVICE_FILE in a recipe that are for none of its entries. Those of local.conf may be for others."""
    found = bundle.parsed(d, variable)
    configured = (d.getVar("CONTAINER_CONFIGURED_SERVICES") or "").split()
    for name in _unknown((name for name in service_names(d) if name not in configured), found):
        bb.warn("%s: CONTAINER_SERVICE_FILE[%s] is for none of %s: %s" % (d.getVar("PN"), name, variable, _sources(found)))


def _unknown(names: Iterable[str], found: List[entries.Entry]) -> List[str]:
    known = {name for entry in found for name in bundle.service_flags(entry)}
    return [name for name in names if name not in known]


def _sources(found: List[entries.Entry]) -> str:
    return ", ".join(dict.fromkeys(entry.source for entry in found)) or "it is empty"
