#!/usr/bin/python3
"""Tests of the benchmarks' statistics, of what they read and write, and of taking turns."""

import os
import sys
import tomllib
import unittest
from unittest import mock

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.realpath(__file__)) + '/../../..'
sys.path.insert(0, os.path.join(ROOT, 'bench'))
from harness import host_to_vm, interleave, process, sluice, stats, testpmd  # noqa: E402
from harness.contest import Pair, Point, Sample, virtio_user  # noqa: E402

PORT_STATS = """
  ######################## NIC statistics for port 0  ########################
  RX-packets: 1234567    RX-missed: 0          RX-bytes:  83950556
  RX-errors: 0
  RX-nombuf:  0
  TX-packets: 7          TX-errors: 0          TX-bytes:  476

  Throughput (since last show)
  Rx-pps:      2469134          Rx-bps:   1343208896
  Tx-pps:            0          Tx-bps:            0
"""


class Quantiles(unittest.TestCase):
    def test_student_t_agrees_with_the_tables(self):
        for degrees, expected in ((1, 12.7062), (2, 4.3027), (5, 2.5706), (9, 2.2622),
                                  (19, 2.0930), (30, 2.0423), (120, 1.9799)):
            self.assertAlmostEqual(stats.student_t_quantile(0.975, degrees), expected, places=4)
        self.assertAlmostEqual(stats.student_t_quantile(0.99, 10), 2.7638, places=4)

    def test_it_is_symmetric(self):
        self.assertAlmostEqual(stats.student_t_quantile(0.5, 7), 0.0, places=6)
        self.assertAlmostEqual(stats.student_t_quantile(0.025, 7),
                               -stats.student_t_quantile(0.975, 7), places=9)

    def test_what_cannot_be_is_refused(self):
        self.assertRaises(ValueError, stats.student_t_quantile, 0.975, 0)
        self.assertRaises(ValueError, stats.student_t_quantile, 1.0, 5)

    def test_incomplete_beta_at_known_points(self):
        self.assertEqual(stats.incomplete_beta(2, 3, 0.0), 0.0)
        self.assertEqual(stats.incomplete_beta(2, 3, 1.0), 1.0)
        self.assertAlmostEqual(stats.incomplete_beta(1, 1, 0.3), 0.3, places=12)
        self.assertAlmostEqual(stats.incomplete_beta(2, 3, 0.4), 0.5248, places=10)


class Intervals(unittest.TestCase):
    def test_half_width_of_the_mean(self):
        # Deviation sqrt(2.5), five values, t(0.975, 4) = 2.7764.
        self.assertAlmostEqual(stats.half_width([1, 2, 3, 4, 5]), 1.9632, places=4)
        self.assertEqual(stats.half_width([3, 3, 3]), 0.0)
        self.assertIsNone(stats.half_width([3]))

    def test_median(self):
        self.assertEqual(stats.median([3, 1, 2]), 2)
        self.assertEqual(stats.median([4, 1, 2, 3]), 2.5)

    def test_median_interval_by_ranks(self):
        self.assertIsNone(stats.median_interval([1, 2, 3, 4, 5]))
        self.assertEqual(stats.median_interval([6, 5, 4, 3, 2, 1]), (1, 6))
        self.assertEqual(stats.median_interval(list(range(1, 21))), (6, 15))
        self.assertEqual(stats.median_interval([*range(1, 20), 1e9]), (6, 15))


class Regression(unittest.TestCase):
    def test_a_line_is_found_again(self):
        line = stats.regression([(x, 3.0 + 0.5 * x) for x in (0, 1, 5, 9)])
        self.assertAlmostEqual(line.slope, 0.5)
        self.assertAlmostEqual(line.intercept, 3.0)
        self.assertAlmostEqual(line.r2, 1.0)
        self.assertAlmostEqual(line.at(4), 5.0)

    def test_least_squares(self):
        line = stats.regression([(1, 1), (2, 3), (3, 2)])
        self.assertAlmostEqual(line.slope, 0.5)
        self.assertAlmostEqual(line.intercept, 1.0)
        self.assertAlmostEqual(line.r2, 0.25)

    def test_no_line_through_one_size(self):
        self.assertIsNone(stats.regression([(64, 1.0), (64, 2.0)]))
        self.assertIsNone(stats.regression([]))


class Testpmd(unittest.TestCase):
    def test_statistics_are_read(self):
        self.assertEqual(testpmd.parse_stats(PORT_STATS),
                         {'rx_packets': 1234567, 'rx_bytes': 83950556, 'rx_pps': 2469134.0})
        self.assertRaises(process.BenchError, testpmd.parse_stats, 'Bad arguments')

    def test_frames_are_cut_into_mbufs(self):
        self.assertEqual(testpmd.segments(68, 2048), [68])
        self.assertEqual(testpmd.segments(4096, 2048), [2048, 2048])
        self.assertEqual(testpmd.segments(4100, 2048), [2048, 2048, 4])
        self.assertRaises(process.BenchError, testpmd.segments, 65004, 128)

    def test_one_mbuf_holds_the_frame(self):
        for size in host_to_vm.SIZES:
            self.assertGreaterEqual(host_to_vm.mbuf_data(size), size + 4)
            self.assertLessEqual(host_to_vm.mbuf_data(size), 65400)


class Sluice(unittest.TestCase):
    def test_the_configuration_is_toml(self):
        text = sluice.config_text('tag', '/tmp/dir', virtio_user('packed', '/tmp/s'), 'adaptive',
                                  Point(65000, 'packed', 65024), port_lcore=1, tgen_lcore=2)
        config = tomllib.loads(text)
        self.assertEqual(config['runtime'], {'socket': '/tmp/dir/tag.control', 'idle': 'adaptive'})
        self.assertEqual(config['mempool']['data_size'], 65024)
        self.assertIn('packed_vq=1,in_order=1', config['port'][0]['device'])
        self.assertEqual(config['port'][0]['lcore'], 1)
        self.assertEqual(config['port'][0]['vmpi']['credit_unit'], 65536)
        self.assertEqual(config['tgen']['lcore'], 2)
        self.assertEqual(config['app'][0]['dif'], config['port'][0]['name'])


class FakePair(Pair):
    """Rates from a list; writes down who was asked when."""

    def __init__(self, name, rates, diary):
        self.name, self.rates, self.diary = name, list(rates), diary

    def pids(self):
        return [os.getpid()]

    def measure(self, direction, warm_s, window_s):
        self.diary.append(self.name)
        pps = self.rates.pop(0)
        return Sample(pps, 2e9 / pps, 1e9 / pps,
                      {'stages': {'hv': 10.0}, 'lost': 0, 'reported': True})

    def close(self):
        pass


class Turns(unittest.TestCase):
    def setUp(self):
        self.diary = []
        rates_a, rates_b = [2e6, 4e6, 6e6], [1e6, 2e6, 2e6]
        with mock.patch.object(interleave, 'resting_cpu', side_effect=[0, .1, 0, .3, 0, .2] * 2):
            self.samples, self.resting = interleave.take_turns(
                FakePair('a', rates_a, self.diary), FakePair('b', rates_b, self.diary),
                'host-to-guest', 3, 0.1)

    def test_who_goes_first_changes(self):
        self.assertEqual(self.diary, ['a', 'b', 'b', 'a', 'a', 'b'])
        self.assertEqual(self.resting, .3)

    def test_ratios_are_those_of_neighbours(self):
        self.assertEqual([(a.pps, b.pps) for a, b in self.samples],
                         [(2e6, 1e6), (4e6, 2e6), (6e6, 2e6)])
        figures = interleave.compare(self.samples, 1000)
        self.assertEqual(figures['ratio'], 2.0)
        self.assertEqual(figures['ratio_best'], 3.0)
        self.assertIsNone(figures['ratio_ci95'])
        self.assertAlmostEqual(figures['first']['mpps'], 4.0)
        self.assertAlmostEqual(figures['first']['gbps'], 32.0)
        self.assertAlmostEqual(figures['first']['ci95'], 4.9683, places=4)

    def test_a_row_and_its_line(self):
        rows = [host_to_vm.row_of(Point(size, 'split', 2048), 'host-to-guest', self.samples, 0.3)
                for size in (500, 1000, 8192)]
        row = rows[0]
        self.assertEqual(row['host_cycles_per_sdu'], 250.0)
        self.assertEqual(row['host_core_cycles_per_sdu'], 500.0)
        self.assertEqual(row['host_cycles_testpmd'], 1000.0)
        self.assertEqual(row['stages'], {'hv': 10.0})
        self.assertEqual((row['lost'], row['runs_without_report']), (0, 0))
        ours, theirs = host_to_vm.lines_of(rows)
        self.assertEqual((ours['who'], theirs['who']), ('sluice', 'testpmd'))
        # Goodput at 4 Mpps: 32 bits a byte and microsecond; sizes above the figure's do not count.
        self.assertAlmostEqual(ours['gbps_per_byte'], 0.032)
        self.assertAlmostEqual(ours['gbps_at_0'], 0.0)


if __name__ == '__main__':
    unittest.main()
