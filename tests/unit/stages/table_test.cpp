#include <algorithm>
#include <catch2/catch.hpp>

#include "harness.hpp"

using namespace sluice;
using namespace sluice::stages;

TEST_CASE("the table is in order and complete") {
    const auto table = stage_table();
    CHECK(std::is_sorted(table.begin(), table.end(),
                         [](const StageKind& a, const StageKind& b) { return a.name < b.name; }));
    dp::KindTable kinds;
    add_kinds(kinds);
    CHECK(kinds.size() == table.size());
    for (const StageKind& kind : table) {
        CHECK(find_kind(kind.name) == &kind);
        CHECK_FALSE(kind.help.empty());
        const dp::KindInfo info = kind.info();
        CHECK(info.name == kind.name);
        CHECK(info.source == (info.inlets == 0));
        CHECK(info.inlet_reaches.size() == info.inlets);
        CHECK(info.counters.size() <= dp::kStageCounters);
        for (const ParamDesc& p : kind.params) CHECK_FALSE(p.help.empty());
    }
    CHECK(find_kind("nothing") == nullptr);
}

TEST_CASE("defaults of all kinds are valid values") {
    for (const StageKind& kind : stage_table()) {
        dp::Params required;
        for (const ParamDesc& p : kind.params) {
            if (p.required()) required.emplace(p.key, "/nowhere");
        }
        INFO(kind.name);
        CHECK(mbufs_held(node(std::string(kind.name), required)));
    }
    CHECK(*mbufs_held(node("sink")) == 0);
    CHECK(*mbufs_held(node("pcap_out", {{"file", "x"}, {"ring", "100"}})) >= 100);
}

TEST_CASE("errors name the place") {
    const auto check = [](const dp::NodeSpec& n, const StageEnv& env, const std::string& whole) {
        const auto made = make_stage(n, env);
        REQUIRE_FALSE(made);
        CHECK_THAT(made.error().message, Catch::Equals(whole));
    };
    const StageEnv env{pool().get()};
    check(node("lamp", {}, "lab.toml:4"), env,
          "lab.toml:4: stage n (lamp): there is no such kind of stage, expected one of io, null, "
          "pcap_in, pcap_out, sink, tee, txgen");
    check(node("txgen", {{"size", "9"}}, "lab.toml:4"), env,
          "lab.toml:4: stage n (txgen): size = '9' is not a number from 28 to 65000");
    check(node("txgen", {{"size", "3000"}}), env,
          "stage n (txgen): size = '3000' is more than an mbuf of the pool holds, 2048 bytes");
    check(node("sink", {{"size", "9"}}), env,
          "stage n (sink): parameter 'size' is not known; it has no parameters");
    check(node("tee"), StageEnv{},
          "stage n (tee): there is no packet pool to take packets from");
    check(node("pcap_out", {{"file", "/nowhere/x.pcap"}}), env,
          "stage n (pcap_out): /nowhere/x.pcap cannot be written: No such file or directory");
    const auto missing = make_stage(node("pcap_in", {{"file", "/nowhere/x.pcap"}}), env);
    REQUIRE_FALSE(missing);
    CHECK_THAT(missing.error().message,
               Catch::StartsWith("stage n (pcap_in): /nowhere/x.pcap cannot be read"));
}
