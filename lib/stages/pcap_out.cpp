#include "stages/pcap_out.hpp"

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_ring_elem.h>

#include <algorithm>
#include <array>

#include "dataplane/clock.hpp"

namespace sluice::stages {

namespace {

constexpr std::array<ParamDesc, 3> kParams = {{
    {"file", ParamType::path, "", "pcap file to write; one that is there is replaced"},
    {"snaplen", ParamType::number, "262144", "bytes kept of each packet", 1,
     PcapOut::kSnapLenMax},
    {"ring", ParamType::number, "4096", "packets that may wait for the disk", 64, 1u << 20},
}};

constexpr Duration kCollectPeriod = Duration::milliseconds(100);
constexpr unsigned kNapUs = 500;
constexpr unsigned kWriteBurst = 64;

}  // namespace

std::span<const ParamDesc> PcapOut::params() noexcept { return kParams; }

dp::KindInfo PcapOut::kind() {
    dp::KindInfo k = dp::KindInfo::sink_of("pcap_out");
    k.counters = {{"bytes", "bytes", "handed to the writer"},
                  {"written", "packets", "in the file"}};
    return k;
}

std::uint32_t PcapOut::mbufs_held(const Values& values) {
    // And the burst in the writer's hands.
    return static_cast<std::uint32_t>(values.number("ring")) + kWriteBurst;
}

Result<std::unique_ptr<dp::Stage>> PcapOut::make(const Values& values) {
    const auto snaplen = static_cast<std::uint32_t>(values.number("snaplen"));
    SLUICE_TRY(auto dump, PcapDump::create(values.text("file"), snaplen));
    static std::atomic<unsigned> number{0};
    const std::string name = fmt::format("pcap_out{}", number.fetch_add(1));
    rte_ring* const ring = rte_ring_create_elem(
        name.c_str(), sizeof(Item), static_cast<unsigned>(values.number("ring")), SOCKET_ID_ANY,
        RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);
    if (ring == nullptr) {
        return fail(rte_errno, "no memory for a ring of {} packets: {}", values.number("ring"),
                    rte_strerror(rte_errno));
    }
    std::unique_ptr<PcapOut> stage(new PcapOut(std::move(dump), ring, snaplen));
    SLUICE_TRY_VOID(stage->launch());
    return stage;
}

PcapOut::PcapOut(std::unique_ptr<PcapDump> dump, rte_ring* ring, std::uint32_t snaplen)
    : dump_(std::move(dump)),
      ring_(ring),
      snaplen_(snaplen),
      linear_(std::make_unique<std::byte[]>(snaplen)) {}

// A control thread of EAL keeps off the workers' cores where there are others.
Result<> PcapOut::launch() {
    const int status =
        rte_ctrl_thread_create(&thread_, "pcap_out", nullptr, &PcapOut::run_writer, this);
    if (status != 0) {
        return fail(-status, "the writer's thread cannot be started: {}", rte_strerror(-status));
    }
    launched_ = true;
    return {};
}

void* PcapOut::run_writer(void* self) {
    static_cast<PcapOut*>(self)->run();
    return nullptr;
}

PcapOut::~PcapOut() {
    quit_.store(true, std::memory_order_release);
    if (launched_) pthread_join(thread_, nullptr);
    rte_ring_free(ring_);
}

void PcapOut::process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept {
    Item items[dp::kBurstMax];
    for (unsigned at = 0; at < burst.count; at += dp::kBurstMax) {
        const unsigned n = std::min<unsigned>(burst.count - at, dp::kBurstMax);
        std::uint64_t bytes_from[dp::kBurstMax + 1];
        bytes_from[0] = 0;
        for (unsigned i = 0; i < n; ++i) {
            rte_mbuf* const m = burst.pkts[at + i];
            items[i] = {m, ctx.now.ns};
            bytes_from[i + 1] = bytes_from[i] + m->pkt_len;
        }
        // The packets that went are the writer's now and must not be looked at.
        const unsigned taken =
            rte_ring_sp_enqueue_burst_elem(ring_, items, sizeof(Item), n, nullptr);
        ctx.count(kBytes, bytes_from[taken]);
        ctx.drop(DropReason::capture_no_buffer, burst.pkts + at + taken, n - taken);
    }
    if (!collecting_) {
        collecting_ = true;
        ctx.set_deadline(ctx.now + kCollectPeriod);
    }
}

unsigned PcapOut::room(unsigned) const noexcept { return rte_ring_free_count(ring_); }

// The counters have one writer, the lcore, so it enters what the thread has done.
void PcapOut::collect(dp::LoopCtx& ctx) noexcept {
    const std::uint64_t written_now = written();
    const std::uint64_t lost_now = lost();
    ctx.count(kWritten, written_now - written_counted_);
    ctx.count_drop(DropReason::capture_write_error, lost_now - lost_counted_);
    written_counted_ = written_now;
    lost_counted_ = lost_now;
}

void PcapOut::on_timeout(dp::LoopCtx& ctx) noexcept {
    collect(ctx);
    collecting_ = rte_ring_empty(ring_) == 0;
    if (collecting_) ctx.set_deadline(ctx.now + kCollectPeriod);
}

void PcapOut::on_stop(dp::LoopCtx& ctx) noexcept {
    collect(ctx);
    collecting_ = false;
}

void PcapOut::write(const Item& item, std::int64_t epoch_offset) noexcept {
    const std::uint32_t size = item.packet->pkt_len;
    const std::uint32_t kept = std::min(size, snaplen_);
    const void* const data = rte_pktmbuf_read(item.packet, 0, kept, linear_.get());
    if (!broken_ && data != nullptr) {
        broken_ = !dump_->write(item.ns + epoch_offset,
                                {static_cast<const std::byte*>(data), kept}, size);
    }
    auto& counter = broken_ || data == nullptr ? lost_ : written_;
    counter.fetch_add(1, std::memory_order_relaxed);
    rte_pktmbuf_free(item.packet);
}

void PcapOut::run() noexcept {
    const dp::TscClock& clock = dp::TscClock::instance();
    bool flushed = true;
    for (;;) {
        // Before looking, so that what was queued before quitting is found.
        const bool last = quit_.load(std::memory_order_acquire);
        Item items[kWriteBurst];
        const unsigned n = rte_ring_sc_dequeue_burst_elem(ring_, items, sizeof(Item), kWriteBurst,
                                                          nullptr);
        if (n != 0) {
            // Taken anew each time: the two clocks drift apart.
            const std::int64_t offset = epoch_offset_ns(clock.now());
            for (unsigned i = 0; i < n; ++i) write(items[i], offset);
            flushed = false;
            continue;
        }
        if (!flushed) {
            broken_ |= !dump_->flush();
            flushed = true;
        }
        if (last) return;
        rte_delay_us_sleep(kNapUs);
    }
}

}  // namespace sluice::stages
