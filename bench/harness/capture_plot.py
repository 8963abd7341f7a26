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
        axes.text(s['max'], place, f'  {median:.3g}', va='center', fontsize=7)
    axes.set_yticks(list(places), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(unit, fontsize=8)
    axes.set_xlim(0, 1.15 * max(s['max'] for s in spreads))
    axes.grid(axis='x', alpha=0.3)


def draw(result, path):
    works = [name for name in ('64', 'mix', '1518')
             if any(row['work'] == name for row in result['rows'])]
    pyplot, figure, title = figure_of(result, (11, 3 + 3.2 * len(works)))
    grid = figure.add_gridspec(len(works) + (1 if result['limits'] else 0), 1)
    for at, work in enumerate(works):
        rows = [row for row in result['rows'] if row['work'] == work]
        axes = figure.add_subplot(grid[at])
        _bars(axes, [label(row) for row in rows], [row['mpps'] for row in rows],
              [OURS if row['tool'] == 'sluice-capture' else PEERS for row in rows],
              'million packets a second: median, least and most')
        size = rows[0]['size']
        axes.set_title(f'{work}, {size:.0f} bytes' if not work.isdigit() else f'{work} bytes',
                       fontsize=10)
    if result['limits']:
        axes = figure.add_subplot(grid[len(works)])
        limits = result['limits']
        _bars(axes, [f'{limit["tool"]}, {limit["file_mode"]}' for limit in limits],
              [limit['mb_s'] for limit in limits], LIMITS, 'MB/s onto the disk')
        axes.set_title('what the disk takes', fontsize=10)
    title(f'Capture to disk, {result["repetitions"]} repetitions in turns')
    save(pyplot, figure, path)
