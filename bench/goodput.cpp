// What a flow gets through: one connection at each end of a link of 10 Gb/s with 20 ms in each
// direction (lib/link_model), SDUs of 1,400 bytes, random loss of data and of acknowledgements, in
// virtual time. A row for each congestion control, loss and seed, with the goodput as a share of
// what the headers leave of the link, from the first PDU on and after the start-up, and with how
// long the queue at the link was. Prints one line of JSON.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "base/rng.hpp"
#include "link_model/link_model.hpp"
#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"

namespace {

using namespace sluice;
using namespace sluice::efcp;

constexpr unsigned kBurst = 32;
constexpr std::uint32_t kSduBytes = 1400;
constexpr std::uint64_t kBitsPerSecond = 10'000'000'000;
constexpr std::uint64_t kRoomBytes = 50'000'000;  // of the link's queue: a round trip
constexpr std::uint32_t kCredit = 400'000;        // PDUs; some round trips, losses take that long
constexpr Duration kOneWay = Duration::milliseconds(20);
constexpr Duration kStartUp = Duration::seconds(2);
constexpr Duration kAll = Duration::seconds(10);

constexpr std::uint32_t kPduBytes =
    kSduBytes + static_cast<std::uint32_t>(rina::kDefaultFormat.bytes());

struct Case {
    Congestion congestion = Congestion::none;
    double loss = 0;
    std::uint64_t seed = 1;
};

struct Outcome {
    double all = 0;     // share of what the headers leave
    double steady = 0;  // the same after the start-up
    SenderStats sender;
    std::uint64_t lost = 0;
    std::uint64_t no_room = 0;
    // Of the data link, as data PDUs find it, in the time that it takes to send it.
    double queue_start_up_ms = 0;  // the longest
    double queue_steady_ms = 0;    // the mean
    double queue_steady_ms_max = 0;
    double ns_per_pdu = 0;  // both ends and the link
    bool failed = false;
};

EfcpPolicies policies_of(Congestion congestion) {
    EfcpPolicies policies = EfcpPolicies::sluice_reliable(kCredit);
    policies.congestion = congestion;
    policies.window->closed_queue_max = 4096;
    // Without congestion control a flow has the rate that it was given.
    if (congestion == Congestion::none)
        policies.rate = RatePolicy{
            static_cast<std::uint32_t>(kBitsPerSecond / 8 / kPduBytes / 1000),
            Duration::milliseconds(1)};
    return policies;
}

ConnectionIds ids_of(int end) {
    return {rina::Address{static_cast<std::uint64_t>(end + 1)},
            rina::Address{static_cast<std::uint64_t>(2 - end)},
            rina::CepId{static_cast<std::uint32_t>(end + 1)},
            rina::CepId{static_cast<std::uint32_t>(2 - end)}, rina::QosId{0}};
}

class Run {
  public:
    explicit Run(const Case& c) : rng_(c.seed) {
        link_model::Config config;
        config.loss = link_model::Loss::uniform(c.loss);
        config.rate = link_model::Rate::limited(kBitsPerSecond, kRoomBytes);
        config.delay = link_model::Delay::fixed(kOneWay);
        for (int i = 0; i < 2; ++i) {
            end_[i] = std::make_unique<Connection>(ids_of(i), policies_of(c.congestion),
                                                   rina::kDefaultFormat);
            link_[i] = link_model::LinkModel(config);
        }
    }

    Outcome run() {
        const Instant start = now_;
        const auto begin = std::chrono::steady_clock::now();
        std::uint64_t at_start = 0;
        bool is_steady = false;
        fill();
        for (const Instant until = start + kAll; now_ < until;) {
            Instant at = earlier(wake_[0], wake_[1]);
            if (!data_.empty()) at = earlier(at, data_.front().at);
            if (!control_.empty()) at = earlier(at, control_.front().at);
            if (at.is_never()) break;
            now_ = std::max(now_, at);
            if (!is_steady && now_ >= start + kStartUp) {
                is_steady = true;
                at_start = delivered_;
                queue_start_up_ms_ = std::exchange(queue_, Queue{}).most_ms;
            }
            turn();
        }
        const std::chrono::duration<double, std::nano> spent =
            std::chrono::steady_clock::now() - begin;
        Outcome outcome;
        outcome.all = share(delivered_, kAll);
        outcome.steady = share(delivered_ - at_start, kAll - kStartUp);
        outcome.sender = end_[0]->sender().stats();
        outcome.lost = lost_;
        outcome.no_room = no_room_;
        outcome.queue_start_up_ms = queue_start_up_ms_;
        outcome.queue_steady_ms = queue_.sum_ms / static_cast<double>(std::max(queue_.pdus, 1u));
        outcome.queue_steady_ms_max = queue_.most_ms;
        outcome.failed = end_[0]->state() != Connection::State::open;
        outcome.ns_per_pdu = spent.count() / static_cast<double>(outcome.sender.sent);
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
        std::array<std::byte, control_bytes_max(rina::kDefaultFormat)> bytes;
    };

    struct Queue {
        double sum_ms = 0;
        double most_ms = 0;
        unsigned pdus = 0;

        void add(std::uint64_t bytes) noexcept {
            const double ms = static_cast<double>(bytes) * 8e3 / kBitsPerSecond;
            sum_ms += ms;
            most_ms = std::max(most_ms, ms);
            ++pdus;
        }
    };

    static double share(std::uint64_t sdus, Duration time) {
        const double link = static_cast<double>(kBitsPerSecond) * kSduBytes / kPduBytes;
        return static_cast<double>(sdus) * kSduBytes * 8 / (link * time.to_seconds());
    }

    void turn() {
        if (!data_.empty() && data_.front().at <= now_) arrive_data();
        if (!control_.empty() && control_.front().at <= now_) arrive_control();
        for (int i = 0; i < 2; ++i) {
            if (wake_[i] > now_) continue;
            end_[i]->on_timeout(now_, out_);
            settle(i);
        }
        fill();
    }
    // The user always has more.
    void fill() {
        while (true) {
            std::array<TxItem, kBurst> items;
            for (TxItem& item : items) item = {static_cast<PduToken>(1), kSduBytes};
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
    Instant arrival(int from, std::uint32_t bytes) {
        const link_model::LinkVerdict verdict = link_[from].apply(now_, rng_, bytes);
        lost_ += verdict.fate == link_model::Fate::lost ? 1 : 0;
        no_room_ += verdict.fate == link_model::Fate::no_room ? 1 : 0;
        return verdict.fate == link_model::Fate::pass ? verdict.at[0] : Instant::never();
    }
    void flush(int i) {
        for (const SendItem& item : out_.send) {
            if (i == 0) queue_.add(link_[0].backlog_bytes(now_));
            const Instant at = arrival(i, item.pci.length);
            if (!at.is_never()) data_.push_back({at, item.pci});
        }
        for (const ControlItem& item : out_.control) {
            const Instant at = arrival(i, item.pci.length);
            if (at.is_never()) continue;
            Control& control = control_.emplace_back();
            control.at = at;
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

    Rng rng_;
    std::unique_ptr<Connection> end_[2];
    link_model::LinkModel link_[2];
    std::deque<Data> data_;
    std::deque<Control> control_;
    Outbox out_;
    Instant now_{1'000'000'000};
    Instant wake_[2] = {Instant::never(), Instant::never()};
    std::uint64_t delivered_ = 0;
    std::uint64_t lost_ = 0;
    std::uint64_t no_room_ = 0;
    Queue queue_;
    double queue_start_up_ms_ = 0;
};

const char* name_of(Congestion congestion) {
    switch (congestion) {
        case Congestion::none: return "none";
        case Congestion::aimd: return "aimd";
        case Congestion::rate_estimate: break;
    }
    return "rate_estimate";
}

}  // namespace

// --seeds N: of each loss and congestion control. --quick: three.
int main(int argc, char** argv) {
    const bool is_quick = argc == 2 && std::strcmp(argv[1], "--quick") == 0;
    const bool has_seeds = argc == 3 && std::strcmp(argv[1], "--seeds") == 0;
    const unsigned long seeds = has_seeds ? std::strtoul(argv[2], nullptr, 10) : is_quick ? 3 : 7;
    if ((argc != 1 && !is_quick && !has_seeds) || seeds == 0) {
        fmt::print(stderr, "goodput: arguments are none, --quick, or --seeds and a number\n");
        return 2;
    }
    std::string rows;
    bool any_failed = false;
    for (const Congestion congestion :
         {Congestion::rate_estimate, Congestion::none, Congestion::aimd})
        for (const double loss : {0.0, 0.001, 0.01, 0.05})
            for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
                const Outcome o = std::make_unique<Run>(Case{congestion, loss, seed})->run();
                any_failed = any_failed || o.failed;
                rows += fmt::format(
                    "{}{{\"congestion\": \"{}\", \"loss_pct\": {}, \"seed\": {}, \"all\": {:.4f}, "
                    "\"steady\": {:.4f}, \"sent\": {}, \"retransmitted\": {}, \"spurious\": {}, "
                    "\"timeouts\": {}, \"lost\": {}, \"no_room\": {}, "
                    "\"queue_start_up_ms\": {:.2f}, \"queue_steady_ms\": {:.3f}, "
                    "\"queue_steady_ms_max\": {:.2f}, "
                    "\"ns_per_pdu\": {:.0f}}}",
                    rows.empty() ? "" : ", ", name_of(congestion), loss * 100, seed, o.all,
                    o.steady, o.sender.sent, o.sender.retransmitted, o.sender.spurious,
                    o.sender.timeouts, o.lost, o.no_room, o.queue_start_up_ms, o.queue_steady_ms,
                    o.queue_steady_ms_max, o.ns_per_pdu);
            }
    fmt::print("{{\"goodput\": [{}]}}\n", rows);
    return any_failed ? 1 : 0;
}
