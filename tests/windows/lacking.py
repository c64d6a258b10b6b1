"""What the standard library lacks on Windows, in the oldest Python that is supported."""

from __future__ import annotations

__all__ = ["LOOP", "MODULES", "lacks"]

MODULES = frozenset({"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty", "uvloop"})
"""Modules that cannot be imported."""
LOOP = frozenset({"add_reader", "add_signal_handler", "add_writer", "remove_signal_handler"})
"""Methods of an event loop that raise NotImplementedError."""
BEGINNINGS: dict[str, tuple[str, ...]] = {
    "os": (
        *("CLD_", "EFD_", "EX_", "F_", "GRND_", "MFD_", "O_", "POSIX_", "PRIO_", "RTLD_", "RWF_", "SCHED_", "SPLICE_"),
        *("ST_", "XATTR_", "chown", "chroot", "confstr", "copy_file_range", "ctermid", "eventfd", "fch", "fdatasync"),
        *("fork", "fpathconf", "fstatvfs", "fwalk", "getegid", "getenvb", "geteuid", "getgid", "getgr", "getloadavg"),
        *(
            "getp",
            "getr",
            "getsid",
            "getuid",
            "getxattr",
            "initgroups",
            "killpg",
            "lch",
            "listxattr",
            "lockf",
            "makedev",
        ),
        *("mk", "nice", "openpty", "pathconf", "pidfd_", "pipe2", "posix_", "pre", "pwr", "readv", "register_at_fork"),
        *("removexattr", "sched_", "sendfile", "set", "splice", "statvfs", "sync", "sysconf", "tcgetpgrp", "tcsetpgrp"),
        *("ttyname", "uname", "writev"),
    ),
    "select": ("EPOLL", "KQ_", "POLL", "epoll", "kevent", "kqueue", "poll"),
    "signal": ("ITIMER_", "SIG", "alarm", "getitimer", "pause", "pidfd_", "pthread_", "set", "sig"),
    "socket": ("AF_", "CMSG_", "MSG_", "SCM_", "SOCK_", "SO_", "TCP_", "recv_fds", "send_fds"),
    "time": ("CLOCK_", "clock_", "pthread_", "tzset"),
}
"""How the names begin that a module lacks."""
THERE: dict[str, frozenset[str]] = {
    "os": frozenset(
        {"F_OK", "O_APPEND", "O_CREAT", "O_EXCL", "O_RDONLY", "O_RDWR", "O_TRUNC", "O_WRONLY", "getpid", "getppid"}
        | {"mkdir", "set_inheritable"}
    ),
    "signal": frozenset(
        {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN", "set_wakeup_fd", "signal"}
    ),
    "socket": frozenset(
        {"AF_INET", "AF_INET6", "AF_UNSPEC", "MSG_DONTROUTE", "MSG_OOB", "MSG_PEEK", "MSG_WAITALL", "SOCK_DGRAM"}
        | {"SOCK_RAW", "SOCK_STREAM", "SO_ACCEPTCONN", "SO_BROADCAST", "SO_ERROR", "SO_KEEPALIVE", "SO_LINGER"}
        | {"SO_RCVBUF", "SO_RCVTIMEO", "SO_REUSEADDR", "SO_SNDBUF", "SO_SNDTIMEO", "SO_TYPE", "TCP_NODELAY"}
    ),
}
"""What begins so, and is there."""


def lacks(module: str, name: str) -> bool:
    """Tell whether a *module* of the standard library has no such *name*."""
    begins = name.startswith(BEGINNINGS.get(module, ())) and name not in THERE.get(module, ())
    return module in MODULES or begins
