#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "perf.hpp"

namespace sluice::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kEchoMs = 1000;
constexpr int kLostInARow = 9;
constexpr std::size_t kPerfSize = 1460;
constexpr std::size_t kPingSize = 64;
constexpr std::size_t kSduMax = 1u << 20;

std::atomic<bool> interrupted{false};

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Report {
    std::string failure;  // none: it went well
    std::size_t size = 0;
    std::uint64_t sent = 0;
    std::uint64_t lost = 0;  // ping and rr: not back in time
    double seconds = 0;
    std::vector<double> round_trips_us;
    PerfResult server;
};

// One client: two flows and a test.
class Client {
  public:
    Client(const PerfOptions& options, const rina_flow_spec& spec)
        : options_(options), spec_(spec) {}
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() {
        if (data_ >= 0) ::close(data_);
        if (control_ >= 0) ::close(control_);
    }

    Report run() {
        if (!prepare()) return std::move(report_);
        const Clock::time_point begin = Clock::now();
        if (options_.test == Opcode::perf)
            send_all(begin);
        else
            round_trips(begin);
        if (report_.failure.empty()) conclude();
        return std::move(report_);
    }

  private:
    bool fail(const std::string& text) {
        if (report_.failure.empty()) report_.failure = text;
        return false;
    }

    bool allocate_flow(int& flow) {
        const int wait = rina_flow_alloc(options_.flow.dif_or_null(), options_.flow.local.c_str(),
                                         options_.server.c_str(), &spec_, RINA_F_NOWAIT);
        const std::string what = "cannot allocate a flow to '" + options_.server + "': ";
        if (wait < 0) return fail(what + errno_text(errno));
        if (!wait_for(wait, POLLIN, kDataFlowMs)) {
            ::close(wait);
            return fail(what + "no answer");
        }
        flow = rina_flow_alloc_wait(wait);
        return flow >= 0 || fail(what + errno_text(errno));
    }

    bool prepare() {
        if (!allocate_flow(control_)) return false;
        const std::size_t mss = std::min<std::size_t>(rina_flow_mss_get(control_), kSduMax);
        const std::size_t usual = options_.test == Opcode::perf ? kPerfSize : kPingSize;
        report_.size = options_.size != 0 ? options_.size : std::min(mss, usual);
        if (report_.size > mss || report_.size < 2)
            return fail(fmt::format("--size is {}; this flow takes SDUs of 2 to {} bytes",
                                    report_.size, mss));
        PerfConfig config;
        config.count = options_.count;
        config.opcode = options_.test;
        config.size = static_cast<std::uint32_t>(report_.size);
        PerfBuffer buffer;
        if (!write_message(control_, buffer, encode(config, buffer)))
            return fail("the server ended the control flow");
        if (!decode(buffer, read_message(control_, buffer, kTicketMs), config.ticket))
            return fail("the server gave no ticket");
        if (!allocate_flow(data_)) return false;
        config.opcode = Opcode::data;
        if (!write_message(data_, buffer, encode(config, buffer)))
            return fail("the server ended the data flow");
        ::fcntl(data_, F_SETFL, O_NONBLOCK);
        return true;
    }

    bool more(Clock::time_point begin) const {
        if (interrupted.load(std::memory_order_relaxed)) return false;
        if (options_.count != 0 && report_.sent >= options_.count) return false;
        return options_.seconds <= 0 || seconds_since(begin) < options_.seconds;
    }

    // False if the flow is over, or full for too long.
    bool send(const std::vector<std::uint8_t>& sdu) {
        for (;;) {
            if (::write(data_, sdu.data(), sdu.size()) >= 0) return true;
            if (errno == EAGAIN && !wait_for(data_, POLLOUT, kSilenceMs))
                return fail("nothing could be sent for 10 s");
            if (errno != EAGAIN && errno != EINTR)
                return fail("the data flow has ended: " + errno_text(errno));
        }
    }

    void send_all(Clock::time_point begin) {
        const std::vector<std::uint8_t> sdu(report_.size, 'x');
        const auto step = std::chrono::microseconds(options_.interval_us);
        Clock::time_point next = begin;
        Clock::time_point told = begin;
        std::uint64_t told_count = 0;
        // The clock costs more than a short SDU does.
        while ((options_.interval_us == 0 && report_.sent % 32 != 0 &&
                (options_.count == 0 || report_.sent < options_.count)) ||
               more(begin)) {
            if (options_.interval_us != 0) {
                std::this_thread::sleep_until(next);
                next += step;
            }
            if (!send(sdu)) return;
            ++report_.sent;
            if (options_.report && report_.sent % 32 == 0 &&
                seconds_since(told) >= *options_.report) {
                tell(seconds_since(begin), report_.sent - told_count, seconds_since(told));
                told = Clock::now();
                told_count = report_.sent;
            }
        }
        report_.seconds = seconds_since(begin);
    }

    void tell(double at, std::uint64_t sdus, double seconds) const {
        const double rate = static_cast<double>(sdus) / seconds;
        fmt::print(stderr, "{:8.1f} s  {:12.0f} SDU/s  {:10.3f} Mbit/s\n", at, rate,
                   rate * static_cast<double>(report_.size) * 8 / 1e6);
    }

    void round_trips(Clock::time_point begin) {
        std::vector<std::uint8_t> sdu(report_.size, 'x');
        std::vector<std::uint8_t> back(kSduMax);
        int lost = 0;
        const std::uint64_t pause = options_.interval_us != 0          ? options_.interval_us
                                    : options_.test == Opcode::ping ? 1000000
                                                                       : 0;
        while (more(begin)) {
            const auto number = static_cast<std::uint16_t>(report_.sent);
            sdu[0] = static_cast<std::uint8_t>(number);
            sdu[1] = static_cast<std::uint8_t>(number >> 8);
            const Clock::time_point sent = Clock::now();
            if (!send(sdu)) return;
            ++report_.sent;
            if (!come_back(sdu, back)) {
                ++report_.lost;
                if (!report_.failure.empty()) return;
                if (++lost == kLostInARow) {
                    fail(fmt::format("{} SDUs in a row did not come back", lost));
                    return;
                }
                continue;
            }
            lost = 0;
            const double us = seconds_since(sent) * 1e6;
            report_.round_trips_us.push_back(us);
            if (options_.test == Opcode::ping && !options_.quiet && !options_.json)
                fmt::print("{} bytes from '{}': {} in {:.1f} us\n", sdu.size(), options_.server,
                           report_.sent, us);
            if (pause != 0 && more(begin))
                std::this_thread::sleep_for(std::chrono::microseconds(pause));
        }
        report_.seconds = seconds_since(begin);
    }

    // Late ones of before are passed over.
    bool come_back(const std::vector<std::uint8_t>& sdu, std::vector<std::uint8_t>& back) {
        while (wait_for(data_, POLLIN, kEchoMs)) {
            const ssize_t size = ::read(data_, back.data(), back.size());
            if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue;
            if (size <= 0) return fail("the server ended the data flow");
            if (static_cast<std::size_t>(size) == sdu.size() &&
                std::equal(sdu.begin(), sdu.end(), back.begin()))
                return true;
        }
        return false;
    }

    void conclude() {
        // So that a stop does not overtake SDUs where it can.
        if (options_.test != Opcode::ping)
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
        PerfConfig stop;
        stop.opcode = Opcode::stop;
        if (spec_.max_sdu_gap == 0) stop.count = report_.sent;
        PerfBuffer buffer;
        // The server may have counted all of them, answered, and be gone.
        write_message(control_, buffer, encode(stop, buffer));
        if (!decode(buffer, read_message(control_, buffer, kResultMs), report_.server))
            fail("the server told no result");
    }

    const PerfOptions& options_;
    rina_flow_spec spec_;
    int control_ = -1;
    int data_ = -1;
    Report report_;
};

double percentile(std::vector<double>& sorted, double share) {
    const auto at = static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5);
    return sorted[at];
}

nlohmann::json as_json(const PerfOptions& options, Report& report) {
    nlohmann::json json = {{"size", report.size}, {"sent", report.sent}};
    json["seconds"] = report.seconds;
    if (options.test == Opcode::perf) {
        json["sent_per_second"] = report.seconds > 0
                                      ? static_cast<double>(report.sent) / report.seconds
                                      : 0.0;
        json["server"] = {{"received", report.server.count},
                          {"sdus_per_second", report.server.sdus_per_second},
                          {"bits_per_second", report.server.bits_per_second}};
        return json;
    }
    json["lost"] = report.lost;
    auto& times = report.round_trips_us;
    std::sort(times.begin(), times.end());
    if (times.empty()) return json;
    double sum = 0;
    for (const double us : times) sum += us;
    json["round_trip_us"] = {{"mean", sum / static_cast<double>(times.size())},
                             {"min", times.front()},
                             {"p50", percentile(times, 0.5)},
                             {"p99", percentile(times, 0.99)},
                             {"max", times.back()}};
    return json;
}

void print(const nlohmann::json& r) {
    if (r.contains("server")) {
        const auto& s = r["server"];
        fmt::print("sent {} SDUs of {} bytes in {:.3f} s, {:.0f} per second\n",
                   r["sent"].get<std::uint64_t>(), r["size"].get<std::uint64_t>(),
                   r["seconds"].get<double>(), r["sent_per_second"].get<double>());
        fmt::print("received {}, {} per second, {:.3f} Mbit/s\n",
                   s["received"].get<std::uint64_t>(), s["sdus_per_second"].get<std::uint64_t>(),
                   static_cast<double>(s["bits_per_second"].get<std::uint64_t>()) / 1e6);
        return;
    }
    fmt::print("sent {} SDUs of {} bytes, {} lost\n", r["sent"].get<std::uint64_t>(),
               r["size"].get<std::uint64_t>(), r["lost"].get<std::uint64_t>());
    if (!r.contains("round_trip_us")) return;
    const auto& t = r["round_trip_us"];
    fmt::print("round trip: mean {:.1f} us, min {:.1f}, median {:.1f}, 99 % {:.1f}, max {:.1f}\n",
               t["mean"].get<double>(), t["min"].get<double>(), t["p50"].get<double>(),
               t["p99"].get<double>(), t["max"].get<double>());
}

}  // namespace

int run_perf_client(const PerfOptions& given) {
    PerfOptions options = given;
    if (options.size == 1) die("--size is 1; at least 2 bytes are needed");
    if (options.count == 0 && options.seconds <= 0 && options.test != Opcode::ping)
        options.seconds = 10;
    struct sigaction action = {};
    action.sa_handler = [](int) { interrupted.store(true); };
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    const rina_flow_spec spec = spec_of(options.flow, false);
    std::vector<Report> reports(static_cast<std::size_t>(options.parallel));
    std::vector<std::thread> threads;
    for (Report& report : reports)
        threads.emplace_back([&] { report = Client(options, spec).run(); });
    for (std::thread& thread : threads) thread.join();
    nlohmann::json all = nlohmann::json::array();
    bool good = true;
    for (Report& report : reports) {
        if (!report.failure.empty()) {
            fmt::print(stderr, "sluice-perf: {}\n", report.failure);
            good = false;
            continue;
        }
        all.push_back(as_json(options, report));
        if (!options.json) print(all.back());
    }
    if (options.json) fmt::print("{}\n", all.dump());
    return good ? 0 : 1;
}

}  // namespace sluice::tools
