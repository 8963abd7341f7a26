#include "shim_hv/dp/vmpi_stage.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "dataplane/pdu_meta.hpp"

namespace sluice::shim_hv {
namespace {

using rina::vmpi::kHeaderBytes;
using rina::vmpi::kShortFrameBytes;

constexpr Duration kStarvedPeriod = Duration::milliseconds(20);
constexpr Duration kRefusalSuspected = Duration::milliseconds(10);
constexpr unsigned kCreditFrames = 8;

// The indices of a whole burst.
constexpr auto kAll = [] {
    std::array<std::uint16_t, dp::kRxBurst> all{};
    for (unsigned i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
    return all;
}();

// From frame to SDU.
void strip(rte_mbuf* m, std::uint32_t slot) noexcept {
    m->data_off = static_cast<std::uint16_t>(m->data_off + kHeaderBytes);
    m->data_len = static_cast<std::uint16_t>(m->data_len - kHeaderBytes);
    m->pkt_len -= kHeaderBytes;
    dp::meta_of(m) = {slot, 0, 0};
}

constexpr DropReason reason_of(VmpiDrop drop) noexcept {
    switch (drop) {
        case VmpiDrop::none: break;
        case VmpiDrop::short_frame: return DropReason::vmpi_short_frame;
        case VmpiDrop::malformed_short: return DropReason::vmpi_malformed_short;
        case VmpiDrop::unknown_channel: return DropReason::vmpi_unknown_channel;
        case VmpiDrop::not_allocated: return DropReason::vmpi_not_allocated;
        case VmpiDrop::stale_generation: return DropReason::vmpi_stale_generation;
        case VmpiDrop::oversized: return DropReason::vmpi_oversized;
        case VmpiDrop::credit_overrun: return DropReason::vmpi_credit_overrun;
        case VmpiDrop::bad_control: return DropReason::vmpi_bad_control;
        case VmpiDrop::stale_control: return DropReason::vmpi_stale_epoch;
        case VmpiDrop::bad_credit: return DropReason::vmpi_bad_control;
        case VmpiDrop::control_limit: return DropReason::vmpi_control_flood;
        case VmpiDrop::device_down: return DropReason::link_down;
    }
    return DropReason::discarded;
}

}  // namespace

VmpiStage::VmpiStage(VmpiLowLevel& low_level, const Options& options)
    : low_level_(low_level),
      options_(options),
      data_(options.data),
      quota_(options.punt_quota),
      paths_(options.data.max_channels + 1),
      backlog_(std::bit_ceil(options.backlog)),
      backlog_mask_(static_cast<unsigned>(backlog_.size()) - 1) {
    bound_.reserve(options.data.max_channels);
    lagging_.reserve(options.data.max_channels);
}

VmpiStage::~VmpiStage() {
    for (; backlog_count_ != 0; --backlog_count_) {
        rte_pktmbuf_free(backlog_[backlog_head_]);
        backlog_head_ = (backlog_head_ + 1) & backlog_mask_;
    }
}

dp::KindInfo VmpiStage::kind(unsigned outlets) {
    dp::KindInfo k = dp::KindInfo::source_of("vmpi", outlets);
    k.inlets = 1;
    k.inlet_reaches = {0};  // what goes out goes into the device, not to another stage
    k.counters = {
        {"rx_bytes", "bytes", "frames received, with the channel word"},
        {"tx_packets", "packets", "frames given to the ring"},
        {"tx_bytes", "bytes", "frames given to the ring, with the channel word"},
        {"rx_sdus", "packets", "SDUs delivered to flows"},
        {"tx_sdus", "packets", "SDUs accepted from flows"},
        {"rx_control", "packets", "control messages received"},
        {"credits_sent", "packets", "CREDIT and CREDIT_PROBE messages sent"},
    };
    return k;
}

dp::Busy VmpiStage::poll(dp::LoopCtx& ctx) noexcept {
    std::array<VmpiView, dp::kRxBurst> views;
    const unsigned n = low_level_.peek(views);
    if (n != 0) {
        if (tap_ != nullptr) [[unlikely]]
            low_level_.show(ctx, *tap_);
        ctx.count_in(n);
        last_frame_ns_.store(ctx.now.ns, std::memory_order_relaxed);
    }
    if (n != 0 && !poll_run(ctx, {views.data(), n})) {
        Sorted sorted;
        std::uint64_t bytes = 0;
        for (unsigned i = 0; i < n; ++i) {
            const VmpiView& view = views[i];
            bytes += view.size;
            // The bytes may change while they are looked at: decide on a copy.
            std::array<std::byte, 16> head;
            if (view.head_size >= head.size()) [[likely]] {
                std::memcpy(head.data(), view.head, head.size());
            } else if (view.head_size >= std::min(view.size, kShortFrameBytes)) {
                std::memcpy(head.data(), view.head, view.head_size);
            } else {
                ctx.count_drop(DropReason::too_short, 1);
                continue;
            }
            const Verdict verdict = data_.classify(head.data(), view.size);
            if (verdict.kind == VerdictKind::drop) [[unlikely]] {
                ctx.count_drop(reason_of(verdict.reason), 1);
                continue;
            }
            sorted.which[sorted.count] = static_cast<std::uint16_t>(i);
            sorted.verdicts[sorted.count] = verdict;
            ++sorted.count;
        }
        ctx.count(kRxBytes, bytes);
        std::array<rte_mbuf*, dp::kRxBurst> packets;
        const unsigned taken =
            low_level_.take({sorted.which.data(), sorted.count}, packets.data());
        low_level_.release();
        deliver(ctx, sorted, packets.data(), taken);
        // Taken fewer: charged, gone, and so consumed.
        for (unsigned i = taken; i < sorted.count; ++i) {
            ctx.count_drop(DropReason::no_mbuf, 1);
            if (sorted.verdicts[i].kind == VerdictKind::data)
                data_.on_consumed(sorted.verdicts[i].channel, sorted.verdicts[i].sdu_len);
        }
    }
    const bool waiting = backlog_count_ != 0;
    if (waiting) [[unlikely]]
        send_backlog(ctx);
    after_work(ctx);
    return n != 0 || waiting ? dp::Busy::busy : dp::Busy::idle;
}

// False, and nothing done, if the frames are of another kind.
bool VmpiStage::poll_run(dp::LoopCtx& ctx, std::span<const VmpiView> views) noexcept {
    if (views[0].head_size < kShortFrameBytes) return false;
    const std::uint32_t word = rina::vmpi::load_le32(views[0].head);
    std::uint32_t units = 0;
    std::uint32_t longest = 0;
    std::uint64_t bytes = 0;
    for (const VmpiView& view : views) {
        if (view.head_size < kShortFrameBytes || rina::vmpi::load_le32(view.head) != word)
            return false;
        longest = std::max(longest, view.size);
        units += data_.cost(view.size - kHeaderBytes);
        bytes += view.size;
    }
    const VmpiData::Run run = data_.classify_run(word, units, longest - kHeaderBytes);
    if (run.channel == 0) [[unlikely]]
        return false;
    const auto n = static_cast<unsigned>(views.size());
    std::array<rte_mbuf*, dp::kRxBurst> packets;
    const unsigned taken = low_level_.take({kAll.data(), n}, packets.data());
    low_level_.release();
    const std::uint32_t slot = slot_of(run.cookie);
    for (unsigned i = 0; i < taken; ++i) strip(packets[i], slot);
    ctx.count(kRxBytes, bytes);
    ctx.count(kRxSdus, taken);
    ctx.emit(outlet_of(run.cookie), packets.data(), taken);
    for (unsigned i = taken; i < n; ++i) {
        ctx.count_drop(DropReason::no_mbuf, 1);
        data_.on_consumed(run.channel, views[i].size - kHeaderBytes);
    }
    if (data_.has_credits()) settle(run.channel);
    return true;
}

// Strips what VMPI added and hands runs of the same flow on together.
void VmpiStage::deliver(dp::LoopCtx& ctx, const Sorted& sorted, rte_mbuf** packets,
                        unsigned count) noexcept {
    unsigned sdus = 0;
    for (unsigned i = 0; i < count;) {
        const Verdict& first = sorted.verdicts[i];
        if (first.kind == VerdictKind::control) [[unlikely]] {
            punt(ctx, packets[i++]);
            continue;
        }
        const unsigned begin = i;
        for (; i < count; ++i) {
            const Verdict& v = sorted.verdicts[i];
            if (v.kind != VerdictKind::data || v.channel != first.channel) break;
            rte_mbuf* const m = packets[i];
            strip(m, slot_of(v.cookie));
            if (m->pkt_len != v.sdu_len) [[unlikely]]
                rte_pktmbuf_trim(m, static_cast<std::uint16_t>(m->pkt_len - v.sdu_len));
        }
        sdus += i - begin;
        ctx.emit(outlet_of(first.cookie), packets + begin, i - begin);
        if (data_.has_credits()) settle(first.channel);
    }
    ctx.count(kRxSdus, sdus);
}

// Reads how much of a channel's deliveries its application has consumed.
void VmpiStage::settle(std::uint32_t channel) noexcept {
    Path& path = paths_[channel];
    if (path.gate == nullptr) return;
    data_.on_consumed_total(channel, path.gate->consumed.load(std::memory_order_relaxed));
    if (!path.lagging && data_.entry(channel).receiver.held() != 0) {
        path.lagging = true;
        lagging_.push_back(channel);
    }
}

void VmpiStage::punt(dp::LoopCtx& ctx, rte_mbuf* packet) noexcept {
    ctx.count(kRxControl, 1);
    const std::span<const std::byte> message(
        rte_pktmbuf_mtod(packet, const std::byte*) + kHeaderBytes,
        packet->data_len - kHeaderBytes);
    if (data_.is_credit(message)) {
        credit_message(ctx, message);
        rte_pktmbuf_free(packet);
        return;
    }
    dp::PuntItem item;
    item.from = this;
    item.packet = packet;
    item.type = kPuntVmpiControl;
    item.quota = &quota_;
    switch (options_.punt->push(item)) {
        case dp::Punt::Pushed::ok: break;
        case dp::Punt::Pushed::full: ctx.drop(DropReason::punt_full, packet); break;
        case dp::Punt::Pushed::over_quota: ctx.drop(DropReason::punt_quota, packet); break;
    }
}

void VmpiStage::credit_message(dp::LoopCtx& ctx, std::span<const std::byte> message) noexcept {
    std::uint32_t channel = 0;
    const std::uint64_t lost = data_.lost_units();
    const VmpiDrop drop = data_.on_credit_message(message, &channel);
    if (data_.lost_units() != lost)
        ctx.count_drop(DropReason::vmpi_ring_lost,
                       static_cast<unsigned>(data_.lost_units() - lost));
    if (drop != VmpiDrop::none) {
        ctx.count_drop(reason_of(drop), 1);
        return;
    }
    if (channel != 0 && paths_[channel].gate != nullptr)
        paths_[channel].gate->send_limit.store(data_.entry(channel).sender.limit(),
                                               std::memory_order_release);
}

// False, and nothing done, unless all SDUs go to one channel as they are and may go.
bool VmpiStage::send_run(dp::LoopCtx& ctx, dp::Burst& burst) noexcept {
    const std::uint32_t channel = dp::meta_of(burst.pkts[0]).port_id;
    std::uint32_t longest = 0;
    std::uint32_t shortest = ~0u;
    std::uint32_t units = 0;
    std::uint64_t bytes = 0;
    for (unsigned i = 0; i < burst.count; ++i) {
        const rte_mbuf* const m = burst.pkts[i];
        if (dp::meta_of(m).port_id != channel || m->data_off < kHeaderBytes) return false;
        longest = std::max(longest, m->pkt_len);
        shortest = std::min(shortest, m->pkt_len);
        units += data_.cost(m->pkt_len);
        bytes += m->pkt_len;
    }
    if (shortest <= rina::vmpi::kShortSduMax || !data_.submit_run(channel, units, longest))
        return false;
    const std::uint32_t word = data_.data_word(channel);
    for (unsigned i = 0; i < burst.count; ++i) {
        rte_mbuf* const m = burst.pkts[i];
        m->data_off = static_cast<std::uint16_t>(m->data_off - kHeaderBytes);
        m->data_len = static_cast<std::uint16_t>(m->data_len + kHeaderBytes);
        m->pkt_len += kHeaderBytes;
        rina::vmpi::store_le32(rte_pktmbuf_mtod(m, std::byte*), word);
    }
    ctx.count(kTxSdus, burst.count);
    transmit(ctx, burst.pkts, burst.count, bytes + std::uint64_t{kHeaderBytes} * burst.count);
    return true;
}

void VmpiStage::process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept {
    if (send_run(ctx, burst)) [[likely]]
        return;
    rte_mbuf** const frames = burst.pkts;
    unsigned ready = 0;
    std::uint64_t bytes = 0;
    for (unsigned i = 0; i < burst.count; ++i) {
        rte_mbuf* const m = burst.pkts[i];
        const std::uint32_t channel = dp::meta_of(m).port_id;
        const std::uint32_t size = m->pkt_len;
        const VmpiData::Submit verdict = data_.submit(channel, size, ctx.now);
        if (verdict != VmpiData::Submit::ok) [[unlikely]] {
            const DropReason reason = verdict == VmpiData::Submit::no_credit ? DropReason::no_credit
                                      : verdict == VmpiData::Submit::not_bound ? DropReason::no_flow
                                      : verdict == VmpiData::Submit::too_long
                                          ? DropReason::too_long
                                          : DropReason::too_short;
            ctx.drop(reason, m);
            continue;
        }
        if (rte_pktmbuf_headroom(m) < kHeaderBytes) [[unlikely]] {
            data_.unsubmit(channel, size);
            ctx.drop(DropReason::tx_rejected, m);
            continue;
        }
        const std::uint32_t padding = data_.frame_bytes(size) - size - kHeaderBytes;
        m->data_off = static_cast<std::uint16_t>(m->data_off - kHeaderBytes);
        m->data_len = static_cast<std::uint16_t>(m->data_len + kHeaderBytes + padding);
        m->pkt_len += kHeaderBytes + padding;
        data_.seal(rte_pktmbuf_mtod(m, std::byte*), channel, size);
        frames[ready++] = m;
        bytes += m->pkt_len;
    }
    ctx.count(kTxSdus, ready);
    transmit(ctx, frames, ready, bytes);
}

void VmpiStage::transmit(dp::LoopCtx& ctx, rte_mbuf** frames, unsigned count,
                         std::uint64_t bytes) noexcept {
    if (count == 0) return;
    if (tap_ != nullptr) [[unlikely]]
        tap_->tap(ctx, frames, count, dp::Direction::tx);
    if (backlog_count_ != 0) {
        keep(ctx, frames, count);
        return;
    }
    const unsigned sent = low_level_.send(frames, count);
    for (unsigned i = sent; i < count; ++i) bytes -= frames[i]->pkt_len;
    ctx.count(kTxPackets, sent);
    ctx.count(kTxBytes, bytes);
    if (sent != count) keep(ctx, frames + sent, count - sent);
}

void VmpiStage::keep(dp::LoopCtx& ctx, rte_mbuf** frames, unsigned count) noexcept {
    if (!low_level_.link_up()) {
        ctx.drop(DropReason::link_down, frames, count);
        return;
    }
    if (backlog_count_ == 0) stuck_since_ = ctx.now;
    const unsigned fits = std::min(count, options_.backlog - backlog_count_);
    for (unsigned i = 0; i < fits; ++i) {
        backlog_[(backlog_head_ + backlog_count_) & backlog_mask_] = frames[i];
        ++backlog_count_;
    }
    ctx.drop(DropReason::tx_ring_full, frames + fits, count - fits);
}

void VmpiStage::send_backlog(dp::LoopCtx& ctx) noexcept {
    while (backlog_count_ != 0) {
        const unsigned run =
            std::min({backlog_count_, backlog_mask_ + 1 - backlog_head_, dp::kBurstMax});
        rte_mbuf** const first = backlog_.data() + backlog_head_;
        std::array<std::uint32_t, dp::kBurstMax> sizes;
        for (unsigned i = 0; i < run; ++i) sizes[i] = first[i]->pkt_len;
        const unsigned sent = low_level_.send(first, run);
        std::uint64_t bytes = 0;
        for (unsigned i = 0; i < sent; ++i) bytes += sizes[i];
        ctx.count(kTxPackets, sent);
        ctx.count(kTxBytes, bytes);
        backlog_head_ = (backlog_head_ + sent) & backlog_mask_;
        backlog_count_ -= sent;
        if (sent != 0) stuck_since_ = ctx.now;
        if (sent != run) break;
    }
    if (backlog_count_ == 0) return;
    const Duration stuck = ctx.now - stuck_since_;
    if (!low_level_.link_up()) {
        drop_backlog(ctx, DropReason::link_down);
    } else if (!data_.has_credits() && stuck > options_.patience) {
        drop_backlog(ctx, DropReason::tx_ring_full);
    } else if (stuck > kRefusalSuspected) {
        stuck_since_ = ctx.now;
        if (low_level_.never_fits(backlog_[backlog_head_])) {
            ctx.drop(DropReason::tx_rejected, backlog_[backlog_head_]);
            backlog_head_ = (backlog_head_ + 1) & backlog_mask_;
            --backlog_count_;
        }
    }
}

void VmpiStage::drop_backlog(dp::LoopCtx& ctx, DropReason reason) noexcept {
    for (; backlog_count_ != 0; --backlog_count_) {
        ctx.drop(reason, backlog_[backlog_head_]);
        backlog_head_ = (backlog_head_ + 1) & backlog_mask_;
    }
}

// Grants that have become due, and when to look again.
void VmpiStage::after_work(dp::LoopCtx& ctx) noexcept {
    if (!lagging_.empty()) [[unlikely]] {
        std::size_t kept = 0;
        for (const std::uint32_t channel : lagging_) {
            Path& path = paths_[channel];
            if (path.gate != nullptr)
                data_.on_consumed_total(channel,
                                        path.gate->consumed.load(std::memory_order_relaxed));
            path.lagging = path.gate != nullptr && data_.entry(channel).receiver.held() != 0;
            if (path.lagging) lagging_[kept++] = channel;
        }
        lagging_.resize(kept);
    }
    if (ctx.now >= data_.next_deadline()) [[unlikely]]
        send_credits(ctx);
    Instant next = data_.next_deadline();
    if (!bound_.empty()) {
        if (ctx.now >= next_look_) [[unlikely]]
            ask_for_starved(ctx);
        next = earlier(next, next_look_);
    }
    if (next != deadline_) [[unlikely]] {
        deadline_ = next;
        ctx.set_deadline(next);
    }
}

// An application that sees no credit waits without trying, so the question after a lost grant
// has to be asked for it.
void VmpiStage::ask_for_starved(dp::LoopCtx& ctx) noexcept {
    next_look_ = ctx.now + kStarvedPeriod;
    for (const std::uint32_t channel : bound_) {
        const dp::FlowGate* gate = paths_[channel].gate;
        if (gate == nullptr) continue;
        const std::uint32_t size = gate->starved.load(std::memory_order_relaxed);
        if (size == dp::FlowGate::kNotStarved) continue;
        if (data_.submit(channel, size, ctx.now) == VmpiData::Submit::ok)
            data_.unsubmit(channel, size);
    }
}

void VmpiStage::send_credits(dp::LoopCtx& ctx) noexcept {
    std::array<VmpiData::CreditFrame, kCreditFrames> due;
    const std::size_t count = data_.collect_due(ctx.now, due);
    rte_mbuf* frames[kCreditFrames];
    unsigned made = 0;
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < count; ++i) {
        rte_mbuf* const m = rte_pktmbuf_alloc(options_.pool);
        if (m == nullptr) {
            // The sender asks again when it has waited.
            ctx.count_drop(DropReason::no_mbuf, 1);
            continue;
        }
        char* const at = rte_pktmbuf_append(m, static_cast<std::uint16_t>(due[i].size));
        std::memcpy(at, due[i].bytes.data(), due[i].size);
        frames[made++] = m;
        bytes += due[i].size;
    }
    ctx.count(kCreditsSent, made);
    transmit(ctx, frames, made, bytes);
}

void VmpiStage::on_timeout(dp::LoopCtx& ctx) noexcept {
    deadline_ = Instant::never();
    after_work(ctx);
}

void VmpiStage::on_mail(dp::LoopCtx& ctx, const dp::Mail& mail) noexcept {
    if (mail.type == dp::kMailSetTap) {
        tap_ = static_cast<dp::PacketTap*>(mail.pointer);
        return;
    }
    switch (static_cast<VmpiMail>(mail.type)) {
        case VmpiMail::set_epochs: {
            const auto& action = *static_cast<const SetEpochs*>(mail.pointer);
            data_.set_epochs(action);
            if (action.peer == 0) drop_backlog(ctx, DropReason::vmpi_peer_reset);
            break;
        }
        case VmpiMail::bind: {
            Bind bind;
            bind.channel = mail.arg;
            bind.generation = static_cast<std::uint8_t>(mail.words[0]);
            bind.cookie = static_cast<std::uint32_t>(mail.words[1]);
            bind.flow = FlowHandle(static_cast<std::uint32_t>(mail.words[0] >> 32));
            bind.window = mail.words[2];
            data_.bind(bind);
            paths_[bind.channel].gate = static_cast<dp::FlowGate*>(mail.pointer);
            bound_.push_back(bind.channel);
            break;
        }
        case VmpiMail::grant:
            data_.grant({mail.arg, static_cast<std::uint8_t>(mail.words[0])});
            break;
        case VmpiMail::unbind:
            data_.unbind({mail.arg, static_cast<std::uint8_t>(mail.words[0]), FlowHandle(0)});
            paths_[mail.arg].gate = nullptr;
            std::erase(bound_, mail.arg);
            break;
        case VmpiMail::send: {
            auto* frame = static_cast<rte_mbuf*>(mail.pointer);
            transmit(ctx, &frame, 1, frame->pkt_len);
            break;
        }
    }
    acked_.store(acked_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    after_work(ctx);
}

dp::Busy VmpiStage::drain(dp::LoopCtx& ctx) noexcept {
    if (backlog_count_ == 0) return dp::Busy::idle;
    send_backlog(ctx);
    return dp::Busy::busy;
}

void VmpiStage::on_stop(dp::LoopCtx& ctx) noexcept { drop_backlog(ctx, DropReason::stopped); }

// Nothing while frames wait for the ring: what a source makes ahead of that only gets cold, at
// 1500 bytes a third of the rate. The backlog is for what is under way already.
unsigned VmpiStage::room(unsigned) const noexcept {
    return backlog_count_ == 0 ? dp::kBurstMax : 0;
}

dp::Wait VmpiStage::wait_arm(dp::LoopCtx&, int epoll_fd) noexcept {
    if (backlog_count_ != 0) return dp::Wait::work;
    const dp::Wait wait = low_level_.arm(epoll_fd);
    // Consumers on other lcores do not wake this one.
    if (wait == dp::Wait::armed && !lagging_.empty()) return dp::Wait::poll_only;
    return wait;
}

void VmpiStage::wait_disarm(dp::LoopCtx&) noexcept { low_level_.disarm(); }

}  // namespace sluice::shim_hv
