//! What a run is asked to do, and which combinations make sense.
//!
//! Plain data: how it is spelled on a command line is the binary's.

/// Actions and options of one run; names as on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Turn jump labels that need no instruction into nops.
    pub hack_jump_label: bool,
    /// Remove instrumentation calls from text that must not be instrumented.
    pub hack_noinstr: bool,
    /// List all direct calls, for call depth tracking.
    pub hack_skylake: bool,
    /// Validate indirect branch tracking, and list the landing pads that nobody needs.
    pub ibt: bool,
    /// List the calls of the function tracer.
    pub mcount: bool,
    /// Validate that text which must not be instrumented calls no other.
    pub noinstr: bool,
    /// Make ORC data.
    pub orc: bool,
    /// Validate and annotate retpolines.
    pub retpoline: bool,
    /// Validate and annotate return thunks.
    pub rethunk: bool,
    /// Validate that entry code makes returns safe before the first one.
    pub unret: bool,
    /// Validate that nothing is speculated past returns and indirect jumps.
    pub sls: bool,
    /// Validate frame pointers.
    pub stackval: bool,
    /// Annotate static calls.
    pub static_call: bool,
    /// Validate access to user memory.
    pub uaccess: bool,
    /// List the preambles that control flow integrity puts before functions.
    pub cfi: bool,
    /// Make `__pfx_` symbols over this many bytes of padding before functions; 0 is off.
    pub prefix: u32,

    /// Print the path that led to a finding.
    pub backtrace: bool,
    /// Keep a copy of the input as `FILE.orig`.
    pub backup: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// Show findings with the path, the code and the source that they are about.
    pub explain: bool,
    /// The object is linked from several.
    pub link: bool,
    /// Turn the calls of the function tracer into nops.
    pub mnop: bool,
    /// The object is part of a module.
    pub module: bool,
    /// No findings about unreachable instructions.
    pub no_unreachable: bool,
    /// Print places as section and offset, too.
    pub sec_address: bool,
    /// Print figures about the run.
    pub stats: bool,
    /// Print the path that led to a finding, and the code around it.
    pub verbose: bool,
}

impl Options {
    /// Whether any action is asked for that stands on its own.
    pub fn any_action(&self) -> bool {
        self.hack_jump_label
            || self.hack_noinstr
            || self.ibt
            || self.mcount
            || self.noinstr
            || self.orc
            || self.retpoline
            || self.rethunk
            || self.sls
            || self.stackval
            || self.static_call
            || self.uaccess
    }

    /// Whether every path through every function is walked.
    pub fn walks_functions(&self) -> bool {
        self.stackval || self.orc || self.uaccess
    }

    /// Whether any path is walked, so that alternatives must be known.
    pub fn walks_branches(&self) -> bool {
        self.walks_functions() || self.noinstr
    }
}
