"""Goodput by SDU size between host and guest: Figure 4a of "Reducing the complexity of Virtual
Machine networking" (Vrijders et al.), beside testpmd over the same rings."""

import sys
import time

from . import interleave, stats
from .contest import CHAINED_MBUF, DIRECTIONS, HEADER_BYTES, RINGS, Point
from .process import BenchError
from .sluice import SluicePair
from .testpmd import TestpmdPair

SIZES = [64, *range(250, 4001, 250), 8192, 16384, 65000]
QUICK_SIZES = [64, 1500, 4000, 65000]
LINE_SIZE_MAX = 4000  # the figure's range, and that of the regression line
PAIRS, QUICK_PAIRS = 20, 6
WINDOW_S = 0.4
QUICK_WINDOW_S = 0.5
METHOD = {
    'sluice': 'tgen sends SDUs as fast as credits let it; SDUs received by the server of the other '
              'side in a window; a credit is worth one mbuf',
    'testpmd': 'txonly against rxonly, frames as long as ours (SDU + 4); the receiver\'s Rx-pps '
               'over a window',
    'gbps': 'SDU bytes * 8 * rate, for both',
    'ratio': 'median of the ratios of neighbouring windows; interval from order statistics',
    'host_cycles_per_sdu': 'cycles of the host\'s worker that found work, per SDU received',
    'host_core_cycles_per_sdu': 'TSC rate / SDUs received a second: all of the host\'s core',
    'host_cycles_testpmd': 'TSC rate / frames received a second: its core polls without rest, and '
                           'Debian\'s build does not record core cycles',
}


def mbuf_data(size):
    """One mbuf holds the frame, for both: testpmd is slower with chains of 2 KB mbufs."""
    frame = size + HEADER_BYTES
    return CHAINED_MBUF if frame <= CHAINED_MBUF else (frame + 63) // 64 * 64


def row_of(point, direction, samples, resting):
    figures = interleave.compare(samples, point.size)
    ours, theirs = [s[0] for s in samples], [s[1] for s in samples]
    lost = [s.extra['lost'] for s in ours if s.extra.get('lost') is not None]
    return {'size': point.size, 'ring': point.ring, 'direction': direction,
            'mbuf_data': point.mbuf_data,
            'sluice': figures['first'], 'testpmd': figures['second'],
            'ratio': figures['ratio'], 'ratio_ci95': figures['ratio_ci95'],
            'ratio_best': figures['ratio_best'],
            'host_cycles_per_sdu': interleave.median_of(ours, 'busy_cycles'),
            'host_core_cycles_per_sdu': interleave.median_of(ours, 'host_cycles'),
            'host_cycles_testpmd': interleave.median_of(theirs, 'host_cycles'),
            'stages': interleave.median_stages(ours),
            'lost': sum(lost), 'runs_without_report': sum(not s.extra['reported'] for s in ours),
            'resting_cpu_seconds_max': resting}


def describe(row):
    low, high = row['ratio_ci95'] or (float('nan'), float('nan'))
    ours, theirs = row['sluice'], row['testpmd']
    return (f'{row["ring"]:6} {row["direction"]:13} {row["size"]:>5} B  '
            f'sluice {ours["median"]:7.3f} Mpps {ours["gbps"]:7.2f} Gb/s  '
            f'testpmd {theirs["median"]:7.3f} Mpps {theirs["gbps"]:7.2f} Gb/s  '
            f'ratio {row["ratio"]:.3f} [{low:.3f} {high:.3f}] best {row["ratio_best"]:.3f}  '
            f'host cycles {row["host_cycles_per_sdu"]:.0f} / {row["host_cycles_testpmd"]:.0f}')


def measure_point(workspace, point, build, pairs, window_s, tag):
    """A row for each direction, from one start of the four processes."""
    rows, ours, theirs = [], None, None
    try:
        ours = SluicePair(workspace, point, f'{tag}-s', build)
        theirs = TestpmdPair(workspace, point, f'{tag}-t')
        for direction in DIRECTIONS:
            samples, resting = interleave.take_turns(ours, theirs, direction, pairs, window_s)
            rows.append(row_of(point, direction, samples, resting))
        version = ours.version
    finally:
        for pair in (ours, theirs):
            if pair is not None:
                pair.close()
        workspace.drop_files()
    return rows, version


def lines_of(rows):
    """Goodput over SDU size as a line, all repetitions being points of it."""
    lines = []
    for ring in RINGS:
        for direction in DIRECTIONS:
            mine = [r for r in rows if r['ring'] == ring and r['direction'] == direction
                    and r['size'] <= LINE_SIZE_MAX]
            for who in ('sluice', 'testpmd'):
                line = stats.regression([(r['size'], mpps * r['size'] * 8e-3)
                                         for r in mine for mpps in r[who]['samples_mpps']])
                if line is not None:
                    lines.append({'ring': ring, 'direction': direction, 'who': who,
                                  'size_max': LINE_SIZE_MAX, 'gbps_per_byte': line.slope,
                                  'gbps_at_0': line.intercept, 'r2': line.r2})
    return lines


def run(workspace, options):
    sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    pairs = options.pairs or (QUICK_PAIRS if options.quick else PAIRS)
    window_s = options.window or (QUICK_WINDOW_S if options.quick else WINDOW_S)
    begin = time.monotonic()
    rows, errors, missing, version = [], [], [], None
    for ring in options.rings or RINGS:
        for size in sizes:
            point = Point(size, ring, options.mbuf_data or mbuf_data(size))
            for attempt in (1, 2, 3):
                try:
                    done, version = measure_point(workspace, point, options.build, pairs, window_s,
                                                  f'{ring[0]}{size}-{attempt}')
                except BenchError as error:
                    print(f'{point.name()}, attempt {attempt}: {error}', file=sys.stderr)
                    errors.append({'point': point.name(), 'attempt': attempt,
                                   'error': str(error)})
                    continue
                for row in done:
                    print(describe(row), flush=True)
                rows += done
                break
            else:
                missing.append(point.name())
    return {'pairs': pairs, 'window_s': window_s, 'warm_s': interleave.WARM_S, 'sluice': version,
            'method': METHOD, 'rows': rows, 'lines': lines_of(rows), 'errors': errors,
            'missing': missing, 'elapsed_s': time.monotonic() - begin}
