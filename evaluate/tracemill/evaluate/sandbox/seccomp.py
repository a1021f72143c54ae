"""Which system calls a process may still make: a seccomp filter for Linux on x86-64 and ARM64.

In: whether files may be changed (where Landlock says which). Out: nothing; the filter stays on the process
for good. What a single Python process needs is allowed. New processes, threads, signals and sockets (and so
asyncio) kill the process at once; any other call fails with EPERM. Standard library only: this runs in the
isolated interpreter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator

# Name and number on x86-64 and on ARM64, `-` where there is none (Linux 6.18, asm/unistd_64.h and
# asm-generic/unistd.h; numbers of system calls never change).
RUN = """
read 0 63  write 1 64  readv 19 65  writev 20 66  pread64 17 67  pwrite64 18 68  preadv 295 69
pwritev 296 70  lseek 8 62  close 3 57  close_range 436 436  dup 32 23  dup2 33 -  dup3 292 24  pipe 22 -
pipe2 293 59  fcntl 72 25  ioctl 16 29  flock 73 32  fsync 74 82  fdatasync 75 83  fstat 5 80
newfstatat 262 79  stat 4 -  lstat 6 -  statx 332 291  access 21 -  faccessat 269 48  faccessat2 439 439
readlink 89 -  readlinkat 267 78  getdents64 217 61  getcwd 79 17  chdir 80 49  fchdir 81 50  umask 95 166
statfs 137 43  fstatfs 138 44  ftruncate 77 46  fallocate 285 47  fadvise64 221 223  sendfile 40 71
copy_file_range 326 285  mmap 9 222  mprotect 10 226  munmap 11 215  mremap 25 216  madvise 28 233
msync 26 227  mincore 27 232  brk 12 214  futex 202 98  membarrier 324 283  rseq 334 293
set_robust_list 273 99  get_robust_list 274 100  set_tid_address 218 96  rt_sigaction 13 134
rt_sigprocmask 14 135  rt_sigreturn 15 139  rt_sigpending 127 136  rt_sigtimedwait 128 137
rt_sigsuspend 130 133  sigaltstack 131 132  restart_syscall 219 128  pause 34 -  alarm 37 -
getitimer 36 102  setitimer 38 103  poll 7 -  ppoll 271 73  select 23 -  pselect6 270 72
epoll_create1 291 20  epoll_ctl 233 21  epoll_wait 232 -  epoll_pwait 281 22  eventfd2 290 19
nanosleep 35 101  clock_nanosleep 230 115  clock_gettime 228 113  clock_getres 229 114
gettimeofday 96 169  time 201 -  times 100 153  getpid 39 172  getppid 110 173  gettid 186 178
getuid 102 174  geteuid 107 175  getgid 104 176  getegid 108 177  getresuid 118 148  getresgid 120 150
getgroups 115 158  getpgrp 111 -  getpgid 121 155  getsid 124 156  getcpu 309 168  sched_yield 24 124
sched_getaffinity 204 123  uname 63 160  sysinfo 99 179  getrusage 98 165  getrlimit 97 163
getrandom 318 278  wait4 61 260  waitid 247 95  exit 60 93  exit_group 231 94
"""
"""What a process needs to compute."""
CHANGE = """
creat 85 -  mkdir 83 -  mkdirat 258 34  rmdir 84 -  unlink 87 -  unlinkat 263 35  rename 82 -
renameat 264 38  renameat2 316 276  link 86 -  linkat 265 37  symlink 88 -  symlinkat 266 36
"""
"""What makes, moves and removes files."""
KILL = """
fork 57 -  vfork 58 -  clone 56 220  clone3 435 435  execve 59 221  execveat 322 281  socket 41 198
socketpair 53 199  connect 42 203  bind 49 200  sendto 44 206  kill 62 129  tkill 200 130  tgkill 234 131
rt_sigqueueinfo 129 138  rt_tgsigqueueinfo 297 240  pidfd_open 434 434  pidfd_send_signal 424 424
ptrace 101 117  process_vm_writev 311 271  io_uring_setup 425 425
"""
"""What makes processes, sends signals, opens sockets or goes around this filter."""
OPEN = {"x86_64": ((2, 1), (257, 2)), "aarch64": ((56, 2),)}
"""`open` and `openat`, and which of their arguments holds the flags."""

_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN = {"x86_64": 1, "aarch64": 2}
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_KILL, _ALLOW, _REFUSE = 0x80000000, 0x7FFF0000, 0x00050000 | errno.EPERM
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in `struct seccomp_data` (linux/seccomp.h)."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


def restrict(*, changes: bool) -> None:
    """Put the filter on this process, which must have given up new privileges; OSError where it cannot be."""
    program = b"".join(struct.pack("=HBBI", *one) for one in _program(platform.machine(), changes))
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    prog = Program(len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(prog), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp is not to be had")


def _program(machine: str, changes: bool) -> Iterator[tuple[int, int, int, int]]:
    """The instructions (code, jump if true, jump if false, constant) of the filter, in classic BPF."""
    if machine not in _ARCH:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _EQUAL, 1, 0, _ARCH[machine]
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER
    for number in _numbers(KILL, machine):
        yield _EQUAL, 0, 1, number
        yield _RETURN, 0, 0, _KILL
    for number in _numbers(RUN + CHANGE if changes else RUN, machine):
        yield _EQUAL, 0, 1, number
        yield _RETURN, 0, 0, _ALLOW
    for number, flags in OPEN[machine]:
        yield _EQUAL, 0, 4, number
        yield _LOAD, 0, 0, _ARGUMENTS + 8 * flags
        yield _ANY_BIT, 0, 1, 0 if changes else _WRITING
        yield _RETURN, 0, 0, _REFUSE
        yield _RETURN, 0, 0, _ALLOW
    yield _RETURN, 0, 0, _REFUSE


def _numbers(table: str, machine: str) -> list[int]:
    words = table.split()
    numbers = words[_COLUMN[machine] :: 3]
    return [int(number) for number in numbers if number != "-"]
