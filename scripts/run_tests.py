#!/usr/bin/python3
"""Builds Sluice in its three variants and runs the tests that belong to each.

release  everything but the QEMU and benchmark suites
asan     address and undefined-behaviour sanitizers: everything that runs in one process
tsan     thread sanitizer: the unit tests of the dataplane, where the threads are

The last line is always "N passed, N failed". A test is one test program. A build that fails
counts as one failed test, and its tests do not run. Skipped tests (exit status 77) count neither
way.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
LIMIT_S = 57 * 60
NEVER = {'qemu', 'bench'}              # only when asked for by name
ALONE = {'process', 'qemu', 'bench'}   # these poll on several cores: one at a time
SANITIZED_SUITES = {'unit', 'prop', 'sim', 'fuzz', 'golden'}
# -O1 -g; werror stays with the release build: sanitizers make the compiler see ghosts.
SANITIZED = ['-Doptimization=1', '-Ddebug=true', '-Dwerror=false']
SANITIZER_ENV = {
    'ASAN_OPTIONS': 'detect_leaks=1:strict_string_checks=1:check_initialization_order=1',
    'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1',
    'TSAN_OPTIONS': 'halt_on_error=1:second_deadlock_stack=1',
}
OUTCOMES = {'OK': 'passed', 'EXPECTEDFAIL': 'passed', 'SKIP': 'skipped'}


class Tally:
    def __init__(self):
        self.start = time.monotonic()
        self.passed = 0
        self.skipped = []
        self.failed = []

    def left(self):
        return max(1.0, LIMIT_S - (time.monotonic() - self.start))

    def say(self, text):
        minutes, seconds = divmod(int(time.monotonic() - self.start), 60)
        print(f'==== [{minutes:2}:{seconds:02}] {text}', flush=True)

    def count(self, name, result):
        outcome = OUTCOMES.get(result, 'failed')
        if outcome == 'passed':
            self.passed += 1
        elif outcome == 'skipped':
            self.skipped.append(name)
        else:
            self.failed.append(f'{name} ({result.lower()})')

    def close(self):
        print()
        if self.failed:
            print('failed: ' + ', '.join(self.failed))
        if self.skipped:
            print(f'{len(self.skipped)} skipped: ' + ', '.join(self.skipped))
        minutes, seconds = divmod(int(time.monotonic() - self.start), 60)
        print(f'in {minutes} min {seconds} s')
        # Nothing may follow this line.
        print(f'{self.passed} passed, {len(self.failed)} failed', flush=True)
        return 0 if self.passed and not self.failed else 1


def run(tally, command, **more):
    """The exit status; 124 if the time for all tests is up."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, **more)
    try:
        return process.wait(timeout=tally.left())
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as reason:
        process.terminate()   # meson takes its running tests with it
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
        if isinstance(reason, KeyboardInterrupt):
            raise
        return 124


def introspect(build, what):
    done = subprocess.run(['meson', 'introspect', build, what], capture_output=True, text=True,
                          check=True)
    return json.loads(done.stdout)


def short_suites(test):
    return {suite.split(':')[-1] for suite in test['suite']}


def full_name(test):
    return '+'.join(suite.split(':')[-1] for suite in test['suite']) + '/' + test['name']


def ninja_targets(build, tests):
    """What the tests need built: their programs, and what they declare to depend on."""
    files = {target['id']: target['filename'] for target in introspect(build, '--targets')}
    needed = set()
    for test in tests:
        for path in [name for ident in test['depends'] for name in files.get(ident, [])]:
            needed.add(os.path.relpath(path, os.path.realpath(build)))
    return sorted(needed)


class Variant:
    def __init__(self, name, build, options, wanted, everything=False):
        self.name = name
        self.build = build
        self.options = options
        self.wanted = wanted            # test -> should it run here?
        self.everything = everything    # build all targets, tested or not
        self.wrapper = []
        self.env = dict(os.environ)
        self.multiplier = '1'

    def run(self, tally):
        tally.say(f'{self.name}: configuring {os.path.relpath(self.build, ROOT)}')
        builder = [os.path.join(ROOT, 'scripts', 'build'), self.build]
        if run(tally, [*builder, *self.options, '--', 'build.ninja']) != 0:
            tally.count(f'{self.name} configuration', 'ERROR')
            return
        tests = [test for test in introspect(self.build, '--tests') if self.wanted(test)]
        if not tests:
            tally.say(f'{self.name}: no tests to run')
            return
        tally.say(f'{self.name}: building')
        targets = [] if self.everything else ninja_targets(self.build, tests)
        if (self.everything or targets) and run(tally, [*builder, '--', '-k0', *targets]) != 0:
            tally.count(f'{self.name} build', 'ERROR')
            return
        alone = [test for test in tests if short_suites(test) & ALONE]
        together = [test for test in tests if test not in alone]
        self.run_tests(tally, 'parallel', together, os.cpu_count() or 1)
        self.run_tests(tally, 'alone', alone, 1)

    def run_tests(self, tally, group, tests, processes):
        if not tests:
            return
        tally.say(f'{self.name}: running {len(tests)} test programs')
        log = f'sluice-{self.name}-{group}'
        path = os.path.join(self.build, 'meson-logs', log + '.json')
        if os.path.exists(path):
            os.remove(path)
        names = sorted({test['name'] for test in tests})
        # A name may stand in several suites, so that both are given.
        suites = [f'--suite={suite}' for suite in sorted(set.union(*map(short_suites, tests)))]
        status = run(tally, [*self.wrapper, 'meson', 'test', '-C', self.build, '--no-rebuild',
                             '--print-errorlogs', '--logbase', log, '--num-processes',
                             str(processes), '--timeout-multiplier', self.multiplier, *suites,
                             *names],
                     env=self.env)
        results = read_log(path)
        for test in tests:
            # A test without a result did not get its turn: out of time, or meson broke off.
            result = results.get(full_name(test), 'not run')
            tally.count(f'{self.name} {full_name(test)}', result)
        if status == 124:
            tally.say(f'{self.name}: the time for all tests is up')


def read_log(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding='utf-8') as file:
        entries = [json.loads(line) for line in file if line.strip()]
    # Meson writes "project:suite+suite / name".
    return {entry['name'].split(':', 1)[-1].replace(' / ', '/'): entry['result']
            for entry in entries}


def without_random_addresses():
    """TSan wants its fixed memory map, which strong address randomisation can break."""
    wrapper = ['setarch', platform.machine(), '-R']
    if not shutil.which('setarch'):
        return []
    probe = subprocess.run([*wrapper, 'true'], capture_output=True, check=False)
    return wrapper if probe.returncode == 0 else []


def variants(options):
    def in_suite(test):
        if options.suite:
            return bool(short_suites(test) & set(options.suite))
        return not short_suites(test) & NEVER

    prefix = os.path.join(ROOT, options.build)
    yield Variant('release', prefix, [], in_suite, everything=not options.suite)
    if options.quick:
        return
    sanitizers = (
        ('asan', 'address,undefined', lambda test: in_suite(test) and
         bool(short_suites(test) & SANITIZED_SUITES) and test['name'] != 'tidy_rules'),
        ('tsan', 'thread', lambda test: in_suite(test) and 'unit' in short_suites(test) and
         '/tests/unit/dataplane/' in test['cmd'][0]))
    for name, sanitizer, wanted in sanitizers:
        variant = Variant(name, f'{prefix}-{name}', [f'-Db_sanitize={sanitizer}', *SANITIZED],
                          wanted)
        variant.env.update({key: os.environ.get(key, value)
                            for key, value in SANITIZER_ENV.items()})
        variant.multiplier = '4'
        if name == 'tsan':
            variant.wrapper = without_random_addresses()
        yield variant


def main():
    parser = argparse.ArgumentParser(prog='scripts/test', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='the release build only')
    parser.add_argument('--suite', action='append', metavar='S',
                        help='only this suite: unit, prop, sim, fuzz, golden, tidy, process, '
                             'qemu or bench; may be repeated')
    parser.add_argument('--build', default='build', metavar='DIR',
                        help='prefix of the build directories (build, build-asan, build-tsan)')
    options = parser.parse_args()
    tally = Tally()
    try:
        for variant in variants(options):
            variant.run(tally)
    except KeyboardInterrupt:
        tally.count('interrupted', 'ERROR')
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f'test: {error}', file=sys.stderr)
        tally.count('test driver', 'ERROR')
    return tally.close()


if __name__ == '__main__':
    sys.exit(main())
