"""What a host and a guest cost while nothing flows, and what waking them up costs."""

import os
import time

from . import process
from .contest import DIRECTIONS, Point
from .sluice import SluicePair

WATCH_S = 5.0
SETTLE_S = 1.0
RATE = '100pps'
RUN_S = 5
POINT = Point(64, 'packed', 2048)
TICK_S = 1 / os.sysconf('SC_CLK_TCK')


def cpu_percent(pair):
    """Of one core, each process, and its busiest threads."""
    pids = dict(zip(('host', 'guest'), pair.pids()))
    before = {side: process.cpu_seconds(pid) for side, pid in pids.items()}
    begin = time.monotonic()
    time.sleep(WATCH_S)
    result = {}
    for side, pid in pids.items():
        after = process.cpu_seconds(pid)
        elapsed = time.monotonic() - begin
        used = {f'{name} ({tid})': 100 * (seconds - before[side].get(tid, (name, 0.0))[1]) / elapsed
                for tid, (name, seconds) in after.items()}
        result[side] = {'percent': sum(used.values()),
                        'threads': {name: p for name, p in used.items() if p > 0}}
    return result


def latency(pair, direction):
    sender, run, _, _ = pair.start_run(direction,
                                       f'size {POINT.size} rate {RATE} duration {RUN_S}s')
    time.sleep(RUN_S)
    report = pair.finished(sender, run)['report']
    if report is None or report['latency_ns'] is None:
        sender.child.fail(f'run {run} has no latency in its report')
    return {'sdus': report['sdus'], 'lost': report['lost'], **report['latency_ns']}


def run(workspace, options):
    rows = []
    for mode in ('busy', 'adaptive'):
        pair = SluicePair(workspace, POINT, f'idle-{mode}', options.build, idle=mode)
        try:
            time.sleep(SETTLE_S)
            row = {'idle': mode, 'cpu': cpu_percent(pair), 'latency_ns': {}}
            for direction in DIRECTIONS:
                row['latency_ns'][direction] = latency(pair, direction)
        finally:
            pair.close()
            workspace.drop_files()
        rows.append(row)
        lat = row['latency_ns']
        print(f'{mode:8} CPU host {row["cpu"]["host"]["percent"]:.1f} %, guest '
              f'{row["cpu"]["guest"]["percent"]:.1f} %; ' + '; '.join(
                  f'{d}: p50 {lat[d]["p50"] / 1e3:.1f} us, p99 {lat[d]["p99"] / 1e3:.1f} us'
                  for d in DIRECTIONS), flush=True)
    busy, adaptive = (row['latency_ns'] for row in rows)
    added = {d: {k: adaptive[d][k] - busy[d][k] for k in ('p50', 'p99', 'mean')}
             for d in DIRECTIONS}
    return {'watch_s': WATCH_S, 'cpu_resolution_percent': 100 * TICK_S / WATCH_S, 'rate': RATE,
            'rows': rows, 'added_by_sleeping_ns': added}
