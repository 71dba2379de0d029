//! Paging (rules 3.4, 3.7): a relay gives so many stored events for a filter and no more. Where that is less
//! than is wanted, the older ones are asked for with `until`, under another number of the same request, before
//! its EOSE counts as come.

use serde_json::value::RawValue;

use crate::constants::{EOSE_SILENT, PAGE_LEAST, PAGES_MOST};
use crate::ids::{RelayId, RequestNumber};
use crate::nostr::event::Event;
use crate::nostr::filter::Filter;
use crate::nostr::message::{self, Hint};
use crate::router::relays::{Relays, Work};
use crate::router::subscriptions::Subscriptions;
use crate::router::turn::{Timer, Turn};

use super::Requests;
use super::request::Arrival;

/// One filter of a request, and what has come for it.
#[derive(Debug)]
pub(super) struct Page {
    filter: Filter,
    /// Events wanted in all; `None`: every one there is.
    wanted: Option<u64>,
    /// So many have come, …
    got: u64,
    /// … and so many since the last EOSE, …
    got_now: u64,
    /// … the oldest of this date, …
    oldest: u64,
    /// … which so many have.
    of_oldest: u64,
}

/// The filters of a request that may need more than one page.
#[derive(Debug, Default)]
pub(super) struct Pages {
    all: Vec<Page>,
    /// Pages asked for.
    asked: u32,
}

impl Pages {
    /// Of filters as they are asked for again: whatever is there is wanted.
    pub(super) fn of_repeated<'a>(filters: impl Iterator<Item = &'a str>) -> Self {
        let parsed = filters.filter_map(|json| {
            let raw = RawValue::from_string(json.to_owned()).ok()?;
            Filter::parse(&raw).ok()
        });
        let all = parsed.filter(|filter| filter.limit.is_none() && filter.search.is_none());
        Self { all: all.map(|filter| Page::new(filter, None)).collect(), asked: 0 }
    }

    /// Of first ones: those that want more than the relay gives at once, as far as is known.
    pub(super) fn of_first<'a>(
        filters: impl Iterator<Item = &'a Filter>,
        most: Option<u64>,
    ) -> Self {
        let most = most.unwrap_or(PAGE_LEAST);
        let longer = filters.filter(|it| it.limit > Some(most) && it.search.is_none());
        let all = longer.map(|filter| Page::new(filter.clone(), filter.limit));
        Self { all: all.collect(), asked: 0 }
    }

    /// A stored event has come.
    pub(super) fn note(&mut self, event: &Event) {
        for page in self.all.iter_mut().filter(|page| page.filter.matches(event)) {
            page.note(event.created_at());
        }
    }

    /// A copy of one that was given has come, of this date.
    pub(super) fn note_copy(&mut self, date: u64) {
        for page in &mut self.all {
            page.note(date);
        }
    }

    /// Whether something has come since the last EOSE.
    fn is_coming(&self) -> bool {
        self.all.iter().any(|page| page.got_now > 0)
    }

    /// What is to be asked for next, if the relay gives so many at once.
    fn next(&mut self, most: Option<u64>) -> Vec<String> {
        if self.asked >= PAGES_MOST {
            return Vec::new();
        }
        let next: Vec<String> = self.all.iter_mut().filter_map(|page| page.next(most)).collect();
        self.asked += 1;
        next
    }
}

impl Page {
    const fn new(filter: Filter, wanted: Option<u64>) -> Self {
        Self { filter, wanted, got: 0, got_now: 0, oldest: u64::MAX, of_oldest: 0 }
    }

    fn note(&mut self, date: u64) {
        self.got += 1;
        self.got_now += 1;
        if date < self.oldest {
            (self.oldest, self.of_oldest) = (date, 0);
        }
        self.of_oldest += u64::from(date == self.oldest);
    }

    fn next(&mut self, most: Option<u64>) -> Option<String> {
        let full = std::mem::take(&mut self.got_now) >= most.unwrap_or(PAGE_LEAST);
        let left = self.wanted.map(|wanted| wanted.saturating_sub(self.got));
        if !full || left == Some(0) || Some(self.oldest) <= self.filter.since {
            return None;
        }
        // There may be others of the oldest date, so those of it come again; unless they are all that came.
        let all_the_same = self.filter.until == Some(self.oldest);
        if all_the_same {
            self.filter.until = Some(self.oldest.checked_sub(1)?);
        } else {
            self.filter.until = Some(self.oldest);
            self.got -= self.of_oldest.min(self.got);
        }
        let again = if all_the_same { 0 } else { std::mem::take(&mut self.of_oldest) };
        let limit =
            left.map(|left| left + again).map(|left| most.map_or(left, |most| most.min(left)));
        Some(self.filter.to_json(limit))
    }
}

impl Requests {
    /// The relay has given all of the pages asked for so far. Whether there is another one, which is
    /// asked for.
    pub(super) fn next_page(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> bool {
        let (most, said) = (relays.limits(id).max_limit, self.most(id, relays, turn));
        let has_place = self.upstreams.get(&id).is_some_and(|upstream| upstream.free(said) > 0);
        let Some(request) = self.get_mut(id, number).filter(|it| it.unanswered().is_some()) else {
            return false;
        };
        if !has_place || request.is_over() {
            return false;
        }
        let filters = request.pages.next(most);
        if filters.is_empty() {
            return false;
        }
        let other = turn.numbers.request();
        let text = message::req(other, filters.iter().map(String::as_str));
        self.take_number(id, number, other);
        if let Some(request) = self.get_mut(id, number) {
            request.wires.unsent.insert(other, text);
            request.wires.unfinished.insert(other);
            request.wires.page = Some(other);
        }
        relays.push(id, Work::Ask(other), turn);
        turn.timers.set(Timer::Request(id, number), turn.now.mono + EOSE_SILENT);
        true
    }

    /// A page has had its time. If nothing of it has come, there is none: the client's EOSE does not wait
    /// for it.
    pub(super) fn page_is_due(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        page: RequestNumber,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.all.get(&(id, number)) else { return };
        if request.pages.is_coming() {
            turn.timers.set(Timer::Request(id, number), turn.now.mono + EOSE_SILENT);
        } else {
            self.arrived(id, page, Arrival::Eose(page, Hint::None), turn);
        }
    }

    /// A page was given: nothing new can come over its number.
    pub(super) fn close_page(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        by: RequestNumber,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.get_mut(id, number) else { return };
        if request.wires.page.take_if(|page| *page == by).is_some() {
            relays.push(id, Work::Close(by), turn);
            self.give_back_number(id, number, by);
        }
    }

    /// What it was asked with may need more than one page.
    pub(super) fn turn_pages(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        filters: &[String],
        again: bool,
        subscriptions: &Subscriptions,
        relays: &Relays,
    ) {
        let most = relays.limits(id).max_limit;
        // What was asked for in pieces has a date of its own in each.
        let most_bytes = relays.filter_bytes(id);
        let Some(request) = self.get_mut(id, number) else { return };
        request.pages = if again {
            let whole = filters.iter().map(String::as_str).filter(|it| it.len() <= most_bytes);
            Pages::of_repeated(whole)
        } else {
            let members = request.members.iter().filter_map(|key| subscriptions.get(*key));
            let all = members.flat_map(|member| member.filters().iter());
            Pages::of_first(all.filter(|filter| filter.json.len() <= most_bytes), most)
        };
    }
}
