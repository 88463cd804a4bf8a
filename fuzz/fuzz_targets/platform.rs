//! Platforms: writing and reading again changes nothing, and the order of variants is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcontainer_image::Platform;

fuzz_target!(|text: &str| {
    let mut lines = text
        .lines()
        .flat_map(|line| [line.parse(), Platform::for_machine(line)]);
    let platforms: Vec<Platform> = lines.by_ref().flatten().take(8).collect();
    for one in &platforms {
        assert_eq!(one.to_string().parse::<Platform>().as_ref(), Ok(one));
        assert_eq!(
            &Platform::new(&one.os, &one.architecture, one.variant.as_deref()),
            one
        );
        assert_eq!(one.rank(one), Some(0));
        for other in &platforms {
            match (one.rank(other), other.rank(one)) {
                (Some(0), rank) => assert!(rank == Some(0) && one == other, "{one} {other}"),
                (Some(_), rank) => assert_eq!(rank, None, "{one} {other}"),
                (None, _) => {}
            }
        }
    }
});
