#!/usr/bin/python3
"""Has tshark read captures with scripts/wireshark, and compares with what our C++ decoders say.

usage: dissector.py GOLDEN_DISSECTOR SOURCE_ROOT [TEST...]
"""

import collections
import glob
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

SKIPPED = 77
ETHERNET, USER0 = 1, 147
SEED = 20261121
HOSTILE_FRAMES = 3000
AGREED_FRAMES = 1500
SHOWN_FRAMES = 500  # of these, bytes that are not shown are looked for, too

# Fields that are there also if they are 0: the others are protobuf's, where absent means 0.
FIXED = ('rina.pci.', 'rina.control.', 'rina.sack.', 'rina.arp.', 'rina.sdup.', 'rina.consent.',
         'rina.delimiting.', 'rina.proof.', 'vmpi.', 'rina.cdap.opcode')
# Fields of protobuf begin with number and length, which only the items around them cover.
TAG_BYTES_MAX = 12


class Failed(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Failed(what)


def equal(got, wanted, what):
    if got != wanted:
        raise Failed(f'{what}: {got!r}, expected {wanted!r}')


# ---- captures ----------------------------------------------------------------------------------

def read_pcap(path):
    with open(path, 'rb') as file:
        data = file.read()
    records, at = [], 24
    while at + 16 <= len(data):
        seconds, fraction, captured, original = struct.unpack_from('<IIII', data, at)
        records.append((seconds, fraction, data[at + 16:at + 16 + captured], original))
        at += 16 + captured
    return records


def write_pcap(path, linktype, records):
    with open(path, 'wb') as file:
        file.write(struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 262144, linktype))
        for seconds, fraction, data, original in records:
            file.write(struct.pack('<IIII', seconds, fraction, len(data), original) + data)


# ---- tshark ------------------------------------------------------------------------------------

class Lab:
    def __init__(self, program, root, folder):
        self.program, self.root, self.folder = program, root, folder
        self.home = os.path.join(folder, 'home')
        os.mkdir(self.home)
        self.scripts = os.path.join(root, 'scripts/wireshark')
        self.script = ['-X', 'lua_script:' + os.path.join(self.scripts, 'sluice.lua')]

    def path(self, name):
        return os.path.join(self.folder, name)

    def tshark(self, path, *arguments, script=None):
        """What it prints. Nothing of anybody's own settings counts."""
        command = ['tshark', '-n', *(self.script if script is None else script), '-r', path,
                   *arguments]
        environment = {**os.environ, 'HOME': self.home, 'XDG_CONFIG_HOME': self.home,
                       'LC_ALL': 'C.UTF-8'}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              env=environment)
        errors = [line for line in done.stderr.decode('utf-8', 'replace').splitlines()
                  if line and not line.startswith('Running as user "root"')]
        check(done.returncode == 0 and not errors, f'{" ".join(command)}: {errors[:5]}')
        return done.stdout.decode('utf-8', 'replace')

    def rows(self, path, fields, *arguments, **options):
        words = [word for field in fields for word in ('-e', field)]
        text = self.tshark(path, '-T', 'fields', '-E', 'aggregator=;', *words, *arguments,
                           **options)
        return [dict(zip(fields, line.split('\t'))) for line in text.split('\n')[:-1]]

    def packets(self, path, *arguments):
        text = self.tshark(path, '-T', 'pdml', *arguments)
        return ElementTree.fromstring(text).findall('packet')

    def listed(self, path):
        """What our decoders find in each packet: field -> values."""
        done = subprocess.run([self.program, 'list', path], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
        check(done.returncode == 0, done.stderr)
        lines = []
        for line in done.stdout.decode('utf-8', 'replace').split('\n')[:-1]:
            pairs = (pair.split('=', 1) for pair in line.split('\t') if pair)
            lines.append({name: value.split(';') for name, value in pairs})
        return lines


# ---- what a packet shows -----------------------------------------------------------------------

def is_ours(packet):
    return any(proto.get('name') in ('rina', 'rina.arp', 'vmpi') for proto in packet)


def values_of(packet, names):
    found = collections.defaultdict(list)
    for field in packet.iter('field'):
        name = field.get('name')
        if name not in names:
            continue
        value = '1' if name == 'rina.payload' else field.get('show')
        if value and (value != '0' or name.startswith(FIXED)):
            found[name].append(value)
    return dict(found)


def experts_of(packet):
    return [field.get('name') for field in packet.iter('field')
            if field.get('name', '').startswith('rina.expert.')]


def complaints_of(packet):
    """What must never be there, whatever the bytes."""
    for field in packet.iter('field'):
        name = field.get('name', '')
        message = field.get('show', '') if name == '_ws.expert.message' else ''
        if name in ('_ws.malformed', '_ws.lua.error') or 'Lua Error' in message:
            yield f'{name} {message}'
    for proto in packet:
        if proto.get('name') in ('_ws.malformed', '_ws.short', '_ws.lua'):
            yield proto.get('name')


def span(item):
    at = int(item.get('pos', '0'))
    return at, at + int(item.get('size', '0'))


def uncovered(packet):
    """Bytes that no leaf of the tree shows, as ranges; tags of protobuf aside."""
    bytes_of_frame = 0
    leaves, messages = [], []
    for item in packet.iter('field'):
        if item.get('name') == 'frame.cap_len':
            bytes_of_frame = int(item.get('show'))
        if item.get('name') == 'rina.cdap':
            messages.append(span(item))
        children = [child for child in item.iter('field') if child is not item
                    and int(child.get('size', '0')) > 0]
        if not children and item.get('size') != '0':
            leaves.append(span(item))
    shown = bytearray(bytes_of_frame)
    for begin, end in leaves:
        shown[begin:end] = b'\1' * (end - begin)
    at = 0
    while (begin := shown.find(0, at)) >= 0:
        end = shown.find(1, begin)
        at = end if end >= 0 else bytes_of_frame
        in_message = any(b <= begin and at <= e for b, e in messages)
        if not in_message or at - begin > TAG_BYTES_MAX:
            yield begin, at


def bytes_not_shown(packet):
    frame = [p for p in packet if p.get('name') == 'frame']
    length = frame[0].find("field[@name='frame.cap_len']")
    copy = ElementTree.Element('packet')
    copy.append(length)
    for proto in packet:
        if proto.get('name') not in ('geninfo', 'frame'):
            copy.append(proto)
    return list(uncovered(copy))


# ---- tests -------------------------------------------------------------------------------------

def traces(lab):
    names = sorted(glob.glob(os.path.join(lab.root, 'tests/data/rlite/*.pcap')))
    check(len(names) >= 23, f'{len(names)} traces of rlite')
    records = [record for name in names for record in read_pcap(name)]
    path = lab.path('rlite.pcap')
    write_pcap(path, ETHERNET, records)
    return path


def compare(lab, path, *preferences):
    """tshark finds in each packet what our decoders find, shows each byte, and is content."""
    expected = lab.listed(path)
    names = {name for line in expected for name in line}
    packets = lab.packets(path, *preferences)
    equal(len(packets), len(expected), f'packets in {path}')
    experts, kinds = collections.Counter(), collections.Counter()
    for number, (packet, line) in enumerate(zip(packets, expected), 1):
        where = f'{os.path.basename(path)}, packet {number}'
        got = values_of(packet, names)
        for name in sorted(names):
            equal(got.get(name), line.get(name), f'{where}: {name}')
        equal(is_ours(packet), bool(line), f'{where}: dissected by us')
        equal(list(complaints_of(packet)), [], where)
        if line:
            equal(bytes_not_shown(packet), [], f'{where}: bytes that are not shown')
        experts.update(experts_of(packet))
        kinds.update(f'{name} {value}' for name in ('rina.pci.type', 'rina.arp.opcode')
                     for value in line.get(name, []))
    return experts, kinds


def test_traces(lab):
    experts, kinds = compare(lab, traces(lab))
    # What tests/golden/rina counts in the same files.
    equal(kinds, collections.Counter({
        'rina.pci.type 0x40': 231, 'rina.pci.type 0x80': 322, 'rina.pci.type 0xc8': 29,
        'rina.pci.type 0xcc': 40, 'rina.arp.opcode 1': 15, 'rina.arp.opcode 2': 6}), 'kinds')
    # The SDUs of an application without a PCI.
    equal(experts, collections.Counter({'rina.expert.assumed': 2}), 'remarks')


def test_frames_of_ours(lab):
    remarks = collections.Counter()
    for name in ('ethernet', 'delimited', 'vmpi', 'irati'):
        remarks.update(compare(lab, lab.path(name + '.pcap'))[0])
    # The challenge of a handshake, an answer that says no, a KO; a request that was said twice;
    # ECN flags.
    equal(remarks, collections.Counter({'rina.expert.failed': 3, 'rina.expert.repeated': 1,
                                        'rina.expert.ecn': 7}), 'remarks')


def test_lines(lab):
    """What people see of an enrollment."""
    path = os.path.join(lab.root, 'tests/data/rlite/s1-01-arp-and-enrollment.pcap')
    fields = ('frame.number', '_ws.col.Protocol', '_ws.col.Info', 'rina.cdap.response_to',
              'rina.from', 'rina.obj.type')
    rows = lab.rows(path, fields, '-Y', 'rina or rina.arp', '-2')
    got = ['\t'.join(row.values()) for row in rows]
    equal(len(got), 20, 'frames of the enrollment')
    ab, ba = 'a.IPCP -> b.IPCP', 'b.IPCP -> a.IPCP'
    for line in (
            '4\tRINA-ARP\tWho is a.IPCP? Tell b.IPCP\t\t\t',
            '5\tRINA-ARP\ta.IPCP is at 00:0a:0a:0a:0a:01, to b.IPCP\t\t\t',
            f'6\tRINA\tM_CONNECT {ba} #2\t\tb.IPCP\t',
            f'7\tRINA\tM_CONNECT_R {ab} #2 result 0\t6\ta.IPCP\t',
            f'8\tRINA\tM_START enrollment {ba} #3: address 1, over e.DIF\t\tb.IPCP\t'
            'EnrollmentInfo',
            f'14\tRINA\tM_START_R enrollment {ab} #3 result 0: address 3, over e.DIF, '
            'with constants\t8\ta.IPCP\tEnrollmentInfo',
            f'15\tRINA\tM_WRITE policy {ab} #2: /mgmt/dft/policy = fully-replicated\t\ta.IPCP\t',
            f'20\tRINA\tM_STOP_R enrollment {ba} #6 result 0\t19\tb.IPCP\t',
            f'22\tRINA\tM_CREATE lfdb_entries {ba} #4: b.IPCP>a.IPCP\t\tb.IPCP\tLowerFlowList',
            f'26\tRINA\tM_CREATE neigh_entries {ab} #9: a.IPCP=1\t\ta.IPCP\t'
            'NeighborCandidateList'):
        check(line in got, f'no line {line!r} in {got}')


def test_lines_of_ours(lab):
    lines = {name: [row['_ws.col.Info'] for row in lab.rows(lab.path(name + '.pcap'),
                                                            ('_ws.col.Info',))]
             for name in ('ethernet', 'delimited', 'vmpi')}
    for name, line in (
            ('ethernet', 'SACK+FC 3:8 -> 1:7 seq 0 ack 10 window 9..522 sack 12..14 sack 17..17'),
            ('ethernet', 'DT 1:1000000 -> 3:1000001 seq 0 DRF 26 bytes'),
            ('ethernet', 'M_CONNECT_R n.1|1 -> n.2|1 #2 result 1 (authentication is wanted): '
                         'challenge'),
            ('ethernet', 'protected PDU of 57 bytes, epoch 5, counter 0'),
            ('ethernet', 'DT 1:7 -> 3:8 seq 0 DRF 57 bytes, in it: M_CONNECT n.2|1 -> n.1|1 #2'),
            ('delimited', 'M_READ_R flow 3 -> 1 #10 result -1 (no such flow)'),
            ('delimited', 'DT 1:7 -> 3:8 seq 1 ECN 1000 bytes first of 2500 bytes'),
            ('delimited', 'DT 1:7 -> 3:8 seq 4 ECN 116 bytes 3 SDUs'),
            ('vmpi', 'ALLOCATE_REQ channel 70001.127: camera/1// -> screen///'),
            ('vmpi', 'CREDIT_PROBE channel 70001.127 sent 4294967296'),
            ('vmpi', 'channel 70001.127, SDU of 9 bytes'),
            ('vmpi', 'channel 70001.127, M_CONNECT n.2|1 -> n.1|1 #2')):
        check(line in lines[name], f'no line {line!r} in {lines[name]}')


def test_flows(lab):
    """A flow is found from its allocation to its end, by one filter."""
    path = os.path.join(lab.root, 'tests/data/rlite/s1-05-flow-reliable-ping.pcap')
    rows = lab.rows(path, ('_ws.col.Info', 'rina.flow.applications', 'rina.cdap.response_in'),
                    '-2', '-Y', 'rina.flow == "1:1-3:1"')
    lines = [row['_ws.col.Info'] for row in rows]
    kinds = collections.Counter(line.split()[0] for line in lines)
    equal(kinds, collections.Counter({'DT': 7, 'ACK+FC': 6, 'M_CREATE': 1, 'M_CREATE_R': 1,
                                      'M_DELETE': 1}), f'messages of a flow: {lines}')
    equal(lines[0], 'M_CREATE flow 3 -> 1 #6: rinaperf-data|client -> rinaperf-data|server',
          'allocation')
    equal(rows[0]['rina.cdap.response_in'], '6', 'frame of the response')
    equal(rows[2]['rina.flow.applications'], 'rinaperf-data|client -> rinaperf-data|server',
          'applications of a data PDU')
    # The response without its request.
    equal(remarks_on(lab, read_pcap(path)[1:2]), {'rina.expert.unasked': 1}, 'response alone')


def damaged(records, at):
    """The same frames, with the byte `at` from their end changed."""
    for seconds, fraction, data, original in records:
        data = bytearray(data)
        data[at] ^= 0x10
        yield seconds, fraction, bytes(data), original


def remarks_on(lab, records, *preferences, linktype=ETHERNET):
    path = lab.path('remarks.pcap')
    write_pcap(path, linktype, records)
    remarks = collections.Counter()
    for packet in lab.packets(path, *preferences):
        equal(list(complaints_of(packet)), [], f'{preferences}')
        equal(bytes_not_shown(packet), [], f'{preferences}: bytes that are not shown')
        remarks.update(experts_of(packet))
    return remarks


def test_preferences(lab):
    sums = read_pcap(os.path.join(lab.root, 'tests/data/rlite/s4-csum-inet-enroll-ping.pcap'))
    sums = [r for r in sums if r[2][12:14] == b'\xd1\xf0']
    ours = read_pcap(lab.path('ethernet.pcap'))
    # Link 4 has CRCs, link 5 AES-GCM.
    crcs = [r for r in ours if r[2][11] in (8, 9)]
    sealed = [r for r in ours if r[2][11] in (10, 11)]
    plain = [r for r in ours if r[2][11] in (4, 5)]
    wide = [r for r in ours if r[2][11] in (2, 3)]
    equal(len(crcs), 3, 'frames with CRC')

    def remarks(records, *settings):
        words = [word for setting in settings for word in ('-o', setting)]
        found = remarks_on(lab, list(records), *words)
        return {name.rpartition('.')[2]: n for name, n in found.items()}

    bad = remarks(damaged(sums, -1))
    equal(bad.get('bad_checksum'), len(sums), 'wrong Internet checksums')
    equal(remarks(damaged(sums, -1), 'rina.protection:none').get('bad_checksum'), None, 'none')
    equal(remarks(plain, 'rina.protection:inet').get('bad_checksum'), len(plain), 'inet')
    crc = remarks(plain + crcs + list(damaged(crcs[:2], 40)), 'rina.protection:crc32c')
    equal((crc.get('bad_checksum'), crc.get('truncated')), (2, len(plain)), 'crc32c')
    equal(remarks(sealed, 'rina.protection:aes-gcm'), {}, 'aes-gcm')
    ttl = remarks(plain, 'rina.protection:ttl', 'rina.hops:63')
    equal(ttl.get('unexpected'), len(plain), 'ttl')
    check(remarks(wide, 'rina.pci:default (28 bytes)').get('bad_length'), 'wide as default')
    custom = [f'rina.width_{name}:{width}' for name, width in
              (('sequence', 4), ('address', 4), ('cep', 4), ('length', 4), ('qos', 2))]
    equal(remarks(wide, 'rina.pci:custom', *custom).get('bad_length'), None, 'custom')
    # No link to the allocation of its flow, so the user data are no SDUs of another format.
    flow = read_pcap(lab.path('delimited.pcap'))[5:]
    equal(remarks(flow, 'rina.delimiting:always').get('bad_type'), None, 'delimiting')
    rows = lab.rows(lab.path('remarks.pcap'), ('rina.delimiting.kind',))
    equal([row['rina.delimiting.kind'] for row in rows], [''] * len(flow), 'delimiting unknown')


def test_plugin(lab):
    """Copied to the personal plugins, it does the same."""
    to = os.path.join(lab.home, '.local/lib/wireshark/plugins/sluice')
    shutil.copytree(lab.scripts, to)
    path = lab.path('delimited.pcap')
    fields = ('_ws.col.Info', 'rina.flow')
    try:
        as_plugin = lab.rows(path, fields, script=[])
        twice = lab.rows(path, fields)
    finally:
        shutil.rmtree(os.path.join(lab.home, '.local'))
    equal(as_plugin, lab.rows(path, fields), 'as a plugin')
    equal(as_plugin, twice, 'as a plugin and by name')
    equal(as_plugin[-1]['rina.flow'], '1:7-3:8', 'flow of the last PDU')


# ---- edges -------------------------------------------------------------------------------------

def item(number, content):
    """A field of bytes (less than 16384 of them) in protobuf."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size % 128 | 128, size // 128])
    tag = number << 3 | 2
    return (bytes([tag]) if tag < 128 else bytes([tag % 128 | 128, tag // 128])) + length + content


def about(operation, kind, value):
    """A message about an object of a class."""
    head = bytes([0x10, operation, 0x18, 5]) + item(5, kind) + item(6, b'/an/object')
    return head + item(8, item(6, value)) + b'\xe0\x01\x01'


def management(body):
    pci = struct.pack('<BBHHHIIIHHHH', 0, 0x40, 0, 0, 64, 0, 0, 1, 0, 0, 28 + len(body), 0)
    data = bytes(range(12)) + b'\xd1\xf0' + pci + body
    return 0, 0, data, len(data)


def test_edges(lab):
    """Values that are shorter than what they hold, and protobuf that nobody writes."""
    connect = b'\x08\x49\x10\x00\x18\x02' + item(22, b'a') + item(26, b'b') + b'\xe0\x01\x01'
    open_groups = b''.join(b'\x9b\x06' for _ in range(17))
    close_groups = b''.join(b'\x9c\x06' for _ in range(17))
    inner = about(12, b'a_data', b'')
    cases = [(about(12, b'digest', b'SLD1'.ljust(n, b'x')), remark)
             for n, remark in ((5, 'bad_length'), (35, 'bad_length'), (40, 'unknown'))]
    cases += [(about(4, b'flow', item(12, b'SLFO'.ljust(n, b'x'))), remark)
              for n, remark in ((4, 'bad_length'), (35, 'bad_length'), (40, 'unknown'))]
    cases += [(connect + item(18, item(3, other)), remark)
              for other, remark in ((b'\1', 'unknown'), (b'\1\1\1\0', 'bad_length'),
                                    (b'\1\2\1\0'.ljust(67, b'x'), 'bad_length'),
                                    (b'\1\x09\1\0x', 'bad_type'), (b'', 'unknown'))]
    cases += [(connect + open_groups + close_groups, 'bad_message'),
              (connect + open_groups[:32] + close_groups[:32], 'unknown'),
              (connect + close_groups[:2], 'bad_message'),
              (connect + b'\x18' + b'\xff' * 10 + b'\1', 'bad_message'),
              (connect + b'\x00\x01', 'bad_message'), (connect + b'\x1e', 'bad_message'),
              (about(12, b'a_data', item(3, inner)), 'unexpected'),
              (b'\x10\x40', 'bad_type'), (b'', 'truncated')]
    path = lab.path('edges.pcap')
    write_pcap(path, ETHERNET, [management(body) for body, _ in cases])
    for number, (packet, (body, remark)) in enumerate(zip(lab.packets(path), cases), 1):
        where = f'case {number}, {body!r}'
        equal(list(complaints_of(packet)), [], where)
        equal(bytes_not_shown(packet), [], where)
        check('rina.expert.' + remark in experts_of(packet),
              f'{where}: {experts_of(packet)}, expected {remark}')


# ---- hostile bytes -----------------------------------------------------------------------------

INTERESTING = (0, 1, 0x7f, 0x80, 0xff)


def mutated(rng, frame, other, keep):
    """A frame that somebody has damaged; its first `keep` bytes bring it to us and stay."""
    data, tail = bytearray(frame), len(frame) - keep
    kind = rng.randrange(8)
    if tail <= 0:
        return bytes(data) + rng.randbytes(3), 0
    if kind <= 2:
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = keep + rng.randrange(min(tail, rng.choice((32, 4096))))
            data[at] = rng.choice((data[at] ^ 1 << rng.randrange(8), *INTERESTING,
                                   rng.randrange(256)))
    elif kind == 3:
        del data[keep + rng.randrange(tail):]
    elif kind == 4:  # captured in part only
        kept = keep + rng.randrange(tail)
        return bytes(data[:kept]), len(data) - kept
    elif kind == 5:
        at = keep + rng.randrange(tail)
        data[at:at] = rng.randbytes(rng.randrange(1, 20))
    elif kind == 6:
        data[keep + rng.randrange(tail):] = other[keep + rng.randrange(max(1, len(other) - keep)):]
    else:
        at = keep + rng.randrange(tail)
        del data[at:at + rng.randrange(1, 9)]
    return bytes(data), 0


def hostile(rng, records, count, keep_of):
    frames = [record[2] for record in records]
    for number in range(count):
        frame = rng.choice(frames)
        data, missing = mutated(rng, frame, rng.choice(frames), keep_of(frame))
        yield number, 0, data, len(data) + missing


def behind_ethernet(frame):
    at = 18 if frame[12:14] == b'\x81\x00' else 14
    if frame[at - 2:at] == b'\x08\x00':
        return at + 28  # IPv4 and UDP
    return at + (4 if frame[at - 2:at] == b'\x08\x06' else 0)


def judge(lab, path, count, *preferences):
    fields = ('frame.protocols', '_ws.lua.error', '_ws.expert.message', '_ws.col.Info')
    rows = lab.rows(path, fields, *preferences)
    equal(len(rows), count, f'lines for {path}')
    remarks = 0
    for number, row in enumerate(rows, 1):
        said = row['_ws.expert.message'] + row['_ws.col.Info'] + row['_ws.lua.error']
        # Our own remarks make no protocol of it; an exception in a dissector does.
        is_bad = '_ws.' in row['frame.protocols'] and 'rina.arp:arp' not in row['frame.protocols']
        check('Lua' not in said and not is_bad,
              f'{path}, packet {number}, {preferences}: {row}')
        remarks += bool(row['_ws.expert.message'])
    return remarks


def test_hostile(lab):
    rng = random.Random(SEED)
    wanted = (b'\xd1\xf0', b'\x08\x06', b'\x81\x00', b'\x08\x00')
    records = [r for r in read_pcap(traces(lab)) if r[2][12:14] in wanted]
    # Management tells the most ways to be wrong, and data PDUs are many.
    few = {r[2][:60]: r for r in records if len(r[2]) < 15 or r[2][15] != 0x80}
    records = list(few.values()) + records[::10]
    records += (read_pcap(lab.path('ethernet.pcap')) + read_pcap(lab.path('delimited.pcap'))) * 6
    vmpi = read_pcap(lab.path('vmpi.pcap')) + read_pcap(lab.path('irati.pcap'))
    golden = os.path.join(lab.root, 'tests/golden/pcap/user0_us.pcap')
    for linktype, frames, keep_of, count, settings in (
            (ETHERNET, records, behind_ethernet, HOSTILE_FRAMES,
             (('rina.protection:crc32c', 'rina.delimiting:always'),
              ('rina.protection:aes-gcm',), ('rina.pci:custom', 'rina.width_sequence:8',
                                             'rina.width_address:8', 'rina.width_length:8'))),
            (USER0, vmpi + read_pcap(golden), lambda frame: 0, HOSTILE_FRAMES // 4,
             (('vmpi.profile:sluice', 'rina.protection:aes-gcm'), ('vmpi.profile:irati',)))):
        path = lab.path(f'hostile-{linktype}.pcap')
        made = list(hostile(rng, frames, count, keep_of))
        write_pcap(path, linktype, made)
        remarks = judge(lab, path, count)
        check(remarks > count // 3, f'{remarks} remarks on {count} damaged frames')
        write_pcap(path, linktype, made[:SHOWN_FRAMES])
        for preferences in settings:
            judge(lab, path, SHOWN_FRAMES, *(w for p in preferences for w in ('-o', p)))
        for number, packet in enumerate(lab.packets(path), 1):
            if is_ours(packet):
                equal(bytes_not_shown(packet), [], f'{path}, packet {number}: not shown')


PDU_TYPES = (0x40, 0x80, *range(0xc4, 0xd0))
# Remarks on what is no fault of the message.
HARMLESS = {'failed', 'ecn', 'repeated', 'unasked', 'assumed', 'cut'}
# And on what our decoders refuse.
REFUSALS = {'truncated', 'bad_length', 'bad_type', 'bad_field', 'bad_name', 'bad_message',
            'missing', 'rule'}


def agree(lab, path, linktype, made, *preferences):
    """Counts of what both take and what both refuse; where they differ is a failure."""
    write_pcap(path, linktype, made)
    expected = lab.listed(path)
    names = {name for line in expected for name in line} - {'error'}
    outcomes = collections.Counter()
    for number, (packet, line) in enumerate(zip(lab.packets(path, *preferences), expected), 1):
        where = f'{path}, packet {number}'
        remarks = {name.rpartition('.')[2] for name in experts_of(packet)} - HARMLESS
        if 'error' not in line and ('rina.pci.type' in line or linktype == USER0):
            outcomes['good'] += 1
            equal(remarks & REFUSALS, set(), where)
            # tshark shows what our decoders have forgotten.
            if 'twice' in remarks:
                continue
            got = values_of(packet, names)
            for name in sorted(names):
                # Joined: the separator may be in damaged text.
                equal(';'.join(got.get(name, ())), ';'.join(line.get(name, ())),
                      f'{where}: {name}')
        elif 'rina.expert.assumed' in experts_of(packet):
            begin = made[number - 1][2][14:16]
            check(begin[0] != 0 or begin[1] not in PDU_TYPES, f'{where}: a PDU, shown as an SDU')
        else:
            outcomes['refused'] += 1
            check(remarks, f'{where}: {line}, and tshark remarks on nothing')
    check(min(outcomes['good'], outcomes['refused']) > len(made) // 8, f'{path}: {outcomes}')


def test_agreement(lab):
    """Of damaged frames, tshark finds the same as our decoders, and remarks on what they refuse."""
    rng = random.Random(SEED)
    records = [r for r in read_pcap(traces(lab)) if r[2][12:14] == b'\xd1\xf0']
    records = list({r[2][:60]: r for r in records if r[2][15] != 0x80}.values()) + records[::10]
    # A frame of at most 46 bytes behind the header may have padding, and be shorter than it is.
    made = [r for r in hostile(rng, records, AGREED_FRAMES, lambda frame: 16)
            if len(r[2]) == r[3] > 60]
    agree(lab, lab.path('damaged.pcap'), ETHERNET, made)
    for profile, name in (('sluice', 'vmpi'), ('irati', 'irati')):
        made = [r for r in hostile(rng, read_pcap(lab.path(name + '.pcap')), AGREED_FRAMES // 3,
                                   lambda frame: 0) if len(r[2]) == r[3]]
        agree(lab, lab.path(f'damaged-{name}.pcap'), USER0, made, '-o', f'vmpi.profile:{profile}')


def write(lab):
    done = subprocess.run([lab.program, 'write', lab.folder], check=False)
    equal(done.returncode, 0, 'golden_dissector write')


TESTS = (test_traces, test_frames_of_ours, test_lines, test_lines_of_ours, test_flows,
         test_preferences, test_plugin, test_edges, test_hostile, test_agreement)


def main(program, root, *wanted):
    if not shutil.which('tshark'):
        print('no tshark: the dissector is not tested (scripts/install-deps installs it)')
        return SKIPPED
    failures = 0
    with tempfile.TemporaryDirectory(prefix='sluice-dissector-') as folder:
        lab = Lab(program, root, folder)
        write(lab)
        for test in (t for t in TESTS if not wanted or t.__name__ in wanted):
            began = time.monotonic()
            try:
                test(lab)
                print(f'{test.__name__}: ok ({time.monotonic() - began:.1f} s)', flush=True)
            except Failed as why:
                print(f'{test.__name__}: FAILED: {why}', flush=True)
                failures += 1
    return 1 if failures else 0


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__.strip())
    sys.exit(main(*sys.argv[1:]))
