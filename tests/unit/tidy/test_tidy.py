#!/usr/bin/python3
"""Feeds scripts/tidy small trees: each rule must fire on what it bans, and on nothing else."""

import importlib.machinery
import importlib.util
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
SCRIPTS = os.path.join(os.path.dirname(os.path.realpath(__file__)), '..', '..', '..', 'scripts')


def load_tidy():
    loader = importlib.machinery.SourceFileLoader('tidy', os.path.join(SCRIPTS, 'tidy'))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('tidy', loader))
    sys.modules['tidy'] = module
    loader.exec_module(module)
    return module


tidy = load_tidy()
import tidy_cpp  # noqa: E402  (on the path once tidy is loaded)

HEADER = '#pragma once\n'
CLEAN = {
    'meson.build': "subdir('lib/base')\nsubdir('lib/stages')\nsubdir('lib/rina')\n",
    'lib/base/meson.build': "files('thing.cpp')\n",
    'lib/base/thing.hpp': HEADER + '#include <string>\nint thing(int a);\n',
    'lib/base/thing.cpp': '#include "base/thing.hpp"\n\nint thing(int a) { return a; }\n',
    'lib/rina/meson.build': "files('names.cpp')\n",
    'lib/rina/names.cpp': '#include "base/thing.hpp"\n\n// The random rain in Spain: time(0) "x".\n'
                          'const char* text() { return "std::thread rand() new"; }\n',
    'lib/stages/meson.build': "files('sink.cpp')\n",
    'lib/stages/sink.cpp': '#include <rte_mbuf.h>\n\n#include "base/thing.hpp"\n',
}


class Tree(unittest.TestCase):
    def findings(self, changes):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**CLEAN, **changes}.items():
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, 'w', encoding='utf-8') as file:
                    file.write(text)
            return tidy.check_tree(root)[0]

    def assert_clean(self, changes):
        self.assertEqual([str(finding) for finding in self.findings(changes)], [])

    def assert_found(self, path, line, what, changes):
        """Exactly this finding, at this place."""
        found = self.findings(changes)
        self.assertEqual([(f.path, f.line) for f in found], [(path, line)],
                         [str(f) for f in found])
        self.assertIn(what, found[0].what)
        return found[0]


class Text(Tree):
    def test_clean_tree_is_clean(self):
        self.assert_clean({})

    def test_long_line(self):
        base = CLEAN['lib/base/thing.cpp']
        self.assert_clean({'lib/base/thing.cpp': base + '//' + 'x' * 98 + '\n'})
        self.assert_found('lib/base/thing.cpp', 4, '101 columns',
                          {'lib/base/thing.cpp': base + '//' + 'x' * 99 + '\n'})

    def test_long_line_is_fine_in_prose(self):
        self.assert_clean({'README.md': 'x' * 300 + '\n', 'config/lab.toml': '#' * 300 + '\n'})

    def test_columns_are_characters(self):
        self.assert_clean({'scripts/x.py': '# ' + 'é' * 98 + '\n'})

    def test_blanks_tabs_and_last_newline(self):
        self.assert_found('docs/a.md', 2, 'blanks at the end', {'docs/a.md': 'a\nb \n'})
        self.assert_found('scripts/run.sh', 1, 'a tab', {'scripts/run.sh': 'a\tb\n'})
        self.assert_found('scripts/run', 2, 'a tab', {'scripts/run': '#!/bin/bash\na\tb\n'})
        self.assert_found('docs/a.md', 1, 'no newline', {'docs/a.md': 'a'})

    def test_data_is_left_alone(self):
        self.assert_clean({'tests/golden/case/expect.txt': 'a\tb  \nno newline'})

    def test_words_left_behind(self):
        for word in ('TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX'):
            self.assert_found('scripts/a.py', 1, word, {'scripts/a.py': f'# {word}: later\n'})
        self.assert_clean({'scripts/a.sh': 'mktemp /tmp/sluice.XXXXXX\n'})

    def test_forbidden_words(self):
        for text in ('../' + 'shared/x', 'see issue' + ' #12', 'issues' + ' show 3',
                     '(/' + 'work/main)', 'Fire' + 'cracker'):
            self.assert_found('docs/a.md', 1, 'stands here', {'docs/a.md': text + '\n'})
        self.assert_clean({'docs/a.md': 'a shared framework/workload issue, teamwork/x\n'})

    def test_shebang(self):
        self.assert_found('scripts/a', 1, 'python', {'scripts/a': '#!/usr/bin/env python3\n'})


class Shape(Tree):
    def test_file_length(self):
        base = CLEAN['lib/base/thing.cpp']
        warning = self.assert_found('lib/base/thing.cpp', 1, '803 lines',
                                    {'lib/base/thing.cpp': base + '\n' * 800})
        self.assertTrue(warning.warning)
        error = self.assert_found('lib/base/thing.cpp', 1, '1003 lines',
                                  {'lib/base/thing.cpp': base + '\n' * 1000})
        self.assertFalse(error.warning)

    def test_function_length(self):
        def body(lines):
            return {'lib/base/thing.cpp': '#include "base/thing.hpp"\nnamespace a {\n'
                    'int f(int a) {\n' + '    a++;\n' * (lines - 2) + '}\n}\n'}
        self.assert_clean(body(70))
        self.assertTrue(self.assert_found('lib/base/thing.cpp', 3, 'f has 71', body(71)).warning)
        self.assertFalse(self.assert_found('lib/base/thing.cpp', 3, 'f has 101', body(101)).warning)

    def test_python_function_length(self):
        text = 'def f():\n' + '    pass\n' * 100
        self.assert_found('scripts/a.py', 1, 'f has 101 lines', {'scripts/a.py': text})

    def test_long_class_is_not_a_function(self):
        self.assert_clean({'lib/base/thing.hpp': HEADER + 'struct alignas(64) S : B<int> {\n' +
                           '    int a{1};\n' * 120 + '};\n'})

    def test_header_rules(self):
        path = 'lib/base/thing.hpp'
        self.assert_found(path, 1, 'include guard', {path: 'int thing(int);\n'})
        self.assert_found(path, 2, 'using namespace', {path: HEADER + 'using namespace std;\n'})
        self.assert_found(path, 3, '/* */', {path: HEADER + '\n/* no */\n'})
        self.assert_clean({path: HEADER + '// using namespace std; /* quoted */ throw\n'})

    def test_file_names(self):
        self.assert_found('scripts/BadName.py', 1, 'BadName.py', {'scripts/BadName.py': 'pass\n'})

    def test_dead_files(self):
        cpp = 'lib/base/forgotten.cpp'
        self.assert_found(cpp, 1, 'no meson.build', {cpp: 'int a;\n'})
        self.assert_clean({cpp: 'int a;\n',
                           'lib/base/meson.build': "foreach n : ['thing', 'forgotten']\n"})
        self.assert_found('lib/base/unused.hpp', 1, 'nobody includes',
                          {'lib/base/unused.hpp': HEADER})
        self.assert_found('lib/rina/more/meson.build', 1, 'enters',
                          {'lib/rina/more/meson.build': '\n'})


class Includes(Tree):
    def include(self, path, name):
        build = path.rsplit('/', 1)[0]
        return {path: f'#include {name}\n', f'{build}/meson.build': f"'{path.split('/')[-1]}'\n",
                'meson.build': f"'lib/base' 'lib/rina' 'lib/stages' 'lib/dataplane' '{build}'\n"}

    def dataplane(self):
        return {'lib/dataplane/port.hpp': HEADER, 'lib/dataplane/port.cpp':
                '#include "dataplane/port.hpp"\n', 'lib/dataplane/meson.build': "'port.cpp'\n"}

    def test_libraries(self):
        self.assert_clean({**self.include('lib/stages/sink.cpp', '"dataplane/port.hpp"'),
                           **self.dataplane()})
        for path in ('lib/rina/names.cpp', 'lib/control/a.cpp', 'lib/shim_hv/core/a.cpp',
                     'lib/link_model/a.cpp', 'tests/sim/a.cpp'):
            self.assert_found(path, 1, 'includes "dataplane/port.hpp"',
                              {**self.include(path, '"dataplane/port.hpp"'), **self.dataplane()})

    def test_foreign_headers(self):
        for path, name in (('lib/rina/names.cpp', 'rte_mbuf.h'), ('lib/rina/names.cpp', 'thread'),
                           ('lib/shim_hv/core/a.cpp', 'chrono'), ('lib/tgen/core/a.cpp', 'random'),
                           ('lib/link_model/a.cpp', 'iostream'),
                           ('lib/control/a.cpp', 'rte_ring.h'), ('lib/ipc_api/a.cpp', 'rte_eal.h'),
                           ('lib/stages/sink.cpp', 'pcap.h'),
                           ('tests/sim/a.cpp', 'rte_mbuf.h'), ('lib/base/thing.cpp', 'chrono'),
                           ('lib/dataplane/a.cpp', 'nlohmann/json.hpp')):
            changes = {'lib/base/thing.hpp': HEADER + '#include "base/thing.hpp"\n',
                       **self.include(path, f'<{name}>')}
            self.assert_found(path, 1, f'<{name}>', changes)
        for path, name in (('lib/control/a.cpp', 'mutex'), ('lib/capture/a.cpp', 'pcap/pcap.h'),
                           ('lib/rina/names.cpp', 'fmt/format.h'), ('lib/rina/names.cpp', 'span')):
            self.assert_clean(self.include(path, f'<{name}>'))

    def test_log_below_the_purity_line(self):
        self.assert_found('lib/rina/names.cpp', 1, 'the log',
                          {**self.include('lib/rina/names.cpp', '"base/log.hpp"'),
                           'lib/base/log.hpp': HEADER})

    def test_includes_start_at_lib(self):
        self.assert_found('lib/stages/sink.cpp', 1, 'names no library',
                          self.include('lib/stages/sink.cpp', '"sink_helper.hpp"'))
        self.assert_found('lib/stages/sink.cpp', 1, 'is not there',
                          self.include('lib/stages/sink.cpp', '"base/gone.hpp"'))

    def test_commented_include_does_not_count(self):
        self.assert_clean({'lib/rina/names.cpp': '// #include <thread>\n'})

    def test_hidden_libraries(self):
        two = {**self.include('lib/pcap_writer/a.cpp', '<liburing.h>'),
               'lib/pcap_writer/b.cpp': '#include <liburing.h>\n',
               'lib/pcap_writer/meson.build': "'a.cpp' 'b.cpp'\n"}
        self.assert_found('lib/pcap_writer/b.cpp', 1, 'also in', two)

    def test_roles(self):
        app = {'app/meson.build': "'guest/main.cpp' 'vswitch/main.cpp'\n",
               'meson.build': CLEAN['meson.build'] + "'app'\n", 'app/vswitch/roles.hpp': HEADER,
               'app/shared_main.hpp': HEADER,
               'app/vswitch/main.cpp': '#include "roles.hpp"\n#include "shared_main.hpp"\n'}
        for name in ('shared_main.hpp', 'app/shared_main.hpp', '../shared_main.hpp'):
            shared = f'#include "{name}"\n'
            self.assert_clean({**app, 'app/guest/main.cpp': shared,
                               'app/vswitch/main.cpp': '#include "roles.hpp"\n' + shared})
        for name in ('../vswitch/roles.hpp', 'vswitch/roles.hpp', 'app/vswitch/roles.hpp'):
            self.assert_found('app/guest/main.cpp', 1, 'role guest includes',
                              {**app, 'app/guest/main.cpp': f'#include "{name}"\n'})


class Words(Tree):
    def in_core(self, statement):
        return {'lib/rina/names.cpp': f'void f() {{\n    {statement}\n}}\n'}

    def test_impure_words_in_a_core(self):
        for statement, what in (
                ('auto t = std::chrono::steady_clock::now();', 'clock'),
                ('clock_gettime(1, &ts);', 'clock'), ('auto t = ::time(nullptr);', 'clock'),
                ('auto t = __rdtsc();', 'clock'), ('int r = rand();', 'chance'),
                ('std::random_device device;', 'chance'), ('std::mutex lock;', 'threads'),
                ('static thread_local int x;', 'threads'), ('std::cout << 1;', 'output'),
                ('printf("x");', 'output'), ('fmt::print("x");', 'output'),
                ('log::info("rina", "x");', 'logging')):
            self.assert_found('lib/rina/names.cpp', 2, what, self.in_core(statement))

    def test_innocent_words_in_a_core(self):
        for statement in ('auto t = item.time(0);', 'int brand(3);', 'x = rng.rand();',
                          'auto s = fmt::format("{}", 1);', 'f("printf(x)"); // std::mutex',
                          'int operand (2);', "auto n = 1'000'000; char c = 'r';"):
            self.assert_clean(self.in_core(statement))

    def test_stages_are_handed_the_time(self):
        self.assert_found('lib/stages/sink.cpp', 1, 'clock',
                          {'lib/stages/sink.cpp': 'auto t = std::chrono::seconds(1);\n'})

    def test_exceptions_in_lib(self):
        self.assert_found('lib/base/thing.cpp', 3, 'exception', {
            'lib/base/thing.cpp': '#include "base/thing.hpp"\nvoid f() {\n    throw 1;\n}\n'})


class PacketPath(Tree):
    def in_stage(self, statement, head='void Sink::process(LoopCtx& ctx, Burst& burst) noexcept'):
        return {'lib/stages/sink.hpp': HEADER + 'struct Sink {\n    std::vector<int> items_;\n};\n',
                'lib/stages/sink.cpp': f'#include "stages/sink.hpp"\n{head} {{\n'
                                       f'    if (ctx.now) {{\n        {statement}\n    }}\n}}\n'}

    def test_banned_there(self):
        for statement, what in (
                ('log::warn("stages", "full");', 'logging'), ('auto* p = new int(3);', 'alloc'),
                ('auto* p = std::malloc(3);', 'alloc'), ('items_.push_back(1);', 'grows'),
                ('this->items_.resize(9);', 'grows'), ('std::string name(view);', 'std::string'),
                ('f(std::to_string(3));', 'std::string'), ('std::cout << 1;', 'text'),
                ('auto text = fmt::format("{}", 1);', 'text'),
                ('std::vector<int> local;', 'container'),
                ('auto p = std::make_unique<int>();', 'alloc')):
            self.assert_found('lib/stages/sink.cpp', 4, what, self.in_stage(statement))

    def test_innocent_there(self):
        for statement in ('out_.push_back(1);', 'const std::string& name = name_;',
                          'new (&slot) Item{};', 'renew(x); log_count++;',
                          'for (const std::vector<int>& v : all) use(v);',
                          'std::string_view view = name; // new std::string(x)'):
            self.assert_clean(self.in_stage(statement))

    def test_reserved_at_start(self):
        changes = self.in_stage('items_.push_back(1); items_.resize(kept);')
        changes['lib/stages/sink.cpp'] += 'Sink::Sink() {\n    items_.reserve(64);\n}\n'
        self.assert_clean(changes)
        self.assert_found('lib/stages/sink.cpp', 4, 'grows', self.in_stage('items_.reserve(9);'))

    def test_which_functions(self):
        bad = 'auto* p = new int(3);'
        for head in ('bool Sink::poll() noexcept', 'void drop_all(LoopCtx& ctx) noexcept',
                     'auto f(const LoopCtx & ctx) const noexcept -> int'):
            self.assert_found('lib/stages/sink.cpp', 4, 'alloc', self.in_stage(bad, head))
        for head in ('void Sink::configure(int a) noexcept', 'Sink::Sink(LoopCtx& ctx)',
                     'void poll_all() noexcept', 'void process() noexcept(false)'):
            self.assert_clean(self.in_stage(bad, head))

    def test_inline_member_in_a_header(self):
        text = HEADER + ('class S {\n    void poll(LoopCtx& c) noexcept override {\n'
                         '        throw_away(c);\n        auto* p = new int;\n    }\n};\n')
        self.assert_found('lib/stages/sink.hpp', 5, 'alloc',
                          {'lib/stages/sink.hpp': text,
                           'lib/stages/sink.cpp': '#include "stages/sink.hpp"\n'})

    def test_shared_ptr(self):
        self.assert_found('lib/stages/sink.cpp', 1, 'shared_ptr',
                          {'lib/stages/sink.cpp': 'std::shared_ptr<int> p;\n'})

    def test_other_folders_may(self):
        self.assert_clean({'lib/base/thing.cpp': '#include "base/thing.hpp"\n'
                           'void process(LoopCtx& c) noexcept { auto* p = new int; }\n'})


class Scanner(unittest.TestCase):
    def names(self, text):
        found = tidy_cpp.functions(tidy_cpp.strip(text).text)
        return [(f.name, f.first_line, f.last_line) for f in found]

    def test_heads(self):
        self.assertEqual(self.names('A::A(int a) : a_{a}, b_(2), c_{f(a)} {\n}\n'), [('A', 1, 2)])
        self.assertEqual(self.names('template <typename T = std::vector<int>>\nT f(T a = {}) {\n}'),
                         [('f', 1, 3)])
        self.assertEqual(self.names('bool A::operator==(const A& o) const { return 1; }'),
                         [('operator==', 1, 1)])
        self.assertEqual(self.names('auto f(int a) -> std::array<int, 2> { return {}; }'),
                         [('f', 1, 1)])
        self.assertEqual(self.names('TEST_CASE("a {") {\n  SECTION("b") { x(); }\n}\nint g() {}'),
                         [('TEST_CASE', 1, 3), ('g', 4, 4)])
        self.assertEqual(
            self.names('template <typename T>\n    requires(sizeof(T) > 1)\nint h() {}'),
            [('h', 1, 3)])

    def test_not_functions(self):
        for text in ('struct S { int a{1}; std::array<int, 2> b = {1, 2}; };',
                     'const Foo kTable[] = {{f(1), 2}, {3, 4}};', 'enum class E : int { a, b };',
                     'template <typename T> concept C = requires(T t) { t.a(); };',
                     'namespace a::b { extern "C" { int f(); } }', 'union { int a; };'):
            self.assertEqual(self.names(text), [], text)

    def test_lambda_at_namespace_scope(self):
        self.assertEqual(len(self.names('const auto f = [](int a) {\n    return a;\n};')), 1)

    def test_preprocessor_and_literals(self):
        text = ('#define OPEN {\n#if A\nint f() {\n#else\nint f(int) {\n#endif\n}\n'
                'const char* a = R"x(} " {)x"; const char b = \'{\';\nint g() {}\n')
        self.assertEqual([(name, last) for name, _, last in self.names(text)], [('f', 7), ('g', 9)])


if __name__ == '__main__':
    unittest.main()
