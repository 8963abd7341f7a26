#include <rapidcheck.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "base/rng.hpp"
#include "normal_dif/core/mgmt/spf.hpp"

using namespace sluice;
using namespace sluice::mgmt;

namespace {

using Edge = Graph::Edge;
using Matrix = std::vector<std::vector<Distance>>;

std::string node_at(std::size_t i) { return "n" + std::to_string(100 + i); }

// Not always connected. `alike`: both directions of a link cost the same.
std::vector<Edge> random_edges(Rng& rng, std::size_t nodes, bool both, bool alike) {
    std::vector<Edge> edges;
    const std::uint32_t cost_max = rng.chance(0.5) ? 2 : 20;
    const auto cost = [&] { return static_cast<std::uint32_t>(rng.between(1, cost_max)); };
    for (std::uint64_t i = rng.between(nodes / 2, 3 * nodes); i > 0; --i) {
        const std::size_t a = rng.below(nodes), b = rng.below(nodes);
        if (a == b) continue;
        const auto there = [&](const Edge& e) {
            return (e.from == node_at(a) && e.to == node_at(b)) ||
                   (e.from == node_at(b) && e.to == node_at(a));
        };
        if (std::any_of(edges.begin(), edges.end(), there)) continue;
        edges.push_back({node_at(a), node_at(b), cost()});
        if (both) edges.push_back({node_at(b), node_at(a), alike ? edges.back().cost : cost()});
    }
    return edges;
}

Matrix floyd_warshall(const Graph& graph) {
    const std::size_t n = graph.size();
    Matrix d(n, std::vector<Distance>(n, kUnreachable));
    for (NodeIndex i = 0; i < n; ++i) {
        for (const Link& link : graph.links(i)) d[i][link.to] = link.cost;
        d[i][i] = 0;
    }
    for (std::size_t k = 0; k < n; ++k)
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = 0; j < n; ++j)
                if (d[i][k] != kUnreachable && d[k][j] != kUnreachable)
                    d[i][j] = std::min(d[i][j], d[i][k] + d[k][j]);
    return d;
}

// What each node does with PDUs for `to` while a link is down.
class Forwarding {
  public:
    explicit Forwarding(const Graph& graph) : graph_(graph) {
        trees_.reserve(graph.size());
        for (NodeIndex i = 0; i < graph.size(); ++i) trees_.emplace_back(graph, i);
        for (const PathTree& tree : trees_) alternates_.emplace_back(graph, tree);
    }
    std::vector<NodeIndex> next(NodeIndex at, NodeIndex to, NodeIndex down_a,
                                NodeIndex down_b) const {
        const auto up = [&](NodeIndex hop) {
            return !(at == down_a && hop == down_b) && !(at == down_b && hop == down_a);
        };
        std::vector<NodeIndex> hops = trees_[at].next_hops(to);
        std::erase_if(hops, [&](NodeIndex hop) { return !up(hop); });
        if (hops.empty())
            if (const auto other = alternates_[at].find(to); other && up(other->neighbor))
                hops.push_back(other->neighbor);
        return hops;
    }
    // Whether PDUs for `to` can come by a node twice, whichever of the next hops they take.
    bool loops(NodeIndex to, NodeIndex down_a, NodeIndex down_b) const {
        enum class Mark : std::uint8_t { fresh, open, closed };
        std::vector<Mark> marks(graph_.size(), Mark::fresh);
        const auto visit = [&](auto&& self, NodeIndex at) -> bool {
            if (at == to || marks[at] == Mark::closed) return false;
            if (marks[at] == Mark::open) return true;
            marks[at] = Mark::open;
            for (const NodeIndex hop : next(at, to, down_a, down_b))
                if (self(self, hop)) return true;
            marks[at] = Mark::closed;
            return false;
        };
        for (NodeIndex at = 0; at < graph_.size(); ++at)
            if (visit(visit, at)) return true;
        return false;
    }
    // Whether a shortest path from `at` to `to` leads through `through`.
    bool leads_through(NodeIndex at, NodeIndex to, NodeIndex through) const {
        if (at == through) return true;
        if (at == to) return false;
        for (const NodeIndex hop : trees_[at].next_hops(to))
            if (leads_through(hop, to, through)) return true;
        return false;
    }
    const PathTree& tree(NodeIndex node) const { return trees_[node]; }
    const LoopFreeAlternates& alternates(NodeIndex node) const { return alternates_[node]; }

  private:
    const Graph& graph_;
    std::vector<PathTree> trees_;
    std::vector<LoopFreeAlternates> alternates_;
};

Graph any_graph(Rng& rng, std::size_t nodes_max, bool both_ways) {
    const std::size_t nodes = rng.between(2, nodes_max);
    return Graph::from(random_edges(rng, nodes, both_ways || rng.chance(0.5), rng.chance(0.7)),
                       both_ways);
}

}  // namespace

TEST_CASE("shortest paths are those of Floyd and Warshall", "[prop]") {
    CHECK(rc::check([] {
        Rng rng(*rc::gen::arbitrary<std::uint64_t>());
        const Graph graph = any_graph(rng, 30, false);
        const Matrix expected = floyd_warshall(graph);
        for (NodeIndex from = 0; from < graph.size(); ++from) {
            const PathTree tree(graph, from);
            RC_ASSERT(distances(graph, from) == expected[from]);
            for (NodeIndex to = 0; to < graph.size(); ++to) {
                RC_ASSERT(tree.distance(to) == expected[from][to]);
                std::vector<NodeIndex> hops;
                for (const Link& link : graph.links(from))
                    if (to != from && expected[link.to][to] != kUnreachable &&
                        link.cost + expected[link.to][to] == expected[from][to])
                        hops.push_back(link.to);
                RC_ASSERT(tree.next_hops(to) == hops);
            }
        }
    }));
}

TEST_CASE("with one link down, alternates make no loop", "[prop]") {
    CHECK(rc::check([] {
        Rng rng(*rc::gen::arbitrary<std::uint64_t>());
        const Graph graph = any_graph(rng, 12, true);
        const Forwarding forwarding(graph);
        for (NodeIndex a = 0; a < graph.size(); ++a)
            for (const Link& link : graph.links(a))
                for (NodeIndex to = 0; to < graph.size() && a < link.to; ++to)
                    RC_ASSERT_FALSE(forwarding.loops(to, a, link.to));
    }));
}

TEST_CASE("alternates are found where there are any, and avoid nodes if they say so", "[prop]") {
    CHECK(rc::check([] {
        Rng rng(*rc::gen::arbitrary<std::uint64_t>());
        const Graph graph = any_graph(rng, 12, true);
        const Matrix d = floyd_warshall(graph);
        const Forwarding forwarding(graph);
        for (NodeIndex s = 0; s < graph.size(); ++s) {
            for (NodeIndex to = 0; to < graph.size(); ++to) {
                const auto hops = forwarding.tree(s).next_hops(to);
                const auto found = forwarding.alternates(s).find(to);
                bool exists = false, protecting = false;
                for (const Link& link : graph.links(s)) {
                    const NodeIndex n = link.to;
                    if (hops.empty() || std::count(hops.begin(), hops.end(), n) != 0) continue;
                    if (d[n][to] >= d[n][s] + d[s][to]) continue;
                    exists = true;
                    protecting = protecting ||
                                 std::none_of(hops.begin(), hops.end(), [&](NodeIndex hop) {
                                     return forwarding.leads_through(n, to, hop);
                                 });
                }
                RC_ASSERT(found.has_value() == exists);
                if (!found) continue;
                RC_ASSERT(found->protects_node == protecting);
                RC_ASSERT_FALSE(forwarding.leads_through(found->neighbor, to, s));
            }
        }
    }));
}
