//! The report as other programs read it. Findings that only follow from others are left to their causes.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Finding, Report};

/// Where a finding stands.
struct Location<'a> {
    file: &'a str,
    /// Line and column, from 1; none for a file as a whole.
    position: Option<(u64, u64)>,
}

impl Report {
    fn causes(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.cause.is_none())
    }

    /// Workflow commands, which GitHub shows beside the lines of a change.
    pub(super) fn github(&self, out: &mut impl Write) -> io::Result<()> {
        for finding in self.causes() {
            let command = if finding.level == "note" { "notice" } else { finding.level };
            let place = finding.location().map(|location| {
                let position = location.position.map(|(line, column)| format!(",line={line},col={column}"));
                format!("file={}{},", property(location.file), position.unwrap_or_default())
            });
            let (place, title) = (place.unwrap_or_default(), property(&finding.reason));
            writeln!(out, "::{command} {place}title={title}::{}", data(&finding.message))?;
        }
        Ok(())
    }

    /// SARIF 2.1.0 (OASIS), one run.
    pub(super) fn sarif(&self) -> Value {
        let mut rules: Vec<&str> = self.causes().map(|finding| finding.reason.as_str()).collect();
        rules.sort_unstable();
        rules.dedup();
        let rules: Vec<_> = rules.iter().map(|id| json!({ "id": id })).collect();
        let result = |finding: &Finding| {
            let mut result =
                json!({"ruleId": finding.reason, "level": finding.level, "message": {"text": finding.message}});
            if let (Some(location), Some(members)) = (finding.location(), result.as_object_mut()) {
                members.insert("locations".to_owned(), json!([location.sarif()]));
            }
            result
        };
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {"name": "portreeve", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
                "columnKind": "unicodeCodePoints",
                "results": self.causes().map(result).collect::<Vec<_>>(),
            }],
        })
    }
}

impl Finding {
    /// The place as file, line and column; `None` where a finding stands in no file.
    fn location(&self) -> Option<Location<'_>> {
        let mut parts = self.place.rsplitn(3, ':');
        let (column, line, file) = (parts.next(), parts.next(), parts.next());
        let number = |part: Option<&str>| part.and_then(|part| part.parse().ok());
        if let (Some(column), Some(line), Some(file)) = (number(column), number(line), file) {
            return Some(Location { file, position: Some((line, column)) });
        }
        self.of_file.then_some(Location { file: &self.place, position: None })
    }
}

impl Location<'_> {
    fn sarif(&self) -> Value {
        let mut physical = json!({"artifactLocation": {"uri": uri(self.file)}});
        if let (Some((line, column)), Some(members)) = (self.position, physical.as_object_mut()) {
            members.insert("region".to_owned(), json!({"startLine": line, "startColumn": column}));
        }
        json!({ "physicalLocation": physical })
    }
}

/// A path as a relative or absolute URI reference (RFC 3986): what is not unreserved and no slash is encoded.
fn uri(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The text of a workflow command: one line, whatever stands in it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
