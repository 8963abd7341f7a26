// What a filter costs: bursts of packets that are in no cache but the last, judged by each of the
// filters given, and copied, which is what the cost is compared with. Packets that differ, so that
// branches are guessed wrong, and packets that are all alike. Prints one line of JSON.
#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "capture/filter.hpp"

namespace {

using sluice::Rng;
using sluice::capture::Filter;

constexpr unsigned kBurst = 64;
constexpr unsigned kPackets = 4096;
constexpr unsigned kRounds = 400;
constexpr unsigned kRepetitions = 7;
constexpr unsigned kSize = 64;

// UDP and TCP over IPv4, some of it DNS, some of it from 10.0.0.0/8, some of it in a VLAN.
void fill(std::uint8_t* at, Rng& rng) {
    std::memset(at, 0, kSize);
    unsigned ip = 14;
    if (rng.chance(0.05)) {
        at[12] = 0x81;
        at[15] = 7;
        ip = 18;
    }
    const bool udp = rng.chance(0.3);
    at[ip - 2] = 0x08;
    at[ip] = 0x45;
    at[ip + 9] = udp ? 17 : 6;
    at[ip + 12] = rng.chance(0.5) ? 10 : 192;
    at[ip + 16] = 8;
    const unsigned port = rng.chance(0.2) ? 53 : 443;
    at[ip + 21] = static_cast<std::uint8_t>(rng.below(256));
    at[ip + 22] = static_cast<std::uint8_t>(port >> 8);
    at[ip + 23] = static_cast<std::uint8_t>(port);
}

// Cycles a packet: the least of some repetitions.
template <typename Work>
double cycles(const std::vector<rte_mbuf*>& packets, Work&& work) {
    double best = 1e9;
    for (unsigned repetition = 0; repetition < kRepetitions; ++repetition) {
        const std::uint64_t begin = rte_rdtsc_precise();
        for (unsigned round = 0; round < kRounds; ++round)
            for (unsigned at = 0; at < kPackets; at += kBurst) work(&packets[at]);
        const std::uint64_t spent = rte_rdtsc_precise() - begin;
        best = std::min(best, static_cast<double>(spent) / kRounds / kPackets);
    }
    return best;
}

}  // namespace

int main(int argc, char** argv) {
    const int used = rte_eal_init(argc, argv);
    if (used < 0) return 1;
    std::vector<std::string> filters(argv + used + 1, argv + argc);
    if (filters.empty()) filters = {"udp port 53", "net 10.0.0.0/8 and tcp"};
    rte_mempool* pool = rte_pktmbuf_pool_create("packets", kPackets, 0, 0,
                                                RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    std::vector<rte_mbuf*> packets(kPackets);
    if (pool == nullptr || rte_pktmbuf_alloc_bulk(pool, packets.data(), kPackets) != 0) {
        std::fputs("filter: no memory for mbufs\n", stderr);
        return 1;
    }
    Rng rng(1);
    for (rte_mbuf* m : packets)
        fill(reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(m, kSize)), rng);
    const double ns_per_cycle = 1e9 / static_cast<double>(rte_get_tsc_hz());

    std::string rows;
    std::array<std::uint16_t, kBurst> out;
    for (std::size_t n = 0; n < 2 * filters.size(); ++n) {
        const bool alike = n >= filters.size();
        const std::string& expression = filters[n % filters.size()];
        if (n == filters.size())
            for (rte_mbuf* m : packets)
                std::memcpy(rte_pktmbuf_mtod(m, void*), rte_pktmbuf_mtod(packets[0], void*), kSize);
        for (const auto best : {Filter::Engine::native, Filter::Engine::libpcap}) {
            auto filter =
                Filter::compile(expression, sluice::pcap::Linktype::ethernet, 65535, best);
            if (!filter) {
                std::fprintf(stderr, "filter: %s\n", filter.error().message.c_str());
                return 1;
            }
            std::uint64_t matched = 0;
            const double spent = cycles(packets, [&](rte_mbuf* const* burst) {
                matched += (*filter)->match(burst, kBurst, out.data());
            });
            rows += fmt::format(
                "{}{{\"filter\": \"{}\", \"packets\": \"{}\", \"native\": {}, "
                "\"cycles\": {:.2f}, \"ns\": {:.2f}, \"matched_pct\": {:.1f}}}",
                rows.empty() ? "" : ", ", expression, alike ? "alike" : "mixed",
                (*filter)->jitted(), spent, spent * ns_per_cycle,
                100.0 * static_cast<double>(matched) / kRounds / kPackets / kRepetitions);
        }
    }
    std::vector<std::uint8_t> records(std::size_t{kPackets} * (16 + kSize) * 64);
    std::size_t to = 0;
    const double copy = cycles(packets, [&](rte_mbuf* const* burst) {
        if (to + kBurst * (16 + kSize) > records.size()) to = 0;
        for (unsigned i = 0; i < kBurst; ++i, to += 16 + kSize) {
            std::memset(&records[to], 0, 16);
            std::memcpy(&records[to + 16], rte_pktmbuf_mtod(burst[i], const void*), kSize);
        }
    });
    fmt::print("{{\"copy\": {{\"cycles\": {:.2f}, \"ns\": {:.2f}, \"size\": {}}}, ", copy,
               copy * ns_per_cycle, kSize);
    fmt::print("\"rows\": [{}]}}\n", rows);
    rte_eal_cleanup();
    return 0;
}
