//! What a token must say beyond a good signature: the operator's settings.
//!
//! Promises: plain values; `Default` is what runs when nothing is configured; [`TokenRules::check`] refuses what would
//! quietly let too much in or nobody at all. Lengths, leeway and sizes stand in [`Limits`](crate::base::Limits).

use super::algorithm::Algorithms;

/// Rules for every token, whatever its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRules {
    /// Algorithms that are taken, of those there are keys for. Default: all.
    pub algorithms: Algorithms,
    /// `iss` must be one of these. Empty: whatever it says.
    pub issuers: Vec<String>,
    /// `aud` must name one of these. Empty: a token that has an `aud` is meant for somebody else and is refused
    /// (RFC 7519, 4.1.3).
    pub audiences: Vec<String>,
    /// Claims that must be there besides `sub` and `exp`, such as `jti` or `iat`.
    pub required: Vec<String>,
    /// `typ` values taken, compared without regard to case and to a leading `application/` (RFC 7515, 4.1.9; RFC 8725,
    /// 3.11). A token without `typ` passes unless `type_required`.
    pub types: Vec<String>,
    /// A token must have a `typ`.
    pub type_required: bool,
    /// The longest time a token may still be good for, in seconds: one that ends later is refused. It also says how long
    /// a revocation must be remembered. `u64::MAX`: any time, and revocations are remembered for ever.
    pub life_max_s: u64,
    /// The same for a token that came in a URL, in seconds: others log URLs.
    pub query_token_max_age_s: u64,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            algorithms: Algorithms::all(),
            issuers: Vec::new(),
            audiences: Vec::new(),
            required: Vec::new(),
            types: vec!["JWT".to_owned()],
            type_required: false,
            life_max_s: 90 * 86_400,
            query_token_max_age_s: 3_600,
        }
    }
}

impl TokenRules {
    /// Entries in each list.
    pub const LIST_MAX: usize = 32;

    /// Without limits in time: what tools and tests check a token with.
    pub fn any_time() -> Self {
        Self { life_max_s: u64::MAX, query_token_max_age_s: u64::MAX, ..Self::default() }
    }

    /// Says what is wrong with these rules and what to do.
    pub fn check(&self) -> Result<(), String> {
        if self.algorithms.is_empty() {
            return Err("tokens.algorithms names none: no token could ever be good".to_owned());
        }
        let lists = [
            ("issuers", &self.issuers),
            ("audiences", &self.audiences),
            ("required", &self.required),
            ("types", &self.types),
        ];
        for (name, list) in lists {
            if list.len() > Self::LIST_MAX {
                return Err(format!("tokens.{name} has {} entries, more than {}", list.len(), Self::LIST_MAX));
            }
            if list.iter().any(String::is_empty) {
                return Err(format!("tokens.{name} holds an empty text, which would match tokens that say nothing"));
            }
        }
        if self.type_required && self.types.is_empty() {
            return Err("tokens.type_required without tokens.types: no token could ever be good".to_owned());
        }
        if self.life_max_s == 0 || self.query_token_max_age_s == 0 {
            return Err("tokens.life_max_s and tokens.query_token_max_age_s must be above 0".to_owned());
        }
        Ok(())
    }

    /// Whether a header's `typ` is one of ours.
    pub(super) fn takes_type(&self, found: &str) -> bool {
        let bare = |text: &str| match text.get(..APPLICATION.len()) {
            // The prefix is left out where no other slash follows (RFC 7515, 4.1.9).
            Some(prefix) if prefix.eq_ignore_ascii_case(APPLICATION) && !text[APPLICATION.len()..].contains('/') => {
                text[APPLICATION.len()..].to_owned()
            }
            Some(_) | None => text.to_owned(),
        };
        let found = bare(found);
        self.types.iter().any(|wanted| bare(wanted).eq_ignore_ascii_case(&found))
    }
}

const APPLICATION: &str = "application/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_contradictions_are_told() {
        assert_eq!(TokenRules::default().check(), Ok(()));
        assert_eq!(TokenRules::any_time().check(), Ok(()));
        let bad = [
            TokenRules { algorithms: Algorithms::default(), ..TokenRules::default() },
            TokenRules { audiences: vec![String::new()], ..TokenRules::default() },
            TokenRules { issuers: vec!["x".to_owned(); 33], ..TokenRules::default() },
            TokenRules { types: Vec::new(), type_required: true, ..TokenRules::default() },
            TokenRules { life_max_s: 0, ..TokenRules::default() },
            TokenRules { query_token_max_age_s: 0, ..TokenRules::default() },
        ];
        for rules in bad {
            assert!(rules.check().unwrap_err().contains("tokens."), "{rules:?}");
        }
    }

    #[test]
    fn a_type_is_compared_as_a_media_type() {
        let rules = TokenRules { types: vec!["at+jwt".to_owned()], ..TokenRules::default() };
        for good in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
            assert!(rules.takes_type(good), "{good}");
        }
        for bad in ["JWT", "", "at+jwt ", "application/x/at+jwt", "x/at+jwt", "logout+jwt"] {
            assert!(!rules.takes_type(bad), "{bad}");
        }
    }
}
