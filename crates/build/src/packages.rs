//! The content of `packages` layers: Debian packages that apt finds and nobody runs, or what another package manager has
//! installed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use vcontainer_debian::{self as debian, Apt, Installed, Solution, Sources};
use vcontainer_image::{Meta, Platform, Timestamp, TreePath};

use crate::definition::Definition;
use crate::diff::place;
use crate::error::Error;
use crate::tree::{Content, Kind, Link, Node, Tree};

/// What package managers keep for themselves: it tells how an image was made, differs from build to build, and is of no use
/// without the package manager. Paths of dpkg and apt, opkg, rpm and dnf.
const STATE: [&str; 14] = [
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/cache/apt",
    "/var/lib/opkg",
    "/usr/lib/opkg",
    "/etc/opkg",
    "/var/lib/rpm",
    "/usr/lib/sysimage/rpm",
    "/var/lib/dnf",
    "/var/cache/dnf",
    "/var/cache/libdnf5",
    "/etc/dnf",
    "/etc/rpm",
    "/etc/rpmrc",
];

/// Debian's name of the architecture of a platform, if it has one.
#[must_use]
pub fn debian_architecture(platform: &Platform) -> Option<&'static str> {
    let variant = platform.variant.as_deref();
    Some(match (platform.architecture.as_str(), variant) {
        ("arm64", _) => "arm64",
        ("amd64", _) => "amd64",
        ("386", _) => "i386",
        ("arm", Some("v5" | "v6")) => "armel",
        ("arm", _) => "armhf",
        ("riscv64", _) => "riscv64",
        ("ppc64le", _) => "ppc64el",
        ("s390x", _) => "s390x",
        ("loong64", _) => "loong64",
        ("mips64le", _) => "mips64el",
        ("mipsle", _) => "mipsel",
        _ => return None,
    })
}

/// Takes out what package managers keep for themselves.
pub(crate) fn without_state(tree: &mut Tree) {
    for path in STATE {
        if let Ok(path) = TreePath::clean(path.as_bytes()) {
            tree.remove(&path);
        }
    }
}

/// Packages of a layer in one tree.
pub(crate) struct Unpacked {
    /// What is in them.
    pub(crate) tree: Tree,
    /// Those with maintainer scripts, which were not run.
    pub(crate) with_scripts: Vec<String>,
    /// Their configuration files.
    configuration: Vec<TreePath>,
}

/// An apt for the layers of one image: it knows what the layers below have installed.
pub(crate) struct Packages<'a> {
    sources: Option<&'a Sources>,
    apt: Option<Apt>,
    installed: Installed,
}

impl<'a> Packages<'a> {
    pub(crate) fn new(sources: Option<&'a Sources>) -> Self {
        Self {
            sources,
            apt: None,
            installed: Installed::default(),
        }
    }

    /// What a layer needs that those below have not; `None` without anything to take packages from.
    pub(crate) fn solve(
        &mut self,
        definition: &Definition,
        names: &[String],
        tell: &mut dyn FnMut(debian::Event<'_>),
    ) -> Result<Option<Solution>, Error> {
        let Some(sources) = self.sources else {
            return Ok(None);
        };
        let apt = match &mut self.apt {
            Some(apt) => apt,
            none => none.insert(Apt::open(sources, tell).map_err(of(definition))?),
        };
        let solution = apt.solve(names, &self.installed, tell);
        solution.map_err(of(definition)).map(Some)
    }

    /// Fetches and unpacks the packages of a layer, and returns what is installed by it.
    pub(crate) fn unpack(
        &mut self,
        definition: &Definition,
        solution: &Solution,
        directory: &Path,
        tell: &mut dyn FnMut(debian::Event<'_>),
    ) -> Result<(Unpacked, Installed), Error> {
        let Some(apt) = &mut self.apt else {
            return Err(Error::definition(
                format!("layer `{definition}`"),
                "no source of packages",
            ));
        };
        let fetched = apt.fetch(solution, tell).map_err(of(definition))?;
        let mut installed = Installed::default();
        let mut with_scripts = Vec::new();
        let mut configuration = Vec::new();
        for package in &fetched.packages {
            let control = debian::control(package).map_err(of(definition))?;
            installed.add(&control);
            // A name that is none is in no package's files either.
            let names = control.configuration.iter();
            configuration.extend(names.filter_map(|name| TreePath::clean(name.as_bytes()).ok()));
            if !control.scripts.is_empty() {
                with_scripts.push(package.name.clone());
            }
        }
        let tree = debian::unpack(&fetched.packages, directory, &|_| true).map_err(of(definition))?;
        let unpacked = Unpacked {
            tree: convert(tree),
            with_scripts,
            configuration,
        };
        Ok((unpacked, installed))
    }

    /// A layer has installed this.
    pub(crate) fn add(&mut self, installed: &Installed) {
        self.installed.extend(installed);
    }
}

fn of(definition: &Definition) -> impl Fn(debian::Error) -> Error {
    move |source| Error::Packages {
        definition: definition.to_string(),
        source: Box::new(source),
    }
}

/// What is below a layer of packages stays where packages would not touch it on a machine either: directories are as they
/// are, and so are configuration files.
pub(crate) fn respect(below: &Tree, unpacked: &mut Unpacked) {
    let tree = &mut unpacked.tree;
    without_links_over(below, tree);
    for file in &unpacked.configuration {
        if place(below, file).is_some_and(|path| below.get(&path).is_some()) {
            tree.remove(file);
        }
    }
    let is_directory = |node: Option<&Node>| matches!(node.map(|node| &node.kind), Some(Kind::Directory));
    let known: Vec<TreePath> = tree
        .iter()
        .filter(|(path, node)| {
            is_directory(Some(node)) && place(below, path).is_some_and(|path| is_directory(below.get(&path)))
        })
        .map(|(path, _)| path.clone())
        .collect();
    for path in known {
        tree.imply(path);
    }
}

/// Where the base has a directory, no link into `/usr` takes its place: it would hide all that is in it.
fn without_links_over(below: &Tree, tree: &mut Tree) {
    let links: Vec<TreePath> = tree
        .iter()
        .filter(|(path, node)| {
            path.components().count() == 1
                && matches!(&node.kind, Kind::Symlink(target) if target.starts_with(b"usr/"))
                && below
                    .get(path)
                    .is_some_and(|node| matches!(node.kind, Kind::Directory))
        })
        .map(|(path, _)| path.clone())
        .collect();
    for path in links {
        tree.remove(&path);
    }
}

fn convert(tree: debian::Tree) -> Tree {
    let (nodes, spool) = tree.into_parts();
    let spool = Arc::new(spool);
    let nodes: Vec<_> = nodes.collect();
    // Names of one file share its content. Empty files share nothing.
    let mut names: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, node) in &nodes {
        if let debian::Kind::File(content) = node.kind
            && content.size() > 0
        {
            *names.entry(content.offset()).or_default() += 1;
        }
    }
    let mut converted = Tree::default();
    for (path, node) in nodes {
        let kind = match node.kind {
            debian::Kind::Directory => Kind::Directory,
            debian::Kind::Symlink(target) => Kind::Symlink(target),
            debian::Kind::Character(major, minor) => Kind::Char(major, minor),
            debian::Kind::Block(major, minor) => Kind::Block(major, minor),
            debian::Kind::Fifo => Kind::Fifo,
            debian::Kind::File(content) => Kind::File {
                link: names
                    .get(&content.offset())
                    .is_some_and(|count| content.size() > 0 && *count > 1)
                    .then(|| Link(content.offset())),
                content: Content::Spool {
                    file: Arc::clone(&spool),
                    offset: content.offset(),
                    size: content.size(),
                },
            },
        };
        let meta = Meta {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            mtime: Timestamp {
                seconds: i64::try_from(node.mtime).unwrap_or(i64::MAX),
                nanoseconds: 0,
            },
            xattrs: Vec::new(),
        };
        // The tree's paths were cleaned when they were read.
        let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        converted.insert(TreePath::of_components(&components), Node { meta, kind });
    }
    converted
}
