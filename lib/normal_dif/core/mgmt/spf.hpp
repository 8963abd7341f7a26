#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normal_dif/core/mgmt/lfdb.hpp"

// Shortest paths over the link states. Names are numbers here; distances are sums of costs.
namespace sluice::mgmt {

using NodeIndex = std::uint32_t;
inline constexpr NodeIndex kNoNode = std::numeric_limits<NodeIndex>::max();
using Distance = std::uint64_t;
inline constexpr Distance kUnreachable = std::numeric_limits<Distance>::max();

struct Link {
    NodeIndex to = kNoNode;
    std::uint32_t cost = 1;

    bool operator==(const Link&) const = default;
};

class Graph {
  public:
    // A link is used if the node that it begins at says that it is up. With `both_ways` the node at
    // its end must say so too: then a node that is gone is not led to by what its neighbours forgot
    // to take back, and nobody is led through a node by claiming to be next to it. rlite does not
    // look at the other direction.
    static Graph from(const Lfdb& lfdb, bool both_ways);
    // For tests and measurements. Costs are greater than 0.
    struct Edge {
        std::string from, to;
        std::uint32_t cost = 1;
    };
    static Graph from(std::span<const Edge> edges, bool both_ways);

    std::size_t size() const noexcept { return names_.size(); }
    const std::string& name(NodeIndex node) const { return names_[node]; }
    // In order of names, as the nodes are numbered.
    NodeIndex find(std::string_view name) const;
    // In order of nodes.
    std::span<const Link> links(NodeIndex node) const noexcept {
        return std::span(links_).subspan(first_[node], first_[node + 1] - first_[node]);
    }
    const Link* link(NodeIndex from, NodeIndex to) const noexcept;

  private:
    struct Indexed {
        NodeIndex from, to;
        std::uint32_t cost;
        auto operator<=>(const Indexed&) const = default;
    };
    void build(std::vector<Indexed> edges, bool both_ways);  // after names_

    std::vector<std::string> names_;
    std::vector<std::uint32_t> first_;  // of a node's links
    std::vector<Link> links_;
};

// The distance to each node.
std::vector<Distance> distances(const Graph& graph, NodeIndex from);

// All shortest paths from one node: the distance to each other one, and the neighbours that such a
// path may begin with.
class PathTree {
  public:
    PathTree() = default;
    PathTree(const Graph& graph, NodeIndex root);

    NodeIndex root() const noexcept { return root_; }
    std::size_t size() const noexcept { return distance_.size(); }
    Distance distance(NodeIndex to) const noexcept { return distance_[to]; }
    bool reaches(NodeIndex to) const noexcept { return distance_[to] != kUnreachable; }
    // In order of nodes. None for the root and what cannot be reached.
    std::vector<NodeIndex> next_hops(NodeIndex to) const;
    // The root's neighbours, and the next hops as places among them.
    std::span<const Link> neighbors() const noexcept { return neighbors_; }
    std::vector<std::size_t> next_hop_places(NodeIndex to) const;

  private:
    NodeIndex root_ = kNoNode;
    std::vector<Link> neighbors_;
    std::size_t words_ = 0;            // of a set of neighbours
    std::vector<Distance> distance_;
    std::vector<std::uint64_t> hops_;  // a set for each node
};

// A neighbour to give PDUs to while no next hop of the shortest paths can be used.
struct Alternate {
    NodeIndex neighbor = kNoNode;
    // Nor does it lead through the next hops' nodes: it helps when they are gone, too, and not only
    // the links to them.
    bool protects_node = false;

    bool operator==(const Alternate&) const = default;
};

// Loop-free alternates (RFC 5286): neighbours whose own shortest paths do not come back to us
// (inequality 1), if possible not through the next hop either (inequality 3).
class LoopFreeAlternates {
  public:
    // One computation for each neighbour, of which the `neighbors_max` nearest are looked at.
    LoopFreeAlternates(const Graph& graph, const PathTree& tree, std::size_t neighbors_max = 64);

    std::optional<Alternate> find(NodeIndex to) const;

  private:
    struct Neighbor {
        std::size_t place;  // among the root's neighbours
        Link link;
        std::vector<Distance> distance;
    };
    bool protects_nodes(const Neighbor& neighbor, std::span<const std::size_t> hops,
                        NodeIndex to) const;

    const PathTree& tree_;
    std::vector<Neighbor> neighbors_;
    std::vector<std::size_t> by_place_;  // where in neighbors_
};

}  // namespace sluice::mgmt
