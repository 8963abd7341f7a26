#include "capture/capture_stage.hpp"

#include "support.hpp"

using namespace sluice;
using namespace sluice::capture;
using namespace sluice::capture::test;

TEST_CASE("the stage records what it gets, frees it, and counts what it had to drop") {
    Pool pool;
    Bench bench;
    CaptureStage stage(bench.tap());
    const dp::KindInfo kind = CaptureStage::kind();
    CHECK(kind.name == "capture");
    CHECK(kind.inlets == 1);
    CHECK(kind.outlets == 0);

    dp::StageCounters counters;
    dp::Slot slot;
    slot.stage = &stage;
    slot.counters = &counters;
    dp::LoopCtx ctx;
    ctx.slot = &slot;
    const unsigned available = pool.available();
    for (unsigned round = 0; round < 3; ++round) {
        ctx.now = Instant{round};
        rte_mbuf* packets[10];
        for (rte_mbuf*& p : packets) p = pool.packet(1000, 0, 300);
        dp::Burst burst{packets, 10, 0};
        stage.process(ctx, burst);
        CHECK(pool.available() == available);
    }
    // 16 fit into the four chunks.
    CHECK(counters.own[CaptureStage::kRecorded].get() == 16);
    CHECK(counters.own[CaptureStage::kBytes].get() == 16000);
    CHECK(counters.drops[static_cast<std::size_t>(DropReason::capture_no_buffer)].get() == 14);
    bench.round(0);
    CHECK(bench.records().size() == 16);
    bench.check_accounts();
}
