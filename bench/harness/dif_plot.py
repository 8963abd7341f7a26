"""The figure of bench/run dif: costs beside their calibrators, goodput by loss, growth by nodes."""

from .plot import figure_of, save

COLOURS = {'rate_estimate': '#0b6fa4', 'none': '#4b8b3b', 'aimd': '#c8511b'}
GROUPS = {'efcp': 'EFCP', 'relay': 'RMT', 'codec': 'codecs', 'scheduler': 'schedulers'}


def _costs(axes, rows):
    places = range(len(rows))
    axes.barh(places, [r['ns'] for r in rows], color='#0b6fa4', height=0.7,
              xerr=[[r['ns'] - r['ns_min'] for r in rows], [r['ns_max'] - r['ns'] for r in rows]],
              capsize=2, error_kw={'linewidth': 0.8})
    axes.scatter([r['calibrator_ns'] for r in rows], places, marker='|', s=60, color='black',
                 zorder=3, label='calibrator of the same run')
    aims = [(r['aim_ns'], place) for place, r in zip(places, rows) if 'aim_ns' in r]
    if aims:
        axes.scatter([a[0] for a in aims], [a[1] for a in aims], marker='x', s=20,
                     color='#c8511b', zorder=3, label='aim')
    axes.set_yticks(list(places), [f'{GROUPS[r["group"]]}: {r["what"]}' for r in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale('log')
    axes.set_xlabel('ns (median, least and most)')
    axes.grid(axis='x', alpha=0.3)
    axes.legend(fontsize=7)


def _goodput(axes, rows):
    names = sorted({r['loss_pct'] for r in rows})
    for congestion, colour in COLOURS.items():
        points = sorted((r for r in rows if r['congestion'] == congestion),
                        key=lambda r: r['loss_pct'])
        at = [names.index(r['loss_pct']) for r in points]
        axes.errorbar(at, [r['steady'] for r in points],
                      yerr=[[r['steady'] - r['steady_min'] for r in points],
                            [r['steady_max'] - r['steady'] for r in points]],
                      color=colour, marker='o', markersize=4, capsize=3, label=congestion)
        axes.plot(at, [r['all'] for r in points], color=colour, linestyle=':')
    aims = [r for r in rows if r['congestion'] == 'rate_estimate' and r.get('aim')]
    axes.scatter([names.index(r['loss_pct']) for r in aims], [r['aim'] for r in aims], marker='x',
                 color='black', label='aim')
    axes.set_xticks(range(len(names)), [f'{n} %' for n in names])
    axes.set_xlabel('random loss (dotted: with start-up)')
    axes.set_ylabel('goodput / what headers leave')
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _growth(axes, rows, value):
    for topology in sorted({r['topology'] for r in rows}):
        points = {}
        for row in rows:
            if row['topology'] == topology and row.get('event', 'start') == 'start':
                points[row['nodes']] = row[value]
        if points:
            nodes = sorted(points)
            axes.plot(nodes, [points[n] for n in nodes], marker='.', label=topology)
    axes.set_xscale('log')
    axes.set_yscale('log')
    axes.set_xlabel('nodes')
    axes.set_ylabel(value)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def draw(result, path):
    costs = [r for r in result['rows'] if r['group'] in GROUPS and 'calibrator_ns' in r]
    grown = result.get('convergence') or []
    height = 0.2 * len(costs) + 1.5
    heights = [height, 4] + ([4] if grown else [])
    pyplot, figure, title = figure_of(result, (11, sum(heights) + 1))
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    _costs(figure.add_subplot(grid[0, :]), costs)
    _goodput(figure.add_subplot(grid[1, :]), result['goodput'])
    if grown:
        _growth(figure.add_subplot(grid[2, 0]), grown, 'messages')
        _growth(figure.add_subplot(grid[2, 1]), grown, 'virtual_s')
    title(f'The normal DIF\'s cores, {result["repetitions"]} runs')
    save(pyplot, figure, path)
