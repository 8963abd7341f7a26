#!/usr/bin/python3
"""Captures whose disk, folder, reader or process fails under them."""

import os
import random
import re
import resource
import shutil
import signal
import threading
import time

from capture_tool import (Capture, File, files_of, lost, null_vdev, run_capture,
                          sidecars_of, small_ext4, small_tmpfs, unmount)
from harness import check, equal, eventually, main, roles, run_program, settled, test

ROUNDS = 2
SEQUENCE = re.compile(r"_(\d{5,})_\d{14}\.")
SETTLE = 5.0  # seconds in which an error shows or goes


def ask_wireshark(path, packets):
    """capinfos and tshark read a file to its end and count the same."""
    if shutil.which("tshark") is None or shutil.which("capinfos") is None:
        return
    code, out, err = run_program(["capinfos", "-M", "-T", "-r", "-c", path])
    equal((code, err), (0, ""), f"capinfos {path}")
    equal(int(out.split("\t")[-1]), packets, f"capinfos' packets of {path}")
    code, out, err = run_program(["tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.len"],
                                 seconds=40)
    err = "\n".join(s for s in err.splitlines() if "root" not in s)
    equal((code, err), (0, ""), f"tshark {path}")
    equal(len(out.splitlines()), packets, f"tshark's packets of {path}")


def recover(paths):
    code, out, err = run_program([roles["capture"], "--recover", *paths])
    equal((code, err), (0, ""), "sluice-capture --recover")
    equal(len(out.splitlines()), len(paths), f"lines of --recover: {out}")
    return out


# ---- killed ----------------------------------------------------------------------------------


def stale_ring(lab, words, folder):
    """A ring full of an earlier run's files, whose packets are 100 bytes long."""
    rows = run_capture(lab, ["-i", "net_null0", "-w", f"{folder}/k.cap", "-b", "filesize:8000",
                             "-b", "files:5", "-a", "files:7", *words], [null_vdev(100)])
    equal(len(files_of(folder)), 5, f"files of the ring: {rows}")
    equal(sidecars_of(folder), [], "sidecars after an orderly end")


def sequence(path):
    return int(SEQUENCE.search(path).group(1))


def killed(lab, words, folder, until):
    """Kills a capture of 300-byte packets in mid-write: what it said last, and when it began."""
    begin = time.time_ns()
    first = max(sequence(p) for p in files_of(folder))
    capture = Capture(lab, ["-i", "net_null0", "-w", f"{folder}/k.cap", "-b", "filesize:8000",
                            "-b", "files:5", *words], [null_vdev(300)]).ready()
    capture.wait_row(lambda row: row["files"] >= until, f"{until} files")
    time.sleep(random.uniform(0, 0.02))  # anywhere within a file
    row = capture.row()
    capture.kill()
    return row, begin, first


def refuse_to_guess(path):
    """A sidecar that says nothing: the file may be the new one or what was recycled."""
    code, _, err = run_program([roles["capture"], "--recover", path])
    equal((code, len(err.splitlines())), (1, 1), f"--recover without a word in the sidecar: {err}")
    os.unlink(path + ".sluice-part")
    if os.path.exists(path):
        os.unlink(path)


def check_recovered(folder, row, begin, first):
    """All that is left of the run that was killed; how much that was."""
    torn = [p[:-len(".sluice-part")] for p in sidecars_of(folder)]
    check(torn, "no file was being written when the process was killed")
    for path in torn[:]:
        if os.path.getsize(path + ".sluice-part") == 0:  # killed within those microseconds
            torn.remove(path)
            refuse_to_guess(path)
    whole = {p: os.stat(p).st_mtime_ns for p in files_of(folder) if p not in torn}
    said = recover(torn) if torn else ""
    equal(sidecars_of(folder), [], "sidecars after --recover")
    if whole:
        recover(list(whole))
    equal({p: os.stat(p).st_mtime_ns for p in whole}, whole, "files that were whole were touched")
    last = begin - 1_000_000_000
    counts = []
    for path in sorted(files_of(folder), key=sequence):
        check(sequence(path) > first, f"{path} of the run before in a ring that went round")
        file = File(path, empty_is_good=path in torn)
        last = file.check_order(last)
        check(all(wire == 300 and len(kept) == 300 for _, wire, kept in file.packets),
              f"{path}: a packet that the killed run did not write; {said}")
        counts.append((sequence(path), len(file)))
        if path in torn[-1:]:
            ask_wireshark(path, len(file))
    # All files but the last ones are equally long, also those that the ring has dropped.
    full = max(count for _, count in counts)
    total = sum(n for _, n in counts) + (counts[0][0] - first - 1) * full
    # What was counted as written before is there.
    check(total >= row["written"],
          f"{total} packets of {row['written']} that were written: {counts}, {said}")


@test(seconds=50)
def killed_in_mid_write(lab):
    for words in (["-P"], ["-n"], ["-P", "--io", "posix"]):
        for number in range(ROUNDS):
            folder = lab.out_dir(f"{len(words)}{words[0]}{number}")
            stale_ring(lab, words, folder)
            row, begin, first = killed(lab, words, folder, random.randint(6, 12))
            check_recovered(folder, row, begin, first)


@test(seconds=20)
def a_file_that_is_being_written_is_not_recovered(lab):
    path = lab.path("busy.pcap")
    capture = Capture(lab, ["-i", "net_null0", "-w", path, "--sample", "1/100000"],
                      [null_vdev(64)]).ready()
    capture.wait_row(lambda row: row["written"] + row["pending"] > 0, "packets")
    code, _, err = run_program([roles["capture"], "--recover", path])
    equal((code, len(err.splitlines())), (1, 1), f"--recover of a running capture: {err}")
    rows = capture.finish()
    equal(len(File(path)), rows[0]["written"], "packets in the file")


@test(seconds=20)
def killed_when_traffic_is_slow(lab):
    """What was there a flush interval before is kept, though no block was full."""
    path = lab.path("slow.pcapng")
    capture = Capture(lab, ["-i", "net_null0", "-n", "-w", path, "--sample", "1/100000"],
                      [null_vdev(64)]).ready()
    seen = capture.wait_row(lambda row: row["pending"] > 50, "packets that wait in a block")
    # The file shows them, and the sidecar vouches for them.
    eventually(lambda: os.path.getsize(path) > 4096 or seen["pending"] < 50, "a flush", SETTLE)
    time.sleep(0.5)  # flush intervals: this is about time
    capture.kill()
    recover([path])
    file = File(path)
    file.check_order()
    check(len(file) >= seen["pending"], f"{len(file)} packets of {seen['pending']}")
    ask_wireshark(path, len(file))


# ---- the disk --------------------------------------------------------------------------------


def count_all(*folders):
    """Packets of all files, each of which must be whole."""
    total = 0
    for folder in folders:
        for path in files_of(folder):
            file = File(path)
            file.check_order()
            total += len(file)
    return total


def fill_and_free(lab, disk, words=()):
    """A disk that is full goes on being tried, and taken up again once there is space."""
    saved = lab.out_dir("saved")
    capture = Capture(lab, ["-i", "net_null0", "-w", f"{disk}/f.pcap", "-b", "filesize:4000",
                            *words], [null_vdev(300)]).ready()
    full = capture.wait_row(lambda row: row["drops"]["disk_error"] > 0, "the disk is full")
    check("No space left on device" in full["error"], f"error of the row: {full['error']}")
    check(disk in full["error"], f"the error does not name the file: {full['error']}")
    later = capture.wait_row(lambda row: row["received"] > full["received"] + 100_000,
                             "packets are still received", SETTLE)
    check(later["drops"]["disk_error"] + later["drops"]["no_chunk"] > lost(full),
          "packets on a full disk are counted")
    done = settled(lambda: capture.row()["written"], "written to a full disk")
    # Space, but nothing lost: the files are moved elsewhere.
    for path in files_of(disk)[:4]:
        if not os.path.exists(path + ".sluice-part"):
            shutil.move(path, saved)
    check(files_of(saved), "no file was finished on the small disk")
    capture.wait_row(lambda row: row["written"] > done, "the capture goes on", SETTLE)
    row = capture.finish(code=1)[0]
    equal(count_all(disk, saved), row["written"], "packets in all files")
    equal(sidecars_of(disk), [], "sidecars of files that could not be written")
    equal(len(capture.complaints()), 1, f"last words: {capture.complaints()}")
    return capture


@test(seconds=30)
def disk_full_tmpfs(lab):
    disk = small_tmpfs(lab, 24)
    try:
        fill_and_free(lab, disk)
    finally:
        unmount(disk)


@test(seconds=30)
def disk_full_ext4(lab):
    disk = small_ext4(lab, 40)
    try:
        fill_and_free(lab, disk, ["-n"])
    finally:
        unmount(disk)


@test(seconds=30)
def disk_full_ends_with_stop_on_error(lab):
    disk = small_tmpfs(lab, 16)
    try:
        capture = Capture(lab, ["-i", "net_null0", "-w", f"{disk}/f.pcap", "-b", "filesize:4000",
                                "--stop-on-error"], [null_vdev(300)])
        row = capture.finish(code=1, number=None)[0]
        lines = capture.complaints()
        check(len(lines) == 1 and "No space left on device" in lines[0] and disk in lines[0],
              f"last words: {lines}")
        equal(count_all(disk), row["written"], "packets in all files")
        check(row["written"] > 10_000, f"written before the disk was full: {row}")
    finally:
        unmount(disk)


@test(seconds=30)
def one_file_on_a_full_disk(lab):
    """Without rotation: the file keeps what fitted, and nothing else stands behind."""
    disk = small_tmpfs(lab, 8)
    try:
        capture = Capture(lab, ["-i", "net_null0", "-w", f"{disk}/one.pcap"],
                          [null_vdev(300)]).ready()
        capture.wait_row(lambda row: row["drops"]["disk_error"] > 0, "the disk is full")
        row = capture.finish(code=1)[0]
        equal(count_all(disk), row["written"], "packets in the file")
        check(row["written"] > 5_000, f"written before the disk was full: {row}")
    finally:
        unmount(disk)


@test(seconds=30)
def file_size_limit(lab):
    """EFBIG, and SIGXFSZ does not kill."""
    folder = lab.out_dir("limited")
    capture = Capture(lab, ["-i", "net_null0", "-w", f"{folder}/f.pcap", "-b", "filesize:20000"],
                      [null_vdev(300)]).ready()
    hard = resource.prlimit(capture.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(capture.pid, resource.RLIMIT_FSIZE, (6 << 20, hard))
    row = capture.wait_row(lambda row: row["drops"]["disk_error"] > 0, "the limit is reached")
    check("File too large" in row["error"], f"error of the row: {row['error']}")
    resource.prlimit(capture.pid, resource.RLIMIT_FSIZE, (hard, hard))
    capture.wait_row(lambda now: now["written"] > row["written"] + 100_000, "it goes on", SETTLE)
    row = capture.finish(code=1)[0]
    equal(count_all(folder), row["written"], "packets in all files")


@test(seconds=30)
def folder_removed(lab):
    folder = lab.out_dir("gone")
    capture = Capture(lab, ["-i", "net_null0", "-w", f"{folder}/f.pcap", "-b", "filesize:4000",
                            "-b", "files:4"], [null_vdev(300)]).ready()
    capture.wait_row(lambda row: row["files"] > 6, "files")

    def gone():
        shutil.rmtree(folder, ignore_errors=True)
        return not os.path.exists(folder)

    eventually(gone, "the folder is removed")
    row = capture.wait_row(lambda row: row["drops"]["disk_error"] > 0, "errors are counted")
    check("No such file or directory" in row["error"], f"error of the row: {row['error']}")
    os.mkdir(folder)
    row = capture.row()
    capture.wait_row(lambda now: now["written"] > row["written"] + 50_000, "it goes on", SETTLE)
    row = capture.finish(code=1)[0]
    check(1 <= len(files_of(folder)) <= 4, f"files of the ring: {files_of(folder)}")
    equal(sidecars_of(folder), [], "sidecars")
    check(count_all(folder) > 0, f"nothing was written after the folder came back: {row}")


# ---- streams ---------------------------------------------------------------------------------


class Reader(threading.Thread):
    """Takes a FIFO's bytes, a piece each time it may."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = path
        self.data = bytearray()
        self.pause = 0.01
        self.gone = threading.Event()
        self.start()

    def run(self):
        with open(self.path, "rb", buffering=0) as pipe:
            while not self.gone.is_set():
                piece = pipe.read(1 << 16)
                if not piece:
                    break
                self.data += piece
                time.sleep(self.pause)


def fifo(lab):
    path = lab.path("fifo")
    os.mkfifo(path)
    return path


@test(seconds=40)
def a_slow_reader_does_not_stop_reception(lab):
    for words in (["-P"], ["-n", "--sample", "1/3"]):
        path = fifo(lab)
        reader = Reader(path)
        capture = Capture(lab, ["-i", "net_null0", "-w", path, *words], [null_vdev(1000)]).ready()
        row = capture.wait_row(lambda row: row["drops"]["no_chunk"] > 100_000, "drops")
        capture.wait_row(lambda now: now["received"] > row["received"] + 1_000_000,
                         "packets are received all the while", SETTLE)
        reader.pause = 0
        row = capture.finish()[0]
        reader.join(10)
        check(not reader.is_alive(), "the reader still waits for the end")
        file = File("what the FIFO gave", bytes(reader.data))
        file.check_order()
        equal(len(file), row["written"], "packets the reader got")
        equal(row["drops"]["disk_error"], 0, "errors")
        os.unlink(path)


@test(seconds=30)
def a_reader_that_goes_ends_the_capture(lab):
    path = fifo(lab)
    reader = Reader(path)
    capture = Capture(lab, ["-i", "net_null0", "-w", path], [null_vdev(1000)]).ready()
    eventually(lambda: len(reader.data) > 1 << 20, "the reader has some")
    reader.gone.set()
    capture.finish(code=1, number=None)
    lines = capture.complaints()
    check(len(lines) == 1 and "Broken pipe" in lines[0], f"last words: {lines}")


@test(seconds=30)
def a_closed_pipe_ends_the_capture(lab):
    read, write = os.pipe()
    capture = Capture(lab, ["-i", "net_null0", "-w", "-"], [null_vdev(1000)], stdout=write,
                      json_report=False)
    os.close(write)
    check(len(os.read(read, 4096)) > 24, "nothing came through the pipe")
    os.close(read)
    equal(capture.wait(), 1, "exit code")
    lines = capture.complaints()
    check(len(lines) == 1 and "Broken pipe" in lines[0], f"last words: {lines}")


@test(seconds=30)
def a_fifo_without_a_reader_can_be_interrupted(lab):
    capture = Capture(lab, ["-i", "net_null0", "-w", fifo(lab)], [null_vdev(64)])
    capture.wait_log("TELEMETRY")
    time.sleep(0.5)  # until it waits; too early, and the signal ends it as well
    capture.signal(signal.SIGTERM)
    check(capture.wait(5) != 0, "a capture that never began ended well")


if __name__ == "__main__":
    main()
