//! Which event takes another one's place: newer versions (NIP-01), deletions (NIP-09) and requests to
//! vanish (NIP-62).

use crate::nostr::event::Event;

/// Kind of a NIP-09 deletion request.
const KIND_DELETION: u16 = 5;
/// Kind of a NIP-62 request to vanish.
const KIND_VANISH: u16 = 62;
/// The relay of a request to vanish that means every relay.
const ALL_RELAYS: &str = "ALL_RELAYS";

/// What all versions of a replaceable or addressable event have in common (NIP-01).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pubkey: [u8; 32],
    kind: u16,
    /// The `d` tag's value; empty for replaceable kinds.
    d: Box<str>,
}

/// The event's address. `None`: relays keep every event of its kind.
pub(crate) fn address(event: &Event) -> Option<Address> {
    let d = match event.kind() {
        0 | 3 | 10_000..=19_999 => "",
        30_000..=39_999 => first_value(event, "d").unwrap_or_default(),
        _ => return None,
    };
    Some(Address { pubkey: *event.pubkey(), kind: event.kind(), d: d.into() })
}

/// Of two versions, whether the first is the one relays keep: the newer one, or the one with the
/// lower id.
pub(crate) fn is_newer(one: &Event, other: &Event) -> bool {
    (one.created_at(), *other.id()) > (other.created_at(), *one.id())
}

/// Whether this event withdraws others, rather than being a version of them.
pub(crate) const fn withdraws(event: &Event) -> bool {
    matches!(event.kind(), KIND_DELETION | KIND_VANISH)
}

/// Whether any other event can be void because of this one.
pub(crate) const fn can_void(event: &Event) -> bool {
    matches!(event.kind(), KIND_DELETION | KIND_VANISH | 0 | 3 | 10_000..=19_999 | 30_000..=39_999)
}

/// Whether relays that have taken the first event have no use for the second any more.
pub(crate) fn voids(event: &Event, other: &Event) -> bool {
    if event.pubkey() != other.pubkey() || event.id() == other.id() {
        return false;
    }
    match event.kind() {
        KIND_DELETION => deletes(event, other),
        KIND_VANISH => {
            other.created_at() <= event.created_at()
                && vanishes_from(event).any(|at| at == ALL_RELAYS)
        }
        _ => {
            let address = address(event);
            address.is_some() && address == self::address(other) && is_newer(event, other)
        }
    }
}

/// The relays that a request to vanish is about, as it spells them; none for other kinds.
pub(crate) fn vanishes_from(event: &Event) -> impl Iterator<Item = &str> {
    let is_request = event.kind() == KIND_VANISH;
    event
        .tags()
        .iter()
        .filter(move |tag| is_request && &*tag.name == "relay")
        .filter_map(|tag| tag.value.as_deref())
}

fn deletes(deletion: &Event, other: &Event) -> bool {
    if matches!(other.kind(), KIND_DELETION | KIND_VANISH) {
        return false; // neither can be deleted
    }
    let id = crate::nostr::hex::encode(other.id());
    let address = address(other)
        .filter(|_| other.created_at() <= deletion.created_at())
        .map(|at| format!("{}:{}:{}", at.kind, crate::nostr::hex::encode(&at.pubkey), at.d));
    deletion.tags().iter().any(|tag| match (&*tag.name, tag.value.as_deref()) {
        ("e", Some(value)) => value == id,
        ("a", Some(value)) => address.as_deref() == Some(value),
        _ => false,
    })
}

fn first_value<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    event.tags().iter().find(|tag| &*tag.name == name)?.value.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::event::Tag;

    fn event(kind: u16, created_at: u64, id: u8, tags: &[(&str, &str)]) -> Event {
        event_by(7, kind, created_at, id, tags)
    }

    fn event_by(author: u8, kind: u16, created_at: u64, id: u8, tags: &[(&str, &str)]) -> Event {
        let tags = tags
            .iter()
            .map(|(name, value)| Tag { name: (*name).into(), value: Some((*value).into()) })
            .collect();
        Event::unverified_for_tests([id; 32], [author; 32], created_at, kind, tags, "{}")
    }

    #[test]
    fn a_newer_version_voids_an_older_one_of_the_same_address_only() {
        let old = event(13_194, 10, 5, &[]);
        assert!(voids(&event(13_194, 11, 9, &[]), &old));
        assert!(!voids(&old, &event(13_194, 11, 9, &[])));
        assert!(voids(&event(13_194, 10, 4, &[]), &old), "ties go to the lower id");
        assert!(!voids(&event(13_194, 10, 6, &[]), &old));
        assert!(!voids(&event(10_002, 11, 9, &[]), &old));
        assert!(!voids(&event(1, 11, 9, &[]), &event(1, 10, 1, &[])));
        let stranger = event_by(8, 13_194, 11, 9, &[]);
        assert!(!voids(&stranger, &old));
        let list = event(30_000, 10, 1, &[("d", "a")]);
        assert!(voids(&event(30_000, 11, 2, &[("d", "a")]), &list));
        assert!(!voids(&event(30_000, 11, 2, &[("d", "b")]), &list));
        assert!(voids(&event(30_000, 11, 2, &[]), &event(30_000, 10, 1, &[("d", "")])));
    }

    #[test]
    fn a_deletion_voids_what_its_author_names() {
        let note = event(1, 10, 5, &[]);
        let id = "05".repeat(32);
        assert!(voids(&event(5, 9, 1, &[("e", &id)]), &note));
        assert!(!voids(&event(5, 9, 1, &[("e", &"06".repeat(32))]), &note));
        let stranger = event_by(8, 5, 9, 1, &[("e", &id)]);
        assert!(!voids(&stranger, &note));
        assert!(!voids(&event(5, 9, 1, &[("e", &id)]), &event(5, 8, 5, &[])));
        let list = event(30_000, 10, 3, &[("d", "a:b")]);
        let address = format!("30000:{}:a:b", "07".repeat(32));
        assert!(voids(&event(5, 10, 1, &[("a", &address)]), &list));
        assert!(!voids(&event(5, 9, 1, &[("a", &address)]), &list), "a later version stays");
    }

    #[test]
    fn a_request_to_vanish_voids_everything_before_it() {
        let everywhere = event(62, 10, 1, &[("relay", "ALL_RELAYS")]);
        assert!(voids(&everywhere, &event(1, 10, 2, &[])));
        assert!(!voids(&everywhere, &event(1, 11, 2, &[])));
        let here = event(62, 10, 1, &[("relay", "wss://a")]);
        assert!(!voids(&here, &event(1, 10, 2, &[])));
        assert_eq!(vanishes_from(&here).collect::<Vec<_>>(), ["wss://a"]);
        assert_eq!(vanishes_from(&event(1, 1, 1, &[("relay", "wss://a")])).count(), 0);
    }
}
