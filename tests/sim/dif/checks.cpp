#include <fmt/format.h>

#include "world.hpp"

namespace sluice::sim {

namespace {

template <typename Table>
std::vector<std::string> rows(const Table& table) {
    std::vector<std::string> out;
    table.for_each([&](const auto& e) {
        if constexpr (requires { e.remote_node; })
            out.push_back(e.local_node + " " + e.remote_node);
        else
            out.push_back(e.application.to_string() + " " + e.ipcp);
    });
    std::sort(out.begin(), out.end());
    return out;
}

std::vector<std::string> rows(const mgmt::NeighborTable& members) {
    std::vector<std::string> out;
    for (const auto& c : members.snapshot())
        out.push_back(fmt::format("{} {} {:x}", c.process, c.address.value, c.version));
    std::sort(out.begin(), out.end());
    return out;
}

std::string difference(const std::vector<std::string>& a, const std::vector<std::string>& b) {
    std::vector<std::string> d;
    std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(d));
    return d.empty() ? std::string() : d.front();
}

}  // namespace

std::string World::report() const {
    std::string out;
    for (const auto& [why, count] : env_.drops)
        out += fmt::format("  dropped {}: {}\n", info_of(why).name, count);
    for (const Node& node : nodes_)
        for (const auto& level : node.levels) {
            const mgmt::Ipcp& ipcp = level->ipcp();
            out += fmt::format("  {} address {}{}:", ipcp.config().name, ipcp.address().value,
                               ipcp.is_member() ? "" : ", no member");
            for (std::size_t i = 0; i < mgmt::kIpcpDropCount; ++i)
                if (const auto n = ipcp.drops(static_cast<mgmt::IpcpDrop>(i)); n != 0)
                    out += fmt::format(" {} {}", to_string(static_cast<mgmt::IpcpDrop>(i)), n);
            for (std::size_t i = 0; i < mgmt::kFlowIgnoredCount; ++i)
                if (const auto n = ipcp.flows().stats().ignored[i]; n != 0)
                    out += fmt::format(" {} {}", to_string(static_cast<mgmt::FlowIgnored>(i)), n);
            for (std::size_t i = 0; i < mgmt::kEnrollmentDropCount; ++i)
                if (const auto n = ipcp.enrollment().drops()[i]; n != 0)
                    out += fmt::format(" enrollment {}: {}", i, n);
            for (std::size_t i = 0; i < mgmt::kSessionErrorCount; ++i)
                if (const auto n = ipcp.enrollment().session_errors()[i]; n != 0)
                    out += fmt::format(" session {}: {}", i, n);
            for (const mgmt::Enrollment::View& a : ipcp.enrollment().adjacencies())
                out += fmt::format(" [{} {} step {}]", a.port.value, a.peer,
                                   static_cast<int>(a.step));
            out += " members";
            for (const auto& c : ipcp.members().snapshot())
                out += fmt::format(" {}={}v{:x}", c.process, c.address.value, c.version);
            out += " links";
            ipcp.lfdb().for_each([&](const auto& f) {
                out += fmt::format(" {}>{}#{}", f.local_node, f.remote_node, f.sequence);
            });
            out += "\n";
        }
    for (const auto& medium : media_) out += medium->report();
    return out;
}

bool World::is_converged(std::string* why) {
    for (unsigned level = 0; level < scenario_.levels; ++level)
        if (!level_is_converged(level, why)) return false;
    return true;
}

bool World::level_is_converged(unsigned level, std::string* why) {
    const auto no = [&](std::string text) {
        *why = fmt::format("level {}: {}", level, std::move(text));
        return false;
    };
    std::set<std::uint64_t> addresses;
    std::vector<std::string> links, names, members;
    for (const Node& node : nodes_)
        if (!node.is_up) return no(fmt::format("node {} is down", node.index));
    for (Node& node : nodes_) {
        const mgmt::Ipcp& ipcp = node.levels[level]->ipcp();
        if (!ipcp.is_member()) return no(fmt::format("node {} is no member", node.index));
        if (!addresses.insert(ipcp.address().value).second)
            return no(fmt::format("node {} has address {} of another", node.index,
                                  ipcp.address().value));
        const std::vector<std::string> l = rows(ipcp.lfdb()), d = rows(ipcp.dft());
        std::vector<std::string> m = rows(ipcp.members());
        // Who lies about itself does not know what it has said.
        const bool is_liar = scenario_.hostile && &node == &nodes_.back();
        if (scenario_.hostile)
            std::erase_if(m, [&](const std::string& row) {
                return row.starts_with(nodes_.back().levels[level]->ipcp().config().name + " ");
            });
        if (node.index == 0) {
            links = l;
            names = d;
            members = m;
        }
        if (m != members)
            return no(fmt::format("nodes 0 and {} differ about the member '{}'", node.index,
                                  difference(m, members)));
        if (is_liar) continue;
        if (l != links)
            return no(fmt::format("nodes 0 and {} differ about the link '{}'", node.index,
                                  difference(l, links)));
        if (d != names)
            return no(fmt::format("nodes 0 and {} differ about the name '{}'", node.index,
                                  difference(d, names)));
    }
    return check_paths(level, why);
}

// Each node reaches each other one by the forwarding tables, without a loop.
bool World::check_paths(unsigned level, std::string* why) {
    std::map<std::string, std::size_t> by_name;
    for (const Node& node : nodes_) by_name[node.levels[level]->ipcp().config().name] = node.index;
    const std::size_t step = scenario_.checks_all_pairs ? 1 : std::max<std::size_t>(
                                                                  nodes_.size() / 16, 1);
    rmt::N1PortSet up;
    up.set_all(true);
    // Who is behind each N-1 port.
    std::vector<std::map<rmt::N1PortId, std::size_t>> next(nodes_.size());
    // How often two are each other's neighbours. One may believe it who has not noticed yet.
    std::map<std::pair<std::size_t, std::size_t>, int> balance;
    for (const Node& node : nodes_)
        for (const mgmt::Enrollment::View& a :
             node.levels[level]->ipcp().enrollment().adjacencies())
            if (const auto at = by_name.find(a.peer);
                at != by_name.end() && a.step == mgmt::Enrollment::Step::up) {
                next[node.index][a.port] = at->second;
                balance[std::minmax(node.index, at->second)] +=
                    node.index < at->second ? 1 : -1;
            }
    for (const auto& [pair, difference] : balance)
        if (difference != 0) {
            *why = fmt::format("level {}: nodes {} and {} do not agree that they are neighbours",
                               level, pair.first, pair.second);
            return false;
        }
    for (std::size_t from = 0; from < nodes_.size(); from += step)
        for (std::size_t to = 0; to < nodes_.size(); to += step) {
            rina::Pci pci;
            pci.destination = nodes_[to].levels[level]->ipcp().address();
            std::size_t at = from;
            for (std::size_t hops = 0; at != to; ++hops) {
                const rmt::NextPort hop = nodes_[at].levels[level]->data().pft().route(pci, up);
                const auto peer = next[at].find(hop.port);
                if (hop.status != rmt::RouteStatus::found || peer == next[at].end() ||
                    hops > nodes_.size()) {
                    *why = fmt::format("level {}: from node {} to {} one gets to {} and {}", level,
                                       from, to, at,
                                       hops > nodes_.size() ? "round and round" : "no further");
                    return false;
                }
                at = peer->second;
            }
        }
    return true;
}

// Everything that was written to a reliable flow that is still there has come, in order; and there
// is no flow with one end.
void World::check_flows() {
    for (const auto& c : connections_) {
        const Connection::End &a = c->ends[0], &b = c->ends[1];
        const auto fails = [&](std::string text) {
            env_.verdicts.fail("flows", fmt::format("connection {} of nodes {} and {}: {}", c->id,
                                                    a.node, b.node, std::move(text)));
        };
        if (a.state == Connection::State::asked) return fails("the allocation never ended");
        // A hostile member may do with its own flows what it likes.
        if (scenario_.hostile && (a.node + 1 == nodes_.size() || b.node + 1 == nodes_.size()))
            continue;
        const bool a_is = a.state == Connection::State::open;
        // Of two members with one address the other one may have been asked whether it has it.
        const bool is_mixed_up = env_.moved > 0 && scenario_.loss > 0 && scenario_.hostile;
        if (a_is != (b.state == Connection::State::open)) {
            if (is_mixed_up) continue;
            return fails("it has one end");
        }
        if (!a_is) continue;
        // Nobody who is granted a window waits for ever.
        for (const Connection::End& end : c->ends)
            if (scenario_.flow_control && end.sent != end.to_send)
                return fails(fmt::format("node {} could write {} SDUs of {}", end.node, end.sent,
                                         end.to_send));
        if (!c->is_reliable) continue;
        for (std::size_t side = 0; side < 2; ++side) {
            const Connection::End &to = c->ends[side], &from = c->ends[1 - side];
            if (from.sent != from.to_send)
                return fails(fmt::format("side {} could write {} SDUs of {}", 1 - side, from.sent,
                                         from.to_send));
            if (to.next != from.sent)
                return fails(fmt::format("side {} has {} SDUs of {}", side, to.next, from.sent));
        }
    }
}

// When all users are gone, nothing is left.
void World::check_rest() {
    for (Node& node : nodes_)
        for (std::size_t level = 0; level < node.levels.size(); ++level) {
            const IpcProcess& p = *node.levels[level];
            const bool is_top = level + 1 == node.levels.size();
            const auto repeated = p.ipcp().enrollment().session_errors()[static_cast<std::size_t>(
                mgmt::SessionError::repeated_id)];
            // One session begins anew and the other does not, where nobody tells of a flow's end.
            if (repeated != 0 && scenario_.duplicate == 0 && !scenario_.hostile &&
                scenario_.lower == "wire")
                return env_.verdicts.fail("session", fmt::format("node {} refused {} messages with "
                                                                 "an invoke id that it had seen",
                                                                 node.index, repeated));
            if (is_top && (p.ipcp().flows().flows() != 0 || p.data().flows() != 0))
                return env_.verdicts.fail(
                    "rest", fmt::format("node {} still has {} flows and {} connections",
                                        node.index, p.ipcp().flows().flows(), p.data().flows()));
        }
    // Keepalives may be on their way; nothing may lie in queues and connections.
    if (env_.buffers.live() != env_.under_way)
        env_.verdicts.fail("tokens", fmt::format("{} buffers are not given back",
                                                 env_.buffers.live() - env_.under_way));
}

}  // namespace sluice::sim
