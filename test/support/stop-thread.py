"""Stops one thread of a process, as a debugger does, until this program ends: ptrace(2), PTRACE_SEIZE.

Argument: the process. The thread is one that waits for epoll events now and then and was started last: in a front door, a
worker.
Says "stopped TID", and "gone" if the process ends meanwhile; ends when standard input does.
"""
import ctypes
import os
import select
import sys
import time

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
WAIT_ALL = 0x40000000  # __WALL
EPOLL_CALLS = {"x86_64": {232, 281, 441}, "aarch64": {22, 441}}[os.uname().machine]


LOOKS = 100


def waits_for_events(process, thread):
    try:
        with open(f"/proc/{process}/task/{thread}/syscall") as file:
            call = file.read().split()[0]
    except OSError:  # it has ended
        return False
    return call.isdigit() and int(call) in EPOLL_CALLS


def threads_that_wait(process):
    """Those that do at one of many looks: at a single one the thread may have something to do."""
    seen = set()
    for _ in range(LOOKS):
        threads = [int(name) for name in os.listdir(f"/proc/{process}/task")]
        seen.update(each for each in threads if waits_for_events(process, each))
        time.sleep(0.005)
    return seen - {process}


def started_at(process, thread):
    """Numbers of threads begin anew at some time: proc(5), starttime."""
    with open(f"/proc/{process}/task/{thread}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19]), thread


def ptrace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread), ctypes.c_void_p(0), ctypes.c_void_p(0)) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


process = int(sys.argv[1])
thread = max(threads_that_wait(process), key=lambda each: started_at(process, each))
ptrace(PTRACE_SEIZE, thread)
ptrace(PTRACE_INTERRUPT, thread)
os.waitpid(thread, WAIT_ALL)
print("stopped", thread, flush=True)
while not select.select([sys.stdin], [], [], 0.05)[0]:
    ended, status = os.waitpid(thread, WAIT_ALL | os.WNOHANG)
    if ended == thread and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
        print("gone", flush=True)
        break
