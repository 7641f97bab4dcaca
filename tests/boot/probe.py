"""Run by the unit before the worker, in the same sandbox: tries forbidden actions, and prints which succeeded."""

import ctypes
import mmap
import os
import socket
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLOUD_METADATA = ("169.254.169.254", 80)


def write(folder):
    Path(folder, "written").touch()


def unshare():
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def see_others():
    if not any(Path("/proc", str(process)).exists() for process in range(2, 100) if process != os.getpid()):
        raise PermissionError


ATTEMPTS = {
    **{f"write to {folder}": lambda folder=folder: write(folder) for folder in sys.argv[2].split(":")},
    "read the keys of others": lambda: Path(sys.argv[1]).read_text(),
    "become root": lambda: os.setuid(0),
    "make a user namespace": unshare,
    "see the processes of others": see_others,
    "see the kernel's settings": lambda: Path("/proc/sys/kernel/ostype").read_text(),
    "make code in memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
    "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "ask the kernel's netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "ask a cloud for its metadata": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", CLOUD_METADATA),
    "raise its own limits": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
}

could = []
for name, attempt in ATTEMPTS.items():
    try:
        attempt()
    except OSError:
        continue
    could.append(name)
print("could:", ", ".join(could) or "nothing", flush=True)
