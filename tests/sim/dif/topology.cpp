#include <fmt/format.h>

#include <algorithm>

#include "shim_eth_segment.hpp"
#include "shim_hv_link.hpp"
#include "shim_udp_net.hpp"
#include "wire.hpp"
#include "world.hpp"

// Which nodes are joined, and by what.
namespace sluice::sim {

namespace {

using Group = std::vector<std::size_t>;  // of nodes that a medium joins

std::vector<Group> pairs_of(const Scenario& s, Rng& rng) {
    std::set<std::pair<std::size_t, std::size_t>> edges;
    const std::size_t n = s.nodes;
    const std::string& t = s.topology;
    for (std::size_t i = 1; i < n; ++i) {
        if (t == "line" || t == "ring") edges.insert({i - 1, i});
        if (t == "star") edges.insert({0, i});
        if (t == "tree") edges.insert({(i - 1) / 2, i});
        if (t == "random") edges.insert({rng.below(i), i});
        if (t == "mesh")
            for (std::size_t j = 0; j < i; ++j) edges.insert({j, i});
    }
    if (t == "ring" && n > 2) edges.insert({0, n - 1});
    if (t == "random")
        for (std::size_t i = 0; i < n / 2 + 1; ++i) {
            const std::size_t a = rng.below(n), b = rng.below(n);
            if (a != b) edges.insert({std::min(a, b), std::max(a, b)});
        }
    std::vector<Group> out;
    for (const auto& [a, b] : edges) out.push_back({a, b});
    return out;
}

std::vector<Group> groups_of(const Scenario& s, Rng& rng) {
    std::vector<Group> out;
    if (s.topology == "segments") {  // a chain of them; who is on two forwards
        for (std::size_t first = 0; first + 1 < s.nodes; first += s.segment - 1) {
            out.emplace_back();
            for (std::size_t n = first; n < std::min(first + s.segment, s.nodes); ++n)
                out.back().push_back(n);
        }
    } else if (s.topology == "hosts") {  // on one segment, each with its guests
        out.emplace_back();
        for (std::size_t n = 0; n < s.nodes; ++n) {
            if (n < s.segment)
                out.front().push_back(n);
            else
                out.push_back({n % s.segment, n});
        }
    } else {
        out = pairs_of(s, rng);
    }
    return out;
}

std::string item_of(const std::string& list, std::size_t i) {
    std::size_t from = 0;
    for (std::size_t comma = list.find(','); i > 0 && comma != std::string::npos;
         comma = list.find(',', from), --i)
        from = comma + 1;
    return list.substr(from, list.find(',', from) - from);
}

}  // namespace

link_model::Config World::config_of(bool troubled) const {
    link_model::Config c;
    c.rate = link_model::Rate::limited(
        static_cast<std::uint64_t>(scenario_.link_mbps * 1e6), 1'000'000);
    c.delay = link_model::Delay::fixed(
        Duration{static_cast<std::int64_t>(scenario_.delay_ms * 1e6)});
    if (!troubled) return c;
    if (scenario_.loss > 0) c.loss = link_model::Loss::uniform(scenario_.loss);
    c.duplicate = scenario_.duplicate;
    if (scenario_.reorder > 0)
        c.reorder = link_model::Reorder::late(scenario_.reorder, Duration::milliseconds(3));
    return c;
}

// Every DIF on top of another needs longer SDUs of the one below, and so does encryption over UDP:
// jumbo frames, as an operator has them then.
std::uint32_t World::mtu() const {
    return scenario_.levels > 1 || scenario_.protection == "aes-128-gcm" ? 9000 : 1500;
}

std::unique_ptr<Medium> World::make_segment(std::string name, const Group& nodes) {
    ShimEthSegment::Place place;
    place.mtu = mtu();
    if (scenario_.trunk) {
        // One switch for all; each DIF is a VLAN of it, and a node has one card for all of its.
        if (switches_.empty()) {
            switches_.push_back(std::make_unique<EthSwitch>(env_, config_of(true), false));
            for (std::size_t n = 0; n < nodes_.size(); ++n) switches_.back()->add_card();
        }
        place.vlan = static_cast<std::uint16_t>(10 + media_.size());
        place.cards = nodes;
    } else {
        switches_.push_back(
            std::make_unique<EthSwitch>(env_, config_of(true), nodes.size() == 2));
        for (std::size_t i = 0; i < nodes.size(); ++i)
            place.cards.push_back(switches_.back()->add_card());
    }
    return std::make_unique<ShimEthSegment>(env_, std::move(name), *switches_.back(), place);
}

std::unique_ptr<Medium> World::make_medium(const std::string& kind, const Group& nodes) {
    std::string name = fmt::format("{}{}-{}", kind, nodes.front(), nodes.back());
    if (kind == "shim-eth") return make_segment(std::move(name), nodes);
    if (kind == "shim-udp") {
        std::vector<std::string> hosts;
        for (const std::size_t n : nodes) hosts.push_back(ipcp_name(0, n));
        return std::make_unique<ShimUdpNet>(env_, std::move(name), config_of(true), hosts,
                                            "a.DIF", mtu());
    }
    if (kind == "shim-hv")
        return std::make_unique<ShimHvLink>(env_, std::move(name), config_of(true),
                                            scenario_.lossy_rings);
    return std::make_unique<Wire>(env_, std::move(name), config_of(true));
}

void World::add_medium(std::string kind, const Group& nodes) {
    constexpr const char* kKinds[] = {"shim-eth", "shim-udp", "shim-hv", "wire"};
    const bool is_pair = nodes.size() == 2;
    if (kind == "mixed") kind = kKinds[env_.rng.below(is_pair ? 4 : 2)];
    // What joins two joins more of them as so many pairs.
    if (!is_pair && (kind == "wire" || kind == "shim-hv")) {
        for (std::size_t i = 0; i < nodes.size(); ++i)
            for (std::size_t j = i + 1; j < nodes.size(); ++j)
                add_medium(kind, {nodes[i], nodes[j]});
        return;
    }
    media_.push_back(make_medium(kind, nodes));
    for (std::size_t i = 0; i < nodes.size(); ++i)
        for (std::size_t j = i + 1; j < nodes.size(); ++j)
            links_.push_back({nodes[i], nodes[j], media_.back().get(), i, j, !is_pair, {}});
}

void World::make_topology() {
    const std::vector<Group> groups = groups_of(scenario_, env_.rng);
    for (std::size_t i = 0; i < groups.size(); ++i)
        add_medium(item_of(scenario_.lower, i), groups[i]);
}

}  // namespace sluice::sim
