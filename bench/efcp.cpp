// What EFCP costs and what it gets through. First the cycles of sending a data PDU (from the user's
// submit to the outbox) and of receiving one in order, beside the copy of 64 bytes in the same run;
// then, in virtual time, one flow over a 10 Gb/s link with 20 ms in each direction and random loss:
// goodput as a share of the link's capacity. Prints one line of JSON.
#include <fmt/format.h>
#include <x86intrin.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"

namespace {

using namespace sluice;
using namespace sluice::efcp;

constexpr unsigned kBurst = 32;
constexpr unsigned kRounds = 20000;
constexpr unsigned kRepetitions = 7;

double ns_per_cycle() {
    using Clock = std::chrono::steady_clock;
    static const double value = [] {
        const auto start = Clock::now();
        const std::uint64_t begin = __rdtsc();
        while (Clock::now() - start < std::chrono::milliseconds(50)) {
        }
        const std::chrono::duration<double, std::nano> passed = Clock::now() - start;
        return passed.count() / static_cast<double>(__rdtsc() - begin);
    }();
    return value;
}

template <typename Work>
double cycles(Work&& work) {
    double best = 1e9;
    for (unsigned repetition = 0; repetition < kRepetitions; ++repetition) {
        const std::uint64_t begin = __rdtsc();
        for (unsigned round = 0; round < kRounds; ++round) work(round);
        best = std::min(best, static_cast<double>(__rdtsc() - begin) / kRounds / kBurst);
    }
    return best;
}

ConnectionIds ids_of(int end) {
    return {rina::Address{static_cast<std::uint64_t>(end + 1)},
            rina::Address{static_cast<std::uint64_t>(2 - end)},
            rina::CepId{static_cast<std::uint32_t>(end + 1)},
            rina::CepId{static_cast<std::uint32_t>(2 - end)}, rina::QosId{0}};
}

rina::Pci header_from(int end) {
    const ConnectionIds ids = ids_of(end);
    rina::Pci pci;
    pci.source = ids.local;
    pci.destination = ids.remote;
    pci.source_cep = ids.local_cep;
    pci.destination_cep = ids.remote_cep;
    return pci;
}


double send_cycles(const EfcpPolicies& policies, bool with_acks) {
    const auto connection =
        std::make_unique<Connection>(ids_of(0), policies, rina::kDefaultFormat);
    auto out = std::make_unique<Outbox>();
    std::array<TxItem, kBurst> items;
    for (unsigned i = 0; i < kBurst; ++i) items[i] = {static_cast<PduToken>(i), 64};
    std::array<std::byte, 64> bytes;
    Instant now{1'000'000'000};
    std::uint32_t control = 0;
    std::uint64_t spent = 0;
    std::uint64_t total = 0;
    double best = 1e9;
    for (unsigned repetition = 0; repetition < kRepetitions; ++repetition) {
        spent = total = 0;
        for (unsigned round = 0; round < kRounds; ++round) {
            now = now + Duration::microseconds(1);
            const std::uint64_t begin = __rdtsc();
            connection->submit(now, items, *out);
            spent += __rdtsc() - begin;
            out->clear();
            if (!policies.reliable()) continue;
            RxItem ack;
            ack.pci = header_from(1);
            ack.pci.type = static_cast<std::uint8_t>(rina::PduType::sack_flow_control);
            ack.pci.sequence = control++;
            const std::uint64_t next = connection->sender().next_sequence();
            rina::write_control({0, next, next + 100000, next, 0, 0}, rina::kDefaultFormat,
                                bytes.data());
            ack.bytes = std::span(bytes).first(rina::kDefaultFormat.control_bytes());
            const std::uint64_t from = __rdtsc();
            connection->on_burst(now + Duration::microseconds(1), {&ack, 1}, *out);
            total += __rdtsc() - from;
            out->clear();
        }
        const std::uint64_t all = with_acks ? spent + total : spent;
        best = std::min(best, static_cast<double>(all) / kRounds / kBurst);
    }
    return best;
}

double receive_cycles(const EfcpPolicies& policies) {
    const auto connection =
        std::make_unique<Connection>(ids_of(0), policies, rina::kDefaultFormat);
    auto out = std::make_unique<Outbox>();
    std::array<RxItem, kBurst> items;
    std::uint32_t seq = 0;
    Instant now{1'000'000'000};
    for (RxItem& item : items) item.pci = header_from(1);
    std::uint64_t delivered = 0;
    const double best = cycles([&](unsigned) {
        now = now + Duration::microseconds(1);
        for (RxItem& item : items) {
            item.pci.sequence = seq++;
            item.pci.flags = item.pci.sequence == 0 ? rina::pci_flag::kDrf : 0;
            item.pci.length = 92;
        }
        connection->on_burst(now, items, *out);
        delivered += out->deliver.size();
        connection->consumed(now, static_cast<std::uint32_t>(out->deliver.size()), *out);
        out->clear();
    });
    if (delivered != std::uint64_t{kBurst} * kRounds * kRepetitions) fmt::print(stderr, "lost\n");
    return best;
}

double copy_cycles() {
    std::vector<std::array<std::byte, 64>> from(4096), to(4096);
    return cycles([&](unsigned round) {
        for (unsigned i = 0; i < kBurst; ++i) {
            const unsigned at = (round * kBurst + i) % 4096;
            std::memcpy(&to[at], &from[at], 64);
            asm volatile("" ::: "memory");
        }
    });
}

// ---- one flow over a long fat link -------------------------------------------------------------

struct Link {
    double loss = 0;
    double loss_back = 0;
    Duration delay = Duration::milliseconds(20);
    double bits_per_second = 10e9;
    std::uint64_t room_bytes = 50'000'000;
};

struct Outcome {
    double goodput = 0;  // share of capacity
    SenderStats sender;
    std::uint64_t queue_drops = 0;
    double first_half = 0;
    double ns_per_pdu = 0;
};

class Run {
  public:
    Run(const EfcpPolicies& policies, const Link& link, std::uint32_t sdu_bytes,
        std::uint64_t seed)
        : link_(link), sdu_bytes_(sdu_bytes), rng_(seed) {
        for (int i = 0; i < 2; ++i)
            end_[i] = std::make_unique<Connection>(ids_of(i), policies, rina::kDefaultFormat);
    }

    Outcome run(Duration warm_up, Duration measured) {
        const Instant start = now_;
        const Instant from = start + warm_up;
        const Instant until = from + measured;
        std::uint64_t at_start = 0;
        bool is_measuring = false;
        const std::uint64_t begin = __rdtsc();
        fill();
        while (now_ < until) {
            Instant at = earlier(wake_[0], wake_[1]);
            if (!data_.empty()) at = earlier(at, data_.front().at);
            if (!control_.empty()) at = earlier(at, control_.front().at);
            if (at.is_never()) break;
            now_ = std::max(now_, at);
            if (!is_measuring && now_ >= from) {
                is_measuring = true;
                at_start = delivered_;
            }
            if (!data_.empty() && data_.front().at <= now_) arrive_data();
            if (!control_.empty() && control_.front().at <= now_) arrive_control();
            for (int i = 0; i < 2; ++i)
                if (wake_[i] <= now_) {
                    end_[i]->on_timeout(now_, out_);
                    settle(i);
                }
            fill();
        }
        Outcome outcome;
        const double bits = static_cast<double>(delivered_ - at_start) * sdu_bytes_ * 8;
        outcome.goodput = bits / (link_.bits_per_second * measured.to_seconds());
        outcome.sender = end_[0]->sender().stats();
        outcome.queue_drops = queue_drops_;
        outcome.ns_per_pdu = static_cast<double>(__rdtsc() - begin) * ns_per_cycle() /
                             static_cast<double>(outcome.sender.sent);
        return outcome;
    }

  private:
    struct Data {
        Instant at;
        rina::Pci pci;
    };
    struct Control {
        Instant at;
        rina::Pci pci;
        std::array<std::byte, 256> bytes;
    };

    void fill() {
        while (true) {
            std::array<TxItem, kBurst> items;
            for (TxItem& item : items) item = {static_cast<PduToken>(1), sdu_bytes_};
            const std::size_t taken = end_[0]->submit(now_, items, out_);
            settle(0);
            if (taken < items.size()) break;
        }
    }
    void settle(int i) {
        flush(i);
        while (end_[i]->next_deadline() <= now_) {
            end_[i]->on_timeout(now_, out_);
            flush(i);
        }
        wake_[i] = end_[i]->next_deadline();
    }
    void flush(int i) {
        for (const SendItem& item : out_.send) {
            const double start = std::max(static_cast<double>(now_.ns), busy_until_);
            const double backlog = (start - static_cast<double>(now_.ns)) * 1e-9 *
                                   link_.bits_per_second / 8;
            if (backlog > static_cast<double>(link_.room_bytes)) {
                ++queue_drops_;
                continue;
            }
            busy_until_ = start + item.pci.length * 8e9 / link_.bits_per_second;
            if (rng_.chance(link_.loss)) continue;
            data_.push_back(
                {Instant{static_cast<std::int64_t>(busy_until_)} + link_.delay, item.pci});
        }
        for (const ControlItem& item : out_.control) {
            if (rng_.chance(link_.loss_back)) continue;
            Control& control = control_.emplace_back();
            control.at = now_ + link_.delay;
            control.pci = item.pci;
            write(item, rina::kDefaultFormat, control.bytes.data());
        }
        const std::size_t delivered = out_.deliver.size();
        delivered_ += delivered;
        out_.clear();
        if (delivered != 0)
            end_[i]->consumed(now_, static_cast<std::uint32_t>(delivered), out_);
        if (!out_.empty()) flush(i);
    }
    // What arrives within some microseconds is polled as a burst.
    void arrive_data() {
        std::array<RxItem, kBurst> items;
        std::size_t n = 0;
        const Instant by = now_ + Duration::microseconds(4);
        while (n < kBurst && !data_.empty() && data_.front().at <= by) {
            now_ = std::max(now_, data_.front().at);
            items[n].token = static_cast<PduToken>(2);
            items[n++].pci = data_.front().pci;
            data_.pop_front();
        }
        for (std::size_t done = 0; done < n;) {
            done += end_[1]->on_burst(now_, std::span(items).subspan(done, n - done), out_);
            flush(1);
        }
        settle(1);
    }
    void arrive_control() {
        while (!control_.empty() && control_.front().at <= now_) {
            RxItem item;
            item.pci = control_.front().pci;
            item.bytes = std::span(control_.front().bytes).first(item.pci.length);
            end_[0]->on_burst(now_, {&item, 1}, out_);
            settle(0);
            control_.pop_front();
        }
    }

    Link link_;
    std::uint32_t sdu_bytes_;
    Rng rng_;
    std::unique_ptr<Connection> end_[2];
    std::deque<Data> data_;
    std::deque<Control> control_;
    Outbox out_;
    Instant now_{1'000'000'000};
    Instant wake_[2] = {Instant::never(), Instant::never()};
    double busy_until_ = 0;
    std::uint64_t delivered_ = 0;
    std::uint64_t queue_drops_ = 0;
};

std::string run_row(double loss, Congestion congestion) {
    EfcpPolicies policies = EfcpPolicies::sluice_reliable(200'000);
    policies.congestion = congestion;
    policies.window->closed_queue_max = 4096;
    policies.retransmission->retries_max = 100;
    Link link;
    link.loss = loss;
    link.loss_back = loss;
    auto run = std::make_unique<Run>(policies, link, 1400, 1);
    const Outcome outcome = run->run(Duration::seconds(2), Duration::seconds(6));
    return fmt::format(
        "{{\"congestion\": \"{}\", \"loss_pct\": {}, \"goodput\": {:.3f}, \"sent\": {}, "
        "\"retransmitted\": {}, \"spurious\": {}, \"timeouts\": {}, \"queue_drops\": {}, "
        "\"ns_per_pdu_all\": {:.0f}}}",
        congestion == Congestion::aimd ? "aimd" : "rate_estimate", loss * 100, outcome.goodput,
        outcome.sender.sent, outcome.sender.retransmitted, outcome.sender.spurious,
        outcome.sender.timeouts, outcome.queue_drops, outcome.ns_per_pdu);
}

}  // namespace

int main(int argc, char** argv) {
    const bool is_long = argc < 2 || std::strcmp(argv[1], "--cost") != 0;
    const double ns = ns_per_cycle();
    const EfcpPolicies best_effort = EfcpPolicies::best_effort();
    EfcpPolicies reliable = EfcpPolicies::sluice_reliable(100'000);
    reliable.congestion = Congestion::none;
    EfcpPolicies flow_control = EfcpPolicies::rlite_flow_control(100'000);
    flow_control.dialect = Dialect::sluice;
    const std::array<std::pair<const char*, double>, 8> costs = {{
        {"copy_64", copy_cycles()},
        {"send_best_effort", send_cycles(best_effort, false)},
        {"send_reliable", send_cycles(reliable, false)},
        {"send_reliable_with_acks", send_cycles(reliable, true)},
        {"receive_best_effort", receive_cycles(best_effort)},
        {"receive_flow_control", receive_cycles(flow_control)},
        {"receive_reliable", receive_cycles(reliable)},
        {"receive_rlite", receive_cycles(EfcpPolicies::rlite_reliable())},
    }};
    std::string rows;
    for (const auto& [name, spent] : costs)
        rows += fmt::format("{}{{\"what\": \"{}\", \"cycles\": {:.1f}, \"ns\": {:.2f}}}",
                            rows.empty() ? "" : ", ", name, spent, spent * ns);
    fmt::print("{{\"pdu\": [{}]", rows);
    if (is_long) {
        rows.clear();
        for (const Congestion congestion : {Congestion::rate_estimate, Congestion::aimd})
            for (const double loss : {0.0, 0.001, 0.01, 0.05})
                rows += (rows.empty() ? "" : ", ") + run_row(loss, congestion);
        fmt::print(", \"link\": [{}]", rows);
    }
    fmt::print("}}\n");
    return 0;
}
