//! Table of all system calls of x86-64, with what the eBPF programs do with each.
//!
//! Numbers and names are those of `arch/x86/entry/syscalls/syscall_64.tbl` of Linux 6.18. The list
//! of what a report does not cover is derived from the table. A test compares the table with the
//! sources of the eBPF programs.

use Class::{Counted, NoPayload, NotCovered, Recorded};

/// Treatment of a system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Moves bytes between descriptors. Each call is a record.
    Recorded,
    /// Moves bytes between a descriptor and memory, or requests that. Each call is counted, or a
    /// record.
    Counted,
    /// Moves payload that no program counts; the payload in words.
    NotCovered(&'static str),
    /// Moves no payload: names, attributes, options and states only.
    NoPayload,
}

/// Number, name and treatment of each system call, in the order of the numbers.
#[rustfmt::skip] // One row per call.
pub(super) const SYSCALLS: &[(u32, &str, Class)] = &[
    (0, "read", Counted),
    (1, "write", Counted),
    (2, "open", NoPayload),
    (3, "close", NoPayload),
    (4, "stat", NoPayload),
    (5, "fstat", NoPayload),
    (6, "lstat", NoPayload),
    (7, "poll", NoPayload),
    (8, "lseek", NoPayload),
    (9, "mmap", Counted),
    (10, "mprotect", NoPayload),
    (11, "munmap", NoPayload),
    (12, "brk", NoPayload),
    (13, "rt_sigaction", NoPayload),
    (14, "rt_sigprocmask", NoPayload),
    (15, "rt_sigreturn", NoPayload),
    (16, "ioctl", Counted),
    (17, "pread64", Counted),
    (18, "pwrite64", Counted),
    (19, "readv", Counted),
    (20, "writev", Counted),
    (21, "access", NoPayload),
    (22, "pipe", NoPayload),
    (23, "select", NoPayload),
    (24, "sched_yield", NoPayload),
    (25, "mremap", NoPayload),
    (26, "msync", NoPayload),
    (27, "mincore", NoPayload),
    (28, "madvise", NoPayload),
    (29, "shmget", NoPayload),
    (30, "shmat", NotCovered("memory that processes share")),
    (31, "shmctl", NoPayload),
    (32, "dup", NoPayload),
    (33, "dup2", NoPayload),
    (34, "pause", NoPayload),
    (35, "nanosleep", NoPayload),
    (36, "getitimer", NoPayload),
    (37, "alarm", NoPayload),
    (38, "setitimer", NoPayload),
    (39, "getpid", NoPayload),
    (40, "sendfile", Recorded),
    (41, "socket", NoPayload),
    (42, "connect", NoPayload),
    (43, "accept", NoPayload),
    (44, "sendto", Counted),
    (45, "recvfrom", Counted),
    (46, "sendmsg", Counted),
    (47, "recvmsg", Counted),
    (48, "shutdown", NoPayload),
    (49, "bind", NoPayload),
    (50, "listen", NoPayload),
    (51, "getsockname", NoPayload),
    (52, "getpeername", NoPayload),
    (53, "socketpair", NoPayload),
    (54, "setsockopt", NoPayload),
    (55, "getsockopt", Counted),
    (56, "clone", NoPayload),
    (57, "fork", NoPayload),
    (58, "vfork", NoPayload),
    (59, "execve", NoPayload),
    (60, "exit", NoPayload),
    (61, "wait4", NoPayload),
    (62, "kill", NoPayload),
    (63, "uname", NoPayload),
    (64, "semget", NoPayload),
    (65, "semop", NoPayload),
    (66, "semctl", NoPayload),
    (67, "shmdt", NoPayload),
    (68, "msgget", NoPayload),
    (69, "msgsnd", NotCovered("messages of System V queues")),
    (70, "msgrcv", NotCovered("messages of System V queues")),
    (71, "msgctl", NoPayload),
    (72, "fcntl", NoPayload),
    (73, "flock", NoPayload),
    (74, "fsync", NoPayload),
    (75, "fdatasync", NoPayload),
    (76, "truncate", NoPayload),
    (77, "ftruncate", NoPayload),
    (78, "getdents", NoPayload),
    (79, "getcwd", NoPayload),
    (80, "chdir", NoPayload),
    (81, "fchdir", NoPayload),
    (82, "rename", NoPayload),
    (83, "mkdir", NoPayload),
    (84, "rmdir", NoPayload),
    (85, "creat", NoPayload),
    (86, "link", NoPayload),
    (87, "unlink", NoPayload),
    (88, "symlink", NoPayload),
    (89, "readlink", NoPayload),
    (90, "chmod", NoPayload),
    (91, "fchmod", NoPayload),
    (92, "chown", NoPayload),
    (93, "fchown", NoPayload),
    (94, "lchown", NoPayload),
    (95, "umask", NoPayload),
    (96, "gettimeofday", NoPayload),
    (97, "getrlimit", NoPayload),
    (98, "getrusage", NoPayload),
    (99, "sysinfo", NoPayload),
    (100, "times", NoPayload),
    (101, "ptrace", NotCovered("memory of a traced process")),
    (102, "getuid", NoPayload),
    (103, "syslog", NoPayload),
    (104, "getgid", NoPayload),
    (105, "setuid", NoPayload),
    (106, "setgid", NoPayload),
    (107, "geteuid", NoPayload),
    (108, "getegid", NoPayload),
    (109, "setpgid", NoPayload),
    (110, "getppid", NoPayload),
    (111, "getpgrp", NoPayload),
    (112, "setsid", NoPayload),
    (113, "setreuid", NoPayload),
    (114, "setregid", NoPayload),
    (115, "getgroups", NoPayload),
    (116, "setgroups", NoPayload),
    (117, "setresuid", NoPayload),
    (118, "getresuid", NoPayload),
    (119, "setresgid", NoPayload),
    (120, "getresgid", NoPayload),
    (121, "getpgid", NoPayload),
    (122, "setfsuid", NoPayload),
    (123, "setfsgid", NoPayload),
    (124, "getsid", NoPayload),
    (125, "capget", NoPayload),
    (126, "capset", NoPayload),
    (127, "rt_sigpending", NoPayload),
    (128, "rt_sigtimedwait", NoPayload),
    (129, "rt_sigqueueinfo", NoPayload),
    (130, "rt_sigsuspend", NoPayload),
    (131, "sigaltstack", NoPayload),
    (132, "utime", NoPayload),
    (133, "mknod", NoPayload),
    (134, "uselib", NoPayload),
    (135, "personality", NoPayload),
    (136, "ustat", NoPayload),
    (137, "statfs", NoPayload),
    (138, "fstatfs", NoPayload),
    (139, "sysfs", NoPayload),
    (140, "getpriority", NoPayload),
    (141, "setpriority", NoPayload),
    (142, "sched_setparam", NoPayload),
    (143, "sched_getparam", NoPayload),
    (144, "sched_setscheduler", NoPayload),
    (145, "sched_getscheduler", NoPayload),
    (146, "sched_get_priority_max", NoPayload),
    (147, "sched_get_priority_min", NoPayload),
    (148, "sched_rr_get_interval", NoPayload),
    (149, "mlock", NoPayload),
    (150, "munlock", NoPayload),
    (151, "mlockall", NoPayload),
    (152, "munlockall", NoPayload),
    (153, "vhangup", NoPayload),
    (154, "modify_ldt", NoPayload),
    (155, "pivot_root", NoPayload),
    (156, "_sysctl", NoPayload),
    (157, "prctl", NoPayload),
    (158, "arch_prctl", NoPayload),
    (159, "adjtimex", NoPayload),
    (160, "setrlimit", NoPayload),
    (161, "chroot", NoPayload),
    (162, "sync", NoPayload),
    (163, "acct", NoPayload),
    (164, "settimeofday", NoPayload),
    (165, "mount", NoPayload),
    (166, "umount2", NoPayload),
    (167, "swapon", NoPayload),
    (168, "swapoff", NoPayload),
    (169, "reboot", NoPayload),
    (170, "sethostname", NoPayload),
    (171, "setdomainname", NoPayload),
    (172, "iopl", NoPayload),
    (173, "ioperm", NoPayload),
    (174, "create_module", NoPayload),
    (175, "init_module", NotCovered("a kernel module read from memory")),
    (176, "delete_module", NoPayload),
    (177, "get_kernel_syms", NoPayload),
    (178, "query_module", NoPayload),
    (179, "quotactl", NoPayload),
    (180, "nfsservctl", NoPayload),
    (181, "getpmsg", NoPayload),
    (182, "putpmsg", NoPayload),
    (183, "afs_syscall", NoPayload),
    (184, "tuxcall", NoPayload),
    (185, "security", NoPayload),
    (186, "gettid", NoPayload),
    (187, "readahead", NoPayload),
    (188, "setxattr", NotCovered("an extended attribute")),
    (189, "lsetxattr", NotCovered("an extended attribute")),
    (190, "fsetxattr", NotCovered("an extended attribute")),
    (191, "getxattr", NotCovered("an extended attribute")),
    (192, "lgetxattr", NotCovered("an extended attribute")),
    (193, "fgetxattr", NotCovered("an extended attribute")),
    (194, "listxattr", NoPayload),
    (195, "llistxattr", NoPayload),
    (196, "flistxattr", NoPayload),
    (197, "removexattr", NoPayload),
    (198, "lremovexattr", NoPayload),
    (199, "fremovexattr", NoPayload),
    (200, "tkill", NoPayload),
    (201, "time", NoPayload),
    (202, "futex", NoPayload),
    (203, "sched_setaffinity", NoPayload),
    (204, "sched_getaffinity", NoPayload),
    (205, "set_thread_area", NoPayload),
    (206, "io_setup", NoPayload),
    (207, "io_destroy", NoPayload),
    (208, "io_getevents", NoPayload),
    (209, "io_submit", Counted),
    (210, "io_cancel", NoPayload),
    (211, "get_thread_area", NoPayload),
    (212, "lookup_dcookie", NoPayload),
    (213, "epoll_create", NoPayload),
    (214, "epoll_ctl_old", NoPayload),
    (215, "epoll_wait_old", NoPayload),
    (216, "remap_file_pages", NotCovered("files as memory")),
    (217, "getdents64", NoPayload),
    (218, "set_tid_address", NoPayload),
    (219, "restart_syscall", NoPayload),
    (220, "semtimedop", NoPayload),
    (221, "fadvise64", NoPayload),
    (222, "timer_create", NoPayload),
    (223, "timer_settime", NoPayload),
    (224, "timer_gettime", NoPayload),
    (225, "timer_getoverrun", NoPayload),
    (226, "timer_delete", NoPayload),
    (227, "clock_settime", NoPayload),
    (228, "clock_gettime", NoPayload),
    (229, "clock_getres", NoPayload),
    (230, "clock_nanosleep", NoPayload),
    (231, "exit_group", NoPayload),
    (232, "epoll_wait", NoPayload),
    (233, "epoll_ctl", NoPayload),
    (234, "tgkill", NoPayload),
    (235, "utimes", NoPayload),
    (236, "vserver", NoPayload),
    (237, "mbind", NoPayload),
    (238, "set_mempolicy", NoPayload),
    (239, "get_mempolicy", NoPayload),
    (240, "mq_open", NoPayload),
    (241, "mq_unlink", NoPayload),
    (242, "mq_timedsend", NotCovered("messages of POSIX queues")),
    (243, "mq_timedreceive", NotCovered("messages of POSIX queues")),
    (244, "mq_notify", NoPayload),
    (245, "mq_getsetattr", NoPayload),
    (246, "kexec_load", NotCovered("a kernel image read from memory")),
    (247, "waitid", NoPayload),
    (248, "add_key", NotCovered("the payload of a key")),
    (249, "request_key", NoPayload),
    (250, "keyctl", NotCovered("the payload of a key")),
    (251, "ioprio_set", NoPayload),
    (252, "ioprio_get", NoPayload),
    (253, "inotify_init", NoPayload),
    (254, "inotify_add_watch", NoPayload),
    (255, "inotify_rm_watch", NoPayload),
    (256, "migrate_pages", NotCovered("pages copied to another memory node")),
    (257, "openat", NoPayload),
    (258, "mkdirat", NoPayload),
    (259, "mknodat", NoPayload),
    (260, "fchownat", NoPayload),
    (261, "futimesat", NoPayload),
    (262, "newfstatat", NoPayload),
    (263, "unlinkat", NoPayload),
    (264, "renameat", NoPayload),
    (265, "linkat", NoPayload),
    (266, "symlinkat", NoPayload),
    (267, "readlinkat", NoPayload),
    (268, "fchmodat", NoPayload),
    (269, "faccessat", NoPayload),
    (270, "pselect6", NoPayload),
    (271, "ppoll", NoPayload),
    (272, "unshare", NoPayload),
    (273, "set_robust_list", NoPayload),
    (274, "get_robust_list", NoPayload),
    (275, "splice", Recorded),
    (276, "tee", Recorded),
    (277, "sync_file_range", NoPayload),
    (278, "vmsplice", Recorded),
    (279, "move_pages", NotCovered("pages copied to another memory node")),
    (280, "utimensat", NoPayload),
    (281, "epoll_pwait", NoPayload),
    (282, "signalfd", NoPayload),
    (283, "timerfd_create", NoPayload),
    (284, "eventfd", NoPayload),
    (285, "fallocate", NoPayload),
    (286, "timerfd_settime", NoPayload),
    (287, "timerfd_gettime", NoPayload),
    (288, "accept4", NoPayload),
    (289, "signalfd4", NoPayload),
    (290, "eventfd2", NoPayload),
    (291, "epoll_create1", NoPayload),
    (292, "dup3", NoPayload),
    (293, "pipe2", NoPayload),
    (294, "inotify_init1", NoPayload),
    (295, "preadv", Counted),
    (296, "pwritev", Counted),
    (297, "rt_tgsigqueueinfo", NoPayload),
    (298, "perf_event_open", NoPayload),
    (299, "recvmmsg", Counted),
    (300, "fanotify_init", NoPayload),
    (301, "fanotify_mark", NoPayload),
    (302, "prlimit64", NoPayload),
    (303, "name_to_handle_at", NoPayload),
    (304, "open_by_handle_at", NoPayload),
    (305, "clock_adjtime", NoPayload),
    (306, "syncfs", NoPayload),
    (307, "sendmmsg", Counted),
    (308, "setns", NoPayload),
    (309, "getcpu", NoPayload),
    (310, "process_vm_readv", Counted),
    (311, "process_vm_writev", Counted),
    (312, "kcmp", NoPayload),
    (313, "finit_module", NotCovered("a kernel module read from a file")),
    (314, "sched_setattr", NoPayload),
    (315, "sched_getattr", NoPayload),
    (316, "renameat2", NoPayload),
    (317, "seccomp", NoPayload),
    (318, "getrandom", NoPayload),
    (319, "memfd_create", NoPayload),
    (320, "kexec_file_load", NotCovered("a kernel image read from a file")),
    (321, "bpf", NoPayload),
    (322, "execveat", NoPayload),
    (323, "userfaultfd", NoPayload),
    (324, "membarrier", NoPayload),
    (325, "mlock2", NoPayload),
    (326, "copy_file_range", Recorded),
    (327, "preadv2", Counted),
    (328, "pwritev2", Counted),
    (329, "pkey_mprotect", NoPayload),
    (330, "pkey_alloc", NoPayload),
    (331, "pkey_free", NoPayload),
    (332, "statx", NoPayload),
    (333, "io_pgetevents", NoPayload),
    (334, "rseq", NoPayload),
    (335, "uretprobe", NoPayload),
    (336, "uprobe", NoPayload),
    (424, "pidfd_send_signal", NoPayload),
    (425, "io_uring_setup", NoPayload),
    (426, "io_uring_enter", Counted),
    (427, "io_uring_register", NoPayload),
    (428, "open_tree", NoPayload),
    (429, "move_mount", NoPayload),
    (430, "fsopen", NoPayload),
    (431, "fsconfig", NoPayload),
    (432, "fsmount", NoPayload),
    (433, "fspick", NoPayload),
    (434, "pidfd_open", NoPayload),
    (435, "clone3", NoPayload),
    (436, "close_range", NoPayload),
    (437, "openat2", NoPayload),
    (438, "pidfd_getfd", NoPayload),
    (439, "faccessat2", NoPayload),
    (440, "process_madvise", NotCovered("pages of another process")),
    (441, "epoll_pwait2", NoPayload),
    (442, "mount_setattr", NoPayload),
    (443, "quotactl_fd", NoPayload),
    (444, "landlock_create_ruleset", NoPayload),
    (445, "landlock_add_rule", NoPayload),
    (446, "landlock_restrict_self", NoPayload),
    (447, "memfd_secret", NoPayload),
    (448, "process_mrelease", NoPayload),
    (449, "futex_waitv", NoPayload),
    (450, "set_mempolicy_home_node", NoPayload),
    (451, "cachestat", NoPayload),
    (452, "fchmodat2", NoPayload),
    (453, "map_shadow_stack", NoPayload),
    (454, "futex_wake", NoPayload),
    (455, "futex_wait", NoPayload),
    (456, "futex_requeue", NoPayload),
    (457, "statmount", NoPayload),
    (458, "listmount", NoPayload),
    (459, "lsm_get_self_attr", NoPayload),
    (460, "lsm_set_self_attr", NoPayload),
    (461, "lsm_list_modules", NoPayload),
    (462, "mseal", NoPayload),
    (463, "setxattrat", NotCovered("an extended attribute")),
    (464, "getxattrat", NotCovered("an extended attribute")),
    (465, "listxattrat", NoPayload),
    (466, "removexattrat", NoPayload),
    (467, "open_tree_attr", NoPayload),
    (468, "file_getattr", NoPayload),
    (469, "file_setattr", NoPayload),
];

/// Returns the payloads that no program counts, each with the names of its system calls.
pub(super) fn not_covered() -> Vec<String> {
    let mut rows: Vec<(&str, Vec<&str>)> = Vec::new();
    for (_, name, class) in SYSCALLS {
        let NotCovered(payload) = class else { continue };
        match rows.iter_mut().find(|(known, _)| known == payload) {
            Some((_, names)) => names.push(name),
            None => rows.push((payload, vec![name])),
        }
    }
    rows.iter()
        .map(|(payload, names)| format!("{payload} ({})", names.join(", ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NUMBERS: &str = include_str!("../../../probes-common/src/call.rs");
    const ENTRIES: &str = include_str!("../../../probes-ebpf/src/syscall_args.rs");
    const EXITS: &str = include_str!("../../../probes-ebpf/src/other_calls.rs");

    /// Returns the number of a constant of the module `nr`.
    fn number(constant: &str) -> u32 {
        let declaration = format!("pub const {constant}: u32 = ");
        let at = NUMBERS.find(&declaration).expect(constant) + declaration.len();
        let digits = NUMBERS[at..].split(';').next().expect(constant);
        digits.parse().expect(constant)
    }

    /// Returns the numbers that a function of an eBPF program names as `nr::NAME`.
    fn named_in(source: &str, function: &str) -> BTreeSet<u32> {
        let body = source.split(&format!("fn {function}(")).nth(1).expect(function);
        let body = body.split("\n}\n").next().expect(function);
        let names = body.split("nr::").skip(1);
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        names
            .map(|rest| number(&rest[..rest.find(|c| !is_name(c)).expect("a name")]))
            .collect()
    }

    fn of_class(class: Class) -> BTreeSet<u32> {
        let rows = SYSCALLS.iter().filter(|(_, _, have)| *have == class);
        rows.map(|(number, _, _)| *number).collect()
    }

    #[test]
    fn table_agrees_with_the_programs() {
        let recorded = named_in(ENTRIES, "is_transfer");
        assert_eq!(of_class(Recorded), recorded);
        let mut hooked = named_in(ENTRIES, "is_known");
        hooked.extend(named_in(EXITS, "is_counted"));
        let mut classified = of_class(Counted);
        // Its requests are counted when they complete (`probes-ebpf/src/io_uring.rs`).
        assert!(classified.remove(&426), "io_uring_enter");
        classified.extend(recorded);
        assert_eq!(classified, hooked);
    }

    #[test]
    fn every_number_has_one_row() {
        assert!(SYSCALLS.windows(2).all(|two| two[0].0 < two[1].0));
        // Numbers 337 to 423 are not in use (syscall_64.tbl).
        let numbers: BTreeSet<u32> = SYSCALLS.iter().map(|(number, _, _)| *number).collect();
        let expected: BTreeSet<u32> = (0..=336).chain(424..=469).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn constants_have_the_names_of_the_table() {
        for (number, name, class) in SYSCALLS {
            if matches!(class, Recorded | Counted) && *number != 426 {
                assert_eq!(self::number(&name.to_ascii_uppercase()), *number, "{name}");
            }
        }
    }

    #[test]
    fn calls_that_are_not_covered_are_listed_by_their_payload() {
        let rows = not_covered();
        assert!(
            rows.contains(&"messages of System V queues (msgsnd, msgrcv)".to_owned()),
            "{rows:?}"
        );
    }
}
