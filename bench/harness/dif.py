"""The cores of the normal DIF: what each costs beside a calibrator, and what a flow gets through.

Programs of build/bench run several times in turns, each with its calibrator in the same process: a
copy of 64 bytes, look-ups in a hash table of the same size, `openssl speed`. A row has the median
of the runs, the least and the most, TSC cycles, and the median of the ratios within the runs.
"""

import json
import math
import os
import re
import subprocess
import tempfile

from . import stats
from .process import BenchError

REPETITIONS, QUICK_REPETITIONS = 7, 3
OPENSSL_SIZES = (64, 512, 1400, 9000)
TIMEOUT_S = 1800
# What the rows should reach; ns, or the ratio to the calibrator.
AIMS_NS = {'send_best_effort': 10, 'send_reliable': 10, 'receive_flow_control': 10,
           'receive_best_effort': 10, 'receive_reliable': 10, 'control_parse': 8}
TOPOLOGIES = ('ring', 'tree', 'fat-tree', 'random')
# For one event; then larger ones are left out.
WALL_MAX_S, QUICK_WALL_MAX_S = 120, 20
GOODPUT_AIMS = {0: 0.95, 0.1: 0.90, 1: 0.80, 5: 0.50}
COPY = 'copy of 64 B'


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
        raise BenchError(f'{path} is missing (ninja -C {build} bench/{name})')
    return _run([path, *arguments], name)


def parse_json(text, what):
    try:
        return json.loads(text)
    except ValueError as error:
        raise BenchError(f'{what} printed no JSON: {error}') from None


# ---- one run of each program: (group, what) -> (ns, calibrator, its ns, aim) --------------------

def efcp_samples(data):
    figures = {row['what']: row['ns'] for row in data['pdu']}
    copy = figures.pop('copy_64')
    return {('efcp', what): (ns, COPY, copy, AIMS_NS.get(what)) for what, ns in figures.items()}


def rina_samples(data):
    copy = data['copy_64_ns']
    return {('codec', key[:-3]): (ns, COPY, copy, AIMS_NS.get(key[:-3]))
            for key, ns in data.items()
            if key.endswith('_ns') and key != 'copy_64_ns'}


def relay_label(row):
    parts = [f'{row["destinations"]} {row["addresses"]}']
    if row['hops'] > 1:
        parts.append(f'{row["hops"]} next hops')
    if row['inet']:
        parts.append('checksum')
    if row['packets'] > 4096:
        parts.append('PDUs in no cache')
    return ', '.join(parts)


def rmt_samples(data):
    samples = {}
    copy = data['copy_64_ns']
    for row in data['relay']:
        is_plain = row['hops'] == 1 and not row['inet'] and row['packets'] == 4096
        aim = None
        if is_plain:
            aim = 8 if row['destinations'] <= 1000 else 2 * row['random_ns']
        samples['relay', relay_label(row)] = (row['relay_ns'], 'random look-up in a hash table',
                                              row['random_ns'], aim)
        if is_plain and row['destinations'] > 1:
            samples['relay', f'one access to {row["table_kib"]} KiB'] = (
                row['access_ns'], 'random look-up in a hash table', row['random_ns'], None)
    for row in data['schedulers']:
        samples['scheduler', row['scheduler']] = (row['in_and_out_ns'], COPY, copy, None)
    for row in data['protection']:
        for way in ('seal', 'open'):
            samples['protection', f'{row["protection"]} {way}, {row["bytes"]} B'] = (
                row[f'{way}_ns'], COPY, copy, None)
    return samples


def parse_openssl(text):
    """Nanoseconds a block by `openssl speed -mr`: bytes a second behind the last colon."""
    size = re.search(r'^\+H:(\d+)', text, re.MULTILINE)
    rate = re.search(r'^\+F:\d+:[^:]+:([\d.]+)', text, re.MULTILINE)
    if size is None or rate is None or float(rate.group(1)) <= 0:
        raise BenchError('openssl speed: no figures in its output')
    return int(size.group(1)) / float(rate.group(1)) * 1e9


def with_openssl(samples):
    """AES-GCM beside openssl speed, run here and now."""
    for bytes_ in OPENSSL_SIZES:
        ns = parse_openssl(_run(['openssl', 'speed', '-seconds', '1', '-bytes', str(bytes_), '-mr',
                                 '-evp', 'aes-128-gcm'], 'openssl speed'))
        for way in ('seal', 'open'):
            key = ('protection', f'aes-128-gcm {way}, {bytes_} B')
            samples[key] = (samples[key][0], 'openssl speed', ns, None)
    return samples


SPF_LINE = re.compile(
    r'^(?P<topology>\S.*?)\s+(?P<nodes>\d+) nodes\s+(?P<links>\d+) links.*?'
    r'graph (?P<graph>[\d.]+) ms, paths (?P<paths>[\d.]+) ms, alternates (?P<alternates>[\d.]+) ms'
    r'.*?routes (?P<routes>[\d.]+) ms, with alternates (?P<all>[\d.]+) ms', re.MULTILINE)


def spf_samples(text):
    samples = {}
    for match in SPF_LINE.finditer(text):
        where = f'{match["topology"]}, {match["nodes"]} nodes'
        for what in ('graph', 'paths', 'alternates', 'routes'):
            samples['routes', f'{where}: {what}'] = (float(match[what]) * 1e6, None, None, None)
    if not samples:
        raise BenchError('spf: no figures in its output')
    return samples


def one_round(build):
    samples = {}
    samples.update(efcp_samples(parse_json(program(build, 'efcp'), 'efcp')))
    samples.update(rina_samples(parse_json(program(build, 'rina'), 'rina')))
    samples.update(with_openssl(rmt_samples(parse_json(program(build, 'rmt'), 'rmt'))))
    samples.update(spf_samples(program(build, 'spf')))
    return samples


# ---- rows ---------------------------------------------------------------------------------------

def cost_rows(rounds, tsc_hz):
    rows = []
    for key in rounds[0]:
        # A table's size in KiB is part of a label and the same in each run.
        runs = [samples[key] for samples in rounds if key in samples]
        values = [run[0] for run in runs]
        row = {'group': key[0], 'what': key[1], 'ns': stats.median(values), 'ns_min': min(values),
               'ns_max': max(values), 'cycles': stats.median(values) * tsc_hz / 1e9,
               'n': len(values), 'calibrator': runs[0][1]}
        if runs[0][2]:
            row['calibrator_ns'] = stats.median([run[2] for run in runs])
            ratios = [run[0] / run[2] for run in runs]
            row['ratio'] = stats.median(ratios)
            row['ratio_min'], row['ratio_max'] = min(ratios), max(ratios)
        if runs[0][3] is not None:
            row['aim_ns'] = stats.median([run[3] for run in runs])
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
    wanted = ('topology', 'nodes', 'links', 'event', 'messages', 'bytes', 'virtual_s', 'wall_s',
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


def convergence(build, is_quick):
    """Each topology on its own: what one has found is there when another one takes too long."""
    if not os.path.exists(os.path.join(build, 'bench', 'convergence')):
        return []
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for topology in TOPOLOGIES:
            file = os.path.join(directory, topology + '.json')
            program(build, 'convergence', '--json', file, '--topology', topology,
                    '--wall-max-s', str(QUICK_WALL_MAX_S if is_quick else WALL_MAX_S),
                    *(['--quick'] if is_quick else []))
            with open(file) as opened:
                rows += convergence_rows(parse_json(opened.read(), 'convergence'))
    return rows


def _print_cost(row):
    ratio = f'{row["ratio"]:7.2f} x {row["calibrator"]}' if 'ratio' in row else ''
    aim = f'  (aim {row["aim_ns"]:.1f} ns)' if 'aim_ns' in row else ''
    print(f'{row["group"]:10} {row["what"]:42} {row["ns"]:12.2f} ns '
          f'[{row["ns_min"]:.2f} {row["ns_max"]:.2f}] {row["cycles"]:10.0f} cycles {ratio}{aim}')


def run(workspace, options):
    from .machine import tsc_hz
    count = options.pairs or (QUICK_REPETITIONS if options.quick else REPETITIONS)
    rounds = []
    for i in range(count):
        rounds.append(one_round(options.build))
        print(f'round {i + 1} of {count}', flush=True)
    rows = cost_rows(rounds, tsc_hz())
    for row in rows:
        _print_cost(row)
    quick = ['--quick'] if options.quick else []
    goodput = goodput_rows(parse_json(program(options.build, 'goodput', *quick), 'goodput'))
    for row in goodput:
        print(f'goodput    {row["congestion"]:14} loss {row["loss_pct"]:4} %  after start-up '
              f'{row["steady"]:.4f} [{row["steady_min"]:.4f} {row["steady_max"]:.4f}]  with it '
              f'{row["all"]:.4f} [{row["all_min"]:.4f} {row["all_max"]:.4f}]  queue '
              f'{row["queue_steady_ms"]:.1f} ms')
    stall = grouped(parse_json(program(options.build, 'stall'), 'stall')['stall'],
                    ['sender', 'receiver'], ['sdus', 'moving_s'])
    for row in stall:
        print(f'5 % loss   {row["sender"]:14} to {row["receiver"]:14} {row["sdus"]:.0f} SDUs '
              f'[{row["sdus_min"]} {row["sdus_max"]}] in 10 s')
    memory = parse_json(program(options.build, 'idle_flows', *quick), 'idle_flows')['memory']
    for row in memory:
        print(f'memory     {row["format"]:8} {row["flows"]:8} flows, {row["names"]} names, '
              f'{row["end"]:9} {row["transfer"]:.0f} bytes of data transfer, '
              f'{row["allocator"]:.0f} of the flow allocator: {row["all"]:.0f} each')
    grown = convergence(options.build, options.quick)
    fits = growth_fits(grown)
    for row in grown:
        print(f'converge   {row["topology"]:8} {row["nodes"]:6} nodes {row["event"]:9} '
              f'{row["messages"]:9} messages {row["virtual_s"]:9.3f} s '
              f'{"stopped: " + row["limit"] if row["limit"] else ""}')
    for fit in fits:
        print(f'growth     {fit["topology"]:8} {fit["event"]:9} {fit["value"]:9} ~ nodes^'
              f'{fit["exponent"]:.2f} (R2 {fit["r2"]:.3f}, {fit["nodes_min"]} to '
              f'{fit["nodes_max"]} nodes)')
    return {'repetitions': count, 'rows': rows, 'goodput': goodput, 'stall': stall,
            'memory': memory, 'convergence': grown, 'growth': fits, 'failed': 0}
