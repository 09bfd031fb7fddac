//! What the command says.

use std::io::{self, Write};

use portreeve_compiler::manifest::Place;
use quick_xml::{
    Writer,
    events::{BytesText, Event},
};
use serde_json::{Value, json};

use super::{
    coverage::{Coverage, Share},
    run::Verdict,
};
use crate::printable::printable;

/// A case that was run.
pub(super) struct CaseResult {
    pub(super) suite: String,
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) verdict: Verdict,
}

/// All that is said.
pub(super) struct TestReport {
    /// Documents and manifests that are at fault, each with its place.
    pub(super) faults: Vec<String>,
    pub(super) cases: Vec<CaseResult>,
    pub(super) coverage: Coverage,
    /// Percent of rules and conditions that cases have to try.
    pub(super) threshold: usize,
}

impl TestReport {
    fn failed(&self) -> usize {
        let failed = self.cases.iter().filter(|case| !case.verdict.failures.is_empty()).count();
        failed.saturating_add(self.faults.len())
    }

    fn passed(&self) -> usize {
        self.cases.iter().filter(|case| case.verdict.failures.is_empty()).count()
    }

    fn covered(&self) -> Share {
        self.coverage.rules().and(self.coverage.conditions())
    }

    fn is_covered(&self) -> bool {
        self.covered().percent() >= self.threshold
    }

    /// Whether every case passed, nothing is at fault, and enough was tried.
    pub(super) fn is_clean(&self) -> bool {
        self.failed() == 0 && self.is_covered()
    }

    /// For people.
    pub(super) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        for fault in &self.faults {
            writeln!(out, "FAILED  {}", printable(fault))?;
        }
        for CaseResult { suite, name, place, verdict } in &self.cases {
            let word = if verdict.failures.is_empty() { "ok    " } else { "FAILED" };
            writeln!(out, "{word}  {}: {}", printable(suite), printable(name))?;
            for failure in &verdict.failures {
                writeln!(out, "        {}: {}", printable(&place.to_string()), printable(failure))?;
            }
        }
        let (rules, conditions) = (self.coverage.rules(), self.coverage.conditions());
        writeln!(
            out,
            "coverage: {} of {} rules, {} of {} conditions",
            rules.covered, rules.total, conditions.covered, conditions.total
        )?;
        if !self.is_covered() {
            for missing in self.coverage.missing() {
                writeln!(out, "  {}", printable(&missing))?;
            }
            writeln!(out, "FAILED  coverage: {} %, {} % demanded", self.covered().percent(), self.threshold)?;
        }
        writeln!(out, "{} passed, {} failed", self.passed(), self.failed())
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let share = |share: Share| json!({"covered": share.covered, "total": share.total});
        let case = |case: &CaseResult| {
            json!({
                "suite": case.suite, "name": case.name, "place": case.place.to_string(),
                "passed": case.verdict.failures.is_empty(), "failures": case.verdict.failures,
                "decision": case.verdict.records.last().map(decision),
            })
        };
        json!({
            "passed": self.passed(), "failed": self.failed(), "faults": self.faults,
            "cases": self.cases.iter().map(case).collect::<Vec<_>>(),
            "coverage": {
                "rules": share(self.coverage.rules()), "conditions": share(self.coverage.conditions()),
                "missing": self.coverage.missing(),
            },
        })
    }

    /// JUnit XML, as pipelines show it. Faults of documents are a test case of their own.
    pub(super) fn junit(&self, out: &mut impl Write) -> io::Result<()> {
        let mut writer = Writer::new_with_indent(out, b' ', 2);
        writer.write_event(Event::Decl(quick_xml::events::BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let (tests, failures) = (self.cases.len().saturating_add(self.faults.len()), self.failed());
        let suite = writer
            .create_element("testsuite")
            .with_attribute(("name", "portreeve"))
            .with_attribute(("tests", tests.to_string().as_str()))
            .with_attribute(("failures", failures.to_string().as_str()));
        suite.write_inner_content(|writer| {
            for fault in &self.faults {
                test_case(writer, ("documents", "read", None), std::slice::from_ref(fault))?;
            }
            for CaseResult { suite, name, place, verdict } in &self.cases {
                test_case(writer, (suite, name, Some(place)), &verdict.failures)?;
            }
            Ok(())
        })?;
        writeln!(writer.into_inner())
    }
}

fn test_case<W: Write>(
    writer: &mut Writer<W>,
    (suite, name, place): (&str, &str, Option<&Place>),
    failures: &[String],
) -> io::Result<()> {
    let (suite, name) = (printable(suite), printable(name));
    let mut element =
        writer.create_element("testcase").with_attribute(("classname", &*suite)).with_attribute(("name", &*name));
    if let Some(place) = place {
        let line = place.position.line.to_string();
        let file = printable(&place.file);
        element = element.with_attribute(("file", &*file)).with_attribute(("line", line.as_str()));
    }
    if failures.is_empty() {
        element.write_empty()?;
        return Ok(());
    }
    let text = failures.iter().map(|failure| printable(failure)).collect::<Vec<_>>().join("\n");
    element.write_inner_content(|writer| {
        let failure = writer.create_element("failure").with_attribute(("message", text.lines().next().unwrap_or("")));
        failure.write_text_content(BytesText::new(&text))?;
        Ok(())
    })?;
    Ok(())
}

/// A decision record without what differs from run to run.
fn decision(record: &Value) -> Value {
    let mut record = record.clone();
    if let Some(members) = record.as_object_mut() {
        members.remove("duration_ms");
    }
    record
}
