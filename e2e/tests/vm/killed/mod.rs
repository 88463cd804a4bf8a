//! Torture: QEMU, the supervisor or the client is killed at some moment of an operation. Whatever was reported as done
//! is there afterwards, the next command works, and nothing is left behind.
//!
//! `VCONTAINER_ROUNDS` says how many are killed (a long run, as `make test-long` does: 50), `VCONTAINER_SEED` which.

mod template;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::guest;
use e2e::person::{Person, ended};
use e2e::process::Outcome;
use e2e::random::Random;
use e2e::trials::Trials;
use rustix::process::{Pid, Signal, kill_process};
use vcontainer_guest::{Arch, Engine};

use crate::machine::{Imported, Machine, Way, finish};
use crate::moment::{Moment, Watch};

/// Small, and yet an import takes a while.
const BYTES: usize = 3_000_000;

pub fn add(trials: &mut Trials) {
    trials.anywhere("killed::at_any_moment", at_any_moment);
    trials.anywhere("killed::while_a_template_is_made", template::maker);
}

/// A number that the caller may have given.
fn setting(name: &str) -> Result<Option<u64>> {
    std::env::var(name)
        .ok()
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().with_context(|| format!("reading {name}")))
        .transpose()
}

/// A seed that is another one each time.
fn by_clock() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_secs())
}

fn at_any_moment() -> Result<()> {
    let rounds = setting("VCONTAINER_ROUNDS")?.unwrap_or(5);
    let seed = setting("VCONTAINER_SEED")?.unwrap_or_else(by_clock);
    println!("VCONTAINER_SEED={seed} VCONTAINER_ROUNDS={rounds}");
    let mut random = Random::new(seed);
    let guests = [(Engine::Podman, Arch::Aarch64), (Engine::Docker, Arch::Aarch64)];
    let person = guest::owner(&guests)?;
    let mut victims = Deck::new(&[Victim::Qemu, Victim::Supervisor, Victim::Client]);
    let mut podman = Tortured::new(&person, Engine::Podman)?;
    let mut docker = None;
    for number in 1..=rounds {
        // Docker boots slowly: one in five.
        let tortured = match number % 5 {
            0 => match &mut docker {
                Some(docker) => docker,
                none => none.insert(Tortured::new(&person, Engine::Docker)?),
            },
            _ => &mut podman,
        };
        let round = tortured.plan(&mut random, &mut victims);
        let begin = Instant::now();
        let end = tortured
            .go(&round)
            .with_context(|| format!("VCONTAINER_SEED={seed}: round {number}: {round}"))?;
        println!("round {number}: {round}: {end} ({} s)", begin.elapsed().as_secs());
    }
    for tortured in docker.iter().chain([&podman]) {
        tortured.machine.has(&tortured.images)?;
        tortured.machine.intact(&tortured.images)?;
        tortured.machine.stop()?;
    }
    Ok(())
}

/// Things in random order, each as often as the others.
struct Deck<T: 'static> {
    all: &'static [T],
    left: Vec<T>,
}

impl<T: Copy> Deck<T> {
    fn new(all: &'static [T]) -> Self {
        Self {
            all,
            left: Vec::new(),
        }
    }

    fn draw(&mut self, random: &mut Random) -> T {
        if self.left.is_empty() {
            self.left.extend(self.all);
        }
        self.left.swap_remove(random.below(self.left.len()))
    }
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Qemu,
    Supervisor,
    Client,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// An image goes in, into a machine that is up or suspended.
    Import {
        way: Way,
        up: bool,
    },
    Suspend,
    Resume,
    /// The first command of a state directory, which copies the template.
    First,
}

const OPERATIONS: &[Kind] = &[Kind::Import, Kind::Suspend, Kind::Resume, Kind::First];

#[derive(Clone, Copy)]
enum Kind {
    Import,
    Suspend,
    Resume,
    First,
}

struct Round {
    engine: Engine,
    operation: Operation,
    victim: Victim,
    moment: Moment,
}

impl fmt::Display for Round {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {:?}, {:?} killed {}",
            self.engine, self.operation, self.victim, self.moment
        )
    }
}

/// A machine, and what must be in it.
struct Tortured<'a> {
    machine: Machine<'a>,
    images: Vec<Imported>,
    operations: Deck<Kind>,
    number: usize,
    /// How long things take here when nobody is killed.
    import: Duration,
    suspend: Duration,
    resume: Duration,
}

impl<'a> Tortured<'a> {
    /// A machine with one image in it, suspended.
    fn new(person: &'a Person, engine: Engine) -> Result<Self> {
        let machine = Machine::new(person, engine, &format!("{engine} machine"))?;
        machine.images()?;
        let (words, image) = machine.image(0, BYTES, Way::Vimport)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let timed = |words: &[&str]| -> Result<Duration> {
            let begin = Instant::now();
            machine.command(words).output()?;
            Ok(begin.elapsed())
        };
        let import = timed(&words)?;
        let suspend = timed(&["vmemres", "stop"])?;
        let resume = timed(&["images"])?;
        machine.has(std::slice::from_ref(&image))?;
        machine.stop()?;
        Ok(Self {
            machine,
            images: vec![image],
            operations: Deck::new(OPERATIONS),
            number: 0,
            import,
            suspend,
            resume,
        })
    }

    fn plan(&mut self, random: &mut Random, victims: &mut Deck<Victim>) -> Round {
        let operation = match self.operations.draw(random) {
            Kind::Import => Operation::Import {
                way: random.pick(&[Way::Vimport, Way::Load]),
                up: random.one_in(2),
            },
            Kind::Suspend => Operation::Suspend,
            Kind::Resume => Operation::Resume,
            Kind::First => Operation::First,
        };
        let (lasts, tells): (Duration, &[Moment]) = match operation {
            Operation::Import { up: true, .. } => (self.import, &[]),
            Operation::Import { up: false, .. } => (self.import + self.resume, &[]),
            Operation::Suspend => (
                self.suspend,
                &[
                    Moment::Gone("daemon.sock"),
                    Moment::Made("devices.new"),
                    Moment::Made("devices"),
                    Moment::Made("pair.json.new"),
                    Moment::Made("pair.json"),
                    Moment::Gone("daemon.pid"),
                ],
            ),
            Operation::Resume => (
                self.resume,
                &[
                    Moment::Made("daemon.pid"),
                    Moment::Made("daemon.sock"),
                    Moment::Gone("pair.json"),
                    Moment::Made("console.log"),
                ],
            ),
            Operation::First => (
                self.resume,
                match self.machine.engine {
                    Engine::Docker => &[
                        Moment::Made("memory"),
                        Moment::Made("docker-state.img.new"),
                        Moment::Made("docker-state.img"),
                        Moment::Made("console.log"),
                    ],
                    Engine::Podman => &[
                        Moment::Made("memory"),
                        Moment::Made("podman-state.img.new"),
                        Moment::Made("podman-state.img"),
                        Moment::Made("console.log"),
                    ],
                },
            ),
        };
        let moment = match random.pick_any(tells).filter(|_| !random.one_in(3)) {
            Some(moment) => *moment,
            None => Moment::After(lasts.mul_f64(random.below(1000) as f64 / 1000.0)),
        };
        Round {
            engine: self.machine.engine,
            operation,
            victim: victims.draw(random),
            moment,
        }
    }

    /// Does it; tells how the command ended.
    fn go(&mut self, round: &Round) -> Result<String> {
        self.number += 1;
        match round.operation {
            Operation::Import { way, up } => {
                if up {
                    self.machine.images()?;
                }
                let (words, image) = self.machine.image(self.number, BYTES, way)?;
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let (end, outcome) = kill_in(&self.machine, &words, round)?;
                let found = self.machine.images_after_a_kill()?;
                // What was not reported may be there, but then it is whole.
                if let Some(id) = found.get(&image.name) {
                    ensure!(*id == image.saved.config, "{image:?} has the ID {id}");
                    self.machine.intact(std::slice::from_ref(&image))?;
                }
                if !outcome.status.success() {
                    // Half of an import must not be taken for a part of the next one.
                    self.machine.command(&words).output()?;
                }
                // It was reported: from now on it stays.
                self.images.push(image);
                self.recovered()?;
                Ok(end)
            }
            Operation::Suspend => {
                self.machine.images()?;
                let (end, _) = kill_in(&self.machine, &["vmemres", "stop"], round)?;
                self.recovered()?;
                Ok(end)
            }
            Operation::Resume => {
                let (end, outcome) = kill_in(&self.machine, &["images"], round)?;
                if outcome.status.success() {
                    self.machine.only_boots(&outcome.stderr)?;
                }
                self.recovered()?;
                Ok(end)
            }
            Operation::First => {
                let name = format!("{} first {}", self.machine.engine, self.number);
                let first = Machine::new(self.machine.person, self.machine.engine, &name)?;
                let (end, _) = kill_in(&first, &["images"], round)?;
                let found = first.images()?;
                ensure!(found.is_empty(), "a new machine has the images {found:?}");
                first.stop()?;
                first.command(&["clean"]).output()?;
                ensure!(
                    !first.state.exists(),
                    "`clean` has left {}",
                    first.state.display()
                );
                Ok(end)
            }
        }
    }

    /// The next command works, all is there, and then the machine can be suspended as ever.
    fn recovered(&self) -> Result<()> {
        self.machine.has(&self.images)?;
        self.machine.stop()
    }
}

/// Runs a command and kills at the moment. Afterwards either the machine is up, or nothing of it runs any more.
fn kill_in(machine: &Machine<'_>, words: &[&str], round: &Round) -> Result<(String, Outcome)> {
    let watch = Watch::new(&machine.state)?;
    let client = machine.start(words)?;
    let victim = match watch.wait(round.moment, &client)? {
        true => strike(machine, round.victim, Pid::from_child(&client))?,
        false => None,
    };
    let outcome = finish(client, &words.join(" "))?;
    let Some((victim, pid)) = victim else {
        ensure!(outcome.status.success(), "{outcome:?}");
        return Ok(("the command was faster".into(), outcome));
    };
    ensure!(ended(pid, Duration::from_secs(60))?, "the victim lives");
    let end = match (victim, outcome.status.code()) {
        (_, Some(0)) => "succeeded",
        (Victim::Client, None) => "was killed",
        (Victim::Qemu | Victim::Supervisor, Some(125)) => {
            let error = format!("[{}] error: ", machine.engine.tool());
            let said = &outcome.stderr;
            ensure!(said.contains(&error) && !said.contains("panicked"), "{outcome:?}");
            // Neither of the two lives without the other.
            machine.person.alone()?;
            "failed"
        }
        _ => bail!("{outcome:?}"),
    };
    Ok((format!("{victim:?} was killed, the command {end}"), outcome))
}

/// Kills the victim; where it is not there yet or any more, the one that stands behind it.
fn strike(machine: &Machine<'_>, victim: Victim, client: Pid) -> Result<Option<(Victim, Pid)>> {
    let (qemu, supervisor) = (machine.qemu()?, machine.supervisor()?);
    let from = match victim {
        Victim::Qemu => 0,
        Victim::Supervisor => 1,
        Victim::Client => 2,
    };
    let all = [
        (Victim::Qemu, qemu),
        (Victim::Supervisor, supervisor),
        (Victim::Client, Some(client)),
    ];
    for (victim, pid) in &all[from..] {
        // One that has ended by itself just now is not there.
        if let Some(pid) = pid
            && kill_process(*pid, Signal::KILL).is_ok()
        {
            return Ok(Some((*victim, *pid)));
        }
    }
    Ok(None)
}
