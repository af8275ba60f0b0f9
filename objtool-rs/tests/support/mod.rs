//! What the tests here share: assembling a source.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Assembles `source` as `NAME.S` in `folder`, with further arguments for the compiler.
pub fn assemble(folder: &Path, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
    let file = folder.join(format!("{name}.S"));
    std::fs::write(&file, source).expect("a file in a folder of our own");
    compile(folder, &file, arguments)
}

/// Compiles a file of `folder`; what the debug information says of the folder is `src`.
pub fn compile(folder: &Path, file: &Path, arguments: &[&str]) -> PathBuf {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "gcc".into());
    let object = file.with_extension("o");
    let output = Command::new(&compiler)
        .current_dir(folder)
        .args(["-m64", "-c"])
        .arg(format!("-fdebug-prefix-map={}=src", folder.display()))
        .args(arguments)
        .arg("-o")
        .arg(&object)
        .args(file.file_name())
        .output()
        .unwrap_or_else(|e| panic!("can't run `{compiler}`: {e}; install gcc or set CC"));
    assert!(
        output.status.success(),
        "{}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    object
}
