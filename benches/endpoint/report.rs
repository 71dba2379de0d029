//! The table at the end: what was measured, what must be reached, and whether it was.

/// Figures of all scenarios, in the order they ran.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// One figure of one scenario.
pub(crate) struct Row {
    scenario: &'static str,
    measure: String,
    result: String,
    goal: String,
    /// None: no goal is set for it.
    passed: Option<bool>,
}

impl Row {
    /// A figure without a goal.
    pub(crate) fn note(scenario: &'static str, measure: impl Into<String>, result: String) -> Self {
        Self { scenario, measure: measure.into(), result, goal: String::new(), passed: None }
    }

    /// Events in a second, from several runs: the median must be `goal` at least.
    pub(crate) fn rate(
        scenario: &'static str,
        measure: impl Into<String>,
        mut rates: Vec<f64>,
        goal: Option<f64>,
    ) -> Self {
        rates.sort_by(f64::total_cmp);
        let (lowest, highest) = (quantile(&rates, 0.0), quantile(&rates, 1.0));
        let median = quantile(&rates, 0.5);
        let result = format!("{median:.0} ({lowest:.0} to {highest:.0})");
        let mut row = Self::note(scenario, measure, result);
        if let Some(goal) = goal {
            row.goal = format!("≥ {goal:.0}");
            row.passed = Some(median >= goal);
        }
        row
    }

    /// A figure that must not be above `goal`.
    pub(crate) fn at_most(
        scenario: &'static str,
        measure: impl Into<String>,
        value: f64,
        goal: f64,
    ) -> Self {
        let mut row = Self::note(scenario, measure, format!("{value:.2}"));
        row.goal = format!("≤ {goal}");
        row.passed = Some(value <= goal);
        row
    }

    /// A scenario that gave no figure.
    pub(crate) fn failure(scenario: &'static str, reason: &str) -> Self {
        let mut row = Self::note(scenario, reason, String::new());
        row.passed = Some(false);
        row
    }
}

impl Report {
    pub(crate) fn extend(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    /// Whether every goal was reached and every check held.
    pub(crate) fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.passed != Some(false))
    }

    pub(crate) fn print(&self) {
        // A failure may be long: it stands alone in its row.
        let figures = self.rows.iter().filter(|row| !row.result.is_empty());
        let width = figures.map(|row| row.measure.chars().count()).max().unwrap_or(0);
        println!("\n{:<8}  {:<width$}  {:>24}  {:>9}", "scenario", "measure", "result", "goal");
        for row in &self.rows {
            let Row { scenario, measure, result, goal, passed } = row;
            let verdict = match passed {
                Some(true) => "pass",
                Some(false) => "FAIL",
                None => "",
            };
            if result.is_empty() {
                println!("{scenario:<8}  {verdict}: {measure}");
            } else {
                println!("{scenario:<8}  {measure:<width$}  {result:>24}  {goal:>9}  {verdict}");
            }
        }
    }
}

/// The value below which `share` of the sorted values lie. Not a number when there are none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let position = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(position).copied().unwrap_or(f64::NAN)
}
