//! Where decision records go. Each worker gathers them in a buffer of its own and hands it over whole, so that a request
//! wakes nobody; a thread of its own writes. What waits is bounded in bytes.

use std::{
    cell::RefCell,
    io::Write,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use prometheus::IntCounter;
use serde::Serialize;
use tokio::sync::Notify;

/// The thread that writes, for every worker. It ends when the last of these is gone.
#[derive(Clone)]
pub struct Records {
    queue: SyncSender<Handover>,
    /// Bytes that were handed over and are not written.
    waiting: Arc<AtomicUsize>,
    dropped: IntCounter,
}

/// The records of one worker.
#[derive(Clone)]
pub struct WorkerRecords(Rc<Gathering>);

enum Handover {
    Lines(Vec<u8>),
    /// Everything before it is written when the other side is gone.
    Barrier(SyncSender<()>),
}

struct Gathering {
    records: Records,
    lines: RefCell<Lines>,
    /// The first line after a handover is there.
    begun: Rc<Notify>,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    count: u64,
}

/// Bytes that are handed over at once.
const WHOLE: usize = 32 * 1024;

/// Time that a record may wait to be handed over.
pub(crate) const GATHERING: Duration = Duration::from_millis(100);

/// Handovers that wait at the most.
const MAX_HANDOVERS: usize = 1024;

/// Bytes that wait at the most.
pub(crate) const MAX_BYTES: usize = 8 << 20;

/// Time for what waits at the end of the process.
const DRAIN_TIME: Duration = Duration::from_secs(5);

impl Records {
    /// Starts the thread that writes to `sink`.
    pub fn start(mut sink: impl Write + Send + 'static, dropped: IntCounter) -> std::io::Result<Self> {
        let (queue, handed): (_, Receiver<Handover>) = sync_channel(MAX_HANDOVERS);
        let waiting = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&waiting);
        std::thread::Builder::new().name("records".to_owned()).spawn(move || {
            while let Ok(handover) = handed.recv() {
                match handover {
                    Handover::Lines(lines) => {
                        // A sink that is gone (a closed pipe) must not stop the proxy.
                        drop(sink.write_all(&lines).and_then(|()| sink.flush()));
                        taken.fetch_sub(lines.len(), Ordering::Relaxed);
                    }
                    Handover::Barrier(done) => drop(done),
                }
            }
        })?;
        Ok(Self { queue, waiting, dropped })
    }

    /// The buffer of one worker.
    pub fn of_worker(&self) -> WorkerRecords {
        let begun = Rc::new(Notify::new());
        WorkerRecords(Rc::new(Gathering { records: self.clone(), lines: RefCell::default(), begun }))
    }

    /// Waits until everything that was handed over is written, for as long as there is time at the end of a process.
    #[expect(clippy::disallowed_methods, reason = "called when nobody is served any more")]
    pub fn drain(&self) {
        const STEP: Duration = Duration::from_millis(5);
        let (done, written) = sync_channel::<()>(0);
        let mut barrier = Handover::Barrier(done);
        let mut left = DRAIN_TIME;
        // A full queue is one that a slow sink empties.
        while let Err(TrySendError::Full(again)) = self.queue.try_send(barrier) {
            barrier = again;
            left = left.saturating_sub(STEP);
            if left.is_zero() {
                return;
            }
            std::thread::sleep(STEP);
        }
        // Nothing is ever sent: the other side is dropped.
        if written.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("decision records are lost: they could not be written within {} s", DRAIN_TIME.as_secs());
        }
    }

    /// With no room left the lines are counted as dropped: traffic is never held up by its own log.
    fn hand_over(&self, lines: Lines) {
        let bytes = lines.bytes.len();
        // Taken before the lines are handed over, so that the bound holds whoever else does the same meanwhile.
        let fits = self.waiting.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= MAX_BYTES;
        if !fits || self.queue.try_send(Handover::Lines(lines.bytes)).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.inc_by(lines.count);
        }
    }
}

impl WorkerRecords {
    /// Writes a record into the buffer.
    pub fn put(&self, record: &impl Serialize) {
        let mut lines = self.0.lines.borrow_mut();
        let start = lines.bytes.len();
        if serde_json::to_writer(&mut lines.bytes, record).is_err() {
            lines.bytes.truncate(start);
            return self.0.records.dropped.inc();
        }
        make_plain(&mut lines.bytes, start);
        self.0.ended(&mut lines);
    }

    /// The same for a record that is a line already.
    pub(super) fn put_line(&self, line: &str) {
        let mut lines = self.0.lines.borrow_mut();
        let start = lines.bytes.len();
        lines.bytes.extend_from_slice(line.as_bytes());
        make_plain(&mut lines.bytes, start);
        self.0.ended(&mut lines);
    }

    /// Hands over what does not fill a buffer in time. Runs beside the worker, and ends with its last record.
    pub fn hand_over_in_time(&self) -> impl Future<Output = ()> + 'static {
        let (begun, gathering) = (Rc::clone(&self.0.begun), Rc::downgrade(&self.0));
        async move {
            loop {
                begun.notified().await;
                tokio::time::sleep(GATHERING).await;
                let Some(gathering) = Weak::upgrade(&gathering) else { return };
                gathering.flush();
            }
        }
    }
}

impl Gathering {
    /// A line is whole.
    fn ended(&self, lines: &mut Lines) {
        if lines.count == 0 {
            self.begun.notify_one();
        }
        lines.bytes.push(b'\n');
        lines.count = lines.count.saturating_add(1);
        if lines.bytes.len() >= WHOLE {
            self.take(lines);
        }
    }

    fn flush(&self) {
        self.take(&mut self.lines.borrow_mut());
    }

    fn take(&self, lines: &mut Lines) {
        if lines.count > 0 {
            let capacity = lines.bytes.len().min(WHOLE);
            let full = std::mem::replace(lines, Lines { bytes: Vec::with_capacity(capacity), count: 0 });
            self.records.hand_over(full);
        }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Escapes what is no text: JSON leaves DEL and the controls above it as they are, and whoever looks at a log looks at it on
/// a terminal (S2).
fn make_plain(bytes: &mut Vec<u8>, start: usize) {
    let line = bytes.get(start..).unwrap_or_default();
    if line.is_ascii() && !line.contains(&0x7f) {
        return;
    }
    let text = shown(&String::from_utf8_lossy(line));
    bytes.truncate(start);
    bytes.extend_from_slice(text.as_bytes());
}

/// A text with escapes for every character that is none of a text.
fn shown(line: &str) -> String {
    let plain = |c: char| !matches!(c, '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut text = String::with_capacity(line.len());
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
        let mut bytes = b"before".to_vec();
        serde_json::to_writer(&mut bytes, &serde_json::json!({ "subject": hostile })).unwrap();
        make_plain(&mut bytes, 6);
        let line = String::from_utf8(bytes).unwrap().split_off(6);
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
        let worker = records.of_worker();
        let line = "x".repeat(MAX_BYTES / 64);
        for _ in 0..1000 {
            worker.put_line(&line);
            assert!(records.waiting.load(Ordering::Relaxed) <= MAX_BYTES);
        }
        // Each line fills a buffer; 64 of them and their ends are more than fits, and one is with the writer.
        assert!((1000 - 64..=1000 - 63).contains(&dropped.get()), "{}", dropped.get());
        drop(unblock);
        records.drain();
        assert_eq!(records.waiting.load(Ordering::Relaxed), 0, "and its room is free again");
        assert!(
            lines.try_iter().map(|text| text.len()).sum::<usize>() > MAX_BYTES - 2 * line.len(),
            "the rest is written"
        );
    }

    /// What was written so far.
    #[derive(Clone, Default)]
    struct Sink(Arc<std::sync::Mutex<Vec<String>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn lines(&self) -> Vec<String> {
            let writes = self.0.lock().unwrap();
            writes.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_handed_over_whole_when_a_buffer_is_full_in_time_and_at_the_end() {
        let (sink, dropped) = (Sink::default(), IntCounter::new("dropped", "dropped").unwrap());
        let records = Records::start(sink.clone(), dropped.clone()).unwrap();
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let worker = records.of_worker();
                drop(tokio::task::spawn_local(worker.hand_over_in_time()));
                tokio::task::yield_now().await;
                worker.put(&serde_json::json!({"n": 1}));
                worker.put_line("{\"n\":2}");
                records.drain();
                assert!(sink.lines().is_empty(), "nothing wakes the writer for a record");
                tokio::time::sleep(GATHERING + Duration::from_millis(1)).await;
                records.drain();
                assert_eq!(sink.lines(), [r#"{"n":1}"#, r#"{"n":2}"#]);
                assert_eq!(sink.0.lock().unwrap().len(), 1, "one write for both");
                let line = "x".repeat(WHOLE / 4);
                (0..4).for_each(|_| worker.put_line(&line));
                records.drain();
                assert_eq!(sink.lines().len(), 6, "a full buffer goes at once");
                worker.put_line("last");
            })
            .await;
        drop(local);
        records.drain();
        assert_eq!(sink.lines().last().map(String::as_str), Some("last"), "nothing is lost at the end");
        assert_eq!(dropped.get(), 0);
    }
}
