#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "world.hpp"

namespace sluice::sim {

namespace {

constexpr std::size_t kHeader = 16;

// connection, side, sequence, length; then bytes that follow from them.
Bytes content_of(std::uint32_t id, std::uint32_t side, std::uint32_t seq, std::uint32_t size) {
    Bytes out(std::max<std::size_t>(size, kHeader));
    const std::uint32_t head[4] = {id, side, seq, static_cast<std::uint32_t>(out.size())};
    std::memcpy(out.data(), head, sizeof head);
    Rng rng((std::uint64_t{id} << 40) ^ (std::uint64_t{side} << 36) ^ seq);
    for (std::size_t i = kHeader; i < out.size(); i += 8) {
        const std::uint64_t v = rng.next();
        std::memcpy(out.data() + i, &v, std::min<std::size_t>(8, out.size() - i));
    }
    return out;
}

std::optional<std::uint32_t> number_in(const std::string& name) {
    std::uint32_t out = 0;
    const std::size_t dot = name.find('.');
    const char* const end = name.data() + name.size();
    if (dot == std::string::npos ||
        std::from_chars(name.data() + dot + 1, end, out).ptr != end)
        return std::nullopt;
    return out;
}

}  // namespace

void Apps::requested(Provider& dif, PortId flow, const rina::AppName& local,
                     const rina::AppName& remote) {
    const auto id = number_in(remote.process);
    if (local.process != fmt::format("app.{}", node_))
        world_.env_.verdicts.fail("names", fmt::format("node {} was asked for '{}'", node_,
                                                       local.to_string()));
    if (!id || *id >= world_.connections_.size()) {
        // Somebody's invention.
        if (!world_.scenario_.hostile)
            world_.env_.verdicts.fail("names", "a flow from '" + remote.to_string() + "'");
        return dif.deallocate(flow);
    }
    Connection& c = *world_.connections_[*id];
    Connection::End& end = c.ends[1];
    // Repeated, until it reached a node that has begun anew: not the one that it was for.
    if (end.state == Connection::State::over && end.life != world_.nodes_[node_].life)
        return dif.deallocate(flow);
    if (end.state != Connection::State::none) {
        world_.env_.verdicts.fail("flows", fmt::format("connection {} was requested twice", *id));
        return;
    }
    end.node = node_;
    end.life = world_.nodes_[node_].life;
    end.state = Connection::State::asked;
    end.flow = flow;
    ends[flow] = {*id, 1};
    dif.accept(*this, flow);
}

void Apps::allocated(Provider&, PortId flow, std::uint32_t cookie, const mgmt::FlowTerms& terms) {
    std::uint32_t id = cookie;
    std::size_t side = 0;
    if (const auto at = ends.find(flow); at != ends.end()) std::tie(id, side) = at->second;
    Connection& c = *world_.connections_[id];
    ends[flow] = {id, side};
    Connection::End& end = c.ends[side];
    end.state = Connection::State::open;
    end.flow = flow;
    ++world_.totals.allocated;
    if (terms.bandwidth_bps != c.bandwidth_bps)
        world_.env_.verdicts.fail("terms", fmt::format("connection {}: {} bit/s at side {}, {} "
                                                       "were asked for",
                                                       id, terms.bandwidth_bps, side,
                                                       c.bandwidth_bps));
    world_.env_.trace.note(world_.env_.now(), "allocated", id, side, flow.value);
    // Both ends see the same terms, so both know how long an SDU may be.
    c.has_delimiting = terms.policies.delimiting;
    c.sdu_bytes_max = terms.policies.delimiting ? world_.scenario_.sdu_bytes_max
                                                : std::min(1400u, world_.scenario_.sdu_bytes_max);
    world_.write_some(id, side);
}

void Apps::failed(Provider&, std::uint32_t cookie, const std::string& why) {
    Connection& c = *world_.connections_[cookie];
    c.ends[0].state = Connection::State::over;
    c.failure = why;
    ++world_.totals.refused;
    world_.env_.trace.note(world_.env_.now(), "refused", cookie);
}

void Apps::closed(Provider&, PortId flow) {
    const auto at = ends.find(flow);
    if (at == ends.end()) return;
    world_.watch_end(at->second.first, at->second.second);
    world_.end_of(at->second.first, at->second.second, "closed");
}

void Apps::arrived(Provider&, PortId flow, Bytes sdu) {
    const auto at = ends.find(flow);
    if (at == ends.end())
        return world_.env_.verdicts.fail("flows", "an SDU of a flow that nobody has");
    world_.on_sdu(at->second.first, at->second.second, sdu);
}

void Apps::writable(Provider&, PortId flow) {
    const auto at = ends.find(flow);
    if (at != ends.end()) world_.write_some(at->second.first, at->second.second);
}

// ---- the world's part ----

void World::open_flow(std::size_t from, std::size_t to, bool reliable, std::uint32_t sdus) {
    Node& node = nodes_[from];
    if (!node.is_up) return;
    const auto id = static_cast<std::uint32_t>(connections_.size());
    connections_.push_back(std::make_unique<Connection>());
    Connection& c = *connections_.back();
    c.id = id;
    c.is_reliable = reliable;
    c.gap = Duration{static_cast<std::int64_t>(scenario_.gap_ms * 1e6)};
    c.ends[0].node = from;
    c.ends[0].life = node.life;
    c.ends[0].to_send = c.ends[1].to_send = sdus;
    c.ends[0].state = Connection::State::asked;
    mgmt::FlowSpec spec;
    if (reliable) {
        spec.max_sdu_gap = 0;
        spec.in_order = true;
    } else if (scenario_.same_size) {
        spec.in_order = true;
        c.sdu_bytes = 2000;
    }
    if (scenario_.bandwidth && id % 3 == 0) spec.avg_bandwidth_bps = c.bandwidth_bps = 8'000'000;
    const auto done = node.top().allocate(*node.apps, {fmt::format("client.{}", id), {}, {}, {}},
                                          {fmt::format("app.{}", to), {}, {}, {}}, spec, id);
    env_.trace.note(env_.now(), "allocate", id, from, to);
    if (!done) {
        c.ends[0].state = Connection::State::over;
        c.failure = done.error().message;
        ++totals.refused;
    }
}

void World::write_some(std::uint32_t id, std::size_t side) {
    Connection& c = *connections_[id];
    Connection::End& end = c.ends[side];
    Node& node = nodes_[end.node];
    if (end.state != Connection::State::open || end.is_writing) return;
    // Without flow control, as many as the links bear would be lost.
    const std::uint32_t at_once = c.is_reliable && c.gap.ns == 0 ? 16 : 1;
    for (std::uint32_t i = 0; i < at_once && end.sent < end.to_send; ++i) {
        Rng draw((std::uint64_t{id} << 32) ^ (end.sent * 2 + side));
        const auto size = c.sdu_bytes != 0 && c.has_delimiting
                              ? c.sdu_bytes
                              : static_cast<std::uint32_t>(draw.between(kHeader, c.sdu_bytes_max));
        const Bytes sdu = content_of(id, static_cast<std::uint32_t>(side), end.sent, size);
        if (!node.top().write(end.flow, sdu)) return;
        if (end.state != Connection::State::open) return;
        ++end.sent;
    }
    if (end.sent >= end.to_send) return;
    end.is_writing = true;
    const Duration gap = c.gap.ns > 0 ? c.gap : Duration::milliseconds(1);
    env_.clock.after(gap, [this, id, side, life = end.life] {
        Connection::End& e = connections_[id]->ends[side];
        if (e.life != life) return;
        e.is_writing = false;
        write_some(id, side);
    });
}

void World::on_sdu(std::uint32_t id, std::size_t side, const Bytes& sdu) {
    Connection& c = *connections_[id];
    Connection::End& end = c.ends[side];
    std::uint32_t head[4] = {};
    if (sdu.size() >= sizeof head) std::memcpy(head, sdu.data(), sizeof head);
    const auto from = static_cast<std::uint32_t>(1 - side);
    // What a hostile member puts into its own flows is its business.
    if (scenario_.hostile && c.ends[from].node + 1 == nodes_.size()) return;
    if (sdu.size() < kHeader || head[0] != id || head[1] != from ||
        sdu != content_of(id, from, head[2], head[3]))
        return env_.verdicts.fail("content", fmt::format("connection {}: an SDU of {} bytes that "
                                                         "nobody sent to side {}",
                                                         id, sdu.size(), side));
    const std::uint32_t seq = head[2];
    env_.trace.note(env_.now(), "SDU", id, side, seq, sdu.size());
    ++totals.delivered;
    if (c.is_reliable && seq != end.next)
        return env_.verdicts.fail("order", fmt::format("reliable connection {}: SDU {} came at "
                                                       "side {} where {} was due",
                                                       id, seq, side, end.next));
    if (!end.seen.insert(seq).second)
        return env_.verdicts.fail("duplicate", fmt::format("connection {}: SDU {} came twice at "
                                                           "side {}",
                                                           id, seq, side));
    end.next = seq + 1;
}

// Where nodes and links stay and PDUs get lost at worst, a flow lasts until an end has left.
void World::watch_end(std::uint32_t id, std::size_t side) {
    const Connection::End& peer = connections_[id]->ends[1 - side];
    if (!scenario_.is_orderly() || peer.state != Connection::State::open) return;
    if (scenario_.loss > 0 && (env_.given_up > 0 || env_.moved > 0)) return;
    env_.verdicts.fail("flows", fmt::format("connection {}: side {} was told that it is over, and "
                                            "nobody had left",
                                            id, side));
}

// The peer, or the flow, is gone: the application lets go of its end.
void World::end_of(std::uint32_t id, std::size_t side, const std::string& why) {
    Connection& c = *connections_[id];
    Connection::End& end = c.ends[side];
    if (end.state == Connection::State::over) return;
    env_.trace.note(env_.now(), why, id, side);
    leave(id, side);
}

void World::leave(std::uint32_t id, std::size_t side) {
    Connection::End& end = connections_[id]->ends[side];
    if (end.state == Connection::State::over) return;
    end.state = Connection::State::over;
    Node& node = nodes_[end.node];
    if (!node.is_up || node.life != end.life) return;
    node.apps->ends.erase(end.flow);
    node.top().deallocate(end.flow);
}

}  // namespace sluice::sim
