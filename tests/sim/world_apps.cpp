// Model applications: they ask, accept, refuse, think, ignore, write, read, stop reading, hang up.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "world.hpp"

namespace sluice::sim {

using rina::AppName;
using rina::Reason;
using rina::vmpi::Profile;
using shim_hv::FlowHandle;
using Submit = shim_hv::VmpiData::Submit;

Endpoint* World::endpoint_of(std::uint32_t n, FlowHandle flow, Connection** connection,
                             std::uint32_t* side) {
    const auto it = nodes_[n].flows.find(flow.value);
    if (it == nodes_[n].flows.end()) return nullptr;
    Connection& found = connection_of(it->second.first);
    if (connection != nullptr) *connection = &found;
    if (side != nullptr) *side = it->second.second;
    return &found.ends[it->second.second];
}

std::uint32_t World::start_allocation(std::uint32_t n, const std::string& destination) {
    const auto id = static_cast<std::uint32_t>(connections_.size());
    connections_.push_back(std::make_unique<Connection>());
    Connection& connection = *connections_.back();
    connection.id = id;
    connection.destination = destination;
    connection.ends[0].node = n;
    connection.ends[1].node = 1 - n;
    // The name carries the number, so that the other end's model knows which connection it is.
    const AppName source = *AppName::parse(fmt::format("client/{}", id));
    enter(n);
    const auto flow =
        nodes_[n].shim->allocate(now_, source, *AppName::parse(destination), id * 2, nodes_[n].out);
    trace_.note(now_, "allocate", n, id, flow ? flow->value : 0);
    if (!flow) {
        connection.ends[0].state = Endpoint::State::closed;
        if (flow.error().code != ENETDOWN && flow.error().code != EBUSY)
            verdicts_.fail("flows", flow.error().message);
        return id;
    }
    connection.ends[0].state = Endpoint::State::pending;
    connection.ends[0].flow = *flow;
    nodes_[n].flows[flow->value] = {id, 0};
    carry_out(n);
    return id;
}

void World::on_requested(std::uint32_t n, const shim_hv::FlowRequested& event) {
    flow_checker_.on_requested(event.destination,
                               nodes_[n].names.contains(event.destination.to_string()));
    std::size_t offered = 0;
    for (const shim_hv::FlowInfo& flow : nodes_[n].shim->info().flows)
        offered += flow.state == shim_hv::FlowState::offered ? 1 : 0;
    queues_.on_pending(offered, kMaxPending);

    std::uint32_t id = 0;
    const std::string& number = event.source.instance;
    std::from_chars(number.data(), number.data() + number.size(), id);
    if (id >= connections_.size() || connection_of(id).ends[1].state != Endpoint::State::none ||
        connection_of(id).ends[1].node != n)
        return verdicts_.fail("flows", "an application was asked for a connection that nobody "
                                       "wants, or twice");
    Endpoint& end = connection_of(id).ends[1];
    end.state = Endpoint::State::pending;
    end.flow = event.flow;
    nodes_[n].flows[event.flow.value] = {id, 1};
    const std::string name = event.destination.to_string();
    if (name == "ignorer") return;
    end.reads_slowly = name == "staller" && options_.profile != Profile::irati;
    const bool thinks = name == "slow";
    after(thinks ? Duration::milliseconds(static_cast<std::int64_t>(rng_.between(1, 7000)))
                 : Duration{},
          [this, n, id, accepts = name != "refuser"] { answer(n, id, accepts); });
}

void World::answer(std::uint32_t n, std::uint32_t id, bool accepts) {
    Endpoint& end = connection_of(id).ends[1];
    if (end.state != Endpoint::State::pending) return;
    enter(n);
    SimNode& node = nodes_[n];
    const auto result =
        accepts ? node.shim->accept(now_, end.flow, id * 2 + 1, node.out)
                : node.shim->refuse(now_, end.flow, Reason::refused, node.out);
    if (!result) verdicts_.fail("flows", result.error().message);
    if (!accepts) close(connection_of(id), 1);
    carry_out(n);
}

void World::on_allocated(std::uint32_t n, const shim_hv::FlowAllocated& event) {
    Connection* connection = nullptr;
    std::uint32_t side = 0;
    Endpoint* end = endpoint_of(n, event.flow, &connection, &side);
    flow_checker_.on_allocated(end != nullptr && end->state == Endpoint::State::pending);
    if (verdicts_.failed()) return;
    end->state = Endpoint::State::open;
    end->limit = event.max_sdu;
    end->to_send = static_cast<std::uint32_t>(rng_.below(options_.sdus_max + 1));
    trace_.note(now_, "open", n, connection->id, side, event.max_sdu);
    write_some(connection->id, side);
    if (trouble_ && rng_.chance(0.6))
        after(Duration::milliseconds(static_cast<std::int64_t>(rng_.between(1, 5000))),
              [this, id = connection->id, side] { hang_up(id, side); });
}

void World::hang_up(std::uint32_t id, std::uint32_t side) {
    Connection& connection = connection_of(id);
    Endpoint& end = connection.ends[side];
    if (end.state != Endpoint::State::open) return;
    trace_.note(now_, "hang up", end.node, id, side);
    enter(end.node);
    SimNode& node = nodes_[end.node];
    if (const auto result = node.shim->deallocate(now_, end.flow, node.out); !result)
        verdicts_.fail("flows", result.error().message);
    close(connection, side);
    carry_out(end.node);
}

void World::on_ended(std::uint32_t n, FlowHandle flow) {
    Connection* connection = nullptr;
    std::uint32_t side = 0;
    if (endpoint_of(n, flow, &connection, &side) == nullptr)
        return verdicts_.fail("flows", "the end of a flow that nobody has was told");
    close(*connection, side);
}

// The application lets go of everything that it holds.
void World::close(Connection& connection, std::uint32_t side) {
    Endpoint& end = connection.ends[side];
    if (end.state == Endpoint::State::none || end.state == Endpoint::State::closed) {
        end.state = Endpoint::State::closed;
        return;
    }
    end.state = Endpoint::State::closed;
    for (const PduToken token : end.held) ledger_.drop(token);
    for (const PduToken token : end.inbox) ledger_.drop(token);
    end.held.clear();
    end.inbox.clear();
    end.inbox_units = 0;
    delivery_.on_closed(connection.id);
    nodes_[end.node].flows.erase(end.flow.value);
}

// ---- data --------------------------------------------------------------------------------------

std::uint32_t World::draw_size(std::uint32_t limit) {
    const std::uint32_t least = options_.profile == Profile::irati ? 10 : 0;
    switch (rng_.below(6)) {
        case 0: return least + static_cast<std::uint32_t>(rng_.below(12));
        case 1: return limit;
        case 2: return limit + 1 + static_cast<std::uint32_t>(rng_.below(70000));
        default:
            return static_cast<std::uint32_t>(rng_.between(least, std::min(limit, 3000u)));
    }
}

void World::write_some(std::uint32_t id, std::uint32_t side) {
    Connection& connection = connection_of(id);
    Endpoint& end = connection.ends[side];
    if (end.state != Endpoint::State::open || end.to_send == 0) return;
    if (end.held.size() < 8) {  // an application that is not woken writes no more
        --end.to_send;
        write_sdu(connection, side, draw_size(end.limit));
    }
    after(Duration::microseconds(static_cast<std::int64_t>(rng_.between(1, 20000))),
          [this, id, side] { write_some(id, side); });
}

void World::write_sdu(Connection& connection, std::uint32_t side, std::uint32_t size) {
    Endpoint& end = connection.ends[side];
    enter(end.node);
    if (size > end.limit) {
        const Submit result = nodes_[end.node].data->submit(end.channel, size, now_);
        if (result != Submit::not_bound)
            sizes_.on_submitted(size, end.limit, result == Submit::too_long);
        return;
    }
    const Sdu sdu{{connection.id, 1 - side}, end.next_sequence++, size};
    end.held.push_back(ledger_.create(sdu));
    flush(connection, side);
}

void World::flush(Connection& connection, std::uint32_t side) {
    Endpoint& end = connection.ends[side];
    while (!verdicts_.failed() && end.state == Endpoint::State::open && !end.held.empty() &&
           end.channel != 0 && link_is_up_ && send_front(connection, side)) {
    }
}

bool World::send_front(Connection& connection, std::uint32_t side) {
    Endpoint& end = connection.ends[side];
    shim_hv::VmpiData& data = *nodes_[end.node].data;
    const PduToken token = end.held.front();
    const Sdu& sdu = ledger_.sdu(token);
    const bool is_greedy = options_.greedy_peer && end.node == 1 && trouble_;
    if (rings_[end.node].buffers_free == 0) return false;
    enter(end.node);
    if (!is_greedy) {
        const Submit result = data.submit(end.channel, sdu.size, now_);
        if (result == Submit::too_long || result == Submit::too_short)
            sizes_.on_submitted(sdu.size, end.limit, true);
        if (result != Submit::ok) return false;
    }
    SimFrame frame;
    frame.bytes.resize(data.frame_bytes(sdu.size));
    const std::vector<std::byte> content = content_of(sdu);
    std::copy(content.begin(), content.end(), frame.bytes.begin() + 4);
    data.seal(frame.bytes.data(), end.channel, sdu.size);
    frame.token = token;
    frame.is_clean = !is_greedy && !(trouble_ && options_.trouble_hits_data);
    end.held.pop_front();
    delivery_.on_sent(sdu, frame.is_clean);
    push(end.node, std::move(frame));
    return true;
}

void World::read_all(Connection& connection, std::uint32_t side) {
    Endpoint& end = connection.ends[side];
    while (!end.inbox.empty()) {
        const PduToken token = end.inbox.front();
        end.inbox.pop_front();
        const std::uint32_t size = ledger_.sdu(token).size;
        ledger_.deliver(token);
        ++delivered_;
        enter(end.node);
        nodes_[end.node].data->on_consumed(end.channel, size);
    }
    end.inbox_units = 0;
}

}  // namespace sluice::sim
