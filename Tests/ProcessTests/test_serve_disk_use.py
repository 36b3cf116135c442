"""Overwriting for a long time: disk use stays within what docs/operations.md promises."""

import os
import threading
import time

import pytest


def disk_use(folder):
    """Bytes allocated to the files of a folder; what goes away meanwhile counts nothing."""
    total = 0
    for entry in os.scandir(folder):
        try:
            total += entry.stat().st_blocks * 512
        except FileNotFoundError:
            pass
    return total


class Watcher(threading.Thread):
    """Notes the greatest disk use until it is stopped."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.most, self.is_over = folder, 0, False

    def run(self):
        while not self.is_over:
            self.most = max(self.most, disk_use(self.folder))
            time.sleep(0.002)


# Entries, bytes of each value, how often all are overwritten, commands sent at once.
LOADS = {"small": (300_000, 100, 12, 5_000), "middle": (40_000, 4_000, 10, 500),
         "large": (300, 1 << 20, 8, 16), "huge": (30, 15 << 20, 6, 4)}


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADS)
def test_disk_use_stays_within_three_times_the_data_and_128_mib(serve, folder, load):
    entries, value_size, rounds, batch = LOADS[load]
    server = serve("--max-memory", "2gb")
    watcher = Watcher(folder / "data")
    watcher.start()
    value = os.urandom(value_size)
    checkpoints = 0
    try:
        with server.connect(timeout=120) as client:
            for _ in range(rounds):
                for first in range(0, entries, batch):
                    keys = range(first, min(first + batch, entries))
                    answers = client.pipeline(*(["SET", f"key {n:08}", value] for n in keys))
                    assert set(answers) == {"OK"}
            info = client("INFO", "persistence").decode()
            checkpoints = int(info.split("\ncheckpoints:")[1].split()[0])
    finally:
        watcher.is_over = True
        watcher.join()
    # What an entry takes in a checkpoint and the log besides its key and value.
    data = entries * (value_size + 12 + 32)
    bound = 3 * data + (128 << 20)
    print(f"figure: disk use {load}: at most {watcher.most >> 20} MiB, {watcher.most / data:.2f} "
          f"times the data of {data >> 20} MiB, {checkpoints} checkpoints; bound {bound >> 20} MiB")
    assert checkpoints >= 2, "too little was written"
    assert watcher.most <= bound
