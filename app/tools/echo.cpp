// sluice-echo: sends back what comes, or sends something and looks at what comes back. Its names
// are those of rlite's rina-echo-async, with which it speaks.

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include "flow_options.hpp"

using namespace sluice::tools;

namespace {

constexpr char kServer[] = "rina-echo-async|server";
constexpr char kClient[] = "rina-echo-async|client";
constexpr std::size_t kSduMax = 1u << 20;
constexpr int kAnswerMs = 10000;

// A flow with an SDU that it has no room for yet, if any.
struct Echo {
    int fd = -1;
    std::vector<char> held;
};

// False when the flow is over.
bool echo(Echo& flow, std::vector<char>& buffer, bool quiet) {
    for (int i = 0; i < 64; ++i) {
        if (flow.held.empty()) {
            const ssize_t size = ::read(flow.fd, buffer.data(), buffer.size());
            if (size < 0 && (errno == EAGAIN || errno == EINTR)) return true;
            if (size <= 0) return false;
            flow.held.assign(buffer.data(), buffer.data() + size);
        }
        if (::write(flow.fd, flow.held.data(), flow.held.size()) < 0) {
            if (errno == EAGAIN || errno == EINTR) return true;
            if (errno != EMSGSIZE) return false;
            if (!quiet)
                fmt::print(stderr, "sluice-echo: an SDU of {} bytes is too long to go back\n",
                           flow.held.size());
        }
        flow.held.clear();
    }
    return true;
}

void take_flow(int listener, std::vector<Echo>& flows, bool quiet) {
    char* remote = nullptr;
    const int fd = rina_flow_accept(listener, &remote, nullptr, 0);
    if (fd < 0) {
        if (errno == EAGAIN || errno == EINTR) return;
        if (errno == ECONNRESET) die_errno("cannot accept flows");
        fmt::print(stderr, "sluice-echo: a flow was not accepted: {}\n", errno_text(errno));
        return;
    }
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    if (!quiet) fmt::print(stderr, "sluice-echo: flow from '{}'\n", remote);
    std::free(remote);
    flows.push_back({fd, {}});
}

[[noreturn]] void serve(const FlowOptions& options, const std::string& name, bool quiet) {
    const int listener = open_and_register(options, name);
    ::fcntl(listener, F_SETFL, O_NONBLOCK);
    if (!quiet) fmt::print(stderr, "sluice-echo: registered '{}'\n", name);
    std::vector<char> buffer(kSduMax);
    std::vector<Echo> flows;
    std::vector<pollfd> ready;
    for (;;) {
        ready.assign(1, {listener, POLLIN, 0});
        for (const Echo& flow : flows)
            ready.push_back({flow.fd, static_cast<short>(flow.held.empty() ? POLLIN : POLLOUT), 0});
        if (::poll(ready.data(), ready.size(), -1) < 0) continue;
        for (std::size_t i = flows.size(); i-- > 0;) {
            if (ready[i + 1].revents == 0 || echo(flows[i], buffer, quiet)) continue;
            ::close(flows[i].fd);
            flows.erase(flows.begin() + static_cast<std::ptrdiff_t>(i));
        }
        if (ready[0].revents != 0) take_flow(listener, flows, quiet);
    }
}

void ask(const FlowOptions& options, const std::string& name, std::uint64_t count,
         std::size_t size, bool quiet) {
    const int flow = allocate(options, name, spec_of(options, false));
    if (size > rina_flow_mss_get(flow))
        die(fmt::format("--size is {}; this flow takes SDUs of at most {} bytes", size,
                        rina_flow_mss_get(flow)));
    // What rina-echo-async says, with the zero byte behind it, if no size is asked for.
    std::string text = "Hello guys, this is a test message!";
    text.push_back('\0');
    if (size != 0) text.assign(size, 'x');
    std::vector<char> back(kSduMax);
    for (std::uint64_t i = 0; i < count; ++i) {
        using Clock = std::chrono::steady_clock;
        const auto begin = Clock::now();
        if (::write(flow, text.data(), text.size()) < 0) die_errno("the flow has ended");
        if (!wait_for(flow, POLLIN, kAnswerMs))
            die(fmt::format("SDU {} did not come back within {} s", i + 1, kAnswerMs / 1000));
        const ssize_t got = ::read(flow, back.data(), back.size());
        if (got <= 0) die("the peer has ended the flow");
        if (static_cast<std::size_t>(got) != text.size() ||
            std::memcmp(back.data(), text.data(), text.size()) != 0)
            die(fmt::format("SDU {} came back changed: {} bytes, {} were sent", i + 1, got,
                            text.size()));
        const std::chrono::duration<double, std::micro> time = Clock::now() - begin;
        if (!quiet) fmt::print("{} bytes from '{}': {:.1f} us\n", got, name, time.count());
    }
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app(
        "Sends back what comes over flows; without -l, sends something and checks that it comes "
        "back.");
    FlowOptions options;
    std::string name = kServer;
    bool listen = false;
    bool quiet = false;
    std::uint64_t count = 1;
    std::size_t size = 0;
    app.add_option("NAME", name, "name of the server: process|instance|entity|instance")
        ->capture_default_str();
    app.add_flag("-l,--listen", listen, "be the server");
    app.add_option("-c,--count", count, "SDUs to send")->capture_default_str();
    app.add_option("-s,--size", size, "bytes of each; 0: a short text")->capture_default_str();
    app.add_flag("-q,--quiet", quiet, "say nothing but errors");
    add_flow_options(app, options);
    parse(app, argc, argv);
    if (options.local.empty()) options.local = kClient;
    if (listen) serve(options, name, quiet);
    ask(options, name, count, size, quiet);
    return 0;
}
