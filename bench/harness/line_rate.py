"""Full 10 GbE at 64 bytes, open loop: our generator sends frames on a schedule over vhost-user, one
core captures them into a ring of files, and what is in the files is compared with what was sent.

A generator that is late catches up by a bounded burst and gives the rest up; that, and what the
virtqueue did not take, was not sent or not received in time and counts against the run, whoever
is to blame. What the capture received and did not write would be its own loss."""

import glob
import json
import os
import subprocess
import time

from .contest import GUEST_CORE, HOST_CORE
from .process import BenchError, Child
from .sluice import READY, Control

RATE_PPS = 14_880_952   # 10 Gb/s of 64-byte frames with preamble, gap and checksum
SECONDS, QUICK_SECONDS = 60.0, 5.0
ALONE_SECONDS = 5.0
# Others on the machine get their turn, but not whole time slices of it.
URGENT = ('nice', '-n', '-19')
FILE_KB, FILES = 2_000_000, 4
QUEUE_SIZE = 4096       # what a 10 Gb/s NIC has, 275 us of this rate
METHOD = {
    'sent': 'frames that the schedule was due, from the first to the last one captured',
    'given_up': 'of the schedule: the generator was more than 1024 frames late',
    'tx_ring_full': 'the capture had not emptied the virtqueue in 200 us',
    'lost_by_capture': 'received and not written, plus what the port says it missed',
    'stalls': 'iterations of an lcore of 50 us or more while the generator ran: its own work, '
              'another thread on its CPU, or a CPU that the hypervisor took away',
    'priority': 'both roles run with nice -19',
    'stalls_alone': 'the same two lcores, polling and doing nothing, before the generator starts',
    'stamps': 'read back from the files that are left: numbers complete, time never backwards, '
              'and how much later than the quickest frame of its 10 ms a frame was stamped',
    'cores': 'the generator on one, all of sluice-capture (lcore, control thread, writer) on the '
             'other',
}


def generator_config(directory, size):
    return f'''[runtime]
socket = "{directory}/gen.control"
idle = "busy"
[mempool]
mbufs_extra = 8192
[[port]]
name = "wire"
device = "net_vhost0,iface={directory}/wire.sock,queues=1"
tx_descriptors = {QUEUE_SIZE}
[[stage]]
name = "gen"
kind = "txgen"
[stage.params]
size = "{size}"
rate = "{RATE_PPS}pps"
[[edge]]
from = "gen"
to = "wire"
backpressure = "drop_tail"
'''


class Generator:
    def __init__(self, workspace, build, size):
        directory = workspace.directory
        config = os.path.join(directory, 'gen.toml')
        with open(config, 'w') as file:
            file.write(generator_config(directory, size))
        command = [*URGENT, os.path.join(build, 'app', 'sluice-console'),
                   '--lcores', f'0@{GUEST_CORE},1@{GUEST_CORE}', '--no-pci',
                   '--file-prefix', f'gen-{os.getpid()}', *workspace.memory_args(256),
                   '--', '--config', config]
        self.child = Child('generator', command, os.path.join(directory, 'gen.log'))
        self.child.wait_log(READY, 20)
        self.control = Control(os.path.join(directory, 'gen.control'))
        # It waits for the capture, so that nothing is sent to nobody.
        self.control.run('stop')

    def stalls(self):
        return stalls_of(self.control)

    def counts(self):
        out = {'sent': 0, 'given_up': 0, 'pool_empty': 0}
        for row in self.control.run('show stages'):
            if row['stage'] == 'gen':
                out['sent'] = row['packets_out']
                out['given_up'] = row['counters']['given_up']
                out['pool_empty'] = row['counters']['pool_empty']
        drops = {row['reason']: row['packets'] for row in self.control.run('show drops') or []}
        return {**out, 'drops': drops}

    def close(self):
        self.control.close()
        self.child.end()


def stalls_of(control):
    """By kind, of the one lcore of a role."""
    return control.run('show lcores')[0]['stalls']


def stalls_between(before, after):
    return {kind: {'count': row['count'] - before[kind]['count'],
                   'us': row['us'] - before[kind]['us'], 'longest_us': row['longest_us']}
            for kind, row in after.items()}


def capture_command(workspace, build, folder, ring):
    path = os.path.join(workspace.directory, 'wire.sock')
    device = (f'net_virtio_user0,path={path},queues=1,queue_size={QUEUE_SIZE},mrg_rxbuf=0,'
              f'in_order=1,packed_vq={int(ring == "packed")}')
    return [*URGENT, os.path.join(build, 'app', 'sluice-capture'),
            '--lcores', f'0@{HOST_CORE},1@{HOST_CORE}', '--no-pci',
            '--file-prefix', f'cap-{os.getpid()}', *workspace.memory_args(768),
            '--vdev', device, '--', '-i', 'net_virtio_user0', '-q', '--json', '-B', '512',
            '--idle', 'busy',
            '-b', f'filesize:{FILE_KB}', '-b', f'files:{FILES}',
            '--socket', os.path.join(workspace.directory, 'cap.control'),
            '-w', os.path.join(folder, 'line.pcap')]


def check_files(build, folder):
    files = sorted(glob.glob(os.path.join(folder, 'line_*.pcap')))
    done = subprocess.run([os.path.join(build, 'bench', 'stamps'), *files], capture_output=True,
                          text=True, check=False)
    if not done.stdout:
        raise BenchError(f'stamps: {done.stderr.strip()}')
    return {'files': len(files), **json.loads(done.stdout)}


def run_once(workspace, options, ring, seconds):
    folder = os.path.join(options.dir, f'sluice-line-{os.getpid()}')
    os.mkdir(folder)
    generator = capture = None
    try:
        generator = Generator(workspace, options.build, 64)
        log = os.path.join(workspace.directory, 'cap.log')
        report = os.path.join(workspace.directory, 'cap.json')
        with open(report, 'wb') as out:
            capture = Child('sluice-capture',
                            capture_command(workspace, options.build, folder, ring), log,
                            stdout=out)
            capture.wait_log(READY, 30)
            watched = Control(os.path.join(workspace.directory, 'cap.control'))
            time.sleep(1)
            before = generator.counts()
            stalls = {'capture': stalls_of(watched), 'generator': generator.stalls()}
            # The same two cores, polling, with nothing to do: what the machine does by itself.
            time.sleep(ALONE_SECONDS)
            alone = stalls
            stalls = {'capture': stalls_of(watched), 'generator': generator.stalls()}
            alone = {side: stalls_between(alone[side], stalls[side]) for side in stalls}
            begin = time.monotonic()
            generator.control.run('start')
            time.sleep(seconds)
            generator.control.run('stop')
            lasted = time.monotonic() - begin
            time.sleep(0.5)
            after = generator.counts()
            stalls = {'capture': stalls_between(stalls['capture'], stalls_of(watched)),
                      'generator': stalls_between(stalls['generator'], generator.stalls())}
            watched.close()
            code = capture.end()
        if code != 0:
            capture.fail(f'ended with {code}')
        with open(report) as file:
            row = json.load(file)['captures'][0]
        return {**result_of(row, before, after, lasted, ring,
                            check_files(options.build, folder)),
                'stalls': stalls, 'stalls_alone': alone, 'alone_seconds': ALONE_SECONDS}
    finally:
        for side in (generator and generator.close, capture and capture.end):
            if side:
                side()
        for path in glob.glob(os.path.join(folder, '*')):
            os.unlink(path)
        os.rmdir(folder)


def result_of(row, before, after, lasted, ring, stamps):
    drops = {k: v - before['drops'].get(k, 0) for k, v in after['drops'].items()}
    drops = {k: v for k, v in drops.items() if v}
    sent = after['sent'] - before['sent']
    given_up = after['given_up'] - before['given_up']
    lost = row['received'] - row['written'] + sum(row['drops'].values()) - (
        row['drops']['no_chunk'] + row['drops']['disk_error'])
    return {'ring': ring, 'seconds': lasted, 'due': sent + given_up, 'sent': sent,
            'given_up': given_up, 'not_taken': drops, 'received': row['received'],
            'written': row['written'], 'lost_by_capture': lost, 'drops': row['drops'],
            'mpps': row['received'] / lasted / 1e6, 'files_begun': row['files'],
            'cycles_per_packet': row['cycles_per_packet'],
            'writer_cycles_per_packet': row['writer_cycles_per_packet'],
            'stamp_error_ns': row['stamp_error_ns'], 'stamps': stamps}


def run(workspace, options):
    seconds = options.window or (QUICK_SECONDS if options.quick else SECONDS)
    rows = []
    for ring in options.rings or ['packed']:
        row = run_once(workspace, options, ring, seconds)
        rows.append(row)
        print(f'{ring:<6} {row["seconds"]:.1f} s: {row["received"]} of {row["due"]} due received '
              f'({row["mpps"]:.2f} Mpps), given up {row["given_up"]}, '
              f'not taken {row["not_taken"]}; '
              f'written {row["written"]}, lost by the capture {row["lost_by_capture"]}; '
              f'{row["cycles_per_packet"]} cycles a packet; stamps {row["stamps"]["late_ns"]}, '
              f'backwards {row["stamps"]["backwards"]}', flush=True)
        for when in ('stalls_alone', 'stalls'):
            seconds = ALONE_SECONDS if when == 'stalls_alone' else row['seconds']
            for side, kinds in row[when].items():
                print(f'       {when} of the {side} in {seconds:.0f} s (number, us in all): ' +
                      ', '.join(f'{kind} {s["count"]}, {s["us"]}' for kind, s in kinds.items()) +
                      f'; longest own {kinds["own"]["longest_us"]} us', flush=True)
    return {'rate_pps': RATE_PPS, 'method': METHOD, 'rows': rows}
