//! How findings look to a person: small sources, and every line that is shown for them.

mod support;

use std::path::Path;

use object::{Object as _, ObjectSection as _};
use objtool_rs::report::rich::render;
use objtool_rs::Options;

/// Everything about the stack and user access.
fn paths() -> Options {
    Options {
        stackval: true,
        uaccess: true,
        explain: true,
        ..Options::default()
    }
}

/// Everything about indirect branches, which looks at no path.
fn branches() -> Options {
    Options {
        retpoline: true,
        explain: true,
        ..Options::default()
    }
}

/// What is shown for an object, without colours.
fn shown(folder: &Path, object: &Path, options: &Options) -> String {
    let bytes = std::fs::read(object).expect("the object that was just made");
    let outcome = objtool_rs::run(&bytes, options).expect("an object");
    // The folder's name changes from run to run, and in the debug information it is `src`.
    let read = |path: &str| std::fs::read_to_string(folder.join(path.strip_prefix("src/")?)).ok();
    let exhibits = outcome.exhibits.iter();
    let shown: Vec<String> = exhibits
        .map(|exhibit| render(exhibit, "file.o", &read, false))
        .collect();
    assert_eq!(shown.len(), outcome.lines.len());
    shown.join("\n")
}

fn assembled(source: &str, options: &Options, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let object = support::assemble(folder.path(), "x", source, arguments);
    shown(folder.path(), &object, options)
}

/// A function as a source file.
fn function(body: &str) -> String {
    format!("\t.type func, @function\nfunc:\n{body}\t.size func, . - func\n")
}

#[track_caller]
fn assert_shown(shown: &str, expected: &str) {
    let expected = expected.trim_start_matches('\n');
    assert!(shown == expected, "shown:\n{shown}\nexpected:\n{expected}");
}

#[test]
fn both_states_are_shown_where_paths_join() {
    let body = "\ttest %rdi, %rdi\n\tje 1f\n\tpush %rbx\n1:\tnop\n\tret\n";
    let shown = assembled(&function(body), &paths(), &["-g"]);
    let expected = r#"
warning[stack-mismatch]: func+0x6: stack state mismatch: cfa1=4+8 cfa2=4+16
 --> src/x.S:6:1
  |
4 |     je 1f
5 |     push %rbx
6 | 1:    nop
  | ^^^^^^^^^
7 |     ret
  |
func in .text:
  |
  | +0x0  test   %rdi,%rdi  CFA = rsp+8
  | +0x3  je     +0x6       "
  |       ----------- another path comes from here
  | +0x5  push   %rbx       "
  | +0x6  nop               CFA = rsp+16, rbx at CFA-16
  |       ^^^ CFA = rsp+16 by this path, CFA = rsp+8 by another
  | +0x7  ret
  |
  = note: paths that join here leave the stack in different states
  = help: Make the stack the same where paths join. Look for a push or pop that one of the
          paths skips, and for a call that is not known not to return, behind which the
          compiler left no cleanup.
  = note: `objtool-rs explain stack-mismatch` says more
"#;
    assert_shown(&shown, expected);
}

#[test]
fn a_path_runs_through_a_replacement() {
    let source = function("1:\tnop\n\tret\n")
        + "\t.pushsection .altinstructions, \"a\"\n\
           \t.long 1b - ., 2f - ., 26\n\t.byte 1, 1\n\t.popsection\n\
           \t.section .altinstr_replacement, \"ax\"\n2:\tpush %rbx\n";
    let shown = assembled(&source, &paths(), &["-g"]);
    let expected = r"
warning[return-with-frame]: func+0x1: return with modified stack frame
 --> src/x.S:4:2
  |
2 | func:
3 | 1:    nop
4 |     ret
  |     ^^^
5 |     .size func, . - func
  |
func in .text:
  |
  | +0x0  nop  CFA = rsp+8
  |       --- an alternative replaces this: on to .altinstr_replacement+0x0
  | +0x1  ret  CFA = rsp+16, rbx at CFA-16
  |       ^^^ the stack is 8 bytes deeper than at entry
.altinstr_replacement:
  |
  | 0x0  push   %rbx  CFA = rsp+8
  |
  = note: the stack or a saved register is not as it was when it returns
  = note: rbx is saved at CFA-16 and not restored
  = help: Balance pushes, pops and adjustments of the stack pointer on every path to the
          return, and restore registers from where they were saved. Where paths join, the
          stack must be the same on all of them.
  = note: `objtool-rs explain return-with-frame` says more
";
    assert_shown(&shown, expected);
}

#[test]
fn what_a_frame_lacks_is_said() {
    let shown = assembled(
        &function("\tpush %rbp\n\tcall other\n\tpop %rbp\n\tret\n"),
        &paths(),
        &[],
    );
    let expected = r"
warning[call-without-frame]: func+0x1: call without frame pointer save/setup
--> file.o
 |
func in .text:
 |
 | +0x0  push   %rbp   CFA = rsp+8
 | +0x1  call   other  CFA = rsp+16, rbp at CFA-16
 |       ^^^^^^^^^^^^ rbp is saved at CFA-16 and does not point there
 | +0x6  pop    %rbp
 | +0x7  ret
 |
 = note: a function is called before the frame is set up
 = help: Put FRAME_BEGIN before the call and FRAME_END before the return (asm/frame.h). If
         the code is not callable from C, start it with SYM_CODE_START and describe its stack
         with the UNWIND_HINT_* macros.
 = note: `objtool-rs explain call-without-frame` says more
";
    assert_shown(&shown, expected);
}

#[test]
fn a_path_carries_user_access() {
    let body = "\tstac\n\ttest %rdi, %rdi\n\tjne 1f\n\tclac\n1:\tret\n";
    let shown = assembled(&function(body), &paths(), &[]);
    let expected = r#"
warning[return-with-uaccess]: func+0xb: return with UACCESS enabled
--> file.o
 |
func in .text:
 |
 | +0x0  stac              CFA = rsp+8
 | +0x3  test   %rdi,%rdi  CFA = rsp+8, user access open
 | +0x6  jne    +0xb       "
 |       ----------- the path jumps to +0xb
 | +0x8  clac
 | +0xb  ret               CFA = rsp+8, user access open
 |       ^^^
 |
 = note: the function returns with access to user memory open
 = help: Close access on every path, the path from a faulting access (unsafe_get_user's
         label) included.
 = note: `objtool-rs explain return-with-uaccess` says more
"#;
    assert_shown(&shown, expected);
}

#[test]
fn the_turns_of_a_path_say_what_they_are() {
    let table = "\t.section .rodata, \"a\"\n\t.quad 0\n.Ltable:\n\t.quad 1b, 2b\n";
    let case = function("\tjmp *.Ltable(, %rdi, 8)\n1:\tret\n2:\tpush %rbx\n\tret\n") + table;
    let fault = function("1:\tmov (%rdi), %rax\n\tret\n2:\tpush %rbx\n\tret\n")
        + "\t.section __ex_table, \"a\"\n\t.long 1b - ., 2b - ., 0\n";
    let label = function("1:\tnopl (%rax)\n\tret\n2:\tpush %rbx\n\tret\n")
        + "\t.section __jump_table, \"aw\"\n\t.long 1b - ., 2b - .\n\t.quad key - .\n";
    let turns = [
        (case, "a case of the switch: on to +0x8\n", "+0x9  ret"),
        (fault, "a fault here leads to +0x4\n", "+0x5  ret"),
        (
            label,
            "the jump label is switched: on to +0x4\n",
            "+0x5  ret",
        ),
    ];
    for (source, words, end) in turns {
        let shown = assembled(&source, &paths(), &[]);
        assert!(shown.contains(words), "{words}{shown}");
        assert!(shown.contains(end), "{shown}");
    }
}

#[test]
fn code_is_shown_where_there_is_no_path_and_no_source() {
    let shown = assembled(&function("\tnop\n\tjmp *%rax\n"), &branches(), &[]);
    let expected = r"
warning[indirect-branch]: func+0x1: indirect jump found in MITIGATION_RETPOLINE build
--> file.o
 |
func in .text:
 |
 | +0x0  nop
 | +0x1  jmp    *%rax
 |       ^^^^^^^^^^^^
 |
 = note: an indirect branch does not go through a retpoline thunk
 = help: In assembly use JMP_NOSPEC and CALL_NOSPEC. C code of a file that lacks them is
         compiled without -mindirect-branch=thunk-extern: look what the Makefile removes from
         the flags.
 = note: `objtool-rs explain indirect-branch` says more
";
    assert_shown(&shown, expected);
}

#[test]
fn a_finding_without_a_place_is_shown_too() {
    let source = "\t.type func, @function\nfunc:\n\tret\n";
    let shown = assembled(source, &paths(), &["-g"]);
    let expected = r"
warning[missing-size]: func() is missing an ELF size annotation
--> file.o
 |
 = note: a function's symbol says nothing about where it ends
 = help: Use SYM_FUNC_START and SYM_FUNC_END, or add `.size func, . - func`. If it is not
         callable, SYM_CODE_START and SYM_CODE_END.
 = note: `objtool-rs explain missing-size` says more
";
    assert_shown(&shown, expected);
}

#[test]
fn it_is_said_when_the_analysis_ends() {
    let shown = assembled(
        &function("\tcall 1f + 1\n1:\tmov $1, %eax\n\tret\n"),
        &paths(),
        &[],
    );
    let expected = r"
warning[unannotated-intra-function-call]: func+0x0: unannotated intra-function call
--> file.o
 |
func in .text:
 |
 | +0x0  call   +0x6
 |       ^^^^^^^^^^^
 | +0x5  mov    $0x1,%eax
 | +0xa  ret
 |
 = note: a call goes to a place that is not the beginning of a function
 = note: the analysis ended here: nothing else in the file was checked, and nothing is
         written
 = help: Put ANNOTATE_INTRA_FUNCTION_CALL right before the call. If a function was meant,
         give it a symbol: SYM_FUNC_START or SYM_FUNC_START_LOCAL.
 = note: `objtool-rs explain unannotated-intra-function-call` says more
";
    assert_shown(&shown, expected);
}

#[test]
fn a_function_runs_on_from_its_last_instruction() {
    let source = function("\tnop\n")
        + &function("\tret\n")
            .replace("func,", "other,")
            .replace("func:", "other:")
            .replace("- func", "- other");
    let shown = assembled(&source, &paths(), &["-g"]);
    let expected = r"
warning[falls-through]: func() falls through to next function other()
 --> src/x.S:3:2
  |
1 |     .type func, @function
2 | func:
3 |     nop
  |     ^^^
4 |     .size func, . - func
  |
func in .text:
  |
  | +0x0  nop  CFA = rsp+8
  |       ^^^
other in .text:
  |
  | +0x0  ret  CFA = rsp+8
  |       --- execution goes on here
  |
  = note: execution runs over the end of a function into the next one
  = help: If the last call does not return: declare the function __noreturn and, if another
          file defines it, add it to the list of functions that do not return
          (tools/objtool/noreturns.h; for objtool-rs model/noreturn_list.rs). Otherwise end
          the function with a return or `ud2`.
  = note: `objtool-rs explain falls-through` says more
";
    assert_shown(&shown, expected);
}

#[test]
fn long_paths_are_cut_at_their_beginning() {
    let body = "\tpush %rax\n\tnop\n\tnop\n".repeat(40) + "\tret\n";
    let shown = assembled(&function(&body), &paths(), &[]);
    let note = "the path begins at func+0x0; its first 8 turns and changes of the stack are left";
    assert!(shown.contains(note), "{shown}");
    // What is left of the path, what is around its end, and what fills gaps of one.
    let pushes = shown
        .lines()
        .filter(|line| line.contains("push   "))
        .count();
    assert_eq!(pushes, 32, "{shown}");
    assert!(
        shown.contains("the stack is 320 bytes deeper than at entry"),
        "{shown}"
    );
}

#[test]
fn lines_into_which_code_was_inlined_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = "static inline __attribute__((always_inline)) void inner(void)\n{\n\
                  \tasm volatile(\"std; std\");\n}\n\nvoid outer(void)\n{\n\tinner();\n}\n";
    let file = folder.path().join("x.c");
    std::fs::write(&file, source).expect("a file in a folder of our own");
    for dwarf in ["-gdwarf-4", "-gdwarf-5"] {
        let arguments = [dwarf, "-O2", "-fcf-protection=none", "-ffunction-sections"];
        let object = support::compile(folder.path(), &file, &arguments);
        let shown = shown(folder.path(), &object, &paths());
        assert!(shown.contains("--> src/x.c:3:"), "{dwarf}: {shown}");
        let note = "= note: inlined into outer at src/x.c:8\n";
        assert!(shown.contains(note), "{dwarf}: {shown}");
    }
}

#[test]
fn a_source_that_is_gone_is_still_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let object = support::assemble(folder.path(), "x", &function("\tstd\n\tret\n"), &["-g"]);
    std::fs::remove_file(folder.path().join("x.S")).expect("the source");
    let gone = shown(folder.path(), &object, &paths());
    assert!(gone.contains("--> src/x.S:4\n"), "{gone}");
    // One that has become shorter is no better.
    std::fs::write(folder.path().join("x.S"), "\n").expect("a file");
    assert_eq!(shown(folder.path(), &object, &paths()), gone);
}

#[test]
fn broken_debug_information_is_no_obstacle() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let object = support::assemble(folder.path(), "x", &function("\tstd\n\tret\n"), &["-g"]);
    let whole = std::fs::read(&object).expect("the object");
    let file = object::File::parse(&*whole).expect("an object");
    let mut lost = 0;
    for name in [".debug_info", ".debug_abbrev", ".debug_line"] {
        let section = file.section_by_name(name).expect("debug information");
        let (start, size) = section.file_range().expect("bytes in the file");
        for at in (start..start + size).map(|at| at as usize) {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            std::fs::write(&object, broken).expect("the object");
            let shown = shown(folder.path(), &object, &paths());
            assert!(
                shown.starts_with("warning[return-with-direction]"),
                "{name}: {shown}"
            );
            lost += usize::from(!shown.contains("src/x.S:4"));
        }
    }
    assert!(lost > 0, "no byte mattered");
}
