#include "control/json_server.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "control/client.hpp"
#include "control/unix_socket.hpp"
#include "sample_table.hpp"

using namespace sluice;
using namespace sluice::control;

namespace {

struct TemporaryFolder {
    std::string path;
    TemporaryFolder() {
        char name[] = "/tmp/sluice-socket-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        path = name;
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path); }
};

// A server on the test's own thread: raw peers drive the loop between their steps.
struct Fixture {
    TemporaryFolder folder;
    std::string path = folder.path + "/s.sock";
    std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
    CommandTable table;
    std::unique_ptr<JsonServer> server;

    Fixture() {
        sample::fill(table);
        table.add({"big", Access::read, "A long answer.", [](const Args&) -> Result<Value> {
                       return Value(std::string(200000, 'x'));
                   }});
        open({});
    }
    void open(JsonServerOptions options) {
        options.path = path;
        options.name = "sluice-test";
        auto opened = JsonServer::open(*loop, table, options);
        if (!opened) FAIL(opened.error().message);
        server = std::move(*opened);
    }
    void spin(int rounds = 4) {
        for (int i = 0; i < rounds; ++i) loop->run_once(Duration{});
    }
};

struct Peer {
    Fixture& fixture;
    OwnedFd socket;
    std::string received;
    bool closed = false;

    explicit Peer(Fixture& f) : fixture(f) {
        auto connected = connect_unix(f.path);
        REQUIRE(connected);
        socket = std::move(*connected);
        f.spin();
    }
    void send(std::string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t sent =
                ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0) {
                REQUIRE(errno == EAGAIN);
                fixture.spin();
                continue;
            }
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
        fixture.spin();
    }
    void receive() {
        fixture.spin();
        std::array<char, 65536> piece;
        for (;;) {
            const ssize_t got = ::recv(socket.get(), piece.data(), piece.size(), MSG_DONTWAIT);
            if (got > 0) {
                received.append(piece.data(), static_cast<std::size_t>(got));
                fixture.spin(1);
                continue;
            }
            closed = got == 0 || errno == ECONNRESET;
            return;
        }
    }
    std::string ask(std::string_view bytes) {
        received.clear();
        send(bytes);
        receive();
        return received;
    }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "requests are answered") {
    Peer peer(*this);
    CHECK(peer.ask("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"show.drops\"}\n") ==
          "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"words\":[\"show\",\"drops\"]}}\n");
    CHECK(peer.ask("{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"show.port.stats\","
                   "\"params\":{\"port\":\"p0\"}}\r\n") ==
          "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{\"words\":[\"show\",\"port\",\"stats\","
          "\"p0\"],\"PORT\":\"p0\"}}\n");
    CHECK(peer.ask("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"fail\"}\n") ==
          "{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32000,\"message\":"
          "\"no port ''; really?[2J\",\"data\":{\"errno\":19}}}\n");
    CHECK(peer.ask("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"show.port.stats\"}\n") ==
          "{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":-32602,\"message\":"
          "\"param 'port' is missing; expected: all or PORT\","
          "\"data\":{\"expected\":[\"all\",\"PORT\"]}}}\n");
    CHECK(peer.ask("{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"console.execute\","
                   "\"params\":{\"line\":\"show dr\"}}\n") ==
          "{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{\"value\":{\"words\":[\"show\","
          "\"drops\"]}}}\n");
    CHECK(peer.ask("{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"console.complete\","
                   "\"params\":{\"line\":\"sh xx\",\"cursor\":2}}\n") ==
          "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":[\"show\"]}\n");
    CHECK(Value::parse(peer.ask("{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"commands\"}\n"))
              ["result"] == table.describe());
}

TEST_CASE_METHOD(Fixture, "lines may come in pieces, or several at once") {
    Peer peer(*this);
    const std::string line = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"show.drops\"}\n";
    const std::string answer =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"words\":[\"show\",\"drops\"]}}\n";
    for (std::size_t i = 0; i + 1 < line.size(); ++i) {
        peer.send(line.substr(i, 1));
        peer.receive();
        REQUIRE(peer.received.empty());
    }
    CHECK(peer.ask(line.substr(line.size() - 1)) == answer);
    CHECK(peer.ask(line + "\n  \n" + line + line.substr(0, 10)) == answer + answer);
    CHECK(peer.ask(line.substr(10)) == answer);
    // The last line needs no newline if the sending side is shut down.
    peer.received.clear();
    peer.send(line.substr(0, line.size() - 1));
    ::shutdown(peer.socket.get(), SHUT_WR);
    peer.receive();
    CHECK(peer.received == answer);
    peer.receive();
    CHECK(peer.closed);
    CHECK(server->clients() == 0);
}

TEST_CASE_METHOD(Fixture, "garbage is an error and not the end") {
    Peer peer(*this);
    const auto code = [&](const std::string& line) {
        const auto answer = Value::parse(peer.ask(line + "\n"), nullptr, false);
        return answer.is_object() && answer.contains("error")
                   ? answer["error"]["code"].get<int>() : 0;
    };
    for (const char* line : {"x", "{", "\xff\xfe", "{\"jsonrpc\":", "\"\xff\"", "nul", "}"})
        CHECK(code(line) == -32700);
    CHECK(code(std::string(100000, '[')) == -32700);
    CHECK(code(std::string(100, '[') + std::string(100, ']')) == -32700);
    for (const char* line :
         {"1", "\"x\"", "null", "[]", "{}", "{\"jsonrpc\":\"1.0\",\"method\":\"stop\"}",
          "{\"jsonrpc\":\"2.0\",\"id\":1}", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}",
          "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"stop\"}",
          "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stop\",\"params\":5}"})
        CHECK(code(line) == -32600);
    CHECK(code("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"no.such\"}") == -32601);
    CHECK(code("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"console.execute\"}") == -32602);
    CHECK(code("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"show.drops\"}") == 0);
    CHECK(server->clients() == 1);
}

TEST_CASE_METHOD(Fixture, "batches and notifications") {
    Peer peer(*this);
    const std::string one = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"show.drops\"}";
    const std::string note = "{\"jsonrpc\":\"2.0\",\"method\":\"show.drops\"}";
    const std::string answer =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"words\":[\"show\",\"drops\"]}}";
    CHECK(peer.ask(note + "\n").empty());
    CHECK(peer.ask("[" + note + "," + note + "]\n").empty());
    CHECK(peer.ask("[" + one + "," + note + "," + one + "]\n") ==
          "[" + answer + "," + answer + "]\n");
    CHECK(peer.ask("[1]\n").starts_with("[{\"jsonrpc\":\"2.0\",\"id\":null,\"error\""));
    std::string many = "[" + one;
    for (int i = 0; i < 1024; ++i) many += "," + one;
    CHECK(Value::parse(peer.ask(many + "]\n"))["error"]["code"] == -32600);
}

TEST_CASE_METHOD(Fixture, "a line that is too long gets an error and the end") {
    Peer peer(*this);
    peer.send("{\"jsonrpc\":\"" + std::string(3u << 20, 'x') + "\"}\n");
    peer.receive();
    CHECK(peer.received ==
          "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":"
          "\"the line is longer than 1048576 bytes\"}}\n");
    CHECK(peer.closed);
    // It goes on sending: no more than so much is taken.
    std::string more(1u << 20, 'x');
    bool cut = false;
    for (int i = 0; i < 1000 && !cut; ++i) {
        const ssize_t sent =
            ::send(peer.socket.get(), more.data(), more.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        cut = sent < 0 && errno != EAGAIN;
        spin(64);
    }
    CHECK(cut);
    CHECK(server->clients() == 0);
}

TEST_CASE_METHOD(Fixture, "a client that does not read is dropped, the others are served") {
    Peer slow(*this);
    Peer good(*this);
    const std::string line = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\"}\n";
    CHECK(server->clients() == 2);
    for (int i = 0; i < 200 && server->clients() == 2; ++i) {
        static_cast<void>(
            ::send(slow.socket.get(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
        spin(1);
    }
    CHECK(server->clients() == 1);
    CHECK(good.ask(line).size() == 200037);
    // One batch cannot do it either.
    std::string batch = "[" + line.substr(0, line.size() - 1);
    for (int i = 0; i < 1000; ++i) batch += "," + line.substr(0, line.size() - 1);
    CHECK(good.ask(batch + "]\n") ==
          "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":"
          "\"the answers have more than 8388608 bytes; "
          "42 requests of the batch were carried out\"}}\n");
    // Nor one answer; its client learns why.
    table.add({"huge", Access::read, "Too long an answer.", [](const Args&) -> Result<Value> {
                   return Value(std::string(9u << 20, 'x'));
               }});
    CHECK(good.ask("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"huge\"}\n") ==
          "{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-32000,\"message\":"
          "\"the answer has 9437221 bytes; at most 8388608 are possible\"}}\n");
}

TEST_CASE_METHOD(Fixture, "a long answer reaches a slow reader whole") {
    Peer peer(*this);
    std::string lines;
    for (int i = 0; i < 20; ++i)
        lines += "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\"}\n";
    peer.send(lines);
    for (int i = 0; i < 2000 && peer.received.size() < 20u * 200037u; ++i) peer.receive();
    CHECK(peer.received.size() == 20u * 200037u);
}

TEST_CASE_METHOD(Fixture, "clients come and go") {
    server.reset();
    JsonServerOptions options;
    options.clients_max = 2;
    open(options);
    {
        Peer a(*this);
        Peer b(*this);
        Peer c(*this);
        c.receive();
        CHECK(c.received.find("there are 2 clients already") != std::string::npos);
        CHECK(c.closed);
        CHECK(server->clients() == 2);
    }
    spin();
    CHECK(server->clients() == 0);
}

TEST_CASE_METHOD(Fixture, "a read-only socket refuses to write") {
    server.reset();
    JsonServerOptions options;
    options.access = Access::read;
    open(options);
    Peer peer(*this);
    CHECK(Value::parse(peer.ask("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stop\"}\n"))["error"]
                      ["code"] == CommandError::kRefused);
    CHECK(Value::parse(peer.ask("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"console.execute\","
                                "\"params\":{\"line\":\"stop\"}}\n"))["error"]["code"] ==
          CommandError::kRefused);
}

TEST_CASE_METHOD(Fixture, "the socket is ours alone") {
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0600);
    const auto second = JsonServer::open(*loop, table, {path});
    REQUIRE_FALSE(second);
    CHECK(second.error().code == EADDRINUSE);
    CHECK(second.error().message ==
          "socket " + path + " is in use by another running instance");
    // The refused one has not disturbed the first.
    Peer peer(*this);
    CHECK_FALSE(peer.ask("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"show.drops\"}\n").empty());
    // Without the lock file somebody is found all the same.
    std::filesystem::remove(path + ".lock");
    CHECK(JsonServer::open(*loop, table, {path}).error().message ==
          "socket " + path + " is in use by another running instance");
    server.reset();
    CHECK(std::filesystem::is_empty(folder.path));
}

TEST_CASE_METHOD(Fixture, "a stale socket is removed, other files are not") {
    const std::string stale = folder.path + "/stale.sock";
    {
        // Bound and closed without unlink: what a killed process leaves behind.
        auto listening = ListeningSocket::open(stale);
        REQUIRE(listening);
        std::filesystem::create_hard_link(stale, stale + ".kept");
    }
    std::filesystem::rename(stale + ".kept", stale);
    REQUIRE(std::filesystem::is_socket(stale));
    CHECK(JsonServer::open(*loop, table, {stale}));

    const std::string file = folder.path + "/file";
    std::ofstream(file) << "precious";
    CHECK(JsonServer::open(*loop, table, {file}).error().message ==
          file + " exists and is not a socket; remove it or choose another path");
    CHECK(std::filesystem::file_size(file) == 8);
}

TEST_CASE_METHOD(Fixture, "paths that cannot be") {
    const auto message = [&](const std::string& bad) {
        const auto opened = JsonServer::open(*loop, table, {bad});
        return opened ? std::string("no error") : opened.error().message;
    };
    CHECK(message("") == "the socket path is empty");
    const std::string longer(200, 'x');
    CHECK(message("/tmp/" + longer) == "socket path '/tmp/" + longer +
                                           "' has 205 bytes; at most 107 are possible");
    const std::string deep = folder.path + "/a/b/s.sock";
    CHECK(message(deep) == "cannot make directory " + folder.path + "/a/b for socket " + deep +
                               ": No such file or directory");
    CHECK(message(folder.path + "/new/s.sock") == "no error");
    struct stat status {};
    REQUIRE(::stat((folder.path + "/new").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0700);
}

TEST_CASE_METHOD(Fixture, "the blocking client") {
    CHECK(Client::connect(folder.path + "/none").error().message ==
          "there is no socket " + folder.path + "/none: is the role running?");
    std::thread serving([&] { loop->run(); });
    auto client = Client::connect(path);
    if (client) {
        const auto value = client->execute("show port stats all");
        CHECK((value && value->dump() == R"({"words":["show","port","stats","all"]})"));
        const auto wrong = client->run("show prot");
        CHECK(wrong.error().message ==
              "show prot\n     ^~~~\n'prot' does not fit here; expected: port, drops or lcores");
        CHECK(wrong.error().expected == std::vector<std::string>{"port", "drops", "lcores"});
        CHECK(client->execute("fail x").error().code == ENODEV);
        CHECK(client->run("").value().is_null());
        CHECK(client->complete("sh", 2) == std::vector<std::string>{"show"});
        CHECK(client->call("console.hello", Value()).value()["name"] == "sluice-test");
        CHECK(client->execute("big").value() == std::string(200000, 'x'));
    }
    loop->stop();
    serving.join();
    REQUIRE(client);
    server.reset();
    CHECK(client->run("show drops").error().rpc_code == CommandError::kFailed);
    CHECK_FALSE(client->connected());
    CHECK(client->run("show drops").error().code == ENOTCONN);
}
