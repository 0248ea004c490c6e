//! The settings of `[limits]`, in the order of the reference. Their defaults are those of `Limits`.

use super::setting::{Setting, setting};
use crate::wire::payload::DEPTH_CEILING;

/// All of them.
pub(super) fn all() -> Vec<Setting> {
    let mut all = of_messages();
    all.extend(of_the_door());
    all.extend(of_tokens());
    all.extend(of_rooms());
    all.extend(of_connections());
    all.extend(of_shards());
    all
}

fn of_messages() -> Vec<Setting> {
    vec![
        setting(
            "limits.message_bytes_max",
            |c| &mut c.limits.message_bytes_max,
            "Bytes of one WebSocket message and of one frame; more closes with 1009.",
        )
        .within(1..=16 << 20)
        .live(),
        setting(
            "limits.fragments_max",
            |c| &mut c.limits.fragments_max,
            "Frames one message may be cut into; more closes with 1009.",
        )
        .within(1..=1 << 20)
        .live(),
        setting(
            "limits.depth_max",
            |c| &mut c.limits.depth_max,
            "Nesting of a payload; more is refused as `too_deep`.",
        )
        .within(1..=DEPTH_CEILING as u64)
        .live(),
    ]
}

fn of_the_door() -> Vec<Setting> {
    vec![
        setting(
            "limits.head_bytes_max",
            |c| &mut c.limits.head_bytes_max,
            "Bytes of a request head; more answers 431.",
        )
        .within(1_024..=1 << 20)
        .live(),
        setting(
            "limits.heads_bytes_max",
            |c| &mut c.limits.heads_bytes_max,
            "Bytes of all incomplete request heads of one shard; beyond it the one that grows is answered 503.",
        )
        .within(1_024..=1 << 40)
        .live(),
        setting(
            "limits.handshake_ms",
            |c| &mut c.limits.handshake_ms,
            "Time from accept to a complete request head, then 408; and from an upgrade without a token to its \
             `hello`, then 4005.",
        )
        .within(100..=600_000)
        .live(),
        setting(
            "limits.handshakes_pending_max",
            |c| &mut c.limits.handshakes_pending_max,
            "Handshakes one shard has under way, those that wait for a `hello` included; more connections are \
             answered 503.",
        )
        .within(1..=1 << 30)
        .live(),
        setting(
            "limits.hello_bytes_max",
            |c| &mut c.limits.hello_bytes_max,
            "Bytes of the `hello` message; more closes with 1009.",
        )
        .within(64..=1 << 20)
        .live(),
        setting(
            "limits.connections_per_address_max",
            |c| &mut c.limits.connections_per_address_max,
            "Connections from one address (IPv6: one /64) to the whole server; more are answered 429. 0: not \
             limited. Each shard counts for itself, up to p + 3·√p, where p is the limit divided by the number of shards: \
             so all of them together admit more than the limit (of 1,000 on 16 shards 84 each, 1,344 in all).",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.handshakes_per_address_per_s",
            |c| &mut c.limits.handshakes_per_address_per_s,
            "Handshakes from one address in a second, and as many at once; more are answered 429. 0: not limited. \
             Counted like connections.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.failures_per_address_per_minute",
            |c| &mut c.limits.failures_per_address_per_minute,
            "Handshakes from one address in a minute that come to nothing: bad tokens, those that are not valid yet or \
             whose key is still to be fetched, first messages that are no `hello`, requests or `hello`s that are not \
             complete in time or are given up after more than an eighth of it. Beyond it a bad token is answered 429, \
             and an unfinished handshake has an eighth of `handshake_ms`; good tokens come in as before. 0: not limited. \
             Counted like connections.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.inflated_per_tick_max",
            |c| &mut c.limits.inflated_per_tick_max,
            "Bytes that may be made of the deflated messages of one connection between two ticks; more closes with 4007.",
        )
        .within(1_000..=1 << 40)
        .live(),
        setting(
            "limits.answers_deflated_per_tick_max",
            |c| &mut c.limits.answers_deflated_per_tick_max,
            "Bytes of answers to single connections that one shard deflates between two ticks; what is more is sent as it \
             is.",
        )
        .within(0..=1 << 40)
        .live(),
        setting("limits.uncounted", |c| &mut c.limits.uncounted, "Nets whose addresses are not counted.").live(),
        setting(
            "limits.connections_per_user_max",
            |c| &mut c.limits.connections_per_user_max,
            "Connections of one user to the whole server; a new one more is closed with 4004. 0: not limited.",
        )
        .within(0..=32_767)
        .live(),
        setting("limits.ticket_ms", |c| &mut c.limits.ticket_ms, "How long a one-time ticket is good.")
            .within(1_000..=600_000)
            .live(),
        setting(
            "limits.tickets_max",
            |c| &mut c.limits.tickets_max,
            "Tickets one shard keeps that are neither used nor too old; more are not made.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.resume_window_ms",
            |c| &mut c.limits.resume_window_ms,
            "How long a session whose connection was lost may be resumed. 0: never; positions work all the same.",
        )
        .within(0..=86_400_000)
        .live(),
        setting(
            "limits.sessions_kept_max",
            |c| &mut c.limits.sessions_kept_max,
            "Sessions without a connection one shard keeps; of more the oldest is forgotten.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.sessions_kept_bytes_max",
            |c| &mut c.limits.sessions_kept_bytes_max,
            "What they may take together, in bytes; likewise.",
        )
        .within(0..=1 << 40)
        .live(),
    ]
}

fn of_tokens() -> Vec<Setting> {
    vec![
        setting(
            "limits.token_bytes_max",
            |c| &mut c.limits.token_bytes_max,
            "Bytes of a token; more is a bad token, before any cryptography.",
        )
        .within(256..=65_536)
        .live(),
        setting(
            "limits.token_leeway_s",
            |c| &mut c.limits.token_leeway_s,
            "Clock skew forgiven on `exp` and `nbf`, and the grace before 4003.",
        )
        .within(0..=600)
        .live(),
        setting(
            "limits.expiring_notice_ms",
            |c| &mut c.limits.expiring_notice_ms,
            "How long before its token ends a connection is told so, once, with `expiring`.",
        )
        .within(0..=86_400_000)
        .live(),
        setting(
            "limits.revocations_max",
            |c| &mut c.limits.revocations_max,
            "Revocations of single tokens and of users one shard remembers together; beyond it another one ends \
             the connections it names and is then forgotten, which its caller is told.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.info_bytes_max",
            |c| &mut c.limits.info_bytes_max,
            "Bytes of one user's `info` claim, as compact JSON; more is a bad token.",
        )
        .within(0..=256)
        .live(),
    ]
}

fn of_rooms() -> Vec<Setting> {
    vec![
        setting(
            "limits.rooms_per_connection_max",
            |c| &mut c.limits.rooms_per_connection_max,
            "Rooms one connection may sit in; more is refused as `too_many_rooms`.",
        )
        .within(1..=16_384)
        .live(),
        setting(
            "limits.history_on_join_max",
            |c| &mut c.limits.history_on_join_max,
            "Newest messages a join may ask for; more is cut down to it.",
        )
        .within(0..=65_535)
        .live(),
        setting(
            "limits.log_messages_max",
            |c| &mut c.limits.log_messages_max,
            "Messages a room's log keeps; who needs older ones gets a `gap`.",
        )
        .within(1..=65_535)
        .live(),
        setting(
            "limits.log_bytes_max",
            |c| &mut c.limits.log_bytes_max,
            "Bytes of frames a room's log keeps (one message is always kept).",
        )
        .within(0..=1 << 40)
        .live(),
        setting(
            "limits.logs_bytes_max",
            |c| &mut c.limits.logs_bytes_max,
            "Bytes of frames all logs of one shard keep; beyond it the longest-empty rooms are forgotten, and \
             when there are none, each publish costs its own room half of its log.",
        )
        .within(1..=1 << 50)
        .live(),
        setting("limits.log_age_ms", |c| &mut c.limits.log_age_ms, "How long a message stays in the log.")
            .within(1..=1 << 50)
            .live(),
        setting(
            "limits.idle_rooms_max",
            |c| &mut c.limits.idle_rooms_max,
            "Rooms without anybody in them whose log a shard keeps, inboxes aside; the one longest without people and \
             new messages is forgotten first. Rooms that nobody ever sat in have at most a quarter of them before they \
             push out others.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.idle_inboxes_max",
            |c| &mut c.limits.idle_inboxes_max,
            "Likewise of inboxes (rooms that begin with `@`), in which letters wait for who is away.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.history_page_max",
            |c| &mut c.limits.history_page_max,
            "Messages of one answer to `history`; more is cut down to it.",
        )
        .within(1..=65_535)
        .live(),
        setting(
            "limits.idempotency_keys_max",
            |c| &mut c.limits.idempotency_keys_max,
            "Keys of `publish` all rooms of one shard remember; beyond it a room that has more than its share forgets its \
             oldest with each new one, and for one that has less the oldest key of all rooms is forgotten.",
        )
        .within(1..=1 << 30)
        .live(),
        setting(
            "limits.joins_per_user_per_minute",
            |c| &mut c.limits.joins_per_user_per_minute,
            "Rooms one user may join in a minute, and as many at once; more are refused as `too_often`. 0: not \
             limited. Each shard counts for the connections that it has: with connections to several shards a user has it \
             as many times.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.publishes_per_user_per_minute",
            |c| &mut c.limits.publishes_per_user_per_minute,
            "Messages one user may publish in a minute, in all rooms together; likewise: by each shard for itself.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.bytes_per_user_per_minute",
            |c| &mut c.limits.bytes_per_user_per_minute,
            "Bytes of payloads one user may publish in a minute, likewise: by each shard for itself.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.commands_per_user_per_minute",
            |c| &mut c.limits.commands_per_user_per_minute,
            "Commands of whatever kind one user may send in a minute, and as many at once, publishes, joins and what is no \
             command included; they are counted before they are looked at. 0: not limited. By each shard for itself, \
             likewise.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.strikes_per_minute",
            |c| &mut c.limits.strikes_per_minute,
            "Refusals as `too_often`, `malformed`, `too_deep` or `too_long` in a minute, and as many at once, beyond which \
             a connection is closed with 4007. 0: never.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.rate_keys_max",
            |c| &mut c.limits.rate_keys_max,
            "Users (and rooms) of which one shard knows how often they did something; beyond it newcomers are counted \
             by user, in cells that others may share, which `throng_rates_uncounted_total` counts.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.members_max",
            |c| &mut c.limits.members_max,
            "Members listed in one answer; `count` is the true number all the same.",
        )
        .within(0..=65_535)
        .live(),
        setting(
            "limits.announced_max",
            |c| &mut c.limits.announced_max,
            "Users named in one tick's announcement of who came and went; when there are more, only how many are \
             here now is told. Reads named in one tick; the rest follow with the next.",
        )
        .within(1..=65_535)
        .live(),
        setting(
            "limits.typing_max",
            |c| &mut c.limits.typing_max,
            "Users of one room who can be typing at once; others are not noted.",
        )
        .within(1..=1_024)
        .live(),
        setting(
            "limits.typing_named_max",
            |c| &mut c.limits.typing_named_max,
            "Users named in one `typing`; its `count` is the true number.",
        )
        .within(0..=1_024)
        .live(),
        setting(
            "limits.receipts_max",
            |c| &mut c.limits.receipts_max,
            "Users of one room whose read position is kept; beyond it the one who has read least far is forgotten.",
        )
        .within(1..=65_535)
        .live(),
        setting(
            "limits.receipts_kept_max",
            |c| &mut c.limits.receipts_kept_max,
            "Read positions all rooms of one shard keep; beyond it a room keeps no more than it has.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.away_max",
            |c| &mut c.limits.away_max,
            "Users who are `away` in all rooms of one shard; whoever is lost beyond it has left at once.",
        )
        .within(0..=1 << 30)
        .live(),
    ]
}

fn of_connections() -> Vec<Setting> {
    vec![
        setting(
            "limits.outbox_soft_bytes_max",
            |c| &mut c.limits.outbox_soft_bytes_max,
            "Bytes written to one connection at once (one message longer than this passes alone), and what its outbox may \
             hold before it goes without messages of `latest` and `ephemeral` rooms and without news of people.",
        )
        .within(1_024..=64 << 20)
        .live(),
        setting(
            "limits.outbox_hard_bytes_max",
            |c| &mut c.limits.outbox_hard_bytes_max,
            "Bytes in an outbox beyond which its connection's commands are refused as `busy`, and up to which it takes new \
             messages of reliable rooms before it falls behind and pulls them from the log; a stalled one falls behind \
             at once, and is closed with 4001 when it holds this and one frame.",
        )
        .within(1_024..=64 << 20)
        .live(),
        setting(
            "limits.no_progress_ms",
            |c| &mut c.limits.no_progress_ms,
            "A stalled connection that takes nothing for this long is closed with 4001.",
        )
        .within(1_000..=86_400_000)
        .live(),
        setting("limits.heartbeat_ms", |c| &mut c.limits.heartbeat_ms, "Silence after which a ping goes out.")
            .within(1_000..=86_400_000)
            .live(),
        setting(
            "limits.pings_per_tick",
            |c| &mut c.limits.pings_per_tick,
            "Pings the server sends per tick, each shard its part; who is due and has to wait is asked in the next round (20 \
             ticks). Where there are too many sessions to ask each of them in `heartbeat_ms`, they are asked less often, \
             and `welcome` says how often.",
        )
        .within(1..=1 << 20)
        .live(),
        setting(
            "limits.dead_after_ms",
            |c| &mut c.limits.dead_after_ms,
            "Silence after which a connection is dead (4002); above `heartbeat_ms`, and longer where that is stretched.",
        )
        .within(1_000..=86_400_000)
        .live(),
        setting(
            "limits.close_grace_ms",
            |c| &mut c.limits.close_grace_ms,
            "How long the peer may take to answer a close frame; while it takes what stands before that, it has not begun.",
        )
        .within(0..=600_000)
        .live(),
    ]
}

fn of_shards() -> Vec<Setting> {
    vec![
        setting(
            "limits.tick_ms",
            |c| &mut c.limits.tick_ms,
            "The tick: what is not written at once is written with it, and what goes by time is looked at with it: \
             silence, ends of tokens, slots of those who are sent away. A shard that is silent for four ticks, and for 5 s, \
             stands still.",
        )
        .within(1..=10_000),
        setting(
            "limits.slow_turn_ms",
            |c| &mut c.limits.slow_turn_ms,
            "A turn of a shard that takes so long is counted as slow and logged with what it did. 0: none is.",
        )
        .within(0..=3_600_000),
        setting(
            "limits.sends_per_tick",
            |c| &mut c.limits.sends_per_tick,
            "Writes a shard makes per tick; the rest waits for the next.",
        )
        .within(1..=1 << 30)
        .live(),
        setting(
            "limits.letters_waiting_max",
            |c| &mut c.limits.letters_waiting_max,
            "Letters waiting for one shard before a publish is refused as `busy` and a delivery is made up \
             for from the log.",
        )
        .within(1..=1 << 30)
        .live(),
        setting("limits.letters_bytes_max", |c| &mut c.limits.letters_bytes_max, "Bytes of those letters, likewise.")
            .within(1..=1 << 40)
            .live(),
        setting(
            "limits.pending_messages_max",
            |c| &mut c.limits.pending_messages_max,
            "Unsent messages of one room at one shard; beyond it the shard's readers pull from the log.",
        )
        .within(1..=65_535)
        .live(),
        setting(
            "limits.connections_per_shard_max",
            |c| &mut c.limits.connections_per_shard_max,
            "Connections of one shard; more are answered 503. `max_connections` in [server] bounds all shards \
             together.",
        )
        .within(1..=1 << 40)
        .live(),
        setting(
            "limits.slots_per_ring",
            |c| &mut c.limits.slots_per_ring,
            "Rows of one chunk, and direct descriptors of one io_uring; the limit on open files cuts it down.",
        )
        .within(1..=65_535),
        setting(
            "limits.grant_sets_bytes_max",
            |c| &mut c.limits.grant_sets_bytes_max,
            "Bytes of the distinct sets of grants a shard keeps, each once for all who hold it (one pattern takes some 120); \
             beyond it a token with yet another set is answered 503.",
        )
        .within(1_024..=1 << 40)
        .live(),
    ]
}
