"""Stops one thread of a process, as a debugger does, until this program ends: ptrace(2), PTRACE_SEIZE.

Argument: the process. The thread is one that waits for epoll events and was started last: in a front door, a worker.
Says "stopped TID", and "gone" if the process ends meanwhile; ends when standard input does.
"""
import ctypes
import os
import select
import sys

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
WAIT_ALL = 0x40000000  # __WALL
EPOLL_CALLS = {"x86_64": {232, 281, 441}, "aarch64": {22, 441}}[os.uname().machine]


def waits_for_events(process, thread):
    with open(f"/proc/{process}/task/{thread}/syscall") as file:
        call = file.read().split()[0]
    return call.isdigit() and int(call) in EPOLL_CALLS


def ptrace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread), ctypes.c_void_p(0), ctypes.c_void_p(0)) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


process = int(sys.argv[1])
threads = sorted(int(name) for name in os.listdir(f"/proc/{process}/task"))
thread = [each for each in threads if each != process and waits_for_events(process, each)][-1]
ptrace(PTRACE_SEIZE, thread)
ptrace(PTRACE_INTERRUPT, thread)
os.waitpid(thread, WAIT_ALL)
print("stopped", thread, flush=True)
while not select.select([sys.stdin], [], [], 0.05)[0]:
    ended, status = os.waitpid(thread, WAIT_ALL | os.WNOHANG)
    if ended == thread and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
        print("gone", flush=True)
        break
