"""Capture to disk: ours on one core and on two, beside dpdk-dumpcap, dpdk-pdump, testpmd, tcpdump
and netsniff-ng, all on the same traffic, and beside what fio and dd get onto the same disk."""

import sys
import time
from dataclasses import dataclass

from . import capture_meter as meter
from . import machine, stats
from .capture_limits import Dd, Fio, filter_cost
from .capture_tools import (FILE_MODES, WARM_S, Bench, Dumpcap, Netsniff, Ours, Pdump, Tcpdump,
                            TestpmdPcap)
from .capture_work import MIX_MEAN, Disk, Work, fixed, write_mix
from .process import BenchError

REPETITIONS, QUICK_REPETITIONS = 10, 3
WINDOW_S, QUICK_WINDOW_S = 2.5, 1.5
TRIES = 2                # failures in a row after which a row is given up
FILTERS = ('udp port 53', 'net 10.0.0.0/8 and tcp')
METHOD = {
    'order': 'every repetition runs each row once, every other one backwards; each run is a new '
             'process with a new file',
    'mpps': 'packets into the file between two instants: ours by its own counter of what was '
            'written, the others by the growth of the file',
    'gbps': 'bytes of packets * 8 * rate',
    'drop_pct': 'of what the source offered in the same window; null: the tool holds its source '
                'back, or does not say',
    'cycles_per_packet': 'of the core that receives, by the tool\'s own account; only ours has '
                         'one, the others\' is CPU time (cycles_by)',
    'cpu_cycles_per_packet': 'CPU time of the tool\'s processes; for dpdk-dumpcap and dpdk-pdump '
                             'without the copy in the application looked into',
    'busy_cores': 'of the whole machine: also the source, the page cache and kernel threads',
    'fresh': 'a new file, each tool as it comes: ours extends it by fallocate as it goes, fio and '
             'the others grow it by writing to it',
    'grown': 'ours with --prealloc 0: a new file that grows by being written to',
    'preallocated': 'a new file, all of it made by fallocate before',
    'recycled': 'ours overwrites its own ring of files, from the second lap on; fio overwrites one '
                'file',
    'null': 'ours receives and does nothing else',
    'none': 'ours receives and packs records, and does not write them; with a filter, packs those '
            'that match, and its rate is of all packets received',
    'cores': 'ours on one: all threads and io_uring\'s kernel threads on that core; on two: the '
             'second has the writer, io_uring\'s kernel threads and the control thread',
    'kernel tools': 'over veth, fed by testpmd through net_af_packet, which limits them',
    'page cache': 'before tools that write through it, memory is touched and freed again',
    'ratios': 'median of the ratios within the repetitions, interval from order statistics',
}
# Which multiple of dpdk-dumpcap's rate at 64 bytes, and of fio's bytes, is aimed at.
DUMPCAP_AIMS = {'fresh': 5, 'preallocated': 7, 'recycled': 12}
FIO_MODES = {'fresh': 'fresh', 'grown': 'fresh', 'preallocated': 'preallocated',
             'recycled': 'recycled'}
ONE_CORE_AIMS = {'fresh': 0.6, 'preallocated': 0.85, 'recycled': 0.85}
FIO_AIM = 0.95


@dataclass(frozen=True, eq=False)
class Cell:
    """One row: a contestant and what it captures (None: a limit of the disk)."""
    tool: object
    work: Work

    @property
    def key(self):
        variant = getattr(self.tool, 'variant', None)
        return (self.tool.name, self.work.name if self.work else None, self.tool.cores,
                self.tool.file_mode, variant)

    def name(self):
        name, size, cores, mode, variant = self.key
        parts = [name, f'{size} B' if size and size.isdigit() else size, f'{cores} core'
                 + ('s' if cores != 1 else ''), mode, variant]
        return ', '.join(part for part in parts if part)


def cells_of(works, quick):
    """All rows; the quick ones are those that the aims are about."""
    small, mix, full = works
    cells = [Cell(Ours(cores, mode), small) for cores in (1, 2) for mode in FILE_MODES]
    for work in (full,) if quick else (mix, full):
        for cores in (2,) if quick else (1, 2):
            cells += [Cell(Ours(cores, mode), work)
                      for mode in (('fresh', 'recycled') if quick else FILE_MODES)]
    cells += [Cell(Dumpcap(), work) for work in ((small,) if quick else works)]
    for tool in (Pdump, TestpmdPcap, Tcpdump, Netsniff):
        cells += [Cell(tool(), work) for work in ((small,) if quick else works)]
    if not quick:
        cells += [Cell(Ours(1, mode), work) for mode in ('null', 'none') for work in works]
        cells += [Cell(Ours(1, 'none', ('-f', f), f'filter {f}'), work)
                  for f in FILTERS for work in (small, mix)]
    cells += [Cell(Fio(mode), None) for mode in dict.fromkeys(FIO_MODES.values())]
    cells += [Cell(Dd(mode), None) for mode in (('fresh',) if quick else ('fresh', 'recycled'))]
    return cells


def usable(cells, bench):
    """The rows that can be run, and why the others cannot."""
    able, missing, why = [], [], {}
    for cell in cells:
        name = cell.tool.name
        if name not in why:
            try:
                cell.tool.check(bench)
                why[name] = None
            except BenchError as error:
                why[name] = str(error)
                missing.append({'tool': name, 'why': str(error)})
                print(f'left out: {error}', file=sys.stderr)
        if why[name] is None:
            able.append(cell)
    return able, missing


def measure_all(cells, bench, repetitions):
    """{key: {repetition: Sample}} and what went wrong."""
    samples = {cell.key: {} for cell in cells}
    failed = {cell.key: 0 for cell in cells}
    errors = []
    for repetition in range(repetitions):
        # Whoever follows a tool that heats the disk up is to follow another one next time.
        for cell in cells if repetition % 2 == 0 else cells[::-1]:
            if failed[cell.key] >= TRIES:
                continue
            begin = time.monotonic()
            try:
                meter.warm_page_cache(cell.tool.page_cache_bytes(cell.work))
                sample = cell.tool.measure(bench, cell.work)
            except BenchError as error:
                failed[cell.key] += 1
                errors.append({'row': cell.name(), 'repetition': repetition, 'error': str(error)})
                print(f'{cell.name()}, repetition {repetition + 1}: {error}', file=sys.stderr)
                continue
            failed[cell.key] = 0
            samples[cell.key][repetition] = sample
            print(f'{repetition + 1}/{repetitions}  {cell.name():55} {sample.pps / 1e6:8.3f} Mpps '
                  f'{sample.file_bps / 1e6:7.0f} MB/s  ({time.monotonic() - begin:.1f} s)',
                  flush=True)
    return samples, errors


def spread(values):
    return {'min': min(values), 'median': stats.median(values), 'max': max(values)}


def median_known(samples, attribute):
    values = [getattr(s, attribute) for s in samples if getattr(s, attribute) is not None]
    return stats.median(values) if values else None


def row_of(cell, samples):
    own, by_time = median_known(samples, 'cycles'), median_known(samples, 'cpu_cycles')
    mpps = spread([s.pps / 1e6 for s in samples])
    extra = {}
    for name in ('io', 'bound_by'):
        found = [s.extra[name] for s in samples if s.extra.get(name) is not None]
        if found:
            extra[name] = found[-1]
    stages = [s.extra['stages'] for s in samples if s.extra.get('stages')]
    if stages:
        extra['stages'] = {name: stats.median([s[name] for s in stages]) for name in stages[0]}
    for name in ('stamp_error_ns', 'offered_pps'):
        found = [s.extra[name] for s in samples if s.extra.get(name) is not None]
        if found:
            extra[name] = stats.median(found)
    return {'tool': cell.tool.name, 'variant': getattr(cell.tool, 'variant', None),
            'work': cell.work.name, 'size': cell.work.size, 'cores': cell.tool.cores,
            'file_mode': cell.tool.file_mode, 'mpps': mpps,
            'gbps': mpps['median'] * cell.work.size * 8e-3,
            'file_mb_s': spread([s.file_bps / 1e6 for s in samples]),
            'drop_pct': median_known(samples, 'drop_pct'),
            'cycles_per_packet': by_time if own is None else own,
            'cycles_by': 'cpu time' if own is None else 'tool', 'cpu_cycles_per_packet': by_time,
            'busy_cores': median_known(samples, 'busy_cores'), 'n': len(samples),
            'samples_mpps': [s.pps / 1e6 for s in samples], **extra}


def limit_of(cell, samples):
    mb_s = spread([s.file_bps / 1e6 for s in samples])
    return {'tool': cell.tool.name, 'file_mode': cell.tool.file_mode, 'mb_s': mb_s,
            'gbps': mb_s['median'] * 8e-3, 'busy_cores': median_known(samples, 'busy_cores'),
            'n': len(samples), 'samples_mb_s': [s.file_bps / 1e6 for s in samples]}


def ratio(what, ours, theirs, attribute, aim):
    """Pairs of the same repetition; None without any."""
    both = sorted(set(ours) & set(theirs))
    ratios = [getattr(ours[r], attribute) / getattr(theirs[r], attribute) for r in both]
    if not ratios:
        return None
    interval = stats.median_interval(ratios)
    median = stats.median(ratios)
    return {'what': what, 'median': median, 'min': min(ratios), 'max': max(ratios),
            'ci95': None if interval is None else list(interval), 'n': len(ratios), 'aim': aim,
            'met': None if aim is None else median >= aim}


def ratios_of(samples, works):
    small = works[0]
    got = []

    def ours(cores, mode, work, variant=None):
        return samples.get((Ours.name, work.name, cores, mode, variant), {})

    def theirs(tool, work):
        name = work.name if work else None
        return samples.get((tool.name, name, tool.cores, tool.file_mode, None), {})
    for mode in FILE_MODES:
        for work in works:
            aim = DUMPCAP_AIMS.get(mode) if work is small else None
            got.append(ratio(f'{work.name} B {mode}: two cores / dpdk-dumpcap',
                             ours(2, mode, work), theirs(Dumpcap(), work), 'pps', aim))
        for work in works:
            aim = ONE_CORE_AIMS.get(mode) if work is small else None
            got.append(ratio(f'{work.name} B {mode}: one core / two cores', ours(1, mode, work),
                             ours(2, mode, work), 'pps', aim))
        for work in works:
            aim = FIO_AIM if work is not small else None
            got.append(ratio(f'{work.name} B {mode}: two cores / fio', ours(2, mode, work),
                             theirs(Fio(FIO_MODES[mode]), None), 'file_bps', aim))
    return [r for r in got if r is not None]


def filters_of(bench, missing):
    try:
        return filter_cost(bench)
    except BenchError as error:
        missing.append({'tool': 'bench/filter', 'why': str(error)})
        print(f'left out: {error}', file=sys.stderr)
        return None


def describe(row):
    drop = '' if row['drop_pct'] is None else f'  drop {row["drop_pct"]:.1f} %'
    cycles = float('nan') if row['cycles_per_packet'] is None else row['cycles_per_packet']
    variant = f' ({row["variant"]})' if row['variant'] else ''
    return (f'{row["tool"] + variant:24} {row["work"]:>5} B {row["cores"]} core(s) '
            f'{row["file_mode"]:12} {row["mpps"]["min"]:8.3f} / {row["mpps"]["median"]:8.3f} / '
            f'{row["mpps"]["max"]:8.3f} Mpps  {row["gbps"]:6.2f} Gb/s  '
            f'{row["file_mb_s"]["median"]:6.0f} MB/s  {cycles:6.0f} cycles{drop}')


def report(rows, limits, ratios, filters=None):
    for row in rows:
        print(describe(row))
    for limit in limits:
        mb_s = limit['mb_s']
        print(f'limit: {limit["tool"]:5} {limit["file_mode"]:12} {mb_s["min"]:6.0f} / '
              f'{mb_s["median"]:6.0f} / {mb_s["max"]:6.0f} MB/s')
    for f in (filters or {}).get('rows', []):
        how = 'native' if f['native'] else 'interpreted'
        print(f'filter "{f["filter"]}", {how}, packets {f["packets"]}: '
              f'{f["ns"]:.1f} ns a packet; copying it takes {filters["copy"]["ns"]:.1f} ns')
    for r in ratios:
        aim = '' if r['aim'] is None else f'  aim {r["aim"]}: {"met" if r["met"] else "NOT met"}'
        print(f'{r["what"]:45} {r["median"]:7.2f}  [{r["min"]:.2f} {r["max"]:.2f}]{aim}')


def run(workspace, options):
    repetitions = options.pairs or (QUICK_REPETITIONS if options.quick else REPETITIONS)
    window_s = options.window or (QUICK_WINDOW_S if options.quick else WINDOW_S)
    begin = time.monotonic()
    disk = Disk(options.dir)
    try:
        mix_path = disk.file('mix.pcap')
        mean = write_mix(mix_path)
        works = (fixed(64), Work('mix', mean, f'net_pcap0,rx_pcap={mix_path},infinite_rx=1'),
                 fixed(1518))
        bench = Bench(workspace, disk, options.build, machine.tsc_hz(), window_s)
        cells = cells_of(works, options.quick)
        if options.only:
            cells = [cell for cell in cells if options.only in cell.name()]
            if not cells:
                raise BenchError(f'--only {options.only}: no row has this in its name')
        cells, missing = usable(cells, bench)
        samples, errors = measure_all(cells, bench, repetitions)
        filters = filters_of(bench, missing)
        facts = disk.facts()
    finally:
        disk.close()
    rows, limits = [], []
    for cell in cells:
        got = list(samples[cell.key].values())
        if not got:
            missing.append({'tool': cell.tool.name, 'row': cell.name(),
                            'why': 'no repetition worked; see errors'})
        elif cell.work is None:
            limits.append(limit_of(cell, got))
        else:
            rows.append(row_of(cell, got))
    ratios = ratios_of(samples, works)
    report(rows, limits, ratios, filters)
    return {'repetitions': repetitions, 'window_s': window_s, 'warm_s': WARM_S, 'disk': facts,
            'mix_mean': mean, 'mix_mean_wanted': MIX_MEAN, 'method': METHOD, 'rows': rows,
            'limits': limits, 'ratios': ratios, 'filters': filters, 'missing': missing,
            'failed': [m['why'] for m in missing if m['tool'] == Ours.name], 'errors': errors,
            'elapsed_s': time.monotonic() - begin}
