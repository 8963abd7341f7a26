#include "normal_dif/core/transfer/data_transfer.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace sluice::transfer {

using efcp::Connection;
using rmt::Decision;

DataTransfer::Flow* DataTransfer::at(rina::CepId cep) const noexcept {
    return cep.value < flows_.size() ? flows_[cep.value].get() : nullptr;
}

DataTransfer::Flow* DataTransfer::at(PortId port) const noexcept {
    const auto found = by_port_.find(port);
    return found == by_port_.end() ? nullptr : at(found->second);
}

const Connection* DataTransfer::find(PortId flow) const noexcept {
    const Flow* const found = at(flow);
    return found == nullptr ? nullptr : found->connection.get();
}

// ---- layer management ----

void DataTransfer::bind(Instant, const mgmt::Bind& bind) {
    const auto index = static_cast<std::size_t>(bind.cep.value);
    if (index >= flows_.size()) flows_.resize(index + 1);
    SLUICE_DCHECK(flows_[index] == nullptr);
    auto flow = std::make_unique<Flow>();
    flow->port = bind.port;
    flow->serial = next_serial_++;
    if (bind.peer_cep)
        connect(*flow, bind, *bind.peer_cep);
    else
        flow->waiting.reset(new Waiting{bind, {}});
    by_port_[bind.port] = bind.cep;
    flows_[index] = std::move(flow);
}

void DataTransfer::connect(Flow& flow, const mgmt::Bind& bound, rina::CepId peer_cep) {
    efcp::ConnectionIds ids;
    ids.local = rmt_.params().own;
    ids.remote = bound.peer;
    ids.local_cep = bound.cep;
    ids.remote_cep = peer_cep;
    ids.qos = bound.qos;
    flow.connection = std::make_unique<Connection>(
        ids, profiles_.intern({bound.terms.policies, rmt_.params().format}));
}

void DataTransfer::set_peer(Instant now, const mgmt::SetPeer& peer, TransferOutbox& out) {
    Flow* const flow = at(peer.cep);
    if (flow == nullptr || flow->waiting == nullptr) return;
    const std::unique_ptr<Waiting> waiting = std::move(flow->waiting);
    waiting->bound.peer = peer.peer;
    waiting->bound.qos = peer.qos;
    waiting->bound.terms = peer.terms;
    connect(*flow, waiting->bound, peer.peer_cep);
    for (const Early& e : waiting->early) {
        const efcp::RxItem item{e.token, e.pci, e.control};
        give(now, *flow, {&item, 1}, out);
    }
    arm(*flow, now);
}

void DataTransfer::drain(Instant now, const mgmt::Drain& drain, TransferOutbox& out) {
    Flow* const flow = at(drain.cep);
    if (flow == nullptr) return;
    flow->is_drained = true;
    if (flow->connection == nullptr) return;
    flow->connection->close(now, config_.linger, scratch_);
    pump(now, *flow, out);
}

// Nobody is there to acknowledge anything.
void DataTransfer::shut(Instant now, const mgmt::Shut& shut, TransferOutbox& out) {
    Flow* const flow = at(shut.cep);
    if (flow == nullptr || flow->connection == nullptr) return;
    flow->connection->close(now, Duration{}, scratch_);
    pump(now, *flow, out);
}

void DataTransfer::unbind(const mgmt::Unbind& unbind, TransferOutbox& out) {
    Flow* const flow = at(unbind.cep);
    if (flow == nullptr) return;
    if (flow->waiting != nullptr)
        for (const Early& e : flow->waiting->early)
            out.drop.push_back({e.token, DropReason::no_flow});
    if (flow->connection != nullptr) {
        carry(*flow, out);
        bool all = false;
        while (!all) {
            all = flow->connection->abort(scratch_);
            carry(*flow, out);
        }
    }
    by_port_.erase(flow->port);
    flows_[unbind.cep.value].reset();
}

void DataTransfer::unbind_all(TransferOutbox& out) {
    for (std::size_t cep = 0; cep < flows_.size(); ++cep)
        if (flows_[cep] != nullptr)
            unbind({flows_[cep]->port, rina::CepId{static_cast<std::uint32_t>(cep)}}, out);
}

Result<> DataTransfer::set_routes(std::vector<rmt::Route> routes) {
    rmt::PftBuilder builder(config_.seed);
    builder.reserve(routes.size());
    for (rmt::Route& route : routes) SLUICE_TRY_VOID(builder.add(std::move(route)));
    SLUICE_TRY(auto made, builder.build());
    pft_ = std::move(made);
    return {};
}

// ---- PDUs ----

void DataTransfer::on_pdus(Instant now, std::span<const rmt::RxPdu> pdus, TransferOutbox& out) {
    if (decisions_.size() < pdus.size()) decisions_.resize(pdus.size());
    rmt_.decide(pdus, pft_, up_, decisions_);
    std::array<efcp::RxItem, 64> items;
    std::size_t n = 0;
    Flow* flow = nullptr;  // whose items these are
    const auto flush = [&] {
        if (n != 0) give(now, *flow, {items.data(), n}, out);
        n = 0;
    };
    for (std::size_t i = 0; i < pdus.size(); ++i) {
        const rmt::RxPdu& pdu = pdus[i];
        const Decision& d = decisions_[i];
        switch (d.kind) {
            case Decision::Kind::forward:
                out.forward.push_back({d.port, pdu.token, d.pci.length, d.pci.qos});
                break;
            case Decision::Kind::management:
                out.management.push_back({d.port, pdu.token, d.pci});
                break;
            case Decision::Kind::drop: out.drop.push_back({pdu.token, d.reason}); break;
            case Decision::Kind::local: {
                Flow* const to = at(d.pci.destination_cep);
                // What we send to ourselves does not leave the node.
                const bool is_ours = rmt_.is_own(d.pci.source);
                if (is_ours != (pdu.arrival == rmt::kNoN1Port)) {
                    out.drop.push_back({pdu.token, DropReason::efcp_wrong_peer});
                } else if (to == nullptr) {
                    out.drop.push_back({pdu.token, DropReason::no_flow});
                } else if (to->connection == nullptr) {
                    hold(*to, pdu, d.pci, out);
                } else {
                    if (to != flow || n == items.size()) flush();
                    flow = to;
                    items[n++] = {pdu.token, d.pci, {pdu.head, pdu.head_bytes}};
                }
            }
        }
    }
    flush();
}

void DataTransfer::hold(Flow& flow, const rmt::RxPdu& pdu, const rina::Pci& pci,
                        TransferOutbox& out) {
    // Who it is from is looked at when the peer is known; from elsewhere it cannot be.
    if (flow.waiting == nullptr || pci.source != flow.waiting->bound.peer)
        return out.drop.push_back({pdu.token, DropReason::efcp_wrong_peer});
    std::vector<Early>& early = flow.waiting->early;
    if (early.size() >= config_.early_max)
        return out.drop.push_back({pdu.token, DropReason::efcp_reorder_full});
    early.push_back({pdu.token, pci, {pdu.head, pdu.head + pdu.head_bytes}});
}

void DataTransfer::give(Instant now, Flow& flow, std::span<const efcp::RxItem> items,
                        TransferOutbox& out) {
    while (!items.empty()) {
        items = items.subspan(flow.connection->on_burst(now, items, scratch_));
        carry(flow, out);
    }
    arm(flow, now);
}

std::size_t DataTransfer::submit(Instant now, PortId port, std::span<const efcp::TxItem> items,
                                 TransferOutbox& out) {
    Flow* const flow = at(port);
    if (flow == nullptr || flow->connection == nullptr || flow->is_drained) return 0;
    std::size_t taken = 0;
    for (;;) {
        const std::size_t more = flow->connection->submit(now, items.subspan(taken), scratch_);
        // With an outbox that is full it takes some and wants to be asked again.
        const bool was_full = scratch_.send.full() || scratch_.drop.full();
        taken += more;
        carry(*flow, out);
        if (taken == items.size() || more == 0 || !was_full) break;
    }
    arm(*flow, now);
    return taken;
}

void DataTransfer::consumed(Instant now, PortId port, std::uint32_t pdus, TransferOutbox& out) {
    Flow* const flow = at(port);
    if (flow == nullptr || flow->connection == nullptr) return;
    flow->connection->consumed(now, pdus, scratch_);
    pump(now, *flow, out);
}

// ---- time ----

void DataTransfer::pump(Instant now, Flow& flow, TransferOutbox& out) {
    carry(flow, out);
    arm(flow, now);
}

void DataTransfer::arm(Flow& flow, Instant now) {
    const Instant next = std::max(flow.connection->next_deadline(), now);
    if (next == Instant::never() || next >= flow.armed) return;
    flow.armed = next;
    const auto cep = static_cast<std::uint32_t>(by_port_.at(flow.port).value);
    timers_.push({next, cep, flow.serial});
}

Instant DataTransfer::next_deadline() noexcept {
    while (!timers_.empty()) {
        const Timer& timer = timers_.top();
        const Flow* const flow = at(rina::CepId{timer.cep});
        if (flow != nullptr && flow->serial == timer.serial && flow->armed == timer.at)
            return timer.at;
        timers_.pop();
    }
    return Instant::never();
}

void DataTransfer::on_timeout(Instant now, TransferOutbox& out) {
    // Those that are not done ask for another call now; a bound keeps one call short.
    for (int calls = 0; calls < 4096 && next_deadline() <= now; ++calls) {
        Flow& flow = *at(rina::CepId{timers_.top().cep});
        timers_.pop();
        flow.armed = Instant::never();
        if (flow.connection->next_deadline() <= now) flow.connection->on_timeout(now, scratch_);
        carry(flow, out);
        arm(flow, now);
    }
}

// What the connection said becomes what the node does.
void DataTransfer::carry(Flow& flow, TransferOutbox& out) {
    efcp::Outbox& in = scratch_;
    for (const efcp::DeliverItem& item : in.deliver) {
        if (flow.is_drained)
            out.drop.push_back({item.token, DropReason::no_flow});
        else
            out.deliver.push_back({flow.port, item});
    }
    for (const efcp::SendItem& item : in.send) {
        const Decision d = route(item.pci);
        if (d.kind == Decision::Kind::forward)
            out.originate.push_back({d.port, item});
        else if (d.kind == Decision::Kind::local)
            out.originate.push_back({rmt::kNoN1Port, item});
        else if (!item.kept)
            out.drop.push_back({item.token, d.reason});
    }
    for (const efcp::ControlItem& item : in.control) {
        const Decision d = route(item.pci);
        if (d.kind == Decision::Kind::forward)
            out.control.push_back({d.port, item});
        else if (d.kind == Decision::Kind::local)
            out.control.push_back({rmt::kNoN1Port, item});
    }
    out.done.insert(out.done.end(), in.done.begin(), in.done.end());
    out.drop.insert(out.drop.end(), in.drop.begin(), in.drop.end());
    if (in.events != 0) out.events.push_back({flow.port, in.events});
    in.clear();
}

}  // namespace sluice::transfer
