// What it takes to compute routes: from link states to a graph, to shortest paths, to loop-free
// alternates, to a forwarding table; in random networks of degree 4 and in fat trees (Al-Fares,
// Loukissas and Vahdat, SIGCOMM 2008) of switches. Beside it, a random look-up for each link and
// direction in a hash table with an entry for each node.
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.hpp"
#include "lookup.hpp"
#include "micro.hpp"
#include "normal_dif/core/mgmt/routing.hpp"

namespace sluice::bench {

namespace {

using namespace mgmt;
using Links = std::set<std::pair<std::size_t, std::size_t>>;  // one direction of each

std::string node_at(std::size_t i) { return fmt::format("node-{:05}.IPCP", i); }

Links random_links(std::size_t nodes) {
    Rng rng(nodes);
    Links links;
    for (std::size_t i = 1; i < nodes; ++i) links.emplace(rng.below(i), i);
    while (links.size() < 2 * nodes) {
        const auto [low, high] = std::minmax({rng.below(nodes), rng.below(nodes)});
        if (low != high) links.emplace(low, high);
    }
    return links;
}

// Of switches with `ports` ports, the edge and aggregation ones of each pod before the core; cut
// at `nodes` by leaving out hosts.
Links fat_tree(std::size_t ports, std::size_t nodes) {
    const std::size_t half = ports / 2, pods = ports, core = pods * ports;
    Links links;
    for (std::size_t pod = 0; pod < pods; ++pod) {
        for (std::size_t e = 0; e < half; ++e)
            for (std::size_t a = 0; a < half; ++a)
                links.emplace(pod * ports + e, pod * ports + half + a);
        for (std::size_t a = 0; a < half; ++a)
            for (std::size_t c = 0; c < half; ++c)
                links.emplace(pod * ports + half + a, core + a * half + c);
    }
    // Hosts take turns at the edge switches.
    for (std::size_t host = core + half * half, i = 0; host < nodes; ++host, ++i)
        links.emplace((i / half % pods) * ports + i % half, host);
    return links;
}

struct Network {
    static constexpr ReplicationLimits kLimits{.entries_max = 1 << 20,
                                               .updates_per_sender_max = 1 << 20};

    std::size_t nodes;
    Lfdb lfdb{node_at(0), kLimits};
    NeighborTable members{node_at(0)};
    NeighborPorts ports;
    rina::LowerFlowList all;
    std::unique_ptr<HashTable> hash;

    Network(const Links& links, std::size_t count) : nodes(count) {
        members.set_own(rina::Address{1}, {});
        const Instant now = Instant::zero();
        for (std::size_t i = 1; i < nodes; ++i)
            members.apply(now, Action::create, {{{node_at(i), "", rina::Address{i + 1}, {}}}}, "x");
        for (const auto& [a, b] : links) {
            if (a == 0) {
                lfdb.add_neighbor(now, node_at(b));
                ports[node_at(b)] = {rmt::N1PortId{static_cast<std::uint16_t>(ports.size())}};
            } else {
                all.flows.push_back({node_at(a), node_at(b), 1, 1, true, 0});
            }
            all.flows.push_back({node_at(b), node_at(a), 1, 1, true, 0});
        }
        lfdb.apply(now, Action::create, all, node_at(1));
        std::vector<std::uint32_t> keys(nodes);
        std::iota(keys.begin(), keys.end(), 1u);
        hash = std::make_unique<HashTable>(keys);
    }
    RoutingInput input() const { return {lfdb, members, ports}; }
};

class Lazy {
  public:
    Lazy(std::size_t fat_tree_ports, std::size_t nodes) : ports_(fat_tree_ports), nodes_(nodes) {}

    std::string name() const {
        return fmt::format("{} of {}", ports_ == 0 ? "random network" : "fat tree", nodes_);
    }
    const Network& get() {
        if (made_ == nullptr)
            made_ = std::make_unique<Network>(
                ports_ == 0 ? random_links(nodes_) : fat_tree(ports_, nodes_), nodes_);
        return *made_;
    }

  private:
    std::size_t ports_;
    std::size_t nodes_;
    std::unique_ptr<Network> made_;
};

void take_in(benchmark::State& state, const Network& network) {
    std::unique_ptr<Lfdb> lfdb;
    const std::string sender = node_at(1);
    for ([[maybe_unused]] const auto& iteration : state) {
        state.PauseTiming();
        lfdb = std::make_unique<Lfdb>(node_at(0), Network::kLimits);
        state.ResumeTiming();
        lfdb->apply(Instant::zero(), Action::create, network.all, sender);
    }
    count_seconds(state, 1);
    if (lfdb->size() != network.all.flows.size()) state.SkipWithError("a link state was refused");
}

void build_graph(benchmark::State& state, const Network& network) {
    measure_long(state, [&] { keep(Graph::from(network.lfdb, true)); });
}

void find_paths(benchmark::State& state, const Network& network) {
    const Graph graph = Graph::from(network.lfdb, true);
    const NodeIndex self = graph.find(network.lfdb.self());
    measure_long(state, [&] { keep(PathTree(graph, self)); });
}

void find_alternates(benchmark::State& state, const Network& network) {
    const Graph graph = Graph::from(network.lfdb, true);
    const PathTree tree(graph, graph.find(network.lfdb.self()));
    std::size_t found = 0;
    measure_long(state, [&] {
        const LoopFreeAlternates lfa(graph, tree);
        found = 0;
        for (NodeIndex i = 0; i < graph.size(); ++i) found += lfa.find(i).has_value();
    });
    state.counters["found"] = static_cast<double>(found);
}

void all_routes(benchmark::State& state, const Network& network, const char* policy) {
    const auto routing = make_routing(policy, {});
    if (!routing) return state.SkipWithError(routing.error().message.c_str());
    RouteList list;
    measure_long(state, [&] { list = (*routing)->routes(network.input()); });
    if (list.routes.size() != network.nodes - 1) state.SkipWithError("a node was not reached");
}

void look_up(benchmark::State& state, const Network& network) {
    std::uint32_t key = 1;
    measure_long(state, [&] { keep(key = network.hash->follow(key, network.all.flows.size())); });
}

}  // namespace

void register_routes() {
    static std::deque<Lazy> networks;
    using Size = std::pair<std::size_t, std::size_t>;
    for (const auto& [ports, nodes] : {Size{0, 1000}, {0, 10000}, {16, 1000}, {48, 10000}}) {
        Lazy* const lazy = &networks.emplace_back(ports, nodes);
        const auto add = [&](const std::string& what, auto work) {
            benchmark::RegisterBenchmark(
                fmt::format("routes/{}{}", lazy->name(), what).c_str(),
                [=](benchmark::State& state) { work(state, lazy->get()); })
                ->Unit(benchmark::kMillisecond);
        };
        add(fmt::format("/{}", kRandomLookup), look_up);
        add(": link states taken in", take_in);
        add(": graph", build_graph);
        add(": shortest paths", find_paths);
        add(": loop-free alternates", find_alternates);
        add(": all routes", [](benchmark::State& state, const Network& network) {
            all_routes(state, network, "link-state");
        });
        add(": all routes with alternates", [](benchmark::State& state, const Network& network) {
            all_routes(state, network, "link-state-lfa");
        });
    }
}

}  // namespace sluice::bench
