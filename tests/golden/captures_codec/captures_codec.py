#!/usr/bin/python3
"""Takes the captures of an archive through our readers and encoders, and has tshark read the
result: it must see the packets that it sees in the originals.

usage: captures_codec.py CAPTURES_CODEC ARCHIVE.tar.xz
"""

import csv
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile

SKIPPED = 77
FILES_MIN = 200
LINKTYPES_MIN = 20
SECONDS_MAX = 2**32  # what classic pcap holds
NS_MAX = (2**63 - 1) // 10**9
FIELDS = ('frame.time_epoch', 'frame.len', 'frame.cap_len', 'frame.md5_hash')
MAGICS = {0xa1b2c3d4: 10**6, 0xa1b23c4d: 10**9}


def with_possible_stamps(data):
    """Fuzzers left fractions of more than a second, which every program reads in its own way and
    our reader refuses: they are taken modulo a second."""
    for order in '<>':
        unit = MAGICS.get(struct.unpack_from(order + 'I', data)[0])
        if unit:
            break
    else:
        return data, 0
    data, changed, at = bytearray(data), 0, 24
    while at + 16 <= len(data):
        fraction, captured = struct.unpack_from(order + 'II', data, at + 4)
        if fraction >= unit:
            struct.pack_into(order + 'I', data, at + 4, fraction % unit)
            changed += 1
        at += 16 + captured
    return bytes(data), changed


def extract(archive, folder):
    changed = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.isfile() or not member.name.endswith(('.pcap', '.pcapng')):
                continue
            data, stamps = with_possible_stamps(tar.extractfile(member).read())
            changed += stamps
            with open(os.path.join(folder, os.path.basename(member.name)), 'wb') as out:
                out.write(data)
    return changed


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False, **options)
    return done.returncode, done.stdout, done.stderr


def counts_of(folder, names):
    """How many packets wireshark's library reads of each file; it does not know all linktypes."""
    _, out, _ = run(['capinfos', '-TmcQ', *names], cwd=folder)
    return {row[0]: int(row[1]) for row in csv.reader(out.splitlines()) if row[1].isdigit()}


def rows_of(folder, names, merged):
    """What tshark says about each packet of all files, in their order."""
    code, _, error = run(['mergecap', '-a', '-F', 'pcapng', '-w', merged, *names], cwd=folder)
    if code != 0:
        sys.exit(f'mergecap does not read {folder}: {error.strip()}')
    fields = [word for field in FIELDS for word in ('-e', field)]
    code, out, error = run(['tshark', '-n', '-o', 'frame.generate_md5_hash:TRUE', '-r', merged,
                            '-T', 'fields', *fields])
    if code != 0:
        sys.exit(f'tshark does not read {folder}: {error.strip()}')
    return [line.split('\t') for line in out.splitlines()]


def expected(row, kind):
    """What a file of ours shall show of a packet that the original shows as `row`."""
    seconds, fraction = row[0].split('.')
    seconds = int(seconds)
    if seconds < 0:  # never before 1970
        seconds, fraction = 0, '0' * 9
    if kind.endswith('.pcap') and seconds >= SECONDS_MAX:
        seconds, fraction = SECONDS_MAX - 1, '9' * 9
    if kind.startswith('us'):
        fraction = fraction[:6] + '000'
    return [f'{seconds}.{fraction}', *row[1:]]


def compare(kind, originals, ours):
    """Differences between what tshark says about the originals and about our files."""
    if len(originals) != len(ours):
        yield f'{kind}: {len(ours)} packets, expected {len(originals)}'
    for (name, number, row), mine in zip(originals, ours):
        if int(row[0].split('.')[0]) > NS_MAX:
            continue  # later than nanoseconds since 1970 can tell in 63 bits
        if expected(row, kind) != mine:
            yield f'{name} as {kind}, packet {number}: {mine}, expected {expected(row, kind)}'


def main(program, archive):
    missing = [tool for tool in ('tshark', 'mergecap', 'capinfos') if not shutil.which(tool)]
    with tempfile.TemporaryDirectory(prefix='sluice-captures-') as folder:
        source, out = os.path.join(folder, 'in'), os.path.join(folder, 'out')
        os.mkdir(source)
        changed = extract(archive, source)
        code, report, error = run([program, source, out])
        print(report + error, end='')
        print(f'stamps changed to possible ones: {changed}')
        if code != 0:
            return 1
        total = dict(re.findall(r'(\w+)=(\d+)', report.splitlines()[-1]))
        if int(total['files']) < FILES_MIN or int(total['linktypes']) < LINKTYPES_MIN or \
                int(total['cut']) == 0 or int(total['broken']) != 0:
            print(f'expected {FILES_MIN} files, {LINKTYPES_MIN} linktypes, cut packets, and no '
                  'file that is not read to its end')
            return 1
        if missing:
            print(f'not compared with tshark: no {", ".join(missing)}')
            return SKIPPED
        return compare_with_tshark(folder, source, out)


def compare_with_tshark(folder, source, out):
    counts = counts_of(source, sorted(os.listdir(source)))
    names = sorted(counts)
    rows = iter(rows_of(source, names, os.path.join(folder, 'in.pcapng')))
    originals = [(name, number + 1, next(rows)) for name in names for number in range(counts[name])]
    wrong = 0
    for kind in sorted(os.listdir(out)):
        made = set(os.listdir(os.path.join(out, kind)))
        shown = [name for name in names if name in made]
        ours = rows_of(os.path.join(out, kind), shown, os.path.join(folder, f'out-{kind}.pcapng'))
        differences = list(compare(kind, [o for o in originals if o[0] in made], ours))
        print(f'{kind}: tshark reads {len(ours)} packets of {len(shown)} files, '
              f'{len(differences)} differ')
        for difference in differences[:20]:
            print(difference)
        wrong += len(differences) + (len(shown) < FILES_MIN)
    return 1 if wrong else 0


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    sys.exit(main(*sys.argv[1:]))
