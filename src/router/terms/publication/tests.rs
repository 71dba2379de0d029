//! rule 1.3 in every order in which one to three relays can take, answer and lose an event.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{ClientId, Position, RelayId};

use super::{Delivery, Fate as Known, Publication, Published, Word};
use crate::nostr::event::Event;
use crate::nostr::reason::{Cause, Reason};

/// Something that happens to the event at one relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Its connection takes the event.
    Taken,
    /// OK with this flag and message.
    Ok(bool, &'static str),
    /// Its connection dies; whether the event never left.
    Lost { unsent: bool },
}

use Step::{Lost, Ok as Said, Taken};

const LOST: Step = Lost { unsent: false };
const UNSENT: Step = Lost { unsent: true };

/// All a relay's connection can do with an event, from handing it over on.
const LIVES: [&[Step]; 12] = [
    &[],
    &[Taken],
    &[Taken, Said(true, "")],
    &[Taken, Said(false, "duplicate: have it")],
    &[Taken, Said(false, "error: full")],
    &[Taken, Said(false, "blocked: no")],
    &[Taken, Said(false, "pow: 20"), Said(true, "after all")],
    &[Taken, LOST],
    &[Taken, UNSENT],
    &[UNSENT],
    &[LOST],
    &[Taken, Said(false, ""), LOST],
];

fn publication(relays: usize) -> Publication {
    let event = Event::unverified_for_tests([1; 32], [2; 32], 0, 1, Vec::new(), "{}");
    let relays = (0..relays).map(|relay| RelayId(relay as u64));
    let (waiters, deadline) = (vec![ClientId(5)], Duration::from_secs(2));
    let published = Published { event: Arc::new(event), position: Position(1), waiters, deadline };
    Publication::new(published, relays)
}

fn apply(publication: &mut Publication, relay: usize, step: Step) -> Option<Known> {
    let relay = RelayId(relay as u64);
    match step {
        Taken => {
            publication.sent(relay);
            None
        }
        Said(accepted, why) => {
            publication.answered(relay, Word { accepted, why: &Reason::read(why) })
        }
        Lost { unsent } => publication.lost(relay, unsent),
    }
}

/// What a reader of rule 1.3 knows of one relay from what has happened so far.
enum Fate {
    /// It has the event.
    HasIt,
    /// It has said no.
    Refused(&'static str),
    /// The event has left for it, and no answer has come.
    Unanswered,
    /// The event has not left; it still may.
    Waiting,
    /// The event has not left and will not.
    NeverLeft,
}

fn fate(happened: &[Step]) -> Fate {
    let first_answer = happened.iter().find_map(|step| match step {
        Said(accepted, why) => Some((*accepted || why.starts_with("duplicate:"), *why)),
        _ => None,
    });
    let lost = happened.iter().any(|step| matches!(step, Lost { .. }));
    match first_answer {
        Some((true, _)) => Fate::HasIt,
        Some((false, why)) => Fate::Refused(why),
        None if happened.contains(&UNSENT) => Fate::NeverLeft,
        None if happened.contains(&Taken) => Fate::Unanswered,
        None if lost => Fate::NeverLeft,
        None => Fate::Waiting,
    }
}

/// In the order in which they tell a client what to do.
const TELLING: [&str; 4] = ["pow: 20", "blocked: no", "error: full", ""];

fn refusal(fates: &[Fate]) -> Known {
    let said = |why: &&str| fates.iter().any(|fate| matches!(fate, Fate::Refused(no) if no == why));
    let why = TELLING.into_iter().find(said);
    why.map_or(Known::Unsent, |why| Known::Refused(Reason::read(why)))
}

fn is_good(fate: &Known) -> bool {
    matches!(fate, Known::Accepted(_) | Known::Doubt(_))
}

fn is_accepted(publication: &Publication) -> bool {
    publication.relays.iter().any(|(_, delivery)| *delivery == Delivery::Accepted)
}

/// What must be known before the deadline; `just_said` is the last thing that happened.
fn known(fates: &[Fate], just_said: Step) -> Option<Known> {
    if fates.iter().any(|fate| matches!(fate, Fate::HasIt)) {
        let Said(_, why) = just_said else { panic!("it should have been answered before") };
        return Some(Known::Accepted(Reason::read(why)));
    }
    let settled = |fate: &Fate| matches!(fate, Fate::Refused(_) | Fate::NeverLeft);
    fates.iter().all(settled).then(|| refusal(fates))
}

fn known_at_deadline(fates: &[Fate]) -> Known {
    let unanswered = fates.iter().filter(|fate| matches!(fate, Fate::Unanswered)).count();
    if unanswered == 0 {
        return refusal(fates);
    }
    let sent = unanswered + fates.iter().filter(|fate| matches!(fate, Fate::Refused(_))).count();
    let why = Reason::read(format!("sent to {sent} relays, unanswered"));
    Known::Doubt(why.about(Cause::Unanswered))
}

/// Follows every order of these lives, calling `visit` with each history.
fn every_order(
    lives: &[&'static [Step]],
    done: &mut Vec<usize>,
    history: &mut Vec<(usize, Step)>,
    visit: &mut impl FnMut(&[(usize, Step)]),
) {
    visit(history);
    for relay in 0..lives.len() {
        if let Some(step) = lives[relay].get(done[relay]) {
            done[relay] += 1;
            history.push((relay, *step));
            every_order(lives, done, history, visit);
            history.pop();
            done[relay] -= 1;
        }
    }
}

fn every_history(relays: usize, visit: &mut impl FnMut(&[(usize, Step)])) {
    let mut choices: Vec<Vec<&'static [Step]>> = vec![Vec::new()];
    for _ in 0..relays {
        let more = |lives: &Vec<&'static [Step]>| -> Vec<Vec<&'static [Step]>> {
            LIVES.iter().map(|life| [&lives[..], &[*life]].concat()).collect()
        };
        choices = choices.iter().flat_map(more).collect();
    }
    for lives in choices {
        every_order(&lives, &mut vec![0; relays], &mut Vec::new(), visit);
    }
}

fn fates(relays: usize, history: &[(usize, Step)]) -> Vec<Fate> {
    let of = |relay| {
        let steps: Vec<Step> =
            history.iter().filter(|(of, _)| *of == relay).map(|(_, step)| *step).collect();
        fate(&steps)
    };
    (0..relays).map(of).collect()
}

#[test]
fn what_is_known_is_what_spec_1_3_says_whatever_the_order() {
    for relays in 1..=3 {
        every_history(relays, &mut |history| {
            let mut publication = publication(relays);
            for (at, (relay, step)) in history.iter().enumerate() {
                let answer = apply(&mut publication, *relay, *step);
                let fates = fates(relays, &history[..=at]);
                assert_eq!(answer, known(&fates, *step), "{:?}", &history[..=at]);
                if answer.is_some() {
                    return;
                }
            }
            let fates = fates(relays, history);
            assert_eq!(publication.at_deadline(), known_at_deadline(&fates), "{history:?}");
        });
    }
}

#[test]
fn what_is_known_is_never_taken_back() {
    for relays in 1..=2 {
        every_history(relays, &mut |history| {
            let mut publication = publication(relays);
            let mut given: Option<Known> = None;
            for (relay, step) in history {
                let answer = apply(&mut publication, *relay, *step);
                match (&given, answer) {
                    (None, answer) => given = answer,
                    (Some(given), Some(answer)) => {
                        assert!(is_good(given) && is_good(&answer), "{history:?}");
                    }
                    (Some(_), None) => {}
                }
            }
            if let Some(given) = given {
                assert_eq!(is_accepted(&publication), is_good(&given), "{history:?}");
            }
        });
    }
}

#[test]
fn an_event_that_may_have_left_is_never_refused() {
    for relays in 1..=3 {
        every_history(relays, &mut |history| {
            let mut publication = publication(relays);
            let fates = fates(relays, history);
            let left = |fate: &Fate| matches!(fate, Fate::Unanswered | Fate::HasIt);
            let answers: Vec<Known> = history
                .iter()
                .filter_map(|(relay, step)| apply(&mut publication, *relay, *step))
                .collect();
            if fates.iter().any(left) {
                assert!(answers.iter().all(is_good), "{history:?}");
                assert_eq!(publication.fate(), None, "{history:?}");
                let in_doubt = !is_accepted(&publication);
                assert!(!in_doubt || is_good(&publication.at_deadline()), "{history:?}");
            }
        });
    }
}

#[test]
fn no_relay_means_no() {
    assert_eq!(publication(0).fate(), Some(Known::Unsent));
    assert_eq!(publication(0).at_deadline(), Known::Unsent);
    assert_eq!(publication(1).fate(), None);
}

#[test]
fn a_relay_that_was_not_asked_has_no_say() {
    let mut publication = publication(2);
    publication.sent(RelayId(7));
    assert_eq!(
        publication.answered(RelayId(7), Word { accepted: true, why: &Reason::none() }),
        None
    );
    assert_eq!(publication.lost(RelayId(7), false), None);
    assert_eq!(
        publication.answered(RelayId(0), Word { accepted: true, why: &Reason::none() }),
        None,
        "the event has not left for it yet"
    );
    assert_eq!(publication.fate(), None);
    assert!(!is_accepted(&publication));
}
