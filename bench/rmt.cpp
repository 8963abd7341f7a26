// What relaying costs: route and header rewriting for bursts of PDUs, through tables of several
// sizes, beside a copy of 64 bytes and look-ups in a plain hash table with as many entries, all in
// the same run; each scheduler's enqueue and dequeue; SDU protection by PDU size. Prints one line
// of JSON. plain_ns: look-ups of the same destinations that do not wait for each other; random_ns:
// look-ups of all entries, each address known when the one before was found, which is what a single
// look-up takes; access_ns: the same for one access to as much memory as the table has. For AES-GCM
// the thing to compare with is, on the same CPU:
//
//   openssl speed -seconds 1 -bytes 1400 -evp aes-128-gcm
//
// whose figures are 1000 bytes a second; a row here makes bytes / seal_ns * 1e6 of them.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.hpp"
#include "normal_dif/core/rmt/policies.hpp"
#include "normal_dif/core/rmt/rmt.hpp"
#include "normal_dif/core/sdu_protection/policies.hpp"

namespace {

using namespace sluice;
using namespace sluice::rmt;

constexpr std::size_t kBurst = 64;
constexpr std::size_t kPackets = 4096;  // in the caches, as what a NIC has just written
constexpr std::size_t kManyPackets = 65536;  // in none of a core's own
constexpr unsigned kRounds = 100;
constexpr unsigned kRepetitions = 9;
constexpr std::size_t kStride = 128;  // two cache lines: header and start of the payload

// So that the compiler does not leave out what nobody reads.
void keep(const void* p) { asm volatile("" : : "r"(p) : "memory"); }

// Nanoseconds for each of `count` things: the least of some repetitions.
template <typename Work>
double ns(std::size_t count, unsigned rounds, Work&& work) {
    double best = 1e18;
    for (unsigned repetition = 0; repetition < kRepetitions; ++repetition) {
        const auto begin = std::chrono::steady_clock::now();
        for (unsigned round = 0; round < rounds; ++round) work();
        const std::chrono::duration<double, std::nano> spent =
            std::chrono::steady_clock::now() - begin;
        best = std::min(best, spent.count() / rounds / static_cast<double>(count));
    }
    return best;
}

class Rows {
  public:
    template <typename... Args>
    void add(fmt::format_string<Args...> format, Args&&... args) {
        text_ += fmt::format("{}{{{}}}", text_.empty() ? "" : ", ",
                             fmt::format(format, std::forward<Args>(args)...));
    }
    const std::string& text() const { return text_; }

  private:
    std::string text_;
};

double copy_ns(std::vector<std::byte>& packets) {
    std::vector<std::byte> to(kPackets * 64);
    return ns(kPackets, kRounds, [&] {
        for (std::size_t i = 0; i < kPackets; ++i)
            std::memcpy(&to[i * 64], &packets[i * kStride], 64);
        keep(to.data());
    });
}

// As simple as a hash table can be: half full, linear probing, 8 bytes a slot.
struct Lookups {
    double plain_ns = 0;
    double random_ns = 0;
};
Lookups lookups(const std::vector<std::uint32_t>& addresses,
                const std::vector<std::uint32_t>& wanted) {
    struct Slot {
        std::uint32_t key = 0, value = 0;
    };
    std::vector<Slot> slots(std::bit_ceil(2 * addresses.size()));
    const std::size_t mask = slots.size() - 1;
    const auto hash = [&](std::uint32_t key) {
        return key * std::uint64_t{0x9e3779b97f4a7c15} >> 32 & mask;
    };
    // Each address leads to another one, in one large circle.
    std::vector<std::uint32_t> circle = addresses;
    Rng rng(2);
    for (std::size_t i = circle.size(); i > 1; --i) std::swap(circle[i - 1], circle[rng.below(i)]);
    for (std::size_t i = 0; i < circle.size(); ++i) {
        std::size_t at = hash(circle[i]);
        while (slots[at].value != 0) at = (at + 1) & mask;
        slots[at] = {circle[i], circle[(i + 1) % circle.size()]};
    }
    std::uint64_t sum = 0;
    Lookups spent;
    spent.plain_ns = ns(wanted.size(), 50, [&] {
        for (const std::uint32_t key : wanted) {
            std::size_t at = hash(key);
            while (slots[at].key != key) at = (at + 1) & mask;
            sum += slots[at].value;
        }
    });
    std::uint32_t key = circle[0];
    spent.random_ns = ns(100000, 2, [&] {
        for (int i = 0; i < 100000; ++i) {
            std::size_t at = hash(key);
            while (slots[at].key != key) at = (at + 1) & mask;
            key = slots[at].value;
        }
    });
    keep(&sum);
    keep(&key);
    return spent;
}

// One access to memory of this size whose address is only known when the one before is there.
double access_ns(std::size_t bytes) {
    struct alignas(64) Line {
        std::uint32_t next = 0;
    };
    std::vector<Line> lines(std::max<std::size_t>(bytes / sizeof(Line), 1));
    std::vector<std::uint32_t> order(lines.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
    Rng rng(3);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    for (std::size_t i = 0; i < order.size(); ++i)
        lines[order[i]].next = order[(i + 1) % order.size()];
    std::uint32_t at = 0;
    const double spent = ns(100000, 2, [&] {
        for (int i = 0; i < 100000; ++i) at = lines[at].next;
    });
    keep(&at);
    return spent;
}

struct Traffic {
    std::vector<std::byte> packets;
    std::vector<RxPdu> pdus;

    explicit Traffic(const std::vector<std::uint32_t>& destinations)
        : packets(destinations.size() * kStride) {
        for (std::size_t i = 0; i < destinations.size(); ++i) {
            rina::Pci pci;
            pci.ttl = 65535;
            pci.destination = rina::Address{destinations[i]};
            pci.source = rina::Address{9};
            pci.source_cep = rina::CepId{static_cast<std::uint32_t>(i)};
            pci.length = 64;
            std::byte* const at = &packets[i * kStride];
            rina::write(pci, rina::kDefaultFormat, at);
            pdus.push_back({PduToken{i}, at, 64, 64, N1PortId{100}});
        }
    }
    double decide_ns(const Rmt& rmt, const Pft& pft) {
        N1PortSet up;
        up.set_all(true);
        std::array<Decision, kBurst> out;
        std::uint64_t forwarded = 0;
        const double spent = ns(pdus.size(), kRounds, [&] {
            for (std::size_t at = 0; at < pdus.size(); at += kBurst) {
                rmt.decide(std::span(pdus).subspan(at, kBurst), pft, up, out);
                forwarded += out[0].kind == Decision::Kind::forward ? 1 : 0;
                keep(out.data());
            }
        });
        if (forwarded != pdus.size() / kBurst * kRounds * kRepetitions) std::abort();
        return spent;
    }
};

struct RelayCase {
    std::size_t count = 1;
    bool dense = true;
    std::size_t hops = 1;
    bool inet = false;
    std::size_t packets = kPackets;
};

void relay_row(Rows& rows, const RelayCase& c) {
    Rng rng(1);
    std::vector<std::uint32_t> addresses;
    for (std::size_t i = 0; i < c.count; ++i)
        addresses.push_back(c.dense ? static_cast<std::uint32_t>(10 + i)
                                  : static_cast<std::uint32_t>(rng.next() >> 32) | 1);
    std::sort(addresses.begin(), addresses.end());
    addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
    PftBuilder builder(1);
    for (const std::uint32_t address : addresses) {
        Route route;
        route.destination = rina::Address{address};
        for (std::size_t hop = 0; hop < c.hops; ++hop)
            route.hops.ports.push_back({N1PortId{static_cast<std::uint16_t>(hop)}, 1});
        if (!builder.add(std::move(route))) std::abort();
    }
    auto pft = builder.build();
    if (!pft) std::abort();
    std::vector<std::uint32_t> wanted;
    for (std::size_t i = 0; i < c.packets; ++i)
        wanted.push_back(addresses[rng.below(addresses.size())]);
    Traffic traffic(wanted);
    RmtParams params;
    params.own = rina::Address{2};
    params.inet_checksum = c.inet;
    const double relay = traffic.decide_ns(Rmt(params), *pft);
    const Lookups lookup = lookups(addresses, wanted);
    rows.add("\"destinations\": {}, \"addresses\": \"{}\", \"hops\": {}, \"inet\": {}, "
             "\"packets\": {}, \"table_kib\": {}, \"relay_ns\": {:.2f}, \"plain_ns\": {:.2f}, "
             "\"random_ns\": {:.2f}, \"access_ns\": {:.2f}",
             c.count, c.dense ? "dense" : "sparse", c.hops, c.inet, c.packets, pft->bytes() / 1024,
             relay, lookup.plain_ns, lookup.random_ns, access_ns(pft->bytes()));
}

void scheduler_rows(Rows& rows) {
    const std::vector<policy::Param> cubes = {{"cube.0", "rate=1G,delay=0"},
                                              {"cube.1", "rate=2G,delay=2"},
                                              {"cube.2", "weight=4"},
                                              {"cube.3", "weight=1,loss=2"}};
    for (const SchedulerPolicy& known : scheduler_policies()) {
        auto scheduler = make_scheduler(
            known.name, known.name == "qos" ? cubes : std::vector<policy::Param>{});
        if (!scheduler) std::abort();
        std::array<SchedItem, kBurst> items;
        for (std::size_t i = 0; i < kBurst; ++i)
            items[i] = {PduToken{i}, 64, rina::QosId{static_cast<std::uint16_t>(i % 4)}};
        std::array<Enqueue, kBurst> results;
        std::array<SchedItem, kBurst> out;
        Instant now{};
        const double spent = ns(kBurst, 20000, [&] {
            now = now + Duration::microseconds(1);
            enqueue(*scheduler, now, items, results);
            if (dequeue(*scheduler, now, std::numeric_limits<std::uint64_t>::max(), out) != kBurst)
                std::abort();
            keep(out.data());
        });
        rows.add("\"scheduler\": \"{}\", \"in_and_out_ns\": {:.2f}", known.name, spent);
    }
}

void protection_rows(Rows& rows) {
    for (const sdup::ProtectionPolicy& known : sdup::protection_policies()) {
        for (const std::size_t bytes : {64, 512, 1400, 9000}) {
            auto p = sdup::make_protection(known.name, {}, rina::kDefaultFormat);
            if (!p) std::abort();
            sdup::TrafficKey key;
            if (auto* sealer = std::get_if<sdup::AesGcmSealer>(&p->sealer); sealer != nullptr)
                if (!sealer->install(sdup::KeyEpoch{1}, key) ||
                    !std::get<sdup::AesGcmOpener>(p->opener).install(sdup::KeyEpoch{1}, key))
                    std::abort();
            std::vector<std::byte> buffer(kBurst * (bytes + 64));
            std::array<sdup::Frame, kBurst> frames;
            for (std::size_t i = 0; i < kBurst; ++i) {
                sdup::Frame& frame = frames[i];
                frame.data = &buffer[i * (bytes + 64) + 32];
                frame.bytes = static_cast<std::uint32_t>(bytes);
                frame.headroom = frame.tailroom = 32;
                rina::Pci pci;
                pci.length = frame.bytes;
                rina::write(pci, rina::kDefaultFormat, frame.data);
            }
            const unsigned rounds = 200;
            double seal_best = 1e18;
            double open_best = 1e18;
            for (unsigned round = 0; round < rounds * kRepetitions; ++round) {
                const auto begin = std::chrono::steady_clock::now();
                seal(p->sealer, {}, frames);
                const auto middle = std::chrono::steady_clock::now();
                open(p->opener, {}, frames);
                const auto end = std::chrono::steady_clock::now();
                using Ns = std::chrono::duration<double, std::nano>;
                seal_best = std::min(seal_best, Ns(middle - begin).count() / kBurst);
                open_best = std::min(open_best, Ns(end - middle).count() / kBurst);
                if (frames[0].dropped || frames[kBurst - 1].dropped) std::abort();
            }
            rows.add("\"protection\": \"{}\", \"bytes\": {}, \"seal_ns\": {:.1f}, "
                     "\"open_ns\": {:.1f}, \"seal_gbps\": {:.2f}",
                     known.name, bytes, seal_best, open_best,
                     8 * static_cast<double>(bytes) / seal_best);
        }
    }
}

}  // namespace

// Arguments: which of relay, schedulers, protection; all if there are none.
int main(int argc, char** argv) {
    const auto wants = [&](std::string_view what) {
        return argc == 1 || std::find(argv + 1, argv + argc, what) != argv + argc;
    };
    Rows relay;
    if (wants("relay")) {
        for (const std::size_t count : {1, 1000, 100000})
            for (const bool dense : {true, false}) relay_row(relay, {count, dense});
        relay_row(relay, {1, false, 1, false, kManyPackets});
        relay_row(relay, {100000, false, 1, false, kManyPackets});
        relay_row(relay, {1000, false, 1, true});
        relay_row(relay, {1000, false, 4, false});
    }
    Rows schedulers;
    if (wants("schedulers")) scheduler_rows(schedulers);
    Rows protection;
    if (wants("protection")) protection_rows(protection);
    std::vector<std::byte> packets(kPackets * kStride);
    fmt::print("{{\"copy_64_ns\": {:.2f}, \"relay\": [{}], \"schedulers\": [{}], "
               "\"protection\": [{}]}}\n",
               copy_ns(packets), relay.text(), schedulers.text(), protection.text());
    return 0;
}
