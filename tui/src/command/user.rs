//! As whom a command runs: who was named, else who called sudo, else who runs zctrace.

use std::ffi::{CString, OsStr, OsString};
use std::path::PathBuf;

use nix::unistd::{Gid, Uid};

/// A user to become.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct User {
    /// The login name; the number if it has none.
    pub(crate) name: String,
    /// The number.
    pub(crate) uid: u32,
    /// The group.
    pub(crate) gid: u32,
    /// All groups.
    pub(crate) groups: Vec<u32>,
    /// The home directory and the shell, of a user who has an entry.
    pub(crate) home: Option<(PathBuf, PathBuf)>,
}

impl User {
    /// Who it is to be. `None` if nothing needs to change.
    ///
    /// # Errors
    ///
    /// If there is no such user, or zctrace may not become that user.
    pub(crate) fn choose(named: Option<&str>) -> Result<Option<Self>, String> {
        let variable = |name: &str| std::env::var(name).ok();
        let caller = variable("SUDO_UID").map(|uid| (uid, variable("SUDO_GID")));
        Self::decide(named, Uid::effective().as_raw(), caller)
    }

    /// The same, from who runs zctrace and the numbers of user and group that sudo tells.
    fn decide(
        named: Option<&str>,
        current: u32,
        caller: Option<(String, Option<String>)>,
    ) -> Result<Option<Self>, String> {
        let user = match (named, caller) {
            (Some(name), _) => Self::named(name)?,
            // What an unprivileged caller has set there gives no rights, and is not heeded.
            (None, Some((uid, gid))) if current == 0 => Self::numbered(&uid, gid.as_deref())?,
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

    fn named(name: &str) -> Result<Self, String> {
        let entry = nix::unistd::User::from_name(name).map_err(|errno| format!("user {name}: {errno}"))?;
        match entry {
            Some(entry) => Self::of_entry(entry),
            None if name.bytes().all(|byte| byte.is_ascii_digit()) => Self::numbered(name, None),
            None => Err(format!("there is no user {name}")),
        }
    }

    fn numbered(uid: &str, gid: Option<&str>) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse()
                .map_err(|_| format!("{text:?} is no number of a user or group"))
        };
        let uid: u32 = number(uid)?;
        let entry = nix::unistd::User::from_uid(Uid::from_raw(uid)).map_err(|errno| format!("user {uid}: {errno}"))?;
        if let Some(entry) = entry {
            return Self::of_entry(entry);
        }
        // A user of a directory that this machine does not ask, or of a container.
        let gid = gid.map_or(Ok(uid), number)?;
        Ok(Self {
            name: uid.to_string(),
            uid,
            gid,
            groups: vec![gid],
            home: None,
        })
    }

    fn of_entry(entry: nix::unistd::User) -> Result<Self, String> {
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

    /// What the environment says of a user.
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

    /// As `__start` takes it: `UID:GID:GROUP,GROUP`.
    pub(crate) fn ids(&self) -> String {
        let groups: Vec<String> = self.groups.iter().map(ToString::to_string).collect();
        format!("{}:{}:{}", self.uid, self.gid, groups.join(","))
    }
}

/// Becomes the user of these ids, for good: there is no way back.
pub(super) fn become_user(ids: &OsStr) -> Result<(), String> {
    let (uid, gid, groups) = ids
        .to_str()
        .and_then(read_ids)
        .ok_or_else(|| "these are no ids of a user".to_owned())?;
    let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
    // In this order: after the user has changed there is no right to change the others.
    nix::unistd::setgroups(&groups).map_err(|errno| format!("the groups could not be set: {errno}"))?;
    nix::unistd::setgid(Gid::from_raw(gid)).map_err(|errno| format!("the group could not be set: {errno}"))?;
    nix::unistd::setuid(Uid::from_raw(uid)).map_err(|errno| format!("the user could not be set: {errno}"))
}

fn read_ids(ids: &str) -> Option<(u32, u32, Vec<u32>)> {
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

    fn decide(named: Option<&str>, current: u32, sudo: Option<&str>) -> Result<Option<u32>, String> {
        let caller = sudo.map(|uid| (uid.to_owned(), Some("54321".to_owned())));
        let chosen = User::decide(named, current, caller);
        chosen.map(|user| user.map(|user| user.uid))
    }

    #[test]
    fn who_was_named_comes_before_who_called_sudo() {
        assert_eq!(decide(None, 0, None), Ok(None));
        assert_eq!(decide(None, 0, Some("12345")), Ok(Some(12_345)));
        assert_eq!(decide(None, 0, Some("0")), Ok(None), "root called sudo");
        assert_eq!(decide(Some("root"), 0, Some("12345")), Ok(None));
        assert_eq!(decide(Some("12345"), 0, None), Ok(Some(12_345)));
        assert_eq!(decide(None, 12_345, Some("777")), Ok(None), "not root: not heeded");
        assert_eq!(decide(Some("12345"), 12_345, None), Ok(None));
        assert!(decide(Some("root"), 12_345, None).unwrap_err().contains("only root"));
        assert!(decide(Some("no such user"), 0, None).unwrap_err().contains("no user"));
        assert!(decide(None, 0, Some("x")).is_err());
    }

    #[test]
    fn a_user_without_an_entry_has_the_group_that_sudo_tells() {
        let caller = ("12345".to_owned(), Some("54321".to_owned()));
        let user = User::decide(None, 0, Some(caller)).unwrap().unwrap();
        assert_eq!(
            (user.gid, user.home.as_ref(), user.ids().as_str()),
            (54_321, None, "12345:54321:54321")
        );
        assert_eq!(user.environment().len(), 2);
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let root = User::named("root").unwrap();
        let (uid, gid, groups) = read_ids(&root.ids()).unwrap();
        assert_eq!((uid, gid, groups), (root.uid, root.gid, root.groups.clone()));
        assert!(root.environment().contains(&("USER", "root".into())));
        for bad in ["", "0", "0:0", "x:0:0", "0:0:x"] {
            assert_eq!(read_ids(bad), None, "{bad}");
        }
    }
}
