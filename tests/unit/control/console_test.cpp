#include "control/console.hpp"

#include <fcntl.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/log.hpp"
#include "control/client.hpp"
#include "control/json_server.hpp"
#include "sample_table.hpp"

using namespace sluice;
using namespace sluice::control;

namespace {

std::string logged;  // by the test's sink, on the test's own thread

struct Fixture {
    std::string folder;
    std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
    CommandTable table;
    bool ended = false;
    bool ended_well = false;

    Fixture() {
        char name[] = "/tmp/sluice-console-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        folder = name;
        sample::fill(table);
        table.add({"say <WHAT:rest>", Access::read, "Says it.",
                   [](const Args& args) -> Result<Value> { return Value(args.str("WHAT")); }});
        table.add({"quit", Access::write, "Ends the role.", [this](const Args&) -> Result<Value> {
                       loop->stop();
                       return Value();
                   }});
        logged.clear();
        log::set_sink([](log::Level, std::string_view, std::string_view text) {
            logged += std::string(text) + "\n";
        });
    }
    ~Fixture() {
        log::set_sink(nullptr);
        std::filesystem::remove_all(folder);
    }

    std::string file(const char* name, const std::string& text) const {
        const std::string path = folder + "/" + name;
        std::ofstream(path, std::ios::binary) << text;
        return path;
    }
    static std::string contents(const std::string& path) {
        std::stringstream text;
        text << std::ifstream(path, std::ios::binary).rdbuf();
        return text.str();
    }
    ConsoleOptions options(int input, std::FILE* output) {
        ConsoleOptions result;
        result.input = input;
        result.output = output;
        result.on_end = [this](bool ok) {
            ended = true;
            ended_well = ok;
        };
        return result;
    }
    // What a console without a terminal prints for this input.
    std::string script(const std::string& text) {
        const std::string out = folder + "/out";
        std::FILE* output = std::fopen(out.c_str(), "w");
        const int input = ::open(file("in", text).c_str(), O_RDONLY | O_CLOEXEC);
        REQUIRE(input >= 0);
        auto console = Console::start(*loop, table, options(input, output));
        REQUIRE(console);
        while (!ended && loop->run_once(Duration::seconds(10))) {
        }
        console->reset();
        ::close(input);
        std::fclose(output);
        return contents(out);
    }
};

// The terminal's other side.
struct Terminal {
    int master = -1;
    int slave = -1;
    std::FILE* output = nullptr;

    Terminal() {
        REQUIRE(::openpty(&master, &slave, nullptr, nullptr, nullptr) == 0);
        ::fcntl(master, F_SETFL, O_NONBLOCK);
        output = ::fdopen(::dup(slave), "w");
    }
    ~Terminal() {
        std::fclose(output);
        ::close(slave);
        ::close(master);
    }
    void type(std::string_view text) const {
        REQUIRE(::write(master, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }
};

// Runs `body` in a child process whose stdio are files; drives the loop until it is gone.
struct Ran {
    int code;
    std::string out;
    std::string err;
};

Ran attached(Fixture& fixture, const AttachOptions& options, const std::string& input = "") {
    const std::string in = fixture.file("stdin", input);
    const std::string out = fixture.file("stdout", "");
    const std::string err = fixture.file("stderr", "");
    std::fflush(nullptr);  // or the child writes our buffers too
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::dup2(::open(in.c_str(), O_RDONLY), 0);
        ::dup2(::open(out.c_str(), O_WRONLY), 1);
        ::dup2(::open(err.c_str(), O_WRONLY), 2);
        const int code = attach_main(options);
        std::fflush(nullptr);
        ::_exit(code);
    }
    int status = 0;
    while (::waitpid(child, &status, WNOHANG) == 0)
        fixture.loop->run_once(Duration::milliseconds(5));
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Fixture::contents(out),
            Fixture::contents(err)};
}

}  // namespace

TEST_CASE_METHOD(Fixture, "input that is no terminal is a script") {
    CHECK(script("say one\n\n# nothing\nsay two\n  say three") == "one\ntwo\nthree\n");
    CHECK(ended_well);
    CHECK(logged.empty());
}

TEST_CASE_METHOD(Fixture, "a script on standard input ends at its first error") {
    CHECK(script("say one\nshow prot\nsay two\n") == "one\n");
    CHECK_FALSE(ended_well);
    CHECK(logged ==
          "stdin:2: 'prot' does not fit here; expected: port, drops or lcores\n"
          "show prot\n     ^~~~\n");
}

TEST_CASE_METHOD(Fixture, "nothing behind quit is run") {
    CHECK(script("say one\nquit\nsay two\n") == "one\n");
    CHECK(loop->stopped());
}

TEST_CASE_METHOD(Fixture, "a script file stops at its first error and says where") {
    const std::string out = folder + "/out";
    std::FILE* output = std::fopen(out.c_str(), "w");
    CHECK(run_script(table, file("good", "say one\nsay two"), output));
    const std::string bad = file("bad", "say three\r\nfail now\nsay four\n");
    CHECK(run_script(table, bad, output).error().message ==
          bad + ":2: no port 'now'; really?[2J");
    const std::string worse = file("worse", "\n\nsho prot\n");
    CHECK(run_script(table, worse, output).error().message ==
          worse + ":3: 'prot' does not fit here; expected: port, drops or lcores\n"
                  "sho prot\n    ^~~~");
    bool stop = false;
    table.add({"halt", Access::write, "", [&](const Args&) -> Result<Value> {
                   stop = true;
                   return Value();
               }});
    CHECK(run_script(table, file("halting", "say five\nhalt\nsay six\n"), output,
                     [&] { return stop; }));
    CHECK(run_script(table, folder + "/none").error().message ==
          "cannot read script " + folder + "/none: No such file or directory");
    CHECK(run_script(table, folder).error().message == "script " + folder + " is a directory");
    std::fclose(output);
    CHECK(contents(out) == "one\ntwo\nthree\nfive\n");
}

namespace {

// A role with a prompt in a child process with a terminal of its own, so that it is in the
// foreground of it. Exits with 3 when stopped, 4 at the end of input.
struct PromptedChild {
    int master = -1;
    pid_t child = -1;
    std::string seen;

    PromptedChild(Fixture& fixture, const std::string& history) {
        std::fflush(nullptr);
        child = ::forkpty(&master, nullptr, nullptr, nullptr);
        REQUIRE(child >= 0);
        if (child != 0) return;
        ::setenv("TERM", "vt100", 1);
        auto with = fixture.options(0, stdout);
        with.prompt = "sluice-test> ";
        with.history_file = history;
        auto console = Console::start(*fixture.loop, fixture.table, std::move(with));
        if (!console) ::_exit(9);
        while (!fixture.ended && fixture.loop->run_once(Duration::seconds(10))) {
        }
        console->reset();
        std::fflush(nullptr);
        ::_exit(fixture.loop->stopped() ? 3 : fixture.ended_well ? 4 : 5);
    }
    ~PromptedChild() { ::close(master); }

    bool read_some() {
        std::array<char, 4096> piece;
        const ssize_t got = ::read(master, piece.data(), piece.size());
        if (got > 0) seen.append(piece.data(), static_cast<std::size_t>(got));
        return got > 0;
    }
    void expect(const char* text) {
        while (seen.find(text) == std::string::npos && read_some()) {
        }
        INFO(seen);
        REQUIRE(seen.find(text) != std::string::npos);
        seen.erase(0, seen.find(text) + std::string_view(text).size());
    }
    void type(std::string_view text) const {
        REQUIRE(::write(master, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }
    int exit_code() {
        while (read_some()) {
        }
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "the prompt on a terminal") {
    const std::string history = folder + "/history";
    PromptedChild role(*this, history);
    role.expect("sluice-test> ");
    role.type("say hello w\xc3\xb6rld\n");
    role.expect("\nhello w\xc3\xb6rld\r\n");
    role.expect("sluice-test> ");
    role.type("sh\tdr\t\n");
    role.expect("words: show, drops");
    role.expect("sluice-test> ");
    role.type("show \t");
    role.expect("drops");
    role.expect("lcores");
    role.expect("show ");
    role.type("lc\n");
    role.expect("words: show, lcores");
    role.expect("sluice-test> ");
    role.type("show prot\n");
    role.expect("'prot' does not fit here");
    role.expect("sluice-test> ");
    SECTION("the end of input ends the prompt") {
        role.type("\x04");
        CHECK(role.exit_code() == 4);
        CHECK(contents(history).find("show\\040prot") != std::string::npos);
    }
    SECTION("a command that stops the loop leaves no thread behind") {
        role.type("quit\n");
        CHECK(role.exit_code() == 3);
    }
}

TEST_CASE_METHOD(Fixture, "a background process leaves the terminal alone") {
    // A terminal that is not ours, so we are not in its foreground.
    Terminal terminal;
    auto console = Console::start(*loop, table, options(terminal.slave, terminal.output));
    REQUIRE(console);
    terminal.type("say hello\n");
    loop->run_once(Duration{});
    CHECK(logged == "no prompt: not in the foreground of the terminal\n");
    CHECK_FALSE(ended);
}

TEST_CASE_METHOD(Fixture, "attached clients run commands, scripts and standard input") {
    const std::string path = folder + "/s.sock";
    auto server = JsonServer::open(*loop, table, {path});
    REQUIRE(server);
    AttachOptions with;
    with.socket = path;

    SECTION("commands") {
        with.commands = {"say one", "show drops"};
        const Ran ran = attached(*this, with);
        CHECK(ran.code == 0);
        CHECK(ran.out == "one\nwords: show, drops\n");
        CHECK(ran.err.empty());
    }
    SECTION("the first error ends them") {
        with.commands = {"say one", "fail x", "say two"};
        const Ran ran = attached(*this, with);
        CHECK(ran.code == 1);
        CHECK(ran.out == "one\n");
        CHECK(ran.err == "no port 'x'; really?[2J\n");
    }
    SECTION("JSON") {
        with.json = true;
        with.commands = {"say one", "show prot"};
        const Ran ran = attached(*this, with);
        CHECK(ran.code == 1);
        CHECK(ran.err.empty());
        const std::size_t split = ran.out.find('\n');
        CHECK(ran.out.substr(0, split) == "\"one\"");
        const Value error = Value::parse(ran.out.substr(split + 1))["error"];
        CHECK(error["code"] == -32602);
        CHECK(error["expected"] == Value::parse(R"(["port","drops","lcores"])"));
        CHECK(error["message"].get<std::string>().find("^~~~") != std::string::npos);
    }
    SECTION("a script") {
        with.script = file("script", "say one\n\nshow prot\n");
        const Ran ran = attached(*this, with);
        CHECK(ran.code == 1);
        CHECK(ran.out == "one\n");
        CHECK(ran.err == *with.script +
                             ":3: 'prot' does not fit here; expected: port, drops or lcores\n"
                             "show prot\n     ^~~~\n");
    }
    SECTION("standard input, until quit, which does not reach the role") {
        const Ran ran = attached(*this, with, "say one\n quit \nsay two\n");
        CHECK(ran.code == 0);
        CHECK(ran.out == "one\n");
        CHECK_FALSE(loop->stopped());
    }
    SECTION("quit as a command does reach it") {
        with.commands = {"quit"};
        // The answer to quit is still delivered.
        const Ran ran = attached(*this, with);
        CHECK(ran.code == 0);
        CHECK(loop->stopped());
    }
    SECTION("nobody there") {
        with.socket = folder + "/none";
        with.commands = {"say one"};
        const Ran ran = attached(*this, with);
        CHECK(ran.code == 1);
        CHECK(ran.out.empty());
        CHECK(ran.err == "there is no socket " + folder + "/none: is the role running?\n");
        with.json = true;
        CHECK(Value::parse(attached(*this, with).out)["error"]["errno"] == ENOENT);
    }
}
