// What relaying costs: route and header rewriting for bursts of PDUs, through tables of several
// sizes, beside a plain hash table with as many entries; and each scheduler's enqueue and dequeue.
// "hash look-ups" are of the same destinations, and do not wait for each other; "random hash
// look-up" is of all entries, one after the other, and so is one access to as much memory as the
// table has.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.hpp"
#include "lookup.hpp"
#include "micro.hpp"
#include "normal_dif/core/rmt/policies.hpp"
#include "normal_dif/core/rmt/rmt.hpp"

namespace sluice::bench {

namespace {

using namespace rmt;

constexpr std::size_t kBurst = 64;
constexpr std::size_t kPackets = 4096;  // in the caches, as what a NIC has just written
constexpr std::size_t kManyPackets = 65536;  // in none of a core's own
constexpr std::size_t kStride = 128;  // two cache lines: header and start of the payload
constexpr std::size_t kLookups = 10000;

struct RelayCase {
    std::size_t count = 1;
    bool dense = true;
    std::size_t hops = 1;
    bool inet = false;
    std::size_t packets = kPackets;

    std::string name() const {
        return fmt::format("{} {}{}{}{}", count, dense ? "dense" : "sparse",
                           hops > 1 ? fmt::format(", {} next hops", hops) : "",
                           inet ? ", checksum" : "",
                           packets == kPackets ? "" : ", PDUs in no cache");
    }
};

std::vector<std::uint32_t> addresses_of(const RelayCase& c) {
    Rng rng(1);
    std::vector<std::uint32_t> addresses;
    for (std::size_t i = 0; i < c.count; ++i)
        addresses.push_back(c.dense ? static_cast<std::uint32_t>(10 + i)
                                  : static_cast<std::uint32_t>(rng.next() >> 32) | 1);
    std::sort(addresses.begin(), addresses.end());
    addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
    return addresses;
}

Pft table_of(const std::vector<std::uint32_t>& addresses, std::size_t hops) {
    PftBuilder builder(1);
    for (const std::uint32_t address : addresses) {
        Route route;
        route.destination = rina::Address{address};
        for (std::size_t hop = 0; hop < hops; ++hop)
            route.hops.ports.push_back({N1PortId{static_cast<std::uint16_t>(hop)}, 1});
        if (!builder.add(std::move(route))) std::abort();
    }
    auto pft = builder.build();
    if (!pft) std::abort();
    return std::move(*pft);
}

struct Relaying {
    std::vector<std::uint32_t> addresses;
    std::vector<std::uint32_t> wanted;
    Pft pft;
    Rmt rmt;
    HashTable hash;
    Chase memory;
    std::vector<std::byte> packets;
    std::vector<RxPdu> pdus;

    explicit Relaying(const RelayCase& c)
        : addresses(addresses_of(c)), pft(table_of(addresses, c.hops)), rmt(params_of(c)),
          hash(addresses), memory(pft.bytes()), packets(c.packets * kStride) {
        Rng rng(1);
        for (std::size_t i = 0; i < c.packets; ++i) {
            wanted.push_back(addresses[rng.below(addresses.size())]);
            rina::Pci pci;
            pci.ttl = 65535;
            pci.destination = rina::Address{wanted.back()};
            pci.source = rina::Address{9};
            pci.source_cep = rina::CepId{static_cast<std::uint32_t>(i)};
            pci.length = 64;
            std::byte* const at = &packets[i * kStride];
            rina::write(pci, rina::kDefaultFormat, at);
            pdus.push_back({PduToken{i}, at, 64, 64, N1PortId{100}});
        }
    }

  private:
    static RmtParams params_of(const RelayCase& c) {
        RmtParams params;
        params.own = rina::Address{2};
        params.inet_checksum = c.inet;
        return params;
    }
};

// Tables are made when a benchmark needs them first.
class Lazy {
  public:
    explicit Lazy(const RelayCase& c) : case_(c) {}
    Relaying& get() {
        if (made_ == nullptr) made_ = std::make_unique<Relaying>(case_);
        return *made_;
    }

  private:
    RelayCase case_;
    std::unique_ptr<Relaying> made_;
};

void decide(benchmark::State& state, Relaying& relaying) {
    N1PortSet up;
    up.set_all(true);
    std::array<Decision, kBurst> out;
    const std::span<RxPdu> pdus(relaying.pdus);
    std::uint64_t forwarded = 0;
    measure(state, pdus.size(), [&] {
        for (std::size_t at = 0; at < pdus.size(); at += kBurst) {
            relaying.rmt.decide(pdus.subspan(at, kBurst), relaying.pft, up, out);
            forwarded += out[0].kind == Decision::Kind::forward ? 1 : 0;
            keep(out);
        }
    });
    state.counters["table_bytes"] = static_cast<double>(relaying.pft.bytes());
    if (forwarded != pdus.size() / kBurst * state.iterations())
        state.SkipWithError("not all was forwarded");
}

void look_up_random(benchmark::State& state, const Relaying& relaying) {
    std::uint32_t key = relaying.addresses.front();
    measure(state, kLookups, [&] { keep(key = relaying.hash.follow(key, kLookups)); });
}

void look_up_plain(benchmark::State& state, const Relaying& relaying) {
    measure(state, relaying.wanted.size(), [&] {
        std::uint64_t sum = 0;
        for (const std::uint32_t key : relaying.wanted) sum += relaying.hash.find(key);
        keep(sum);
    });
}

void access(benchmark::State& state, const Relaying& relaying) {
    std::uint32_t at = 0;
    measure(state, kLookups, [&] { keep(at = relaying.memory.follow(at, kLookups)); });
}

void copy(benchmark::State& state) {
    std::vector<std::byte> from(kPackets * kStride), to(kPackets * 64);
    measure(state, kPackets, [&] {
        for (std::size_t i = 0; i < kPackets; ++i) {
            std::memcpy(&to[i * 64], &from[i * kStride], 64);
            asm volatile("" ::: "memory");
        }
    });
}

void register_case(const RelayCase& c) {
    static std::deque<Lazy> all;
    Lazy* const lazy = &all.emplace_back(c);
    const auto add = [&](const std::string& what, auto work) {
        benchmark::RegisterBenchmark(("relay/" + c.name() + what).c_str(),
                                     [=](benchmark::State& state) { work(state, lazy->get()); });
    };
    add("", decide);
    add(fmt::format("/{}", kRandomLookup), look_up_random);
    add(fmt::format("/{}", kPlainLookup), look_up_plain);
    if (c.hops == 1 && !c.inet && c.packets == kPackets)
        add("/one access to as much memory", access);
}

void in_and_out(benchmark::State& state, AnyScheduler& scheduler) {
    std::array<SchedItem, kBurst> items;
    for (std::size_t i = 0; i < kBurst; ++i)
        items[i] = {PduToken{i}, 64, rina::QosId{static_cast<std::uint16_t>(i % 4)}};
    std::array<Enqueue, kBurst> results;
    std::array<SchedItem, kBurst> out;
    Instant now{};
    std::size_t taken = 0;
    constexpr std::size_t kBursts = 16;
    const auto burst = [&] {
        now = now + Duration::microseconds(1);
        enqueue(scheduler, now, items, results);
        taken += dequeue(scheduler, now, std::numeric_limits<std::uint64_t>::max(), out);
        keep(out);
    };
    measure(state, kBursts * kBurst, [&] {
        for (std::size_t i = 0; i < kBursts; ++i) burst();
    });
    if (taken != kBursts * kBurst * state.iterations()) state.SkipWithError("not all came out");
}

}  // namespace

void register_relay() {
    benchmark::RegisterBenchmark("relay/copy of 64 B", copy);
    for (const std::size_t count : {1, 1000, 100000})
        for (const bool dense : {true, false}) register_case({count, dense});
    register_case({1, false, 1, false, kManyPackets});
    register_case({100000, false, 1, false, kManyPackets});
    register_case({1000, false, 1, true});
    register_case({1000, false, 4, false});
}

void register_schedulers() {
    const std::vector<policy::Param> cubes = {{"cube.0", "rate=1G,delay=0"},
                                              {"cube.1", "rate=2G,delay=2"},
                                              {"cube.2", "weight=4"},
                                              {"cube.3", "weight=1,loss=2"}};
    benchmark::RegisterBenchmark("scheduler/copy of 64 B", copy);
    for (const SchedulerPolicy& known : scheduler_policies())
        benchmark::RegisterBenchmark(
            fmt::format("scheduler/{}, in and out", known.name).c_str(),
            [=, name = std::string(known.name)](benchmark::State& state) {
                auto scheduler =
                    make_scheduler(name, name == "qos" ? cubes : std::vector<policy::Param>{});
                if (scheduler)
                    in_and_out(state, *scheduler);
                else
                    state.SkipWithError(scheduler.error().message.c_str());
            });
}

}  // namespace sluice::bench
