#include "capture/capture_stage.hpp"

#include <rte_mbuf.h>

namespace sluice::capture {

dp::KindInfo CaptureStage::kind() {
    dp::KindInfo k = dp::KindInfo::sink_of("capture");
    k.counters = {{"recorded", "packets", "copied into a buffer for the file"},
                  {"recorded_bytes", "bytes", "of these packets, as cut by snaplen"}};
    return k;
}

void CaptureStage::process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept {
    const TapCounters& c = tap_.counters();
    const std::uint64_t recorded = c.recorded.get();
    const std::uint64_t bytes = c.bytes.get();
    const std::uint64_t lost = c.no_buffer.get();
    tap_.tap(ctx, burst.pkts, burst.count, dp::Direction::rx);
    ctx.count(kRecorded, c.recorded.get() - recorded);
    ctx.count(kBytes, c.bytes.get() - bytes);
    if (const std::uint64_t n = c.no_buffer.get() - lost; n != 0)
        ctx.count_drop(DropReason::capture_no_buffer, n);
    rte_pktmbuf_free_bulk(burst.pkts, burst.count);
}

}  // namespace sluice::capture
