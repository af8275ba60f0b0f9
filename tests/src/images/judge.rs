//! Runs `objtool-rs verify` on a file and reads the verdict that it writes for machines.
//!
//! The fields are those that the tool documents (`objtool-rs/src/verify/json.rs`); one that is
//! missing, one too many, and one of another type is an error here.

use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use serde_json::{Map, Value};

use crate::tool::{finish, Finished, Tool};

/// Every field of the verdict, as the tool documents it.
pub const FIELDS: [&str; 26] = [
    "file",
    "kind",
    "reliable",
    "reason",
    "functions.keep_frame",
    "functions.make_no_call",
    "functions.keep_no_frame",
    "text_size",
    "unreliable_size",
    "exceptions[]",
    "exceptions[].name",
    "exceptions[].address",
    "exceptions[].size",
    "exceptions[].section",
    "exceptions[].subsystem",
    "exceptions[].object",
    "exceptions[].source",
    "exceptions[].code",
    "exceptions[].reason",
    "exceptions[].offset",
    "unreliable_text[]",
    "unreliable_text[].address",
    "unreliable_text[].size",
    "unreliable_text[].section",
    "unreliable_text[].offset",
    "phases_ms.*",
];

/// The verdict on a file.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What the file is called.
    pub file: String,
    /// `image` or `module`.
    pub kind: String,
    /// Whether `HAVE_RELIABLE_STACKTRACE` holds.
    pub reliable: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Functions that keep their frame, make no call, keep no frame.
    pub counts: [u64; 3],
    /// Functions that keep no frame.
    pub exceptions: Vec<Exception>,
    /// Bytes of text.
    pub text_size: u64,
    /// Bytes of text that must not be trusted.
    pub unreliable_size: u64,
    /// Where they are.
    pub ranges: Vec<Range>,
}

/// A function that keeps no frame.
#[derive(Clone, Debug)]
pub struct Exception {
    /// Name.
    pub name: String,
    /// Address; in a module, the offset in the section.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
    /// Section.
    pub section: String,
    /// Code of the finding.
    pub code: String,
    /// Words of the finding.
    pub reason: String,
    /// Where it is, from the function's start in bytes.
    pub offset: Option<i64>,
}

/// A range of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Address; in a module, the offset in the section.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
    /// Section.
    pub section: String,
    /// Offset in the section.
    pub offset: u64,
}

/// Runs `objtool-rs verify` with these arguments in front of the file.
///
/// # Errors
/// The tool can't be started or takes longer than a minute.
pub fn run(tool: &Tool, args: &[&str], file: &Path) -> Result<Finished> {
    let folder = file.parent().context("a file lies in a folder")?;
    let mut command = tool.command(folder);
    command.arg("verify").args(args).arg(file);
    finish(&mut command)
}

/// The verdict on a file, with nothing beside it.
///
/// # Errors
/// The tool fails, writes anything to standard error, ends with a status that the verdict does not
/// explain, or writes something else than documented.
pub fn verdict(tool: &Tool, args: &[&str], file: &Path) -> Result<Verdict> {
    let args: Vec<&str> = ["--format", "json"].iter().chain(args).copied().collect();
    let run = run(tool, &args, file)?;
    ensure!(
        run.stderr.is_empty() && matches!(run.status, Some(0 | 2)),
        "exit status {:?}, standard error:\n{}",
        run.status,
        run.stderr
    );
    let verdict = Verdict::parse(&run.stdout)?;
    let status = if verdict.reliable { 0 } else { 2 };
    ensure!(
        run.status == Some(status),
        "reliable is {}, exit status {:?}",
        verdict.reliable,
        run.status
    );
    Ok(verdict)
}

impl Verdict {
    /// Reads one line of the tool's output.
    ///
    /// # Errors
    /// Anything but what is documented.
    pub fn parse(text: &str) -> Result<Self> {
        let line = text.strip_suffix('\n').context("no line")?;
        ensure!(!line.contains('\n'), "more than a line");
        let mut top = Object::new(serde_json::from_str(line)?, "the verdict")?;
        let mut counts = Object::new(top.take("functions")?, "functions")?;
        let verdict = Self {
            file: top.string("file")?,
            kind: top.string("kind")?,
            reliable: top.bool("reliable")?,
            reason: top.optional("reason", Object::string)?,
            counts: [
                counts.number("keep_frame")?,
                counts.number("make_no_call")?,
                counts.number("keep_no_frame")?,
            ],
            exceptions: top.list("exceptions", Exception::parse)?,
            text_size: top.number("text_size")?,
            unreliable_size: top.number("unreliable_size")?,
            ranges: top.list("unreliable_text", Range::parse)?,
        };
        counts.end()?;
        let phases = Object::new(top.take("phases_ms")?, "phases_ms")?;
        ensure!(!phases.fields.is_empty(), "no phase");
        for (phase, time) in &phases.fields {
            let time = time.as_f64().with_context(|| format!("phase {phase}"))?;
            ensure!(time >= 0.0, "phase {phase} takes {time} ms");
        }
        top.end()?;
        Ok(verdict)
    }
}

impl Exception {
    fn parse(object: &mut Object) -> Result<Self> {
        object.optional("subsystem", Object::string)?;
        object.optional("object", Object::string)?;
        object.optional("source", Object::string)?;
        Ok(Self {
            name: object.string("name")?,
            address: object.address("address")?,
            size: object.number("size")?,
            section: object.string("section")?,
            code: object.string("code")?,
            reason: object.string("reason")?,
            offset: object.optional("offset", Object::integer)?,
        })
    }
}

impl Range {
    fn parse(object: &mut Object) -> Result<Self> {
        Ok(Self {
            address: object.address("address")?,
            size: object.number("size")?,
            section: object.string("section")?,
            offset: object.number("offset")?,
        })
    }
}

/// A JSON object whose fields are taken out one by one, so that none is left over.
struct Object {
    what: String,
    fields: Map<String, Value>,
}

impl Object {
    fn new(value: Value, what: &str) -> Result<Self> {
        let Value::Object(fields) = value else {
            bail!("{what} is no object: {value}");
        };
        Ok(Self {
            what: what.to_owned(),
            fields,
        })
    }

    fn take(&mut self, field: &str) -> Result<Value> {
        self.fields
            .remove(field)
            .with_context(|| format!("{}: no field {field}", self.what))
    }

    fn with<T>(&mut self, field: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let value = self.take(field)?;
        read(&value).with_context(|| format!("{}: {field} is {value}", self.what))
    }

    fn string(&mut self, field: &str) -> Result<String> {
        self.with(field, |value| value.as_str().map(str::to_owned))
    }

    fn number(&mut self, field: &str) -> Result<u64> {
        self.with(field, Value::as_u64)
    }

    fn integer(&mut self, field: &str) -> Result<i64> {
        self.with(field, Value::as_i64)
    }

    fn bool(&mut self, field: &str) -> Result<bool> {
        self.with(field, Value::as_bool)
    }

    fn address(&mut self, field: &str) -> Result<u64> {
        self.with(field, |value| {
            u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
        })
    }

    fn optional<T>(
        &mut self,
        field: &str,
        read: impl Fn(&mut Self, &str) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.fields.get(field) == Some(&Value::Null) {
            self.take(field)?;
            return Ok(None);
        }
        read(self, field).map(Some)
    }

    fn list<T>(&mut self, field: &str, read: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let Value::Array(items) = self.take(field)? else {
            bail!("{}: {field} is no list", self.what);
        };
        items
            .into_iter()
            .map(|item| {
                let mut object = Self::new(item, field)?;
                let read = read(&mut object)?;
                object.end()?;
                Ok(read)
            })
            .collect()
    }

    fn end(self) -> Result<()> {
        let left: Vec<&String> = self.fields.keys().collect();
        ensure!(left.is_empty(), "{}: unknown fields {left:?}", self.what);
        Ok(())
    }
}
