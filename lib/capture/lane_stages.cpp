#include "capture/lane_stages.hpp"

#include <rte_mbuf.h>

#include "capture/lane.hpp"

namespace sluice::capture {
namespace {

// As rte_pktmbuf_free_bulk(), but inline, and in one piece where all are plain packets of one pool,
// as a port's nearly always are.
void free_all(rte_mbuf** packets, unsigned count) noexcept {
    rte_mempool* const pool = packets[0]->pool;
    bool plain = true;
    for (unsigned i = 0; i < count; ++i) {
        const rte_mbuf* const m = packets[i];
        plain &= m->pool == pool && m->nb_segs == 1 && RTE_MBUF_DIRECT(m) &&
                 rte_mbuf_refcnt_read(m) == 1 && m->next == nullptr;
    }
    if (plain) [[likely]]
        rte_mempool_put_bulk(pool, reinterpret_cast<void**>(packets), count);
    else
        rte_pktmbuf_free_bulk(packets, count);
}

}  // namespace

RecorderStage::~RecorderStage() { rte_pktmbuf_free_bulk(early_.data(), early_count_); }

dp::KindInfo RecorderStage::kind() {
    return dp::KindInfo::source_of("recorder", 0);
}

dp::Busy RecorderStage::poll(dp::LoopCtx& ctx) noexcept {
    if (ctx.now < next_) return dp::Busy::idle;
    std::array<rte_mbuf*, dp::kBurstMax> packets;
    std::uint16_t n = 0;
    if (early_count_ != 0) [[unlikely]] {
        n = early_count_;
        std::copy_n(early_.begin(), n, packets.begin());
        early_count_ = 0;
    } else {
        n = port_.rx(queue_, packets.data(), dp::kBurstMax);
    }
    if (n == 0) {
        if (lane_ != nullptr) lane_->nothing(ctx.now);
        return dp::Busy::idle;
    }
    ctx.count_in(n);
    if (n < kFewPackets) next_ = ctx.now + kBreath;
    if (lane_ != nullptr) lane_->record(ctx.now, packets.data(), n, n == dp::kBurstMax, 1);
    free_all(packets.data(), n);
    return dp::Busy::busy;
}

dp::Wait RecorderStage::wait_arm(dp::LoopCtx&, int epoll_fd) noexcept {
    if (early_count_ != 0) return dp::Wait::work;
    if (!waiter_.arm(epoll_fd)) return dp::Wait::poll_only;
    early_count_ = port_.rx(queue_, early_.data(), dp::kBurstMax);
    return early_count_ == 0 ? dp::Wait::armed : dp::Wait::work;
}

void RecorderStage::wait_disarm(dp::LoopCtx&) noexcept { waiter_.disarm(); }

dp::KindInfo WriterStage::kind() { return dp::KindInfo::source_of("capture_writer", 0); }

dp::Wait WriterStage::wait_arm(dp::LoopCtx&, int) noexcept {
    return work_.threaded() ? dp::Wait::armed : dp::Wait::poll_only;
}

// A block takes hundreds of microseconds to fill: no need to look each time round.
dp::Busy WriterStage::poll(dp::LoopCtx& ctx) noexcept {
    if (ctx.now < next_ || work_.threaded()) return dp::Busy::idle;
    next_ = ctx.now + kPeriod;
    return work_.write(ctx.now) ? dp::Busy::busy : dp::Busy::idle;
}

}  // namespace sluice::capture
