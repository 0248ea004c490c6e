//! Who sits where: rooms of one size or of many, dealt out to workers in whole rooms.
//!
//! Promises: every worker has rooms of one size, so that a worker need not look anything up; room and connection numbers are
//! dense over the run. Pure but for the number of open files, which it is told.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::args::Publishers;
use crate::proof::Crowd;
use crate::worker::FILES_BESIDE;

/// How large rooms are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sizes {
    /// All of one size.
    #[default]
    Fixed,
    /// By Zipf's law: one room of the room size, two of half of it, four of a quarter, and so on down to pairs; as many people
    /// in rooms of each size.
    Zipf,
}

/// What a crowd's shape follows from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) connections: u32,
    /// Of every room, or of the largest.
    pub(crate) room_size: u32,
    pub(crate) sizes: Sizes,
    pub(crate) publishers: Publishers,
    pub(crate) own_copy: bool,
    pub(crate) workers: Option<u32>,
    /// Files one worker may have open.
    pub(crate) files: u64,
}

/// Rooms of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Class {
    rooms: u32,
    room_size: u32,
}

impl Shape {
    /// One crowd a worker. With sizes by Zipf's law the connections are as many as fit whole rooms, not more than asked.
    pub(crate) fn crowds(&self) -> Result<Vec<Crowd>> {
        let classes = self.classes()?;
        let mut needed = Vec::new();
        for class in &classes {
            let per_worker = self.rooms_per_worker(class.room_size)?;
            needed.push(class.rooms.div_ceil(per_worker));
        }
        let at_least: u32 = needed.iter().sum();
        if let Some(workers) = self.workers {
            ensure!(
                workers >= at_least,
                "--workers {workers}: {} connections need at least {at_least} ({} open files each{})",
                self.connections,
                self.files,
                if classes.len() > 1 { ", and one for each size of rooms" } else { "" }
            );
            let rooms: u32 = classes.iter().map(|class| class.rooms).sum();
            self.spread(&classes, &mut needed, workers.min(rooms));
        }
        let (mut crowds, mut first_room, mut first_connection) = (Vec::new(), 0, 0);
        for (class, workers) in classes.iter().zip(needed) {
            for index in 0..workers {
                let rooms = class.rooms / workers + u32::from(index < class.rooms % workers);
                let publishers = match self.publishers {
                    Publishers::All => class.room_size,
                    // Smaller rooms than that have nobody else.
                    Publishers::PerRoom(publishers) => publishers.min(class.room_size),
                };
                let room_size = class.room_size;
                crowds.push(Crowd { first_room, first_connection, rooms, room_size, publishers });
                first_room += rooms;
                first_connection += rooms * room_size;
            }
        }
        Ok(crowds)
    }

    /// Gives the workers that are left to the class with the most people for each of its own.
    fn spread(&self, classes: &[Class], workers: &mut [u32], total: u32) {
        for _ in workers.iter().sum::<u32>()..total {
            let share = |at: &usize| classes[*at].rooms * classes[*at].room_size / workers[*at];
            let has_room = |at: &usize| workers[*at] < classes[*at].rooms;
            let Some(at) = (0..classes.len()).filter(has_room).max_by_key(share) else { return };
            workers[at] += 1;
        }
    }

    fn rooms_per_worker(&self, room_size: u32) -> Result<u32> {
        let rooms = u32::try_from(self.files.saturating_sub(FILES_BESIDE)).unwrap_or(u32::MAX) / room_size;
        ensure!(
            rooms > 0,
            "a room of {room_size} does not fit one worker's {} open files: raise `ulimit -n`, or take smaller rooms",
            self.files
        );
        Ok(rooms)
    }

    fn classes(&self) -> Result<Vec<Class>> {
        let Self { connections, room_size, .. } = *self;
        ensure!(connections > 0 && room_size > 0, "--connections and --room-size must be at least 1");
        if let Publishers::PerRoom(publishers) = self.publishers {
            ensure!(publishers <= room_size, "--publishers {publishers} does not fit --room-size {room_size}");
        }
        ensure!(room_size > 1 || self.own_copy, "in rooms of one nobody hears anything: --echo on");
        match self.sizes {
            Sizes::Fixed => {
                ensure!(
                    connections.is_multiple_of(room_size),
                    "--connections {connections} is not a multiple of --room-size {room_size}: try {}",
                    (connections / room_size).max(1) * room_size
                );
                Ok(vec![Class { rooms: connections / room_size, room_size }])
            }
            Sizes::Zipf => {
                ensure!(room_size >= 4, "--sizes zipf begins with rooms of --room-size, at least 4");
                // Down to pairs.
                let classes = room_size.ilog2();
                let each = connections / classes;
                ensure!(
                    each >= room_size,
                    "--sizes zipf has as many people in rooms of each of {classes} sizes: --connections {connections} must \
                     be at least {}",
                    room_size * classes
                );
                let class = |halved: u32| {
                    let room_size = room_size >> halved;
                    Class { rooms: each / room_size, room_size }
                };
                Ok((0..classes).map(class).collect())
            }
        }
    }
}

/// All connections of a shape's crowds.
pub(crate) fn connections(crowds: &[Crowd]) -> u32 {
    crowds.iter().map(Crowd::connections).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        connections: 1_000,
        room_size: 50,
        sizes: Sizes::Fixed,
        publishers: Publishers::All,
        own_copy: false,
        workers: None,
        files: 20_000,
    };

    #[test]
    fn zipf_has_as_many_people_in_rooms_of_each_size() {
        let shape = Shape { sizes: Sizes::Zipf, room_size: 64, connections: 800, ..SHAPE };
        let crowds = shape.crowds().expect("fits");
        let sizes: Vec<(u32, u32)> = crowds.iter().map(|crowd| (crowd.rooms, crowd.room_size)).collect();
        assert_eq!(sizes, [(2, 64), (4, 32), (8, 16), (16, 8), (33, 4), (66, 2)]);
        assert!(connections(&crowds) <= 800 && connections(&crowds) > 750);
        let (mut room, mut connection) = (0, 0);
        for crowd in &crowds {
            assert_eq!((crowd.first_room, crowd.first_connection), (room, connection), "dense");
            assert_eq!(crowd.publishers, crowd.room_size);
            (room, connection) = (room + crowd.rooms, connection + crowd.connections());
        }
        let few = Shape { publishers: Publishers::PerRoom(10), ..shape }.crowds().expect("fits");
        assert_eq!(few.iter().map(|crowd| crowd.publishers).collect::<Vec<_>>(), [10, 10, 10, 8, 4, 2]);
    }

    #[test]
    fn workers_are_as_few_as_files_allow_or_as_many_as_asked() {
        let workers = |shape: Shape| shape.crowds().map(|crowds| crowds.len()).ok();
        assert_eq!(workers(SHAPE), Some(1));
        assert_eq!(workers(Shape { files: 564, ..SHAPE }), Some(2));
        assert_eq!(workers(Shape { workers: Some(4), ..SHAPE }), Some(4));
        assert_eq!(workers(Shape { workers: Some(400), ..SHAPE }), Some(20), "a room is not divided");
        assert_eq!(workers(Shape { workers: Some(1), files: 564, ..SHAPE }), None);
        let zipf = Shape { sizes: Sizes::Zipf, room_size: 64, connections: 800, ..SHAPE };
        assert_eq!(workers(Shape { workers: Some(5), ..zipf }), None, "one for each size");
        assert_eq!(workers(Shape { workers: Some(9), ..zipf }), Some(9));
    }

    #[test]
    fn what_has_no_shape_is_said() {
        for bad in [
            Shape { connections: 1_001, ..SHAPE },
            Shape { connections: 0, ..SHAPE },
            Shape { room_size: 1, ..SHAPE },
            Shape { publishers: Publishers::PerRoom(51), ..SHAPE },
            Shape { files: 100, ..SHAPE },
            Shape { sizes: Sizes::Zipf, room_size: 3, ..SHAPE },
            Shape { sizes: Sizes::Zipf, connections: 240, ..SHAPE },
        ] {
            assert!(bad.crowds().is_err(), "{bad:?}");
        }
    }
}
