"""The figure: goodput by SDU size, both contestants with error bars and regression lines."""

from .contest import DIRECTIONS, RINGS
from .process import BenchError

COLOURS = {'sluice': '#0b6fa4', 'testpmd': '#c8511b'}
MARKS = {'sluice': 'o', 'testpmd': 's'}


def _panel(axes, result, ring, direction):
    rows = sorted((r for r in result['rows'] if r['ring'] == ring and r['direction'] == direction),
                  key=lambda r: r['size'])
    for who, colour in COLOURS.items():
        lines = [line for line in result['lines'] if line['ring'] == ring
                 and line['direction'] == direction and line['who'] == who]
        size_max = lines[0]['size_max'] if lines else 4000
        near = [r for r in rows if r['size'] <= size_max]
        if near:
            axes.errorbar([r['size'] for r in near], [r[who]['gbps'] for r in near],
                          yerr=[r[who]['gbps_ci95'] or 0.0 for r in near], fmt=MARKS[who],
                          color=colour, capsize=3, markersize=4, linewidth=1, label=who)
        for line in lines:
            ends = (0, size_max)
            axes.plot(ends, [line['gbps_at_0'] + line['gbps_per_byte'] * x for x in ends],
                      color=colour, linewidth=0.8, linestyle='--')
    axes.set_title(f'{ring}, {direction}', fontsize=10)
    axes.set_xlabel('SDU size (bytes)')
    axes.set_ylabel('goodput (Gbit/s)')
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _ratios(axes, result):
    for ring in RINGS:
        for direction in DIRECTIONS:
            rows = sorted((r for r in result['rows'] if r['ring'] == ring
                           and r['direction'] == direction), key=lambda r: r['size'])
            if not rows:
                continue
            spans = [r['ratio_ci95'] or (r['ratio'], r['ratio']) for r in rows]
            axes.errorbar([r['size'] for r in rows], [r['ratio'] for r in rows],
                          yerr=[[r['ratio'] - s[0] for r, s in zip(rows, spans)],
                                [s[1] - r['ratio'] for r, s in zip(rows, spans)]],
                          marker='.', capsize=2, linewidth=1, label=f'{ring}, {direction}')
    axes.axhline(1.0, color='black', linewidth=0.8)
    axes.set_xscale('log')
    axes.set_ylim(bottom=0)
    axes.set_xlabel('SDU size (bytes)')
    axes.set_ylabel('sluice / testpmd')
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncol=2)


def figure_of(result, size):
    """(pyplot, an empty figure, what sets its title)."""
    try:
        import matplotlib
        matplotlib.use('Agg')
        from matplotlib import pyplot
    except ImportError as error:
        raise BenchError(f'no plot: {error} (Debian: apt-get install python3-matplotlib)') from None
    matplotlib.rcParams['svg.hashsalt'] = 'sluice'  # the same data gives the same file
    figure = pyplot.figure(figsize=size)
    machine = result['machine']

    def title(text):
        figure.suptitle(f'{text}\n{machine["cpu"]}, DPDK {machine["dpdk"]}, '
                        f'revision {(machine["revision"] or "unknown")[:10]}', fontsize=11,
                        y=1 - 0.1 / size[1])  # however tall the figure is
    return pyplot, figure, title


def save(pyplot, figure, path):
    figure.tight_layout()
    if path.endswith('.png'):
        figure.savefig(path, format='png', dpi=120)
    else:
        figure.savefig(path, format='svg', metadata={'Date': None})
    pyplot.close(figure)


def draw(result, path):
    pyplot, figure, title = figure_of(result, (11, 12))
    grid = figure.add_gridspec(3, 2)
    for row, ring in enumerate(RINGS):
        for column, direction in enumerate(DIRECTIONS):
            _panel(figure.add_subplot(grid[row, column]), result, ring, direction)
    _ratios(figure.add_subplot(grid[2, :]), result)
    title(f'Host and VM: goodput by SDU size, mean and 95 % interval of {result["pairs"]} windows')
    save(pyplot, figure, path)
