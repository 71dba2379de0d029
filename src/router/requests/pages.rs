//! Paging (rules 3.4, 3.7): a relay gives so many stored events for a filter and no more. Where that is less
//! than is wanted, the older ones are asked for with `until`, under another number of the same request, before
//! its EOSE counts as come.

use std::time::Duration;

use serde_json::value::RawValue;

use crate::constants::{EOSE_SILENT, PAGE_LEAST, PAGES_MOST, REPLAY_WINDOW};
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
    /// From this date on (unix seconds).
    since: u64,
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
    /// Pages asked for, …
    asked: u32,
    /// … the last of them at this time.
    asked_at: Duration,
    /// One was not to be had.
    cut: bool,
}

impl Pages {
    /// Of filters as they are asked for again: whatever is there is wanted.
    pub(super) fn of_repeated<'a>(filters: impl Iterator<Item = &'a str>) -> Self {
        let parsed = filters.filter_map(|json| {
            let raw = RawValue::from_string(json.to_owned()).ok()?;
            Filter::parse(&raw).ok()
        });
        let all = parsed.filter(|filter| filter.limit.is_none() && filter.search.is_none());
        Self { all: all.map(|filter| Page::new(filter, None)).collect(), ..Self::default() }
    }

    /// Of first ones: those that want more than the relay gives at once, as far as is known.
    pub(super) fn of_first<'a>(
        filters: impl Iterator<Item = &'a Filter>,
        most: Option<u64>,
    ) -> Self {
        let most = most.unwrap_or(PAGE_LEAST);
        let longer = filters.filter(|it| it.limit > Some(most) && it.search.is_none());
        let all = longer.map(|filter| Page::new(filter.clone(), filter.limit));
        Self { all: all.collect(), ..Self::default() }
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

    /// Whether there is anything to be asked for next.
    fn goes_on(&self, most: Option<u64>) -> bool {
        self.asked < PAGES_MOST && self.all.iter().any(|page| page.goes_on(most))
    }

    /// The next one is not to be had.
    pub(super) const fn cut(&mut self) {
        self.cut = true;
    }

    /// From which date on (unix seconds) something may be missing for that.
    pub(super) fn missing(&self) -> Option<u64> {
        let all = self.all.iter().filter(|page| self.cut && page.wanted.is_none());
        all.map(|page| page.since).min()
    }
}

impl Page {
    fn new(filter: Filter, wanted: Option<u64>) -> Self {
        let since = filter.since.unwrap_or_default();
        Self { filter, since, wanted, got: 0, got_now: 0, oldest: u64::MAX, of_oldest: 0 }
    }

    fn note(&mut self, date: u64) {
        self.got += 1;
        self.got_now += 1;
        if date < self.oldest {
            (self.oldest, self.of_oldest) = (date, 0);
        }
        self.of_oldest += u64::from(date == self.oldest);
    }

    /// Whether the relay may have given no more than a page, and the rest is wanted.
    fn goes_on(&self, most: Option<u64>) -> bool {
        // Where all is wanted, a relay need not give as many without a limit as it says (`default_limit`).
        let least =
            if self.wanted.is_some() { most } else { most.map(|most| most.min(PAGE_LEAST)) };
        let full = self.got_now >= least.unwrap_or(PAGE_LEAST);
        // Not every relay looks at `until`: then nothing older has come, and never does.
        let is_older = self.filter.until.is_none_or(|until| self.oldest <= until);
        full && is_older && self.left() != Some(0) && Some(self.oldest) > self.filter.since
    }

    fn left(&self) -> Option<u64> {
        self.wanted.map(|wanted| wanted.saturating_sub(self.got))
    }

    fn next(&mut self, most: Option<u64>) -> Option<String> {
        let (goes_on, left) = (self.goes_on(most), self.left());
        self.got_now = 0;
        if !goes_on {
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
        let Some(upstream) = self.upstreams.get_mut(&id) else { return false };
        let has_place = upstream.free(said) > 0;
        let request = self.all.get_mut(&(id, number)).filter(|it| it.unanswered().is_some());
        let Some(request) = request.filter(|it| !it.is_over()) else { return false };
        if !has_place {
            // No client's EOSE waits for a repeated one.
            let waits = request.repeats() && request.pages.goes_on(most);
            upstream.pages.extend(waits.then_some(number));
            return waits;
        }
        request.pages.asked_at = turn.now.mono;
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

    /// Those that waited for a place ask for their next page, as far as there are places.
    pub(super) fn turn_waiting_pages(
        &mut self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        loop {
            let said = self.most(id, relays, turn);
            let Some(upstream) = self.upstreams.get_mut(&id) else { return };
            let next = if upstream.free(said) > 0 { upstream.pages.pop_front() } else { None };
            let Some(number) = next else { return };
            if !self.next_page(id, number, relays, turn) {
                self.eose(id, number, Hint::None, subscriptions, relays, turn);
            }
        }
    }

    /// A page has had its time. If nothing of it has come, there is none: the client's EOSE does not wait
    /// for it. What only goes on after a loss is in less of a hurry.
    pub(super) fn page_is_due(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        page: RequestNumber,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.get_mut(id, number) else { return };
        let has_time = request.repeats() && turn.now.mono < request.pages.asked_at + REPLAY_WINDOW;
        if request.pages.is_coming() || has_time {
            turn.timers.set(Timer::Request(id, number), turn.now.mono + EOSE_SILENT);
        } else {
            request.pages.cut();
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
            turn.due.plan.insert(id); // another one may wait for its place
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
