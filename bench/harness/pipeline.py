"""The same traffic with source and port on one lcore of the host, and on two joined by rings."""

import os

from . import interleave
from .contest import GUEST_CORE, HOST_CORE, RINGS, Point
from .host_to_vm import QUICK_PAIRS, QUICK_WINDOW_S, mbuf_data
from .sluice import SluicePair

SIZES = [64, 1500, 4000]
DIRECTION = 'host-to-guest'


def second_core():
    """A core for the host's second lcore: one of its own, or else beside the guest's."""
    return 2 if (os.cpu_count() or 1) > 2 else GUEST_CORE


def measure_point(workspace, point, build, pairs, window_s):
    both = None
    one = SluicePair(workspace, point, 'pipe-one', build)
    try:
        two_lcores = f'0@(0-{max(HOST_CORE, second_core())}),1@{HOST_CORE},2@{second_core()}'
        both = SluicePair(workspace, point, 'pipe-two', build, placement={
            'host': {'lcores': ['--lcores', two_lcores], 'port_lcore': 1, 'tgen_lcore': 2}})
        return interleave.take_turns(both, one, DIRECTION, pairs, window_s)[0]
    finally:
        for pair in (one, both):
            if pair is not None:
                pair.close()
        workspace.drop_files()


def run(workspace, options):
    pairs = options.pairs or QUICK_PAIRS
    window_s = options.window or QUICK_WINDOW_S
    rows = []
    for ring in options.rings or RINGS:
        for size in options.sizes or SIZES:
            point = Point(size, ring, options.mbuf_data or mbuf_data(size))
            samples = measure_point(workspace, point, options.build, pairs, window_s)
            figures = interleave.compare(samples, size)
            row = {'size': size, 'ring': ring, 'direction': DIRECTION,
                   'two_lcores': figures['first'], 'one_lcore': figures['second'],
                   'ratio': figures['ratio'], 'ratio_ci95': figures['ratio_ci95'],
                   'ratio_best': figures['ratio_best'],
                   'stages_two': interleave.median_stages([s[0] for s in samples]),
                   'stages_one': interleave.median_stages([s[1] for s in samples])}
            rows.append(row)
            print(f'{ring:6} {size:>5} B  one lcore {row["one_lcore"]["median"]:7.3f} Mpps  '
                  f'two {row["two_lcores"]["median"]:7.3f} Mpps  ratio {row["ratio"]:.3f}',
                  flush=True)
    shared = second_core() == GUEST_CORE
    if shared:
        print('note: this machine has two cores, so the second lcore shares one with the guest')
    return {'pairs': pairs, 'window_s': window_s, 'second_lcore_shares_guest_core': shared,
            'rows': rows}
