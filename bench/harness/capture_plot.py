"""The figure of bench/run capture: rates by tool, a panel for each size, and the disk's limits."""

from .plot import figure_of, save

OURS, PEERS, LIMITS = '#0b6fa4', '#c8511b', '#555555'


def label(row):
    if row['tool'] == 'sluice-capture':
        cores = f'{row["cores"]} core' + ('s' if row['cores'] > 1 else '')
        return f'{row["tool"]}, {cores}, {row["variant"] or row["file_mode"]}'
    return row['tool']


def _bars(axes, names, spreads, colours, unit):
    places = range(len(names))
    medians = [s['median'] for s in spreads]
    axes.barh(places, medians, color=colours, height=0.7,
              xerr=[[s['median'] - s['min'] for s in spreads],
                    [s['max'] - s['median'] for s in spreads]], capsize=2,
              error_kw={'linewidth': 0.8})
    for place, median, s in zip(places, medians, spreads):
        shown = f'{median:.0f}' if median >= 100 else f'{median:.3g}'
        axes.text(s['max'], place, '  ' + shown, va='center', fontsize=7)
    axes.set_yticks(list(places), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(unit, fontsize=8)
    axes.set_xlim(0, 1.15 * max(s['max'] for s in spreads))
    axes.grid(axis='x', alpha=0.3)


def draw(result, path):
    panels = []
    for work in ('64', 'mix', '1518'):
        rows = [row for row in result['rows'] if row['work'] == work]
        if rows:
            title = f'{work} bytes' if work.isdigit() else f'{work}, {rows[0]["size"]:.0f} bytes'
            colours = [OURS if row['tool'] == 'sluice-capture' else PEERS for row in rows]
            panels.append((title, [label(row) for row in rows], [row['mpps'] for row in rows],
                           colours, 'million packets a second: median, least and most'))
    limits = result['limits']
    if limits:
        panels.append(('what the disk takes',
                       [f'{limit["tool"]}, {limit["file_mode"]}' for limit in limits],
                       [limit['mb_s'] for limit in limits], LIMITS, 'MB/s onto the disk'))
    heights = [len(panel[1]) + 3 for panel in panels]  # in bars
    pyplot, figure, set_title = figure_of(result, (11, 1.5 + 0.28 * sum(heights)))
    grid = figure.add_gridspec(len(panels), 1, height_ratios=heights)
    for at, (title, names, spreads, colours, unit) in enumerate(panels):
        axes = figure.add_subplot(grid[at])
        _bars(axes, names, spreads, colours, unit)
        axes.set_title(title, fontsize=10)
    set_title(f'Capture to disk, {result["repetitions"]} repetitions in turns')
    save(pyplot, figure, path)
