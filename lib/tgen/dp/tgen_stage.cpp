#include "tgen/dp/tgen_stage.hpp"

#include <rte_cycles.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <cstring>

#include "dataplane/pdu_meta.hpp"

namespace sluice::tgen {
namespace {

constexpr Duration kProgressPeriod = Duration::milliseconds(50);

}  // namespace

TgenStage::TgenStage(const Options& options)
    : options_(options),
      room_(rte_pktmbuf_data_room_size(options.pool) - RTE_PKTMBUF_HEADROOM),
      slots_(options.slots) {
    active_.reserve(options.slots);
}

dp::KindInfo TgenStage::kind(unsigned outlets) {
    dp::KindInfo k = dp::KindInfo::source_of("tgen", outlets);
    k.inlets = 1;
    k.inlet_reaches = {0};  // answers are sent by the next poll
    k.counters = {
        {"sent_bytes", "bytes", "SDU bytes sent"},
        {"received_bytes", "bytes", "SDU bytes received"},
        {"starved", "events", "polls in which a client had data but no credit or no buffer"},
    };
    return k;
}

dp::Busy TgenStage::poll(dp::LoopCtx& ctx) noexcept {
    starved_ = false;
    bool busy = false;
    // Everybody is first in turn: the first may take all the room there is.
    const std::size_t flows = active_.size();
    if (++first_ >= flows) first_ = 0;
    for (std::size_t i = 0; i < flows; ++i) {
        const std::size_t at = first_ + i;
        busy |= run(ctx, *active_[at < flows ? at : at - flows]);
    }
    return busy ? dp::Busy::busy : dp::Busy::idle;
}

bool TgenStage::run(dp::LoopCtx& ctx, TgenFlow& flow) noexcept {
    bool busy = false;
    if (!flow.held.empty() && flow.reading) {
        release_held(ctx, flow);
        busy = true;
    }
    if (flow.client && flow.usable) {
        ClientSession& client = *flow.client;
        switch (client.poll(ctx.now)) {
            case ClientSession::Want::nothing: break;
            case ClientSession::Want::data: busy |= send_data(ctx, flow); break;
            case ClientSession::Want::start: {
                std::array<std::byte, kStartSize> message;
                encode(client.start_message(), message);
                if (send_message(ctx, flow, message)) client.start_sent(ctx.now);
                busy = true;
                break;
            }
            case ClientSession::Want::fin: {
                std::array<std::byte, kFinSize> message;
                encode(client.fin_message(), message);
                if (send_message(ctx, flow, message)) client.fin_sent(ctx.now);
                busy = true;
                break;
            }
        }
        if (client.over() && !flow.told_over) {
            flow.told_over = true;
            report_progress(ctx, flow);
            punt(ctx, kPuntTgenOver, flow, 0);
        }
    } else if (flow.server && flow.usable && flow.server->report_due()) {
        std::array<std::byte, kReportSize> message;
        encode(flow.server->report(), message);
        if (send_message(ctx, flow, message)) {
            flow.server->report_sent();
            report_progress(ctx, flow);
            punt(ctx, kPuntTgenRunEnd, flow, 0);
        }
        busy = true;
    }
    if (ctx.now >= flow.next_progress) report_progress(ctx, flow);
    return busy;
}

// Whether the credit suffices for one more message of this size; it is charged if so.
bool TgenStage::afford(dp::LoopCtx& ctx, TgenFlow& flow, std::uint32_t size) noexcept {
    dp::FlowGate& gate = *flow.gate;
    if (!gate.has_credits) return true;
    const std::uint64_t after = flow.submitted + gate.cost(size);
    if (after > gate.send_limit.load(std::memory_order_acquire)) {
        gate.starved.store(size, std::memory_order_relaxed);
        starved_ = true;
        ctx.count(kStarved, 1);
        return false;
    }
    flow.submitted = after;
    return true;
}

bool TgenStage::send_data(dp::LoopCtx& ctx, TgenFlow& flow) noexcept {
    ClientSession& client = *flow.client;
    unsigned most = std::min(dp::kRxBurst, ctx.credit(flow.outlet));
    if (most == 0) {
        starved_ = true;
        return false;
    }
    most = client.burst(ctx.now, most);
    if (most == 0) return false;
    const unsigned sent = client.uniform() && client.settings().sizes.from <= room_
                              ? send_uniform(ctx, flow, most)
                              : send_mixed(ctx, flow, most);
    if (sent != 0) ctx.count_in(sent);
    return sent != 0;
}

// All SDUs of one size in one buffer each: the burst is charged, allocated and built as a whole.
unsigned TgenStage::send_uniform(dp::LoopCtx& ctx, TgenFlow& flow, unsigned most) noexcept {
    ClientSession& client = *flow.client;
    dp::FlowGate& gate = *flow.gate;
    const std::uint32_t size = client.settings().sizes.from;
    std::uint64_t cost = 0;
    if (gate.has_credits) {
        cost = gate.cost(size);
        const std::uint64_t limit = gate.send_limit.load(std::memory_order_acquire);
        const std::uint64_t units = limit > flow.submitted ? limit - flow.submitted : 0;
        most = static_cast<unsigned>(std::min<std::uint64_t>(most, units / cost));
        if (most == 0) {
            gate.starved.store(size, std::memory_order_relaxed);
            starved_ = true;
            ctx.count(kStarved, 1);
            return 0;
        }
    }
    std::array<rte_mbuf*, dp::kRxBurst> packets;
    if (rte_pktmbuf_alloc_bulk(options_.pool, packets.data(), most) != 0) {
        starved_ = true;
        ctx.count(kStarved, 1);
        return 0;
    }
    // The other end has read these lines meanwhile. Stores become visible in order, so each would
    // wait for its line by itself; asked for together they come together.
    const bool stamped = !client.plain();
    if (stamped)
        for (unsigned i = 0; i < most; ++i)
            __builtin_prefetch(rte_pktmbuf_mtod(packets[i], void*), 1);
    const std::uint64_t tsc = rte_rdtsc();
    StampedHeader header{client.tag(), client.next_seq(), tsc};
    const std::uint32_t before = headers_before(gate, size);
    for (unsigned i = 0; i < most; ++i) {
        rte_mbuf* const m = packets[i];
        m->data_off = static_cast<std::uint16_t>(m->data_off + before);
        m->data_len = static_cast<std::uint16_t>(size);
        m->pkt_len = size;
        dp::meta_of(m) = {flow.channel, 0, 0};
        if (stamped) {
            write_stamped(rte_pktmbuf_mtod(m, std::byte*), header);
            ++header.seq;
        }
    }
    flow.submitted += cost * most;
    client.sent_run(most, ctx.now);
    ctx.count(kSentBytes, std::uint64_t{size} * most);
    ctx.emit(flow.outlet, packets.data(), most);
    return most;
}

// How far behind the start of a buffer an SDU begins, so that the frame it will be in begins there:
// a copy from a cache line's start is cheaper than one that straddles a line at every step.
std::uint32_t TgenStage::headers_before(const dp::FlowGate& gate,
                                        std::uint32_t size) const noexcept {
    return size + gate.header <= room_ ? gate.header : 0;
}

unsigned TgenStage::send_mixed(dp::LoopCtx& ctx, TgenFlow& flow, unsigned most) noexcept {
    ClientSession& client = *flow.client;
    std::array<rte_mbuf*, dp::kRxBurst> packets;
    unsigned count = 0;
    std::uint64_t bytes = 0;
    while (count < most && client.more()) {
        const ClientSession::NextSdu sdu = client.peek();
        const std::uint64_t before = flow.submitted;
        if (!afford(ctx, flow, sdu.size)) break;
        rte_mbuf* const m = build(sdu, client.tag(), headers_before(*flow.gate, sdu.size));
        if (m == nullptr) {
            flow.submitted = before;
            starved_ = true;
            ctx.count(kStarved, 1);
            break;
        }
        dp::meta_of(m) = {flow.channel, 0, 0};
        packets[count++] = m;
        bytes += sdu.size;
        client.sent(ctx.now);
    }
    if (count == 0) return 0;
    ctx.count(kSentBytes, bytes);
    ctx.emit(flow.outlet, packets.data(), count);
    return count;
}

rte_mbuf* TgenStage::build(const ClientSession::NextSdu& sdu, std::uint64_t tag,
                           std::uint32_t before) noexcept {
    std::array<rte_mbuf*, 256> segments;
    const unsigned needed = std::max(1u, (sdu.size + room_ - 1) / room_);
    if (needed > segments.size() ||
        rte_pktmbuf_alloc_bulk(options_.pool, segments.data(), needed) != 0)
        return nullptr;
    rte_mbuf* const first = segments[0];
    first->data_off = static_cast<std::uint16_t>(first->data_off + before);
    std::uint32_t left = sdu.size;
    std::size_t at = 0;
    for (unsigned i = 0; i < needed; ++i) {
        rte_mbuf* const m = segments[i];
        const std::uint32_t part = std::min(left, room_);
        m->data_len = static_cast<std::uint16_t>(part);
        if (!sdu.payload.empty()) {
            std::memcpy(rte_pktmbuf_mtod(m, void*), sdu.payload.data() + at, part);
            at += part;
        }
        left -= part;
        if (i != 0) segments[i - 1]->next = m;
    }
    first->nb_segs = static_cast<std::uint16_t>(needed);
    first->pkt_len = sdu.size;
    if (sdu.stamped)
        write_stamped(rte_pktmbuf_mtod(first, std::byte*),
                      {tag, sdu.seq, rte_rdtsc()});
    return first;
}

bool TgenStage::send_message(dp::LoopCtx& ctx, TgenFlow& flow,
                             std::span<const std::byte> bytes) noexcept {
    if (ctx.credit(flow.outlet) == 0) {
        starved_ = true;
        return false;
    }
    const std::uint64_t before = flow.submitted;
    if (!afford(ctx, flow, static_cast<std::uint32_t>(bytes.size()))) return false;
    rte_mbuf* const m = rte_pktmbuf_alloc(options_.pool);
    if (m == nullptr) {
        flow.submitted = before;
        starved_ = true;
        return false;
    }
    std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(bytes.size())), bytes.data(),
                bytes.size());
    dp::meta_of(m) = {flow.channel, 0, 0};
    ctx.emit(flow.outlet, m);
    return true;
}

void TgenStage::process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept {
    for (unsigned i = 0; i < burst.count;) {
        const std::uint32_t slot = dp::meta_of(burst.pkts[i]).port_id;
        const unsigned begin = i;
        while (i < burst.count && dp::meta_of(burst.pkts[i]).port_id == slot) ++i;
        TgenFlow* const flow = slot < slots_.size() ? slots_[slot] : nullptr;
        if (flow == nullptr)
            ctx.drop(DropReason::no_flow, burst.pkts + begin, i - begin);
        else
            receive(ctx, *flow, burst.pkts + begin, i - begin);
    }
}

void TgenStage::receive(dp::LoopCtx& ctx, TgenFlow& flow, rte_mbuf** packets,
                        unsigned count) noexcept {
    unsigned done = 0;
    // One by one while the start of a raw run may turn reading off.
    while (done < count && flow.reading && flow.held.empty()) {
        const unsigned run = flow.wants_file ? 1 : count - done;
        consume(ctx, flow, packets + done, run);
        done += run;
    }
    for (; done < count; ++done) {
        if (flow.held.size() == flow.held.capacity()) {
            ctx.drop(DropReason::app_refused, packets + done, count - done);
            return;
        }
        flow.held.push_back(packets[done]);
    }
}

void TgenStage::consume(dp::LoopCtx& ctx, TgenFlow& flow, rte_mbuf** packets,
                        unsigned count) noexcept {
    const std::uint64_t tsc = rte_rdtsc();
    std::uint64_t bytes = 0;
    std::uint64_t units = 0;
    const dp::FlowGate& gate = *flow.gate;
    std::uint32_t plain = 0;
    for (unsigned i = 0; i < count; ++i) {
        rte_mbuf* const m = packets[i];
        bytes += m->pkt_len;
        units += gate.cost(m->pkt_len);
        if (flow.server && m->pkt_len == flow.server->plain_size())
            ++plain;
        else
            take(flow, tsc, m);
    }
    if (plain != 0) flow.server->on_plain(tsc, plain);
    flow.consumed += units;
    flow.gate->consumed.store(flow.consumed, std::memory_order_relaxed);
    ctx.count(kReceivedBytes, bytes);
    rte_pktmbuf_free_bulk(packets, count);
    if (flow.wants_file && flow.server && flow.server->start() && flow.file.empty() &&
        flow.server->state() == ServerState::running &&
        flow.server->start()->mode == Mode::raw) {
        // The rest of the run waits, by credit, until the control thread has opened the file.
        flow.reading = false;
        punt(ctx, kPuntTgenRunStart, flow, flow.server->start()->bytes);
    }
}

void TgenStage::take(TgenFlow& flow, std::uint64_t tsc, rte_mbuf* m) noexcept {
    const std::uint32_t size = m->pkt_len;
    std::array<std::byte, kHeadSize> copy;
    std::span<const std::byte> head(rte_pktmbuf_mtod(m, const std::byte*), m->data_len);
    const std::size_t wanted = std::min<std::size_t>(size, kHeadSize);
    if (head.size() < wanted) [[unlikely]] {
        const void* at = rte_pktmbuf_read(m, 0, static_cast<std::uint32_t>(wanted), copy.data());
        head = {static_cast<const std::byte*>(at), wanted};
    }
    if (flow.client) {
        flow.client->on_sdu(head, size);
    } else if (flow.server->on_sdu(tsc, head, size) == ServerSession::Verdict::payload) {
        payload(flow, m);
    }
}

void TgenStage::payload(TgenFlow& flow, const rte_mbuf* m) noexcept {
    for (; m != nullptr; m = m->next) {
        const std::span<const std::byte> part(rte_pktmbuf_mtod(m, const std::byte*), m->data_len);
        flow.server->on_payload(part);
        const std::size_t fits =
            std::min<std::size_t>(part.size(), flow.file.size() - flow.file_used);
        if (fits != 0) std::memcpy(flow.file.data() + flow.file_used, part.data(), fits);
        flow.file_used += fits;
    }
}

void TgenStage::release_held(dp::LoopCtx& ctx, TgenFlow& flow) noexcept {
    std::size_t done = 0;
    while (done < flow.held.size() && flow.reading) {
        const auto run = static_cast<unsigned>(
            flow.wants_file ? 1 : std::min<std::size_t>(flow.held.size() - done, dp::kBurstMax));
        consume(ctx, flow, flow.held.data() + done, run);
        done += run;
    }
    flow.held.erase(flow.held.begin(), flow.held.begin() + static_cast<std::ptrdiff_t>(done));
}

void TgenStage::report_progress(dp::LoopCtx& ctx, TgenFlow& flow) noexcept {
    flow.next_progress = ctx.now + kProgressPeriod;
    Progress p;
    if (flow.client) {
        p.sdus = flow.client->sdus_sent();
        p.bytes = flow.client->bytes_sent();
        p.client_state = flow.client->state();
        p.failure = flow.client->failure();
        p.raw = flow.client->settings().mode == Mode::raw;
        p.elapsed_ns = static_cast<std::uint64_t>(flow.client->sending_time().ns);
        if (flow.client->report()) {
            p.report = *flow.client->report();
            p.have_report = true;
        }
    } else {
        p.sdus = flow.server->receiver().sdus();
        p.bytes = flow.server->receiver().bytes();
        p.server_state = flow.server->state();
        p.report = flow.server->report();
        p.have_report = flow.server->start().has_value();
        p.raw = flow.server->start() && flow.server->start()->mode == Mode::raw;
    }
    flow.progress.write(p);
}

void TgenStage::punt(dp::LoopCtx& ctx, std::uint32_t type, TgenFlow& flow,
                     std::uint64_t word) noexcept {
    dp::PuntItem item;
    item.from = this;
    item.type = type;
    item.words[0] = reinterpret_cast<std::uintptr_t>(&flow);
    item.words[1] = word;
    if (options_.punt->push(item) != dp::Punt::Pushed::ok)
        ctx.count_drop(DropReason::punt_full, 1);
}

void TgenStage::on_mail(dp::LoopCtx& ctx, const dp::Mail& mail) noexcept {
    auto* const flow = static_cast<TgenFlow*>(mail.pointer);
    switch (static_cast<TgenMail>(mail.type)) {
        case TgenMail::attach:
            slots_[flow->slot] = flow;
            active_.push_back(flow);
            break;
        case TgenMail::usable:
            flow->usable = true;
            if (flow->client) flow->client->begin(ctx.now);
            break;
        case TgenMail::stop:
            if (flow->client) flow->client->stop(ctx.now);
            break;
        case TgenMail::closed:
            if (flow->client) flow->client->flow_closed();
            break;
        case TgenMail::reading:
            flow->reading = mail.arg != 0;
            break;
        case TgenMail::file:
            flow->file = {reinterpret_cast<std::byte*>(mail.words[0]),
                          static_cast<std::size_t>(mail.words[1])};
            flow->file_used = 0;
            flow->wants_file = false;
            flow->reading = true;
            break;
        case TgenMail::detach:
            ctx.drop(DropReason::no_flow, flow->held.data(),
                     static_cast<unsigned>(flow->held.size()));
            flow->held.clear();
            slots_[flow->slot] = nullptr;
            std::erase(active_, flow);
            report_progress(ctx, *flow);
            punt(ctx, kPuntTgenDetached, *flow, 0);
            break;
    }
}

void TgenStage::on_stop(dp::LoopCtx&) noexcept {}

dp::Wait TgenStage::wait_arm(dp::LoopCtx& ctx, int) noexcept {
    Instant next = Instant::never();
    for (TgenFlow* flow : active_) {
        if (flow->client && flow->usable) {
            const Instant at = flow->client->deadline(ctx.now);
            if (at <= ctx.now && !starved_) return dp::Wait::work;
            next = earlier(next, std::max(at, ctx.now + kProgressPeriod / 50));
        } else if (flow->server && flow->server->report_due()) {
            return starved_ ? dp::Wait::poll_only : dp::Wait::work;
        }
    }
    // What a client waits for (credit, buffers) may come from another lcore, which wakes nobody;
    // and what it is to send next is due sooner than a sleep in epoll can be cut short.
    if (starved_) return dp::Wait::poll_only;
    if (!next.is_never() && next - ctx.now < Duration::milliseconds(100))
        return dp::Wait::poll_only;
    return dp::Wait::armed;
}

}  // namespace sluice::tgen
