//! Carrying out a plan: stores first, then the services that need them, then everything visible at once.

use serde::Serialize;
use vcontainer_image::{Meta, Timestamp, TreePath};
use vcontainer_store::{
    ImportOptions, ImportReport, Progress, Sink, SinkError, StoreError, StoreImage, StoreKind, StoreTarget,
    Written, import,
};

use crate::grammar::Runtime;
use crate::plan::Plan;

/// What was done.
#[derive(Debug)]
pub struct Report {
    /// The stores.
    pub stores: Vec<StoreReport>,
    /// The paths of the service files on the target.
    pub services: Vec<String>,
    /// What was written in all.
    pub written: Written,
}

/// What was done to one store.
#[derive(Debug, Serialize)]
pub struct StoreReport {
    /// Whose it is.
    pub runtime: Runtime,
    /// Its format.
    pub kind: StoreKind,
    /// Where it lies on the target.
    pub root: String,
    /// Its images and layers.
    pub import: ImportReport,
}

/// Why a plan could not be carried out. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// A store could not be written.
    #[error("cannot bundle for {engine}")]
    Store {
        /// The engine.
        engine: &'static str,
        /// What went wrong.
        source: Box<StoreError>,
    },
    /// The caller's importer could not fill a store.
    #[error("cannot bundle for {engine}")]
    Importer {
        /// The engine.
        engine: &'static str,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A service could not be written.
    #[error("cannot write the service of container `{container}`")]
    Service {
        /// The container.
        container: String,
        /// What went wrong.
        source: SinkError,
    },
    /// The caller gave up.
    #[error("the bundle was interrupted")]
    Interrupted,
    /// What was written could not be made visible.
    #[error("cannot finish the bundle")]
    Commit(#[source] SinkError),
}

/// Fills a store in another way than the writer of this workspace: through a real engine, say.
pub trait Importer {
    /// Puts `images` into the store of `target`, through `sink`, which the caller commits.
    ///
    /// # Errors
    /// Whatever goes wrong; the sink is then dropped.
    fn import(
        &self,
        target: &StoreTarget,
        images: &[StoreImage<'_>],
        sink: &dyn Sink,
    ) -> Result<ImportReport, Box<dyn std::error::Error + Send + Sync>>;
}

impl Plan {
    /// Writes everything into `sink` and commits it. Stores are filled by `importer` if there is one.
    ///
    /// # Errors
    /// See [`ExecuteError`]; the sink is dropped without a commit, which leaves the target as it was.
    pub fn execute(
        &self,
        sink: Box<dyn Sink + '_>,
        options: &ImportOptions,
        progress: &dyn Progress,
        importer: Option<&dyn Importer>,
    ) -> Result<Report, ExecuteError> {
        let mut stores = Vec::new();
        for store in &self.stores {
            let images: Vec<StoreImage<'_>> = store
                .images
                .iter()
                .map(|planned| StoreImage {
                    image: &self.images[planned.image],
                    names: vec![planned.name.clone()],
                })
                .collect();
            let engine = store.runtime.engine();
            let report = match importer {
                Some(importer) => importer
                    .import(&store.target, &images, &*sink)
                    .map_err(|source| ExecuteError::Importer { engine, source })?,
                None => import(&store.target, &images, &*sink, options, progress).map_err(|source| {
                    ExecuteError::Store {
                        engine,
                        source: Box::new(source),
                    }
                })?,
            };
            stores.push(StoreReport {
                runtime: store.runtime,
                kind: store.target.kind,
                root: store.target.root.to_string(),
                import: report,
            });
        }
        self.write_services(&*sink, options.epoch)?;
        if progress.interrupted() {
            return Err(ExecuteError::Interrupted);
        }
        let written = sink.commit().map_err(ExecuteError::Commit)?;
        Ok(Report {
            stores,
            services: self.services.iter().map(|service| service.path.clone()).collect(),
            written,
        })
    }

    /// Writes the service files, then their links: an enabled unit without its file would be an error at boot.
    fn write_services(&self, sink: &dyn Sink, epoch: Timestamp) -> Result<(), ExecuteError> {
        let meta = |mode| Meta {
            mode,
            mtime: epoch,
            ..Meta::default()
        };
        for service in &self.services {
            let write = || {
                parent(sink, &service.physical, &meta(0o755))?;
                sink.file(&service.physical, &meta(0o644), &service.content)?;
                if let Some((link, target)) = &service.enabled_by {
                    parent(sink, link, &meta(0o755))?;
                    sink.symlink(link, &meta(0o777), target.as_bytes())?;
                }
                Ok(())
            };
            write().map_err(|source| ExecuteError::Service {
                container: service.container.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

/// Makes the directory of `path`.
fn parent(sink: &dyn Sink, path: &TreePath, meta: &Meta) -> Result<(), SinkError> {
    path.parent()
        .map_or(Ok(()), |directory| sink.directory(&directory, meta))
}
