use super::*;

const NOW: UnixMillis = UnixMillis(1_000_000_000);
const REALM: Short = [9; 16];

fn peer(number: u8) -> Peer {
    Peer::of([192, 0, 2, number].into())
}

fn fail(attempts: &Arc<Attempts>, user: u8, from: u8, now: UnixMillis) -> Result<(), Duration> {
    attempts.reserve((REALM, [user; 16]), peer(from), now).map(|attempt| attempt.failed(now))
}

fn log_in(attempts: &Arc<Attempts>, user: u8, from: u8, now: UnixMillis) -> bool {
    attempts.reserve((REALM, [user; 16]), peer(from), now).map(Attempt::succeeded).is_ok()
}

#[test]
fn h5_a_guesses_at_once_count_as_they_begin() {
    let attempts = Arc::new(Attempts::new());
    let at_once: Vec<_> = (0..100).filter_map(|_| attempts.reserve((REALM, [1; 16]), peer(1), NOW).ok()).collect();
    assert_eq!(at_once.len(), 6);
    for attempt in at_once {
        attempt.failed(NOW);
    }
    assert_eq!(fail(&attempts, 1, 1, NOW), Err(Duration::from_secs(1)));
    let later = NOW.plus(Duration::from_secs(1));
    assert_eq!(fail(&attempts, 1, 1, later), Ok(()));
    assert_eq!(fail(&attempts, 1, 1, later), Err(Duration::from_secs(2)));
    assert_eq!(fail(&attempts, 1, 1, later.plus(REMEMBERED)), Ok(()), "forgotten");
}

#[test]
fn h5_a_guess_that_began_early_and_was_given_up_does_not_shorten_the_wait() {
    let attempts = Arc::new(Attempts::new());
    let early = attempts.reserve((REALM, [1; 16]), peer(1), NOW).unwrap();
    for _ in 0..5 {
        assert_eq!(fail(&attempts, 1, 1, NOW), Ok(()));
    }
    let later = NOW.plus(Duration::from_secs(1));
    assert_eq!(fail(&attempts, 1, 1, later), Ok(()));
    drop(early);
    assert_eq!(fail(&attempts, 1, 1, later), Err(Duration::from_secs(1)));
}

#[test]
fn h5_a_who_waited_is_looked_at_again() {
    let attempts = Arc::new(Attempts::new());
    let waiting = attempts.reserve((REALM, [1; 16]), peer(1), NOW).unwrap();
    assert!(waiting.wait(NOW).is_zero());
    let mut now = NOW;
    for from in 2..30 {
        now = now.plus(USER.longest);
        assert_eq!(fail(&attempts, 1, from, now), Ok(()));
    }
    assert!(!waiting.wait(now).is_zero(), "the user has had its failures meanwhile");
}

#[test]
fn h5_b_a_stranger_cannot_hold_up_a_user_who_logged_in_before() {
    let attempts = Arc::new(Attempts::new());
    assert!(log_in(&attempts, 1, 1, NOW));
    let mut now = NOW;
    for round in 0..10_000_u64 {
        now = NOW.plus(Duration::from_millis(round * 100));
        // From many addresses, as the brake on one of them would end it.
        fail(&attempts, 1, u8::try_from(2 + round % 250).unwrap(), now).unwrap_or_default();
    }
    assert!(log_in(&attempts, 1, 1, now), "from its own address");
    // From an address that nobody knows it waits no longer than the brake on users is long.
    let wait = fail(&attempts, 1, 255, now).unwrap_err();
    assert!(wait <= USER.longest, "{wait:?}");
}

#[test]
fn h5_c_names_that_do_not_exist_hold_up_nobody_behind_the_same_balancer() {
    let attempts = Arc::new(Attempts::new());
    assert!(log_in(&attempts, 1, 1, NOW));
    for user in 2..22 {
        assert_eq!(fail(&attempts, user, 1, NOW), Ok(()));
    }
    assert!(log_in(&attempts, 100, 1, NOW), "one who was never here before");
    for user in 22..250 {
        fail(&attempts, user, 1, NOW).unwrap_or_default();
    }
    assert!(log_in(&attempts, 1, 1, NOW), "one who was");
    let wait = fail(&attempts, 251, 1, NOW).unwrap_err();
    assert!(wait <= ADDRESS.longest, "{wait:?}");
}

#[test]
fn h5_attempts_that_are_given_up_cost_nothing() {
    let attempts = Arc::new(Attempts::new());
    for _ in 0..100 {
        drop(attempts.reserve((REALM, [1; 16]), peer(1), NOW).unwrap());
    }
    assert!(log_in(&attempts, 1, 1, NOW));
}

#[test]
fn h5_a_right_password_clears_what_its_user_failed_there() {
    let attempts = Arc::new(Attempts::new());
    for _ in 0..5 {
        assert_eq!(fail(&attempts, 1, 1, NOW), Ok(()));
    }
    assert!(log_in(&attempts, 1, 1, NOW));
    for _ in 0..5 {
        assert_eq!(fail(&attempts, 1, 1, NOW), Ok(()));
    }
}

#[test]
fn h5_what_is_remembered_is_bounded_and_what_is_under_way_is_kept() {
    let attempts = Arc::new(Attempts::new());
    let user = |number: u32| {
        let mut user = [0; 16];
        user[..4].copy_from_slice(&number.to_be_bytes());
        user
    };
    for number in 0..200_000_u32 {
        let now = NOW.plus(Duration::from_millis(u64::from(number)));
        let from = Peer::of(number.to_be_bytes().into());
        attempts.reserve((REALM, user(number)), from, now).unwrap().failed(now);
        attempts.reserve((REALM, user(number)), from, now).unwrap().succeeded();
    }
    let tables = attempts.lock();
    for length in [tables.pairs.0.len(), tables.addresses.0.len(), tables.users.0.len(), tables.known.len()] {
        assert!(length <= MAX_ENTRIES, "{length}");
    }
}
