#!/usr/bin/python3
"""Tests of how bench/run dif reads what its programs print, and of what it makes of it."""

import os
import sys
import tempfile
import unittest
from unittest import mock

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.realpath(__file__)) + '/../../..'
sys.path.insert(0, os.path.join(ROOT, 'bench'))
from harness import dif, dif_plot  # noqa: E402
from harness.process import BenchError  # noqa: E402

SPF = """\
fat tree      320 nodes   2048 links   8 neighbours: entry 0.50 us, graph 0.21 ms, \
paths 0.10 ms, alternates 3.20 ms (7 found), routes 0.30 ms, with alternates 3.50 ms
"""
OPENSSL = """\
Forked child 0
+DT:AES-128-GCM:1:1400
+R:1100000:AES-128-GCM:1.000000
+H:1400
+F:25:AES-128-GCM:1540000000.00
"""


def relay(**changes):
    return {'destinations': 1000, 'addresses': 'dense', 'hops': 1, 'inet': False, 'packets': 4096,
            'relay_ns': 6.0, 'random_ns': 3.0, 'access_ns': 4.0, 'table_kib': 16, **changes}


def grown(topology, nodes, messages, **changes):
    return {'topology': topology, 'nodes': nodes, 'links': nodes, 'event': 'start',
            'messages': messages, 'bytes': 10 * messages, 'virtual_s': 0.5, 'wall_s': 0.1,
            'rss_bytes_per_node': 1, 'limit': '', **changes}


def goodput(**changes):
    return {'congestion': 'rate_estimate', 'loss_pct': 0, 'seed': 1, 'all': 0.9, 'steady': 0.99,
            'sent': 10, 'retransmitted': 1, 'spurious': 0, 'timeouts': 0, 'lost': 0, 'no_room': 0,
            'queue_start_up_ms': 40, 'queue_steady_ms': 1, 'queue_steady_ms_max': 10, **changes}


class Samples(unittest.TestCase):
    def test_the_copy_is_the_calibrator_and_no_row(self):
        samples = dif.efcp_samples({'pdu': [{'what': 'copy_64', 'ns': 2.0},
                                            {'what': 'send_reliable', 'ns': 5.0}]})
        self.assertEqual(samples, {('efcp', 'send_reliable'): (5.0, dif.COPY, 2.0, 10)})

    def test_codecs_are_what_ends_in_nanoseconds(self):
        samples = dif.rina_samples({'copy_64_ns': 2.0, 'connect_bytes': 53, 'pci_parse_ns': 4.0,
                                    'control_parse_ns': 6.0})
        self.assertEqual(samples, {('codec', 'pci_parse'): (4.0, dif.COPY, 2.0, None),
                                   ('codec', 'control_parse'): (6.0, dif.COPY, 2.0, 8)})

    def test_what_a_relay_aims_at(self):
        def samples_of(*rows):
            return dif.rmt_samples({'copy_64_ns': 2.0, 'relay': rows, 'schedulers': [],
                                    'protection': []})
        small = samples_of(relay())
        self.assertEqual(small['relay', '1000 dense'][3], 8)
        large = samples_of(relay(destinations=100000))
        self.assertEqual(large['relay', '100000 dense'][3], 6.0)
        rest = samples_of(relay(hops=4), relay(inet=True), relay(packets=65536))
        self.assertEqual({key[1]: value[3] for key, value in rest.items()},
                         {'1000 dense, 4 next hops': None, '1000 dense, checksum': None,
                          '1000 dense, PDUs in no cache': None})

    def test_openssl_speed(self):
        self.assertAlmostEqual(dif.parse_openssl(OPENSSL), 1400 / 1.54)
        for text in ('', OPENSSL.replace('+H', '-H'), OPENSSL.replace('1540000000.00', '0.00')):
            with self.assertRaisesRegex(BenchError, 'openssl speed: no figures'):
                dif.parse_openssl(text)

    def test_routes(self):
        where = 'fat tree, 320 nodes: '
        self.assertEqual({key[1]: round(value[0]) for key, value in dif.spf_samples(SPF).items()},
                         {where + 'graph': 210000, where + 'paths': 100000,
                          where + 'alternates': 3200000, where + 'routes': 300000})
        with self.assertRaisesRegex(BenchError, 'spf: no figures'):
            dif.spf_samples('spf: out of memory\n')

    def test_what_is_no_json(self):
        with self.assertRaisesRegex(BenchError, 'rmt printed no JSON'):
            dif.parse_json('{"relay": [', 'rmt')

    def test_programs_that_are_not_there_or_fail(self):
        with tempfile.TemporaryDirectory() as build:
            with self.assertRaisesRegex(BenchError, 'is missing .ninja'):
                dif.program(build, 'rmt')
            os.mkdir(os.path.join(build, 'bench'))
            path = os.path.join(build, 'bench', 'rmt')
            with open(path, 'w') as file:
                file.write('#!/bin/sh\necho one >&2; echo "no memory" >&2; exit 3\n')
            os.chmod(path, 0o755)
            with self.assertRaisesRegex(BenchError, 'rmt ended with 3: no memory'):
                dif.program(build, 'rmt')


class Rows(unittest.TestCase):
    def test_ratios_are_of_one_run_each(self):
        rounds = [{('efcp', 'x'): (10.0, dif.COPY, 2.0, 8)},
                  {('efcp', 'x'): (30.0, dif.COPY, 3.0, 8)},
                  {('efcp', 'x'): (12.0, dif.COPY, 2.0, 8)}]
        row, = dif.cost_rows(rounds, 2e9)
        self.assertEqual((row['ns'], row['ns_min'], row['ns_max'], row['n']), (12.0, 10.0, 30.0, 3))
        self.assertEqual((row['cycles'], row['calibrator_ns'], row['aim_ns']), (24.0, 2.0, 8))
        self.assertEqual((row['ratio'], row['ratio_min'], row['ratio_max']), (6.0, 5.0, 10.0))

    def test_goodput_over_seeds(self):
        rows = dif.goodput_rows({'goodput': [
            goodput(), goodput(seed=2, all=0.8), goodput(seed=3, all=0.7),
            goodput(congestion='aimd', loss_pct=1)]})
        self.assertEqual((rows[0]['all'], rows[0]['all_min'], rows[0]['all_max'], rows[0]['n']),
                         (0.8, 0.7, 0.9, 3))
        self.assertEqual(rows[0]['aim'], 0.95)
        self.assertNotIn('aim', rows[1])

    def test_growth_is_the_slope_of_logarithms(self):
        rows = [grown('ring', n, 3 * n ** 2) for n in (10, 100, 1000)]
        rows += [grown('ring', 10000, 7, limit='120 s of wall time'), grown('tree', 10, 5)]
        fits = dif.growth_fits(dif.convergence_rows(rows))
        self.assertEqual([(f['topology'], f['value'], f['n'], f['nodes_max']) for f in fits],
                         [('ring', 'messages', 3, 1000), ('ring', 'virtual_s', 3, 1000)])
        self.assertAlmostEqual(fits[0]['exponent'], 2)
        self.assertAlmostEqual(fits[1]['exponent'], 0)

    def test_what_is_no_row_of_convergence(self):
        for data in ({'rows': []}, [1]):
            with self.assertRaisesRegex(BenchError, 'expected a list'):
                dif.convergence_rows(data)
        row = grown('ring', 10, 5)
        del row['virtual_s']
        with self.assertRaisesRegex(BenchError, 'without virtual_s'):
            dif.convergence_rows([row])

    def test_convergence_that_was_not_built(self):
        with tempfile.TemporaryDirectory() as build:
            self.assertEqual(dif.convergence(build, True), [])

    def test_convergence_takes_topologies_in_turns(self):
        asked = []

        def program(build, name, *arguments):
            topology = arguments[arguments.index('--topology') + 1]
            asked.append(topology)
            with open(arguments[arguments.index('--json') + 1], 'w') as file:
                file.write('[%s]' % str(grown(topology, 10, 5)).replace("'", '"'))
        with tempfile.TemporaryDirectory() as build:
            os.mkdir(os.path.join(build, 'bench'))
            open(os.path.join(build, 'bench', 'convergence'), 'w').close()
            with mock.patch.object(dif, 'program', program):
                rows = dif.convergence(build, False)
        self.assertEqual(asked, list(dif.TOPOLOGIES))
        self.assertEqual([row['topology'] for row in rows], asked)


class Figure(unittest.TestCase):
    def setUp(self):
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            self.skipTest('no matplotlib')

    def result(self):
        rows = dif.cost_rows([{('efcp', 'x'): (10.0, dif.COPY, 2.0, 8),
                               ('routes', 'y'): (10.0, None, None, None)}], 2e9)
        grows = [grown('ring', n, n) for n in (10, 100, 1000)]
        return {'rows': rows, 'goodput': dif.goodput_rows({'goodput': [goodput()]}),
                'convergence': grows, 'growth': dif.growth_fits(grows), 'repetitions': 1,
                'machine': {'cpu': 'a CPU', 'dpdk': '1', 'revision': None}}

    def test_with_and_without_convergence(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'dif.svg')
            for wanted in (True, False):
                result = self.result()
                if not wanted:
                    result['convergence'], result['growth'] = [], []
                dif_plot.draw(result, path)
                self.assertGreater(os.path.getsize(path), 1000)


if __name__ == '__main__':
    unittest.main()
