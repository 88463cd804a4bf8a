//! The two index files of containers/storage, `layers.json` and `images.json`: JSON arrays of objects that have an
//! `id`. Objects, fields and their order are kept as they were, but for what is set here.

use serde_json::{Map, Value};

/// One layer or one image as its index file has it.
pub(crate) type Record = Map<String, Value>;

/// The content of an index file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Records(Vec<Record>);

impl Records {
    /// Reads an index file; an empty one has no records, as containers/storage has it.
    ///
    /// # Errors
    /// A sentence part that says what is wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let records: Option<Vec<Record>> =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let records = records.unwrap_or_default();
        match records
            .iter()
            .position(|record| !record.get("id").is_some_and(Value::is_string))
        {
            Some(number) => Err(format!("record {number} has no id")),
            None => Ok(Self(records)),
        }
    }

    /// The content of the file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let records = self.0.iter().cloned().map(Value::Object).collect();
        Value::Array(records).to_string().into_bytes()
    }

    /// The records in the order of the file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.0.iter()
    }

    /// The records, to be changed in place.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.0.iter_mut()
    }

    /// The record with this ID. Of several the first counts, as containers/storage has it.
    pub(crate) fn get(&self, id: &str) -> Option<&Record> {
        self.0.iter().find(|record| text(record, "id") == Some(id))
    }

    /// Where the record with this ID is in the file.
    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.0.iter().position(|record| text(record, "id") == Some(id))
    }

    /// The record at a position that [`Records::position`] gave.
    pub(crate) fn at_mut(&mut self, position: usize) -> Option<&mut Record> {
        self.0.get_mut(position)
    }

    /// Puts a record in the place of the one with the same ID, or at the end.
    pub(crate) fn replace(&mut self, id: &str, record: Record) {
        match self.position(id).and_then(|position| self.at_mut(position)) {
            Some(place) => *place = record,
            None => self.push(record),
        }
    }

    /// Adds a record at the end.
    pub(crate) fn push(&mut self, record: Record) {
        self.0.push(record);
    }
}

/// A text field of a record.
pub(crate) fn text<'a>(record: &'a Record, field: &str) -> Option<&'a str> {
    record.get(field).and_then(Value::as_str)
}

/// A field of a record that is a list of texts.
pub(crate) fn texts(record: &Record, field: &str) -> Vec<String> {
    let list = record.get(field).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_their_order_survive() {
        let text = r#"[{"id":"b","later":{"z":1,"a":[2]},"created":"x"},{"id":"a","flags":null}]"#;
        let records = Records::parse(text.as_bytes()).unwrap();
        assert_eq!(records.to_bytes(), text.as_bytes());
        assert_eq!(records.position("a"), Some(1));
    }

    #[test]
    fn empty_files_have_no_records_and_others_are_errors() {
        for text in ["", "[]", "null"] {
            assert_eq!(
                Records::parse(text.as_bytes()).unwrap().iter().count(),
                0,
                "{text}"
            );
        }
        for text in ["{}", "[1]", "[{}]", r#"[{"id":1}]"#, "[", "[]]"] {
            assert!(Records::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
