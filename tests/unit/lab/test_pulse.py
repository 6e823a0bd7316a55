"""What counts as hanging: time in which a server could have answered, and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from patience import LONG

from emulab.lab.hosts.pulse import PATIENCE, Sight, Silence, look


def silent(*ticks: tuple[float, Sight | None]) -> float:
    silence = Silence()
    for elapsed, sight in ticks:
        silence.tick(elapsed, sight)
    return silence.seconds


def test_a_stopped_server_hangs_after_its_patience():
    assert silent(*[(1.0, Sight("T", 3.0, 1.0))] * 12) == 11.0 > PATIENCE
    silence = Silence()
    silence.tick(1.0, Sight("T", 3.0, 1.0))
    assert silence.stopped


def test_a_server_that_waits_for_what_never_comes_hangs():
    assert silent(*[(1.0, Sight("S", 3.0, 1.0))] * 12) > PATIENCE


def test_a_machine_that_stood_still_counts_one_tick_however_long():
    assert silent((1.0, Sight("S", 3.0, 1.0)), (120.0, Sight("S", 3.0, 1.0))) == 1.0


def test_time_without_a_processor_does_not_count():
    starved = [(1.0, Sight("R", 3.0 + 0.01 * n, 1.0 + 0.99 * n)) for n in range(100)]
    assert silent(*starved) < 1.0
    never_run = [(1.0, Sight("R", 3.0, 1.0))] * 100
    assert silent(*never_run) == 0.0
    asleep_for_a_moment = [(1.0, Sight("S", 3.0 + 0.01 * n, 1.0 + 0.99 * n)) for n in range(100)]
    assert silent(*asleep_for_a_moment) < 1.5


def test_an_endless_loop_counts_by_what_it_runs():
    alone = [(1.0, Sight("R", float(n), 0.0)) for n in range(12)]
    assert silent(*alone) > PATIENCE
    one_of_four = [(1.0, Sight("R", n / 4, n * 0.75)) for n in range(12)]
    assert silent(*one_of_four) < PATIENCE < silent(*[(1.0, Sight("R", n / 4, n * 0.75)) for n in range(45)])


def test_waiting_for_a_disk_does_not_count():
    assert silent(*[(1.0, Sight("D", 3.0, 1.0))] * 100) == 0.0


def test_the_kernel_tells_of_a_process():
    code = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ntime.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        ran = look(process.pid)
        assert ran and 0.2 < ran.ran < LONG
        os.kill(process.pid, signal.SIGSTOP)
        give_up = time.monotonic() + LONG
        while (stopped := look(process.pid)) and stopped.state != "T":
            assert time.monotonic() < give_up
            time.sleep(0.001)
        process.kill()
    assert look(process.pid) is None
