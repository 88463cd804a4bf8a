//! systemd's rules of unit files, written down a second time: what is written is read back with these, so that an
//! error of the product's own reader cannot hide one of its writer.
//!
//! Source: systemd.syntax(7), systemd.service(5) "Command lines", systemd.unit(5) "Specifiers"; the order of
//! unquoting, specifiers and variables is that of `config_parse_exec` and `replace_env_argv`.

/// The value of each `key` in `section`, in order. Panics on a line that systemd would not take.
#[must_use]
pub fn values<'t>(unit: &'t str, section: &str, key: &str) -> Vec<&'t str> {
    let mut found = Vec::new();
    let mut inside = None;
    for line in unit.split('\n') {
        let line = line.trim_matches(BLANK);
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        assert!(!line.ends_with('\\'), "a line is continued: {line:?}");
        if let Some(name) = line.strip_prefix('[') {
            inside = Some(
                name.strip_suffix(']')
                    .expect("a section's name ends with its line"),
            );
            continue;
        }
        let (name, value) = line.split_once('=').expect("a line is an assignment");
        assert!(
            name.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "key {name:?}"
        );
        if inside == Some(section) && name == key {
            found.push(value.trim_matches(BLANK));
        }
    }
    found
}

const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// The words of a value: quotes and escapes undone.
#[must_use]
pub fn words(value: &str) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut rest = value.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let ends = matches!(rest.first(), None | Some(b' ' | b'\t' | b'\n' | b'\r'));
        assert!(
            !(*byte == b';' && ends && word.is_none()),
            "a lone semicolon starts another command: {value:?}"
        );
        match (*byte, quote) {
            (b'\\', _) => {
                let (unescaped, tail) = escape(rest);
                word.get_or_insert_default().push(unescaped);
                rest = tail;
            }
            (byte, Some(open)) if byte == open => quote = None,
            // Quotes count only at the beginning of a word (systemd.syntax(7)); systemd also takes them inside.
            (byte @ (b'"' | b'\''), None) => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (b' ' | b'\t' | b'\n' | b'\r', None) => words.extend(word.take()),
            (byte, _) => word.get_or_insert_default().push(byte),
        }
    }
    assert_eq!(quote, None, "a quote is not closed: {value:?}");
    words.extend(word);
    words
}

fn escape(rest: &[u8]) -> (u8, &[u8]) {
    let [first, tail @ ..] = rest else {
        panic!("a backslash at the end");
    };
    let byte = match first {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b's' => b' ',
        b'\\' | b'"' | b'\'' => *first,
        b'x' => {
            let digits = std::str::from_utf8(&tail[..2]).expect("two digits");
            let byte = u8::from_str_radix(digits, 16).expect("two digits");
            assert_ne!(byte, 0, "systemd refuses an escaped NUL");
            return (byte, &tail[2..]);
        }
        other => panic!("unknown escape {:?}", char::from(*other)),
    };
    (byte, tail)
}

/// The arguments that a command line gives a program: words, specifiers, variables (with none set).
#[must_use]
pub fn arguments(value: &str) -> Vec<Vec<u8>> {
    words(value)
        .iter()
        .map(|word| variables(&specifiers(word)))
        .collect()
}

/// Specifiers resolved. Panics on any but `%%`: nothing that is written here means one.
#[must_use]
pub fn specifiers(word: &[u8]) -> Vec<u8> {
    doubled(word, b'%')
}

fn variables(word: &[u8]) -> Vec<u8> {
    doubled(word, b'$')
}

fn doubled(word: &[u8], mark: u8) -> Vec<u8> {
    let mut resolved = Vec::new();
    let mut rest = word;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == mark {
            assert_eq!(rest.first(), Some(&mark), "a lone {:?}", char::from(mark));
            rest = &rest[1..];
        }
        resolved.push(*byte);
    }
    resolved
}
