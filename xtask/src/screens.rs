//! `cargo xtask screens`: takes the documentation's screenshots of the viewer, from a real terminal
//! (tmux) in three sizes, while it traces the demo. Needs tmux and the privileges for tracing.
//! Numbers and addresses differ in every run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Failure, Outcome};

/// Columns and lines: the smallest full screen, a usual one, a large one.
const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

/// Each screenshot: its name, the keys since the previous one, and a text that is then on the
/// screen.
const PICTURES: [(&str, &[&str], &str); 9] = [
    ("flows", &["2"], "[2 Flows]"),
    ("certificate", &["/", "moved>0 to=tcp", "Enter", "Enter"], "Esc: back"),
    ("map", &["Escape", "Escape", "1"], "[1 Map]"),
    ("processes", &["3"], "[3 Processes]"),
    ("pipes", &["4"], "[4 Pipes]"),
    ("reasons", &["5"], "[5 Reasons]"),
    ("segments", &["6"], "[6 Segments]"),
    ("log", &["7"], "[7 Log]"),
    ("help", &["?"], "keys ·"),
];

/// Text of the command when it has finished.
const READY: &str = "the-demo-is-over";

/// Time limit for each wait.
const PATIENCE: Duration = Duration::from_secs(120);

/// Takes the screenshots.
pub(crate) fn run(root: &Path) -> Outcome {
    let built = Command::new(env!("CARGO"))
        .args(["build", "-p", "zctrace"])
        .current_dir(root)
        .status()?;
    if !built.success() {
        return Err(Failure::Found);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    // Under a neutral directory name, because the path is visible on the screens.
    let installed = std::env::temp_dir().join("zctrace");
    fs::copy(target.join("debug/zctrace"), &installed)?;
    let folder = root.join("docs/screens");
    fs::create_dir_all(&folder)?;
    for size in SIZES {
        let terminal = Terminal::start(&installed, size)?;
        terminal.wait(READY)?;
        for (name, keys, shows) in PICTURES {
            terminal.press(keys)?;
            let text = terminal.wait(shows)?;
            fs::write(folder.join(format!("{name}-{}x{}.txt", size.0, size.1)), text)?;
        }
    }
    fs::remove_file(installed)?;
    println!("{} screens in {}", SIZES.len() * PICTURES.len(), folder.display());
    Ok(())
}

/// A tmux server of our own, which ends when this is dropped.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn start(zctrace: &Path, (columns, lines): (u16, u16)) -> Result<Self, Failure> {
        let socket = std::env::temp_dir().join(format!("zctrace-screens-{}-{columns}", std::process::id()));
        let terminal = Self { socket };
        let zctrace = zctrace.display();
        // Written in two words, so that the command line in the header does not match.
        let (one, other) = READY.split_at(3);
        let script = format!("{zctrace} demo --size 16MiB | tail -9; echo {one}\"\"{other}; exec cat");
        let (columns, lines) = (columns.to_string(), lines.to_string());
        terminal
            .tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &lines])
            .args(["env", "LC_ALL=C.UTF-8"])
            .arg(zctrace.to_string())
            .args(["--", "sh", "-c", &script])
            .status()?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(arguments);
        command
    }

    fn press(&self, keys: &[&str]) -> Outcome {
        for key in keys {
            self.tmux(&["send-keys", key]).status()?;
            // Esc and the next key must not be read as one key with Alt.
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    }

    /// Returns the screen once this text is on it.
    fn wait(&self, what: &str) -> Result<String, Failure> {
        let start = Instant::now();
        loop {
            let output = self.tmux(&["capture-pane", "-p"]).output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if text.contains(what) {
                return Ok(text);
            }
            if start.elapsed() > PATIENCE {
                return Err(Failure::Broken(format!("waited in vain for `{what}`:\n{text}")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]).status();
        let _ = fs::remove_file(&self.socket);
    }
}
