#include "normal_dif/dp/relay_stage.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.hpp"
#include "dataplane/pdu_meta.hpp"

namespace sluice::normal_dif {

namespace {

using rmt::Decision;
using rmt::N1PortId;

// Around a PDU that had to be copied: for what its protection adds.
constexpr std::uint16_t kRoom = 64;
constexpr std::uint32_t kPduMax = 65536;

PduToken token_of(rte_mbuf* m) noexcept {
    return static_cast<PduToken>(reinterpret_cast<std::uintptr_t>(m));
}
rte_mbuf* mbuf_of(PduToken token) noexcept {
    return reinterpret_cast<rte_mbuf*>(static_cast<std::uintptr_t>(token));
}

// Cuts what is behind the first `bytes`, which there must be. rte_pktmbuf_trim() only cuts within
// the last segment.
void cut(rte_mbuf* m, std::uint32_t bytes) noexcept {
    m->pkt_len = bytes;
    std::uint16_t segments = 1;
    rte_mbuf* last = m;
    for (; bytes > last->data_len; ++segments) {
        bytes -= last->data_len;
        last = last->next;
    }
    last->data_len = static_cast<std::uint16_t>(bytes);
    m->nb_segs = segments;
    if (rte_mbuf* const rest = std::exchange(last->next, nullptr)) rte_pktmbuf_free(rest);
}

sdup::Frame frame_of(rte_mbuf* m) noexcept {
    sdup::Frame frame;
    frame.data = rte_pktmbuf_mtod(m, std::byte*);
    frame.bytes = m->data_len;
    frame.headroom = rte_pktmbuf_headroom(m);
    frame.tailroom = rte_pktmbuf_tailroom(m);
    return frame;
}

void take_back(rte_mbuf* m, const sdup::Frame& frame) noexcept {
    m->data_off =
        static_cast<std::uint16_t>(frame.data - static_cast<std::byte*>(m->buf_addr));
    m->data_len = static_cast<std::uint16_t>(frame.bytes);
    m->pkt_len = frame.bytes;
}

// A copy in as many segments as it takes; nullptr if there are too few.
rte_mbuf* chain_of(rte_mempool* pool, const std::byte* data, std::uint32_t bytes) noexcept {
    rte_mbuf* first = nullptr;
    rte_mbuf* last = nullptr;
    do {
        rte_mbuf* const m = rte_pktmbuf_alloc(pool);
        if (m == nullptr) {
            rte_pktmbuf_free(first);
            return nullptr;
        }
        const std::uint32_t part = std::min<std::uint32_t>(bytes, rte_pktmbuf_tailroom(m));
        std::memcpy(rte_pktmbuf_mtod(m, void*), data, part);
        m->data_len = static_cast<std::uint16_t>(part);
        data += part;
        bytes -= part;
        if (first == nullptr) {
            first = m;
            first->pkt_len = 0;
        } else {
            last->next = m;
            ++first->nb_segs;
        }
        last = m;
        first->pkt_len += part;
    } while (bytes != 0);
    return first;
}

const rmt::Pft kNowhere;

}  // namespace

// Protection wants PDUs in one piece that nobody else looks at. What is not is copied, worked on
// and copied back. `work` is given all frames that are at once.
template <typename Work>
unsigned RelayStage::protect(dp::LoopCtx& ctx, rte_mbuf** packets, unsigned count,
                             Work&& work) noexcept {
    static_assert(dp::kBurstMax <= 64);
    std::array<sdup::Frame, dp::kBurstMax> frames;
    std::uint64_t flat = 0;
    for (unsigned i = 0; i < count; ++i) {
        rte_mbuf* const m = packets[i];
        const bool is_flat = m->nb_segs == 1 && RTE_MBUF_DIRECT(m) && rte_mbuf_refcnt_read(m) == 1;
        flat |= std::uint64_t{is_flat} << i;
        frames[i] = frame_of(m);
        frames[i].dropped = !is_flat;  // is left alone
    }
    work(std::span(frames.data(), count));
    unsigned kept = 0;
    for (unsigned i = 0; i < count; ++i) {
        rte_mbuf* m = packets[i];
        if ((flat >> i & 1) == 0) [[unlikely]] {
            m = protect_copy(ctx, m, work);
        } else if (frames[i].dropped) [[unlikely]] {
            ctx.drop(frames[i].reason, m);
            m = nullptr;
        } else {
            take_back(m, frames[i]);
        }
        if (m != nullptr) packets[kept++] = m;
    }
    return kept;
}

// nullptr if it was dropped.
template <typename Work>
rte_mbuf* RelayStage::protect_copy(dp::LoopCtx& ctx, rte_mbuf* m, Work&& work) noexcept {
    sdup::Frame frame;
    frame.data = flat_.data() + kRoom;
    frame.bytes = m->pkt_len;
    frame.headroom = frame.tailroom = kRoom;
    if (m->pkt_len > kPduMax) {
        ctx.drop(DropReason::too_long, m);
        return nullptr;
    }
    // To where the copy is to be, unless it was in one piece and only was shared.
    const void* const at = rte_pktmbuf_read(m, 0, m->pkt_len, frame.data);
    if (at != frame.data) std::memcpy(frame.data, at, m->pkt_len);
    work(std::span(&frame, 1));
    rte_mbuf* const copy =
        frame.dropped ? nullptr : chain_of(options_.pool, frame.data, frame.bytes);
    if (copy == nullptr) {
        ctx.drop(frame.dropped ? frame.reason : DropReason::no_mbuf, m);
        return nullptr;
    }
    dp::meta_of(copy) = dp::meta_of(m);
    rte_pktmbuf_free(m);
    return copy;
}

RelayStage::RelayStage(const Options& options)
    : options_(options),
      rmt_(options.rmt),
      quota_(options.punt_quota),
      flat_(kPduMax + 2 * kRoom) {
    flows_.resize(rmt::kN1PortsMax);
    waiting_.reserve(rmt::kN1PortsMax);
    // On the lcore nothing is allocated: room for what any port may be told.
    const N1PortId last{rmt::kN1PortsMax - 1};
    for (const rina::Address source : {rmt::kNoSource, rmt::kAnySource})
        SLUICE_CHECK(rmt_.set_source(last, source));
}

dp::KindInfo RelayStage::kind(unsigned devices) {
    dp::KindInfo k = dp::KindInfo::source_of("relay", devices + 1);
    k.inlets = 2;
    k.inlet_reaches = {dp::KindInfo::mask_of(devices + 1), dp::KindInfo::mask_of(devices)};
    k.poll_reaches = dp::KindInfo::mask_of(devices);
    k.counters = {
        {"relayed", "packets", "PDUs from one N-1 flow to another"},
        {"relayed_bytes", "bytes", "PDUs from one N-1 flow to another"},
        {"local", "packets", "PDUs to flows of this IPC process"},
        {"management", "packets", "PDUs to the management of this IPC process"},
        {"queued", "packets", "PDUs that had to wait for credit or room"},
        {"marked", "packets", "PDUs that were marked, as too many waited"},
    };
    return k;
}

// ---- in ----------------------------------------------------------------------------------------

void RelayStage::process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept {
    for (unsigned i = 0; i < burst.count;) {
        const std::uint32_t port = dp::meta_of(burst.pkts[i]).port_id;
        const unsigned begin = i;
        while (i < burst.count && dp::meta_of(burst.pkts[i]).port_id == port) ++i;
        N1Flow* const flow = flow_at(port);
        if (flow == nullptr) {
            ctx.drop(DropReason::dif_n1_down, burst.pkts + begin, i - begin);
        } else if (burst.inlet == 0) {
            receive(ctx, *flow, burst.pkts + begin, i - begin);
        } else {
            std::array<Leaving, dp::kBurstMax> leaving;
            for (unsigned n = begin; n < i; ++n)
                leaving[n - begin] = {burst.pkts[n],
                                      rina::QosId{dp::meta_of(burst.pkts[n]).aux}};
            forward(ctx, *flow, leaving.data(), i - begin);
        }
    }
}

void RelayStage::receive(dp::LoopCtx& ctx, N1Flow& from, rte_mbuf** packets,
                         unsigned count) noexcept {
    // Whatever becomes of them, they are out of the device's buffers.
    if (from.gate->has_credits) {
        for (unsigned i = 0; i < count; ++i) from.consumed += from.gate->cost(packets[i]->pkt_len);
        from.gate->consumed.store(from.consumed, std::memory_order_relaxed);
    }
    if (!from.is_plain) count = open(ctx, from, packets, count);
    for (unsigned i = 0; i < count; ++i) {
        rte_mbuf* const m = packets[i];
        rmt::RxPdu& pdu = pdus_[i];
        pdu.token = token_of(m);
        pdu.head = rte_pktmbuf_mtod(m, std::byte*);
        pdu.head_bytes = m->data_len;
        pdu.frame_bytes = m->pkt_len;
        pdu.arrival = from.port;
    }
    const rmt::Pft* const routes = options_.routes->read();
    rmt_.decide({pdus_.data(), count}, routes != nullptr ? *routes : kNowhere, up_,
                decisions_);
    dispatch(ctx, packets, count);
}

void RelayStage::dispatch(dp::LoopCtx& ctx, rte_mbuf** packets, unsigned count) noexcept {
    std::array<Leaving, dp::kBurstMax> leaving;
    std::array<rte_mbuf*, dp::kBurstMax> local;
    unsigned n_local = 0, n_relayed = 0;
    std::uint64_t bytes = 0;
    for (unsigned i = 0; i < count;) {
        const Decision& first = decisions_[i];
        rte_mbuf* const m = packets[i];
        if (first.kind == Decision::Kind::drop) {
            ctx.drop(first.reason, m);
            ++i;
            continue;
        }
        if (first.kind != Decision::Kind::forward) {
            if (first.pci.length != m->pkt_len) cut(m, first.pci.length);
            if (first.kind == Decision::Kind::management) {
                punt(ctx, m, first.port);
            } else {
                dp::meta_of(m) = {static_cast<std::uint32_t>(first.pci.destination_cep.value), 0,
                                  0};
                local[n_local++] = m;
            }
            ++i;
            continue;
        }
        unsigned run = 0;
        for (; i < count; ++i, ++run) {
            const Decision& d = decisions_[i];
            if (d.kind != Decision::Kind::forward || d.port != first.port) break;
            if (d.pci.length != packets[i]->pkt_len) [[unlikely]]
                cut(packets[i], d.pci.length);
            bytes += d.pci.length;
            leaving[run] = {packets[i], d.pci.qos};
        }
        n_relayed += run;
        if (N1Flow* const to = flow_at(first.port.value); to != nullptr) [[likely]]
            forward(ctx, *to, leaving.data(), run);
        else
            for (unsigned n = 0; n < run; ++n)
                ctx.drop(DropReason::dif_n1_down, leaving[n].packet);
    }
    if (n_relayed != 0) {
        ctx.count(kRelayed, n_relayed);
        ctx.count(kRelayedBytes, bytes);
    }
    if (n_local == 0) return;
    ctx.count(kLocal, n_local);
    ctx.emit(options_.devices, local.data(), n_local);
}

void RelayStage::punt(dp::LoopCtx& ctx, rte_mbuf* packet, N1PortId from) noexcept {
    ctx.count(kManagement, 1);
    dp::PuntItem item;
    item.from = this;
    item.packet = packet;
    item.type = kPuntManagementPdu;
    item.words[0] = from.value;
    item.quota = &quota_;
    switch (options_.punt->push(item)) {
        case dp::Punt::Pushed::ok: break;
        case dp::Punt::Pushed::full: ctx.drop(DropReason::punt_full, packet); break;
        case dp::Punt::Pushed::over_quota: ctx.drop(DropReason::punt_quota, packet); break;
    }
}

unsigned RelayStage::open(dp::LoopCtx& ctx, N1Flow& from, rte_mbuf** packets,
                          unsigned count) noexcept {
    return protect(ctx, packets, count, [&](std::span<sdup::Frame> frames) {
        sdup::open(from.protection.opener, ctx.now, frames);
    });
}

unsigned RelayStage::seal(dp::LoopCtx& ctx, N1Flow& to, rte_mbuf** packets,
                          unsigned count) noexcept {
    return protect(ctx, packets, count, [&](std::span<sdup::Frame> frames) {
        sdup::seal(to.protection.sealer, ctx.now, frames);
    });
}

// ---- out ---------------------------------------------------------------------------------------

void RelayStage::forward(dp::LoopCtx& ctx, N1Flow& to, const Leaving* leaving,
                         unsigned count) noexcept {
    unsigned now = 0;
    if (!to.is_waiting) now = affordable(ctx, to, leaving, count);
    if (now != 0) {
        std::array<rte_mbuf*, dp::kBurstMax> packets;
        for (unsigned i = 0; i < now; ++i) packets[i] = leaving[i].packet;
        transmit(ctx, to, packets.data(), now);
    }
    if (now != count) [[unlikely]]
        queue(ctx, to, leaving + now, count - now);
}

// How many of them the device takes, in their order.
unsigned RelayStage::affordable(dp::LoopCtx& ctx, const N1Flow& to, const Leaving* leaving,
                                unsigned count) const noexcept {
    const unsigned most = std::min(count, ctx.credit(to.outlet));
    if (!to.gate->has_credits) return most;
    const std::uint64_t limit = to.gate->send_limit.load(std::memory_order_acquire);
    const sdup::Overhead more = sdup::overhead(to.protection.sealer);
    std::uint64_t units = to.submitted;
    unsigned n = 0;
    for (; n < most; ++n) {
        units += to.gate->cost(leaving[n].packet->pkt_len + more.head + more.tail);
        if (units > limit) break;
    }
    return n;
}

void RelayStage::transmit(dp::LoopCtx& ctx, N1Flow& to, rte_mbuf** packets,
                          unsigned count) noexcept {
    if (!to.is_plain) count = seal(ctx, to, packets, count);
    unsigned kept = 0;
    for (unsigned i = 0; i < count; ++i) {
        rte_mbuf* const m = packets[i];
        if (m->pkt_len > to.max_sdu) [[unlikely]] {
            ctx.drop(DropReason::too_long, m);
            continue;
        }
        dp::meta_of(m) = {to.channel, 0, 0};
        if (to.gate->has_credits) to.submitted += to.gate->cost(m->pkt_len);
        packets[kept++] = m;
    }
    if (kept != 0) ctx.emit(to.outlet, packets, kept);
}

void RelayStage::queue(dp::LoopCtx& ctx, N1Flow& to, const Leaving* leaving,
                       unsigned count) noexcept {
    std::array<rmt::SchedItem, dp::kBurstMax> items;
    std::array<rmt::Enqueue, dp::kBurstMax> results;
    for (unsigned i = 0; i < count; ++i)
        items[i] = {token_of(leaving[i].packet), leaving[i].packet->pkt_len, leaving[i].qos};
    rmt::enqueue(to.scheduler, ctx.now, {items.data(), count}, results);
    unsigned accepted = 0, marked = 0;
    for (unsigned i = 0; i < count; ++i) {
        rte_mbuf* const m = leaving[i].packet;
        if (results[i] == rmt::Enqueue::dropped) {
            ctx.drop(DropReason::dif_queue_full, m);
            continue;
        }
        ++accepted;
        if (results[i] != rmt::Enqueue::marked) continue;
        ++marked;
        rmt::mark_congestion(rte_pktmbuf_mtod(m, std::byte*), options_.rmt.inet_checksum);
    }
    ctx.count(kQueued, accepted);
    if (marked != 0) ctx.count(kMarked, marked);
    if (accepted == 0 || to.is_waiting) return;
    to.is_waiting = true;
    waiting_.push_back(&to);
}

// Sends what waits, as far as there is credit. True if something went.
bool RelayStage::pull(dp::LoopCtx& ctx, N1Flow& to) noexcept {
    std::array<rmt::SchedItem, dp::kBurstMax> items;
    std::array<rte_mbuf*, dp::kBurstMax> packets;
    const sdup::Overhead more = sdup::overhead(to.protection.sealer);
    const std::uint64_t around = to.gate->header + more.head + more.tail;
    bool has_sent = false;
    for (;;) {
        const unsigned room = std::min(dp::kBurstMax, ctx.credit(to.outlet));
        if (room == 0) return has_sent;
        std::size_t n = 0;
        if (!to.gate->has_credits) {
            n = rmt::dequeue(to.scheduler, ctx.now, ~std::uint64_t{0}, {items.data(), room});
        } else {
            const std::uint64_t limit = to.gate->send_limit.load(std::memory_order_acquire);
            const std::uint64_t units = limit > to.submitted ? limit - to.submitted : 0;
            // Each costs a unit more than its bytes at most, so that so many together can be paid;
            // if that is none, one alone may be.
            for (std::uint64_t most = std::min<std::uint64_t>(room, units / 2 + 1);
                 n == 0 && most != 0; most = most == 1 ? 0 : 1) {
                const std::uint64_t reserved = most == 1 ? 0 : most;
                const std::uint64_t bytes = (units - std::min(units, reserved))
                                            << to.gate->unit_shift;
                if (bytes < around * most) continue;
                n = rmt::dequeue(to.scheduler, ctx.now, bytes - around * most,
                                 {items.data(), static_cast<std::size_t>(most)});
            }
        }
        if (n == 0) break;
        for (std::size_t i = 0; i < n; ++i) packets[i] = mbuf_of(items[i].token);
        transmit(ctx, to, packets.data(), static_cast<unsigned>(n));
        has_sent = true;
    }
    const bool is_empty = rmt::backlog(to.scheduler).pdus == 0;
    // Should a grant have been lost, the device asks for it.
    if (to.gate->has_credits)
        to.gate->starved.store(is_empty ? dp::FlowGate::kNotStarved : to.max_sdu,
                               std::memory_order_relaxed);
    to.is_waiting = !is_empty;
    return has_sent;
}

dp::Busy RelayStage::poll(dp::LoopCtx& ctx) noexcept {
    if (waiting_.empty()) [[likely]]
        return dp::Busy::idle;
    bool has_sent = false;
    for (N1Flow* const flow : waiting_) has_sent = pull(ctx, *flow) || has_sent;
    std::erase_if(waiting_, [](const N1Flow* flow) { return !flow->is_waiting; });
    return has_sent ? dp::Busy::busy : dp::Busy::idle;
}

dp::Wait RelayStage::wait_arm(dp::LoopCtx&, int) noexcept {
    // Credit comes without waking anybody.
    return waiting_.empty() ? dp::Wait::armed : dp::Wait::poll_only;
}

dp::Busy RelayStage::drain(dp::LoopCtx& ctx) noexcept { return poll(ctx); }

void RelayStage::drop_queue(dp::LoopCtx& ctx, N1Flow& to, DropReason reason) noexcept {
    rmt::SchedItem item;
    while (rmt::dequeue(to.scheduler, ctx.now, ~std::uint64_t{0}, {&item, 1}) != 0)
        ctx.drop(reason, mbuf_of(item.token));
    to.is_waiting = false;
    if (to.gate->has_credits)
        to.gate->starved.store(dp::FlowGate::kNotStarved, std::memory_order_relaxed);
}

void RelayStage::on_stop(dp::LoopCtx& ctx) noexcept {
    for (N1Flow* const flow : waiting_) drop_queue(ctx, *flow, DropReason::stopped);
    waiting_.clear();
}

// ---- control -----------------------------------------------------------------------------------

void RelayStage::attach(N1Flow& flow) noexcept {
    flow.is_plain = std::holds_alternative<sdup::NoProtection>(flow.protection.sealer);
    flows_[flow.port.value] = &flow;
}

void RelayStage::detach(dp::LoopCtx& ctx, N1Flow& flow) noexcept {
    drop_queue(ctx, flow, DropReason::dif_n1_down);
    std::erase(waiting_, &flow);
    up_.set(flow.port, false);
    if (flows_[flow.port.value] == &flow) flows_[flow.port.value] = nullptr;
}

void RelayStage::on_mail(dp::LoopCtx& ctx, const dp::Mail& mail) noexcept {
    const N1PortId port{static_cast<std::uint16_t>(mail.arg)};
    switch (static_cast<RelayMail>(mail.type)) {
        case RelayMail::attach: attach(*static_cast<N1Flow*>(mail.pointer)); break;
        case RelayMail::detach: detach(ctx, *static_cast<N1Flow*>(mail.pointer)); break;
        case RelayMail::port_up: up_.set(port, mail.words[0] != 0); break;
        case RelayMail::allow_source:
            // Room for all ports was made; what is no port was refused by the control thread.
            static_cast<void>(rmt_.set_source(port, rina::Address{mail.words[0]}));
            break;
        case RelayMail::set_own: rmt_.set_own(rina::Address{mail.words[0]}); break;
    }
    acked_.store(acked_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

}  // namespace sluice::normal_dif
