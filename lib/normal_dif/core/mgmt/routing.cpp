#include "normal_dif/core/mgmt/routing.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>
#include <utility>

namespace sluice::mgmt {

namespace {

using policy::Params;
using rina::Address;

// ---- from names to addresses and ports ---------------------------------------------------------

// Collects routes; of two nodes with one address, the one with the greater name has it, since the
// other one is to take a new one.
class Collector {
  public:
    explicit Collector(const RoutingInput& input) : input_(input) {}

    void add(std::string_view name, rmt::Hops hops) {
        ++out_.reachable;
        const std::optional<Address> address = input_.members.address_of(name);
        if (!address) {
            ++out_.unnamed;
            return;
        }
        if (input_.members.name_of(*address) != name) {
            ++out_.doubled;
            return;
        }
        add(*address, std::move(hops));
    }
    void add(Address destination, rmt::Hops hops) {
        if (hops.ports.empty()) return;
        out_.alternates += hops.alternate.has_value();
        out_.routes.push_back({destination, std::nullopt, std::move(hops)});
    }
    RouteList take() {
        std::sort(out_.routes.begin(), out_.routes.end(),
                  [](const rmt::Route& a, const rmt::Route& b) {
                      return a.destination < b.destination;
                  });
        return std::move(out_);
    }

  private:
    const RoutingInput& input_;
    RouteList out_;
};

std::span<const rmt::N1PortId> ports_of(const RoutingInput& input, std::string_view neighbor) {
    const auto at = input.ports.find(neighbor);
    return at == input.ports.end() ? std::span<const rmt::N1PortId>() : std::span(at->second);
}

void add_ports(const RoutingInput& input, std::string_view neighbor, rmt::Hops& hops) {
    for (const rmt::N1PortId port : ports_of(input, neighbor)) {
        if (hops.ports.size() >= rmt::kHopsMax) return;
        const rmt::NextHop hop{port, 1};
        if (std::find(hops.ports.begin(), hops.ports.end(), hop) == hops.ports.end())
            hops.ports.push_back(hop);
    }
}

// One default entry in the place of all that lead where most do. A PDU for a node that does not
// exist goes there too, until its TTL is used up.
void fold_into_default(std::vector<rmt::Route>& routes) {
    std::vector<std::pair<const rmt::Hops*, std::size_t>> kinds;
    const auto count = [&](const rmt::Hops& hops) {
        for (auto& [known, times] : kinds) {
            if (*known != hops) continue;
            ++times;
            return;
        }
        kinds.emplace_back(&hops, 1);
    };
    for (const rmt::Route& route : routes) count(route.hops);
    if (kinds.empty()) return;
    const auto most =
        std::max_element(kinds.begin(), kinds.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    const rmt::Hops hops = *most->first;
    std::erase_if(routes, [&](const rmt::Route& route) { return route.hops == hops; });
    routes.insert(routes.begin(), {rmt::kDefaultRoute, std::nullopt, hops});
}

// ---- link state --------------------------------------------------------------------------------

struct LinkStateConfig {
    bool multipath = true;     // all shortest paths and not one of them
    bool both_ways = true;     // a link counts if both its ends say that it is there
    bool default_entry = false;
    bool alternates = false;
    std::size_t alternates_max = 64;  // neighbours that are looked at
};

class LinkState final : public RoutingPolicy {
  public:
    explicit LinkState(LinkStateConfig config) : config_(config) {}

    RouteList routes(const RoutingInput& input) const override {
        const Graph graph = Graph::from(input.lfdb, config_.both_ways);
        Collector out(input);
        const NodeIndex self = graph.find(input.lfdb.self());
        if (self == kNoNode) return out.take();
        const PathTree tree(graph, self);
        std::optional<LoopFreeAlternates> alternates;
        if (config_.alternates) alternates.emplace(graph, tree, config_.alternates_max);
        for (NodeIndex node = 0; node < graph.size(); ++node) {
            if (node == self || !tree.reaches(node)) continue;
            rmt::Hops hops;
            for (const NodeIndex hop : tree.next_hops(node)) {
                add_ports(input, graph.name(hop), hops);
                if (!config_.multipath && !hops.ports.empty()) break;
            }
            if (!config_.multipath && hops.ports.size() > 1) hops.ports.resize(1);
            if (alternates) hops.alternate = alternate_port(input, graph, *alternates, node);
            out.add(graph.name(node), std::move(hops));
        }
        RouteList list = out.take();
        if (config_.default_entry) fold_into_default(list.routes);
        return list;
    }

  private:
    static std::optional<rmt::N1PortId> alternate_port(const RoutingInput& input,
                                                       const Graph& graph,
                                                       const LoopFreeAlternates& alternates,
                                                       NodeIndex node) {
        const std::optional<Alternate> found = alternates.find(node);
        if (!found) return std::nullopt;
        const auto ports = ports_of(input, graph.name(found->neighbor));
        if (ports.empty()) return std::nullopt;
        return ports.front();
    }

    LinkStateConfig config_;
};

LinkStateConfig link_state_config(Params& params) {
    LinkStateConfig config;
    config.multipath = params.number("multipath", config.multipath, 0, 1,
                                     "all shortest paths, and not one of them") != 0;
    config.both_ways = params.number("both_ways", config.both_ways, 0, 1,
                                     "a link counts if both its ends tell of it") != 0;
    config.default_entry = params.number("default_entry", config.default_entry, 0, 1,
                                         "one entry for all that lead where most do") != 0;
    return config;
}

Result<std::unique_ptr<RoutingPolicy>> make_link_state(Params& params) {
    const LinkStateConfig config = link_state_config(params);
    SLUICE_TRY_VOID(params.finish());
    return std::make_unique<LinkState>(config);
}

Result<std::unique_ptr<RoutingPolicy>> make_lfa(Params& params) {
    LinkStateConfig config = link_state_config(params);
    config.alternates = true;
    config.alternates_max = params.number("neighbors", config.alternates_max, 1, 1024,
                                          "that are looked at for an alternate");
    SLUICE_TRY_VOID(params.finish());
    return std::make_unique<LinkState>(config);
}

// ---- static ------------------------------------------------------------------------------------

struct StaticRoute {
    std::string destination;       // a name; "": everything else
    Address address{0};            // or an address
    std::vector<std::string> via;  // neighbours
};

class StaticRoutes final : public RoutingPolicy {
  public:
    explicit StaticRoutes(std::vector<StaticRoute> routes) : routes_(std::move(routes)) {}

    RouteList routes(const RoutingInput& input) const override {
        Collector out(input);
        std::vector<Address> given;
        for (const StaticRoute& route : routes_) {
            rmt::Hops hops;
            for (const std::string& neighbor : route.via) add_ports(input, neighbor, hops);
            const bool named = !route.destination.empty();
            const std::optional<Address> address =
                named ? input.members.address_of(route.destination) : route.address;
            if (address) {
                // A name and an address may mean the same; the first one counts.
                if (std::find(given.begin(), given.end(), *address) != given.end()) continue;
                given.push_back(*address);
            }
            if (named)
                out.add(route.destination, std::move(hops));
            else
                out.add(*address, std::move(hops));
        }
        return out.take();
    }

  private:
    std::vector<StaticRoute> routes_;
};

std::vector<std::string> split(std::string_view text, char at) {
    std::vector<std::string> parts;
    for (;;) {
        const std::size_t end = text.find(at);
        parts.emplace_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

// "c.IPCP via b.IPCP,d.IPCP"
std::optional<StaticRoute> parse_static(std::string_view text) {
    constexpr std::string_view kVia = " via ";
    const std::size_t at = text.find(kVia);
    if (at == std::string_view::npos) return std::nullopt;
    StaticRoute route;
    const std::string_view destination = text.substr(0, at);
    std::uint64_t number = 0;
    if (policy::parse_number(destination, number)) {
        if (number == 0) return std::nullopt;
        route.address = Address{number};
    } else if (destination != "default") {
        route.destination = destination;
        if (!is_node_name(destination)) return std::nullopt;
    }
    route.via = split(text.substr(at + kVia.size()), ',');
    if (!std::all_of(route.via.begin(), route.via.end(),
                     [](const std::string& name) { return is_node_name(name); }))
        return std::nullopt;
    return route;
}

Result<std::unique_ptr<RoutingPolicy>> make_static(Params& params) {
    std::vector<StaticRoute> routes;
    for (const Params::Numbered& given : params.numbered(
             "route", 1'000'000, "DESTINATION via NEIGHBOUR,...; no value takes it away")) {
        std::optional<StaticRoute> route = parse_static(given.value);
        if (!route) {
            params.refuse(given.key,
                          fmt::format("is '{}', expected 'DESTINATION via NEIGHBOUR,...' with a "
                                      "name, an address or 'default' as the destination",
                                      given.value));
            continue;
        }
        const auto same = [&](const StaticRoute& other) {
            return other.destination == route->destination && other.address == route->address;
        };
        if (std::any_of(routes.begin(), routes.end(), same))
            params.refuse(given.key, "has a destination that was given already, expected one "
                                     "route for each");
        routes.push_back(std::move(*route));
    }
    SLUICE_TRY_VOID(params.finish());
    return std::make_unique<StaticRoutes>(std::move(routes));
}

// ---- the table ---------------------------------------------------------------------------------

constexpr std::array kPolicies = {
    RoutingPolicyInfo{"link-state", "shortest paths over the links that the members tell of",
                      "multipath=1 both_ways=1 default_entry=0", make_link_state},
    RoutingPolicyInfo{"link-state-lfa", "the same, with loop-free alternates while a port is down",
                      "multipath=1 both_ways=1 default_entry=0 neighbors=64", make_lfa},
    RoutingPolicyInfo{"static", "what the operator says",
                      "route.N=DESTINATION via NEIGHBOUR,...", make_static, ""},
};

}  // namespace

std::span<const RoutingPolicyInfo> routing_policies() noexcept { return kPolicies; }

Result<std::unique_ptr<RoutingPolicy>> make_routing(std::string_view name,
                                                    std::span<const policy::Param> params) {
    for (const RoutingPolicyInfo& known : kPolicies) {
        if (known.name != name) continue;
        Params reader(fmt::format("routing {}", name), params);
        return known.make(reader);
    }
    std::vector<std::string> names;
    for (const RoutingPolicyInfo& known : kPolicies) names.emplace_back(known.name);
    return fail(EINVAL, "routing '{}' is not known, expected one of {}", name,
                policy::join(names));
}

std::vector<std::string_view> transit_neighbors(const Lfdb& lfdb, const NeighborPorts& ports) {
    struct Ends {
        std::vector<NameId> to, from;  // up, as this neighbour says, and as others say
    };
    std::unordered_map<NameId, Ends> seen;
    for (const auto& [name, flows] : ports)
        if (const auto id = lfdb.names().find(name)) seen.try_emplace(*id);
    const auto self = lfdb.names().find(lfdb.self());
    lfdb.visit_links([&](NameId local, NameId remote, std::uint32_t, bool is_up) {
        if (!is_up || local == self || remote == self) return;
        if (const auto at = seen.find(local); at != seen.end()) at->second.to.push_back(remote);
        if (const auto at = seen.find(remote); at != seen.end()) at->second.from.push_back(local);
    });
    const auto leads_on = [&](std::string_view name) {
        const auto id = lfdb.names().find(name);
        if (!id) return false;
        auto& [to, from] = seen.at(*id);
        std::sort(to.begin(), to.end());
        return std::any_of(from.begin(), from.end(), [&to = to](NameId other) {
            return std::binary_search(to.begin(), to.end(), other);
        });
    };
    std::vector<std::string_view> out;
    for (const auto& [name, flows] : ports)
        if (leads_on(name)) out.push_back(name);
    return out;
}

void RoutingSchedule::set_config(Instant now, std::size_t nodes, Config config) noexcept {
    config_ = config;
    if (!due_.is_never()) mark(now, nodes);
}

void RoutingSchedule::mark(Instant now, std::size_t nodes) noexcept {
    const bool small = nodes <= config_.small_nodes_max;
    const Instant at = small || !ever_ ? now : std::max(now, last_ + config_.interval);
    due_ = earlier(due_, at);
}

}  // namespace sluice::mgmt
