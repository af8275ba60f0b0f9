//! The usage page, laid out as the kernel's option parser does
//! (`tools/lib/subcmd/parse-options.c`).

/// One option on the page.
pub struct OptionHelp {
    /// One-letter name.
    pub short: Option<char>,
    /// Long name.
    pub long: String,
    /// How a value is written behind the name.
    pub value: Option<String>,
    /// What it does.
    pub help: String,
}

/// Column at which the explanations start.
const COLUMN: usize = 24;
/// Columns between a name and its explanation.
const GAP: usize = 2;

/// The whole page.
pub fn page(usage: &str, groups: &[(&str, Vec<OptionHelp>)]) -> String {
    let mut text = format!("\n Usage: {usage}\n");
    for (heading, options) in groups {
        text += &format!("\n{heading}:\n");
        for option in options {
            text += &line(option);
        }
    }
    text += "\n";
    text
}

/// The usage line and one option.
pub fn one(usage: &str, groups: &[(&str, Vec<OptionHelp>)], long: &str) -> String {
    let mut text = format!("\n Usage: {usage}\n\n");
    let found = groups
        .iter()
        .flat_map(|(_, options)| options)
        .find(|o| o.long == long);
    if let Some(option) = found {
        text += &line(option);
    }
    text
}

fn line(option: &OptionHelp) -> String {
    let short = match option.short {
        Some(short) => format!("-{short}, "),
        None => "    ".to_owned(),
    };
    let value = option.value.as_deref().unwrap_or_default();
    let name = format!("    {short}--{}{value}", option.long);
    if name.len() <= COLUMN {
        format!("{name:width$}{}\n", option.help, width = COLUMN + GAP)
    } else {
        format!(
            "{name}\n{:width$}{}\n",
            "",
            option.help,
            width = COLUMN + GAP
        )
    }
}
