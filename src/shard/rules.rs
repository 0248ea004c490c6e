//! What an operator may change while the server runs, in one value.
//!
//! Promises: all of it changes at once, between two inputs; no connection is ended by a change; who loses a room because
//! the default grants, or what its class allows, are narrower now has word of it (`shard/unseat`). Must never hold what was given out at birth:
//! rings, the tick, the number of shards.

use std::sync::Arc;

use super::Shard;
use crate::base::{Classes, Limits};
use crate::wire::{Carriers, Compression, Grants, Origins, Proxies, TokenVerifier};

/// The rules all shards share. Replaced as a whole by `Input::Rules`.
#[derive(Clone, Debug)]
pub struct Rules {
    /// They must have passed [`Limits::check`]. `slots_per_ring` and `tick_ms` are looked at when a shard and its runtime
    /// are born and never again; a bound that falls below what is there takes nothing away, it only admits no more.
    pub limits: Limits,
    /// How rooms behave, by their names. Holds for rooms that exist, too, but for `delivery`: a room keeps the one it was
    /// opened with. A bound that falls below what is there takes nothing away but from logs, with their next message.
    pub classes: Classes,
    /// Who proves tokens from now on. A session keeps what its token gave it until that ends.
    pub verifier: Arc<TokenVerifier>,
    /// What a token without `rooms` may do. Asked again at each command, so it changes for sessions that are open, too;
    /// seats they do not grant any more are taken, so many a tick.
    pub default_grants: Grants,
    /// Which pages may connect. Asked at each handshake.
    pub origins: Origins,
    /// Whom to believe about who is behind them. Asked at each handshake.
    pub proxies: Proxies,
    /// By which ways a token may come, beside those that are always open.
    pub carriers: Carriers,
    /// Whether `/echo` is there. Asked at each handshake.
    pub echo: bool,
    /// Whether deflated messages are agreed on, and what is deflated. Who agreed goes on reading what was, and may send it.
    pub compression: Compression,
}

impl Rules {
    /// These, and the defaults of everything else: one class for all rooms.
    pub fn new(limits: Limits, verifier: Arc<TokenVerifier>, default_grants: Grants) -> Self {
        let (origins, proxies, carriers) = (Origins::default(), Proxies::default(), Carriers::default());
        let classes = Classes::of(&limits);
        let compression = Compression::default();
        Self { limits, classes, verifier, default_grants, origins, proxies, carriers, echo: false, compression }
    }

    /// A copy of its own: every command counts a reference to the rules, and cores that count on the same place in
    /// memory wait for each other.
    pub(super) fn for_one_shard(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }
}

impl Shard {
    pub(super) fn on_rules(&mut self, rules: &Rules) {
        self.connections.set_max(rules.limits.connections_per_shard_max);
        if self.config.rules.default_grants != rules.default_grants {
            self.grants.set_default(rules.default_grants.clone());
            self.unseating.begin();
        }
        if rules.classes.may_narrow(&self.config.rules.classes) {
            self.unseats_everybody = true;
            self.unseating.begin();
        }
        let (_, outbox_bytes_max) = rules.limits.outbox_bytes_max();
        self.outbox_bytes_ever_max = self.outbox_bytes_ever_max.max(outbox_bytes_max);
        if !rules.classes.same_patterns(&self.config.rules.classes) {
            self.rooms.classify(&rules.classes);
            self.seats.classify(&rules.classes);
        }
        self.scratch.set(rules.compression);
        self.config.rules = rules.for_one_shard();
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::base::{ConnKey, Now, ShardId};
    use crate::shard::{Batch, Input, ShardConfig};
    use crate::wire::{Claims, CloseReason, FrameKind, Grants, TokenVerifier, sign_hs256, write_frame};

    const NOW: Now = Now { mono_ms: 5_000, unix_ms: 1_800_000_000_000 };
    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const OLD: &[u8] = b"the secret the shard was born with";
    const NEW: &[u8] = b"the secret that came with a reload";

    fn rules(secret: &[u8], default_grants: Grants, limits: Limits) -> Arc<Rules> {
        let verifier = Arc::new(TokenVerifier::hs256(secret, &limits));
        Arc::new(Rules::new(limits, verifier, default_grants))
    }

    fn shard(rules: Arc<Rules>) -> Shard {
        Shard::new(ShardConfig::tried(ShardId(0), 1, rules))
    }

    /// What everybody is written after the shard has taken this in.
    fn hears(shard: &mut Shard, input: Input<'_>) -> String {
        shard.handle(NOW, input);
        shard.end_turn(NOW);
        let (mut batch, mut heard) = (Batch::default(), Vec::new());
        while shard.fill_batch(NOW, &mut batch) {
            heard.extend_from_slice(batch.arena());
            shard.finish_batch(NOW, &mut batch, &[]);
        }
        shard.check().unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    }

    fn knocks(shard: &mut Shard, secret: &[u8]) -> (ConnKey, String) {
        let claims = Claims { sub: "ann", exp: NOW.unix_ms / 1_000 + 60, info: None, rooms: None };
        let token = sign_hs256(secret, &claims).unwrap();
        let mut head = format!(
            "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        .into_bytes();
        let conn = shard.open(NOW, PEER).expect("a free row");
        let heard = hears(shard, Input::Received { conn, bytes: &mut head });
        (conn, heard)
    }

    fn says(shard: &mut Shard, conn: ConnKey, text: &str) -> String {
        let mut frame = Vec::new();
        write_frame(&mut frame, FrameKind::Text, text.as_bytes(), Some([1, 2, 3, 4]));
        hears(shard, Input::Received { conn, bytes: &mut frame })
    }

    #[test]
    fn a_new_key_is_asked_of_those_to_come_and_not_of_those_who_are_in() {
        let mut shard = shard(rules(OLD, Grants::everything(), Limits::default()));
        let (ann, welcomed) = knocks(&mut shard, OLD);
        assert!(welcomed.contains("welcome"), "{welcomed}");
        assert_eq!(hears(&mut shard, Input::Rules(rules(NEW, Grants::everything(), Limits::default()))), "");
        let (_, refused) = knocks(&mut shard, OLD);
        assert!(refused.contains("401") && refused.contains("signature"), "{refused}");
        let (_, welcomed) = knocks(&mut shard, NEW);
        assert!(welcomed.contains("welcome"), "{welcomed}");
        assert!(says(&mut shard, ann, r#"{"type":"ping","id":1}"#).contains(r#""id":1"#));
    }

    #[test]
    fn new_default_grants_hold_for_the_next_command_of_an_open_session() {
        let mut shard = shard(rules(OLD, Grants::nothing(), Limits::default()));
        let (ann, _) = knocks(&mut shard, OLD);
        let join = r#"{"type":"join","id":1,"room":"a"}"#;
        assert!(says(&mut shard, ann, join).contains("forbidden"));
        hears(&mut shard, Input::Rules(rules(OLD, Grants::everything(), Limits::default())));
        let joined = says(&mut shard, ann, join);
        assert!(joined.contains(r#""room":"a""#) && !joined.contains("error"), "{joined}");
        hears(&mut shard, Input::Rules(rules(OLD, Grants::nothing(), Limits::default())));
        assert!(says(&mut shard, ann, r#"{"type":"publish","id":2,"room":"a","data":1}"#).contains("forbidden"));
    }

    #[test]
    fn a_limit_that_falls_below_what_is_there_takes_nothing_away_and_admits_no_more() {
        let mut shard = shard(rules(OLD, Grants::everything(), Limits::default()));
        let (ann, _) = knocks(&mut shard, OLD);
        assert!(!says(&mut shard, ann, r#"{"type":"join","id":1,"room":"a"}"#).contains("error"));
        let few =
            Limits { connections_per_shard_max: 1, rooms_per_connection_max: 1, depth_max: 1, ..Limits::default() };
        hears(&mut shard, Input::Rules(rules(OLD, Grants::everything(), few)));
        assert_eq!(shard.open(NOW, PEER), Err(CloseReason::Full));
        assert!(says(&mut shard, ann, r#"{"type":"join","id":2,"room":"b"}"#).contains("too_many_rooms"));
        assert!(says(&mut shard, ann, r#"{"type":"publish","id":3,"room":"a","data":[[1]]}"#).contains("too_deep"));
        assert!(says(&mut shard, ann, r#"{"type":"publish","id":4,"room":"a","data":[1]}"#).contains(r#""offset":1"#));
        hears(&mut shard, Input::Rules(rules(OLD, Grants::everything(), Limits::default())));
        assert!(shard.open(NOW, PEER).is_ok());
    }

    #[test]
    fn rings_are_as_large_as_they_were_at_birth() {
        let born = Limits { slots_per_ring: 2, ..Limits::default() };
        let mut shard = shard(rules(OLD, Grants::nothing(), born));
        let wider = Limits { slots_per_ring: 100, ..Limits::default() };
        hears(&mut shard, Input::Rules(rules(OLD, Grants::nothing(), wider)));
        for _ in 0..3 {
            shard.open(NOW, PEER).unwrap();
        }
        assert_eq!(shard.rings_wanted(), 2);
    }
}
