#include "normal_dif/core/mgmt/spf.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace sluice::mgmt {

namespace {

constexpr std::size_t kNoPlace = std::numeric_limits<std::size_t>::max();

// Visits nodes in the order of their distance. relax(from, to, equal) is called for each link that
// is on a shortest path as far as known: `equal` if another path is as short as the one before.
template <typename Relax>
void dijkstra(const Graph& graph, NodeIndex root, std::vector<Distance>& distance, Relax&& relax) {
    using Item = std::pair<Distance, NodeIndex>;
    distance.assign(graph.size(), kUnreachable);
    distance[root] = 0;
    std::vector<Item> heap;  // entries that were improved upon stay in it, and are passed over
    heap.reserve(graph.size());
    heap.emplace_back(0, root);
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end(), std::greater<>());
        const auto [length, node] = heap.back();
        heap.pop_back();
        if (length != distance[node]) continue;
        for (const Link& link : graph.links(node)) {
            const Distance to = length + link.cost;
            if (to > distance[link.to]) continue;
            const bool equal = to == distance[link.to];
            relax(node, link.to, equal);
            if (equal) continue;
            distance[link.to] = to;
            heap.emplace_back(to, link.to);
            std::push_heap(heap.begin(), heap.end(), std::greater<>());
        }
    }
}

}  // namespace

// ---- the graph ---------------------------------------------------------------------------------

Graph Graph::from(std::span<const Edge> edges, bool both_ways) {
    Graph graph;
    std::unordered_map<std::string_view, NodeIndex> index;
    index.reserve(edges.size());
    for (const Edge& edge : edges) {
        index.emplace(edge.from, 0);
        index.emplace(edge.to, 0);
    }
    std::vector<std::string_view> names;
    names.reserve(index.size());
    for (const auto& [name, node] : index) names.push_back(name);
    std::sort(names.begin(), names.end());
    graph.names_.assign(names.begin(), names.end());
    for (std::size_t i = 0; i < names.size(); ++i) index[names[i]] = static_cast<NodeIndex>(i);
    std::vector<Indexed> all;
    all.reserve(edges.size());
    for (const Edge& edge : edges) all.push_back({index[edge.from], index[edge.to], edge.cost});
    graph.build(std::move(all), both_ways);
    return graph;
}

void Graph::build(std::vector<Indexed> all, bool both_ways) {
    std::erase_if(all, [](const Indexed& e) { return e.from == e.to || e.cost == 0; });
    // Of parallel ones the cheapest comes first and stays.
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end(),
                          [](const Indexed& a, const Indexed& b) {
                              return a.from == b.from && a.to == b.to;
                          }),
              all.end());
    const auto exists = [&](NodeIndex from, NodeIndex to) {
        const auto at = std::lower_bound(all.begin(), all.end(), Indexed{from, to, 0});
        return at != all.end() && at->from == from && at->to == to;
    };
    first_.assign(names_.size() + 1, 0);
    links_.reserve(all.size());
    for (const Indexed& edge : all) {
        if (both_ways && !exists(edge.to, edge.from)) continue;
        links_.push_back({edge.to, edge.cost});
        ++first_[edge.from + 1];
    }
    for (std::size_t i = 0; i < names_.size(); ++i) first_[i + 1] += first_[i];
}

Graph Graph::from(const Lfdb& lfdb, bool both_ways) {
    const NameTable& names = lfdb.names();
    std::vector<Indexed> edges;
    edges.reserve(lfdb.size());
    std::vector<NodeIndex> nodes;  // first the numbers of their names
    std::vector<bool> seen;
    const auto see = [&](NameId id) {
        if (seen.size() <= id) seen.resize(id + 1);
        if (!seen[id]) nodes.push_back(id);
        seen[id] = true;
    };
    lfdb.visit_links([&](NameId local, NameId remote, std::uint32_t cost, bool is_up) {
        if (!is_up) return;
        see(local);
        see(remote);
        edges.push_back({local, remote, cost});
    });
    std::sort(nodes.begin(), nodes.end(),
              [&](NameId a, NameId b) { return names[a] < names[b]; });
    std::vector<NodeIndex> index(seen.size());
    Graph graph;
    graph.names_.reserve(nodes.size());
    for (const NameId id : nodes) {
        index[id] = static_cast<NodeIndex>(graph.names_.size());
        graph.names_.push_back(names[id]);
    }
    for (Indexed& edge : edges) {
        edge.from = index[edge.from];
        edge.to = index[edge.to];
    }
    graph.build(std::move(edges), both_ways);
    return graph;
}

NodeIndex Graph::find(std::string_view name) const {
    const auto at = std::lower_bound(names_.begin(), names_.end(), name);
    if (at == names_.end() || *at != name) return kNoNode;
    return static_cast<NodeIndex>(at - names_.begin());
}

const Link* Graph::link(NodeIndex from, NodeIndex to) const noexcept {
    const std::span<const Link> all = links(from);
    const auto at = std::lower_bound(all.begin(), all.end(), to,
                                     [](const Link& a, NodeIndex b) { return a.to < b; });
    return at == all.end() || at->to != to ? nullptr : &*at;
}

// ---- shortest paths ----------------------------------------------------------------------------

std::vector<Distance> distances(const Graph& graph, NodeIndex from) {
    std::vector<Distance> distance;
    dijkstra(graph, from, distance, [](NodeIndex, NodeIndex, bool) {});
    return distance;
}

PathTree::PathTree(const Graph& graph, NodeIndex root) : root_(root) {
    const std::span<const Link> links = graph.links(root);
    neighbors_.assign(links.begin(), links.end());
    words_ = (neighbors_.size() + 63) / 64;
    hops_.assign(graph.size() * words_, 0);
    // Costs are not 0, so a node's set is complete before it is handed on.
    dijkstra(graph, root, distance_, [&](NodeIndex from, NodeIndex to, bool equal) {
        std::uint64_t* const set = hops_.data() + to * words_;
        if (!equal) std::fill(set, set + words_, 0);
        if (from == root) {
            const auto at = std::lower_bound(neighbors_.begin(), neighbors_.end(), to,
                                             [](const Link& a, NodeIndex b) { return a.to < b; });
            const auto place = static_cast<std::size_t>(at - neighbors_.begin());
            set[place / 64] |= std::uint64_t{1} << (place % 64);
            return;
        }
        const std::uint64_t* const more = hops_.data() + from * words_;
        for (std::size_t i = 0; i < words_; ++i) set[i] |= more[i];
    });
}

std::vector<std::size_t> PathTree::next_hop_places(NodeIndex to) const {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < words_; ++i)
        for (std::uint64_t word = hops_[to * words_ + i]; word != 0; word &= word - 1)
            found.push_back(i * 64 + static_cast<std::size_t>(std::countr_zero(word)));
    return found;
}

std::vector<NodeIndex> PathTree::next_hops(NodeIndex to) const {
    std::vector<NodeIndex> found;
    for (const std::size_t place : next_hop_places(to)) found.push_back(neighbors_[place].to);
    return found;
}

// ---- alternates --------------------------------------------------------------------------------

LoopFreeAlternates::LoopFreeAlternates(const Graph& graph, const PathTree& tree,
                                       std::size_t neighbors_max)
    : tree_(tree) {
    const std::span<const Link> links = tree.neighbors();
    for (std::size_t i = 0; i < links.size(); ++i) neighbors_.push_back({i, links[i], {}});
    const auto nearer = [](const Neighbor& a, const Neighbor& b) {
        return a.link.cost < b.link.cost;
    };
    std::stable_sort(neighbors_.begin(), neighbors_.end(), nearer);
    if (neighbors_.size() > neighbors_max) neighbors_.resize(neighbors_max);
    by_place_.assign(links.size(), kNoPlace);
    for (std::size_t i = 0; i < neighbors_.size(); ++i) {
        by_place_[neighbors_[i].place] = i;
        neighbors_[i].distance = distances(graph, neighbors_[i].link.to);
    }
}

// It does not get there through one of the next hops' nodes: D(N,D) < D(N,E) + D(E,D).
bool LoopFreeAlternates::protects_nodes(const Neighbor& neighbor,
                                        std::span<const std::size_t> hops, NodeIndex to) const {
    for (const std::size_t place : hops) {
        if (by_place_[place] == kNoPlace) return false;
        const Neighbor& hop = neighbors_[by_place_[place]];
        const Distance there = neighbor.distance[hop.link.to];
        if (there == kUnreachable) continue;
        if (neighbor.distance[to] >= there + hop.distance[to]) return false;
    }
    return true;
}

std::optional<Alternate> LoopFreeAlternates::find(NodeIndex to) const {
    if (to == tree_.root() || !tree_.reaches(to)) return std::nullopt;
    const std::vector<std::size_t> hops = tree_.next_hop_places(to);
    std::optional<Alternate> best;
    Distance best_length = kUnreachable;
    for (const Neighbor& neighbor : neighbors_) {
        const Distance onwards = neighbor.distance[to];
        if (onwards == kUnreachable || std::binary_search(hops.begin(), hops.end(), neighbor.place))
            continue;
        const Distance back = neighbor.distance[tree_.root()];
        if (back != kUnreachable && onwards >= back + tree_.distance(to)) continue;
        const Alternate alternate{neighbor.link.to, protects_nodes(neighbor, hops, to)};
        const Distance length = neighbor.link.cost + onwards;
        // Node protection first; then the shortest way.
        if (best && std::tuple(!best->protects_node, best_length) <=
                        std::tuple(!alternate.protects_node, length))
            continue;
        best = alternate;
        best_length = length;
    }
    return best;
}

}  // namespace sluice::mgmt
