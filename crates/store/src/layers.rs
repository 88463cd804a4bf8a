//! Which layers an import has to write, and their writing: several at a time, each one once.
//!
//! How a store plugs in: it makes a [`LayerPlan`] known to itself (where does the directory of each layer lie, which
//! layers are there already), implements [`LayerStore`], calls [`write_layers`], and writes what refers to the layers
//! after that, with the [`Outcome`] of each.
//!
//! A layer is applied without looking at what lies below it, so layers can be applied at the same time. What depends on
//! the layers below (explicit whiteouts, metadata of implied directories) is *settled* afterwards, parents first, in one
//! thread. A sink that takes one subtree at a time gets the layers in the order of the plan.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};

use vcontainer_image::{ChainId, DiffId, Image, LayerSource};

use crate::import::{Import, LayerReport, StoreImage, WrittenLayer};
use crate::{AppliedLayer, ApplyOptions, LayerTree, LowerView, StoreError, TreeWriter, apply, settle};

/// How many layers may be applied before the oldest of them is settled: bounds open files and memory when one layer
/// takes much longer than the others.
const AHEAD: usize = 8;

/// A layer together with everything below it; images that agree up to here share it.
#[derive(Debug)]
pub(crate) struct Layer<'a> {
    /// Its position in [`LayerPlan::layers`].
    pub index: usize,
    /// Which layer it is.
    pub chain: ChainId,
    /// Its content.
    pub diff_id: DiffId,
    /// The layer below, a smaller position in [`LayerPlan::layers`].
    pub parent: Option<usize>,
    /// Whether an image of this import has a layer on top of it.
    pub has_child: bool,
    /// Where its content comes from.
    pub source: &'a LayerSource,
    /// The first image that has it.
    pub image: &'a Image,
    /// Which layer of that image it is, counted from 1 at the base.
    pub number: usize,
    /// The images that have it, as positions in the list of images.
    pub users: Vec<usize>,
}

/// The layers of some images, each once.
#[derive(Debug)]
pub(crate) struct LayerPlan<'a> {
    /// Parents before children.
    pub layers: Vec<Layer<'a>>,
    /// For every image its layers, base first, as positions in `layers`.
    pub images: Vec<Vec<usize>>,
}

impl<'a> LayerPlan<'a> {
    /// The layers of `images`, in the order of the images.
    pub(crate) fn new(images: &[StoreImage<'a>]) -> Self {
        let mut plan = Self {
            layers: Vec::new(),
            images: Vec::new(),
        };
        let mut known: HashMap<ChainId, usize> = HashMap::new();
        for (user, StoreImage { image, .. }) in images.iter().enumerate() {
            let mut stack = Vec::with_capacity(image.layers.len());
            for source in &image.layers {
                let parent: Option<usize> = stack.last().copied();
                let below = parent.map(|parent| plan.layers[parent].chain);
                let chain = ChainId::on_top_of(below, source.diff_id);
                let index = *known.entry(chain).or_insert(plan.layers.len());
                if index == plan.layers.len() {
                    let number = stack.len() + 1;
                    let (diff_id, users) = (source.diff_id, Vec::new());
                    let has_child = false;
                    plan.layers.push(Layer {
                        index,
                        chain,
                        diff_id,
                        parent,
                        has_child,
                        source,
                        image,
                        number,
                        users,
                    });
                    if let Some(parent) = parent {
                        plan.layers[parent].has_child = true;
                    }
                }
                plan.layers[index].users.push(user);
                stack.push(index);
            }
            plan.images.push(stack);
        }
        plan
    }

    /// The layers below a layer, nearest first.
    pub(crate) fn below(&self, layer: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.layers[layer].parent, |parent| self.layers[*parent].parent)
    }
}

/// What a kind of store says about its layers.
pub(crate) trait LayerStore: Sync {
    /// The directory on this machine that has the content of the layer, if the store has the layer already and it can
    /// be shared. Asked only when everything below the layer is there, too.
    fn present(&self, layer: &Layer<'_>) -> Option<PathBuf>;

    /// Opens the directory for the content of a layer that is not there, after making what it lies in. Called from
    /// several threads when the sink allows.
    fn open(&self, layer: &Layer<'_>) -> Result<Box<dyn TreeWriter + '_>, StoreError>;

    /// Writes what belongs to a layer beside its content, such as the tar-split file. Called for each layer that was
    /// written, parents first, in one thread, when no subtree is open if the sink takes one at a time.
    fn written(&self, layer: &Layer<'_>, applied: &mut AppliedLayer) -> Result<(), StoreError>;
}

/// What became of a layer.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The store had it already.
    Present,
    /// It was written and its blob and diff ID were verified.
    Written(LayerFacts),
}

/// What was learnt by writing a layer. See [`AppliedLayer`].
#[derive(Debug, Clone)]
pub(crate) struct LayerFacts {
    /// Bytes of the uncompressed tar stream.
    pub uncompressed_size: u64,
    /// Bytes of all content.
    pub content_size: u64,
    /// Names in it, its root included.
    pub names: u64,
    /// Owners.
    pub uids: BTreeSet<u32>,
    /// Groups.
    pub gids: BTreeSet<u32>,
}

/// Writes all layers of the plan that the store does not have; one outcome for each layer of the plan.
///
/// # Errors
/// The first layer in the order of the plan that could not be written.
pub(crate) fn write_layers(task: &Import<'_>, store: &dyn LayerStore) -> Result<Vec<Outcome>, StoreError> {
    let plan = task.plan;
    let mut present: Vec<Option<PathBuf>> = Vec::with_capacity(plan.layers.len());
    for layer in &plan.layers {
        let whole = layer.parent.is_none_or(|parent| present[parent].is_some());
        present.push(if whole { store.present(layer) } else { None });
    }
    let missing: Vec<usize> = (0..plan.layers.len())
        .filter(|layer| present[*layer].is_none())
        .collect();
    task.progress.start(
        missing.len(),
        missing.iter().map(|layer| plan.layers[*layer].source.size).sum(),
    );

    let mut work = Work {
        task,
        store,
        trees: Trees::new(plan, present, &missing),
        outcomes: BTreeMap::new(),
    };
    let workers = task
        .options
        .jobs
        .max(1)
        .min(task.sink.parallelism())
        .min(missing.len());
    if workers > 1 {
        work.in_parallel(&missing, workers)?;
    } else {
        work.in_order(&missing)?;
    }
    let mut outcomes = work.outcomes;
    Ok((0..plan.layers.len())
        .map(|layer| outcomes.remove(&layer).unwrap_or(Outcome::Present))
        .collect())
}

/// What the report says about the layers.
pub(crate) fn reports(plan: &LayerPlan<'_>, outcomes: &[Outcome]) -> Vec<LayerReport> {
    plan.layers
        .iter()
        .zip(outcomes)
        .map(|(layer, outcome)| report(layer, outcome))
        .collect()
}

fn report(layer: &Layer<'_>, outcome: &Outcome) -> LayerReport {
    LayerReport {
        chain: layer.chain,
        diff_id: layer.diff_id,
        blob: layer.source.digest,
        blob_size: layer.source.size,
        images: layer.users.iter().collect::<BTreeSet<_>>().len(),
        written: match outcome {
            Outcome::Present => None,
            Outcome::Written(facts) => Some(WrittenLayer {
                uncompressed_size: facts.uncompressed_size,
                content_size: facts.content_size,
            }),
        },
    }
}

/// A layer that has been applied and whose directory is still open.
type Applied<'a> = (AppliedLayer, Box<dyn TreeWriter + 'a>);

struct Work<'a> {
    task: &'a Import<'a>,
    store: &'a dyn LayerStore,
    trees: Trees<'a>,
    outcomes: BTreeMap<usize, Outcome>,
}

impl<'a> Work<'a> {
    fn in_order(&mut self, missing: &[usize]) -> Result<(), StoreError> {
        for layer in missing {
            let lower = self.trees.lower(*layer)?;
            let applied = apply_layer(self.task, self.store, *layer, Some(&lower))?;
            drop(lower);
            self.settle(*layer, applied)?;
        }
        Ok(())
    }

    fn in_parallel(&mut self, missing: &[usize], workers: usize) -> Result<(), StoreError> {
        let (task, store) = (self.task, self.store);
        let next = AtomicUsize::new(0);
        let gate = Gate::new();
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..workers {
                let (sender, next, gate) = (sender.clone(), &next, &gate);
                scope.spawn(move || {
                    let _guard = CloseOnPanic(gate);
                    loop {
                        let turn = next.fetch_add(1, Ordering::Relaxed);
                        let Some(layer) = missing.get(turn) else { break };
                        if !gate.wait_for(turn) {
                            break;
                        }
                        // The receiver lives until all senders are gone.
                        let _ = sender.send((turn, apply_layer(task, store, *layer, None)));
                    }
                });
            }
            drop(sender);

            let mut waiting: BTreeMap<usize, Applied<'a>> = BTreeMap::new();
            let mut failure: Option<(usize, StoreError)> = None;
            let mut settled = 0;
            for (turn, result) in receiver {
                let mut failed = |turn: usize, error: StoreError| {
                    gate.close();
                    if failure.as_ref().is_none_or(|(first, _)| turn < *first) {
                        failure = Some((turn, error));
                    }
                };
                match result {
                    Ok(applied) => drop(waiting.insert(turn, applied)),
                    Err(error) => failed(turn, error),
                }
                while let Some(applied) = waiting.remove(&settled) {
                    if let Err(error) = self.settle(missing[settled], applied) {
                        failed(settled, error);
                        break;
                    }
                    settled += 1;
                    gate.settled(settled);
                }
            }
            failure.map_or(Ok(()), |(_, error)| Err(error))
        })
    }

    /// Finishes a layer whose parents are finished.
    fn settle(&mut self, layer: usize, (mut applied, mut out): Applied<'a>) -> Result<(), StoreError> {
        let lower = self.trees.lower(layer)?;
        settle(&mut applied.tree, &lower, &mut *out, self.task.options.epoch)?;
        drop(lower);
        out.finish()?;
        let place = &self.task.plan.layers[layer];
        self.store.written(place, &mut applied)?;
        let outcome = Outcome::Written(LayerFacts {
            uncompressed_size: applied.uncompressed_size,
            content_size: applied.content_size,
            names: applied.tree.len() as u64,
            uids: applied.uids,
            gids: applied.gids,
        });
        self.task.progress.layer_done(&report(place, &outcome));
        self.outcomes.insert(layer, outcome);
        self.trees.settled(layer, applied.tree);
        Ok(())
    }
}

fn apply_layer<'a>(
    task: &Import<'a>,
    store: &'a dyn LayerStore,
    layer: usize,
    lower: Option<&LowerView<'_>>,
) -> Result<Applied<'a>, StoreError> {
    let layer = &task.plan.layers[layer];
    let mut out = store.open(layer)?;
    let options = ApplyOptions {
        limits: task.options.limits,
        epoch: task.options.epoch,
        scratch: &task.options.scratch,
        on_read: &|bytes| {
            task.progress.advance(bytes);
            match task.progress.interrupted() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        },
    };
    let applied = apply(layer.source, &mut *out, lower, &options).map_err(|source| StoreError::Layer {
        image: layer.image.origin.clone(),
        number: layer.number,
        count: layer.image.layers.len(),
        source: Box::new(source),
    })?;
    Ok((applied, out))
}

/// The names of layers, kept while a layer above still has to be settled.
struct Trees<'a> {
    plan: &'a LayerPlan<'a>,
    present: Vec<Option<PathBuf>>,
    trees: Vec<Option<LayerTree>>,
    /// How many layers above have still to be settled.
    uses: Vec<usize>,
}

impl<'a> Trees<'a> {
    fn new(plan: &'a LayerPlan<'a>, present: Vec<Option<PathBuf>>, missing: &[usize]) -> Self {
        let mut uses = vec![0; plan.layers.len()];
        for below in missing.iter().flat_map(|layer| plan.below(*layer)) {
            uses[below] += 1;
        }
        let trees = (0..plan.layers.len()).map(|_| None).collect();
        Self {
            plan,
            present,
            trees,
            uses,
        }
    }

    /// What lies below a layer.
    fn lower(&mut self, layer: usize) -> Result<LowerView<'_>, StoreError> {
        let plan = self.plan;
        for below in plan.below(layer) {
            if let (None, Some(path)) = (&self.trees[below], &self.present[below]) {
                let tree = LayerTree::from_directory(path).map_err(|error| StoreError::Read {
                    path: error.path,
                    source: error.source,
                })?;
                self.trees[below] = Some(tree);
            }
        }
        Ok(LowerView::new(
            plan.below(layer).filter_map(|below| self.trees[below].as_ref()),
        ))
    }

    fn settled(&mut self, layer: usize, tree: LayerTree) {
        if self.uses[layer] > 0 {
            self.trees[layer] = Some(tree);
        }
        for below in self.plan.below(layer) {
            self.uses[below] -= 1;
            if self.uses[below] == 0 {
                self.trees[below] = None;
            }
        }
    }
}

/// Lets workers run at most [`AHEAD`] layers ahead of the one that is to be settled next.
struct Gate {
    /// How many layers are settled; `None` after a failure.
    settled: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Gate {
    fn new() -> Self {
        Self {
            settled: Mutex::new(Some(0)),
            changed: Condvar::new(),
        }
    }

    /// Waits until the layer whose turn is `turn` may be applied; `false` if it is not wanted any more.
    fn wait_for(&self, turn: usize) -> bool {
        let state = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let far = |settled: &mut Option<usize>| settled.is_some_and(|settled| turn >= settled + AHEAD);
        let state = self
            .changed
            .wait_while(state, far)
            .unwrap_or_else(PoisonError::into_inner);
        state.is_some()
    }

    fn settled(&self, count: usize) {
        let mut state = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(settled) = &mut *state {
            *settled = count;
        }
        self.changed.notify_all();
    }

    fn close(&self) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.changed.notify_all();
    }
}

/// Lets nobody wait for a layer whose thread has panicked.
struct CloseOnPanic<'a>(&'a Gate);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}
