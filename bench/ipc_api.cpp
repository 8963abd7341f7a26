// What an SDU costs on its way from an application: over a bare SOCK_SEQPACKET pair as the measure,
// over one end of a flow (FlowSocket) in each direction, and from application to application
// through the process of the server. Rounds take turns, so that what else the machine does hits all
// alike.

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <rina/api.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "ipc_api/local_provider.hpp"
#include "ipc_api/server.hpp"

using namespace sluice;
using namespace sluice::ipc_api;

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kBurst = 32;

struct Load {
    std::size_t size;
    std::uint32_t max_sdu;
    std::size_t count;
};

void write_all(int fd, const Load& load) {
    const std::vector<char> sdu(load.size, 'x');
    for (std::size_t i = 0; i < load.count; ++i)
        if (::write(fd, sdu.data(), sdu.size()) < 0) std::abort();
}

void read_all(int fd, const Load& load) {
    std::vector<char> sdu(65536);
    for (std::size_t i = 0; i < load.count; ++i)
        if (::read(fd, sdu.data(), sdu.size()) != static_cast<ssize_t>(load.size)) std::abort();
}

// SDUs per second of a writer and a reader in threads of their own.
double timed(const Load& load, const std::function<void()>& writer,
             const std::function<void()>& reader) {
    const auto begin = Clock::now();
    std::thread writing(writer);
    reader();
    writing.join();
    return static_cast<double>(load.count) /
           std::chrono::duration<double>(Clock::now() - begin).count();
}

double bare(const Load& load) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0) std::abort();
    const OwnedFd from(ends[0]);
    const OwnedFd to(ends[1]);
    return timed(load, [&] { write_all(from.get(), load); }, [&] { read_all(to.get(), load); });
}

FlowSocket flow(const Load& load, OwnedFd& app) {
    FlowSocketOptions options;
    options.max_sdu = load.max_sdu;
    auto made = FlowSocket::open(options, app);
    if (!made) std::abort();
    return std::move(*made);
}

double from_app(const Load& load) {
    OwnedFd app;
    FlowSocket ours = flow(load, app);
    std::vector<std::byte> bytes(kBurst * load.max_sdu);
    std::vector<FlowSocket::Slot> slots;
    for (std::size_t i = 0; i < kBurst; ++i)
        slots.push_back({bytes.data() + i * load.max_sdu, load.max_sdu, 0});
    return timed(load, [&] { write_all(app.get(), load); }, [&] {
        for (std::size_t got = 0; got < load.count;) {
            const std::size_t count = ours.read(slots);
            got += count;
            pollfd wait = {ours.fd(), POLLIN, 0};
            if (count == 0) ::poll(&wait, 1, -1);
        }
    });
}

double to_app(const Load& load) {
    OwnedFd app;
    FlowSocket ours = flow(load, app);
    std::vector<char> sdu(load.size, 'x');
    const std::vector<iovec> burst(kBurst, iovec{sdu.data(), sdu.size()});
    const auto writer = [&] {
        for (std::size_t left = load.count; left > 0;) {
            const std::size_t count = ours.write(std::span(burst).first(std::min(left, kBurst)));
            left -= count;
            pollfd wait = {ours.fd(), POLLOUT, 0};
            if (count == 0) ::poll(&wait, 1, -1);
        }
    };
    return timed(load, writer, [&] { read_all(app.get(), load); });
}

// The server, its DIF and both applications, all in this process.
double through(const Load& load) {
    LocalOptions local;
    local.max_sdu = load.max_sdu;
    ServerOptions options;
    options.socket.path = fmt::format("/tmp/sluice-bench-{}.sock", ::getpid());
    auto provider = LocalProvider::create(local);
    auto server = ApiServer::open(options, **provider);
    if (!server) std::abort();
    ::setenv("SLUICE_API", options.socket.path.c_str(), 1);
    const OwnedFd stop(::eventfd(0, 0));
    std::thread serving([&] {
        pollfd wait[] = {{stop.get(), POLLIN, 0},
                         {(*server)->fd(), POLLIN, 0},
                         {(*provider)->fd(), POLLIN, 0}};
        while (::poll(wait, 3, -1) > 0 && wait[0].revents == 0) {
            if (wait[1].revents != 0) (*server)->on_ready(Instant::zero());
            if (wait[2].revents != 0) (*provider)->on_ready();
        }
    });
    const OwnedFd listener(rina_open());
    rina_flow_spec spec;
    rina_flow_spec_unreliable(&spec);
    spec.max_sdu_gap = 0;
    if (rina_register(listener.get(), nullptr, "bench", 0) < 0) std::abort();
    const int wait = rina_flow_alloc(nullptr, "me", "bench", &spec, RINA_F_NOWAIT);
    const OwnedFd to(rina_flow_accept(listener.get(), nullptr, nullptr, 0));
    const OwnedFd from(rina_flow_alloc_wait(wait));
    if (!to.valid() || !from.valid()) std::abort();
    const double rate =
        timed(load, [&] { write_all(from.get(), load); }, [&] { read_all(to.get(), load); });
    const std::uint64_t one = 1;
    if (::write(stop.get(), &one, sizeof one) < 0) std::abort();
    serving.join();
    return rate;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 7;
    const std::size_t count = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 200000;
    const std::pair<const char*, double (*)(const Load&)> paths[] = {
        {"bare pair", bare}, {"app to flow", from_app}, {"flow to app", to_app},
        {"app to app", through}};
    fmt::print("{:>6} {:>8} {:>14} {:>14} {:>10}\n", "size", "max SDU", "path", "SDU/s",
               "of bare");
    for (const Load& load : {Load{64, 65000, count}, Load{1400, 65000, count},
                             Load{64, 1400, count}, Load{1400, 1400, count}}) {
        std::vector<double> rates[std::size(paths)];
        for (std::size_t i = 0; i < rounds; ++i)
            for (std::size_t p = 0; p < std::size(paths); ++p)
                rates[p].push_back(paths[p].second(load));
        for (std::size_t p = 0; p < std::size(paths); ++p)
            fmt::print("{:>6} {:>8} {:>14} {:>14.0f} {:>10.2f}\n", load.size, load.max_sdu,
                       paths[p].first, median(rates[p]), median(rates[p]) / median(rates[0]));
    }
    return 0;
}
