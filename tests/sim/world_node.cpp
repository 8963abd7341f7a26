// The rings between the two nodes, and what runs on a node's lcore and control thread.

#include <algorithm>
#include <array>

#include "world.hpp"

namespace sluice::sim {

namespace vmpi = rina::vmpi;
using shim_hv::VerdictKind;
using shim_hv::VmpiDrop;

void World::enter(std::uint32_t n) {
#ifdef SLUICE_FAULT_INJECTION
    shim_hv::host_is_big_endian = n == 1;
#else
    static_cast<void>(n);
#endif
}

// ---- ring --------------------------------------------------------------------------------------

void World::lose(const SimFrame& frame) {
    if (!frame.token) return;
    delivery_.excuse(ledger_.sdu(*frame.token));
    ledger_.drop(*frame.token);
}

void World::give_back(std::uint32_t from, const SimFrame& frame, bool was_dropped) {
    if (!frame.owns_buffer) return;
    --rings_[from].under_way;
    // The low level's weakness of old: what is dropped is not given back.
    if (was_dropped && shim_hv::faulty(shim_hv::Fault::leak_on_drop)) return;
    ++rings_[from].buffers_free;
}

// False if the ring is full; the caller keeps its token then.
bool World::push(std::uint32_t from, SimFrame frame) {
    SimRing& ring = rings_[from];
    if (ring.buffers_free == 0) return false;
    --ring.buffers_free;
    ++ring.under_way;
    frame.ring_epoch = ring.epoch;
    if (ring.samples.size() < 24) {
        ring.samples.push_back(frame.bytes);
        ring.samples.back().resize(std::min<std::size_t>(frame.bytes.size(), 600));
    }
    launch(from, std::move(frame));
    return true;
}

void World::push_control(std::uint32_t from, std::vector<std::byte> bytes) {
    if (!link_is_up_) return;
    SimRing& ring = rings_[from];
    SimFrame frame;
    frame.bytes = std::move(bytes);
    if (ring.backlog.empty() && ring.buffers_free > 0) {
        push(from, std::move(frame));
    } else if (ring.backlog.size() < 256) {
        ring.backlog.push_back(std::move(frame.bytes));
    }
}

void World::launch(std::uint32_t from, SimFrame frame) {
    SimRing& ring = rings_[from];
    const bool is_control = vmpi::load_le32(frame.bytes.data()) == vmpi::kControlChannel;
    link_model::LinkVerdict fate;
    fate.copies = 1;
    fate.at[0] = now_;
    if (is_control || options_.trouble_hits_data || !trouble_)
        fate = ring.model.apply(now_, rng_, frame.bytes.size());
    if (fate.copies == 0) {
        give_back(from, frame, false);
        return lose(frame);
    }
    if (fate.copies == 2) {
        SimFrame copy = frame;
        copy.owns_buffer = false;
        if (copy.token) copy.token = ledger_.create(ledger_.sdu(*copy.token));
        at(fate.at[1], [this, from, copy = std::move(copy)] { arrive(from, copy); });
    }
    at(fate.at[0], [this, from, frame = std::move(frame)] { arrive(from, frame); });
}

void World::arrive(std::uint32_t from, SimFrame frame) {
    SimRing& ring = rings_[from];
    if (frame.ring_epoch != ring.epoch) {  // the link went down under it
        give_back(from, frame, false);
        return lose(frame);
    }
    if (nodes_[1 - from].stalled)
        ring.waiting.push_back(std::move(frame));
    else
        receive(1 - from, std::move(frame));
}

// ---- lcore -------------------------------------------------------------------------------------

void World::receive(std::uint32_t n, SimFrame frame) {
    enter(n);
    SimNode& node = nodes_[n];
    // Receive buffers are what was announced, and no longer.
    const std::size_t buffer = options_.max_sdu[n] + vmpi::kHeaderBytes;
    if (frame.bytes.size() > buffer && frame.token) {
        give_back(1 - n, frame, true);
        lose(frame);
        return verdicts_.fail("size", "a frame did not fit the receiver's buffer");
    }
    const shim_hv::Verdict verdict =
        node.data->classify(frame.bytes.data(), static_cast<std::uint32_t>(frame.bytes.size()));
    trace_.note(now_, "frame", n, frame.bytes.size(), static_cast<std::uint64_t>(verdict.kind),
                (static_cast<std::uint64_t>(verdict.reason) << 32) | verdict.channel);
    give_back(1 - n, frame, verdict.kind == VerdictKind::drop);
    node.shim->note_frame_seen(now_);
    if (verdict.kind == VerdictKind::drop) {
        if (verdict.reason == VmpiDrop::credit_overrun)
            queues_.on_overrun(options_.greedy_peer || options_.trouble_hits_data ||
                               options_.garbage_frames > 0);
        lose(frame);
    } else if (verdict.kind == VerdictKind::data) {
        receive_data(node, verdict, frame);
    } else {
        const std::span<const std::byte> body =
            std::span<const std::byte>(frame.bytes).subspan(vmpi::kHeaderBytes);
        lose(frame);
        if (node.data->is_credit(body)) {
            const VmpiDrop drop = node.data->on_credit_message(body);
            trace_.note(now_, "credit", n, static_cast<std::uint64_t>(drop));
        } else {
            after(options_.punt_delay,
                  [this, n, life = node.life, bytes = std::move(frame.bytes)] {
                      if (nodes_[n].life != life) return;
                      enter(n);
                      nodes_[n].shim->on_control(
                          now_, std::span<const std::byte>(bytes).subspan(vmpi::kHeaderBytes),
                          nodes_[n].out);
                      carry_out(n);
                  });
        }
    }
    poll_lcore(n);
    poll_lcore(1 - n);  // the ring has room again
}

void World::receive_data(SimNode& node, const shim_hv::Verdict& verdict, const SimFrame& frame) {
    if (!frame.token) return node.data->on_consumed(verdict.channel, verdict.sdu_len);
    const Sdu& sdu = ledger_.sdu(*frame.token);
    const std::uint32_t id = verdict.cookie / 2;
    const std::uint32_t side = verdict.cookie % 2;
    if (id >= connections_.size())
        return verdicts_.fail("delivery", "an SDU came out at no connection at all");
    delivery_.on_arrived(sdu, {id, side}, frame.bytes.data() + vmpi::kHeaderBytes,
                         verdict.sdu_len);
    Connection& connection = connection_of(id);
    Endpoint& end = connection.ends[side];
    if (end.state == Endpoint::State::closed) {
        ledger_.drop(*frame.token);
        return node.data->on_consumed(verdict.channel, verdict.sdu_len);
    }
    end.inbox.push_back(*frame.token);
    end.inbox_units += node.data->cost(sdu.size);
    if (node.data->has_credits())
        queues_.on_queue(end.inbox_units, node.data->entry(verdict.channel).receiver.window());
    if (!end.reads_slowly) read_all(connection, side);
}

void World::poll_lcore(std::uint32_t n) {
    enter(n);
    SimRing& ring = rings_[n];
    while (!ring.backlog.empty() && ring.buffers_free > 0) {
        SimFrame frame;
        frame.bytes = std::move(ring.backlog.front());
        ring.backlog.pop_front();
        push(n, std::move(frame));
    }
    std::array<shim_hv::VmpiData::CreditFrame, 4> due;
    for (std::size_t count = due.size(); count == due.size();) {
        count = nodes_[n].data->collect_due(now_, due);
        for (std::size_t i = 0; i < count; ++i)
            push_control(n, {due[i].bytes.begin(), due[i].bytes.begin() + due[i].size});
    }
    for (const auto& [flow, where] : nodes_[n].flows)
        flush(connection_of(where.first), where.second);
}

// ---- between control thread and lcore --------------------------------------------------------

void World::carry_out(std::uint32_t n) {
    std::vector<shim_hv::Action> actions = std::exchange(nodes_[n].out.actions, {});
    queues_.on_outbox(actions.size(), options_.max_channels[n]);
    for (shim_hv::Action& action : actions) {
        if (action.index() <= 4) {  // SetEpochs, Bind, Grant, Unbind, SendControl
            after(options_.mailbox_delay,
                  [this, n, life = nodes_[n].life, action = std::move(action)] {
                      if (nodes_[n].life != life) return;
                      on_lcore(n, action);
                  });
        } else {
            on_event(n, action);
        }
    }
}

void World::on_lcore(std::uint32_t n, const shim_hv::Action& action) {
    enter(n);
    SimNode& node = nodes_[n];
    trace_.note(now_, "lcore", n, action.index());
    if (const auto* epochs = std::get_if<shim_hv::SetEpochs>(&action)) {
        node.data->set_epochs(*epochs);
    } else if (const auto* bind = std::get_if<shim_hv::Bind>(&action)) {
        node.data->bind(*bind);
        if (Endpoint* end = endpoint_of(n, bind->flow, nullptr, nullptr))
            end->channel = bind->channel;
    } else if (const auto* grant = std::get_if<shim_hv::Grant>(&action)) {
        node.data->grant(*grant);
    } else if (const auto* unbind = std::get_if<shim_hv::Unbind>(&action)) {
        node.data->unbind(*unbind);
        if (Endpoint* end = endpoint_of(n, unbind->flow, nullptr, nullptr)) end->channel = 0;
    } else if (const auto* send = std::get_if<shim_hv::SendControl>(&action)) {
        push_control(n, send->frame);
    }
    poll_lcore(n);
}

void World::on_event(std::uint32_t n, const shim_hv::Action& action) {
    trace_.note(now_, "event", n, action.index());
    if (const auto* requested = std::get_if<shim_hv::FlowRequested>(&action)) {
        on_requested(n, *requested);
    } else if (const auto* allocated = std::get_if<shim_hv::FlowAllocated>(&action)) {
        on_allocated(n, *allocated);
    } else if (const auto* failed = std::get_if<shim_hv::FlowFailed>(&action)) {
        trace_.note(now_, "failed", n, failed->flow.value,
                    static_cast<std::uint64_t>(failed->reason));
        flow_checker_.on_failed(failed->reason, options_.profile == vmpi::Profile::irati);
        on_ended(n, failed->flow);
    } else if (const auto* ended = std::get_if<shim_hv::FlowDeallocated>(&action)) {
        trace_.note(now_, "deallocated", n, ended->flow.value,
                    static_cast<std::uint64_t>(ended->reason));
        on_ended(n, ended->flow);
    }
}

}  // namespace sluice::sim
