#include <catch2/catch.hpp>
#include <functional>
#include <thread>

#include "dataplane/plan.hpp"
#include "dataplane/runtime.hpp"
#include "harness.hpp"
#include "stages/pcap_file.hpp"
#include "stages/txgen.hpp"

using namespace sluice;
using namespace sluice::stages;

namespace {

dp::NodeSpec named(std::string name, std::string kind, dp::Params params, unsigned lcore) {
    dp::NodeSpec n = node(std::move(kind), std::move(params));
    n.name = std::move(name);
    n.lcore = LcoreId{static_cast<std::uint16_t>(lcore)};
    return n;
}

dp::EdgeSpec edge(std::string from, std::string to, unsigned outlet = 0,
                  dp::Backpressure pressure = dp::Backpressure::hold) {
    dp::EdgeSpec e;
    e.from = std::move(from);
    e.outlet = outlet;
    e.to = std::move(to);
    e.backpressure = pressure;
    e.capacity = 256;
    return e;
}

// Runs the graph on two lcores until `done`, and gives the last counters of all stages.
std::map<std::string, dp::StageStats> run(
    const dp::Graph& graph,
    const std::function<bool(const std::map<std::string, dp::StageStats>&)>& done) {
    dp::KindTable kinds;
    add_kinds(kinds);
    dp::Placement placement;
    placement.workers = {LcoreId{1}, LcoreId{2}};
    auto plan = dp::plan(graph, kinds, placement);
    if (!plan) FAIL(plan.error().message);
    auto runtime = dp::Runtime::create(placement);
    if (!runtime) FAIL(runtime.error().message);
    dp::Runtime::Stages stages;
    for (const dp::NodeSpec& n : graph.nodes) {
        auto stage = make_stage(n, {pool().get()});
        if (!stage) FAIL(stage.error().message);
        stages.emplace(n.name, std::move(*stage));
    }
    const auto loaded = (*runtime)->load(std::move(*plan), kinds, std::move(stages));
    if (!loaded) FAIL(loaded.error().message);
    (*runtime)->start();
    std::map<std::string, dp::StageStats> stats;
    do {
        std::this_thread::yield();
        stats.clear();
        for (auto& s : (*runtime)->stage_stats()) stats.emplace(s.name, s);
    } while (!done(stats));
    (*runtime)->stop();
    stats.clear();
    for (auto& s : (*runtime)->stage_stats()) stats.emplace(s.name, s);
    return stats;
}

std::uint64_t own(const dp::StageStats& s, std::string_view name) {
    for (const auto& [desc, value] : s.own) {
        if (desc.name == name) return value;
    }
    FAIL("no counter " << name);
    return 0;
}

}  // namespace

TEST_CASE("numbered frames arrive over two lcores without a loss") {
    dp::Graph graph;
    graph.nodes = {named("gen", "txgen", {{"count", "20000"}, {"size", "200"}}, 1),
                   named("mid", "io", {}, 1), named("end", "sink", {}, 2)};
    graph.edges = {edge("gen", "mid"), edge("mid", "end")};
    const auto stats =
        run(graph, [](const auto& s) { return s.at("end").packets_in == 20000; });
    CHECK(stats.at("gen").packets_out == 20000);
    CHECK(own(stats.at("end"), "numbered") == 20000);
    CHECK(own(stats.at("end"), "missing") == 0);
    CHECK(own(stats.at("end"), "late") == 0);
    CHECK(own(stats.at("end"), "bytes") == 4'000'000);
    CHECK(pool().in_use() == 0);
}

TEST_CASE("a paced generator reaches its end although its lcore may sleep") {
    dp::Graph graph;
    graph.nodes = {named("gen", "txgen", {{"count", "20"}, {"rate", "200pps"}}, 1),
                   named("end", "sink", {}, 2)};
    graph.edges = {edge("gen", "end")};
    const auto stats = run(graph, [](const auto& s) { return s.at("end").packets_in == 20; });
    CHECK(own(stats.at("end"), "missing") == 0);
    CHECK(pool().in_use() == 0);
}

TEST_CASE("a capture goes through a tee into another capture byte for byte") {
    TempFile in;
    TempFile out;
    constexpr std::size_t kPackets = 500;
    const auto bytes = [](std::size_t i) {
        std::vector<std::byte> b(60 + i % 1400);
        for (std::size_t k = 0; k < b.size(); ++k) b[k] = static_cast<std::byte>(i + k);
        return b;
    };
    {
        auto dump = PcapDump::create(in.path(), 65535);
        REQUIRE(dump);
        for (std::size_t i = 0; i < kPackets; ++i) {
            REQUIRE((*dump)->write(static_cast<std::int64_t>(i), bytes(i),
                                   static_cast<std::uint32_t>(bytes(i).size())));
        }
    }
    dp::Graph graph;
    graph.nodes = {named("in", "pcap_in", {{"file", in.path()}}, 1), named("tee", "tee", {}, 1),
                   named("a", "sink", {}, 2),
                   named("b", "pcap_out", {{"file", out.path()}, {"ring", "1024"}}, 2)};
    graph.edges = {edge("in", "tee"), edge("tee", "a", 0), edge("tee", "b", 1)};
    const auto stats = run(graph, [](const auto& s) {
        return s.at("a").packets_in == kPackets && s.at("b").packets_in == kPackets;
    });
    CHECK(own(stats.at("in"), "rounds") == 1);
    const auto packets = read_pcap(out.path(), 65535);
    REQUIRE(packets);
    REQUIRE(packets->items.size() == kPackets);
    for (std::size_t i = 0; i < kPackets; ++i) {
        const auto d = packets->data(i);
        REQUIRE(std::vector<std::byte>(d.begin(), d.end()) == bytes(i));
    }
    CHECK(pool().in_use() == 0);
}
