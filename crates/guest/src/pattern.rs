//! Paths with `*`, as the guest data uses them.

/// A path in which `*` stands for any text without a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Vec<u8>>);

impl Pattern {
    pub fn new(text: &str) -> Self {
        Self(text.split('/').map(|part| part.as_bytes().to_vec()).collect())
    }

    /// Whether it means this path.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.matches_parents(path) && path.split(|byte| *byte == b'/').count() == self.0.len()
    }

    /// Whether it means this path or a directory that it lies in.
    pub fn covers(&self, path: &[u8]) -> bool {
        self.matches_parents(path)
    }

    fn matches_parents(&self, path: &[u8]) -> bool {
        let mut parts = path.split(|byte| *byte == b'/');
        self.0
            .iter()
            .all(|pattern| parts.next().is_some_and(|part| component(pattern, part)))
    }
}

/// Matches one component.
fn component(pattern: &[u8], text: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|byte| *byte == b'*') else {
        return pattern == text;
    };
    let (head, rest) = (
        pattern.get(..star).unwrap_or_default(),
        pattern.get(star + 1..).unwrap_or_default(),
    );
    let Some(text) = text.strip_prefix(head) else {
        return false;
    };
    (0..=text.len()).any(|at| component(rest, text.get(at..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_in_their_component() {
        let certificates = Pattern::new("usr/share/*/x*.crt");
        assert!(certificates.matches(b"usr/share/ca/x1.crt"));
        assert!(certificates.matches(b"usr/share/ca/x.crt"));
        for other in [
            &b"usr/share/ca/b/x1.crt"[..],
            b"usr/share/ca",
            b"usr/share/ca/y.crt",
            b"usr/share/ca/x.crt/d",
        ] {
            assert!(!certificates.matches(other));
        }
        assert!(certificates.covers(b"usr/share/ca/x.crt/d"));
    }

    #[test]
    fn what_lies_below_is_covered() {
        let doc = Pattern::new("usr/share/doc");
        assert!(doc.covers(b"usr/share/doc") && doc.covers(b"usr/share/doc/a/b"));
        assert!(!doc.covers(b"usr/share/doc-base") && !doc.covers(b"usr/share"));
    }
}
