#include "ipc_api/access.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>

#include "ipc_api/listener.hpp"
#include "ipc_api/packets.hpp"

using namespace sluice;
using namespace sluice::ipc_api;

TEST_CASE("the first rule that fits decides") {
    const Peer alice{1000, 100, 1};
    const Peer bob{1001, 100, 2};
    CHECK(may({}, alice, Action::register_name, "anything"));
    const std::vector<AccessRule> rules = {
        {.uid = 1000, .gid = {}, .action = Action::register_name, .names = "web|*"},
        {.uid = {}, .gid = {}, .action = {}, .names = "secret*", .allow = false},
        {.uid = {}, .gid = 100, .action = Action::allocate_to, .names = "*"},
    };
    CHECK(may(rules, alice, Action::register_name, "web|1"));
    CHECK_FALSE(may(rules, alice, Action::register_name, "web"));
    CHECK_FALSE(may(rules, bob, Action::register_name, "web|1"));
    CHECK(may(rules, bob, Action::allocate_to, "web|1|x"));
    CHECK_FALSE(may(rules, bob, Action::allocate_to, "secret|1"));
    CHECK_FALSE(may(rules, bob, Action::allocate_from, "web|1"));
    const std::vector<AccessRule> exact = {{.uid = {}, .gid = {}, .action = {}, .names = "web"}};
    CHECK(may(exact, bob, Action::allocate_to, "web"));
    CHECK_FALSE(may(exact, bob, Action::allocate_to, "web/1"));  // a '/' is nothing special
    CHECK_FALSE(may(rules, {5, 5, 5}, Action::allocate_to, "web"));
}

namespace {

struct Folder {
    Folder() {
        char name[] = "/tmp/sluice-ipc-api-XXXXXX";
        path = ::mkdtemp(name);
    }
    ~Folder() { ::rmdir(path.c_str()); }
    std::string path;
};

bool exists(const std::string& path) {
    struct stat status = {};
    return ::lstat(path.c_str(), &status) == 0;
}

}  // namespace

TEST_CASE("the socket's file has its mode, and one owner at a time") {
    Folder folder;
    SocketFile file;
    file.path = folder.path + "/api.sock";
    file.mode = 0622;
    file.owner = ::getuid();
    {
        auto listener = Listener::open(file);
        REQUIRE(listener);
        struct stat status = {};
        REQUIRE(::stat(file.path.c_str(), &status) == 0);
        CHECK((status.st_mode & 07777) == 0622);
        const auto second = Listener::open(file);
        REQUIRE_FALSE(second);
        CHECK(second.error().code == EADDRINUSE);
    }
    CHECK_FALSE(exists(file.path));
    CHECK_FALSE(exists(file.path + ".lock"));
}

TEST_CASE("what is no socket is left alone") {
    Folder folder;
    SocketFile file;
    file.path = folder.path + "/api.sock";
    REQUIRE(::mkdir(file.path.c_str(), 0700) == 0);
    const auto listener = Listener::open(file);
    REQUIRE_FALSE(listener);
    CHECK(listener.error().code == EEXIST);
    CHECK(::rmdir(file.path.c_str()) == 0);
    file.path = std::string(200, 'x');
    CHECK(Listener::open(file).error().code == ENAMETOOLONG);
    file.path = "";
    CHECK_FALSE(Listener::open(file));
    file.path = folder.path + "/no/such/folder/api.sock";
    CHECK(Listener::open(file).error().code == ENOENT);
}

TEST_CASE("an answer goes to an end of a socket pair only") {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    OwnedFd a(ends[0]);
    OwnedFd b(ends[1]);
    CHECK(is_answer_socket(a.get()));
    CHECK_FALSE(is_answer_socket(-1));
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    OwnedFd c(ends[0]);
    OwnedFd d(ends[1]);
    CHECK_FALSE(is_answer_socket(c.get()));
    REQUIRE(::pipe(ends) == 0);
    OwnedFd e(ends[0]);
    OwnedFd f(ends[1]);
    CHECK_FALSE(is_answer_socket(f.get()));
    OwnedFd inet(::socket(AF_INET, SOCK_DGRAM, 0));
    CHECK_FALSE(is_answer_socket(inet.get()));
    OwnedFd alone(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
    CHECK_FALSE(is_answer_socket(alone.get()));
    // Connected to somebody who takes us for the one that talks.
    Folder folder;
    SocketFile file;
    file.path = folder.path + "/service.sock";
    auto service = Listener::open(file);
    REQUIRE(service);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, file.path.data(), file.path.size());
    REQUIRE(::connect(alone.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
            0);
    CHECK_FALSE(is_answer_socket(alone.get()));
}
