"""One image for several architectures: what oci-multiarch reads from variables, and the work of its task."""

import os
from typing import Dict, List, NamedTuple

import bb
import bb.parse

from . import config, multiconfig, tool
from .bundle import fatal, settings
from .image import checked


class Part(NamedTuple):
    """The image for one architecture: who makes it, and where it is then."""

    arch: str
    multiconfig: str
    machine: str
    directory: str


def parts(d) -> List[Part]:
    """The images of OCI_MULTIARCH_PLATFORMS; an architecture without its flags is fatal."""
    found = []
    for arch in (d.getVar("OCI_MULTIARCH_PLATFORMS") or "").split():
        values: Dict[str, str] = {}
        for variable in ("OCI_MULTIARCH_MC", "OCI_MULTIARCH_MACHINE"):
            values[variable] = d.getVarFlag(variable, arch) or ""
            if not values[variable]:
                fatal(d, "OCI_MULTIARCH_PLATFORMS", "`%s` needs %s[%s]" % (arch, variable, arch))
        name, machine = values.values()
        directory = d.getVarFlag("OCI_MULTIARCH_DEPLOY", arch) or multiconfig.deploy_dir(d, name, machine)
        found.append(Part(arch, name, machine, directory))
    return found


def prepare(d) -> None:
    """The parse-time half of oci-multiarch: the images of all architectures are made before do_deploy.

    Raises SkipRecipe where this build has not the multiconfigs.
    """
    recipe = d.getVar("OCI_MULTIARCH_RECIPE")
    if not recipe:
        fatal(d, "OCI_MULTIARCH_RECIPE", "it is empty: name a recipe with image-oci")
    checked(d, "OCI_IMAGE_TAG", config.tag, d.getVar("OCI_IMAGE_TAG"))
    found = parts(d)
    if not found:
        fatal(d, "OCI_MULTIARCH_PLATFORMS", "it is empty: name architectures, such as aarch64 x86_64")
    missing = [part.multiconfig for part in found if not multiconfig.is_there(d, part.multiconfig)]
    if missing:
        raise bb.parse.SkipRecipe("it needs BBMULTICONFIG += \"%s\" in local.conf" % " ".join(missing))
    for part in found:
        multiconfig.depend(d, "do_deploy", part.multiconfig, recipe + ":do_image_complete")
    d.setVar("OCI_MULTIARCH_MAP", " ".join("%s=%s/%s" % part[:3] for part in found))


def deploy(d) -> None:
    """Makes the index in DEPLOYDIR, with a link by which it can be a base of others."""
    recipe, tag = d.getVar("OCI_MULTIARCH_RECIPE"), d.getVar("OCI_IMAGE_TAG").replace(":", "_")
    name = d.expand("${PN}-multiarch-oci")
    layouts = [_layout(d, part, recipe, tag) for part in parts(d)]
    try:
        tool.index("%s:%s" % (d.getVar("PN"), tag), layouts, d.getVar("DEPLOYDIR"), name, settings(d))
    except tool.ToolError as error:
        bb.fatal("%s: the images of %s cannot be put together: %s" % (d.getVar("PN"), recipe, error))
    os.symlink(name, d.expand("${DEPLOYDIR}/${PN}-%s-oci" % tag))


def _layout(d, part: Part, recipe: str, tag: str) -> str:
    path = os.path.join(part.directory, "%s-%s-oci" % (recipe, tag))
    if not os.path.exists(os.path.join(path, "index.json")):
        fatal(d, "OCI_MULTIARCH_RECIPE", "`mc:%s:%s` has made no `%s`: does it inherit image-oci, with the tag of OCI_IMAGE_TAG, and is that where"
              " the multiconfig deploys (OCI_MULTIARCH_DEPLOY[%s] names another place)?" % (part.multiconfig, recipe, path, part.arch))
    return path
