#!/usr/bin/python3
"""Tests of how bench/run dif reads what its programs print, and of what it makes of it."""

import contextlib
import io
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

OPENSSL = """\
Forked child 0
+DT:AES-128-GCM:1:1400
+R:1100000:AES-128-GCM:1.000000
+H:1400
+F:25:AES-128-GCM:1540000000.00
"""


def benchmark(name, ns, family=0, cv=0.1, **counters):
    """What google-benchmark prints of one: its repetitions, then their aggregates."""
    row = {'run_name': name, 'family_index': family, 'run_type': 'iteration', 'real_time': 1e9,
           'cpu_time': 1e9, 'time_unit': 'ns', 'seconds': 2 * ns / 1e9, 'cycles': 99, **counters}
    median = {**row, 'run_type': 'aggregate', 'aggregate_name': 'median', 'seconds': ns / 1e9,
              'cycles': 2.6 * ns}
    return [row, row, median, {**median, 'aggregate_name': 'mean', 'seconds': 3 * ns / 1e9},
            {**median, 'aggregate_name': 'cv', 'seconds': cv, 'cycles': cv}]


def printed(*benchmarks):
    return {'context': {}, 'benchmarks': [row for rows in benchmarks for row in rows]}


def sample(ns, calibrator_ns=None, cv=0.1):
    found = {'ns': ns, 'cycles': 2 * ns, 'cv': cv}
    if calibrator_ns is not None:
        found.update(calibrator=dif.COPY, calibrator_ns=calibrator_ns)
    return found


def grown(topology, nodes, messages, **changes):
    return {'topology': topology, 'nodes': nodes, 'links': nodes, 'event': 'start',
            'messages': messages, 'bytes': 10 * messages, 'virtual_s': 0.5, 'cpu_s': 0.1,
            'rss_bytes_per_node': 1, 'limit': '', **changes}


def goodput(**changes):
    return {'congestion': 'rate_estimate', 'loss_pct': 0, 'seed': 1, 'all': 0.9, 'steady': 0.99,
            'sent': 10, 'retransmitted': 1, 'spurious': 0, 'timeouts': 0, 'lost': 0, 'no_room': 0,
            'queue_start_up_ms': 40, 'queue_steady_ms': 1, 'queue_steady_ms_max': 10, **changes}


def memory(**changes):
    return {'format': 'wide', 'names': 'shared', 'flows': 60000, 'end': 'responder',
            'transfer': 800, 'allocator': 100, 'all': 900, **changes}


class Samples(unittest.TestCase):
    def test_figures_are_medians_of_the_repetitions(self):
        found = dif.aggregates(printed(benchmark('efcp/x', 5.0, cv=0.03, bytes=53)))
        self.assertEqual(found, {'efcp/x': {'ns': 5.0, 'cycles': 13.0, 'cv': 0.03, 'bytes': 53}})

    def test_rows_come_as_registered_whatever_ran_first(self):
        found = dif.aggregates(printed(benchmark('efcp/b', 1, 2), benchmark('efcp/a', 1, 1)))
        self.assertEqual(list(found), ['efcp/a', 'efcp/b'])

    def test_what_has_no_cycles(self):
        rows = benchmark('routes/x', 5.0)
        for row in rows:
            row.pop('cycles', None)
        self.assertNotIn('cycles', dif.aggregates(printed(rows))['routes/x'])
        row, = dif.cost_rows([{('routes', 'x'): {'ns': 5.0, 'cv': 0.1}}])
        with contextlib.redirect_stdout(io.StringIO()):
            dif.print_costs([row])
        self.assertNotIn('cycles', row)

    def test_a_benchmark_that_failed(self):
        rows = benchmark('efcp/x', 5.0)
        rows[0].update(error_occurred=True, error_message='a PDU was lost')
        with self.assertRaisesRegex(BenchError, 'cores: efcp/x: a PDU was lost'):
            dif.aggregates(printed(rows))
        with self.assertRaisesRegex(BenchError, 'no median and variation of efcp/x'):
            dif.aggregates(printed(benchmark('efcp/x', 5.0)[:2]))
        with self.assertRaisesRegex(BenchError, 'no median and variation'):
            dif.aggregates({'benchmarks': []})

    def test_the_copy_is_what_to_compare_with(self):
        samples = dif.core_samples(printed(benchmark('efcp/' + dif.COPY, 2.0),
                                           benchmark('codec/' + dif.COPY, 3.0),
                                           benchmark('efcp/x', 5.0)))
        self.assertNotIn('calibrator', samples['efcp', dif.COPY])
        self.assertEqual((samples['efcp', 'x']['calibrator'],
                          samples['efcp', 'x']['calibrator_ns']), (dif.COPY, 2.0))

    def test_a_table_is_compared_with_one_of_its_size(self):
        lookup = '/' + dif.RANDOM
        samples = dif.core_samples(printed(
            benchmark('relay/' + dif.COPY, 2.0), benchmark('relay/1 dense', 6.0),
            benchmark('relay/1 dense' + lookup, 3.0), benchmark('relay/9 dense', 7.0),
            benchmark('relay/9 dense' + lookup, 4.0), benchmark('relay/9 dense/one access', 5.0),
            benchmark('routes/ring of 9' + lookup, 8.0), benchmark('routes/ring of 9: graph', 9.0)))
        self.assertEqual({key[1]: value.get('calibrator_ns') for key, value in samples.items()},
                         {dif.COPY: None, '1 dense': 3.0, '1 dense' + lookup: None,
                          '9 dense': 4.0, '9 dense' + lookup: None, '9 dense/one access': 4.0,
                          'ring of 9' + lookup: None, 'ring of 9: graph': 8.0})
        with self.assertRaisesRegex(BenchError, 'no calibrator for relay/1 dense'):
            dif.core_samples(printed(benchmark('relay/1 dense', 6.0)))

    def test_encryption_is_compared_with_openssl(self):
        samples = {('protection', f'aes-128-gcm {way}, {size} B'): sample(3000.0, 2.0)
                   for way in ('seal', 'seal and open') for size in dif.OPENSSL_SIZES}
        with mock.patch.object(dif, '_run', lambda command, what: OPENSSL):
            dif.with_openssl(samples)
        once = 1400 / 1.54
        self.assertAlmostEqual(
            samples['protection', 'aes-128-gcm seal, 64 B']['calibrator_ns'], once)
        self.assertAlmostEqual(
            samples['protection', 'aes-128-gcm seal and open, 64 B']['calibrator_ns'], 2 * once)

    def test_openssl_speed(self):
        self.assertAlmostEqual(dif.parse_openssl(OPENSSL), 1400 / 1.54)
        for text in ('', OPENSSL.replace('+H', '-H'), OPENSSL.replace('1540000000.00', '0.00')):
            with self.assertRaisesRegex(BenchError, 'openssl speed: no figures'):
                dif.parse_openssl(text)

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
    def test_ratios_are_of_one_round_each(self):
        key = ('codec', 'control PDU, parse')
        row, = dif.cost_rows([{key: sample(10.0, 2.0, 0.1)}, {key: sample(30.0, 3.0, 0.3)},
                              {key: sample(12.0, 2.0, 0.2)}])
        self.assertEqual((row['ns'], row['ns_min'], row['ns_max'], row['n']), (12.0, 10.0, 30.0, 3))
        self.assertEqual((row['cycles'], row['cv'], row['calibrator_ns'], row['aim_ns']),
                         (24.0, 0.2, 2.0, 8))
        self.assertEqual((row['ratio'], row['ratio_min'], row['ratio_max']), (6.0, 5.0, 10.0))

    def test_what_a_relay_aims_at(self):
        rows = dif.cost_rows([{('relay', '1000 dense'): sample(6.0, 3.0),
                               ('relay', '100000 dense'): sample(6.0, 3.0),
                               ('relay', '100000 dense, PDUs in no cache'): sample(6.0, 3.0)}])
        self.assertEqual([row.get('aim_ns') for row in rows], [8, 6.0, None])

    def test_every_aim_has_its_benchmark(self):
        source = ''
        directory = os.path.join(ROOT, 'bench', 'micro')
        for name in os.listdir(directory):
            with open(os.path.join(directory, name)) as file:
                source += file.read()
        for group, what in dif.AIMS_NS:
            if group != 'relay':
                self.assertIn(f'"{group}/{what}"', source)

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

    def test_convergence_takes_topologies_in_turns(self):
        asked = []

        def program(build, name, *arguments):
            topology = arguments[arguments.index('--topology') + 1]
            asked.append(topology)
            self.assertEqual(arguments[arguments.index('--nodes-max') + 1], '300')
            with open(arguments[arguments.index('--json') + 1], 'w') as file:
                file.write('[%s]' % str(grown(topology, 10, 5)).replace("'", '"'))
        with mock.patch.object(dif, 'program', program):
            rows = dif.convergence('build', False, 300)
        self.assertEqual(asked, list(dif.TOPOLOGIES))
        self.assertEqual([row['topology'] for row in rows], asked)


class Figure(unittest.TestCase):
    def setUp(self):
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            self.skipTest('no matplotlib')

    def result(self):
        rows = dif.cost_rows([{('efcp', 'x'): sample(10.0, 2.0), ('routes', 'y'): sample(10.0)}])
        grows = [grown('ring', n, n) for n in (10, 100, 1000)]
        return {'rows': rows, 'goodput': dif.goodput_rows({'goodput': [goodput()]}),
                'convergence': grows, 'growth': dif.growth_fits(grows), 'rounds': 1,
                'parts': list(dif.PARTS),
                'machine': {'cpu': 'a CPU', 'dpdk': '1', 'revision': None}}

    def test_all_parts_as_svg(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'dif.svg')
            dif_plot.draw(self.result(), path)
            with open(path) as file:
                text = file.read()
            self.assertIn('<svg', text)

    def test_one_part_as_png(self):
        result = {**self.result(), 'rows': [], 'convergence': []}
        del result['rounds']
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'dif.png')
            dif_plot.draw(result, path)
            with open(path, 'rb') as file:
                self.assertEqual(file.read(4), b'\x89PNG')
            result['goodput'] = []
            with self.assertRaisesRegex(BenchError, 'has no figure'):
                dif_plot.draw(result, path)


class Parts(unittest.TestCase):
    def test_only_one(self):
        options = mock.Mock(only='goodput', seeds=4, quick=False, build='build')
        asked = []

        def program(build, name, *arguments):
            asked.append((name, *arguments))
            return str({'goodput': [goodput()]}).replace("'", '"')
        with mock.patch.object(dif, 'program', program), contextlib.redirect_stdout(io.StringIO()):
            result = dif.run(None, options)
        self.assertEqual(asked, [('goodput', '--seeds', '4')])
        self.assertEqual((result['parts'], result['rows'], len(result['goodput'])),
                         (['goodput'], [], 1))
        options.only = 'cpu'
        with self.assertRaisesRegex(BenchError, 'the parts cores, goodput'):
            dif.run(None, options)

    def test_the_table_says_what_was_missed(self):
        rows = dif.cost_rows([{('relay', '1 dense'): sample(9.0, 3.0),
                               ('relay', '1 sparse'): sample(7.0, 3.0)}])
        rates = dif.goodput_rows({'goodput': [goodput(all=0.94), goodput(loss_pct=5)]})
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            dif.print_costs(rows)
            dif.print_goodput(rates)
            dif.print_memory([memory(names='own', all=1100), memory(),
                              memory(flows=600, all=1100)])
            dif.print_convergence([grown('ring', 10, 5), grown('ring', 30, 0, limit='no time')],
                                  [])
        text = [line for line in out.getvalue().splitlines() if line]
        self.assertEqual([line.endswith('MISSED') for line in text[1:3]], [True, False])
        self.assertEqual([line.endswith('MISSED') for line in text[4:6]], [True, False])
        self.assertEqual([line.endswith('MISSED') for line in text[7:10]],
                         [True, False, False])
        self.assertIn('left out: no time', text[-1])


if __name__ == '__main__':
    unittest.main()
