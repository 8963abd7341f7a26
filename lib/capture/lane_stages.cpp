#include "capture/lane_stages.hpp"

#include <rte_mbuf.h>

#include "capture/lane.hpp"

namespace sluice::capture {

RecorderStage::~RecorderStage() { rte_pktmbuf_free_bulk(early_.data(), early_count_); }

dp::KindInfo RecorderStage::kind() {
    dp::KindInfo k = dp::KindInfo::source_of("recorder", 0);
    k.counters = {{"rx_bytes", "bytes", "received"}};
    return k;
}

dp::Busy RecorderStage::poll(dp::LoopCtx& ctx) noexcept {
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
    std::uint64_t bytes = 0;
    for (unsigned i = 0; i < n; ++i) bytes += packets[i]->pkt_len;
    ctx.count(kBytes, bytes);
    if (lane_ != nullptr) lane_->record(ctx.now, packets.data(), n, n == dp::kBurstMax, 1);
    rte_pktmbuf_free_bulk(packets.data(), n);
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
    return lane_.threaded() ? dp::Wait::armed : dp::Wait::poll_only;
}

// A block takes hundreds of microseconds to fill: no need to look each time round.
dp::Busy WriterStage::poll(dp::LoopCtx& ctx) noexcept {
    if (ctx.now < next_ || lane_.threaded()) return dp::Busy::idle;
    next_ = ctx.now + kPeriod;
    return lane_.write(ctx.now) ? dp::Busy::busy : dp::Busy::idle;
}

}  // namespace sluice::capture
