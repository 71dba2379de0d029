//! A queue in which every source has its own line and the lines take turns, so that one source
//! that floods waits behind itself and nobody else does.

use std::collections::VecDeque;
use std::hash::Hash;

use super::hash::Map;

/// First in, first out per key; round robin over the keys.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    lines: Map<K, VecDeque<T>>,
    turns: VecDeque<K>,
    len: usize,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self { lines: Map::default(), turns: VecDeque::new(), len: 0 }
    }
}

impl<K: Copy + Eq + Hash, T> FairQueue<K, T> {
    /// At the end of the key's own line.
    pub(crate) fn push(&mut self, key: K, item: T) {
        let line = self.lines.entry(key).or_default();
        if line.is_empty() {
            self.turns.push_back(key);
        }
        line.push_back(item);
        self.len += 1;
    }

    /// The first of the line whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let key = self.turns.pop_front()?;
        let line = self.lines.get_mut(&key)?;
        let item = line.pop_front()?;
        self.len -= 1;
        if line.is_empty() {
            self.lines.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        Some(item)
    }

    /// Keeps only what `keep` says.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.lines.retain(|_, line| {
            line.retain(&mut keep);
            !line.is_empty()
        });
        let lines = &self.lines;
        self.turns.retain(|key| lines.contains_key(key));
        self.len = lines.values().map(VecDeque::len).sum();
    }

    /// Items in all lines.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether no line has an item.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_take_turns() {
        let mut queue = FairQueue::default();
        for item in 0..3 {
            queue.push('a', item);
        }
        queue.push('b', 10);
        queue.push('c', 20);
        queue.retain(|item| *item != 20);
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [0, 10, 1, 2]);
        assert!(queue.is_empty());
    }
}
