//! What the pure floors cost, in instructions.
//!
//! Where valgrind is installed each case runs twice under callgrind, with n and with 2n rounds; the difference divided
//! by n is the cost of one round, start-up left out. Instruction counts do not jitter on a busy machine. Without
//! valgrind criterion measures time instead. Either way the memory budget by struct is printed first.
//!
//! `cargo bench --bench floors [-- NAME]`

mod cases;

use std::process::Command;

use cases::Case;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, name, rounds] = args.as_slice()
        && flag == "--rounds-of"
    {
        let rounds = rounds.parse().expect("--rounds-of NAME N is our own call");
        cases::all().iter_mut().filter(|case| case.name == *name).for_each(|case| (case.run)(rounds));
        return;
    }
    let wanted = args.first().map_or("", String::as_str);
    let mut cases: Vec<Case> = cases::all().into_iter().filter(|case| case.name.contains(wanted)).collect();
    print_budget();
    cases::print_savings();
    if Command::new("valgrind").arg("--version").output().is_ok_and(|out| out.status.success()) {
        count_instructions(&cases);
    } else {
        println!("valgrind is not installed: time instead of instructions");
        measure_time(&mut cases);
    }
}

fn print_budget() {
    use throng::shard::{BYTES_PER_HOME_ROOM, BYTES_PER_LOCAL_ROOM, BYTES_PER_ROW, BYTES_PER_SEAT, BYTES_PER_WORK};
    println!("memory by struct, bytes (an idle connection owns a row and a seat; the rest is shared or lent)");
    for (what, bytes) in [
        ("row of a connection", BYTES_PER_ROW),
        ("seat in a room", BYTES_PER_SEAT),
        ("room at a shard with seats", BYTES_PER_LOCAL_ROOM),
        ("room at its home", BYTES_PER_HOME_ROOM),
        ("work space, lent while something is incomplete", BYTES_PER_WORK),
    ] {
        println!("  {what:<48} {bytes:>6}");
    }
}

fn count_instructions(cases: &[Case]) {
    println!("{:<48} {:>14} {:>8}", "case", "instructions", "per");
    for case in cases {
        let few = instructions(&case.name, case.rounds);
        let many = instructions(&case.name, case.rounds * 2);
        let each = many.saturating_sub(few) as f64 / case.rounds as f64 / case.per_round as f64;
        println!("{:<48} {each:>14.1} {:>8}", case.name, case.unit);
    }
}

/// Instructions of a whole run of this program with one case.
fn instructions(name: &str, rounds: u64) -> u64 {
    let program = std::env::current_exe().expect("a running program has a path");
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--rounds-of", name, &rounds.to_string()])
        .output()
        .expect("valgrind answered --version a moment ago");
    let said = String::from_utf8_lossy(&out.stderr);
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1)).map(str::trim);
    collected.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("callgrind said no count for {name}:\n{said}"))
}

fn measure_time(cases: &mut [Case]) {
    let mut criterion = criterion::Criterion::default();
    for case in cases {
        criterion.bench_function(&case.name, |bencher| bencher.iter(|| (case.run)(1)));
    }
}
