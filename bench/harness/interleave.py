"""Two contestants that take turns, so that both see the same minutes of a machine that varies."""

from . import process, stats
from .contest import Sample

WARM_S = 0.1


def resting_cpu(pair, before):
    """CPU seconds that the pair used while it should have rested."""
    return sum(seconds for pid in pair.pids()
               for _, seconds in process.cpu_seconds(pid).values()) - before


def take_turns(first, second, direction, repetitions, window_s):
    """[(Sample of first, Sample of second)] and the most CPU seconds a resting pair used."""
    samples, resting = [], 0.0
    for turn in range(repetitions):
        # Whoever goes second may find warmer caches or a slower machine: take that in turns too.
        order = (first, second) if turn % 2 == 0 else (second, first)
        got = {}
        for pair, other in (order, order[::-1]):
            before = resting_cpu(other, 0.0)
            got[pair] = pair.measure(direction, WARM_S, window_s)
            resting = max(resting, resting_cpu(other, before))
        samples.append((got[first], got[second]))
    return samples, resting


def rates(samples, size):
    """Figures of one contestant: millions a second, and goodput of the SDUs."""
    figures = stats.summary([sample.pps / 1e6 for sample in samples])
    gbps = size * 8e-3
    return {'mpps': figures['mean'], **{k: figures[k] for k in
                                        ('ci95', 'median', 'best', 'worst', 'n')},
            'gbps': figures['mean'] * gbps,
            'gbps_ci95': None if figures['ci95'] is None else figures['ci95'] * gbps,
            'samples_mpps': [sample.pps / 1e6 for sample in samples]}


def compare(samples, size):
    """Rows of both and their ratio, pair by pair: what is above 1 speaks for the first."""
    ours, theirs = [s[0] for s in samples], [s[1] for s in samples]
    ratios = [a.pps / b.pps for a, b in samples]
    interval = stats.median_interval(ratios)
    return {'first': rates(ours, size), 'second': rates(theirs, size),
            'ratio': stats.median(ratios),
            'ratio_ci95': None if interval is None else list(interval),
            'ratio_best': max(s.pps for s in ours) / max(s.pps for s in theirs)}


def median_of(samples, attribute):
    values = [getattr(sample, attribute) for sample in samples]
    return None if None in values else stats.median(values)


def median_stages(samples: list[Sample]):
    names = {name for sample in samples for name in sample.extra.get('stages', {})}
    return {name: stats.median([s.extra['stages'].get(name, 0.0) for s in samples])
            for name in sorted(names)}
