//! What a plan decides, and what it refuses.

use anyhow::bail;
use clap::Parser;

use super::*;
use crate::args::{Cli, Command};

fn plan(options: &str) -> Result<Plan> {
    let words = ["throng-load", "run", "--secret", "s"].into_iter().chain(options.split_whitespace());
    let Command::Run(args) = Cli::try_parse_from(words)?.command else { bail!("not a run") };
    Plan::new(*args)
}

#[test]
fn a_run_is_shared_out_in_whole_rooms_without_a_rest() {
    let plan = plan("--connections 1050 --room-size 50 --workers 4 --rate 1000 --connecting 12").expect("a plan");
    assert_eq!(plan.crowds.iter().map(|crowd| crowd.rooms).collect::<Vec<_>>(), [6, 5, 5, 5]);
    assert_eq!(plan.crowds.iter().map(|crowd| crowd.first_room).collect::<Vec<_>>(), [0, 6, 11, 16]);
    let messages: u64 = (0..4).map(|index| plan.phase(index, 0, &plan.stages[0], 0, false).messages).sum();
    assert!((11_998..=12_002).contains(&messages), "{messages}");
}

#[test]
fn a_dozen_connect_at_once_in_all_and_a_pace_is_kept_in_every_wave() {
    let plan = plan("--connections 1050 --room-size 50 --workers 11 --connecting 3 --ramp-rate 500").expect("a plan");
    let waves = plan.waves();
    assert!(waves.len() > 1, "{waves:?}");
    for wave in waves {
        let crews: Vec<Crew> = wave.clone().map(|index| plan.crew(index, &wave, wave.start > 0)).collect();
        assert_eq!(crews.iter().map(|crew| crew.connecting).sum::<usize>(), 3);
        let pace: f64 = crews.iter().filter_map(|crew| crew.ramp_rate).sum();
        assert!((pace - 500.0).abs() < 1e-6, "{pace}");
        assert!(crews.iter().all(|crew| crew.others_sit == (wave.start > 0) && crew.memory_floor_bytes == 512 << 20));
    }
}

#[test]
fn those_who_came_in_go_on_as_was_planned_for_each_of_them() {
    let mut plan = plan("--connections 1000 --room-size 50 --workers 4 --hold 20").expect("a plan");
    assert_eq!(plan.crowds.iter().map(|crowd| crowd.rooms).collect::<Vec<_>>(), [5, 5, 5, 5]);
    plan.keep(&[5, 0, 3]);
    assert_eq!(plan.crowds.iter().map(|crowd| (crowd.first_room, crowd.rooms)).collect::<Vec<_>>(), [(0, 5), (10, 3)]);
    assert_eq!((plan.args.connections, plan.connections_asked), (400, 1_000));
    assert_eq!((plan.rooms, plan.publishers, plan.hearers()), (8, 8, 50.0));
    let messages = |index| plan.phase(index, 0, &plan.stages[0], 0, true).messages;
    assert_eq!((messages(0), messages(1)), (5, 3), "one for each room");
    assert_eq!((0..8).map(|place| plan.room_at(place)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 10, 11, 12]);
}

#[test]
fn several_addresses_of_a_server_share_the_pairs_and_a_room_lies_at_one() {
    let urls = "--url ws://127.0.0.1:1/ws,ws://127.0.0.1:2/ws,ws://127.0.0.1:3/ws";
    let plan = plan(&format!("{urls} --connections 1000 --room-size 50 --workers 3")).expect("a plan");
    let (mut pairs, mut taken) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for (index, crowd) in plan.crowds.iter().enumerate() {
        let crew = plan.crew(index, &(index..index + 1), false);
        for member in 0..crowd.connections() {
            let (door, number) = crew.door(member);
            assert_eq!(door.address, crew.door(member / 50 * 50).0.address, "with its room");
            assert!(number < plan.pairs(crowd));
            let pair = crew.sources.expect("they are bound").pair(number, 0);
            pairs.insert(pair);
            assert!(taken.insert((door.address, pair)), "no pair twice towards one address");
        }
    }
    assert!(
        (334..=450).contains(&pairs.len()),
        "1,000 connections take a third as many, in whole rooms: {}",
        pairs.len()
    );
    let one = self::plan("--url ws://127.0.0.1:1/ws --connections 1000 --room-size 50").expect("a plan");
    assert_eq!(plan.connections_possible(), one.connections_possible().map(|possible| 3 * possible));
}

#[test]
fn a_hold_asks_for_one_message_per_room_heard_by_everybody() {
    let plan = plan("--connections 1000 --room-size 50 --hold 20").expect("a plan");
    assert_eq!((plan.publishers, plan.hearers()), (20, 50.0));
    assert_eq!(plan.phase(0, 0, &plan.stages[0], 0, true).messages, 20);
    assert!((plan.warmup_s, plan.duration_s) == (0.0, 20.0));
}

#[test]
fn phases_multiply_the_rate_and_have_their_own_slo_or_the_runs() {
    let plan = plan("--rate 100 --slo p99<50ms --phase name=up,times=0.5..1.5,duration=4 --phase name=spike,times=5,duration=2,warmup=1,slo=p99<1s")
        .expect("a plan");
    let [up, spike] = plan.stages.as_slice() else { panic!("{:?}", plan.stages) };
    assert_eq!((up.rate, up.slope, up.slo.to_string().as_str()), (100.0, Slope { from: 0.5, to: 1.5 }, "p99<50ms"));
    assert_eq!((spike.rate, spike.slope, spike.slo.to_string().as_str()), (500.0, Slope::FLAT, "p99<1000ms"));
    assert_eq!(plan.phase(0, 0, spike, 0, false).messages, 1_500);
    assert!(plan.describe().contains("spike"));
}

/// By its mean rate a phase that rises had twice as many followed at its end as a worker may follow.
#[test]
fn what_is_followed_goes_by_the_busiest_moment_of_all_phases() {
    let every = |phases: &str| {
        let plan =
            plan(&format!("--connections 1000 --room-size 50 --workers 1 --rate 1000 {phases}")).expect("a plan");
        let every = plan.stages.iter().map(|stage| plan.phase(0, 0, stage, 0, false).spread_every);
        every.collect::<Vec<_>>()
    };
    // 49,000 hearings a second, then 98,000.
    assert_eq!(every("--duration 2"), [1]);
    assert_eq!(every("--phase times=0..2,duration=2"), [2]);
    assert_eq!(every("--phase times=1,duration=2 --phase times=2..0,duration=2"), [2, 2]);
}

#[test]
fn what_cannot_be_is_said_before() {
    for bad in [
        "--connections 1001 --room-size 50",
        "--connections 10 --room-size 1",
        "--connections 10 --room-size 2 --publishers 3",
        "--url wss://127.0.0.1:1/ws",
        "--url ws:///ws",
        "--connections 4000000000 --room-size 1000",
        "--source 10.0.0.0/8",
        "--connections 100000 --room-size 50 --workers 1",
        "--hold 3 --phase duration=1",
        "--warmup 3 --phase duration=1",
    ] {
        assert!(plan(bad).is_err(), "{bad}");
    }
}

#[test]
fn those_beside_the_crowd_must_fit_the_files_of_the_process_that_holds_them() {
    let limit = sys::raise_file_limit().expect("the limit");
    let fits = limit.saturating_sub(200).min(20_000);
    let plan_of = |guests: u64| plan(&format!("--connections 100 --room-size 50 --guests {guests}"));
    plan_of(fits).expect("they fit");
    if limit <= 20_000 {
        let said = plan_of(limit).err().expect("they do not").to_string();
        assert!(said.contains("ulimit -n") && said.contains("guests"), "{said}");
    }
}
