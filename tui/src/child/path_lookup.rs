//! Looks up the program of a command as a shell does, and then in directories that sudo removes
//! from PATH.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Directories of user programs, relative to HOME, that login shells have in PATH and sudo has not.
const USER_BIN_DIRS: [&str; 2] = [".cargo/bin", ".local/bin"];

/// Location of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    /// Path of the file.
    pub(crate) path: PathBuf,
    /// `true` if the program was found outside of PATH.
    pub(crate) outside_path: bool,
}

/// Exit code of a shell in this case, and a sentence.
pub(crate) type NotFound = (u8, String);

/// Finds the program of a command. The user directories below `home` are searched last, because
/// sudo replaces PATH.
pub(crate) fn find_program(name: &OsStr, path: Option<OsString>, home: Option<&Path>) -> Result<Program, NotFound> {
    let shown = name.display();
    if name.is_empty() {
        return Err((127, "the command has no name".to_owned()));
    }
    if name.as_bytes().contains(&b'/') {
        // execve(2) checks whether the file can be executed.
        return Ok(Program {
            path: name.into(),
            outside_path: false,
        });
    }
    // The default of execvp(3).
    let path = path.unwrap_or_else(|| "/bin:/usr/bin".into());
    let user_dirs = USER_BIN_DIRS.iter().filter_map(|dir| Some((home?.join(dir), true)));
    let dirs = env::split_paths(&path).map(|dir| (dir, false)).chain(user_dirs);
    let mut refused = None;
    for (dir, outside_path) in dirs {
        let path = if dir.as_os_str().is_empty() {
            Path::new(".").join(name)
        } else {
            dir.join(name)
        };
        if !path.is_file() {
            continue;
        }
        if access(&path, Access::EXEC_OK).is_ok() {
            return Ok(Program { path, outside_path });
        }
        refused.get_or_insert(path);
    }
    match (refused, home) {
        (Some(path), _) => Err((126, format!("{} may not be executed", path.display()))),
        (None, None) => Err((127, format!("{shown} is not found in PATH"))),
        (None, Some(home)) => Err((
            127,
            format!(
                "{shown} is not found in PATH (sudo changes it) or in {0}/.cargo/bin or {0}/.local/bin; use the full path",
                home.display()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_comes_before_user_directories() {
        let root = std::env::temp_dir().join(format!("zctrace-find-{}", std::process::id()));
        let make = |path: &str, mode| {
            use std::os::unix::fs::PermissionsExt;
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        make("bin/both", 0o755);
        make("home/.cargo/bin/both", 0o755);
        make("home/.local/bin/only", 0o755);
        make("bin/data", 0o644);
        let path = || Some(root.join("bin").into_os_string());
        let home = root.join("home");
        let found = |name: &str, home: Option<&Path>| find_program(OsStr::new(name), path(), home);

        let both = found("both", Some(&home)).unwrap();
        assert_eq!((both.path, both.outside_path), (root.join("bin/both"), false));
        let only = found("only", Some(&home)).unwrap();
        assert_eq!((only.path, only.outside_path), (home.join(".local/bin/only"), true));
        assert_eq!(found("only", None).unwrap_err().0, 127);
        let (code, why) = found("data", Some(&home)).unwrap_err();
        assert!(code == 126 && why.contains("bin/data"), "{code} {why}");
        let (code, why) = found("nothing", Some(&home)).unwrap_err();
        assert!(code == 127 && why.contains(".cargo/bin"), "{code} {why}");
        assert_eq!(found("", None).unwrap_err().0, 127);
        let slash = found("./nothing", None).unwrap();
        assert_eq!(slash.path, Path::new("./nothing"), "the kernel will say");
        std::fs::remove_dir_all(root).unwrap();
    }
}
