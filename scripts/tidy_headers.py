"""Compiles each header by itself, so that none depends on what was included before it."""

import json
import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor

DROPPED_WITH_VALUE = {'-o', '-MF', '-MQ', '-MT'}
DROPPED = {'-c', '-MD', '-MMD'}
FIRST_ERROR = re.compile(
    r'^(?P<file>[^\s:]+):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<what>.*)$', re.MULTILINE)


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
    """The compile commands of each source folder: {folder: {source stem: (directory, flags)}}."""
    path = os.path.join(build, 'compile_commands.json')
    if not os.path.exists(path):
        return None
    with open(path, encoding='utf-8') as file:
        entries = json.load(file)
    folders = {}
    for entry in entries:
        source = os.path.realpath(os.path.join(entry['directory'], entry['file']))
        folder, name = os.path.split(os.path.relpath(source, os.path.realpath(root)))
        stem = os.path.splitext(name)[0]
        folders.setdefault(folder, {})[stem] = (entry['directory'], flags_of(entry))
    return folders


def candidates(header, folders):
    """The flags of the header's own .cpp, or those in use in its folder or its unit test."""
    folder, name = os.path.split(header)
    stem = os.path.splitext(name)[0]
    if stem in folders.get(folder, {}):
        return [folders[folder][stem]]
    below = [name for name in sorted(folders) if name.startswith(folder + '/')]
    test = folder.replace('lib/', 'tests/unit/', 1)
    places = [folder, *below, test, test.replace('/core', '').replace('/dp', '')]
    commands = next((folders[place] for place in places if place in folders), {})
    distinct = {}
    for directory, flags in commands.values():
        # Targets differ in their private folders; what a header can see are defines and packages.
        key = tuple(flag for flag in flags if '.p' not in flag)
        distinct.setdefault(key, (directory, flags))
    return list(distinct.values())


def compile_alone(root, header, commands):
    """None if it compiles with one of the commands: a folder may hold a pure and a DPDK target."""
    full = os.path.join(os.path.realpath(root), header)
    for directory, flags in commands:
        done = subprocess.run(
            [*flags, '-fdiagnostics-color=never', '-fsyntax-only', '-x', 'c++', '-'],
            cwd=directory, input=f'#include "{full}"\n', text=True, capture_output=True,
            check=False)
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
            commands = candidates(path, folders)
            if commands:
                jobs.append((root, path, commands))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [result for result in pool.map(lambda job: compile_alone(*job), jobs) if result]
    print(f'tidy: {len(jobs)} headers compiled by themselves')
    return found
