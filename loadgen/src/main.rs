mod latency;
mod mix;
mod orders;
mod payload;
mod proof;
mod schedule;
mod source;
mod sys;
mod token;
fn main() {}
