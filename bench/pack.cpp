// What packing costs beside a bare copy of the same records: the same headers and bytes, to as much
// memory, without stamps, limits, blocks or counters. One lcore, no disk, no port.
//   build/bench/pack [SIZE [SNAPLEN]]
#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "capture/block.hpp"
#include "capture/copy.hpp"
#include "capture/packer.hpp"

using namespace sluice;
using namespace sluice::capture;

namespace {

constexpr unsigned kBurst = 64;
constexpr unsigned kBursts = 200'000;
constexpr unsigned kRounds = 11;
constexpr std::uint32_t kBlockBytes = 4u << 20;
constexpr std::uint32_t kBlocks = 32;

struct Header {
    std::uint32_t seconds, fraction, captured, original;
};

double pack(BlockPool& pool, Packer& packer, rte_mbuf** packets, std::uint32_t snaplen,
            Block*& reading) {
    const std::uint64_t begin = rte_rdtsc();
    for (unsigned i = 0; i < kBursts; ++i) {
        Packer::Batch batch;
        batch.packets = packets;
        batch.count = kBurst;
        batch.wall.first_ns = static_cast<std::int64_t>(1'800'000'000) * 1'000'000'000 + i;
        batch.wall.step_q16 = 1000;
        batch.snaplen = snaplen;
        if (packer.pack(batch).packed != kBurst) std::abort();
        if (reading == nullptr) reading = pool.next();
        if (reading == nullptr || !reading->seen().sealed) continue;
        pool.give_back(reading);
        reading = nullptr;
    }
    return static_cast<double>(rte_rdtsc() - begin) / (double{kBursts} * kBurst);
}

double copy(std::byte* memory, rte_mbuf** packets, std::uint32_t snaplen) {
    std::byte* at = memory;
    std::byte* const end = memory + std::size_t{kBlockBytes} * kBlocks - 65536;
    const std::uint64_t begin = rte_rdtsc();
    for (unsigned i = 0; i < kBursts; ++i)
        for (unsigned k = 0; k < kBurst; ++k) {
            const rte_mbuf* const m = packets[k];
            const std::uint32_t kept = std::min(m->pkt_len, snaplen);
            __builtin_prefetch(at + 1024, 1);
            const Header h{1'800'000'000, i, kept, m->pkt_len};
            std::memcpy(at, &h, sizeof(h));
            copy_freely(at + sizeof(h), rte_pktmbuf_mtod(m, const std::byte*), kept);
            at += sizeof(h) + kept;
            if (at > end) [[unlikely]]
                at = memory;
        }
    return static_cast<double>(rte_rdtsc() - begin) / (double{kBursts} * kBurst);
}

}  // namespace

int main(int argc, char** argv) {
    const auto size = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 64);
    const auto snaplen = static_cast<std::uint32_t>(argc > 2 ? std::atoi(argv[2]) : 65535);
    const char* eal[] = {"pack", "--no-huge", "-m", "64", "--no-pci", "--no-telemetry",
                         "--file-prefix=sluice-pack", "--log-level=error"};
    if (rte_eal_init(8, const_cast<char**>(eal)) < 0) return 1;
    rte_mempool* const mbufs =
        rte_pktmbuf_pool_create("pack", 255, 32, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    rte_mbuf* packets[kBurst];
    if (mbufs == nullptr || rte_pktmbuf_alloc_bulk(mbufs, packets, kBurst) != 0) return 1;
    for (rte_mbuf* m : packets) m->pkt_len = m->data_len = size;
    auto pool = BlockPool::create(kBlockBytes, kBlocks);
    auto plain = BlockPool::create(kBlockBytes, kBlocks);
    if (!pool || !plain) return 1;
    Packer packer(**pool, {});
    Block* reading = nullptr;
    std::vector<double> packed, copied, ratios;
    for (unsigned round = 0; round < kRounds; ++round) {
        copied.push_back(copy((*plain)->memory().data(), packets, snaplen));
        packed.push_back(pack(**pool, packer, packets, snaplen, reading));
        ratios.push_back(packed.back() / copied.back());
    }
    const auto middle = [](std::vector<double> v) {
        std::sort(v.begin(), v.end());
        return v[v.size() / 2];
    };
    const double cycles = middle(packed);
    fmt::print("{{\"size\": {}, \"pack_cycles\": {:.1f}, \"copy_cycles\": {:.1f}, "
               "\"ratio\": {:.3f}, \"mpps\": {:.1f}}}\n", size, cycles, middle(copied),
               middle(ratios), static_cast<double>(rte_get_tsc_hz()) / cycles / 1e6);
    rte_eal_cleanup();
    return 0;
}
