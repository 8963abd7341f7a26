#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "perf.hpp"

namespace sluice::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFlowsMax = 512;
constexpr std::size_t kSduMax = 1u << 20;

// Clients that wait for their second flow, by ticket.
class Tickets {
  public:
    // A ticket that nobody has.
    std::uint32_t issue() {
        const std::lock_guard lock(mutex_);
        while (last_ == 0 || flows_.contains(last_)) ++last_;
        flows_[last_] = -1;
        return last_++;
    }
    // False if nobody waits for it.
    bool show(std::uint32_t ticket, int flow) {
        const std::lock_guard lock(mutex_);
        const auto found = flows_.find(ticket);
        if (found == flows_.end() || found->second >= 0) return false;
        found->second = flow;
        shown_.notify_all();
        return true;
    }
    // The flow, or -1 if it does not come.
    int await(std::uint32_t ticket) {
        std::unique_lock lock(mutex_);
        shown_.wait_for(lock, std::chrono::milliseconds(kDataFlowMs),
                        [&] { return flows_[ticket] >= 0; });
        const int flow = flows_[ticket];
        flows_.erase(ticket);
        return flow;
    }

  private:
    std::mutex mutex_;
    std::condition_variable shown_;
    std::map<std::uint32_t, int> flows_;
    std::uint32_t last_ = 1;
};

struct Server {
    Tickets tickets;
    std::atomic<int> flows{0};
    bool quiet = false;
};

// One test: what comes on the data flow is counted, and for ping and rr sent back.
class Test {
  public:
    Test(int control, int data, const PerfConfig& config)
        : control_(control), data_(data), config_(config), limit_(config.count) {
        buffer_.resize(kSduMax);
        ::fcntl(data, F_SETFL, O_NONBLOCK);
    }

    PerfResult run() {
        bool waits = true;
        while (waits && (limit_ == 0 || count_ < limit_)) {
            pollfd ready[2] = {{data_, POLLIN, 0}, {stopped_ ? -1 : control_, POLLIN, 0}};
            const int events = ::poll(ready, 2, kSilenceMs);
            if (events < 0 && errno == EINTR) continue;
            if (events <= 0) break;
            // What is there is counted before a stop is heard.
            waits = ready[0].revents == 0 || take();
            if (waits && ready[1].revents != 0) waits = hear();
        }
        return result();
    }

  private:
    // False when the flow is over.
    bool take() {
        for (int i = 0; i < 256 && (limit_ == 0 || count_ < limit_); ++i) {
            const ssize_t size = ::read(data_, buffer_.data(), buffer_.size());
            if (size < 0 && (errno == EAGAIN || errno == EINTR)) return true;
            if (size <= 0) return false;
            last_ = Clock::now();
            if (count_ == 0) first_ = last_;
            ++count_;
            bytes_ += static_cast<std::uint64_t>(size);
            if (config_.opcode != Opcode::perf && !send_back(static_cast<std::size_t>(size)))
                return false;
        }
        return true;
    }

    bool send_back(std::size_t size) {
        for (;;) {
            if (::write(data_, buffer_.data(), size) == static_cast<ssize_t>(size)) return true;
            if (errno == EINTR) continue;
            if (errno != EAGAIN || !wait_for(data_, POLLOUT, kSilenceMs)) return false;
        }
    }

    // False if the test is over.
    bool hear() {
        PerfBuffer message;
        PerfConfig config;
        const std::size_t size = read_message(control_, message, 0);
        stopped_ = true;
        if (!decode(message, size, config) || config.opcode != Opcode::stop) return false;
        // Sent, but not all of it here yet.
        limit_ = config.count;
        return limit_ != 0;
    }

    PerfResult result() const {
        PerfResult result;
        result.count = count_;
        const double seconds = std::chrono::duration<double>(last_ - first_).count();
        if (count_ < 2 || seconds <= 0) return result;
        // The first one only starts the clock.
        const double share = static_cast<double>(count_ - 1) / static_cast<double>(count_);
        result.sdus_per_second = static_cast<std::uint64_t>(
            static_cast<double>(count_ - 1) / seconds);
        result.bits_per_second =
            static_cast<std::uint64_t>(static_cast<double>(bytes_) * share * 8 / seconds);
        result.latency_ns = static_cast<std::uint64_t>(seconds * 1e9 /
                                                       static_cast<double>(count_ - 1));
        return result;
    }

    int control_;
    int data_;
    PerfConfig config_;
    std::uint64_t limit_;
    bool stopped_ = false;
    std::uint64_t count_ = 0;
    std::uint64_t bytes_ = 0;
    Clock::time_point first_;
    Clock::time_point last_;
    std::vector<char> buffer_;
};

void serve_client(Server& server, int control, const PerfConfig& config, const std::string& who) {
    PerfBuffer buffer;
    const std::uint32_t ticket = server.tickets.issue();
    const bool told = write_message(control, buffer, encode(ticket, buffer));
    const int data = server.tickets.await(ticket);
    if (told && data >= 0) {
        const PerfResult result = Test(control, data, config).run();
        write_message(control, buffer, encode(result, buffer));
        if (!server.quiet)
            fmt::print(stderr, "sluice-perf: '{}': {} SDUs, {} per second, {:.3f} Mbit/s\n", who,
                       result.count, result.sdus_per_second,
                       static_cast<double>(result.bits_per_second) / 1e6);
        // The client ends the flows, so that nothing of the result is lost.
        read_message(control, buffer, kResultMs);
    }
    if (data >= 0) {
        ::close(data);
        --server.flows;
    }
}

void serve_flow(Server& server, int flow, std::string who) {
    PerfBuffer buffer;
    PerfConfig config;
    const std::size_t size = read_message(flow, buffer, kSilenceMs);
    if (decode(buffer, size, config) && config.opcode == Opcode::data) {
        if (server.tickets.show(config.ticket, flow)) return;  // it is the client's thread's now
    } else if (decode(buffer, size, config) && config.opcode != Opcode::stop) {
        serve_client(server, flow, config, who);
    }
    ::close(flow);
    --server.flows;
}

}  // namespace

void run_perf_server(const PerfOptions& options) {
    static Server server;  // threads use it until the process ends
    server.quiet = options.quiet;
    const int listener = open_and_register(options.flow, options.server);
    if (!options.quiet) fmt::print(stderr, "sluice-perf: registered '{}'\n", options.server);
    for (;;) {
        char* remote = nullptr;
        const int flow = rina_flow_accept(listener, &remote, nullptr, 0);
        if (flow < 0) {
            if (errno == ECONNRESET) die_errno("cannot accept flows");
            if (errno != EINTR)
                fmt::print(stderr, "sluice-perf: a flow was not accepted: {}\n", errno_text(errno));
            continue;
        }
        const std::string who = remote;
        std::free(remote);
        if (++server.flows > kFlowsMax) {
            fmt::print(stderr, "sluice-perf: more than {} flows: '{}' is sent away\n", kFlowsMax,
                       who);
            ::close(flow);
            --server.flows;
            continue;
        }
        std::thread(serve_flow, std::ref(server), flow, who).detach();
    }
}

}  // namespace sluice::tools
