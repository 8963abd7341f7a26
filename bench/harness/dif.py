"""The cores of the normal DIF: what each costs beside a calibrator, and what a flow gets through.

build/bench/cores (google-benchmark) runs several rounds, each with repetitions of all its
benchmarks in random order, calibrators among them: a copy of 64 bytes, look-ups in a hash table of
the same size; `openssl speed` runs between the rounds. Times are CPU time, so that others on the
same core do less harm. A row has the median of the rounds' medians, the least and the most of
them, cycles of the TSC, the coefficient of variation within a round, and the median of the ratios
within the rounds. What is simulated in virtual time (goodput, stall, convergence) or counted in
bytes (memory) are programs of their own: repeating it gives the same.
"""

import json
import math
import os
import re
import subprocess
import tempfile

from . import stats
from .process import BenchError

PARTS = ('cores', 'goodput', 'stall', 'memory', 'convergence')
ROUNDS, QUICK_ROUNDS = 5, 2
REPETITIONS, QUICK_REPETITIONS = 5, 3  # in each round
MIN_TIME_S, QUICK_MIN_TIME_S = 0.02, 0.005
OPENSSL_SIZES = (64, 512, 1400, 9000)
TIMEOUT_S = 3600
COPY = 'copy of 64 B'
RANDOM = 'random hash look-up'
# What the rows should reach; ns, or a multiple of the calibrator.
AIMS_NS = {('efcp', 'DTP send, best effort'): 10, ('efcp', 'DTP send, reliable'): 10,
           ('efcp', 'DTP receive in order, best effort'): 10,
           ('efcp', 'DTP receive in order, flow control'): 10,
           ('efcp', 'DTP receive in order, reliable'): 10, ('codec', 'control PDU, parse'): 8,
           ('relay', '1 dense'): 8, ('relay', '1 sparse'): 8, ('relay', '1000 dense'): 8,
           ('relay', '1000 sparse'): 8}
AIMS_RATIO = {('relay', '100000 dense'): 2, ('relay', '100000 sparse'): 2}
MEMORY_AIM_BYTES = 1024
MEMORY_FLOWS = 60000  # fewer have to carry what is there once
TOPOLOGIES = ('ring', 'tree', 'fat-tree', 'random')
# For one event of one network; larger networks are then left out.
CPU_MAX_S, QUICK_CPU_MAX_S = 300, 20
GOODPUT_AIMS = {0: 0.95, 0.1: 0.90, 1: 0.80, 5: 0.50}


def _run(command, what):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f'{what}: {error}') from None
    if done.returncode != 0:
        last = (done.stderr.strip() or 'no message').splitlines()[-1]
        raise BenchError(f'{what} ended with {done.returncode}: {last}')
    return done.stdout


def program(build, name, *arguments):
    path = os.path.join(build, 'bench', name)
    if not os.path.exists(path):
        hint = ' after scripts/install-deps --bench' if name == 'cores' else ''
        raise BenchError(f'{path} is missing (ninja -C {build} bench/{name}{hint})')
    return _run([path, *arguments], name)


def parse_json(text, what):
    try:
        return json.loads(text)
    except ValueError as error:
        raise BenchError(f'{what} printed no JSON: {error}') from None


# ---- one round: (group, what) -> its figures and its calibrator's -------------------------------

def aggregates(data):
    """Name of each benchmark -> {'ns', 'cycles', 'cv'} from the aggregates of its repetitions."""
    found = {}
    # They come in the order in which they ran, which is random.
    for row in sorted(data.get('benchmarks', []), key=lambda row: row['family_index']):
        name = row['run_name']
        if row.get('error_occurred'):
            raise BenchError(f'cores: {name}: {row.get("error_message", "failed")}')
        figures = found.setdefault(name, {})
        if row.get('aggregate_name') == 'median':
            figures['ns'] = row['seconds'] * 1e9
            figures.update((key, row[key]) for key in ('cycles', 'bytes', 'table_bytes')
                           if key in row)
        elif row.get('aggregate_name') == 'cv':
            figures['cv'] = row['seconds']
    without = sorted(name for name, figures in found.items() if not {'ns', 'cv'} <= set(figures))
    if without or not found:
        of = ''.join(f' of {name}' for name in without[:1])
        raise BenchError(f'cores: no median and variation{of}')
    return found


def calibrator_of(group, what, names):
    """The benchmark that this one is to be compared with; None for calibrators themselves."""
    if what == COPY or what.endswith('/' + RANDOM):
        return None
    # A relay's own table is in front of the slash, a network's in front of the colon.
    beside = re.split('[/:]', what)[0] + '/' + RANDOM
    for candidate in (beside, COPY):
        if f'{group}/{candidate}' in names:
            return f'{group}/{candidate}'
    raise BenchError(f'cores: no calibrator for {group}/{what}')


def core_samples(data):
    found = aggregates(data)
    samples = {}
    for name, figures in found.items():
        group, what = name.split('/', 1)
        calibrator = calibrator_of(group, what, found)
        sample = dict(figures)
        if calibrator is not None:
            sample['calibrator'] = calibrator.rsplit('/', 1)[1]
            if group == 'routes':
                sample['calibrator'] += ' per link and direction'
            sample['calibrator_ns'] = found[calibrator]['ns']
        samples[group, what] = sample
    return samples


def parse_openssl(text):
    """Nanoseconds a block by `openssl speed -mr`: bytes a second behind the last colon."""
    size = re.search(r'^\+H:(\d+)', text, re.MULTILINE)
    rate = re.search(r'^\+F:\d+:[^:]+:([\d.]+)', text, re.MULTILINE)
    if size is None or rate is None or float(rate.group(1)) <= 0:
        raise BenchError('openssl speed: no figures in its output')
    return int(size.group(1)) / float(rate.group(1)) * 1e9


def with_openssl(samples):
    """AES-GCM beside openssl speed, run here and now. It only encrypts, and takes CPU time too."""
    for bytes_ in OPENSSL_SIZES:
        ns = parse_openssl(_run(['openssl', 'speed', '-seconds', '1', '-bytes', str(bytes_), '-mr',
                                 '-evp', 'aes-128-gcm'], 'openssl speed'))
        for way, count in (('seal', 1), ('seal and open', 2)):
            sample = samples['protection', f'aes-128-gcm {way}, {bytes_} B']
            sample['calibrator'] = 'openssl speed' + (', twice' if count == 2 else '')
            sample['calibrator_ns'] = ns * count
    return samples


def one_round(build, is_quick):
    min_time_s = QUICK_MIN_TIME_S if is_quick else MIN_TIME_S
    text = program(build, 'cores', f'--benchmark_min_time={min_time_s}',
                   f'--benchmark_repetitions={QUICK_REPETITIONS if is_quick else REPETITIONS}',
                   '--benchmark_enable_random_interleaving=true', '--benchmark_format=json')
    return with_openssl(core_samples(parse_json(text, 'cores')))


# ---- rows ---------------------------------------------------------------------------------------

def cost_rows(rounds):
    rows = []
    for key, first in rounds[0].items():
        runs = [samples[key] for samples in rounds]
        values = [run['ns'] for run in runs]
        row = {'group': key[0], 'what': key[1], 'ns': stats.median(values), 'ns_min': min(values),
               'ns_max': max(values), 'cv': stats.median([run['cv'] for run in runs]),
               'n': len(values)}
        if 'cycles' in first:
            row['cycles'] = stats.median([run['cycles'] for run in runs])
        row.update((key, first[key]) for key in ('bytes', 'table_bytes') if key in first)
        if 'calibrator' in first:
            row['calibrator'] = first['calibrator']
            row['calibrator_ns'] = stats.median([run['calibrator_ns'] for run in runs])
            ratios = [run['ns'] / run['calibrator_ns'] for run in runs]
            row['ratio'] = stats.median(ratios)
            row['ratio_min'], row['ratio_max'] = min(ratios), max(ratios)
        if key in AIMS_NS:
            row['aim_ns'] = AIMS_NS[key]
        elif key in AIMS_RATIO:
            row['aim_ns'] = AIMS_RATIO[key] * row['calibrator_ns']
        rows.append(row)
    return rows


def grouped(samples, keys, values):
    """Rows with equal `keys`, with median, least and most of each of `values`."""
    groups = {}
    for sample in samples:
        groups.setdefault(tuple(sample[k] for k in keys), []).append(sample)
    rows = []
    for name, members in groups.items():
        row = dict(zip(keys, name))
        row['n'] = len(members)
        for value in values:
            numbers = [m[value] for m in members]
            row[value] = stats.median(numbers)
            row[value + '_min'], row[value + '_max'] = min(numbers), max(numbers)
        rows.append(row)
    return rows


def goodput_rows(data):
    rows = grouped(data['goodput'], ['congestion', 'loss_pct'],
                   ['all', 'steady', 'sent', 'retransmitted', 'spurious', 'lost', 'no_room',
                    'timeouts', 'queue_start_up_ms', 'queue_steady_ms', 'queue_steady_ms_max'])
    for row in rows:
        # AIMD gets what its law gives it (Mathis et al., 1997), far below such a link.
        if row['congestion'] != 'aimd' or row['loss_pct'] == 0:
            row['aim'] = GOODPUT_AIMS.get(row['loss_pct'])
    return rows


def convergence_rows(data):
    """Rows of bench/convergence. Those of events that a limit ended say so, and nothing else."""
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise BenchError('convergence: expected a list of rows')
    wanted = ('topology', 'nodes', 'links', 'event', 'messages', 'bytes', 'virtual_s', 'cpu_s',
              'limit')
    for row in data:
        missing = [key for key in wanted if key not in row]
        if missing:
            raise BenchError(f'convergence: a row without {", ".join(missing)}')
    return data


def growth_fits(rows):
    """Exponents k of value ~ nodes^k, by least squares of the logarithms, for each event."""
    fits = []
    for topology, event in sorted({(r['topology'], r['event']) for r in rows}):
        for value in ('messages', 'virtual_s'):
            if (event, value) == ('idle_60s', 'virtual_s'):
                continue
            points = [(r['nodes'], r[value]) for r in rows
                      if (r['topology'], r['event']) == (topology, event) and not r['limit']
                      and r[value] > 0]
            if len({nodes for nodes, _ in points}) < 3:
                continue
            line = stats.regression([(math.log(nodes), math.log(y)) for nodes, y in points])
            fits.append({'topology': topology, 'event': event, 'value': value,
                         'exponent': line.slope, 'r2': line.r2, 'n': len(points),
                         'nodes_min': min(p[0] for p in points),
                         'nodes_max': max(p[0] for p in points)})
    return fits


def convergence(build, is_quick, nodes_max=None):
    """Each topology on its own: what one has found is there when another one takes too long."""
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for topology in TOPOLOGIES:
            file = os.path.join(directory, topology + '.json')
            program(build, 'convergence', '--json', file, '--topology', topology,
                    '--cpu-max-s', str(QUICK_CPU_MAX_S if is_quick else CPU_MAX_S),
                    *(['--nodes-max', str(nodes_max)] if nodes_max else []),
                    *(['--quick'] if is_quick else []))
            with open(file) as opened:
                rows += convergence_rows(parse_json(opened.read(), 'convergence'))
    return rows


# ---- the table ----------------------------------------------------------------------------------

def amount(ns):
    for unit, size in (('ms', 1e6), ('us', 1e3)):
        if ns >= 10 * size:
            return f'{ns / size:.1f} {unit}'
    return f'{ns:.2f} ns'


def verdict(is_reached):
    return 'reached' if is_reached else 'MISSED'


def print_costs(rows):
    width = max(len(row['what']) for row in rows)
    group = None
    for row in rows:
        if row['group'] != group:
            group = row['group']
            print(f'\n{group:{width}} {"median":>10} {"cv":>5} {"cycles":>6}  to the calibrator '
                  f'[least most]')
        ratio = (f'{row["ratio"]:7.2f} [{row["ratio_min"]:.2f} {row["ratio_max"]:.2f}] x '
                 f'{row["calibrator"]}' if 'ratio' in row else '        calibrator')
        cycles = f'{row["cycles"]:.0f}' if 'cycles' in row else ''
        aim = (f'; aim {amount(row["aim_ns"])}: {verdict(row["ns"] <= row["aim_ns"])}'
               if 'aim_ns' in row else '')
        print(f'{row["what"]:{width}} {amount(row["ns"]):>10} {row["cv"]:5.0%} '
              f'{cycles:>6} {ratio}{aim}')


def print_goodput(rows):
    print('\ngoodput of one reliable flow / what headers leave: median [least most] of the seeds')
    for row in rows:
        aim = f'; aim {row["aim"]}: {verdict(row["all"] >= row["aim"])}' if 'aim' in row else ''
        print(f'{row["congestion"]:14} loss {row["loss_pct"]:4} %  all 10 s {row["all"]:.4f} '
              f'[{row["all_min"]:.4f} {row["all_max"]:.4f}]  after start-up {row["steady"]:.4f} '
              f'[{row["steady_min"]:.4f} {row["steady_max"]:.4f}]  queue '
              f'{row["queue_steady_ms"]:.1f} ms, {row["n"]} seeds{aim}')


def print_stall(rows):
    print('\nSDUs in 10 s at 5 % loss, 1 Gb/s, 1 ms: median [least most] of the seeds')
    for row in rows:
        print(f'{row["sender"]:14} to {row["receiver"]:14} {row["sdus"]:.0f} '
              f'[{row["sdus_min"]} {row["sdus_max"]}], moving for {row["moving_s"]:.1f} s')


def print_memory(rows):
    print('\nbytes of a flow that is idle')
    for row in rows:
        aim = (f'; aim {MEMORY_AIM_BYTES}: {verdict(row["all"] < MEMORY_AIM_BYTES)}'
               if row['flows'] >= MEMORY_FLOWS else '')
        print(f'{row["format"]:8} {row["flows"]:8} flows, {row["names"]:6} names, '
              f'{row["end"]:9} {row["transfer"]:.0f} of the data transfer + '
              f'{row["allocator"]:.0f} of the flow allocator = {row["all"]:.0f}{aim}')


def print_convergence(rows, fits):
    print('\nconvergence, links of 1 ms')
    for row in rows:
        if row['limit']:
            print(f'{row["topology"]:8} {row["nodes"]:6} nodes {row["event"]:9} '
                  f'left out: {row["limit"]}')
            continue
        print(f'{row["topology"]:8} {row["nodes"]:6} nodes {row["links"]:6} links '
              f'{row["event"]:9} {row["messages"]:9} messages '
              f'{row["messages"] / row["nodes"]:8.1f} a node {row["virtual_s"]:9.3f} s virtual '
              f'{row["cpu_s"]:8.2f} s CPU')
    for fit in fits:
        print(f'{fit["topology"]:8} {fit["event"]:9} {fit["value"]:9} ~ nodes^'
              f'{fit["exponent"]:.2f} (R2 {fit["r2"]:.3f}, {fit["nodes_min"]} to '
              f'{fit["nodes_max"]} nodes)')


# ---- all of it ----------------------------------------------------------------------------------

def run_cores(options):
    count = options.pairs or (QUICK_ROUNDS if options.quick else ROUNDS)
    rounds = []
    for i in range(count):
        rounds.append(one_round(options.build, options.quick))
        print(f'round {i + 1} of {count}', flush=True)
    rows = cost_rows(rounds)
    print_costs(rows)
    return {'rounds': count, 'rows': rows}


def run_goodput(options):
    arguments = ['--seeds', str(options.seeds)] if options.seeds else \
        ['--quick'] if options.quick else []
    rows = goodput_rows(parse_json(program(options.build, 'goodput', *arguments), 'goodput'))
    print_goodput(rows)
    return {'goodput': rows}


def run_stall(options):
    rows = grouped(parse_json(program(options.build, 'stall'), 'stall')['stall'],
                   ['sender', 'receiver'], ['sdus', 'moving_s'])
    print_stall(rows)
    return {'stall': rows}


def run_memory(options):
    quick = ['--quick'] if options.quick else []
    rows = parse_json(program(options.build, 'idle_flows', *quick), 'idle_flows')['memory']
    print_memory(rows)
    return {'memory': rows}


def run_convergence(options):
    rows = convergence(options.build, options.quick, options.nodes_max)
    fits = growth_fits(rows)
    print_convergence(rows, fits)
    return {'convergence': rows, 'growth': fits}


def run(workspace, options):
    if options.only and options.only not in PARTS:
        raise BenchError(f'--only {options.only}: dif has the parts {", ".join(PARTS)}')
    parts = {'cores': run_cores, 'goodput': run_goodput, 'stall': run_stall,
             'memory': run_memory, 'convergence': run_convergence}
    wanted = [part for part in PARTS if options.only in (None, part)]
    result = {'parts': wanted, 'rows': [], 'failed': 0}
    for part in wanted:
        result.update(parts[part](options))
    return result
