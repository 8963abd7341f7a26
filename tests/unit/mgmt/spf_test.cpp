#include "normal_dif/core/mgmt/spf.hpp"

#include <catch2/catch.hpp>

using namespace sluice;
using namespace sluice::mgmt;
using Edge = Graph::Edge;

namespace {

// Both directions of each.
Graph both(std::vector<Edge> edges) {
    const std::size_t count = edges.size();
    for (std::size_t i = 0; i < count; ++i)
        edges.push_back({edges[i].to, edges[i].from, edges[i].cost});
    return Graph::from(edges, true);
}

std::vector<std::string> hops(const Graph& graph, const PathTree& tree, std::string_view to) {
    std::vector<std::string> names;
    for (const NodeIndex node : tree.next_hops(graph.find(to))) names.push_back(graph.name(node));
    return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a graph of the link states") {
    Lfdb lfdb("a");
    lfdb.add_neighbor(Instant::zero(), "b", 2);
    rina::LowerFlow down{"b", "c", 1, 1, false, 0};
    lfdb.apply(Instant::zero(), Action::create,
               {{{"b", "a", 3, 1, true, 0}, {"c", "b", 1, 1, true, 0}, down}}, "b");
    CHECK(lfdb.nodes() == 3);
    const Graph one_way = Graph::from(lfdb, false);
    CHECK(one_way.size() == 3);
    const NodeIndex a = one_way.find("a"), b = one_way.find("b"), c = one_way.find("c");
    CHECK(one_way.link(a, b)->cost == 2);
    CHECK(one_way.link(b, a)->cost == 3);
    CHECK(one_way.link(c, b)->cost == 1);
    CHECK(one_way.link(b, c) == nullptr);
    CHECK(one_way.find("d") == kNoNode);
    const Graph two_way = Graph::from(lfdb, true);
    CHECK(two_way.link(two_way.find("c"), two_way.find("b")) == nullptr);
    CHECK(two_way.link(two_way.find("a"), two_way.find("b")) != nullptr);
}

TEST_CASE("of parallel links the cheapest counts, and those without sense do not") {
    const std::vector<Edge> edges = {{"a", "b", 5}, {"a", "b", 2}, {"a", "b", 7}, {"a", "a", 1},
                                     {"b", "c", 0}};
    const Graph graph = Graph::from(edges, false);
    CHECK(graph.links(graph.find("a")).size() == 1);
    CHECK(graph.link(graph.find("a"), graph.find("b"))->cost == 2);
    CHECK(graph.links(graph.find("b")).empty());
}

TEST_CASE("all shortest paths") {
    //   b - d
    //  /     \      and f, to which nothing leads
    // a - c - e
    const Graph graph = both({{"a", "b", 1}, {"a", "c", 1}, {"b", "d", 1}, {"d", "e", 1},
                              {"c", "e", 2}, {"f", "g", 1}});
    const PathTree tree(graph, graph.find("a"));
    CHECK(tree.distance(graph.find("a")) == 0);
    CHECK(tree.distance(graph.find("e")) == 3);
    CHECK(hops(graph, tree, "e") == Names{"b", "c"});
    CHECK(hops(graph, tree, "d") == Names{"b"});
    CHECK(hops(graph, tree, "c") == Names{"c"});
    CHECK(hops(graph, tree, "a").empty());
    CHECK_FALSE(tree.reaches(graph.find("f")));
    CHECK(hops(graph, tree, "f").empty());
}

TEST_CASE("a shorter path makes earlier ones forgotten") {
    const Graph graph = both({{"a", "b", 10}, {"a", "c", 1}, {"c", "d", 1}, {"d", "b", 1}});
    const PathTree tree(graph, graph.find("a"));
    CHECK(tree.distance(graph.find("b")) == 3);
    CHECK(hops(graph, tree, "b") == Names{"c"});
}

TEST_CASE("more than 64 neighbours") {
    std::vector<Edge> edges;
    for (int i = 0; i < 150; ++i) {
        edges.push_back({"a", fmt::format("n{:03}", i), 1});
        edges.push_back({fmt::format("n{:03}", i), "z", i % 2 == 0 ? 1u : 2u});
    }
    const Graph graph = both(edges);
    const PathTree tree(graph, graph.find("a"));
    CHECK(hops(graph, tree, "z").size() == 75);
    CHECK(hops(graph, tree, "z").back() == "n148");
    CHECK(hops(graph, tree, "n149") == Names{"n149"});
}

TEST_CASE("costs near the limit do not wrap") {
    const Graph graph = both({{"a", "b", 0xffffffff}, {"b", "c", 0xffffffff}, {"a", "d", 1}});
    const PathTree tree(graph, graph.find("a"));
    CHECK(tree.distance(graph.find("c")) == 2 * Distance{0xffffffff});
}

TEST_CASE("loop-free alternates") {
    SECTION("a ring of three: the other neighbour, which protects the link") {
        const Graph graph = both({{"s", "e", 1}, {"s", "n", 1}, {"e", "n", 1}});
        const PathTree tree(graph, graph.find("s"));
        const LoopFreeAlternates lfa(graph, tree);
        CHECK(lfa.find(graph.find("e")) == Alternate{graph.find("n"), false});
        CHECK_FALSE(lfa.find(graph.find("s")));
    }
    SECTION("a ring of four: it would come back") {
        const Graph graph = both({{"s", "e", 1}, {"e", "d", 1}, {"d", "n", 1}, {"n", "s", 1}});
        const PathTree tree(graph, graph.find("s"));
        const LoopFreeAlternates lfa(graph, tree);
        CHECK_FALSE(lfa.find(graph.find("e")));  // n is as near to e by way of s
        CHECK_FALSE(lfa.find(graph.find("d")));  // both are next hops
    }
    SECTION("one that avoids the node goes before a shorter one that does not") {
        // RFC 5286, 3.1: n leads through e, m does not.
        const Graph graph = both({{"s", "e", 1}, {"e", "d", 1}, {"s", "n", 1}, {"n", "e", 1},
                                  {"s", "m", 4}, {"m", "d", 2}});
        const PathTree tree(graph, graph.find("s"));
        CHECK(hops(graph, tree, "d") == Names{"e"});
        const LoopFreeAlternates lfa(graph, tree);
        CHECK(lfa.find(graph.find("d")) == Alternate{graph.find("m"), true});
        CHECK(lfa.find(graph.find("e")) == Alternate{graph.find("n"), false});
        const LoopFreeAlternates near(graph, tree, 2);  // m is not looked at
        CHECK(near.find(graph.find("d")) == Alternate{graph.find("n"), false});
    }
    SECTION("one that leads nowhere is none") {
        const std::vector<Edge> edges = {{"s", "e"}, {"e", "s"}, {"s", "n"}, {"e", "d"}};
        const Graph graph = Graph::from(edges, false);
        const PathTree tree(graph, graph.find("s"));
        CHECK_FALSE(LoopFreeAlternates(graph, tree).find(graph.find("d")));
    }
}
