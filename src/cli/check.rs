//! `throng check-config`: what `throng serve` would do, without doing it.

use throng::config::{explain, explain_room};

use super::Failure;
use super::args::CheckArgs;
use super::serve::ServeConfig;
use super::settings::Inputs;

/// Reads what `serve` would read, secrets included, and prints what it comes to.
pub(crate) fn run(args: CheckArgs) -> Result<(), Failure> {
    let mut settings = args.settings;
    settings.file = args.positional.or(settings.file);
    let settled = Inputs::look(settings).read()?;
    let config = ServeConfig::new(&settled, None)?;
    let room = args.room.map(|room| explain_room(&settled, &room, args.user.as_deref()));
    let room = room.transpose().map_err(Failure::Misused)?;
    for warning in settled.warnings.iter().chain(&config.warnings) {
        eprintln!("throng: {warning}");
    }
    print!("{}", explain(&settled));
    println!();
    println!("would listen at {} with {} shards", config.listen, config.shards);
    match config.admin.listen {
        Some(address) => println!("would answer operators at {address}, with {} API keys", config.admin.keys.len()),
        None => println!("would have no admin listener"),
    }
    let algorithms = config.token_rules.algorithms.and(config.keys.algorithms());
    println!("would take tokens signed with {algorithms}, secret {}", config.keys_whence);
    for jwks in &config.jwks {
        println!("would fetch more keys from {}", jwks.url);
    }
    if config.dev {
        println!("would give tokens to whoever asks from this host: dev is on");
    }
    if let Some(room) = room {
        println!();
        print!("{room}");
    }
    Ok(())
}
