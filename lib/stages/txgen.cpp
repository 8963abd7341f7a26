#include "stages/txgen.hpp"

#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "base/check.hpp"
#include "base/rng.hpp"

namespace sluice::stages {

namespace {

constexpr std::array<ParamDesc, 6> kParams = {{
    {"size", ParamType::number, "64", "bytes of a frame, without its checksum", kGenHeaderSize,
     65000},
    {"count", ParamType::number, "0", "frames for each start of forwarding, 0 for no end"},
    {"rate", ParamType::rate, "max", "frames or bits a second"},
    {"src", ParamType::mac, "02:00:00:00:00:01", "source address"},
    {"dst", ParamType::mac, "02:00:00:00:00:02", "destination address"},
    {"stream", ParamType::number, "0", "number of the stream, by which a sink tells senders apart",
     0, kGenStreams - 1},
}};

}  // namespace

std::span<const ParamDesc> TxGen::params() noexcept { return kParams; }

dp::KindInfo TxGen::kind() {
    dp::KindInfo k = dp::KindInfo::source_of("txgen");
    k.counters = {{"bytes", "bytes", "generated"},
                  {"pool_empty", "events", "times the packet pool had no mbufs left"},
                  {"given_up", "packets", "of the rate, too late to be caught up with"}};
    return k;
}

TxGen::Options TxGen::options_of(const Values& values) {
    Options o;
    o.size = static_cast<std::uint32_t>(values.number("size"));
    o.count = values.number("count");
    o.rate = values.rate("rate");
    o.header.source = values.mac("src");
    o.header.destination = values.mac("dst");
    o.header.stream = static_cast<std::uint16_t>(values.number("stream"));
    return o;
}

TxGen::TxGen(const Options& options, rte_mempool* pool)
    : options_(options), pool_(pool), frame_(options.size) {
    SLUICE_CHECK(options.size >= kGenHeaderSize);
    // A pattern, so that a damaged frame shows, and nothing of former packets leaves with it.
    for (std::size_t i = 0; i < frame_.size(); ++i) frame_[i] = static_cast<std::byte>(i);
    write_gen(frame_.data(), options.header);
    rate_num_ = options.rate.per_second;
    if (options.rate.unit == RateValue::Unit::bits) rate_den_ = std::uint64_t{8} * options.size;
}

// Counted from the start of pacing, so rounding does not add up.
unsigned TxGen::due(Instant now) noexcept {
    std::uint64_t n = dp::kRxBurst;
    if (options_.count != 0) n = std::min(n, options_.count - sent_);
    if (rate_num_ == 0 || n == 0) return static_cast<unsigned>(n);
    const auto elapsed = static_cast<std::uint64_t>((now - since_).ns);
    const Uint128 product = static_cast<Uint128>(elapsed) * rate_num_;
    const auto allowed = 1 + static_cast<std::uint64_t>(
                                 product / (static_cast<Uint128>(1'000'000'000) * rate_den_));
    if (allowed <= paced_) return 0;
    const std::uint64_t behind = allowed - paced_;
    // What cannot be caught up is given up, or a pause would be followed by a flood.
    if (behind > kCatchUp) {
        paced_ = allowed - kCatchUp;
        given_up_ += behind - kCatchUp;
    }
    return static_cast<unsigned>(std::min(n, behind));
}

unsigned TxGen::make(dp::LoopCtx& ctx, rte_mbuf** packets, unsigned count) noexcept {
    if (rte_pktmbuf_alloc_bulk(pool_, packets, count) != 0) {
        ctx.count(kPoolEmpty, 1);
        return 0;
    }
    for (unsigned i = 0; i < count; ++i) {
        rte_mbuf* const m = packets[i];
        auto* const p = rte_pktmbuf_mtod(m, std::byte*);
        std::memcpy(p, frame_.data(), frame_.size());
        write_gen_seq(p, seq_++);
        if (frame_.size() >= kGenStampedSize) write_gen_stamp(p, ctx.now.ns);
        m->data_len = static_cast<std::uint16_t>(frame_.size());
        m->pkt_len = static_cast<std::uint32_t>(frame_.size());
    }
    return count;
}

Instant TxGen::next() const noexcept {
    const Uint128 wanted = static_cast<Uint128>(paced_) * rate_den_ * 1'000'000'000;
    const Uint128 ns = (wanted + rate_num_ - 1) / rate_num_;
    constexpr auto kFar = static_cast<Uint128>(std::numeric_limits<std::int64_t>::max() / 2);
    return ns > kFar ? Instant::never() : since_ + Duration{static_cast<std::int64_t>(ns)};
}

dp::Busy TxGen::poll(dp::LoopCtx& ctx) noexcept {
    if (!started_) {
        started_ = true;
        since_ = ctx.now;
        paced_ = 0;
        sent_ = 0;
    }
    const unsigned wanted = std::min(due(ctx.now), ctx.credit(0));
    if (given_up_ != 0) [[unlikely]] {
        ctx.count(kGivenUp, given_up_);
        given_up_ = 0;
    }
    if (wanted == 0) {
        const bool waits = rate_num_ != 0 && (options_.count == 0 || sent_ < options_.count);
        ctx.set_deadline(waits ? next() : Instant::never());
        return dp::Busy::idle;
    }
    rte_mbuf* packets[dp::kRxBurst];
    const unsigned n = make(ctx, packets, wanted);
    if (n == 0) return dp::Busy::idle;
    paced_ += n;
    sent_ += n;
    ctx.count_in(n);
    ctx.count(kBytes, std::uint64_t{n} * frame_.size());
    ctx.emit(0, packets, n);
    return dp::Busy::busy;
}

dp::Wait TxGen::wait_arm(dp::LoopCtx& ctx, int) noexcept {
    // The deadline that poll has set ends the sleep; without a rate only the end of the run lets
    // an lcore come here, or a consumer that is full.
    if (options_.count != 0 && sent_ >= options_.count) return dp::Wait::armed;
    if (rate_num_ != 0 && next() > ctx.now) return dp::Wait::armed;
    return dp::Wait::poll_only;
}

void TxGen::on_stop(dp::LoopCtx&) noexcept { started_ = false; }

}  // namespace sluice::stages
