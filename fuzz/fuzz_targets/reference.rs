//! Image names: what is read is written so that it reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcontainer_image::Reference;

fuzz_target!(|text: &str| {
    for reference in [Reference::parse(text), Reference::local_podman(text)]
        .into_iter()
        .flatten()
    {
        assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference));
        // Alone, 64 hex digits are an image ID.
        let familiar = reference.familiar();
        let is_id = familiar.len() == 64 && familiar.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(
            is_id || Reference::parse(&familiar).as_ref() == Ok(&reference),
            "{familiar}"
        );
        // Names become keys of JSON files and parts of paths.
        let name = reference.canonical_name();
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
        assert!(
            name.split('/').all(|part| !matches!(part, "" | "." | "..")),
            "{name}"
        );
        let tagged = reference.with_tag(reference.tag_or_latest()).unwrap();
        assert_eq!(Reference::parse(&tagged.to_string()), Ok(tagged));
    }
});
