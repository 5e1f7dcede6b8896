//! The user that a command runs as: the one given by name, else the caller of sudo, else the user
//! of zctrace.

use std::ffi::{CString, OsStr, OsString};
use std::path::PathBuf;

use nix::unistd::{Gid, Uid};

/// Credentials of a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct User {
    /// Login name, or the UID if the user has no entry.
    pub(crate) name: String,
    /// User ID.
    pub(crate) uid: u32,
    /// Primary group.
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Home directory and shell, if the user has an entry.
    pub(crate) home: Option<(PathBuf, PathBuf)>,
}

impl User {
    /// Returns the user that a command runs as, or `None` if that is the current one.
    ///
    /// # Errors
    ///
    /// If the user does not exist, or zctrace may not switch to it.
    pub(crate) fn resolve(named: Option<&str>) -> Result<Option<Self>, String> {
        let variable = |name: &str| std::env::var(name).ok();
        let caller = variable("SUDO_UID").map(|uid| (uid, variable("SUDO_GID")));
        Self::resolve_from(named, Uid::effective().as_raw(), caller)
    }

    /// Implements [`User::resolve`], given the current UID and the UID and GID that sudo passes.
    fn resolve_from(
        named: Option<&str>,
        current: u32,
        caller: Option<(String, Option<String>)>,
    ) -> Result<Option<Self>, String> {
        let user = match (named, caller) {
            (Some(name), _) => Self::by_name(name)?,
            // An unprivileged caller can set these variables, so they count only for root.
            (None, Some((uid, gid))) if current == 0 => Self::by_uid(&uid, gid.as_deref())?,
            (None, _) => return Ok(None),
        };
        if user.uid == current {
            return Ok(None);
        }
        if current != 0 {
            return Err(format!("only root can run a command as {}", user.name));
        }
        Ok(Some(user))
    }

    fn by_name(name: &str) -> Result<Self, String> {
        let entry = nix::unistd::User::from_name(name).map_err(|errno| format!("user {name}: {errno}"))?;
        match entry {
            Some(entry) => Self::from_entry(entry),
            None if name.bytes().all(|byte| byte.is_ascii_digit()) => Self::by_uid(name, None),
            None => Err(format!("there is no user {name}")),
        }
    }

    fn by_uid(uid: &str, gid: Option<&str>) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is not a user or group ID"));
        let uid: u32 = number(uid)?;
        let entry = nix::unistd::User::from_uid(Uid::from_raw(uid)).map_err(|errno| format!("user {uid}: {errno}"))?;
        if let Some(entry) = entry {
            return Self::from_entry(entry);
        }
        // A user of a directory service that this machine does not query, or of a container.
        let gid = gid.map_or(Ok(uid), number)?;
        Ok(Self {
            name: uid.to_string(),
            uid,
            gid,
            groups: vec![gid],
            home: None,
        })
    }

    fn from_entry(entry: nix::unistd::User) -> Result<Self, String> {
        let name = CString::new(entry.name.as_str()).map_err(|_| "a user's name holds a zero byte".to_owned())?;
        let groups = nix::unistd::getgrouplist(&name, entry.gid)
            .map_err(|errno| format!("the groups of {}: {errno}", entry.name))?;
        Ok(Self {
            uid: entry.uid.as_raw(),
            gid: entry.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            home: Some((entry.dir, entry.shell)),
            name: entry.name,
        })
    }

    /// Returns the environment variables that describe the user.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut all = vec![
            ("USER", self.name.clone().into()),
            ("LOGNAME", self.name.clone().into()),
        ];
        if let Some((home, shell)) = &self.home {
            all.push(("HOME", home.into()));
            all.push(("SHELL", shell.into()));
        }
        all
    }

    /// Formats the IDs as `__start` takes them: `UID:GID:GROUP,GROUP`.
    pub(crate) fn ids(&self) -> String {
        let groups: Vec<String> = self.groups.iter().map(ToString::to_string).collect();
        format!("{}:{}:{}", self.uid, self.gid, groups.join(","))
    }
}

/// Switches to the user with the given IDs. This cannot be undone.
pub(super) fn switch_user(ids: &OsStr) -> Result<(), String> {
    let (uid, gid, groups) = ids
        .to_str()
        .and_then(parse_ids)
        .ok_or_else(|| "invalid user IDs".to_owned())?;
    let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
    // The user comes last, because afterwards the process may not change its groups.
    nix::unistd::setgroups(&groups).map_err(|errno| format!("the groups could not be set: {errno}"))?;
    nix::unistd::setgid(Gid::from_raw(gid)).map_err(|errno| format!("the group could not be set: {errno}"))?;
    nix::unistd::setuid(Uid::from_raw(uid)).map_err(|errno| format!("the user could not be set: {errno}"))
}

fn parse_ids(ids: &str) -> Option<(u32, u32, Vec<u32>)> {
    let mut parts = ids.split(':');
    let (uid, gid, groups) = (parts.next()?, parts.next()?, parts.next()?);
    let groups: Result<_, _> = groups
        .split(',')
        .filter(|group| !group.is_empty())
        .map(str::parse)
        .collect();
    Some((uid.parse().ok()?, gid.parse().ok()?, groups.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(named: Option<&str>, current: u32, sudo: Option<&str>) -> Result<Option<u32>, String> {
        let caller = sudo.map(|uid| (uid.to_owned(), Some("54321".to_owned())));
        let chosen = User::resolve_from(named, current, caller);
        chosen.map(|user| user.map(|user| user.uid))
    }

    #[test]
    fn user_option_comes_before_the_caller_of_sudo() {
        assert_eq!(resolve(None, 0, None), Ok(None));
        assert_eq!(resolve(None, 0, Some("12345")), Ok(Some(12_345)));
        assert_eq!(resolve(None, 0, Some("0")), Ok(None), "root called sudo");
        assert_eq!(resolve(Some("root"), 0, Some("12345")), Ok(None));
        assert_eq!(resolve(Some("12345"), 0, None), Ok(Some(12_345)));
        assert_eq!(resolve(None, 12_345, Some("777")), Ok(None), "not root: ignored");
        assert_eq!(resolve(Some("12345"), 12_345, None), Ok(None));
        assert!(resolve(Some("root"), 12_345, None).unwrap_err().contains("only root"));
        assert!(resolve(Some("no such user"), 0, None).unwrap_err().contains("no user"));
        assert!(resolve(None, 0, Some("x")).is_err());
    }

    #[test]
    fn user_without_entry_gets_the_group_from_sudo() {
        let caller = ("12345".to_owned(), Some("54321".to_owned()));
        let user = User::resolve_from(None, 0, Some(caller)).unwrap().unwrap();
        assert_eq!(
            (user.gid, user.home.as_ref(), user.ids().as_str()),
            (54_321, None, "12345:54321:54321")
        );
        assert_eq!(user.environment().len(), 2);
    }

    #[test]
    fn ids_round_trip() {
        let root = User::by_name("root").unwrap();
        let (uid, gid, groups) = parse_ids(&root.ids()).unwrap();
        assert_eq!((uid, gid, groups), (root.uid, root.gid, root.groups.clone()));
        assert!(root.environment().contains(&("USER", "root".into())));
        for bad in ["", "0", "0:0", "x:0:0", "0:0:x"] {
            assert_eq!(parse_ids(bad), None, "{bad}");
        }
    }
}
