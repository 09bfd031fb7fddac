//! The bounds, state by state.

use std::time::Duration;

use super::Bound;

use crate::{admin, authn::bounds as caller, pipeline::bounds as exchange, pressure, transport::bounds as connection};

/// Every bound.
pub(super) fn all() -> Vec<Bound> {
    let rows =
        [of_connections(), of_protocols(), of_heads(), of_callers(), of_exchanges(), of_answers(), of_the_process()];
    rows.into_iter().flatten().collect()
}

fn bytes(count: usize) -> String {
    match count {
        count if count >= 1 << 20 && count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        count if count >= 1 << 10 && count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        count => format!("{count} bytes"),
    }
}

fn time(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

const HEAD_TIME: &str = "`PORTREEVE_HEAD_SECONDS`, 30 s";
const REFUSED: &str = "`portreeve_decisions_total`";

fn of_connections() -> Vec<Bound> {
    vec![
        Bound {
            state: "accepted",
            bound: "10,000 connections, shared out among the workers".to_owned(),
            share: "an address as many as are free",
            setting: "`PORTREEVE_MAX_CONNECTIONS`",
            beyond: "closed",
            metric: "`portreeve_proxy_connections`, `…_refused_total`",
            test: "m5_one_peer_gets_half_and_the_next_half_of_the_rest",
        },
        Bound {
            state: "accepted, nothing asked yet",
            bound: "until another connection needs the place".to_owned(),
            share: "the oldest of the address, then of all",
            beyond: "closed",
            metric: "`portreeve_proxy_connections_displaced_total`",
            test: "m5_who_says_nothing_gives_way_to_who_asks",
            ..Bound::default()
        },
        Bound {
            state: "TLS handshake",
            bound: time(connection::HANDSHAKE),
            beyond: "closed",
            test: "p1_a_connection_without_a_whole_request_is_closed_in_clear_and_in_tls",
            ..Bound::default()
        },
        Bound {
            state: "preface of HTTP/2, settings",
            bound: HEAD_TIME.to_owned(),
            setting: "`PORTREEVE_HEAD_SECONDS`",
            beyond: "GOAWAY, closed",
            test: "p1_a_connection_without_a_whole_request_is_closed_in_clear_and_in_tls",
            ..Bound::default()
        },
        Bound {
            state: "idle, HTTP/1",
            bound: HEAD_TIME.to_owned(),
            setting: "`PORTREEVE_HEAD_SECONDS`",
            beyond: "closed",
            test: "slow_heads_and_idle_connections_are_closed_d2",
            ..Bound::default()
        },
        Bound {
            state: "idle, HTTP/2",
            bound: "four times as long, whatever pings come".to_owned(),
            setting: "`PORTREEVE_HEAD_SECONDS`",
            beyond: "GOAWAY, closed",
            test: "p1_pings_do_not_keep_an_idle_http2_connection",
            ..Bound::default()
        },
    ]
}

fn of_protocols() -> Vec<Bound> {
    vec![
        Bound {
            state: "streams of HTTP/2",
            bound: format!("{} at a time", connection::STREAMS),
            share: "of each connection",
            beyond: "REFUSED_STREAM",
            test: "h3_http2_requests_have_the_bounds_of_http1",
            ..Bound::default()
        },
        Bound {
            state: "frames of HTTP/2 that ask for nothing",
            bound: format!(
                "{} at once, {} a second, more by requests and bytes read",
                connection::BURST,
                connection::PER_SECOND
            ),
            share: "of each connection",
            beyond: "GOAWAY, closed",
            test: "p7_a_flood_of_control_frames_ends_in_goaway",
            ..Bound::default()
        },
        Bound {
            state: "malformed requests of HTTP/2",
            bound: format!("{}; of HTTP/1 the first", connection::MAX_SPOILED),
            share: "of each connection",
            beyond: "GOAWAY, closed",
            test: "h3_a_connection_of_http2_ends_after_some_malformed_requests",
            ..Bound::default()
        },
        Bound {
            state: "upgraded (WebSocket)",
            bound: format!(
                "{} without a byte; {} buffered each way",
                time(exchange::UPGRADED_IDLE),
                bytes(exchange::UPGRADED_BUFFER)
            ),
            share: "counts as a connection to the application",
            beyond: "closed",
            test: "p1_an_upgraded_connection_ends_when_both_sides_are_silent_and_not_before",
            ..Bound::default()
        },
        Bound {
            state: "left while the client still sends",
            bound: format!("{} and {}", time(connection::LEAVE_TIME), bytes(connection::LEAVE_BYTES)),
            beyond: "reset",
            test: "f2_a_client_that_goes_on_sending_is_left_after_a_while",
            ..Bound::default()
        },
        Bound {
            state: "draining",
            bound: "20 s".to_owned(),
            setting: "`PORTREEVE_DRAIN_SECONDS`",
            beyond: "closed",
            test: "drains_what_runs_and_ends_in_time",
            ..Bound::default()
        },
    ]
}

fn of_heads() -> Vec<Bound> {
    vec![
        Bound {
            state: "head of a request, time",
            bound: HEAD_TIME.to_owned(),
            setting: "`PORTREEVE_HEAD_SECONDS`",
            beyond: "closed",
            test: "p1_a_connection_without_a_whole_request_is_closed_in_clear_and_in_tls",
            ..Bound::default()
        },
        Bound {
            state: "head of HTTP/1",
            bound: bytes(connection::MAX_HEAD),
            beyond: "431 `head_too_large`, 414 `target_too_long`",
            metric: REFUSED,
            test: "p9_fault_12_what_the_parser_refuses_is_told_and_recorded",
            ..Bound::default()
        },
        Bound {
            state: "head of HTTP/2",
            bound: bytes(exchange::MAX_HEAD_H2),
            beyond: "431 `head_too_large`; a bare 431 beyond twice as much",
            metric: REFUSED,
            test: "p9_a_head_that_is_too_large_is_told_and_recorded_in_http2_too",
            ..Bound::default()
        },
        Bound {
            state: "fields",
            bound: format!("{}; of HTTP/2 and {} cookies", exchange::MAX_FIELDS, exchange::MAX_COOKIES),
            beyond: "431 `head_too_large`",
            metric: REFUSED,
            test: "h3_http2_requests_have_the_bounds_of_http1",
            ..Bound::default()
        },
        Bound {
            state: "fields beyond those, in all heads of a connection of HTTP/2",
            bound: connection::EXCESS_FIELDS.to_string(),
            beyond: "the connection ends",
            metric: "",
            test: "p7_a_bomb_of_fields_ends_the_connection",
            ..Bound::default()
        },
        Bound {
            state: "heads of HTTP/1 that are not whole",
            bound: format!("{} each, and {} together", bytes(connection::HEAD_FREE), bytes(connection::HEAD_ROOM)),
            beyond: "503 `overloaded`",
            metric: REFUSED,
            test: "d2_heads_that_are_not_whole_have_a_bound_together_and_each_has_a_little",
            ..Bound::default()
        },
    ]
}

fn of_callers() -> Vec<Bound> {
    vec![
        Bound {
            state: "authentication and decision",
            bound: "the rule's `timeout`, 15 s".to_owned(),
            setting: "`rules[].timeout`",
            beyond: "503 `decision_timeout`",
            metric: REFUSED,
            test: "h5_d_the_rules_time_is_over_authentication_too",
            ..Bound::default()
        },
        Bound {
            state: "questions to a token service or decision point",
            bound: format!("{} at a time, {} wait, for each endpoint", caller::QUESTIONS, caller::QUESTIONS_WAITING),
            share: "a client as many as are free",
            beyond: "503 `token_service_unavailable`, `decision_point_unavailable`",
            metric: REFUSED,
            test: "h4_hundreds_of_unknown_tokens_make_sixty_four_questions_at_once_and_hold_up_no_known_one",
            ..Bound::default()
        },
        Bound {
            state: "unknown tokens that are not active",
            bound: format!("{} at once, {} a second", caller::BURST, caller::PER_SECOND),
            share: "of each client",
            beyond: "429 `too_many_attempts`",
            metric: REFUSED,
            test: "h4_an_address_brings_so_many_inactive_tokens_and_others_are_not_held_up",
            ..Bound::default()
        },
        Bound {
            state: "slow hashes of passwords",
            bound: format!(
                "as many at a time as half of the processors, {} wait, {}",
                caller::HASHES_WAITING,
                time(caller::QUEUE_TIME)
            ),
            share: "a client as many as are free",
            beyond: "503 `overloaded`",
            metric: REFUSED,
            test: "h4_who_waits_too_long_gives_up_and_its_place_is_free",
            ..Bound::default()
        },
        Bound {
            state: "wrong passwords, Basic and Digest",
            bound: format!(
                "free: {} of a user from an address, {} of an address, {} of a user; then double waits up to {}, {}, {}",
                caller::PAIR.free,
                caller::ADDRESS.free,
                caller::USER.free,
                time(caller::PAIR.longest),
                time(caller::ADDRESS.longest),
                time(caller::USER.longest)
            ),
            share: "who logged in from the address before: only its own there",
            beyond: "429 `too_many_attempts`",
            metric: REFUSED,
            test: "h5_b_a_stranger_cannot_hold_up_a_user_who_logged_in_before",
            ..Bound::default()
        },
    ]
}

fn of_exchanges() -> Vec<Bound> {
    vec![
        Bound {
            state: "body of a request",
            bound: "the rule's `timeout`, 15 s".to_owned(),
            setting: "`rules[].timeout`",
            beyond: "408 `slow_request_body`",
            metric: REFUSED,
            test: "p11_a_slow_body_is_408_and_a_slow_application_504",
            ..Bound::default()
        },
        Bound {
            state: "body of a refused request",
            bound: format!(
                "{} within {} are read and thrown away",
                bytes(exchange::MAX_DISCARDED),
                time(exchange::DISCARD_TIME)
            ),
            beyond: "`Connection: close`",
            test: "f2_a_refused_upload_is_answered_and_loses_nothing_whatever_its_size",
            ..Bound::default()
        },
        Bound {
            state: "connecting to the application",
            bound: time(connection::CONNECT),
            beyond: "503 `upstream_unreachable`",
            metric: REFUSED,
            test: "faults_of_the_application_have_their_own_answers",
            ..Bound::default()
        },
        Bound {
            state: "exchanges with the application",
            bound: "256 for each worker".to_owned(),
            share: "a client three times what is free",
            setting: "`upstream.maxConnections`",
            beyond: "503 `upstream_overloaded`",
            metric: REFUSED,
            test: "h2_one_client_leaves_connections_to_the_others",
        },
    ]
}

fn of_answers() -> Vec<Bound> {
    vec![
        Bound {
            state: "waiting for the answer, its body",
            bound: "the rule's `timeout`, 15 s".to_owned(),
            setting: "`rules[].timeout`",
            beyond: "504 `upstream_timeout`; a stream is reset, a connection of HTTP/1 closed",
            metric: REFUSED,
            test: "h2_the_rules_time_ends_answers_that_an_http1_client_does_not_read",
            ..Bound::default()
        },
        Bound {
            state: "an answer that is not read",
            bound: format!(
                "{} from the application, in which the head has to fit; {} for the client, {} with the kernel",
                bytes(connection::MAX_BUFFER),
                bytes(connection::MAX_BACKLOG),
                bytes(connection::MAX_UNSENT as usize)
            ),
            share: "of each exchange",
            beyond: "waits",
            test: "p3_an_answer_that_nobody_reads_holds_a_bounded_piece",
            ..Bound::default()
        },
        Bound {
            state: "nothing taken of what is written",
            bound: "twice the time of a head".to_owned(),
            setting: "`PORTREEVE_HEAD_SECONDS`",
            beyond: "closed",
            test: "h2_refusals_that_nobody_reads_end",
            ..Bound::default()
        },
        Bound {
            state: "preflights that are passed on",
            bound: format!(
                "{} at a time for each worker, {}",
                exchange::MAX_PREFLIGHTS,
                time(exchange::PREFLIGHT_TIMEOUT)
            ),
            share: "a client three times what is free",
            beyond: "503 `cors_overloaded`",
            metric: REFUSED,
            test: "c4_a_flood_of_preflights_takes_no_connection_from_the_api",
            ..Bound::default()
        },
        Bound {
            state: "policies in dry run",
            bound: format!(
                "{} requests at a time for each worker, {}",
                exchange::MAX_DRY_RUNS,
                time(exchange::DRY_RUN_TIME)
            ),
            beyond: "`dry_run_overloaded`, `dry_run_timeout` in the record; no word to the client",
            metric: "`portreeve_proxy_shadow_decisions_total`",
            test: "m2_a_policy_in_dry_run_is_never_waited_for",
            ..Bound::default()
        },
    ]
}

fn of_the_process() -> Vec<Bound> {
    vec![
        Bound {
            state: "decision records that wait",
            bound: format!(
                "{} ms, {}; {} a text",
                exchange::GATHERING.as_millis(),
                bytes(exchange::MAX_BYTES),
                bytes(exchange::MAX_TEXT)
            ),
            beyond: "the record is dropped",
            metric: "`portreeve_proxy_decision_records_dropped_total`",
            test: "m6_what_waits_for_a_log_that_nobody_reads_is_bounded_in_bytes",
            ..Bound::default()
        },
        Bound {
            state: "memory",
            bound: format!("{} % of the limit, until {} %", pressure::HIGH, pressure::LOW),
            setting: "`PORTREEVE_MEMORY_LIMIT`, otherwise the container's",
            beyond: "503 `overloaded`; new connections are closed, and those on which nothing was asked",
            metric: "`portreeve_proxy_shedding`",
            test: "h3_near_its_limit_of_memory_the_proxy_refuses_in_words_and_recovers",
            ..Bound::default()
        },
        Bound {
            state: "admin and probe ports",
            bound: format!(
                "{} connections each, {} a head, {} in all",
                admin::MAX_CONNECTIONS,
                time(admin::HEAD_TIME),
                time(admin::MAX_TIME)
            ),
            share: "an address as many as are free",
            beyond: "closed",
            test: "m5_the_admin_port_answers_beside_connections_that_say_nothing",
            ..Bound::default()
        },
    ]
}
