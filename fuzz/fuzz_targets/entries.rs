//! Entries of both grammars: what was understood, written down in full, is understood the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcontainer_bundle::grammar::{Entry, Source};
use vcontainer_bundle::naming;
use vcontainer_image::Reference;

fuzz_target!(|text: &str| {
    let _ = Source::parse(text);
    let single = text.parse::<Entry>();
    if let Ok(entries) = Entry::parse_list(text) {
        if !text.contains(char::is_whitespace) {
            assert_eq!(entries.first(), single.as_ref().ok());
        }
        entries.iter().for_each(check);
    }
});

fn check(entry: &Entry) {
    let mut text = entry.source.to_string();
    for word in [
        entry.runtime.map(|runtime| runtime.word()),
        entry.policy.map(|policy| policy.word()),
        entry.external.then_some("external"),
    ]
    .into_iter()
    .flatten()
    {
        text += ":";
        text += word;
    }
    assert_eq!(text.parse::<Entry>().as_ref(), Ok(entry), "{text}");
    assert_eq!(Source::parse(entry.source.as_str()).as_ref(), Ok(&entry.source));
    let key = entry.source.key();
    assert!(!key.contains(['/', ':']) && key != "..", "{key}");
    match &entry.source {
        Source::Remote(reference) => drop(Reference::parse(reference).unwrap()),
        Source::Local(name) => {
            for candidate in naming::candidates(name) {
                assert!(
                    !candidate.contains('/') && !candidate.starts_with('.'),
                    "{candidate}"
                );
            }
            let (repository, tag) = naming::image_name(name);
            assert!(!repository.is_empty() && !tag.is_empty(), "{name}");
            let container = naming::container_name(repository);
            assert!(
                naming::is_container_name(&container) || container.len() < 2,
                "{container}"
            );
        }
    }
}
