"""The rules of the house as data: who may include whom, and which words may stand where.

The include table is docs/architecture.md, section 1, in a form that a machine can hold us to.
"""

import re
from dataclasses import dataclass

# What a standard or third-party header brings in. First match wins.
HEADER_KINDS = [
    ('dpdk', r'(dpdk/)?rte_\w+\.h|(dpdk/)?(bus|ethdev)_\w+\.h'),
    ('threads', r'thread|mutex|shared_mutex|atomic|condition_variable|future|semaphore|barrier|'
                r'latch|stop_token|stdatomic\.h|pthread\.h|sched\.h|threads\.h'),
    ('clocks', r'chrono|ctime|time\.h|sys/time(fd|s)?\.h'),
    ('random', r'random|sys/random\.h'),
    ('io', r'iostream|fstream|ostream|istream|cstdio|stdio\.h|filesystem|unistd\.h|fcntl\.h|'
           r'poll\.h|netdb\.h|dirent\.h|sys/(socket|un|epoll|eventfd|uio|ioctl|mman|select)\.h|'
           r'netinet/\w+\.h|arpa/inet\.h|net/if\w*\.h|linux/if\w*\.h'),
    ('fmt', r'fmt/\w+\.h'),
    ('expected', r'tl/expected\.hpp'),
    ('json', r'nlohmann/.*'),
    ('toml', r'toml\+\+/.*|toml\.hpp|toml\+\+\.h'),
    ('edit', r'histedit\.h|editline/.*'),
    ('pcap', r'pcap\.h|pcap/.*'),
    ('uring', r'liburing\.h'),
    ('compress', r'zstd\.h|lz4\w*\.h'),
    ('crypto', r'openssl/.*'),
    ('protobuf', r'google/protobuf/.*|.*\.pb\.h'),
    ('http', r'httplib\.h'),
    ('cli11', r'CLI/.*'),
    ('test', r'catch2/.*|rapidcheck.*|benchmark/.*'),
]
HEADER_KINDS = [(kind, re.compile(f'(?:{pattern})$')) for kind, pattern in HEADER_KINDS]

# Kinds that one .cpp of a library hides from everybody else.
HIDDEN_KINDS = {'uring', 'compress', 'crypto', 'protobuf', 'http', 'pcap'}

CORES = ('shim_hv/core', 'shim_eth/core', 'shim_udp/core', 'normal_dif/core', 'tgen/core')
LIBRARIES = CORES + (
    'base', 'rina', 'link_model', 'pcap_writer', 'shim_hv/dp', 'shim_eth/dp', 'shim_udp/dp',
    'normal_dif/dp', 'tgen/dp', 'dataplane', 'stages', 'capture', 'control', 'ipc_api')


@dataclass(frozen=True)
class Folder:
    libs: frozenset      # other libraries it may include
    kinds: frozenset     # kinds of foreign headers it may include
    pure: bool = False   # below the purity line: no clocks, threads, chance or output
    packets: bool = False  # holds functions of the packet path


def folder(libs='', kinds='', **flags):
    return Folder(frozenset(libs.split()), frozenset(kinds.split()) | {'fmt', 'expected'}, **flags)


def core():
    return folder('base rina', 'crypto', pure=True)


def adapter(own):
    return folder(f'{own} dataplane rina base', 'dpdk threads', packets=True)


TABLE = {
    'lib/base': folder('', 'threads io'),
    'lib/rina': folder('base', 'protobuf', pure=True),
    'lib/link_model': folder('base', pure=True),
    'lib/pcap_writer': folder('base', 'uring compress io'),
    'lib/shim_hv/core': core(),
    'lib/shim_eth/core': core(),
    'lib/shim_udp/core': core(),
    'lib/normal_dif/core': core(),
    'lib/tgen/core': core(),
    'lib/dataplane': folder('base', 'dpdk threads clocks io', packets=True),
    'lib/shim_hv/dp': adapter('shim_hv/core'),
    'lib/shim_eth/dp': adapter('shim_eth/core'),
    'lib/shim_udp/dp': adapter('shim_udp/core'),
    'lib/normal_dif/dp': adapter('normal_dif/core'),
    'lib/tgen/dp': adapter('tgen/core'),
    'lib/stages': folder('dataplane link_model base', 'dpdk threads', packets=True),
    # The ends of pcap_in and pcap_out: all there that reads files or the time of day.
    'lib/stages/pcap_file.cpp': folder('dataplane stages base', 'dpdk threads pcap clocks io',
                                       packets=True),
    'lib/capture': folder('dataplane pcap_writer base', 'dpdk pcap threads clocks io',
                          packets=True),
    'lib/control': folder('base', 'json toml edit http threads clocks io'),
    'lib/ipc_api': folder('base rina', 'threads clocks io'),
    'tests/sim': folder('base rina link_model ' + ' '.join(CORES), 'test cli11 io toml'),
}

INSTEAD = {
    'dpdk': 'DPDK stays above the purity line: put the code into a dp/ adapter or lib/dataplane',
    'threads': 'state has one owner here; cross over with Published, Mailbox or Punt',
    'clocks': 'take "Instant now" as a parameter',
    'random': 'take a seeded Rng from base/rng.hpp as a parameter',
    'io': 'return a value or an Outbox and let the caller do the output',
    'json': 'JSON belongs to lib/control', 'toml': 'TOML belongs to lib/control',
    'edit': 'the prompt belongs to lib/control', 'http': 'HTTP belongs to lib/control',
    'pcap': 'libpcap belongs to lib/capture', 'cli11': 'command lines belong to app/',
    'uring': 'io_uring belongs to lib/pcap_writer', 'test': 'test libraries belong to tests/',
    'compress': 'compression belongs to lib/pcap_writer',
    'crypto': 'libcrypto belongs to SDU protection', 'protobuf': 'protobuf belongs to lib/rina',
}


def rule(pattern, what, instead):
    return re.compile(pattern), what, instead


CALL = r'(?<![\w.>])(?:std::|::)?'
CLOCK_WORDS = rule(
    r'\bstd::chrono\b|' + CALL + r'(?:clock_gettime|gettimeofday|timerfd_create)\s*\(|'
    r'\b_*rdtscp?\b|' + CALL + r'time\s*\(\s*(?:nullptr|NULL|0|&\w+)\s*\)|\bstd::time\s*\(',
    'a clock is read', INSTEAD['clocks'])
CHANCE_WORDS = rule(
    CALL + r's?rand(?:_r)?\s*\(|\brandom_device\b|\bstd::(?:mt19937|minstd_rand|'
    r'default_random_engine|uniform_\w+_distribution)\b|' + CALL + r'(?:getrandom|arc4random)\s*\(',
    'chance that is not seeded', INSTEAD['random'])
THREAD_WORDS = rule(
    r'\bstd::(?:j?thread|mutex|shared_mutex|atomic\w*|lock_guard|unique_lock|scoped_lock|'
    r'condition_variable\w*|async|future|call_once)\b|\bthread_local\b|\bpthread_\w+',
    'threads', INSTEAD['threads'])
OUTPUT_WORDS = rule(
    r'\bstd::(?:cout|cerr|clog)\b|' + CALL + r'(?:v?f?printf|puts|fputs|perror)\s*\(|'
    r'\bfmt::print\s*\(', 'output', INSTEAD['io'])
LOG_WORDS = rule(r'\blog::(?:error|warn|info|debug|write)\s*\(|\bRTE_LOG\s*\(|\brte_log\s*\(',
                 'logging', 'count it, or hand it to the caller')

PURE_WORDS = [CLOCK_WORDS, CHANCE_WORDS, THREAD_WORDS, OUTPUT_WORDS, LOG_WORDS]
SIM_WORDS = [CLOCK_WORDS, CHANCE_WORDS]
# The loop takes the time once per iteration; these folders are handed it.
HANDED_THE_TIME = ('lib/stages', 'lib/shim_hv/dp', 'lib/shim_eth/dp', 'lib/shim_udp/dp',
                   'lib/normal_dif/dp', 'lib/tgen/dp')

PACKET_WORDS = [
    rule(LOG_WORDS[0].pattern, 'logging on the packet path',
         'count it, or send it through the Punt'),
    rule(OUTPUT_WORDS[0].pattern + r'|' + CALL + r'v?snprintf\s*\(|\bfmt::(?:format\w*|print)\s*\(',
         'text on the packet path', 'count it, and let the control thread put it into words'),
    rule(r'(?<!operator )\bnew\b(?!\s*\()|' + CALL + r'(?:malloc|calloc|realloc|strdup)\s*\(|'
         r'\bstd::make_(?:unique|shared)\b|\brte_[zm]*alloc\w*\s*\(',
         'allocation on the packet path', 'size it from the config at start'),
    rule(r'\bstd::(?:to_string\b|o?stringstream\b|string\s*[({]|string\s+\w)',
         'a std::string is built on the packet path', 'use std::string_view or a FixedVec'),
    rule(r'\bstd::(?:vector|deque|list|map|unordered_map|set)\s*<[^;(){}&*]*>\s*[\w({]',
         'a container is built on the packet path', 'use a FixedVec or a member sized at start'),
    rule(r'\bthrow\b', 'an exception on the packet path', 'count a DropReason'),
]
VECTOR_NAME = re.compile(r'\bstd::(?:vector|deque|string)\b(?:\s*<[^;(){}]*>)?\s+(\w+)\s*[;{=]')
GROWING = r'\s*\.\s*(push_back|emplace_back|emplace|resize|insert|append|assign)\s*\('
RESERVING = r'\s*\.\s*reserve\s*\('
RESERVED = re.compile(r'\b(\w+)\s*\.\s*reserve\s*\(')
PACKET_NAMES = {'process', 'poll', 'on_timeout'}

# In pieces, so that this file passes its own test.
FORBIDDEN = [(re.compile(pattern, re.IGNORECASE), shown) for pattern, shown in (
    (r'\.\./' + 'shared' + r'\b', '../' + 'shared'), (r'\bissue' + r'\s*#\s*\d*', 'issue' + ' #'),
    (r'\bissues' + r'\s+show\b', 'issues' + ' show'), (r'(?<![\w.])/' + 'work/', '/' + 'work/'),
    ('fire' + 'cracker', 'fire' + 'cracker'))]
LATER = re.compile(r'\b(?:TO' + r'DO|FIX' + r'ME|X' + r'XX)\b')
