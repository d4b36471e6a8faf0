#!/usr/bin/env python3
"""One door to the world: storage/ and broker/ reach disk, network, time and randomness only through struct io.

Exempt are the door itself (storage/io_uring*.c), the frame of the process (broker/main.c, broker/host.c,
broker/sandbox.c), and what runs on a thread of its own outside of any io: the client of S3."""

import fnmatch

import tidy

EXEMPT = ("storage/io_uring*.c", "storage/io_uring*.h", "broker/main.c", "broker/host.c", "broker/sandbox.c",
          "storage/blob_s3.c", "storage/blob_s3_try.c", "storage/blob_s3_http.c")
CALLS = (
    "open openat creat fopen fdopen freopen opendir read pread readv preadv write pwrite writev pwritev close fsync fdatasync "
    "sync ftruncate truncate fallocate posix_fallocate rename renameat unlink unlinkat mkdir rmdir stat fstat lstat statvfs "
    "fstatvfs access mmap munmap ioctl fcntl flock lockf socket bind listen accept accept4 connect send sendto sendmsg recv "
    "recvfrom recvmsg setsockopt getsockopt getaddrinfo poll ppoll select epoll_create1 epoll_ctl epoll_wait "
    "time clock clock_gettime gettimeofday nanosleep usleep sleep alarm setitimer timerfd_create "
    "rand srand random srandom rand_r drand48 getrandom getentropy arc4random "
    "fork vfork execve execv execvp posix_spawn system popen kill signal sigaction getpid getenv setenv syscall "
    "pthread_create pthread_mutex_lock getrusage sysconf"
).split()

# A call: the name, an opening bracket, and neither a member (x->open(, x.read() nor a declarator before it.
pattern = r"(?<![\w.>])(" + "|".join(CALLS) + r")\s*\("
findings, looked_at = [], 0
for path in tidy.files(("storage", "broker")):
    if any(fnmatch.fnmatch(tidy.name(path), exempt) for exempt in EXEMPT):
        continue
    looked_at += 1
    text = tidy.strip(path.read_text())
    for line, match in tidy.matches(path, pattern, text):
        findings.append(f"{tidy.name(path)}:{line}: {match.group(1)}() does not go through struct io")
tidy.report("kernel calls", findings, looked_at)
