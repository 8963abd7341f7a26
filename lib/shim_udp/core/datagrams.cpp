// Which flow a datagram belongs to, and whether it asks for one.

#include <algorithm>

#include "shim_udp/core/shim_udp.hpp"

namespace sluice::shim_udp {

namespace {

bool may_be_peer(const Endpoint& from) noexcept {
    if (from.port == 0) return false;
    const auto& bytes = from.address.bytes;
    const bool mapped = from.address.bytes[10] == 0xff && from.address.bytes[11] == 0xff &&
                        std::all_of(bytes.begin(), bytes.begin() + 10,
                                    [](std::uint8_t byte) { return byte == 0; });
    // Neither none, nor a group, nor all hosts of a network.
    if (mapped) return bytes[12] != 0 && bytes[12] < 224;
    return bytes[0] != 0xff &&
           std::any_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte != 0; });
}

}  // namespace

Verdict Shim::dropped_as(Drop drop) noexcept {
    ++drops_[static_cast<std::size_t>(drop)];
    Verdict verdict;
    verdict.drop = drop;
    return verdict;
}

Verdict Shim::on_datagram(Instant now, SocketId socket, const Endpoint& from,
                          std::span<const std::byte> bytes) {
    if (!link_up_) return dropped_as(Drop::link_down);
    const auto found = sockets_.find(socket);
    if (found == sockets_.end()) return dropped_as(Drop::unknown_socket);
    if (bytes.empty()) return dropped_as(Drop::empty);
    if (bytes.size() > max_sdu()) return dropped_as(Drop::too_long);
    if (!may_be_peer(from)) return dropped_as(Drop::bad_source);
    const auto size = static_cast<std::uint32_t>(bytes.size());
    if (found->second.listens) return on_listener(now, socket, from, size);

    const FlowHandle handle = found->second.flow;
    Flow& flow = flows_.find(handle)->second;
    if (from.address != flow.peer.address) return dropped_as(Drop::wrong_address);
    if (flow.learned && from.port != flow.peer.port) return dropped_as(Drop::wrong_port);
    // A closed flow learns nothing: it will not send.
    if (!flow.learned && flow.state == State::allocated) {
        flow.peer.port = from.port;
        flow.learned = true;
    }
    return on_flow(now, handle, flow, size);
}

Verdict Shim::on_listener(Instant now, SocketId socket, const Endpoint& from, std::uint32_t size) {
    const auto known = arrived_.find({socket, from});
    if (known != arrived_.end())
        return on_flow(now, known->second, flows_.find(known->second)->second, size);
    const App* const app = app_of(socket);
    if (app == nullptr || app->state != App::State::ready) return dropped_as(Drop::unknown_socket);
    if (const Drop drop = may_arrive(from); drop != Drop::none) return dropped_as(drop);
    const FlowHandle handle = arrive(now, *app, from);
    return on_flow(now, handle, flows_.find(handle)->second, size);
}

Drop Shim::may_arrive(const Endpoint& from) const noexcept {
    if (from.port == kWellKnownPort) return Drop::bad_source;
    std::size_t waiting = 0, waiting_of_address = 0, of_address = 0;
    for (const auto& [handle, flow] : flows_) {
        const bool same = flow.peer.address == from.address;
        if (waits(flow)) {
            ++waiting;
            waiting_of_address += same ? 1 : 0;
        }
        of_address += same && flow.listener != SocketId{} ? 1 : 0;
    }
    if (waiting >= kRequestsMax || waiting_of_address >= kRequestsOfAddressMax)
        return Drop::request_limit;
    if (flows_.size() >= kFlowsMax || of_address >= kFlowsOfAddressMax) return Drop::flow_limit;
    return Drop::none;
}

FlowHandle Shim::arrive(Instant now, const App& app, const Endpoint& from) {
    const FlowHandle handle{++last_flow_};
    const bool asked_already =
        std::any_of(flows_.begin(), flows_.end(), [&from](const auto& entry) {
            const Flow& flow = entry.second;
            return flow.state == State::arriving && !flow.named &&
                   flow.peer.address == from.address;
        });
    Flow& flow = flows_[handle];
    flow.state = State::arriving;
    flow.local = app.name;
    flow.peer = from;
    flow.learned = true;
    flow.listener = app.socket;
    flow.deadline = now + config_.answer_wait;
    arrived_[{app.socket, from}] = handle;
    flow.socket = open_socket({app.address, 0}, false, handle);
    if (!asked_already) out_.add(ResolveAddress{from.address});
    return handle;
}

Verdict Shim::on_flow(Instant now, FlowHandle handle, Flow& flow, std::uint32_t size) {
    Verdict verdict{Verdict::Kind::data, Drop::none, handle, 0, size};
    switch (flow.state) {
        case State::allocated:
            flow.heard = now;
            if (flow.silent) [[unlikely]] {
                flow.silent = false;
                flow.deadline = now + config_.inactivity;
                out_.add(FlowUp{handle});
            }
            return verdict;
        case State::arriving:
        case State::requested:
            if (flow.held >= kHoldMax) return dropped_as(Drop::hold_full);
            ++flow.held;
            verdict.kind = Verdict::Kind::hold;
            return verdict;
        case State::lingering: return dropped_as(Drop::closed);
        case State::resolving:
        case State::opening: break;
    }
    return dropped_as(Drop::unknown_socket);
}

}  // namespace sluice::shim_udp
