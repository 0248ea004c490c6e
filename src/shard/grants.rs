//! Equal sets of grants are kept once: most tokens carry one of a few.

use slab::Slab;

use super::{Count, Shard};
use crate::base::{Seed, SeededMap};
use crate::wire::{Grants, Verified};

#[derive(Debug)]
struct Kept {
    grants: Grants,
    holders: u64,
}

/// Grants by number. Number 0 is the default set and stays.
#[derive(Debug)]
pub(crate) struct GrantTable {
    kept: Slab<Kept>,
    by_value: SeededMap<Grants, u32>,
    /// Of all sets but the default one.
    bytes: usize,
}

impl GrantTable {
    pub(crate) const DEFAULT: u32 = 0;

    pub(crate) fn new(seed: &Seed, default_grants: Grants) -> Self {
        let mut kept = Slab::new();
        kept.insert(Kept { grants: default_grants, holders: 1 });
        Self { kept, by_value: SeededMap::with_hasher(seed.state()), bytes: 0 }
    }

    /// What the default set is from now on, for those who hold it and those to come.
    pub(crate) fn set_default(&mut self, grants: Grants) {
        self.kept[Self::DEFAULT as usize].grants = grants;
    }

    /// One more holder of this set; `None` when it is a new one and all would take more than `bytes_max` with it.
    pub(crate) fn take(&mut self, grants: Option<Grants>, bytes_max: usize) -> Option<u32> {
        let Some(grants) = grants else {
            self.kept[Self::DEFAULT as usize].holders += 1;
            return Some(Self::DEFAULT);
        };
        if let Some(at) = self.by_value.get(&grants) {
            self.kept[*at as usize].holders += 1;
            return Some(*at);
        }
        let bytes = self.bytes + bytes_of(&grants);
        if bytes > bytes_max {
            return None;
        }
        self.bytes = bytes;
        let at = self.kept.insert(Kept { grants: grants.clone(), holders: 1 }) as u32;
        self.by_value.insert(grants, at);
        Some(at)
    }

    /// One holder less; the last one takes the set along.
    pub(crate) fn give_back(&mut self, at: u32) {
        let kept = &mut self.kept[at as usize];
        kept.holders -= 1;
        if kept.holders == 0 {
            let gone = self.kept.remove(at as usize);
            self.by_value.remove(&gone.grants);
            self.bytes -= bytes_of(&gone.grants);
        }
    }

    /// Sets besides the default one.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.kept.len() - 1
    }

    /// What these take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn grants(&self, at: u32) -> &Grants {
        &self.kept[at as usize].grants
    }
}

/// What one set takes, without what tables and allocator add.
pub(super) fn bytes_of(grants: &Grants) -> usize {
    size_of::<Kept>() + size_of::<(Grants, u32)>() + grants.bytes()
}

impl Shard {
    /// What a token grants, kept for one holder more. `None`, and counted, where different sets take as much as they may:
    /// what nobody holds any more is not among them.
    pub(super) fn keep_grants(&mut self, verified: &Verified) -> Option<u32> {
        let kept = self.grants.take(verified.grants.clone(), self.config.rules.limits.grant_sets_bytes_max);
        self.counters.add(Count::GrantSetsFull, u64::from(kept.is_none()));
        kept
    }
}

/// What somebody is told whose set of grants would be one too many.
pub(super) const GRANTS_FULL: &str = "the server holds as many different sets of grants as it may: come again, or with a token that grants what others' do";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_kept_once_and_go_with_their_last_holder() {
        let mut table = GrantTable::new(&Seed::new([1, 2]), Grants::everything());
        let none = || Some(Grants::from_claim(&serde_json::json!([])).unwrap());
        let each = bytes_of(&Grants::everything());
        let (a, b) = (table.take(none(), each).unwrap(), table.take(none(), each).unwrap());
        assert_eq!(a, b);
        assert_ne!(a, GrantTable::DEFAULT);
        assert_eq!(table.take(None, 0), Some(GrantTable::DEFAULT));
        assert_eq!(table.take(Some(Grants::everything()), each), None, "no room for another set");
        table.give_back(a);
        assert!(!table.grants(b).allows(crate::wire::Verb::Join, "r", "ann"));
        table.give_back(b);
        assert_eq!((table.len(), table.bytes()), (0, 0));
        assert!(table.take(Some(Grants::everything()), each).is_some(), "the last holder took the set along");
        assert_eq!(table.bytes(), each);
    }
}
