#include "stages/pcap_in.hpp"

#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace sluice::stages {

namespace {

constexpr std::array<ParamDesc, 3> kParams = {{
    {"file", ParamType::path, "", "pcap or pcapng file to send"},
    {"loop", ParamType::number, "1", "how many times, 0 for no end"},
    {"pace", ParamType::choice, "max", "as fast as possible, or as the stamps say", 0, 0,
     "max|original"},
}};

}  // namespace

std::span<const ParamDesc> PcapIn::params() noexcept { return kParams; }

dp::KindInfo PcapIn::kind() {
    dp::KindInfo k = dp::KindInfo::source_of("pcap_in");
    k.counters = {{"bytes", "bytes", "sent"},
                  {"rounds", "events", "times the whole file was sent"},
                  {"pool_empty", "events", "times the packet pool had no mbufs left"}};
    return k;
}

Result<std::unique_ptr<dp::Stage>> PcapIn::make(const Values& values, rte_mempool* pool) {
    SLUICE_TRY(PcapPackets packets, read_pcap(values.text("file"), kPacketMax));
    const Options options{values.number("loop"), values.text("pace") == "original"};
    return std::make_unique<PcapIn>(std::move(packets), options, pool);
}

PcapIn::PcapIn(PcapPackets packets, const Options& options, rte_mempool* pool) noexcept
    : packets_(std::move(packets)), options_(options), pool_(pool) {}

rte_mbuf* PcapIn::copy_of(std::span<const std::byte> data) noexcept {
    rte_mbuf* const head = rte_pktmbuf_alloc(pool_);
    if (head == nullptr) return nullptr;
    rte_mbuf* last = head;
    for (;;) {
        const std::size_t n = std::min<std::size_t>(data.size(), rte_pktmbuf_tailroom(last));
        std::memcpy(rte_pktmbuf_mtod(last, std::byte*), data.data(), n);
        last->data_len = static_cast<std::uint16_t>(n);
        head->pkt_len += static_cast<std::uint32_t>(n);
        data = data.subspan(n);
        if (data.empty()) return head;
        rte_mbuf* const more = rte_pktmbuf_alloc(pool_);
        if (more == nullptr) {
            rte_pktmbuf_free(head);
            return nullptr;
        }
        last->next = more;
        last = more;
        ++head->nb_segs;
    }
}

Instant PcapIn::due() const noexcept {
    const std::int64_t since = packets_.items[next_].ns - packets_.items.front().ns;
    // Stamps of a merged file may go back.
    return round_start_ + Duration{std::max<std::int64_t>(since, 0)};
}

dp::Busy PcapIn::poll(dp::LoopCtx& ctx) noexcept {
    if (!started_) {
        started_ = true;
        round_start_ = ctx.now;
        next_ = 0;
        round_ = 0;
    }
    const unsigned most = std::min(dp::kRxBurst, ctx.credit(0));
    rte_mbuf* burst[dp::kRxBurst];
    unsigned n = 0;
    std::uint64_t bytes = 0;
    while (n < most && !over() && (!options_.original_pace || due() <= ctx.now)) {
        rte_mbuf* const m = copy_of(packets_.data(next_));
        if (m == nullptr) {
            ctx.count(kPoolEmpty, 1);
            break;
        }
        burst[n++] = m;
        bytes += m->pkt_len;
        if (++next_ == packets_.items.size()) {
            next_ = 0;
            ++round_;
            round_start_ = ctx.now;
            ctx.count(kRounds, 1);
        }
    }
    if (n == 0) {
        const bool waits = options_.original_pace && !over() && due() > ctx.now;
        ctx.set_deadline(waits ? due() : Instant::never());
        return dp::Busy::idle;
    }
    ctx.count_in(n);
    ctx.count(kBytes, bytes);
    ctx.emit(0, burst, n);
    return dp::Busy::busy;
}

dp::Wait PcapIn::wait_arm(dp::LoopCtx& ctx, int) noexcept {
    // poll() has set the deadline that ends the sleep.
    if (over() || (options_.original_pace && due() > ctx.now)) return dp::Wait::armed;
    return dp::Wait::poll_only;
}

void PcapIn::on_stop(dp::LoopCtx&) noexcept { started_ = false; }

}  // namespace sluice::stages
