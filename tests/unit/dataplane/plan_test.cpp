#include "dataplane/plan.hpp"

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>

#include "graphs.hpp"

using namespace sluice;
using namespace sluice::dp;
using namespace sluice::dp::test;

namespace {

Plan planned(const Graph& graph, const Placement& placement) {
    auto result = plan(graph, basic_kinds(), placement);
    if (!result) FAIL(result.error().message);
    return *result;
}

std::string refused(const Graph& graph, const Placement& placement,
                    const KindTable& kinds = basic_kinds()) {
    auto result = plan(graph, kinds, placement);
    REQUIRE_FALSE(result);
    CHECK(result.error().message.find('\n') == std::string::npos);
    return result.error().message;
}

unsigned lcore_of(const Plan& p, const std::string& name) { return p.placed.at(name).value; }

using Via = PlannedEdge::Via;
using Kind = Action::Kind;

}  // namespace

TEST_CASE("placement: a stage is put where the graph says") {
    const Plan p = planned({{node_on("g", "gen", 2), node_on("s", "sink", 1)}, {edge("g", "s")}},
                           workers({1, 2}));
    CHECK(lcore_of(p, "g") == 2);
    CHECK(lcore_of(p, "s") == 1);
    CHECK(p.edges.at(0).via == Via::ring);
}

TEST_CASE("placement: sources go round, the emptiest worker first; what they feed follows") {
    const Plan p = planned({{node("a", "gen"), node_on("b", "gen", 1), node("c", "gen"),
                             node("sa", "pass"), node("sb", "sink"), node("sc", "sink"),
                             node("ta", "sink")},
                            {edge("a", "sa"), edge("sa", "ta"), edge("b", "sb"), edge("c", "sc")}},
                           workers({1, 2}));
    CHECK(lcore_of(p, "b") == 1);
    CHECK(lcore_of(p, "a") == 2);
    CHECK(lcore_of(p, "c") == 1);
    CHECK(lcore_of(p, "sa") == 2);
    CHECK(lcore_of(p, "ta") == 2);
    CHECK(lcore_of(p, "sc") == 1);
    CHECK(p.rings.empty());
}

TEST_CASE("placement: a source that is fed runs to completion with its feeder") {
    const Plan p = planned({{node("t", "tx"), node("a", "gen")}, {edge("a", "t")}},
                           workers({1, 2}));
    CHECK(lcore_of(p, "t") == lcore_of(p, "a"));
    CHECK(p.edges.at(0).via == Via::direct);
    REQUIRE(p.lcore(LcoreId(1)) != nullptr);
    CHECK(p.lcore(LcoreId(1))->run.size() == 2);
}

TEST_CASE("placement: a stage runs beside another, also through a chain and before feeders part") {
    SECTION("chain") {
        const Plan p = planned({{node_with("c", "sink", "b"), node_with("b", "sink", "a"),
                                 node_on("a", "sink", 2)}, {}},
                               workers({1, 2}));
        CHECK(lcore_of(p, "b") == 2);
        CHECK(lcore_of(p, "c") == 2);
    }
    SECTION("two sources") {
        const Plan p = planned({{node("x", "gen"), node_with("y", "gen", "z"), node("z", "gen")},
                                {}},
                               workers({1, 2}));
        CHECK(lcore_of(p, "x") == 1);
        CHECK(lcore_of(p, "y") == 2);
        CHECK(lcore_of(p, "z") == 2);
    }
    SECTION("two feeders on two lcores") {
        const Plan p = planned({{node_on("g1", "gen", 1), node_on("g2", "gen", 2),
                                 node_with("b", "sink", "c"), node("c", "sink")},
                                {edge("g1", "b"), edge("g2", "c")}},
                               workers({1, 2}));
        CHECK(lcore_of(p, "b") == 1);
        CHECK(lcore_of(p, "c") == 1);
    }
}

TEST_CASE("impossible placements are named with their place in the file") {
    NodeSpec n = node_on("g", "gen", 7);
    n.where = "x.toml:4";
    CHECK(refused({{n}, {}}, workers({1, 2})) ==
          "x.toml:4: 'g' is placed on lcore 7, expected one of the workers 1, 2");
    n = node_with("g", "gen", "nobody");
    n.where = "x.toml:5";
    CHECK(refused({{n}, {}}, workers({1})) ==
          "x.toml:5: 'g' is to run beside 'nobody', which is no stage here");
    n = node_with("g", "gen", "h");
    n.lcore = LcoreId(1);
    n.where = "x.toml:6";
    CHECK(refused({{n, node_on("h", "gen", 2)}, {}}, workers({1, 2})) ==
          "x.toml:6: 'g' is placed on lcore 1, but must run beside 'h' on lcore 2");
    CHECK(refused({{node("g", "gen")}, {}}, workers({})) ==
          "no lcore is left for the dataplane: expected at least one worker in -l or --lcores");
    CHECK(refused({{node("g", "gen")}, {}}, workers({1, 2, 1})) ==
          "the workers 1, 2, 1 name an lcore twice, expected each once");
}

TEST_CASE("bad nodes and edges are refused in one sentence") {
    NodeSpec bad = node("g", "gem");
    bad.where = "x.toml:1";
    KindTable kinds = basic_kinds();
    kinds.emplace("split:special", KindInfo::filter_of("split", 5));
    CHECK(refused({{bad}, {}}, workers({1}), kinds) ==
          "x.toml:1: stage 'g' is of kind 'gem', expected one of gen, pass, shim, sink, split, tx");
    CHECK(refused({{node("g", "gen"), node("g", "gen")}, {}}, workers({1})) ==
          "there is already a stage named 'g'");

    Graph g{{node("g", "gen"), node("s", "sink"), node("t", "sink")}, {edge("g", "s")}};
    EdgeSpec& e = g.edges[0];
    e.where = "x.toml:9";
    SECTION("unknown end") {
        e.to = "q";
        CHECK(refused(g, workers({1})) ==
              "x.toml:9: edge g -> q names 'q', which is no stage here");
    }
    SECTION("outlet") {
        e.outlet = 1;
        CHECK(refused(g, workers({1})) == "x.toml:9: 'g' has no outlet 1; a gen has 1");
    }
    SECTION("inlet") {
        e.inlet = 3;
        CHECK(refused(g, workers({1})) == "x.toml:9: 's' has no inlet 3; a sink has 1");
    }
    SECTION("an outlet used twice") {
        g.edges.push_back(edge("g", "t"));
        g.edges.back().where = "x.toml:10";
        CHECK(refused(g, workers({1})) ==
              "x.toml:10: outlet 0 of 'g' is connected already; put a tee between");
    }
    SECTION("capacity") {
        e.capacity = 1000;
        CHECK(refused(g, workers({1})) == "x.toml:9: capacity of edge g -> s is 1000, expected a "
                                          "power of two of at least 128");
        e.capacity = 64;
        CHECK(refused(g, workers({1})).find("is 64, expected") != std::string::npos);
    }
    SECTION("more mbufs than can be") {
        g.nodes[0].mbufs_held = 0xffffffff;
        CHECK(refused(g, workers({1})).find("expected at most 1073741823") != std::string::npos);
    }
    SECTION("more outlets than masks hold") {
        kinds.emplace("gen:g", KindInfo::source_of("gen", 33));
        CHECK(refused(g, workers({1}), kinds) == "stage 'g' has 33 outlets, expected at most 32");
    }
}

TEST_CASE("a kind of its own counts for one instance") {
    KindTable kinds = basic_kinds();
    kinds.emplace("split:wide", KindInfo::filter_of("split", 32));
    Graph g{{node("wide", "split"), node("s", "sink")}, {edge_at("wide", 31, "s", 0)}};
    CHECK(plan(g, kinds, workers({1})));
    g.nodes[0].name = "narrow";
    g.edges[0].from = "narrow";
    CHECK_FALSE(plan(g, kinds, workers({1})));
}

TEST_CASE("a loop on one lcore is cut with a ring at the edge written last") {
    const Plan p = planned({{node("g", "gen"), node("a", "split"), node("b", "pass"),
                             node("s", "sink")},
                            {edge("g", "a"), edge_at("a", 0, "b", 0), edge_at("a", 1, "s", 0),
                             edge("b", "a")}},
                           workers({1}));
    CHECK(p.edges[0].via == Via::direct);
    CHECK(p.edges[1].via == Via::direct);
    CHECK(p.edges[2].via == Via::direct);
    CHECK(p.edges[3].via == Via::ring);
    REQUIRE(p.rings.size() == 1);
    CHECK(p.rings[0].name == "a.0");
    CHECK(p.rings[0].consumer == LcoreId(1));
    CHECK_FALSE(p.rings[0].multi_producer);
    REQUIRE(p.lcores[0].run.size() == 2);
    CHECK_FALSE(p.lcores[0].run[0].from_ring);
    CHECK(p.lcores[0].run[1].from_ring);

    const Plan self = planned({{node("a", "pass")}, {edge("a", "a")}}, workers({1}));
    CHECK(self.edges[0].via == Via::ring);
}

TEST_CASE("a stage that both receives and sends is no loop") {
    const Plan p = planned({{node("rx", "gen"), node("shim", "shim"), node("app", "pass"),
                             node("tx", "tx")},
                            {edge("rx", "shim"), edge_at("shim", 0, "app", 0),
                             edge_at("app", 0, "shim", 1), edge_at("shim", 1, "tx", 0)}},
                           workers({1, 2}));
    CHECK(p.rings.empty());
    CHECK(lcore_of(p, "tx") == 1);
}

TEST_CASE("rings have several producers only if these are on several lcores") {
    const auto with = [](unsigned second) {
        return planned({{node_on("a", "gen", 1), node_on("b", "gen", second),
                         node_on("s", "sink", 3)},
                        {edge("a", "s"), edge("b", "s", Backpressure::drop_tail, 2048)}},
                       workers({1, 2, 3}));
    };
    const Plan same = with(1);
    REQUIRE(same.rings.size() == 1);
    CHECK_FALSE(same.rings[0].multi_producer);
    const Plan two = with(2);
    REQUIRE(two.rings.size() == 1);
    CHECK(two.rings[0].multi_producer);
    CHECK(two.rings[0].capacity == 2048);
    CHECK(two.rings[0].producers == std::vector<std::string>{"a", "b"});
    CHECK(two.edges[0].ring == 0);
    CHECK(two.edges[1].ring == 0);
}

TEST_CASE("an entry rests for the hold and credit edges that its packets reach by calls") {
    const Plan p = planned(
        {{node_on("a", "gen", 1), node_on("fa", "split", 1), node_on("s1", "sink", 1),
          node_on("s2", "sink", 2), node_on("b", "gen", 1), node_on("sb", "sink", 1),
          node_on("f2", "pass", 2), node_on("s3", "tx", 2)},
         {edge("a", "fa"),                                         // 0
          edge_at("fa", 0, "s1", 0),                               // 1
          [] { EdgeSpec e = edge_at("fa", 1, "f2", 0); e.backpressure = Backpressure::hold;
               return e; }(),                                      // 2: a ring
          edge("b", "sb", Backpressure::credit),                   // 3
          edge("f2", "s3", Backpressure::hold)}},                  // 4: beyond a ring
        workers({1, 2}));
    const auto holds = [&](unsigned lcore, const std::string& name) {
        for (const PlannedEntry& e : p.lcore(LcoreId(static_cast<std::uint16_t>(lcore)))->run)
            if (e.node == name) return e.hold_edges;
        return std::vector<std::size_t>{999};
    };
    CHECK(holds(1, "a") == std::vector<std::size_t>{2});
    CHECK(holds(1, "b") == std::vector<std::size_t>{3});
    CHECK(holds(2, "f2") == std::vector<std::size_t>{4});
    CHECK(holds(2, "s3").empty());
}

TEST_CASE("the pool has room for every place in which packets can rest") {
    Graph g{{node_on("g", "gen", 1), node_on("s", "sink", 2)}, {edge("g", "s")}};
    g.nodes[0].mbufs_held = 3000;
    Placement place = workers({1, 2});
    place.mbufs_extra = 100;
    const Plan p = planned(g, place);
    const std::uint32_t least = 3000 + 100 + 1024 + 2 * 64 + 2 * (4 * 64 + 2 * 32);
    CHECK(p.mbufs >= least);
    CHECK(((p.mbufs + 1) & p.mbufs) == 0);
    CHECK(p.mbufs < 2 * least);
    place.mbufs_extra = 100000;
    CHECK(planned(g, place).mbufs > 100000);
}

TEST_CASE("idle: the default and its exceptions") {
    Placement place = workers({1, 2});
    place.idle_of[LcoreId(2)] = Idle::busy;
    const Plan p = planned({{node("g", "gen")}, {}}, place);
    CHECK(p.lcore(LcoreId(1))->idle == Idle::adaptive);
    CHECK(p.lcore(LcoreId(2))->idle == Idle::busy);
    CHECK(p.lcore(LcoreId(3)) == nullptr);
}

TEST_CASE("diff: nothing to do between equal plans") {
    const Graph g{{node_on("g", "gen", 1), node_on("s", "sink", 2)}, {edge("g", "s")}};
    CHECK(diff(planned(g, workers({1, 2})), planned(g, workers({1, 2}))).empty());
}

TEST_CASE("diff: additions, then the switch, then removals") {
    const Graph before{{node_on("g", "gen", 1), node_on("s", "sink", 2), node_on("old", "sink", 1)},
                       {edge("g", "s")}};
    Graph after{{node_on("g", "gen", 1), node_on("s", "sink", 1), node_on("new", "sink", 2)},
                {edge("g", "new")}};
    Placement more = workers({1, 2});
    more.mbufs_extra = 50000;
    const Plan a = planned(before, workers({1, 2}));
    const Plan b = planned(after, more);
    CHECK(diff(a, b) == std::vector<Action>{{Kind::grow_pool, fmt::format("{}", b.mbufs)},
                                            {Kind::add_stage, "new"},
                                            {Kind::add_ring, "new.0"},
                                            {Kind::move_stage, "s"},
                                            {Kind::rewire, ""},
                                            {Kind::remove_ring, "s.0"},
                                            {Kind::remove_stage, "old"}});
    SECTION("only the wiring") {
        Graph c = before;
        c.edges[0].backpressure = Backpressure::hold;
        CHECK(diff(a, planned(c, workers({1, 2}))) == std::vector<Action>{{Kind::rewire, ""}});
    }
    SECTION("other settings make another stage") {
        Graph c = before;
        c.nodes[1].params["rate"] = "1";
        CHECK(diff(a, planned(c, workers({1, 2}))) ==
              std::vector<Action>{{Kind::add_stage, "s"}, {Kind::rewire, ""},
                                  {Kind::remove_stage, "s"}});
    }
    SECTION("a larger ring is another ring") {
        Graph c = before;
        c.edges[0].capacity = 2048;
        const Plan d = planned(c, workers({1, 2}));
        std::vector<Action> actions = diff(a, d);
        std::erase_if(actions, [](const Action& x) { return x.kind == Kind::grow_pool; });
        CHECK(actions == std::vector<Action>{{Kind::add_ring, "s.0"}, {Kind::rewire, ""},
                                             {Kind::remove_ring, "s.0"}});
    }
}

TEST_CASE("to_text says all that was decided") {
    Graph g{{node_on("g", "gen", 1), node_on("f", "pass", 1), node_on("s", "sink", 2)},
            {edge("g", "f"), edge("f", "s", Backpressure::hold)}};
    g.nodes[1].params = {{"every", "7"}, {"mode", "x"}};
    Placement place = workers({1, 2, 3});
    place.idle_of[LcoreId(2)] = Idle::busy;
    CHECK(to_text(planned(g, place)) ==
          "lcore 1 (adaptive)\n"
          "  poll g\n"
          "  stage g (gen)\n"
          "  stage f (pass) every=7 mode=x\n"
          "lcore 2 (busy)\n"
          "  take ring s.0 -> s\n"
          "  stage s (sink)\n"
          "lcore 3 (adaptive)\n"
          "  nothing to do\n"
          "edge g.0 -> f.0 call drop_tail\n"
          "edge f.0 -> s.0 ring hold\n"
          "ring s.0 capacity 1024 SP/SC -> lcore 2\n"
          "pool 4095 mbufs\n");
}

TEST_CASE("to_dot is DOT, whatever the names are") {
    Graph g{{node_on("g \"x\\", "gen", 1), node_on("s{", "sink", 2)}, {edge("g \"x\\", "s{")}};
    const std::string dot = to_dot(planned(g, workers({1, 2})));
    CHECK(dot.find("\"g \\\"x\\\\\" -> \"s{\" [label=\"drop_tail\", style=dashed];") !=
          std::string::npos);
    int depth = 0;
    bool quoted = false;
    for (std::size_t i = 0; i < dot.size(); ++i) {
        if (quoted && dot[i] == '\\') ++i;
        else if (dot[i] == '"') quoted = !quoted;
        else if (!quoted && dot[i] == '{') ++depth;
        else if (!quoted && dot[i] == '}') --depth;
        REQUIRE(depth >= 0);
    }
    CHECK(depth == 0);
    CHECK_FALSE(quoted);
    if (std::system("command -v dot >/dev/null 2>&1") == 0) {
        FILE* pipe = popen("dot -Tcanon >/dev/null", "w");
        REQUIRE(pipe != nullptr);
        std::fputs(dot.c_str(), pipe);
        CHECK(pclose(pipe) == 0);
    }
}

TEST_CASE("back-pressure has the same names in both directions") {
    for (Backpressure b : {Backpressure::drop_tail, Backpressure::hold, Backpressure::credit})
        CHECK(backpressure_of(to_string(b)) == b);
    CHECK_FALSE(backpressure_of("drop"));
}
