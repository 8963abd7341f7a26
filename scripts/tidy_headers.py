"""Compiles each header by itself, so that none depends on what was included before it."""

import json
import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor

DROPPED_WITH_VALUE = {'-o', '-MF', '-MQ', '-MT'}
DROPPED = {'-c', '-MD', '-MMD'}
FIRST_ERROR = re.compile(r'^(?P<file>[^\s:]+):(?P<line>\d+):\d+: (?:fatal )?error: (?P<what>.*)$',
                         re.MULTILINE)


def flags_of(entry):
    words = shlex.split(entry['command'])
    if os.path.basename(words[0]) in ('ccache', 'distcc'):
        words = words[1:]
    kept = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in DROPPED_WITH_VALUE:
            skip = True
        elif word not in DROPPED and word != entry['file']:
            kept.append(word)
    return kept


def load(root, build):
    """For each source folder, the compile commands of the files that lie right in it."""
    path = os.path.join(build, 'compile_commands.json')
    if not os.path.exists(path):
        return None
    with open(path, encoding='utf-8') as file:
        entries = json.load(file)
    folders = {}
    for entry in entries:
        source = os.path.realpath(os.path.join(entry['directory'], entry['file']))
        folder = os.path.relpath(os.path.dirname(source), os.path.realpath(root))
        folders.setdefault(folder, (entry['directory'], flags_of(entry)))
    return folders


def neighbours(header, folders):
    """The flags of the header's folder, or of one below or above it, or of its unit test."""
    folder = os.path.dirname(header)
    below = [f for f in sorted(folders) if f.startswith(folder + '/')]
    test = folder.replace('lib/', 'tests/unit/', 1)
    candidates = [folder, *below, test, test.replace('/core', '').replace('/dp', '')]
    return next((folders[name] for name in candidates if name in folders), None)


def compile_alone(root, header, neighbour):
    directory, flags = neighbour
    full = os.path.join(os.path.realpath(root), header)
    done = subprocess.run([*flags, '-fsyntax-only', '-x', 'c++', '-'], cwd=directory, text=True,
                          input=f'#include "{full}"\n', capture_output=True, check=False)
    if done.returncode == 0:
        return None
    error = FIRST_ERROR.search(done.stderr)
    if not error:
        return header, 1, 'does not compile by itself'
    line = int(error['line']) if error['file'].endswith(header) else 1
    return header, line, f'does not compile by itself ({error["what"]})'


def check(root, build, files):
    folders = load(root, build)
    if folders is None:
        print(f'tidy: no {build}/compile_commands.json, headers are not compiled')
        return []
    jobs = []
    for path in files:
        if path.endswith('.hpp') and os.path.isfile(os.path.join(root, path)):
            neighbour = neighbours(path, folders)
            if neighbour:
                jobs.append((root, path, neighbour))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [result for result in pool.map(lambda job: compile_alone(*job), jobs) if result]
    print(f'tidy: {len(jobs)} headers compiled by themselves')
    return found
