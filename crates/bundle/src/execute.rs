//! Carrying out a plan: stores first, then the services that need them, then everything visible at once.

use serde::Serialize;
use vcontainer_image::{Meta, Timestamp, TreePath};
use vcontainer_store::{
    ImportOptions, ImportReport, Progress, Sink, SinkError, StoreError, StoreImage, StoreKind, Written,
    import,
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

impl Plan {
    /// Writes everything into `sink` and commits it.
    ///
    /// # Errors
    /// See [`ExecuteError`]; the sink is dropped without a commit, which leaves the target as it was.
    pub fn execute(
        &self,
        sink: Box<dyn Sink + '_>,
        options: &ImportOptions,
        progress: &dyn Progress,
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
            let report = import(&store.target, &images, &*sink, options, progress);
            stores.push(StoreReport {
                runtime: store.runtime,
                kind: store.target.kind,
                root: store.target.root.to_string(),
                import: report.map_err(|source| ExecuteError::Store {
                    engine: store.runtime.engine(),
                    source: Box::new(source),
                })?,
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
