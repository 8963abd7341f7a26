#!/usr/bin/python3
"""Tests of bench/run capture: the traffic, what is read from the tools, turns, rows and ratios."""

import contextlib
import io
import os
import struct
import sys
import tempfile
import unittest
from unittest import mock

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.realpath(__file__)) + '/../../..'
sys.path.insert(0, os.path.join(ROOT, 'bench'))
from harness import capture, capture_limits, capture_meter  # noqa: E402
from harness import capture_tools, capture_work  # noqa: E402
from harness.capture_meter import Sample  # noqa: E402
from harness.process import BenchError  # noqa: E402

WORKS = (capture_work.fixed(64), capture_work.Work('mix', 965, 'net_pcap0,rx_pcap=m'),
         capture_work.fixed(1518))
FIO = ('fio: a warning\n{"jobs": [{"error": %d, "usr_cpu": 1.5, "sys_cpu": 12.5, '
       '"write": {"bw_bytes": 4123456789}}]}')
TCPDUMP = '''tcpdump: listening on vc1, link-type EN10MB (Ethernet)
1000 packets captured
2000 packets received by filter
50 packets dropped by kernel
'''
NETSNIFF = '''Running! Hang up with ^C!

        1000  packets incoming (3 unread on exit)
         750  packets passed filter
         250  packets failed filter (out of space)
     25.0000% packet droprate
           3  sec, 908975 usec in total
'''


class Traffic(unittest.TestCase):
    def test_the_mix_has_its_mean_and_its_shares(self):
        sizes = capture_work.mix_sizes()
        self.assertEqual(len(sizes), capture_work.MIX_PACKETS)
        self.assertEqual(sum(sizes), capture_work.MIX_MEAN * len(sizes))
        self.assertEqual((min(sizes), max(sizes)), (64, 1514))
        self.assertAlmostEqual(sizes.count(64) / len(sizes), 0.32, places=2)
        self.assertAlmostEqual(sizes.count(1514) / len(sizes), 0.58, places=2)
        self.assertEqual(sizes, capture_work.mix_sizes())
        self.assertNotEqual(sizes, sorted(sizes))

    def test_a_mean_that_cannot_be_is_refused(self):
        self.assertRaises(BenchError, capture_work.mix_sizes, mean=64)
        self.assertRaises(BenchError, capture_work.mix_sizes, mean=1514)

    def test_the_file_is_a_capture(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'mix.pcap')
            mean = capture_work.write_mix(path)
            with open(path, 'rb') as file:
                data = file.read()
        self.assertEqual(mean, capture_work.MIX_MEAN)
        self.assertEqual(struct.unpack('<IHHiIII', data[:24]),
                         (0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        at, packets, dns, local = 24, 0, 0, 0
        while at < len(data):
            captured, original = struct.unpack('<II', data[at + 8:at + 16])
            self.assertEqual(captured, original)
            frame = data[at + 16:at + 16 + captured]
            self.assertEqual(frame[12:15], b'\x08\0\x45')
            self.assertEqual(struct.unpack('>H', frame[16:18])[0], captured - 14)
            dns += frame[23] == 17 and frame[36:38] == b'\0\x35'
            local += frame[23] == 6 and frame[26] == 10
            packets += 1
            at += 16 + captured
        self.assertEqual((at, packets), (len(data), capture_work.MIX_PACKETS))
        self.assertGreater(dns, 0)    # so that the filters of the rows find something
        self.assertGreater(local, 0)

    def test_a_record_has_a_header(self):
        self.assertEqual(WORKS[0].record, 80)
        self.assertEqual(WORKS[1].port, 'net_pcap0')


class Folder(unittest.TestCase):
    def test_it_is_emptied_and_removed(self):
        with tempfile.TemporaryDirectory() as parent, \
                mock.patch.object(capture_work, 'ROOM_GB', -2):
            disk = capture_work.Disk(parent)
            for name in ('ours-1.pcap', 'ours-2.pcap', 'ring_1.pcap'):
                with open(disk.file(name), 'w'):
                    pass
            disk.drop('ours-1')
            self.assertEqual(sorted(os.listdir(disk.path)), ['ours-2.pcap', 'ring_1.pcap'])
            self.assertNotEqual(disk.facts()['file_system'], 'unknown')
            disk.close()
            self.assertEqual(os.listdir(parent), [])

    def test_a_full_disk_and_a_missing_folder_are_told(self):
        with tempfile.TemporaryDirectory() as parent:
            with mock.patch.object(capture_work, 'ROOM_GB', 10 ** 9):
                self.assertRaisesRegex(BenchError, 'are needed', capture_work.Disk, parent)
            self.assertEqual(os.listdir(parent), [])
            self.assertRaisesRegex(BenchError, 'No such file', capture_work.Disk,
                                   os.path.join(parent, 'none'))


class Reading(unittest.TestCase):
    def test_fio(self):
        bps, share = capture_limits.parse_fio(FIO % 0)
        self.assertEqual(bps, 4123456789.0)
        self.assertAlmostEqual(share, 0.14)
        self.assertRaisesRegex(BenchError, 'error 28', capture_limits.parse_fio, FIO % 28)

    def test_dd(self):
        text = '3+0 records in\n3+0 records out\n12582912 bytes (13 MB, 12 MiB) copied, 0.5 s, x\n'
        self.assertEqual(capture_limits.parse_dd(text), 25165824.0)
        self.assertRaises(BenchError, capture_limits.parse_dd, 'dd: failed')

    def test_drops_of_the_kernel_tools(self):
        self.assertEqual(capture_tools.tcpdump_drop(TCPDUMP), 2.5)
        self.assertIsNone(capture_tools.tcpdump_drop('killed'))
        self.assertEqual(capture_tools.netsniff_drop(NETSNIFF), 25.0)
        self.assertIsNone(capture_tools.netsniff_drop('killed'))

    def test_our_report_is_the_last_object(self):
        log = 'EAL: up\n{"not": 1}\n{"seconds": 2, "captures": []}\n'
        self.assertEqual(capture_tools.final_report(log)['seconds'], 2)
        self.assertRaises(BenchError, capture_tools.final_report, 'EAL: up\n')
        self.assertRaises(BenchError, capture_tools.final_report, '{"cut')

    def test_cycles_by_stage(self):
        self.assertEqual(capture_tools.stages_of({'cycles_per_packet': 20.0,
                                                  'writer_cycles_per_packet': 3.0}),
                         {'receive_and_pack': 20.0, 'write': 3.0})
        self.assertIsNone(capture_tools.stages_of({'received': 1}))

    def test_packets_that_nobody_accounts_for(self):
        row = {'received': 100, 'written': 60, 'filtered': 20, 'sampled_out': 5, 'cut_off': 5,
               'drops': {'no_chunk': 7, 'disk_error': 3}}
        self.assertEqual(capture_tools.account(row), 0)
        self.assertEqual(capture_tools.account({**row, 'written': 59}), 1)


class FakeBench:
    """Enough of a Bench to build a command."""

    class Disk:
        @staticmethod
        def file(name):
            return '/disk/' + name

    disk = Disk()

    @staticmethod
    def program(*path):
        return '/'.join(path)

    @staticmethod
    def eal(tag, lcores):
        return ['--lcores', lcores]


class Commands(unittest.TestCase):
    def command(self, *args, **more):
        return capture_tools.Ours(*args, **more).command(FakeBench(), 'tag', WORKS[0], '/s')

    def test_cores(self):
        self.assertIn('0@1,1@1', self.command(1, 'fresh'))
        self.assertNotIn('--io-lcore', self.command(1, 'fresh'))
        two = self.command(2, 'fresh')
        self.assertIn('0@0,1@1,2@0', two)
        self.assertEqual(two[two.index('--io-lcore') + 1], '2')

    def test_files(self):
        fresh = self.command(1, 'fresh')
        self.assertNotIn('--prealloc', fresh)
        self.assertEqual(fresh[fresh.index('-w') + 1], '/disk/tag.pcap')
        grown = self.command(1, 'grown')
        self.assertEqual(grown[grown.index('--prealloc') + 1], '0')
        ahead = self.command(1, 'preallocated')
        self.assertEqual(ahead[ahead.index('--prealloc') + 1], '20G')
        ring = self.command(1, 'recycled')
        self.assertIn('files:4', ring)
        self.assertIn('filesize:2000000', ring)  # kilobytes, as dumpcap counts
        self.assertNotIn('tag', ring[ring.index('-w') + 1])
        self.assertIn('--null', self.command(1, 'null'))
        none = self.command(1, 'none')
        self.assertEqual(none[none.index('--io') + 1], 'none')
        self.assertEqual(self.command(1, 'fresh', options=('-f', 'udp'))[-2:], ['-f', 'udp'])


class Rows(unittest.TestCase):
    def test_each_row_is_one_of_a_kind(self):
        for quick in (True, False):
            cells = capture.cells_of(WORKS, quick)
            self.assertEqual(len({cell.key for cell in cells}), len(cells))
            self.assertEqual(len({cell.name() for cell in cells}), len(cells))

    def test_the_aims_have_their_rows(self):
        for quick in (True, False):
            keys = {cell.key for cell in capture.cells_of(WORKS, quick)}
            for mode in capture.FILE_MODES:
                self.assertIn(('fio', None, 1, capture.FIO_MODES[mode], None), keys)
                for cores in (1, 2):
                    self.assertIn(('sluice-capture', '64', cores, mode, None), keys)
            self.assertIn(('dpdk-dumpcap', '64', 2, 'fresh', None), keys)
            self.assertIn(('sluice-capture', '1518', 2, 'fresh', None), keys)

    def test_a_row_and_a_limit(self):
        cell = capture.Cell(capture_tools.Ours(2, 'fresh'), WORKS[0])
        row = capture.row_of(cell, [Sample(3e7, 2.4e9, 1.0, 50.0, 60.0, 1.5,
                                           {'io': 'uring', 'stamp_error_ns': 90, 'stages':
                                            {'receive_and_pack': 50.0, 'write': 4.0}}),
                                    Sample(1e7, 0.8e9), Sample(2e7, 1.6e9, 0.0)])
        self.assertEqual(row['mpps'], {'min': 10.0, 'median': 20.0, 'max': 30.0})
        self.assertAlmostEqual(row['gbps'], 20.0 * 64 * 8e-3)
        self.assertEqual((row['drop_pct'], row['cycles_per_packet'], row['n']), (0.5, 50.0, 3))
        self.assertEqual((row['io'], row['stamp_error_ns']), ('uring', 90))
        self.assertEqual((row['cycles_by'], row['cpu_cycles_per_packet']), ('tool', 60.0))
        self.assertEqual(row['stages'], {'receive_and_pack': 50.0, 'write': 4.0})
        self.assertIn('20.000', capture.describe(row))
        limit = capture.limit_of(capture.Cell(capture_limits.Fio('fresh'), None),
                                 [Sample(0.0, 3e9), Sample(0.0, 1e9)])
        self.assertEqual(limit['mb_s'], {'min': 1000.0, 'median': 2000.0, 'max': 3000.0})
        self.assertEqual(limit['gbps'], 16.0)

    def test_a_row_without_any_cycles_can_be_told(self):
        cell = capture.Cell(capture_tools.Tcpdump(), WORKS[0])
        self.assertIn('tcpdump', capture.describe(capture.row_of(cell, [Sample(1e6, 8e7)])))


class Ratios(unittest.TestCase):
    def samples(self):
        ours = {0: Sample(6e7, 4e9), 1: Sample(3e7, 2e9), 2: Sample(9e7, 8e9)}
        return {('sluice-capture', '64', 2, 'fresh', None): ours,
                ('sluice-capture', '64', 1, 'fresh', None): {0: Sample(3e7, 2e9)},
                ('dpdk-dumpcap', '64', 2, 'fresh', None): {0: Sample(1e7, 8e8),
                                                           2: Sample(1e7, 8e8)},
                ('fio', None, 1, 'fresh', None): {1: Sample(0.0, 4e9)}}

    def test_only_the_same_repetition_is_compared(self):
        found = {r['what']: r for r in capture.ratios_of(self.samples(), WORKS)}
        dumpcap = found['64 B fresh: two cores / dpdk-dumpcap']
        self.assertEqual((dumpcap['median'], dumpcap['n'], dumpcap['aim'], dumpcap['met']),
                         (7.5, 2, 5, True))
        one = found['64 B fresh: one core / two cores']
        self.assertEqual((one['median'], one['met']), (0.5, False))
        fio = found['64 B fresh: two cores / fio']
        self.assertEqual((fio['median'], fio['aim'], fio['met']), (0.5, None, None))
        self.assertNotIn('1518 B fresh: two cores / fio', found)

    def test_the_report_says_what_was_met(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            capture.report([], [], capture.ratios_of(self.samples(), WORKS))
        self.assertIn('aim 5: met', out.getvalue())
        self.assertIn('aim 0.6: NOT met', out.getvalue())


class FakeTool(capture_tools.Tool):
    cores = 1

    def __init__(self, name, calls, fails=0, installed=True):
        self.name = name
        self.calls = calls
        self.fails = fails
        self.installed = installed

    def check(self, bench):
        if not self.installed:
            raise BenchError(f'{self.name} is not installed')

    def measure(self, bench, work):
        self.calls.append(self.name)
        if self.fails:
            self.fails -= 1
            raise BenchError('no luck')
        return Sample(1e6, 8e7)


class Turns(unittest.TestCase):
    def run_all(self, tools, repetitions):
        cells = [capture.Cell(tool, WORKS[0]) for tool in tools]
        with contextlib.redirect_stdout(io.StringIO()), \
                contextlib.redirect_stderr(io.StringIO()):
            able, missing = capture.usable(cells, None)
            samples, errors = capture.measure_all(able, None, repetitions)
        return [samples[cell.key] for cell in able], errors, missing

    def test_every_other_round_goes_backwards(self):
        calls = []
        samples, errors, missing = self.run_all([FakeTool(n, calls) for n in 'abc'], 3)
        self.assertEqual(''.join(calls), 'abccbaabc')
        self.assertEqual([sorted(s) for s in samples], [[0, 1, 2]] * 3)
        self.assertEqual((errors, missing), ([], []))

    def test_who_is_not_there_is_listed_and_left_out(self):
        calls = []
        _, _, missing = self.run_all([FakeTool('a', calls), FakeTool('b', calls, installed=False)],
                                     1)
        self.assertEqual(calls, ['a'])
        self.assertEqual(missing, [{'tool': 'b', 'why': 'b is not installed'}])

    def test_who_fails_again_and_again_is_given_up(self):
        calls = []
        samples, errors, _ = self.run_all([FakeTool('a', calls, fails=9), FakeTool('b', calls)], 5)
        self.assertEqual(calls.count('a'), capture.TRIES)
        self.assertEqual(calls.count('b'), 5)
        self.assertEqual((len(samples[0]), len(errors)), (0, capture.TRIES))

    def test_one_failure_costs_one_repetition(self):
        samples, errors, _ = self.run_all([FakeTool('a', [], fails=1)], 4)
        self.assertEqual((sorted(samples[0]), len(errors)), ([1, 2, 3], 1))


class Meter(unittest.TestCase):
    def test_rates_are_growth_over_time(self):
        values = iter([{'bytes': 1000}, {'bytes': 5000}])
        clock = iter([10.0, 10.2, 12.0, 12.4])  # asked and answered, twice
        with mock.patch.object(capture_meter.time, 'monotonic', lambda: next(clock)), \
                mock.patch.object(capture_meter.time, 'sleep', lambda s: None), \
                mock.patch.object(capture_meter, 'processes_cpu_s', side_effect=[1.0, 2.05]), \
                mock.patch.object(capture_meter, 'machine_busy_s', side_effect=[5.0, 9.2]):
            rates, cpu, busy = capture_meter.watch(lambda: next(values), [1], 2)
        self.assertAlmostEqual(rates['bytes'], 4000 / 2.1)
        self.assertAlmostEqual(cpu, 0.5)
        self.assertAlmostEqual(busy, 2.0)

    def test_waiting_ends(self):
        self.assertRaisesRegex(BenchError, 'never within', capture_meter.wait_until,
                               lambda: False, 'never', 0.0)
        self.assertEqual(capture_meter.size_of('/nonexistent'), 0)


if __name__ == '__main__':
    unittest.main()
