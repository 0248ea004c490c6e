//! Every bound of the house, in one place, with what happens when it is reached.

use super::Nets;

/// Bounds of one server. `Default` is what runs when nothing is configured.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one WebSocket message and of one frame; more closes with 1009.
    pub message_bytes_max: usize,
    /// Frames one message may be cut into; more closes with 1009.
    pub fragments_max: usize,
    /// Nesting of a payload; more is refused as `too_deep`.
    pub depth_max: usize,
    /// Bytes of a request head; more answers 431.
    pub head_bytes_max: usize,
    /// Bytes of all incomplete request heads of one shard together; beyond it the one that grows is answered 503.
    pub heads_bytes_max: usize,
    /// Time from accept to a complete request head, then 408; and from an upgrade without a token to its `hello`, then 4005.
    pub handshake_ms: u64,
    /// Handshakes one shard has under way, those that wait for a `hello` included; more connections are answered 503.
    pub handshakes_pending_max: usize,
    /// Bytes of the `hello` message; more closes with 1009.
    pub hello_bytes_max: usize,
    /// Connections from one address (IPv6: one /64) to the whole server; more are answered 429. 0: not limited. Each
    /// shard counts for itself, see [`Limits::share`].
    pub connections_per_address_max: u32,
    /// Handshakes from one address in a second, and as many at once; more are answered 429. 0: not limited. Counted like
    /// connections.
    pub handshakes_per_address_per_s: u32,
    /// Bytes that may be made of the deflated messages of one connection between two ticks; more closes with 4007.
    pub inflated_per_tick_max: u64,
    /// Bytes of answers to single connections that one shard deflates between two ticks; what is more is sent as it is.
    pub answers_deflated_per_tick_max: usize,
    /// Handshakes from one address in a minute that come to nothing: bad tokens, first messages that are no `hello`,
    /// requests or `hello`s that are not complete in time or are given up after more than an eighth of it. Beyond it a bad token is answered 429, and an unfinished handshake has an eighth of
    /// `handshake_ms`; good tokens come in as before. 0: not limited. Counted like connections.
    pub failures_per_address_per_minute: u32,
    /// Addresses that are not counted. Default: loopback, where many come from one address by nature: a proxy that is not
    /// (yet) in `proxies.trusted`, a load generator, a developer.
    pub uncounted: Nets,
    /// Connections of one user to the whole server; a new one more is closed with 4004. 0: not limited.
    pub connections_per_user_max: u32,
    /// How long a one-time ticket is good.
    pub ticket_ms: u64,
    /// Tickets one shard keeps that are neither used nor too old; more are not made.
    pub tickets_max: usize,
    /// How long a session whose connection was lost may be resumed. 0: never.
    pub resume_window_ms: u64,
    /// Sessions without a connection one shard keeps; of more the oldest is forgotten.
    pub sessions_kept_max: usize,
    /// What they may take together, in bytes; likewise.
    pub sessions_kept_bytes_max: usize,
    /// Bytes of a token; more is a bad token, before any cryptography.
    pub token_bytes_max: usize,
    /// Clock skew forgiven on `exp` and `nbf`, and the grace before 4003.
    pub token_leeway_s: u64,
    /// How long before its token ends a connection is told so, once, with `expiring`.
    pub expiring_notice_ms: u64,
    /// Revocations of single tokens and of users one shard remembers together; beyond it another one ends the connections
    /// it names and is then forgotten, which its caller is told.
    pub revocations_max: usize,
    /// Rooms one connection may sit in; more is refused as `too_many_rooms`.
    pub rooms_per_connection_max: usize,
    /// Newest messages a join may ask for; more is cut down to it.
    pub history_on_join_max: usize,
    /// Messages a room's log keeps.
    pub log_messages_max: usize,
    /// Bytes of frames a room's log keeps (one message is always kept).
    pub log_bytes_max: usize,
    /// Bytes of frames all logs of one shard keep; beyond it the longest-empty rooms are forgotten, and when there are
    /// none, each publish costs its own room half of its log (and far beyond it every room the same, in turn).
    pub logs_bytes_max: usize,
    /// How long a message stays in the log.
    pub log_age_ms: u64,
    /// Rooms without anybody in them whose log a shard keeps, inboxes aside; the one longest without people and new
    /// messages is forgotten first; those that nobody ever sat in, as long as they have more than a quarter of the places.
    pub idle_rooms_max: usize,
    /// Likewise of inboxes: rooms that begin with `@`.
    pub idle_inboxes_max: usize,
    /// Messages of one answer to `history`; more is cut down to it.
    pub history_page_max: usize,
    /// Keys of publishes all rooms of one shard remember; beyond it the oldest is forgotten, of the room itself where it has
    /// more than its share, else of all.
    pub idempotency_keys_max: usize,
    /// Rooms one user may join in a minute, and as many at once; more are refused as `too_often`. 0: not limited. Each
    /// shard counts for the connections that it has: who has several may have it as many times as there are shards.
    pub joins_per_user_per_minute: u32,
    /// Messages one user may publish in a minute, in all rooms together; likewise.
    pub publishes_per_user_per_minute: u32,
    /// Bytes of payloads one user may publish in a minute, likewise.
    pub bytes_per_user_per_minute: u32,
    /// Commands of whatever kind one user may send in a minute, and as many at once, those that are none included; likewise.
    pub commands_per_user_per_minute: u32,
    /// Refusals as `too_often`, `malformed`, `too_deep` or `too_long` in a minute, and as many at once, beyond which a connection is closed with 4007. 0: never.
    pub strikes_per_minute: u32,
    /// Users (and rooms) of which one shard knows how often they did something; beyond it newcomers are counted by user, in
    /// cells that others may share.
    pub rate_keys_max: usize,
    /// Members listed in one answer; `count` is the true number all the same.
    pub members_max: usize,
    /// Users named in one tick's announcement of who came and went; when there are more, only how many are here now is
    /// told. Reads named in one tick; the rest follow with the next.
    pub announced_max: usize,
    /// Users of one room who can be typing at once; others are not noted.
    pub typing_max: usize,
    /// Users named in one `typing`; `count` is the true number.
    pub typing_named_max: usize,
    /// Users of one room whose read position is kept; beyond it the one who has read least far is forgotten.
    pub receipts_max: usize,
    /// Read positions all rooms of one shard keep; beyond it a room keeps no more than it has, likewise.
    pub receipts_kept_max: usize,
    /// Users who are away in all rooms of one shard; whoever is lost beyond it has left at once.
    pub away_max: usize,
    /// Bytes written to one connection at once (one message longer than this passes alone), and what its outbox may hold
    /// before it goes without messages of `latest` and `ephemeral` rooms and without news of people.
    pub outbox_soft_bytes_max: usize,
    /// Bytes in an outbox beyond which its connection's commands are refused as `busy`, and up to which it takes new
    /// messages of reliable rooms before it falls behind and pulls them from the log; a stalled one falls behind at once, and
    /// ends when it holds this and one frame.
    pub outbox_hard_bytes_max: usize,
    /// A stalled connection that takes nothing for this long is closed with 4001.
    pub no_progress_ms: u64,
    /// Silence after which a ping goes out.
    pub heartbeat_ms: u64,
    /// Silence after which a connection is dead (4002); nobody is who was not asked. Longer by twice what a
    /// heartbeat is longer.
    pub dead_after_ms: u64,
    /// Heartbeats the server sends per tick, each shard its part; who is still silent is asked in the next round over the
    /// table. Where there are more sessions than can be asked in `heartbeat_ms`, it takes as long as it takes.
    pub pings_per_tick: u32,
    /// How long the peer may take to answer our close frame, once it is out; before, how long it may take nothing.
    pub close_grace_ms: u64,
    /// The tick.
    pub tick_ms: u64,
    /// A shard's turn that takes so long is counted as slow, and logged with what it did. 0: none is.
    pub slow_turn_ms: u64,
    /// Writes a shard makes per tick; the rest waits for the next.
    pub sends_per_tick: u32,
    /// Letters waiting for one shard before a publish or a deliver no longer joins them.
    pub letters_waiting_max: usize,
    /// Bytes of those letters, likewise.
    pub letters_bytes_max: usize,
    /// Unsent messages of one room at one shard; beyond it the shard's readers pull from the log.
    pub pending_messages_max: usize,
    /// Connections of one shard; more are answered 503.
    pub connections_per_shard_max: usize,
    /// Rows (and direct descriptors) of one ring.
    pub slots_per_ring: u16,
    /// Bytes of the distinct sets of grants a shard keeps, each once and as long as somebody holds it; beyond it a token with
    /// yet another set is refused as `busy`. A set of one pattern takes some 120.
    pub grant_sets_bytes_max: usize,
    /// Bytes of one user's `info` claim.
    pub info_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 1_000_000,
            fragments_max: 1_024,
            depth_max: 32,
            head_bytes_max: 64 << 10,
            heads_bytes_max: 16 << 20,
            handshake_ms: 10_000,
            handshakes_pending_max: 4_096,
            hello_bytes_max: 4 << 10,
            connections_per_address_max: 1_000,
            handshakes_per_address_per_s: 50,
            inflated_per_tick_max: 4_000_000,
            answers_deflated_per_tick_max: 2 << 20,
            failures_per_address_per_minute: 60,
            uncounted: Nets::loopback(),
            connections_per_user_max: 16,
            ticket_ms: 30_000,
            tickets_max: 16_384,
            resume_window_ms: 120_000,
            sessions_kept_max: 262_144,
            sessions_kept_bytes_max: 64 << 20,
            token_bytes_max: 8 << 10,
            token_leeway_s: 5,
            expiring_notice_ms: 60_000,
            revocations_max: 50_000,
            rooms_per_connection_max: 128,
            history_on_join_max: 50,
            log_messages_max: 100,
            log_bytes_max: 1 << 20,
            logs_bytes_max: 2 << 30,
            log_age_ms: 24 * 3_600_000,
            idle_rooms_max: 16_384,
            idle_inboxes_max: 65_536,
            history_page_max: 100,
            idempotency_keys_max: 1 << 20,
            joins_per_user_per_minute: 0,
            publishes_per_user_per_minute: 0,
            bytes_per_user_per_minute: 0,
            commands_per_user_per_minute: 0,
            strikes_per_minute: 100,
            rate_keys_max: 65_536,
            members_max: 1_000,
            announced_max: 100,
            typing_max: 100,
            typing_named_max: 10,
            receipts_max: 1_000,
            receipts_kept_max: 1 << 20,
            away_max: 262_144,
            outbox_soft_bytes_max: 64 << 10,
            outbox_hard_bytes_max: 1 << 20,
            no_progress_ms: 30_000,
            heartbeat_ms: 25_000,
            dead_after_ms: 60_000,
            pings_per_tick: 5_000,
            close_grace_ms: 2_000,
            tick_ms: 100,
            slow_turn_ms: 100,
            sends_per_tick: 10_000,
            letters_waiting_max: 16_384,
            letters_bytes_max: 16 << 20,
            pending_messages_max: 4_096,
            connections_per_shard_max: 10_000_000,
            slots_per_ring: 19_000,
            grant_sets_bytes_max: 64 << 20,
            info_bytes_max: 256,
        }
    }
}

impl Limits {
    /// Bytes of the longest frame that can go out: a payload is at most six times as long in the other encoding.
    pub fn frame_bytes_max(&self) -> usize {
        6 * self.message_bytes_max + 4_096
    }

    /// Bytes beyond which an outbox ends its connection: of one whose socket takes nothing, and of one that no write was
    /// tried for yet. Nobody can be called slow for the answers of one turn, which may be that many.
    pub fn outbox_bytes_max(&self) -> (usize, usize) {
        let stalled = self.outbox_hard_bytes_max + self.frame_bytes_max();
        (stalled, 8 * stalled)
    }

    /// What one of `shards` admits of a limit per address: its part and three times the square root of that, because the
    /// kernel deals connections out by chance. So an address has `limit` before anything is refused in 19 of 20 cases (up to
    /// 16 shards; in 4 of 5 on 64), and never more than `shards` × this: 1,000 on 2 shards are 566 each, on 16 they are 84.
    pub fn share(limit: u32, shards: u16) -> u32 {
        let part = limit.div_ceil(u32::from(shards.max(1)));
        if shards > 1 { part + 3 * part.isqrt() } else { part }
    }

    /// Says what is wrong with a set of limits that contradict each other.
    pub fn check(&self) -> Result<(), String> {
        let pairs = [
            (
                self.outbox_hard_bytes_max >= self.outbox_soft_bytes_max,
                "outbox_hard_bytes_max is below outbox_soft_bytes_max",
            ),
            (
                self.dead_after_ms > self.heartbeat_ms,
                "dead_after_ms must be above heartbeat_ms, or nobody is ever asked before being declared dead",
            ),
            (self.pending_messages_max <= usize::from(u16::MAX), "pending_messages_max must fit 16 bits"),
            (self.log_messages_max >= 1, "log_messages_max must be at least 1: the log is the queue"),
            (self.pings_per_tick >= 1, "pings_per_tick must be at least 1, or nobody is ever asked whether it lives"),
            (self.tick_ms >= 1, "tick_ms must be at least 1"),
            (self.slots_per_ring >= 1, "slots_per_ring must be at least 1"),
            (
                self.handshakes_pending_max >= 1,
                "handshakes_pending_max must be at least 1, or nobody could ever come in",
            ),
            (
                self.heads_bytes_max >= self.head_bytes_max,
                "heads_bytes_max is below head_bytes_max: not even one head would fit",
            ),
            (
                self.connections_per_user_max <= u32::from(u16::MAX) / 2,
                "connections_per_user_max must be at most 32,767; 0 is no limit",
            ),
            (self.info_bytes_max <= 256, "info_bytes_max must be at most 256"),
        ];
        match pairs.iter().find(|(holds, _)| !holds) {
            Some((_, sentence)) => Err((*sentence).to_owned()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_do_not_contradict_each_other() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn the_shares_of_a_limit_are_what_the_text_says() {
        let shares = [1, 2, 16, 64].map(|shards| Limits::share(1_000, shards));
        assert_eq!(shares, [1_000, 566, 84, 28]);
        assert_eq!([Limits::share(50, 2), Limits::share(1, 64), Limits::share(0, 4)], [40, 4, 0]);
    }
}
