//! The text of units: words written and read by systemd's rules, and foreign units read.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vcontainer_bundle::custom;
use vcontainer_bundle::grammar::Runtime;
use vcontainer_bundle::systemd_text::{UnitFile, command, last_value, split_words, text, values, words};
use vcontainer_fuzz::systemd;
use vcontainer_image::Reference;

fuzz_target!(|data: &str| {
    let given: Vec<&str> = data.split('\u{1}').collect();
    // No argument holds a NUL: it is refused before it gets here.
    if !data.contains('\0') {
        let bytes: Vec<&[u8]> = given.iter().map(|word| word.as_bytes()).collect();
        let mut unit = UnitFile::new(&[]);
        unit.section("Service")
            .line("ExecStart", command(&given))
            .line("Environment", words(&given));
        let unit = unit.to_string();
        assert_eq!(unit.lines().count(), 3, "{unit}");
        let start = systemd::values(&unit, "Service", "ExecStart");
        assert_eq!(systemd::arguments(start[0]), bytes);
        let environment = systemd::words(systemd::values(&unit, "Service", "Environment")[0]);
        let resolved: Vec<Vec<u8>> = environment.iter().map(|word| systemd::specifiers(word)).collect();
        assert_eq!(resolved, bytes);
        assert_eq!(systemd::specifiers(text(data).as_bytes()), data.as_bytes());
        // Our own reader agrees with systemd's rules about what we write.
        let doubled: Vec<String> = given.iter().map(|word| text(word)).collect();
        assert_eq!(split_words(&words(&given)), doubled);
    }
    let bundled = [Reference::parse("app").unwrap()];
    for (name, runtime) in [
        ("a.service", Runtime::Docker),
        ("a.service", Runtime::Podman),
        ("a.container", Runtime::Podman),
    ] {
        let kind = custom::kind(Path::new(name), runtime).unwrap();
        let _ = custom::warnings(data, kind, runtime, &bundled);
    }
    let all = values(data, "Service", "ExecStart");
    if let Some(last) = last_value(data, "Service", "ExecStart") {
        assert_eq!(all.last(), Some(&last));
        let _ = split_words(&last);
    }
});
