//! Where decision records go: a thread of its own, a queue that is bounded in lines and in bytes.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use prometheus::IntCounter;
use serde::Serialize;

/// Takes lines to a thread of its own, so that no request waits for a disk or a pipe.
#[derive(Clone)]
pub struct Records {
    lines: SyncSender<String>,
    /// Bytes of the lines that wait.
    waiting: Arc<AtomicUsize>,
    dropped: IntCounter,
}

/// Lines that wait at the most.
pub(crate) const MAX_LINES: usize = 16_384;

/// Bytes of them at the most.
pub(crate) const MAX_BYTES: usize = 8 << 20;

impl Records {
    /// Starts the thread that writes to `sink`; it ends when the last `Records` is gone.
    pub fn start(mut sink: impl Write + Send + 'static, dropped: IntCounter) -> std::io::Result<Self> {
        let (lines, queue): (_, Receiver<String>) = sync_channel(MAX_LINES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&waiting);
        std::thread::Builder::new().name("records".to_owned()).spawn(move || {
            while let Ok(line) = queue.recv() {
                let more = std::iter::from_fn(|| queue.try_recv().ok());
                for line in std::iter::once(line).chain(more.take(256)) {
                    taken.fetch_sub(line.len(), Ordering::Relaxed);
                    // A sink that is gone (a closed pipe) must not stop the proxy.
                    drop(writeln!(sink, "{line}"));
                }
                drop(sink.flush());
            }
        })?;
        Ok(Self { lines, waiting, dropped })
    }

    /// Hands a record over. With no room left it is counted as dropped: traffic is never held up by its own log.
    pub fn put(&self, record: &impl Serialize) {
        match serde_json::to_string(record) {
            Ok(line) => self.put_line(line),
            Err(_) => self.dropped.inc(),
        }
    }

    /// The same for a record that is a line already.
    pub(super) fn put_line(&self, line: String) {
        let line = shown(line);
        let bytes = line.len();
        // Taken before the line is handed over, so that the bound holds whoever else does the same meanwhile.
        let fits = self.waiting.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= MAX_BYTES;
        if !fits || self.lines.try_send(line).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.inc();
        }
    }
}

/// A line of JSON in which nothing but text stands: JSON leaves DEL and the controls above it as they are, and whoever looks
/// at a log looks at it on a terminal (S2).
fn shown(line: String) -> String {
    let plain = |c: char| !matches!(c, '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if (line.is_ascii() && !line.contains('\u{7f}')) || line.chars().all(plain) {
        return line;
    }
    let mut text = String::with_capacity(line.len().saturating_mul(2));
    for character in line.chars() {
        if plain(character) {
            text.push(character);
        } else {
            text.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    #[test]
    fn s2_a_line_holds_no_control_character_and_says_the_same() {
        let hostile = "a\r\n\u{0}\u{1b}[2J\u{7f}\u{85}\u{9b}31m\u{2028}\u{202e}\u{2066}\u{e4}\"\\";
        let line = shown(serde_json::json!({ "subject": hostile }).to_string());
        assert!(!line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}' | '\u{2066}')), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["subject"], hostile);
    }

    /// A pipe that nobody reads until it is dropped.
    struct Stuck(Receiver<()>, Sender<String>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // Returns at once when the other end is gone.
            self.0.recv().unwrap_or_default();
            drop(self.1.send(String::from_utf8_lossy(bytes).into_owned()));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn m6_what_waits_for_a_log_that_nobody_reads_is_bounded_in_bytes() {
        let (unblock, blocked) = channel();
        let (written, lines) = channel();
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let records = Records::start(Stuck(blocked, written), dropped.clone()).unwrap();
        let line = "x".repeat(MAX_BYTES / 64);
        for _ in 0..1000 {
            records.put_line(line.clone());
            assert!(records.waiting.load(Ordering::Relaxed) <= MAX_BYTES);
        }
        // One is with the writer, and may have been taken out before or after the queue was full.
        assert!((1000 - 65..=1000 - 64).contains(&dropped.get()), "{}", dropped.get());
        drop(unblock);
        let waiting = Arc::clone(&records.waiting);
        drop(records);
        assert!(
            lines.iter().map(|text| text.len()).sum::<usize>() > MAX_BYTES - line.len(),
            "what was queued is written"
        );
        assert_eq!(waiting.load(Ordering::Relaxed), 0, "and its room is free again");
    }
}
