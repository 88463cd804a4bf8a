//! QEMU's command line, as a pure function of what the machine is.
//!
//! QEMU runs in the state directory, so the files of the state are named by their bare names.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use vcontainer_guest::Arch;

use crate::spec::BootFiles;

/// The file descriptors that QEMU inherits: the agent's channel as its standard input, QMP as its standard output.
const AGENT_FD: u8 = 0;
const QMP_FD: u8 = 1;

/// Everything that makes the virtual hardware.
#[derive(Clone, Debug)]
pub(crate) struct Hardware {
    pub(crate) arch: Arch,
    pub(crate) kvm: bool,
    pub(crate) cpus: u8,
    /// MiB.
    pub(crate) memory: u32,
    pub(crate) network: bool,
    pub(crate) guest: BootFiles,
}

/// The files that a machine writes.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The guest's memory.
    pub(crate) memory: PathBuf,
    /// Whether what the guest writes to its memory goes to that file; else nobody sees it.
    pub(crate) memory_is_shared: bool,
    /// The state disk, qcow2.
    pub(crate) disk: PathBuf,
    /// Whether the disk is thrown away, so that nothing need ever be written out.
    pub(crate) disk_is_temporary: bool,
}

impl Hardware {
    /// QEMU's machine type.
    pub(crate) fn machine_type(&self) -> &'static str {
        match self.arch {
            Arch::Aarch64 => "virt",
            Arch::X86_64 => "q35",
        }
    }

    /// What a memory image was made on: it goes on only on hardware with the same digest. Paths do not count.
    pub(crate) fn digest(&self) -> String {
        let nowhere = PathBuf::new();
        let same = Self {
            guest: BootFiles {
                kernel: nowhere.clone(),
                initramfs: nowhere.clone(),
                rootfs: nowhere.clone(),
                identity: String::new(),
            },
            ..self.clone()
        };
        let files = Files {
            memory: nowhere.clone(),
            memory_is_shared: true,
            disk: nowhere,
            disk_is_temporary: false,
        };
        let mut hash = Sha256::new();
        for word in same.command_line(&files, false) {
            hash.update(word.as_bytes());
            hash.update([0]);
        }
        hash.update(self.guest.identity.as_bytes());
        hex(&hash.finalize())
    }

    /// The words after the program's name. `resume`: wait for a device state instead of booting.
    pub(crate) fn command_line(&self, files: &Files, resume: bool) -> Vec<OsString> {
        let mut line = Line(Vec::new());
        line.flags(&["-nodefaults", "-no-user-config", "-no-reboot"]);
        line.option("-name", ["vcontainer"]);
        line.option("-display", ["none"]);
        line.option(
            "-machine",
            [
                self.machine_type(),
                ",memory-backend=memory",
                match self.arch {
                    Arch::Aarch64 if self.kvm => ",gic-version=host",
                    Arch::Aarch64 => ",gic-version=3",
                    // Devices of an old PC that nothing uses and that make QEMU and the kernel slower.
                    Arch::X86_64 => ",vmport=off,smm=off,sata=off,smbus=off,hpet=off,usb=off,graphics=off",
                },
            ],
        );
        let cpu = match (self.kvm, self.arch) {
            (true, _) => "host",
            // Signing of pointers and the wide registers cost an emulated processor a fifth of its speed, also where
            // QEMU's own algorithm signs.
            (false, Arch::Aarch64) => "max,pauth=off,sve=off,sme=off",
            // Told that copying byte by byte is fast, a guest copies so, and QEMU emulates each byte: half the speed.
            (false, Arch::X86_64) => "max,erms=off,fsrm=off",
        };
        line.option("-cpu", [cpu]);
        line.option("-accel", [if self.kvm { "kvm" } else { "tcg,thread=multi" }]);
        line.option("-smp", [self.cpus.to_string()]);
        line.option("-m", [format!("{}M", self.memory)]);
        line.words(
            "-object",
            vec![
                format!("memory-backend-file,id=memory,size={}M,mem-path=", self.memory).into(),
                escape(files.memory.as_os_str()),
                if files.memory_is_shared {
                    ",share=on"
                } else {
                    ",share=off"
                }
                .into(),
            ],
        );
        line.words("-kernel", vec![self.guest.kernel.clone().into()]);
        line.words("-initrd", vec![self.guest.initramfs.clone().into()]);
        let console = match self.arch {
            Arch::Aarch64 => "console=ttyAMA0",
            Arch::X86_64 => "console=ttyS0 no_timer_check tsc=reliable",
        };
        line.option("-append", [console, " quiet panic=-1 mitigations=off"]);
        line.option("-chardev", ["file,id=console,path=console.log,append=on"]);
        line.option("-serial", ["chardev:console"]);
        line.option("-chardev", [format!("socket,id=qmp,fd={QMP_FD}")]);
        line.option("-mon", ["chardev=qmp,mode=control"]);

        line.disk("rootfs", Format::Raw, &self.guest.rootfs);
        line.option(
            "-blockdev",
            ["driver=null-co,node-name=input,size=512,read-zeroes=on,read-only=on"],
        );
        line.option("-device", ["virtio-blk-pci,drive=input,serial=input"]);
        line.disk(
            "state",
            Format::Qcow2 {
                flushes: !files.disk_is_temporary,
            },
            &files.disk,
        );

        line.option("-chardev", [format!("socket,id=agent,fd={AGENT_FD}")]);
        // One port besides the console's, two queues for each and for the control of ports, and a vector for each queue:
        // QEMU looks after every queue at each turn, and the usual 64 cost boot and throughput.
        line.option("-device", ["virtio-serial-pci,id=serial,max_ports=2,vectors=7"]);
        line.option(
            "-device",
            ["virtserialport,bus=serial.0,chardev=agent,name=vcontainer.agent"],
        );
        if self.network {
            line.option("-netdev", ["user,id=network"]);
            line.option(
                "-device",
                ["virtio-net-pci,netdev=network,romfile=,mac=52:54:00:76:63:01"],
            );
        }
        if resume {
            line.option("-incoming", ["defer"]);
        }
        line.0
    }
}

enum Format {
    Raw,
    Qcow2 { flushes: bool },
}

/// A command line that grows.
struct Line(Vec<OsString>);

impl Line {
    fn flags(&mut self, flags: &[&str]) {
        self.0.extend(flags.iter().map(OsString::from));
    }

    fn option<S: AsRef<str>>(&mut self, name: &str, parts: impl IntoIterator<Item = S>) {
        self.words(name, parts.into_iter().map(|part| part.as_ref().into()).collect());
    }

    fn words(&mut self, name: &str, parts: Vec<OsString>) {
        self.0.push(name.into());
        let mut value = OsString::new();
        for part in parts {
            value.push(part);
        }
        self.0.push(value);
    }

    /// A virtio disk whose serial number is its name.
    fn disk(&mut self, name: &str, format: Format, path: &Path) {
        let driver = match format {
            Format::Raw => "driver=raw,read-only=on,file.read-only=on,",
            Format::Qcow2 { flushes: true } => {
                "driver=qcow2,discard=unmap,detect-zeroes=unmap,file.discard=unmap,"
            }
            Format::Qcow2 { flushes: false } => {
                "driver=qcow2,discard=unmap,detect-zeroes=unmap,cache.no-flush=on,file.discard=unmap,\
                 file.cache.no-flush=on,"
            }
        };
        self.words(
            "-blockdev",
            vec![
                format!("{driver}node-name={name},file.driver=file,file.filename=").into(),
                escape(path.as_os_str()),
            ],
        );
        self.option("-device", [format!("virtio-blk-pci,drive={name},serial={name}")]);
    }
}

/// A value inside of an option: QEMU reads `,,` as one comma.
pub(crate) fn escape(value: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(value.len());
    for &byte in value.as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(b',');
        }
    }
    OsString::from_vec(bytes)
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware(arch: Arch) -> Hardware {
        Hardware {
            arch,
            kvm: false,
            cpus: 2,
            memory: 1024,
            network: true,
            guest: BootFiles {
                kernel: "/guest/a, b/Image".into(),
                initramfs: "/guest/a, b/initramfs.cpio.gz".into(),
                rootfs: "/guest/a, b/rootfs.img".into(),
                identity: "one".into(),
            },
        }
    }

    fn files() -> Files {
        Files {
            memory: "memory".into(),
            memory_is_shared: true,
            disk: "docker-state.img".into(),
            disk_is_temporary: false,
        }
    }

    fn values<'a>(line: &'a [OsString], name: &str) -> Vec<&'a str> {
        let value = |pair: &'a [OsString]| (pair[0] == name).then(|| pair[1].to_str().unwrap());
        line.windows(2).filter_map(value).collect()
    }

    #[test]
    fn commas_in_paths_are_doubled_only_inside_of_options() {
        let line = hardware(Arch::Aarch64).command_line(&files(), false);
        assert_eq!(values(&line, "-kernel"), ["/guest/a, b/Image"]);
        assert!(values(&line, "-blockdev")[0].ends_with("file.filename=/guest/a,, b/rootfs.img"));
    }

    #[test]
    fn disks_stand_in_their_order() {
        for arch in [Arch::Aarch64, Arch::X86_64] {
            let line = hardware(arch).command_line(&files(), false);
            let serials: Vec<&str> = values(&line, "-device")
                .into_iter()
                .filter_map(|device| device.split_once("serial=").map(|(_, serial)| serial))
                .collect();
            assert_eq!(serials, ["rootfs", "input", "state"]);
        }
    }

    #[test]
    fn only_what_the_guest_sees_counts() {
        let one = hardware(Arch::X86_64);
        let mut moved = one.clone();
        moved.guest.kernel = "/elsewhere/bzImage".into();
        assert_eq!(one.digest(), moved.digest());
        for other in [
            Hardware {
                cpus: 3,
                ..one.clone()
            },
            Hardware {
                memory: 512,
                ..one.clone()
            },
            Hardware {
                network: false,
                ..one.clone()
            },
            Hardware {
                kvm: true,
                ..one.clone()
            },
            hardware(Arch::Aarch64),
        ] {
            assert_ne!(one.digest(), other.digest(), "{other:?}");
        }
        let mut rebuilt = one.clone();
        rebuilt.guest.identity = "two".into();
        assert_ne!(one.digest(), rebuilt.digest());
    }

    #[test]
    fn resuming_waits_for_the_state() {
        let machine = hardware(Arch::X86_64);
        assert!(values(&machine.command_line(&files(), false), "-incoming").is_empty());
        assert_eq!(
            values(&machine.command_line(&files(), true), "-incoming"),
            ["defer"]
        );
    }
}
