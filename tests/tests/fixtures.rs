//! One test per fixture: the tool's run on it against the notes in it, and against C objtool's run
//! where there is a C objtool.
//!
//! `OBJTOOL_TOOL=PATH` puts another tool under test, `OBJTOOL_C=PATH` names the oracle,
//! `FIXTURES_BLESS=1` writes what the tool did into the fixtures.
#![expect(clippy::print_stderr, reason = "a missing oracle has to be seen")]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tests::{compare, fixture::Fixture, oracle, tool::Tool};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = match trials(arguments.list) {
        Ok(trials) => trials,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials(only_list: bool) -> anyhow::Result<Vec<Trial>> {
    let files = tests::fixture_files()?;
    anyhow::ensure!(!files.is_empty(), "no fixture found below fixtures/");
    let mut trials = Vec::new();
    let tools = if only_list {
        None
    } else {
        Some((Tool::under_test()?, oracle::find()?))
    };
    match &tools {
        Some((tool, Some(oracle))) if tool == oracle => {
            eprintln!("fixtures: C objtool itself is under test, without an oracle");
        }
        Some((_, None)) => eprintln!(
            "fixtures: NO C objtool to compare with (neither OBJTOOL_C nor a cached kernel build); \
             only the notes in the fixtures are checked"
        ),
        _ => {}
    }
    let c_itself = tools
        .as_ref()
        .is_some_and(|(tool, oracle)| Some(tool) == oracle.as_ref());
    for path in files {
        let name = path
            .strip_prefix(tests::root().join("fixtures"))?
            .display()
            .to_string();
        let differs = Fixture::read(&path)?.differs.is_some();
        if c_itself && differs {
            trials.push(
                Trial::test(name, || Ok(()))
                    .with_kind("differs")
                    .with_ignored_flag(true),
            );
            continue;
        }
        if let Some((tool, Some(oracle))) = tools.clone().filter(|_| !c_itself && !differs) {
            for (build, options) in compare::BUILDS {
                let (path, tool, oracle) = (path.clone(), tool.clone(), oracle.clone());
                let run = move || compare::check_build(&path, options, &tool, &oracle);
                let run = move || run().map_err(|e| format!("{e:#}").into());
                trials.push(Trial::test(name.clone(), run).with_kind(build));
            }
        }
        let tools = tools.clone();
        trials.push(Trial::test(name, move || {
            let (tool, oracle) = tools.as_ref().ok_or("tests are only listed")?;
            compare::check(&path, tool, oracle.as_ref()).map_err(|e| format!("{e:#}").into())
        }));
    }
    Ok(trials)
}
