//! Floor 2: who is where, and what was said.
