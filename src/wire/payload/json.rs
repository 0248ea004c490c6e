//! JSON: the whole grammar of RFC 8259, walked byte by byte.
//!
//! Promises: no recursion, no allocation, one pass. The caller has proved the bytes to be UTF-8; without that the walk
//! is still safe, only its answer about strings is worth less.

use super::text;
use super::walk::{Broken, Fault, Walked};

/// Walks the one value that begins at `at`, which must not be white space. `depth_max` is at most 64.
pub(crate) fn walk(bytes: &[u8], at: usize, depth_max: usize) -> Result<Walked, Fault> {
    let walk = Walk { bytes, at, objects: 0, depth: 0, depth_max, unportable: None, spaced: false };
    walk.run()
}

/// The end of the value at `at`, by counting brackets outside strings.
pub(crate) fn skim(bytes: &[u8], at: usize) -> Result<usize, Broken> {
    let (mut end, mut depth) = (at, 0_usize);
    while let Some(&byte) = bytes.get(end) {
        end += 1;
        match byte {
            b'"' => end = text::string_end(bytes, end).ok_or_else(|| ended(bytes))?,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Ok(end);
                }
            }
            _ => {}
        }
    }
    Err(ended(bytes))
}

/// The first index from `at` on that is not JSON white space.
pub(crate) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Appends a proved value without the white space outside its strings.
pub(crate) fn copy_tight(bytes: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let end = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'"' => text::string_end(bytes, at + 1).unwrap_or(bytes.len()),
            _ => at + 1,
        };
        out.extend_from_slice(&bytes[at..end]);
        at = end;
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// One bit per open level, the innermost lowest: 1 is an object.
    objects: u64,
    depth: usize,
    depth_max: usize,
    unportable: Option<Broken>,
    spaced: bool,
}

impl Walk<'_> {
    fn run(mut self) -> Result<Walked, Fault> {
        loop {
            self.value()?;
            while !self.next_is_due()? {
                if self.depth == 0 {
                    return Ok(Walked { end: self.at, unportable: self.unportable, spaced: self.spaced });
                }
            }
        }
    }

    /// Takes one scalar, an empty container, or the openings that lead to the first scalar.
    fn value(&mut self) -> Result<(), Fault> {
        loop {
            match self.peek() {
                Some(b'"') => return self.string(),
                Some(b'-' | b'0'..=b'9') => return self.number(),
                Some(b't') => return self.literal(b"true"),
                Some(b'f') => return self.literal(b"false"),
                Some(b'n') => return self.literal(b"null"),
                Some(b'[') => {
                    self.open(false)?;
                    if self.peek() == Some(b']') {
                        return Ok(());
                    }
                }
                Some(b'{') => {
                    self.open(true)?;
                    if self.peek() == Some(b'}') {
                        return Ok(());
                    }
                    self.key()?;
                }
                Some(_) => return Err(self.broken("a value was expected")),
                None => return Err(Fault::Malformed(ended(self.bytes))),
            }
        }
    }

    /// After a value: true when another one begins here, false when a level was closed or nothing is open.
    fn next_is_due(&mut self) -> Result<bool, Fault> {
        if self.depth == 0 {
            return Ok(false);
        }
        self.space();
        let in_object = self.objects & 1 == 1;
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                if in_object {
                    self.key()?;
                }
                Ok(true)
            }
            Some(b']') if !in_object => self.close(),
            Some(b'}') if in_object => self.close(),
            Some(_) if in_object => Err(self.broken("`,` or `}` was expected")),
            Some(_) => Err(self.broken("`,` or `]` was expected")),
            None => Err(Fault::Malformed(ended(self.bytes))),
        }
    }

    fn open(&mut self, object: bool) -> Result<(), Fault> {
        if self.depth == self.depth_max {
            return Err(Fault::TooDeep { at: self.at });
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(object);
        self.at += 1;
        self.space();
        Ok(())
    }

    fn close(&mut self) -> Result<bool, Fault> {
        self.depth -= 1;
        self.objects >>= 1;
        self.at += 1;
        Ok(false)
    }

    fn key(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(_) => return Err(self.broken("a key was expected")),
            None => return Err(Fault::Malformed(ended(self.bytes))),
        }
        self.space();
        match self.peek() {
            Some(b':') => self.at += 1,
            Some(_) => return Err(self.broken("`:` was expected")),
            None => return Err(Fault::Malformed(ended(self.bytes))),
        }
        self.space();
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            self.at = text::plain_end(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => match text::escape(self.bytes, self.at) {
                    Some(escape) => {
                        if escape.scalar.is_none() {
                            let why = "a string has a lone surrogate escape";
                            self.unportable.get_or_insert(Broken { at: self.at, why });
                        }
                        self.at = escape.end;
                    }
                    None => return Err(self.broken("this is no escape")),
                },
                Some(_) => return Err(self.broken("a control character stands bare in a string")),
                None => return Err(Fault::Malformed(ended(self.bytes))),
            }
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let whole = if self.peek() == Some(b'0') {
            self.at += 1;
            1
        } else {
            self.digits()?
        };
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let mut scaled = false;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            scaled = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if (scaled || whole > WHOLE_DIGITS_SAFE) && float(&self.bytes[start..self.at]).is_none() {
            let why = "a number overflows float 64";
            self.unportable.get_or_insert(Broken { at: start, why });
        }
        Ok(())
    }

    /// One or more digits; how many.
    fn digits(&mut self) -> Result<usize, Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.broken("a digit was expected")) } else { Ok(self.at - start) }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.broken("a value was expected"));
        }
        self.at += word.len();
        Ok(())
    }

    fn space(&mut self) {
        let end = skip_space(self.bytes, self.at);
        self.spaced |= end > self.at;
        self.at = end;
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn broken(&self, why: &'static str) -> Fault {
        Fault::malformed(self.at, why)
    }
}

/// The finite value of a number of the grammar; `None` when it overflows.
pub(crate) fn float(number: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

fn ended(bytes: &[u8]) -> Broken {
    Broken { at: bytes.len(), why: "the message ends inside a value" }
}

/// The largest float 64 is 1.79… × 10^308: a number of 308 digits before the point and no exponent is below it.
const WHOLE_DIGITS_SAFE: usize = 308;
