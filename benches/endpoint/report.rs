//! What was measured of whom, and the tables that show it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::contender::Who;
use crate::goals::{self, Judged};

/// Figures by what they measure: `("fan-out to 50 clients, deliveries/s", 81_000.0)`.
pub(crate) type Figures = Vec<(String, f64)>;

/// Everything measured in this run, in the order it came.
#[derive(Default)]
pub(crate) struct Report {
    /// The scenarios that were played.
    played: Vec<&'static str>,
    rows: Vec<Row>,
    faults: Vec<Fault>,
}

/// What was measured, of each of them once a round.
struct Row {
    measure: String,
    samples: BTreeMap<Who, Vec<f64>>,
}

/// Why there is no figure, or one that is not all it seems.
struct Fault {
    who: Who,
    text: String,
}

impl Report {
    pub(crate) fn played(&mut self, scenario: &'static str) {
        self.played.push(scenario);
    }

    pub(crate) fn has_played(&self, scenario: &str) -> bool {
        self.played.contains(&scenario)
    }

    pub(crate) fn add(&mut self, who: Who, figures: Figures) {
        for (measure, value) in figures {
            let at = self.rows.iter().position(|row| row.measure == measure);
            let at = at.unwrap_or_else(|| {
                self.rows.push(Row { measure, samples: BTreeMap::new() });
                self.rows.len() - 1
            });
            self.rows[at].samples.entry(who).or_default().push(value);
        }
    }

    pub(crate) fn fault(&mut self, who: Who, text: String) {
        eprintln!("  {}: {text}", who.title());
        if !self.faults.iter().any(|fault| fault.who == who && fault.text == text) {
            self.faults.push(Fault { who, text });
        }
    }

    /// The median of what was measured of `who`.
    pub(crate) fn median(&self, who: Who, measure: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.measure == measure)?;
        row.samples.get(&who).map(|samples| median(samples))
    }

    /// Whether every goal was reached and nothing was wrong with us.
    pub(crate) fn passed(&self) -> bool {
        let faultless = self.faults.iter().all(|fault| fault.who != Who::Ours);
        faultless && goals::judged(self).iter().all(Judged::reached)
    }

    /// The tables and lists, in Markdown as prettier lays it out.
    pub(crate) fn text(&self) -> String {
        let mut text = self.figures();
        let goals = goals::judged(self);
        if !goals.is_empty() {
            text.push_str("\nTo reach:\n\n");
            for goal in goals {
                let _ = writeln!(text, "- {goal}");
            }
        }
        if !self.faults.is_empty() {
            text.push_str("\nWhat went wrong:\n\n");
            for fault in &self.faults {
                let _ = writeln!(text, "- {}: {}", fault.who.title(), fault.text);
            }
        }
        text
    }

    fn figures(&self) -> String {
        let head = ["median of the rounds".to_owned()];
        let mut rows: Vec<Vec<String>> =
            vec![head.into_iter().chain(Who::ALL.map(|who| who.title().to_owned())).collect()];
        for row in &self.rows {
            let cell = |who| row.samples.get(&who).map_or(String::new(), |samples| cell(samples));
            rows.push([row.measure.clone()].into_iter().chain(Who::ALL.map(cell)).collect());
        }
        table(&rows)
    }
}

/// The first column is words, the others are numbers.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let length = |cell: &String| cell.chars().count();
    let widths: Vec<_> = (0..columns)
        .map(|column| rows.iter().map(|row| length(&row[column])).max().unwrap_or(0).max(3))
        .collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column == 0 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let end = if column == 0 { "-" } else { ":" };
                let _ = write!(text, "| {}{end} ", "-".repeat(width - 1));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// The median, and how far apart the rounds were where there were several.
fn cell(samples: &[f64]) -> String {
    let lowest = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let median = number(median(samples));
    if samples.len() < 2 {
        return median;
    }
    format!("{median} ({}–{})", number(lowest), number(highest))
}

/// Three digits that mean something, thousands set apart. Whole numbers as they are.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => with_commas(&format!("{value:.0}")),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn with_commas(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len() - place;
        if place > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// The value below which `share` of the sorted values lie. Not a number when there are none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let position = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(position).copied().unwrap_or(f64::NAN)
}

/// `p50`, `p99` and the highest of these times, in milliseconds, under names that begin with
/// `measure`.
pub(crate) fn times(measure: &str, mut millis: Vec<f64>) -> Figures {
    millis.sort_by(f64::total_cmp);
    [("p50 ms", 0.5), ("p99 ms", 0.99), ("max ms", 1.0)]
        .map(|(name, share)| (format!("{measure}, {name}"), quantile(&millis, share)))
        .to_vec()
}

/// `count` in `time`, a second.
pub(crate) fn per_second(count: usize, time: std::time::Duration) -> f64 {
    float(count) / time.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn float(count: usize) -> f64 {
    count as f64
}

pub(crate) fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
