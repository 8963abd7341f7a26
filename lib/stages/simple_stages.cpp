#include "stages/simple_stages.hpp"

#include <rte_mbuf.h>

#include <algorithm>

namespace sluice::stages {

namespace {

std::uint64_t bytes_of(const dp::Burst& burst) noexcept {
    std::uint64_t bytes = 0;
    for (const rte_mbuf* m : burst) bytes += m->pkt_len;
    return bytes;
}

}  // namespace

dp::KindInfo Io::kind() {
    dp::KindInfo k = dp::KindInfo::filter_of("io");
    k.counters = {{"bytes", "bytes", "handed on"}};
    return k;
}

void Io::process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept {
    ctx.count(kBytes, bytes_of(burst));
    ctx.emit(0, burst.pkts, burst.count);
}

dp::KindInfo Null::kind() { return dp::KindInfo::sink_of("null"); }

void Null::process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept {
    ctx.drop(DropReason::discarded, burst.pkts, burst.count);
}

dp::KindInfo Sink::kind() {
    dp::KindInfo k = dp::KindInfo::sink_of("sink");
    k.counters = {{"bytes", "bytes", "received"},
                  {"numbered", "packets", "of them made by txgen"},
                  {"missing", "packets", "numbers that were skipped"},
                  {"late", "packets", "numbers below one already seen: reordered or duplicate"}};
    return k;
}

void Sink::process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept {
    std::uint64_t numbered = 0;
    std::uint64_t missing = 0;
    std::uint64_t late = 0;
    for (const rte_mbuf* m : burst) {
        std::byte copy[kGenHeaderSize];
        const void* const head = rte_pktmbuf_read(m, 0, kGenHeaderSize, copy);
        if (head == nullptr) continue;
        const auto h = read_gen(static_cast<const std::byte*>(head));
        if (!h) continue;
        ++numbered;
        std::uint64_t& expected = expected_[h->stream];
        if (!known_[h->stream]) [[unlikely]] {
            known_[h->stream] = true;
            expected = h->seq;
        }
        if (h->seq < expected) [[unlikely]] {
            ++late;
            continue;
        }
        missing += h->seq - expected;
        expected = h->seq + 1;
    }
    ctx.count(kBytes, bytes_of(burst));
    ctx.count(kNumbered, numbered);
    if (missing != 0) ctx.count(kMissing, missing);
    if (late != 0) ctx.count(kLate, late);
    rte_pktmbuf_free_bulk(burst.pkts, burst.count);
}

dp::KindInfo Tee::kind() { return dp::KindInfo::filter_of("tee", 2); }

void Tee::process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept {
    rte_mbuf* clones[dp::kBurstMax];
    for (unsigned at = 0; at < burst.count; at += dp::kBurstMax) {
        const unsigned n = std::min<unsigned>(burst.count - at, dp::kBurstMax);
        unsigned cloned = 0;
        for (unsigned i = 0; i < n; ++i) {
            rte_mbuf* const clone = rte_pktmbuf_clone(burst.pkts[at + i], pool_);
            if (clone != nullptr) clones[cloned++] = clone;
        }
        if (cloned != n) ctx.count_drop(DropReason::no_mbuf, n - cloned);
        ctx.emit(0, burst.pkts + at, n);
        if (cloned != 0) ctx.emit(1, clones, cloned);
    }
}

}  // namespace sluice::stages
