// What it takes to compute routes: from link states to a graph, to shortest paths, to loop-free
// alternates, to a forwarding table; in random networks of degree 4 and in fat trees (Al-Fares,
// Loukissas and Vahdat, SIGCOMM 2008) of switches. Prints a line for each; milliseconds, the least
// of some repetitions.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.hpp"
#include "normal_dif/core/mgmt/routing.hpp"

namespace {

using namespace sluice;
using namespace sluice::mgmt;
using Links = std::set<std::pair<std::size_t, std::size_t>>;  // one direction of each

constexpr int kRepetitions = 5;

std::string node_at(std::size_t i) { return fmt::format("node-{:05}.IPCP", i); }

Links random_links(std::size_t nodes, Rng& rng) {
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

template <typename Work>
double least_ms(Work&& work) {
    double best = 1e9;
    for (int i = 0; i < kRepetitions; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        work();
        const std::chrono::duration<double, std::milli> spent =
            std::chrono::steady_clock::now() - begin;
        best = std::min(best, spent.count());
    }
    return best;
}

struct Network {
    Lfdb lfdb{node_at(0), {.entries_max = 1 << 20, .updates_per_sender_max = 1 << 20}};
    NeighborTable members{node_at(0)};
    NeighborPorts ports;
    double flood_us = 0;  // an entry, taken into the database

    Network(const Links& links, std::size_t nodes) {
        members.set_own(rina::Address{1}, {});
        const Instant now = Instant::zero();
        for (std::size_t i = 1; i < nodes; ++i)
            members.apply(now, Action::create, {{{node_at(i), "", rina::Address{i + 1}, {}}}}, "x");
        rina::LowerFlowList all;
        for (const auto& [a, b] : links) {
            if (a == 0) {
                lfdb.add_neighbor(now, node_at(b));
                ports[node_at(b)] = {rmt::N1PortId{static_cast<std::uint16_t>(ports.size())}};
            } else {
                all.flows.push_back({node_at(a), node_at(b), 1, 1, true, 0});
            }
            all.flows.push_back({node_at(b), node_at(a), 1, 1, true, 0});
        }
        const auto begin = std::chrono::steady_clock::now();
        lfdb.apply(now, Action::create, all, node_at(1));
        const std::chrono::duration<double, std::micro> spent =
            std::chrono::steady_clock::now() - begin;
        flood_us = spent.count() / static_cast<double>(all.flows.size());
    }
};

bool measure(std::string_view what, const Links& links, std::size_t nodes) {
    const Network network(links, nodes);
    const RoutingInput input{network.lfdb, network.members, network.ports};
    Graph graph;
    const double build = least_ms([&] { graph = Graph::from(network.lfdb, true); });
    const NodeIndex self = graph.find(network.lfdb.self());
    PathTree tree;
    const double paths = least_ms([&] { tree = PathTree(graph, self); });
    std::size_t found = 0;
    const double alternates = least_ms([&] {
        const LoopFreeAlternates lfa(graph, tree);
        found = 0;
        for (NodeIndex i = 0; i < graph.size(); ++i) found += lfa.find(i).has_value();
    });
    const auto policy = make_routing("link-state", {});
    const auto lfa_policy = make_routing("link-state-lfa", {});
    if (!policy || !lfa_policy) return false;
    RouteList list;
    const double plain = least_ms([&] { list = (*policy)->routes(input); });
    const double with_lfa = least_ms([&] { list = (*lfa_policy)->routes(input); });
    if (list.routes.size() != nodes - 1) return false;
    fmt::print("{:<10} {:>6} nodes {:>6} links {:>3} neighbours: entry {:.2f} us, graph {:.2f} ms, "
               "paths {:.2f} ms, alternates {:.2f} ms ({} found), routes {:.2f} ms, with "
               "alternates {:.2f} ms\n",
               what, nodes, links.size(), tree.neighbors().size(), network.flood_us, build, paths,
               alternates, found, plain, with_lfa);
    return true;
}

}  // namespace

int main() {
    Rng rng(1);
    bool good = true;
    for (const std::size_t nodes : {std::size_t{1000}, std::size_t{10000}})
        good = measure("random", random_links(nodes, rng), nodes) && good;
    good = measure("fat tree", fat_tree(16, 1000), 1000) && good;
    good = measure("fat tree", fat_tree(48, 10000), 10000) && good;
    if (!good) fmt::print(stderr, "spf: a node was not reached\n");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
