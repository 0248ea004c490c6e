//! What one seed draws for itself: limits, habits and misfortunes (swarm testing: no two worlds are alike).

use throng::base::{Limits, Presence, Rate, RoomClass};
use throng::shard::{Flush, Rules};

use crate::dice::Dice;
use crate::tokens::Reach;

/// What the rooms of one world tell of their people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeopleRules {
    pub(crate) presence: Presence,
    pub(crate) leave_delay_ms: u64,
    pub(crate) typing_ms: u64,
    pub(crate) receipts: bool,
}

/// The rules of one world. Chances are per mille.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    pub(crate) shards: u16,
    pub(crate) limits: Limits,
    pub(crate) people: PeopleRules,
    /// Connections that may sit in one room, and how often one user may speak in it. 0: not limited.
    pub(crate) seats_max: u32,
    pub(crate) publish_rate: Rate,
    pub(crate) flush: Flush,
    pub(crate) inbox_parcels_max: usize,
    pub(crate) users: usize,
    pub(crate) rooms: usize,
    pub(crate) connections_max: usize,
    /// Shard turns of load before the world is left to become quiet.
    pub(crate) turns: usize,
    /// What the kernel holds for one socket.
    pub(crate) socket_bytes: (usize, usize),
    /// Time between two turns, at most.
    pub(crate) step_ms_max: usize,
    pub(crate) tick_late: usize,
    pub(crate) tick_late_ms_max: usize,
    pub(crate) act: usize,
    pub(crate) connect: usize,
    pub(crate) stranger: usize,
    pub(crate) short_token: usize,
    /// Of those who come, how many go on with a session.
    pub(crate) resume: usize,
    /// Of those, whose session still has a connection.
    pub(crate) take_over: usize,
    /// Who comes back with a hello, with another token, without a position, with a wish for presence.
    pub(crate) whim: usize,
    /// Another token, at each burst of commands.
    pub(crate) refreshes: usize,
    /// Asks of the control plane, at each turn.
    pub(crate) asks: usize,
    pub(crate) revokes: usize,
    /// Other rules.
    pub(crate) reloads: usize,
    /// Addresses that are counted, beside that of this host.
    pub(crate) addresses: usize,
    pub(crate) cut: usize,
    pub(crate) cut_everybody: usize,
    pub(crate) goodbye: usize,
    pub(crate) goes_mute: usize,
    pub(crate) goes_deaf: usize,
    pub(crate) hears_again: usize,
    pub(crate) misbehave: usize,
    pub(crate) short_write: usize,
    pub(crate) fragment: usize,
    pub(crate) stale_input: usize,
    pub(crate) burst_max: usize,
    pub(crate) read_bytes_max: usize,
    /// Reads of three bytes at most, whatever there is.
    pub(crate) torn_read: usize,
    /// Turns whose writes were all made for others: what is due stays so.
    pub(crate) full_turn: usize,
    pub(crate) idle_shard: usize,
    /// People who offer to send and take deflated messages.
    pub(crate) deflates: usize,
    /// People write to each other; the backend then speaks to everybody, or to rooms.
    pub(crate) letters: bool,
    /// The server leaves under load at the end: in so many milliseconds.
    pub(crate) drain_ms: Option<u64>,
}

impl Weather {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let limits = draw_limits(dice);
        let people = PeopleRules {
            presence: dice.pick(&[Presence::Announced, Presence::Announced, Presence::Counted, Presence::Off]),
            leave_delay_ms: dice.pick(&[0, 400, 3_000]),
            typing_ms: dice.pick(&[0, 500, 3_000]),
            receipts: dice.chance(800),
        };
        let socket_low = dice.pick(&[40, 300, 1_500]);
        Self {
            shards: dice.between(1, 6) as u16,
            flush: if dice.chance(500) { Flush::Eager } else { Flush::Tick },
            inbox_parcels_max: dice.between(1, 4),
            users: dice.between(2, 8),
            rooms: dice.between(1, 8),
            connections_max: dice.between(4, 40),
            turns: dice.between(1_500, 3_300),
            socket_bytes: (socket_low, socket_low * dice.between(1, 10)),
            step_ms_max: dice.pick(&[2, 10, 40]),
            tick_late: dice.pick(&[0, 100, 400]),
            tick_late_ms_max: dice.between(50, 900),
            act: dice.between(300, 950),
            connect: dice.between(60, 400),
            stranger: dice.pick(&[0, 60]),
            short_token: dice.pick(&[0, 50, 300]),
            resume: dice.pick(&[100, 500, 900]),
            take_over: dice.pick(&[50, 400]),
            whim: dice.pick(&[50, 300]),
            refreshes: dice.pick(&[0, 20, 100]),
            asks: dice.pick(&[0, 20, 100]),
            revokes: dice.pick(&[0, 0, 1, 4]),
            reloads: dice.pick(&[0, 0, 2, 8]),
            addresses: dice.pick(&[0, 0, 1, 3]),
            cut: dice.pick(&[0, 1, 8]),
            cut_everybody: dice.pick(&[0, 0, 1, 4]),
            goodbye: dice.pick(&[0, 5, 20]),
            goes_mute: dice.pick(&[0, 0, 2]),
            goes_deaf: dice.pick(&[0, 10, 60]),
            hears_again: dice.between(5, 200),
            misbehave: dice.pick(&[0, 0, 2]),
            short_write: dice.pick(&[0, 50, 300]),
            fragment: dice.pick(&[0, 100, 400]),
            stale_input: dice.pick(&[0, 20]),
            burst_max: dice.between(1, 12),
            read_bytes_max: dice.pick(&[100, 400, 4_000]),
            torn_read: dice.pick(&[0, 100, 500]),
            full_turn: dice.pick(&[0, 50, 400]),
            idle_shard: dice.pick(&[0, 0, 300]),
            drain_ms: dice.pick(&[None, Some(0), Some(2_000), Some(12_000)]),
            deflates: dice.pick(&[0, 300, 1_000]),
            letters: dice.chance(500),
            seats_max: dice.pick(&[0, 0, 0, 3]),
            publish_rate: Rate { per_minute: dice.pick(&[0, 0, 0, 60]), burst: 5 },
            limits,
            people,
        }
    }

    /// Nothing goes wrong unless a scene says so.
    pub(crate) fn calm(shards: u16) -> Self {
        let limits = Limits { slots_per_ring: 4, log_messages_max: 20, ..Limits::default() };
        Self {
            shards,
            limits,
            people: PeopleRules { presence: Presence::Announced, leave_delay_ms: 0, typing_ms: 3_000, receipts: true },
            seats_max: 0,
            publish_rate: Rate { per_minute: 0, burst: 1 },
            flush: Flush::Eager,
            inbox_parcels_max: 100,
            users: 8,
            rooms: 16,
            connections_max: 24,
            turns: 0,
            socket_bytes: (100_000, 100_000),
            step_ms_max: 0,
            tick_late: 0,
            tick_late_ms_max: 0,
            act: 0,
            connect: 0,
            stranger: 0,
            short_token: 0,
            resume: 0,
            take_over: 0,
            whim: 0,
            refreshes: 0,
            asks: 0,
            revokes: 0,
            reloads: 0,
            addresses: 0,
            cut: 0,
            cut_everybody: 0,
            goodbye: 0,
            goes_mute: 0,
            goes_deaf: 0,
            hears_again: 1_000,
            misbehave: 0,
            short_write: 0,
            fragment: 0,
            stale_input: 0,
            burst_max: 1,
            // So much that chance never cuts a read short.
            read_bytes_max: 1 << 40,
            torn_read: 0,
            full_turn: 0,
            idle_shard: 0,
            deflates: 0,
            letters: false,
            drain_ms: None,
        }
    }

    /// How every room of this world behaves that is not of another kind.
    pub(crate) fn class(&self) -> RoomClass {
        self.class_with(&self.limits)
    }

    /// By which every shard begins.
    pub(crate) fn rules(&self, default: Reach) -> Rules {
        self.rules_with(self.limits.clone(), default)
    }

    /// The same with other limits.
    pub(crate) fn rules_with(&self, limits: Limits, default: Reach) -> Rules {
        let class = self.class_with(&limits);
        crate::tokens::rules(limits, &class, default)
    }

    fn class_with(&self, limits: &Limits) -> RoomClass {
        let PeopleRules { presence, leave_delay_ms, typing_ms, receipts } = self.people;
        let Self { seats_max, publish_rate, .. } = *self;
        RoomClass { presence, leave_delay_ms, typing_ms, receipts, seats_max, publish_rate, ..RoomClass::of(limits) }
    }

    /// Whether the log is bounded by the number of messages alone, so that its first offset follows from its head.
    pub(crate) fn plain_log(&self) -> bool {
        let plenty = self.limits.log_bytes_max.min(self.limits.logs_bytes_max) >= 1 << 20;
        plenty && self.limits.log_age_ms > 3_600_000
    }

    /// Whether somebody may be refused for joining, or publishing, too often, and sent away for going on.
    pub(crate) fn meters_joins(&self) -> bool {
        self.limits.joins_per_user_per_minute > 0
    }

    pub(crate) fn meters_publishes(&self) -> bool {
        let Limits { publishes_per_user_per_minute, bytes_per_user_per_minute, .. } = self.limits;
        self.publish_rate.per_minute > 0 || publishes_per_user_per_minute > 0 || bytes_per_user_per_minute > 0
    }
}

fn draw_limits(dice: &mut Dice) -> Limits {
    let outbox_soft_bytes_max = dice.between(200, 2_000);
    let limits = Limits {
        message_bytes_max: dice.between(700, 950),
        fragments_max: 6,
        handshake_ms: 3_000,
        rooms_per_connection_max: dice.between(2, 6),
        history_on_join_max: dice.between(2, 20),
        log_messages_max: dice.between(5, 20),
        log_bytes_max: if dice.chance(300) { dice.between(1_500, 5_000) } else { 1 << 20 },
        log_age_ms: if dice.chance(200) { dice.between(800, 8_000) as u64 } else { 24 * 3_600_000 },
        idle_rooms_max: dice.between(1, 6),
        idle_inboxes_max: dice.between(1, 6),
        members_max: dice.pick(&[2, 50]),
        outbox_soft_bytes_max,
        outbox_hard_bytes_max: outbox_soft_bytes_max * dice.pick(&[1, 4, 16]),
        no_progress_ms: dice.pick(&[2_000, 30_000]),
        heartbeat_ms: 3_000,
        dead_after_ms: 7_000,
        pings_per_tick: dice.pick(&[1, 100]),
        close_grace_ms: 1_000,
        sends_per_tick: dice.between(3, 60) as u32,
        letters_waiting_max: dice.pick(&[2, 5, 12, 40]),
        pending_messages_max: dice.between(3, 40),
        connections_per_shard_max: dice.between(5, 20),
        slots_per_ring: 4,
        grant_sets_bytes_max: dice.between(1, 6) * 150,
        announced_max: dice.pick(&[1, 2, 100, 100]),
        typing_max: dice.pick(&[1, 100]),
        receipts_max: dice.pick(&[1, 50, 50]),
        connections_per_user_max: dice.pick(&[0, 0, 1, 3]),
        connections_per_address_max: dice.pick(&[1_000, 3, 12]),
        handshakes_per_address_per_s: dice.pick(&[0, 2, 50]),
        revocations_max: dice.pick(&[3, 50_000]),
        resume_window_ms: dice.pick(&[600_000, 600_000, 1_500]),
        sessions_kept_max: dice.pick(&[100_000, 100_000, 3]),
        logs_bytes_max: dice.pick(&[2 << 30, 2 << 30, 2 << 30, 6_000]),
        idempotency_keys_max: dice.pick(&[1 << 20, 1 << 20, 4]),
        joins_per_user_per_minute: dice.pick(&[0, 0, 0, 30]),
        publishes_per_user_per_minute: dice.pick(&[0, 0, 0, 60]),
        bytes_per_user_per_minute: dice.pick(&[0, 0, 0, 10_000]),
        strikes_per_minute: dice.pick(&[100, 5]),
        ..Limits::default()
    };
    assert_eq!(limits.check(), Ok(()), "the weather keeps to the rules of the house");
    limits
}
