//! How long work is shown: a bar or a spinner at a terminal, nothing of it in a pipe, and plain
//! lines for what stays.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use anstyle::Style;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// A bar over `total` things. Invisible when standard error is no terminal.
pub fn bar(total: u64, what: impl Into<Cow<'static, str>>) -> ProgressBar {
    let bar = ProgressBar::new(total).with_finish(ProgressFinish::AndClear);
    let style = "{prefix} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A spinner for work whose length is unknown. Invisible when standard error is no terminal.
pub fn spinner(what: impl Into<Cow<'static, str>>) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A line that opens a part of what is printed, bold where the terminal can.
pub fn heading(text: &str) {
    const BOLD: Style = Style::new().bold();
    anstream::println!("\n{BOLD}{text}{BOLD:#}");
}

/// The time since `start`, in the unit a person would use.
pub fn since(start: Instant) -> String {
    let seconds = start.elapsed().as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// A counted noun: `1 object`, `2 objects`.
pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("{count} {noun}")
    } else {
        format!("{count} {noun}s")
    }
}
