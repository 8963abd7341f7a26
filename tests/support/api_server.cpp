// The applications' socket with nothing but a DIF of this process behind it: for tests, and to try
// programs without a network. Says "ready" when applications may come, and its counters at the end.

#include <poll.h>
#include <sys/signalfd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <ctime>

#include "ipc_api/local_provider.hpp"
#include "ipc_api/server.hpp"

using namespace sluice;
using namespace sluice::ipc_api;

namespace {

Instant now() {
    timespec time = {};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return Instant{std::int64_t{time.tv_sec} * 1000000000 + time.tv_nsec};
}

int signals() {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGTERM);
    ::sigaddset(&set, SIGINT);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    return ::signalfd(-1, &set, SFD_CLOEXEC);
}

void print(const ServerCounters& server, const LocalCounters& local) {
    fmt::print("connections={} registrations={} flows={} sdus={} lost={} refused_access={} "
               "dropped_malformed={} dropped_unread={} lost_answers={}\n",
               server.connections, server.registrations, server.flows, local.sdus, local.lost,
               server.refused_access, server.dropped_malformed, server.dropped_unread,
               server.lost_answers);
}

int serve(ServerOptions options, LocalOptions local) {
    auto provider = LocalProvider::create(std::move(local));
    if (!provider) {
        fmt::print(stderr, "api-server: {}\n", provider.error().message);
        return 1;
    }
    auto server = ApiServer::open(std::move(options), **provider);
    if (!server) {
        fmt::print(stderr, "api-server: {}\n", server.error().message);
        return 1;
    }
    pollfd watched[] = {{signals(), POLLIN, 0},
                        {(*server)->fd(), POLLIN, 0},
                        {(*provider)->fd(), POLLIN, 0}};
    fmt::print("ready\n");
    std::fflush(stdout);
    while (::poll(watched, 3, -1) >= 0 && watched[0].revents == 0) {
        if (watched[1].revents != 0) (*server)->on_ready(now());
        if (watched[2].revents != 0) (*provider)->on_ready();
    }
    print((*server)->counters(), (*provider)->counters());
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("The applications' socket with a DIF of this process behind it.");
    ServerOptions options;
    LocalOptions local;
    std::string deny;
    options.socket.mode = 0600;
    app.add_option("--socket", options.socket.path, "path of the socket")->required();
    app.add_option("--max-sdu", local.max_sdu, "longest SDU of a flow");
    app.add_option("--bandwidth", local.bandwidth_max, "refuse flows that want more, bit/s");
    app.add_option("--deny", deny, "names that nobody may register");
    CLI11_PARSE(app, argc, argv);
    if (!deny.empty()) {
        AccessRule no;
        no.action = Action::register_name;
        no.names = deny;
        no.allow = false;
        options.rules = {no, AccessRule{}};
    }
    return serve(std::move(options), std::move(local));
}
