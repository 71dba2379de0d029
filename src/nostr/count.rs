//! What relays answer to COUNT (NIP-45), and what becomes of several answers.
//!
//! Rule 3.8: the sketches merged where every relay gives one, else the largest count; of
//! more relays than one it is approximate.

use serde::Deserialize;

use crate::nostr::hll::Hll;
use crate::nostr::json::is_object;

/// The largest count that is believed and sent: the largest integer every JSON reader takes.
pub(crate) const MAX_COUNT: u64 = (1 << 53) - 1;

/// The object of a COUNT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// How many events.
    pub count: u64,
    /// Whether that is a guess. `None`: not said.
    pub approximate: Option<bool>,
    /// The sketch of their authors.
    pub hll: Option<Hll>,
}

impl Counted {
    /// So many, for sure.
    pub const fn exactly(count: u64) -> Self {
        Self { count, approximate: None, hll: None }
    }

    /// Reads what a relay sends. `None` for what is no count; a sketch or a mark that is none is as
    /// good as not said.
    pub fn parse(json: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Said {
            count: u64,
            #[serde(default)]
            approximate: serde_json::Value,
            #[serde(default)]
            hll: serde_json::Value,
        }
        let said: Said = serde_json::from_str(Some(json).filter(|json| is_object(json))?).ok()?;
        (said.count <= MAX_COUNT).then(|| Self {
            count: said.count,
            approximate: said.approximate.as_bool(),
            hll: said.hll.as_str().and_then(Hll::from_hex),
        })
    }

    /// As it is sent to clients.
    pub fn to_json(&self) -> String {
        let mut out = format!("{{\"count\":{}", self.count);
        if let Some(approximate) = self.approximate {
            out.push_str(if approximate {
                ",\"approximate\":true"
            } else {
                ",\"approximate\":false"
            });
        }
        if let Some(hll) = &self.hll {
            out.push_str(",\"hll\":\"");
            out.push_str(&hll.to_hex());
            out.push('"');
        }
        out.push('}');
        out
    }

    /// One answer of those of `asked` relays. `None` where there is none.
    ///
    /// A single relay's is passed on as it is. Of several relays' each has counted a part of the
    /// same events: together they have as many as the one that has most, at least. A sketch tells
    /// how many more, but it counts authors, and guesses; so it may raise that number, not lower it.
    pub fn merged(mut answers: Vec<Self>, asked: usize) -> Option<Self> {
        if asked <= 1 || answers.is_empty() {
            return answers.pop();
        }
        let most = answers.iter().map(|answer| answer.count).max()?;
        let several = answers.len() > 1;
        let sketches: Option<Vec<Hll>> = answers.into_iter().map(|answer| answer.hll).collect();
        let hll = sketches.and_then(|all| {
            all.into_iter().reduce(|mut merged, other| {
                merged.merge(&other);
                merged
            })
        });
        let estimate = hll.as_ref().filter(|_| several).map_or(0, whole);
        Some(Self { count: most.max(estimate), approximate: Some(true), hll })
    }
}

/// A sketch's estimate, within what can be sent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "rounded, never negative and cut to what fits"
)]
fn whole(hll: &Hll) -> u64 {
    hll.estimate().round().clamp(0.0, MAX_COUNT as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::hll::tests::author;

    fn sketch(authors: std::ops::Range<u64>) -> Hll {
        let mut hll = Hll::empty();
        authors.for_each(|number| hll.insert(&author(number), 8));
        hll
    }

    fn answer(authors: std::ops::Range<u64>) -> Counted {
        let count = authors.end - authors.start;
        Counted { count, approximate: Some(false), hll: Some(sketch(authors)) }
    }

    #[test]
    fn what_relays_send_is_read_as_far_as_it_makes_sense() {
        assert_eq!(Counted::parse(r#"{"count":5}"#), Some(Counted::exactly(5)));
        let said = r#"{"count":5,"approximate":true,"other":[]}"#;
        let approximate = Counted { approximate: Some(true), ..Counted::exactly(5) };
        assert_eq!(Counted::parse(said), Some(approximate));
        let text = answer(0..100).to_json();
        assert_eq!(Counted::parse(&text).unwrap().to_json(), text);
        let odd = r#"{"count":5,"approximate":"yes","hll":"00"}"#;
        assert_eq!(Counted::parse(odd), Some(Counted::exactly(5)));
        assert_eq!(Counted::parse(r#"{"count":5,"hll":7}"#), Some(Counted::exactly(5)));
        for none in
            ["5", "[]", "[5,false,\"\"]", "{}", "null", r#"{"count":"5"}"#, r#"{"count":-1}"#]
        {
            assert_eq!(Counted::parse(none), None, "{none}");
        }
        for none in ["1e30", "0.5", "null", "9007199254740992", "18446744073709551616"] {
            assert_eq!(Counted::parse(&format!("{{\"count\":{none}}}")), None, "{none}");
        }
    }

    #[test]
    fn one_relays_answer_stays_what_it_is() {
        assert_eq!(Counted::merged(Vec::new(), 1), None);
        assert_eq!(Counted::merged(vec![answer(0..100)], 1), Some(answer(0..100)));
        // It is the only one of two that has answered: the other may have more.
        let only = Counted::merged(vec![answer(0..100)], 2).unwrap();
        assert_eq!(only, Counted { approximate: Some(true), ..answer(0..100) });
    }

    #[test]
    fn sketches_are_merged_if_all_have_one() {
        let answers = vec![answer(0..20_000), answer(10_000..30_000)];
        let merged = Counted::merged(answers.clone(), 2).unwrap();
        assert_eq!(merged.hll, Some(sketch(0..30_000)));
        assert!((25_000..35_000).contains(&merged.count), "{}", merged.count);
        assert_eq!(merged.approximate, Some(true));
        let without = [answers, vec![Counted::exactly(20_001)]].concat();
        let most = Counted { approximate: Some(true), ..Counted::exactly(20_001) };
        assert_eq!(Counted::merged(without, 3), Some(most));
    }

    #[test]
    fn a_sketch_never_makes_a_count_smaller() {
        // A hundred replies of one author.
        let replies = |count| Counted { count, approximate: None, hll: Some(sketch(0..1)) };
        assert_eq!(Counted::merged(vec![replies(100), replies(40)], 2).unwrap().count, 100);
        let lie = Hll::from_hex(&"f9".repeat(256));
        let lies = Counted { count: 0, approximate: None, hll: lie };
        let merged = Counted::merged(vec![lies.clone(), lies], 2).unwrap();
        assert_eq!(merged.count, MAX_COUNT, "absurd, but a number that can be sent");
    }
}
