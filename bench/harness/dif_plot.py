"""The figure of bench/run dif: costs beside their calibrators, goodput by loss, growth by nodes."""

from .dif import TOPOLOGIES
from .plot import figure_of, save
from .process import BenchError

COLOURS = {'rate_estimate': '#0b6fa4', 'none': '#4b8b3b', 'aimd': '#c8511b'}
EVENTS = {'start': 'the whole DIF starts', 'link_down': 'one link is lost'}
UNITS = {'messages': 'messages a node', 'virtual_s': 'virtual time (s)'}
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
    axes.margins(y=0.01)
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


# Logarithmic axes: equal steps are equal factors, and a power of the nodes is a straight line.
def _growth(axes, result, event, value):
    from matplotlib.ticker import LogLocator
    fits = {(f['topology'], f['event'], f['value']): f['exponent']
            for f in result.get('growth') or []}
    for topology, mark in zip(TOPOLOGIES, 'os^D'):
        # Messages are those of a node: what remains of the growth when all work at the same time.
        per_node = value == 'messages'
        points = sorted((r['nodes'], r[value] / (r['nodes'] if per_node else 1))
                        for r in result['convergence']
                        if r['topology'] == topology and r['event'] == event and not r['limit'])
        points = [p for p in points if p[1] > 0]
        if not points:
            continue
        exponent = fits.get((topology, event, value))
        if exponent is not None and per_node:
            exponent -= 1
        axes.plot([p[0] for p in points], [p[1] for p in points], marker=mark, markersize=4,
                  linewidth=1, label=topology if exponent is None
                  else f'{topology}: nodes^{exponent:.2f}')
    axes.set_xscale('log')
    axes.set_yscale('log')
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_formatter('')
    # Times may not grow by a whole power of ten.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter('{x:,.10g}')
    axes.yaxis.set_minor_formatter('')
    axes.tick_params(which='both', labelsize=7)
    axes.set_title(EVENTS[event], fontsize=9)
    axes.set_xlabel('nodes')
    axes.set_ylabel(UNITS[value])
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend(fontsize=7)


def draw(result, path):
    # What a slash divides are further calibrators.
    costs = [r for r in result['rows'] if r['group'] in GROUPS and 'calibrator_ns' in r
             and '/' not in r['what']]
    grown = result.get('convergence') or []
    panels = []  # height, and what draws it in a row of the grid
    if costs:
        panels.append((0.2 * len(costs) + 1.5, lambda at: _costs(at(), costs)))
    if result.get('goodput'):
        panels.append((4, lambda at: _goodput(at(), result['goodput'])))
    for event in EVENTS if grown else ():
        panels.append((3.6, lambda at, event=event: [
            _growth(at(column), result, event, value)
            for column, value in enumerate(('messages', 'virtual_s'))]))
    if not panels:
        raise BenchError(f'--svg: {", ".join(result["parts"])} has no figure')
    heights = [height for height, _ in panels]
    pyplot, figure, title = figure_of(result, (11, sum(heights) + 1))
    grid = figure.add_gridspec(len(panels), 2, height_ratios=heights)
    for row, (_, panel) in enumerate(panels):
        panel(lambda column=None, row=row: figure.add_subplot(
            grid[row, slice(None) if column is None else column]))
    rounds = f', {result["rounds"]} rounds' if 'rounds' in result else ''
    title(f'The normal DIF\'s cores{rounds}')
    save(pyplot, figure, path)
