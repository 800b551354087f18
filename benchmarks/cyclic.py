"""A 1 kHz loop in C, as ``cyclictest`` has it: what the kernel gives to whoever asks for no more than to be woken.

Without a C compiler it is the same loop in Python, which calls ``clock_nanosleep`` through ctypes.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from horus_async.clock.system import CLOCK_MONOTONIC, NANOSECONDS, monotonic_ns

from .sampling import RATE, CannotMeasureError, lateness_us

_SOURCE = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    long ticks = atol(argv[1]), period = atol(argv[2]);
    struct sched_param fifo = {.sched_priority = atoi(argv[3])};
    long long *starts = calloc(ticks, sizeof *starts);
    if (fifo.sched_priority && (sched_setscheduler(0, SCHED_FIFO, &fifo) || mlockall(MCL_CURRENT | MCL_FUTURE))) {
        perror("real time");
        return 1;
    }
    long long origin = now() + 10000000;
    for (long tick = 0; tick < ticks;) {
        long long due = origin + tick * period;
        struct timespec t = {due / 1000000000, due % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        starts[tick] = now();
        long behind = (starts[tick] - due) / period;  /* whole ticks are left out, as by our timer */
        tick += behind > 1 ? behind : 1;
    }
    for (long tick = 0; tick < ticks; tick++)
        if (starts[tick]) printf("%ld %lld\n", tick, starts[tick]);
    return 0;
}
"""


def language() -> str:
    """In which the loop is written here."""
    return "C" if shutil.which("cc") else "Python through ctypes (no cc)"


def lateness(priority: int, seconds: float) -> list[float]:
    """How late each tick of the loop was, microseconds; with ``SCHED_FIFO`` at that priority, 0 for without."""
    compiler = shutil.which("cc")
    if compiler is None:
        return _lateness_without_compiler(priority, round(seconds * RATE))
    with tempfile.TemporaryDirectory(prefix="horus-bench-") as folder:
        source, program = Path(folder, "cyclic.c"), Path(folder, "cyclic")
        source.write_text(_SOURCE, encoding="ascii")
        subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True, capture_output=True)
        arguments = [str(round(seconds * RATE)), str(1_000_000_000 // RATE), str(priority)]
        done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMeasureError(done.stderr.strip() or f"exit {done.returncode}")
    return lateness_us([(int(tick), int(ns)) for tick, ns in map(str.split, done.stdout.splitlines())])


def _lateness_without_compiler(priority: int, ticks: int) -> list[float]:
    libc = ctypes.CDLL(None, use_errno=True)
    if priority:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        except OSError as error:
            raise CannotMeasureError(f"real time: {error.strerror}") from error
    period_ns = NANOSECONDS // RATE
    origin_ns = monotonic_ns() + 10_000_000
    starts: list[tuple[int, int]] = []
    until = (ctypes.c_long * 2)()
    absolute, tick = 1, 0
    while tick < ticks:
        due_ns = origin_ns + tick * period_ns
        until[0], until[1] = divmod(due_ns, NANOSECONDS)
        libc.clock_nanosleep(CLOCK_MONOTONIC, absolute, ctypes.byref(until), None)
        starts.append((tick, monotonic_ns()))
        tick += max(1, (starts[-1][1] - due_ns) // period_ns)
    return lateness_us(starts)
