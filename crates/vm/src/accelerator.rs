//! Whether KVM runs a guest: found out by running one.
//!
//! A `/dev/kvm` that opens proves nothing: there are hosts on which QEMU then aborts, or the guest hangs. So a guest of
//! a few instructions is run, which ends QEMU in a way that nothing else does.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vcontainer_guest::Arch;

use crate::error::{During, Error};
use crate::json::{read_json, write_json};
use crate::machine::{ends_within, tied};
use crate::pair::host_boot;
use crate::progress::Progress;
use crate::qemu::Qemu;
use crate::spec::Accelerator;

/// How long the trial may take. Where KVM works it takes a tenth of this.
const PATIENCE: Duration = Duration::from_millis(1200);

/// What the trial of this host gave.
#[derive(Serialize, Deserialize)]
struct Remembered {
    /// Host boot, kernel and QEMU.
    of: String,
    /// Why KVM can't be used, if so.
    trouble: Option<String>,
}

/// Whether to use KVM. `program` is our own, which has the hidden sub-commands.
pub(crate) fn choose(
    wish: Accelerator,
    arch: Arch,
    qemu: &Qemu,
    program: &Path,
    cache: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<bool, Error> {
    if wish == Accelerator::Tcg {
        return Ok(false);
    }
    if arch.name() != std::env::consts::ARCH {
        return match wish {
            Accelerator::Kvm => Err(Error::Kvm(format!(
                "this host is {} and the machine {arch}",
                std::env::consts::ARCH
            ))),
            _ => Ok(false),
        };
    }
    let of = format!("{} {} {}", host_boot(), kernel(), qemu.identity);
    let file = cache.join("kvm.json");
    let known = read_json::<Remembered>(&file)
        .ok()
        .flatten()
        .filter(|known| known.of == of);
    let trouble = match known {
        Some(known) => known.trouble,
        None => {
            progress(Progress::Probing);
            let trouble = match try_kvm(arch, tied(program, &qemu.program), cache) {
                Err(error) if wish == Accelerator::Auto => {
                    Some(format!("it cannot be tried: {}", error.chain()))
                }
                tried => tried?,
            };
            if let Some(trouble) = &trouble
                && wish == Accelerator::Auto
            {
                progress(Progress::Notice(notice(trouble)));
            }
            remember(
                cache,
                &Remembered {
                    of,
                    trouble: trouble.clone(),
                },
            );
            trouble
        }
    };
    match (trouble, wish) {
        (None, _) => Ok(true),
        (Some(trouble), Accelerator::Kvm) => Err(Error::Kvm(trouble)),
        (Some(_), _) => Ok(false),
    }
}

/// A real guest did not start although the trial had passed: KVM isn't used again in this boot of the host.
pub(crate) fn distrust(qemu: &Qemu, cache: &Path, why: &str) -> Progress {
    let of = format!("{} {} {}", host_boot(), kernel(), qemu.identity);
    remember(
        cache,
        &Remembered {
            of,
            trouble: Some(why.into()),
        },
    );
    Progress::Notice(notice(why))
}

fn notice(trouble: &str) -> String {
    format!("KVM cannot be used ({trouble}): the machine is emulated, which is slower")
}

fn remember(cache: &Path, what: &Remembered) {
    // A cache that can't be written costs time, nothing else.
    let _ = fs::create_dir_all(cache).map(|()| write_json(&cache.join("kvm.json"), what));
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .into()
}

/// Runs the small guest. Gives why KVM can't be used, if so.
fn try_kvm(arch: Arch, qemu: Command, cache: &Path) -> Result<Option<String>, Error> {
    match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some("there is no /dev/kvm".into()));
        }
        Err(error) => return Ok(Some(format!("/dev/kvm cannot be opened: {error}"))),
        Ok(_) => {}
    }
    run_trial(arch, qemu, "kvm", "host", cache, PATIENCE)
}

fn run_trial(
    arch: Arch,
    mut qemu: Command,
    accelerator: &str,
    cpu: &str,
    cache: &Path,
    patience: Duration,
) -> Result<Option<String>, Error> {
    fs::create_dir_all(cache).on("making the directory", cache)?;
    let doing = || "trying KVM".to_owned();
    let directory = tempfile::Builder::new()
        .prefix("kvm-")
        .tempdir_in(cache)
        .during(doing)?;
    let firmware = directory.path().join("firmware");
    fs::write(&firmware, payload(arch)).during(doing)?;
    let log = directory.path().join("log");
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-m",
        "32M",
        "-no-reboot",
    ])
    .args(["-accel", accelerator, "-cpu", cpu, "-bios", "firmware"])
    .args(match (arch, accelerator) {
        (Arch::X86_64, _) => &["-machine", "pc", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"][..],
        (Arch::Aarch64, "kvm") => &["-machine", "virt,gic-version=host"][..],
        (Arch::Aarch64, _) => &["-machine", "virt"][..],
    })
    .current_dir(directory.path())
    .stdin(Stdio::null())
    .stdout(Stdio::null())
    .stderr(File::create(&log).during(doing)?);
    let mut child = qemu.spawn().during(doing)?;
    let ended = ends_within(&child, patience);
    let _ = child.kill();
    let status = child.wait().during(doing)?;
    if !ended {
        return Ok(Some("a guest that was tried hung".into()));
    }
    if status.code() == Some(telling_code(arch)) {
        return Ok(None);
    }
    let said = fs::read(&log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let first = said
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("QEMU said nothing")
        .trim();
    Ok(Some(format!("a guest that was tried failed: {first}")))
}

/// How QEMU ends when the whole payload ran.
fn telling_code(arch: Arch) -> i32 {
    match arch {
        // isa-debug-exit: twice the value that was written, and 1.
        Arch::X86_64 => (0x2a << 1) | 1,
        // An ordinary end; any failure of QEMU's has another code.
        Arch::Aarch64 => 0,
    }
}

/// The guest: a firmware.
fn payload(arch: Arch) -> Vec<u8> {
    match arch {
        Arch::X86_64 => {
            const SIZE: usize = 0x1_0000;
            let mut rom = vec![0xf4; SIZE]; // hlt
            let mut put = |offset: usize, code: &[u8]| {
                if let Some(place) = rom.get_mut(offset..offset + code.len()) {
                    place.copy_from_slice(code);
                }
            };
            // The processor starts 16 bytes below the end, in real mode.
            put(0xfff0, &[0xe9, 0x0d, 0xff]); // jmp 0xff00
            put(
                0xff00,
                &[
                    0xfa, // cli
                    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x80, 0xff, // lgdt cs:[0xff80]
                    0x0f, 0x20, 0xc0, // mov eax, cr0
                    0x0c, 0x01, // or al, 1
                    0x0f, 0x22, 0xc0, // mov cr0, eax: protected mode
                    0x66, 0xea, 0x40, 0xff, 0xff, 0xff, 0x08, 0x00, // jmp 8:0xffffff40
                ],
            );
            put(
                0xff40,
                &[
                    0x66, 0xb8, 0x10, 0x00, // mov ax, 0x10
                    0x8e, 0xd8, // mov ds, ax
                    0x31, 0xc0, // xor eax, eax
                    0x0f, 0xa2, // cpuid
                    0xb9, 0x00, 0x00, 0x01, 0x00, // mov ecx, 0x10000
                    0xe2, 0xfe, // loop here
                    0xc7, 0x05, 0x00, 0x10, 0x00, 0x00, 0x2a, 0x00, 0x00,
                    0x00, // mov dword [0x1000], 0x2a
                    0xa1, 0x00, 0x10, 0x00, 0x00, // mov eax, [0x1000]
                    0xe6, 0xf4, // out 0xf4, al
                    0xf4, // hlt
                ],
            );
            // The table: limit and address, then null, code and data (flat, 32 bits).
            put(0xff80, &[0x17, 0x00, 0x90, 0xff, 0xff, 0xff]);
            put(0xff98, &[0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xcf, 0x00]);
            put(0xffa0, &[0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00]);
            put(0xff90, &[0; 8]);
            rom
        }
        Arch::Aarch64 => [
            0xd53b_0022_u32, // mrs x2, ctr_el0
            0x52a0_0021,     // mov w1, #0x10000
            0x7100_0421,     // subs w1, w1, #1
            0x54ff_ffe1,     // b.ne to the line before
            0x52b0_8000,     // mov w0, #0x84000000
            0x7280_0100,     // movk w0, #8: PSCI SYSTEM_OFF
            0xd400_0002,     // hvc #0
            0x1400_0000,     // b here
        ]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the payload where it certainly works: under emulation.
    fn emulated(arch: Arch, cpu: &str) -> Option<String> {
        let path = format!("/usr/bin/qemu-system-{arch}");
        let cache = tempfile::tempdir().unwrap();
        run_trial(
            arch,
            Command::new(&path),
            "tcg",
            cpu,
            cache.path(),
            Duration::from_secs(60),
        )
        .unwrap()
    }

    #[test]
    fn the_trial_passes_where_guests_run() {
        assert_eq!(emulated(Arch::X86_64, "max"), None);
        assert_eq!(emulated(Arch::Aarch64, "max"), None);
    }

    #[test]
    fn a_qemu_that_fails_is_no_success() {
        let trouble = emulated(Arch::X86_64, "nonsense").unwrap();
        assert!(trouble.contains("nonsense"), "{trouble}");
        assert!(emulated(Arch::Aarch64, "nonsense").is_some());
    }

    #[test]
    fn without_a_place_for_the_trial_the_machine_is_emulated() {
        let qemu = Qemu {
            program: "/nonexistent".into(),
            version: String::new(),
            identity: String::new(),
        };
        let own: Arch = std::env::consts::ARCH.parse().unwrap();
        let mut told = Vec::new();
        let cache = Path::new("/dev/null/cache");
        let kvm = choose(Accelerator::Auto, own, &qemu, cache, cache, &mut |progress| {
            told.push(progress);
        });
        assert!(!kvm.unwrap());
        assert!(matches!(told.last(), Some(Progress::Notice(_))), "{told:?}");
    }

    #[test]
    fn emulation_needs_no_trial() {
        let qemu = Qemu {
            program: "/nonexistent".into(),
            version: String::new(),
            identity: String::new(),
        };
        let foreign = match std::env::consts::ARCH {
            "x86_64" => Arch::Aarch64,
            _ => Arch::X86_64,
        };
        let mut quiet = |progress| panic!("{progress:?}");
        let cache = Path::new("/nonexistent");
        assert!(!choose(Accelerator::Tcg, foreign, &qemu, cache, cache, &mut quiet).unwrap());
        assert!(!choose(Accelerator::Auto, foreign, &qemu, cache, cache, &mut quiet).unwrap());
        assert!(choose(Accelerator::Kvm, foreign, &qemu, cache, cache, &mut quiet).is_err());
    }
}
