#include <rapidcheck.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <deque>
#include <limits>
#include <map>
#include <vector>

#include "base/rng.hpp"
#include "normal_dif/core/rmt/policies.hpp"

using namespace sluice;
using namespace sluice::rmt;
using policy::Param;
using rina::QosId;

namespace {

constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint32_t kPduMax = 1500;

struct Named {
    std::string_view name;
    std::vector<Param> params;
};
const std::vector<Named>& small_schedulers() {
    static const std::vector<Named> all = {
        {"fifo", {{"queue_bytes", "4000"}, {"queue_pdus", "7"}}},
        {"pfifo", {{"levels", "3"}, {"queue_bytes", "4000"}, {"queue_pdus", "7"}}},
        {"wrr", {{"weights", "1:4:2"}, {"queue_bytes", "4000"}, {"queue_pdus", "7"}}},
        {"drr", {{"weights", "1:4:2"}, {"queue_bytes", "4000"}, {"quantum", "256"}}},
        {"qos",
         {{"cube.0", "rate=1M,delay=1,loss=2"},
          {"cube.1", "weight=5"},
          {"cube.2", "rate=5M,burst=0,weight=3,loss=1"},
          {"default", "2"},
          {"own_bytes", "1500"},
          {"shared_bytes", "4000"},
          {"queue_pdus", "7"}}}};
    return all;
}

AnyScheduler made(const Named& named) {
    auto scheduler = make_scheduler(named.name, named.params);
    RC_ASSERT(scheduler.has_value());
    return std::move(*scheduler);
}

Enqueue put(AnyScheduler& s, Instant now, const SchedItem& item) {
    std::array<Enqueue, 1> result{};
    enqueue(s, now, std::span(&item, 1), result);
    return result[0];
}

std::size_t queue_of(const AnyScheduler& s, QosId qos) {
    return std::min<std::size_t>(qos.value, queues(s) - 1);
}

}  // namespace

TEST_CASE("every scheduler gives back what it took, once, in order within a queue", "[prop]") {
    CHECK(rc::check("under any sequence of PDUs and budgets", [] {
        const Named named = *rc::gen::elementOf(small_schedulers());
        AnyScheduler s = made(named);
        std::map<std::size_t, std::deque<SchedItem>> held;
        Backlog expected;
        std::uintptr_t token = 0;
        std::uint64_t dropped = 0;
        Instant now{};
        const auto steps = *rc::gen::container<std::vector<std::uint32_t>>(
            rc::gen::inRange(0u, 6000u));
        for (const std::uint32_t step : steps) {
            now = now + Duration::microseconds(step % 97);
            if (step % 3 != 0) {
                const SchedItem item{PduToken{++token}, 1 + step % kPduMax,
                                     QosId{static_cast<std::uint16_t>(step % 5)}};
                if (put(s, now, item) == Enqueue::dropped) {
                    ++dropped;
                    continue;
                }
                held[queue_of(s, item.qos)].push_back(item);
                ++expected.pdus;
                expected.bytes += item.bytes;
            } else {
                std::vector<SchedItem> out(step % 7);
                const std::uint64_t budget = step % 2 == 0 ? step : kAll;
                const std::size_t count = dequeue(s, now, budget, out);
                RC_ASSERT(count <= out.size());
                std::uint64_t bytes = 0;
                for (std::size_t i = 0; i < count; ++i) {
                    std::deque<SchedItem>& queue = held[queue_of(s, out[i].qos)];
                    RC_ASSERT(!queue.empty());
                    RC_ASSERT(queue.front() == out[i]);
                    queue.pop_front();
                    bytes += out[i].bytes;
                }
                RC_ASSERT(bytes <= budget);
                expected.pdus -= count;
                expected.bytes -= bytes;
                // None is lazy: it ends for want of room, of budget or of PDUs.
                if (count < out.size() && budget == kAll) RC_ASSERT(expected.pdus == 0u);
            }
            RC_ASSERT(backlog(s) == expected);
        }
        std::vector<SchedItem> rest(1000);
        RC_ASSERT(dequeue(s, now, kAll, rest) == expected.pdus);
        RC_ASSERT(backlog(s) == Backlog{});
        std::uint64_t in = 0, out = 0, refused = 0;
        for (std::size_t q = 0; q < queues(s); ++q) {
            RC_ASSERT(stats(s, q).bytes_in == stats(s, q).bytes_out);
            in += stats(s, q).pdus_in;
            out += stats(s, q).pdus_out;
            refused += stats(s, q).pdus_dropped;
        }
        RC_ASSERT(in == out);
        RC_ASSERT(refused == dropped);
        RC_ASSERT(in + refused == token);
    }));
}

TEST_CASE("limits of queues hold", "[prop]") {
    CHECK(rc::check("in PDUs and in bytes, and what fits is taken", [] {
        const auto pdus = *rc::gen::inRange(1u, 20u);
        const auto bytes = *rc::gen::inRange<std::uint64_t>(1, 10000);
        QueueLimits limits;
        limits.pdus_max = pdus;
        limits.bytes_max = bytes;
        PduQueue queue(limits);
        const auto sizes = *rc::gen::container<std::vector<std::uint32_t>>(
            rc::gen::inRange(0u, kPduMax));
        for (const std::uint32_t size : sizes) {
            const Backlog before = queue.backlog();
            const bool fits = before.pdus < pdus && before.bytes + size <= bytes;
            RC_ASSERT((queue.push({}, {PduToken{1}, size, {}}) != Enqueue::dropped) == fits);
            if (size % 3 == 0 && !queue.empty()) queue.pop();
        }
    }));
}

TEST_CASE("strict priority is strict", "[prop]") {
    CHECK(rc::check("nothing is sent before what is more urgent", [] {
        AnyScheduler s = made({"pfifo", {{"levels", "8"}}});
        std::array<std::size_t, 8> waiting{};
        const auto steps =
            *rc::gen::container<std::vector<std::uint16_t>>(rc::gen::inRange<std::uint16_t>(0, 16));
        for (const std::uint16_t step : steps) {
            if (step < 8) {
                put(s, {}, {PduToken{1}, 100, QosId{step}});
                ++waiting[step];
                continue;
            }
            std::array<SchedItem, 1> out;
            if (dequeue(s, {}, kAll, out) == 0) continue;
            for (std::uint16_t level = 0; level < out[0].qos.value; ++level)
                RC_ASSERT(waiting[level] == 0u);
            --waiting[out[0].qos.value];
        }
    }));
}

namespace {

// Queues that always have something to send; after each PDU, by how many rounds any two differ.
double worst_difference(AnyScheduler& s, const std::vector<double>& quanta, Rng& rng) {
    std::vector<double> rounds(quanta.size());
    double worst = 0;
    const auto fill = [&](std::size_t q) {
        const std::uint32_t bytes = q % 2 == 0 ? kPduMax : 40 + static_cast<std::uint32_t>(
                                                                    rng.below(400));
        put(s, {}, {PduToken{1}, bytes, QosId{static_cast<std::uint16_t>(q)}});
    };
    for (std::size_t q = 0; q < quanta.size(); ++q)
        for (int i = 0; i < 5; ++i) fill(q);
    for (int n = 0; n < 1500; ++n) {
        std::array<SchedItem, 1> out;
        RC_ASSERT(dequeue(s, {}, kAll, out) == 1u);
        const std::size_t q = out[0].qos.value;
        rounds[q] += out[0].bytes / quanta[q];
        fill(q);
        const auto [low, high] = std::minmax_element(rounds.begin(), rounds.end());
        worst = std::max(worst, *high - *low);
    }
    return worst;
}

struct Weighted {
    std::vector<std::uint64_t> weights;
    std::string text;
    double least;
};
Weighted any_weights() {
    Weighted w;
    w.weights = *rc::gen::resize(
        8, rc::gen::nonEmpty(rc::gen::container<std::vector<std::uint64_t>>(
               rc::gen::inRange<std::uint64_t>(1, 12))));
    for (const std::uint64_t weight : w.weights)
        w.text += fmt::format("{}{}", w.text.empty() ? "" : ":", weight);
    w.least = static_cast<double>(*std::min_element(w.weights.begin(), w.weights.end()));
    return w;
}

}  // namespace

TEST_CASE("round robin is fair", "[prop]") {
    CHECK(rc::check("queues differ by no more than a turn and two PDUs", [] {
        const bool deficit = *rc::gen::arbitrary<bool>();
        const Weighted w = any_weights();
        constexpr double kQuantum = 1000;
        AnyScheduler s =
            made({deficit ? "drr" : "wrr", {{"weights", w.text}, {"quantum", "1000"}}});
        std::vector<double> quanta;
        for (const std::uint64_t weight : w.weights)
            quanta.push_back(std::floor(static_cast<double>(weight) * kQuantum / w.least));
        Rng rng(*rc::gen::arbitrary<std::uint64_t>());
        RC_ASSERT(worst_difference(s, quanta, rng) <= 1 + 2 * kPduMax / kQuantum + 1e-6);
    }));
}

TEST_CASE("shares of QoS cubes are fair", "[prop]") {
    CHECK(rc::check("cubes differ by no more than a PDU each", [] {
        const Weighted w = any_weights();
        Named named{"qos", {{"shared_bytes", "1M"}}};
        std::deque<std::string> texts;
        std::vector<double> quanta;
        double least = 1e9;
        for (std::size_t i = 0; i < w.weights.size(); ++i) {
            texts.push_back(fmt::format("cube.{}", i));
            texts.push_back(fmt::format("weight={}", w.weights[i]));
            named.params.push_back({texts[2 * i], texts[2 * i + 1]});
            quanta.push_back(static_cast<double>(w.weights[i]));
            least = std::min(least, quanta.back());
        }
        AnyScheduler s = made(named);
        Rng rng(*rc::gen::arbitrary<std::uint64_t>());
        RC_ASSERT(worst_difference(s, quanta, rng) <= 2 * kPduMax / least * 1.001);
    }));
}

namespace {

struct Source {
    double rate_bps = 0;  // what it has been guaranteed
    double burst = 0;
    std::int64_t delay_us = 0;
    bool greedy = false;  // sends what it likes
    double tokens = 0;
    Instant at{};
};

// A link of 100 Mbit/s that sends PDU after PDU. Whoever keeps to the rate has his delay.
struct EdfLink {
    static constexpr double kLinkBps = 100e6;
    std::vector<Source> sources;
    double longest_lateness_ns = -1e18;
    std::size_t timely = 0;

    static std::int64_t ns(double bytes) {
        return static_cast<std::int64_t>(std::ceil(bytes * 8e9 / kLinkBps));
    }
    void arrive(AnyScheduler& s, Instant now, Rng& rng, std::deque<std::deque<Instant>>& times) {
        for (std::size_t i = 0; i < sources.size(); ++i) {
            Source& source = sources[i];
            source.tokens = std::min(source.burst, source.tokens + source.rate_bps / 8e9 *
                                                       static_cast<double>((now - source.at).ns));
            source.at = now;
            for (int n = 0; n < 4; ++n) {
                const auto bytes = static_cast<std::uint32_t>(rng.between(60, kPduMax));
                if (!source.greedy && (rng.chance(0.3) || source.tokens < bytes)) break;
                const SchedItem item{PduToken{1}, bytes, QosId{static_cast<std::uint16_t>(i)}};
                if (put(s, now, item) == Enqueue::dropped) {
                    RC_ASSERT(source.greedy);
                    break;
                }
                source.tokens -= bytes;
                times[i].push_back(now);
            }
        }
    }
    void run(AnyScheduler& s, Rng& rng) {
        std::deque<std::deque<Instant>> times(sources.size());
        Instant now{};
        for (int n = 0; n < 3000; ++n) {
            arrive(s, now, rng, times);
            std::array<SchedItem, 1> out;
            if (dequeue(s, now, kAll, out) == 0) {
                now = now + Duration::microseconds(50);
                continue;
            }
            now = now + Duration::nanoseconds(ns(out[0].bytes));
            const std::size_t i = out[0].qos.value;
            const Source& source = sources[i];
            const Instant due = times[i].front() + Duration::microseconds(source.delay_us);
            times[i].pop_front();
            if (source.greedy) continue;
            longest_lateness_ns =
                std::max(longest_lateness_ns, static_cast<double>((now - due).ns));
            ++timely;
        }
    }
};

}  // namespace

TEST_CASE("who keeps to the guaranteed rate has its delay", "[prop]") {
    CHECK(rc::check("whatever the others do", [] {
        EdfLink link;
        const auto count = *rc::gen::inRange<std::size_t>(2, 6);
        double left = EdfLink::kLinkBps * 15 / 16;
        double bursts = 0;
        for (std::size_t i = 0; i < count; ++i) {
            Source source;
            source.rate_bps = std::floor(left * *rc::gen::inRange(20, 60) / 100);
            left -= source.rate_bps;
            source.burst = *rc::gen::inRange(1500, 8000);
            source.greedy = i > 0 && *rc::gen::arbitrary<bool>();
            bursts += source.burst + kPduMax;
            link.sources.push_back(source);
        }
        link.sources.push_back({});  // and one without any guarantee, who takes what he can get
        link.sources.back().greedy = true;
        // Long enough for all bursts at once; beyond that, each its own.
        const double least_us = bursts * 8e6 / (EdfLink::kLinkBps * 15 / 16);
        std::string delays;
        Named named{"qos", {{"shared_bytes", "1M"}, {"queue_pdus", "2000"}}};
        std::deque<std::string> texts;
        for (std::size_t i = 0; i < link.sources.size(); ++i) {
            Source& source = link.sources[i];
            source.delay_us =
                static_cast<std::int64_t>(least_us * (1 + *rc::gen::inRange(0, 30) / 10.0)) + 1;
            delays += fmt::format("{}{}", i == 0 ? "" : ":", source.delay_us);
            texts.push_back(fmt::format("cube.{}", i));
            texts.push_back(fmt::format("rate={:.0f},burst={:.0f},delay={}", source.rate_bps,
                                        source.burst, i));
        }
        for (std::size_t i = 0; i < texts.size(); i += 2)
            named.params.push_back({texts[i], texts[i + 1]});
        named.params.push_back({"delays_us", delays});
        AnyScheduler s = made(named);
        Rng rng(*rc::gen::arbitrary<std::uint64_t>());
        link.run(s, rng);
        RC_ASSERT(link.timely > 0u);
        // The PDU that is being sent, and one of the share.
        RC_ASSERT(link.longest_lateness_ns <= static_cast<double>(2 * EdfLink::ns(kPduMax)));
    }));
}

TEST_CASE("the heap of cubes", "[prop]") {
    CHECK(rc::check("against a sorted list, with keys that roll over", [] {
        CubeHeap<8> heap;
        std::map<std::size_t, std::int64_t> naive;
        const auto base = *rc::gen::arbitrary<std::int64_t>();
        const auto steps = *rc::gen::container<std::vector<std::pair<std::size_t, int>>>(
            rc::gen::pair(rc::gen::inRange<std::size_t>(0, 8), rc::gen::inRange(-1000, 1000)));
        for (const auto& [id, offset] : steps) {
            if (naive.contains(id)) {
                heap.remove(id);
                naive.erase(id);
            } else {
                const auto key = static_cast<std::int64_t>(static_cast<std::uint64_t>(base) +
                                                           static_cast<std::uint64_t>(offset));
                heap.push(id, key);
                naive[id] = offset;
            }
            RC_ASSERT(heap.size() == naive.size());
            if (naive.empty()) continue;
            const auto least = std::min_element(
                naive.begin(), naive.end(),
                [](const auto& a, const auto& b) { return a.second < b.second; });
            RC_ASSERT(naive.at(heap.top()) == least->second);
        }
    }));
}
