#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <vector>

#include "two_ipcps.hpp"

// Parameters and policies of IPC processes that run.
namespace sluice::mgmt {
namespace {

using rina::Address;

rina::AppName app(const char* name) { return {name, {}, {}, {}}; }

using Strings = std::vector<std::string>;

// ---- what there is ----

TEST_CASE("Every parameter says what it is, and takes the value that it has", "[parameters]") {
    Two w;
    w.join();
    std::set<std::string> names;
    unsigned changeable = 0;
    for (const policy::ParameterView& one : w.ends[0]->parameters()) {
        INFO(one.component << " " << one.name << " = " << one.value);
        CHECK(names.insert(one.component + " " + one.name).second);
        CHECK_FALSE(one.range.empty());
        CHECK_FALSE(one.help.empty());
        CHECK(one.help.size() < 80);
        const auto done = w.ends[0]->set_parameter(w.now, one.component, one.name, one.value);
        if (!one.is_live) {
            REQUIRE_FALSE(done);
            CHECK(done.error().code == EBUSY);
            continue;
        }
        ++changeable;
        if (one.value.empty()) continue;  // "route.N"
        INFO((done ? std::string() : done.error().message));
        CHECK(done);
        CHECK(value_of(*w.ends[0], one.component, one.name) == one.value);
        const auto wrong =
            w.ends[0]->set_parameter(w.now, one.component, one.name, "-7 bananas");
        REQUIRE_FALSE(wrong);
        CHECK(wrong.error().code == EINVAL);
        CHECK_THAT(wrong.error().message,
                   Catch::Contains("bananas") && Catch::Contains("expected"));
        CHECK(value_of(*w.ends[0], one.component, one.name) == one.value);
    }
    CHECK(changeable > 50);
    // Nobody has noticed.
    w.run(Duration::seconds(300));
    CHECK(w.log[0] == Strings{"up b.IPCP "});
    CHECK(w.log[1] == Strings{"up a.IPCP "});
}

TEST_CASE("Both ends of every range can be had, and nothing beyond", "[parameters]") {
    Two w;
    Ipcp& a = *w.ends[0];
    for (const policy::ParameterView& one : a.parameters()) {
        const std::size_t to = one.range.find(" to ");
        std::uint64_t low = 0, high = 0;
        if (!one.is_live || to == std::string::npos ||
            !policy::parse_number(one.range.substr(0, to), low) ||
            !policy::parse_number(one.range.substr(to + 4), high))
            continue;
        INFO(one.component << " " << one.name << " " << one.range);
        for (const std::uint64_t number : {low, high}) {
            const auto done = a.set_parameter(w.now, one.component, one.name,
                                              std::to_string(number));
            // Some must fit to others, and say so.
            if (!done)
                CHECK_THAT(done.error().message, Catch::Contains("nack_wait_ms") ||
                                                     Catch::Contains("renew_age"));
            else
                CHECK(value_of(a, one.component, one.name) == std::to_string(number));
        }
        if (low > 0)
            CHECK_FALSE(a.set_parameter(w.now, one.component, one.name,
                                        std::to_string(low - 1)));
        if (high < ~std::uint64_t{0})
            CHECK_FALSE(a.set_parameter(w.now, one.component, one.name,
                                        std::to_string(high + 1)));
        CHECK(a.set_parameter(w.now, one.component, one.name, one.value));
    }
}

TEST_CASE("No value is the value that it comes with", "[parameters]") {
    Two w;
    Ipcp& a = *w.ends[0];
    const std::vector<std::array<std::string, 3>> cases = {
        {"enrollment", "keepalive_ms", "1500"},   {"flow-allocation", "flows_max", "7"},
        {"routing", "multipath", "0"},            {"address-allocation", "nack_wait_ms", "17"},
        {"qos-cubes", "best-effort.delay_us", "5"}, {"qos-cubes", "best-effort.loss", "3"}};
    for (const auto& [component, name, value] : cases) {
        INFO(component << " " << name);
        const std::string before = value_of(a, component, name);
        REQUIRE(a.set_parameter(w.now, component, name, value));
        CHECK(value_of(a, component, name) == value);
        REQUIRE(a.set_parameter(w.now, component, name, ""));
        CHECK(value_of(a, component, name) == before);
    }
}

TEST_CASE("What is wrong is said in one sentence", "[parameters]") {
    Two w;
    Ipcp& a = *w.ends[0];
    const auto error = [&](const char* component, const char* name, const char* value) {
        const auto done = a.set_parameter(w.now, component, name, value);
        REQUIRE_FALSE(done);
        return done.error().message;
    };
    CHECK(error("enrollment", "keepalive_ms", "soon") ==
          "enrollment: parameter 'keepalive_ms' is 'soon', expected a number from 0 to 3600000");
    CHECK(error("routing", "multipath", "2") ==
          "routing link-state: parameter 'multipath' is '2', expected a number from 0 to 1");
    CHECK_THAT(error("colour", "red", "1"),
               Catch::StartsWith("there is no component 'colour', expected one of address-all"));
    CHECK_THAT(error("routing", "colour", "1"),
               Catch::StartsWith("'routing' has no parameter 'colour', expected one of policy, "
                                 "multipath, "));
    CHECK_THAT(error("routing", "policy", "rip"), Catch::Contains("link-state-lfa, static"));
    CHECK_THAT(error("routing", "route.1", "b via c"), Catch::Contains("no parameter 'route.1'"));
    CHECK_THAT(error("directory", "policy", "fully-replicated"), Catch::Contains("while"));
    CHECK_THAT(error("qos-cubes", "gold.delay_us", "1"), Catch::Contains("best-effort.delay_us"));
    CHECK_THAT(error("qos-cubes", "best-effort.min_bps", "18446744073709551616"),
               Catch::Contains("0 to min_bps") || Catch::Contains("expected"));
    CHECK_THAT(error("address-allocation", "nack_wait_ms", "10k"),
               Catch::Contains("expected less than the 10000"));
    CHECK_THAT(error("enrollment", "step_ms", "4000"),
               Catch::Contains("expected more than the 4000"));
    CHECK_THAT(error("replication", "links_age_max_s", "270"), Catch::Contains("smaller"));
    CHECK(a.set_policy(w.now, "colour", "red").error().code == ENOENT);
}

// ---- while there are neighbours ----

TEST_CASE("Keepalives follow their interval", "[parameters]") {
    Two w;
    w.join();
    w.probes[0].clear();
    const Instant begin = w.now;
    REQUIRE(w.set(0, "enrollment", "keepalive_ms", "2000"));
    w.run(Duration::seconds(10));
    // The next one is not 20 s away any more.
    REQUIRE(w.probes[0].size() >= 4);
    CHECK(w.probes[0].front() <= begin + Duration::seconds(2));
    REQUIRE(w.set(0, "enrollment", "keepalive_ms", "0"));
    w.probes[0].clear();
    w.run(Duration::seconds(300));
    CHECK(w.probes[0].empty());
    REQUIRE(w.set(0, "enrollment", "keepalive_ms", "5000"));
    w.run(Duration::seconds(11));
    CHECK(w.probes[0].size() == 2);
    // Slower again: what is awaited comes later.
    REQUIRE(w.set(0, "enrollment", "keepalive_ms", "100k"));
    w.probes[0].clear();
    w.run(Duration::seconds(90));
    CHECK(w.probes[0].empty());
    w.run(Duration::seconds(20));
    CHECK(w.probes[0].size() == 1);
    CHECK(w.log[0] == Strings{"up b.IPCP "});
}

TEST_CASE("A neighbour that is gone is noticed as fast as was asked for", "[parameters]") {
    Two w;
    w.join();
    REQUIRE(w.set(0, "enrollment", "keepalive_ms", "1000"));
    REQUIRE(w.set(0, "enrollment", "keepalive_threshold", "1"));
    REQUIRE(w.set(0, "enrollment", "reconnect_ms", "3000"));
    w.cut = true;
    w.run(Duration::milliseconds(3500));
    REQUIRE(w.log[0].size() >= 2);
    CHECK_THAT(w.log[0][1], Catch::Contains("keepalives were not answered"));
    w.run(Duration::seconds(3));
    CHECK(w.log[0].back() == "calls b.IPCP");
    const auto calls = [&] {
        return std::count(w.log[0].begin(), w.log[0].end(), "calls b.IPCP");
    };
    const auto before = calls();
    REQUIRE(w.set(0, "enrollment", "reconnect_ms", "0"));
    w.run(Duration::seconds(60));
    CHECK(calls() == before);
}

TEST_CASE("Steps of an enrollment that is under way follow theirs", "[parameters]") {
    Two w;
    w.begin();
    CHECK(w.ends[0]->addresses().claims() == 1);
    SECTION("a shorter wait for objections") {
        REQUIRE(w.set(0, "address-allocation", "nack_wait_ms", "500"));
        w.run(Duration::milliseconds(600));
        CHECK(w.ends[1]->is_member());
    }
    SECTION("a longer one") {
        REQUIRE(w.set(0, "address-allocation", "nack_wait_ms", "7000"));
        w.run(Duration::seconds(6));
        CHECK_FALSE(w.ends[1]->is_member());
        w.run(Duration::seconds(2));
        CHECK(w.ends[1]->is_member());
    }
    SECTION("a shorter limit for a step, of who waits") {
        w.cut = true;
        // The wait for the address is a part of the step.
        REQUIRE(w.set(1, "address-allocation", "policy", "static"));
        REQUIRE(w.set(1, "enrollment", "step_ms", "1000"));
        w.run(Duration::milliseconds(1100));
        CHECK_THAT(w.log[1].back(), Catch::Contains("took too long"));
    }
    SECTION("a longer one") {
        w.cut = true;
        REQUIRE(w.set(1, "enrollment", "step_ms", "20000"));
        w.run(Duration::seconds(19));
        CHECK(w.log[1].empty());
        w.run(Duration::seconds(2));
        CHECK(w.log[1].size() == 1);
    }
}

TEST_CASE("A neighbour that does not let others join any more", "[parameters]") {
    Two w;
    REQUIRE(w.set(0, "enrollment", "enroller", "0"));
    CHECK_FALSE(w.ends[0]->enrollment().is_enroller());
    w.begin();
    CHECK_THAT(w.log[1].back(), Catch::Contains("does not let others join"));
}

TEST_CASE("Tables are refreshed and compared as often as was asked for", "[parameters]") {
    Two w;
    w.join();
    w.run(Duration::seconds(60));
    const auto sent = [&](std::string_view obj_class, Duration d) {
        w.sent[0].clear();
        w.run(d);
        return std::count_if(w.sent[0].begin(), w.sent[0].end(),
                             [&](const auto& m) { return m.obj_class == obj_class; });
    };
    const auto links = rina::rib::kRouting.obj_class;
    const auto members = rina::rib::kNeighbors.obj_class;
    CHECK(sent(links, Duration::seconds(120)) == 4);
    REQUIRE(w.set(0, "replication", "links_refresh_s", "10"));
    CHECK(sent(links, Duration::seconds(120)) >= 11);
    REQUIRE(w.set(0, "replication", "links_refresh_s", "3600"));
    CHECK(sent(links, Duration::seconds(120)) == 0);
    REQUIRE(w.set(0, "replication", "members_refresh_s", "3600"));
    CHECK(sent(members, Duration::seconds(120)) == 0);
    CHECK(sent(kDigestObject.obj_class, Duration::seconds(120)) == 4);
    REQUIRE(w.set(0, "replication", "sync_ms", "10k"));
    CHECK(sent(kDigestObject.obj_class, Duration::seconds(120)) >= 10);
    REQUIRE(w.set(0, "replication", "sync_ms", "0"));
    CHECK(sent(kDigestObject.obj_class, Duration::seconds(120)) == 0);
    // What is not renewed ages, and is gone.
    REQUIRE(w.set(1, "replication", "links_renew_age_s", "20"));
    REQUIRE(w.set(1, "replication", "links_age_max_s", "60"));
    CHECK(w.ends[1]->lfdb().size() == 2);
    w.cut = true;
    w.run(Duration::seconds(72));
    CHECK(w.ends[1]->lfdb().size() == 1);
}

TEST_CASE("News that was held is told when it need not wait any more", "[parameters]") {
    IpcpConfig a = config_of("a.IPCP", true);
    a.gather = Duration::seconds(5);
    Two w(std::move(a));
    w.join();
    w.run(Duration::seconds(20));
    w.ends[0]->register_application(w.now, app("server"));
    w.run(Duration::seconds(1));
    CHECK(w.ends[1]->dft().size() == 0);
    REQUIRE(w.set(0, "replication", "gather_ms", "0"));
    w.run({});
    CHECK(w.ends[1]->dft().size() == 1);
}

// ---- policies ----

TEST_CASE("Routing goes from one policy to another and back", "[parameters]") {
    Two w;
    w.join();
    Ipcp& b = *w.ends[1];
    REQUIRE(b.routes().size() == 1);
    REQUIRE(b.set_policy(w.now, "routing", "static"));
    CHECK(b.next_deadline() <= w.now);
    w.run({});
    CHECK(b.routes().empty());
    CHECK(w.published[1] == 0);
    CHECK(value_of(b, "routing", "policy") == "static");
    CHECK(value_of(b, "routing", "multipath") == "none");
    REQUIRE(w.set(1, "routing", "route.1", "a.IPCP via a.IPCP"));
    REQUIRE(w.set(1, "routing", "route.7", "77 via a.IPCP"));
    w.run({});
    REQUIRE(b.routes().size() == 2);
    CHECK(b.routes()[1].destination == Address{77});
    CHECK(value_of(b, "routing", "route.7") == "77 via a.IPCP");
    CHECK_FALSE(w.set(1, "routing", "route.8", "77 via a.IPCP"));
    CHECK_FALSE(w.set(1, "routing", "route.8", "nonsense"));
    CHECK(b.routes().size() == 2);
    REQUIRE(w.set(1, "routing", "route.7", ""));
    w.run({});
    CHECK(b.routes().size() == 1);
    CHECK(value_of(b, "routing", "route.7") == "none");
    const policy::Param neighbors{"neighbors", "2"};
    REQUIRE(b.set_policy(w.now, "routing", "link-state-lfa", std::span(&neighbors, 1)));
    CHECK(value_of(b, "routing", "neighbors") == "2");
    REQUIRE(b.set_policy(w.now, "routing", "link-state"));
    w.run({});
    CHECK(b.routes().size() == 1);
}

TEST_CASE("Flows that there are stay under another admission policy, and count", "[parameters]") {
    Two w;
    w.accepts = true;
    w.join();
    w.ends[0]->register_application(w.now, app("server"));
    w.run(Duration::seconds(1));
    Ipcp& b = *w.ends[1];
    const auto open = [&] {
        FlowSpec spec;
        spec.avg_bandwidth_bps = 4'000'000;
        auto port = b.allocate_flow(w.now, app("client"), app("server"), spec, 1);
        w.run(Duration::milliseconds(10));
        return port;
    };
    const auto first = open(), second = open();
    REQUIRE(first);
    REQUIRE(second);
    const policy::Param budget{"cube.0", "10M"};
    REQUIRE(b.set_policy(w.now, "admission", "bandwidth", std::span(&budget, 1)));
    CHECK_FALSE(open());
    REQUIRE(w.set(1, "admission", "cube.0", "12M"));
    CHECK(open());
    // Less than what is in use: nobody is thrown out, and nobody comes in.
    REQUIRE(w.set(1, "admission", "cube.0", "1M"));
    CHECK_FALSE(open());
    CHECK(b.flows().flows() == 3);
    REQUIRE(b.deallocate_flow(w.now, *first));
    REQUIRE(b.deallocate_flow(w.now, *second));
    w.run(Duration::seconds(10));
    CHECK(b.flows().flows() == 1);
    REQUIRE(w.set(1, "admission", "cube.0", "8M"));
    CHECK(open());
    CHECK_FALSE(open());
    REQUIRE(b.set_policy(w.now, "admission", "user"));
    REQUIRE(w.set(1, "admission", "flows", "2"));
    CHECK_FALSE(open());
    REQUIRE(b.set_policy(w.now, "admission", "none"));
    CHECK(open());
}

TEST_CASE("What flows wait for follows", "[parameters]") {
    Two w;
    w.join();
    w.ends[0]->register_application(w.now, app("server"));
    w.run(Duration::seconds(1));
    Ipcp& b = *w.ends[1];
    w.log[0].clear();
    w.log[1].clear();
    SECTION("of the application at the other end") {
        REQUIRE(b.allocate_flow(w.now, app("client"), app("server"), {}, 1));
        w.exchange();
        REQUIRE(w.asked.size() == 1);
        REQUIRE(w.set(0, "flow-allocation", "accept_timeout_ms", "1000"));
        w.run(Duration::milliseconds(1100));
        CHECK(w.log[0] == Strings{"flow failed: not accepted in time"});
    }
    SECTION("of the peer") {
        w.cut = true;
        REQUIRE(b.allocate_flow(w.now, app("client"), app("server"), {}, 1));
        REQUIRE(w.set(1, "flow-allocation", "allocation_timeout_ms", "60000"));
        w.run(Duration::seconds(59));
        CHECK(w.log[1].empty());
        REQUIRE(w.set(1, "flow-allocation", "allocation_timeout_ms", "100"));
        w.run({});
        CHECK(w.log[1] == Strings{"unbind", "flow failed: no answer"});
    }
    SECTION("before a closed flow is gone") {
        const auto port = b.allocate_flow(w.now, app("client"), app("server"), {}, 1);
        w.exchange();
        REQUIRE(w.ends[0]->accept_flow(w.now, w.asked.at(0), 0));
        w.exchange();
        CHECK(w.log[1] == Strings{"flow allocated"});
        REQUIRE(b.deallocate_flow(w.now, *port));
        REQUIRE(w.set(1, "flow-allocation", "flow_del_wait_ms", "20000"));
        w.run(Duration::seconds(19));
        CHECK(b.flows().flows() == 1);
        w.run(Duration::seconds(2));
        CHECK(b.flows().flows() == 0);
    }
    SECTION("and how many there may be") {
        REQUIRE(w.set(1, "flow-allocation", "flows_max", "1"));
        REQUIRE(b.allocate_flow(w.now, app("client"), app("server"), {}, 1));
        CHECK_FALSE(b.allocate_flow(w.now, app("client"), app("server"), {}, 1));
        REQUIRE(w.set(1, "flow-allocation", "flows_max", "2"));
        CHECK(b.allocate_flow(w.now, app("client"), app("server"), {}, 1));
    }
}

TEST_CASE("Flows to come are made as was asked for", "[parameters]") {
    Two w;
    w.join();
    w.ends[0]->register_application(w.now, app("server"));
    w.run(Duration::seconds(1));
    Ipcp& b = *w.ends[1];
    const auto asked = [&] {
        FlowSpec spec;
        spec.max_sdu_gap = 0;
        spec.delay_us = 100;
        REQUIRE(b.allocate_flow(w.now, app("client"), app("server"), spec, 1));
        for (IpcpAction& action : b.take_actions())
            if (auto* bind = std::get_if<Bind>(&action)) return bind->terms.policies;
        FAIL("no connection");
        return efcp::EfcpPolicies{};
    };
    REQUIRE(w.set(1, "efcp", "credit", "17"));
    REQUIRE(w.set(1, "efcp", "policy", "rate-estimate"));
    REQUIRE(w.set(1, "efcp", "rtx_timeout_ms", "250"));
    const auto policies = asked();
    CHECK(policies.window->initial_credit == 17);
    CHECK(policies.congestion == efcp::Congestion::rate_estimate);
    CHECK(policies.retransmission->initial_timeout == Duration::milliseconds(250));
    CHECK_FALSE(w.set(1, "efcp", "policy", "cubic"));
    // The one cube promises less than the flow asks for.
    REQUIRE(w.set(1, "flow-allocation", "refuse_without_cube", "1"));
    FlowSpec spec;
    spec.delay_us = 100;
    CHECK_FALSE(b.allocate_flow(w.now, app("client"), app("server"), spec, 1));
    REQUIRE(w.set(1, "qos-cubes", "best-effort.delay_us", "100"));
    CHECK(b.allocate_flow(w.now, app("client"), app("server"), spec, 1));
    REQUIRE(w.set(1, "qos-cubes", "best-effort.delay_us", "unset"));
    CHECK_FALSE(b.allocate_flow(w.now, app("client"), app("server"), spec, 1));
    // What no cube may be is refused whole.
    CHECK_FALSE(w.set(1, "qos-cubes", "best-effort.loss", "10001"));
    CHECK_FALSE(w.set(1, "qos-cubes", "best-effort.sdu_gap_max", "-2"));
    REQUIRE(w.set(1, "qos-cubes", "best-effort.sdu_gap_max", "-1"));
    REQUIRE(w.set(1, "qos-cubes", "best-effort.max_bps", "1000"));
    CHECK_FALSE(w.set(1, "qos-cubes", "best-effort.min_bps", "1001"));
    CHECK(value_of(b, "qos-cubes", "best-effort.min_bps") == "0");
}

TEST_CASE("Policies and their parameters come from the configuration, too", "[parameters]") {
    IpcpConfig c = config_of("a.IPCP", true);
    c.routing = "static";
    c.routing.set("route.1", "default via b.IPCP");
    c.admission = "user";
    c.admission.set("flows", "3");
    const auto made = make_ipcp(c, Instant{1});
    CHECK(value_of(*made, "routing", "route.1") == "default via b.IPCP");
    CHECK(value_of(*made, "admission", "flows") == "3");
    c.admission.set("flows", "none");
    const auto wrong = Ipcp::create(Instant{1}, c);
    REQUIRE_FALSE(wrong);
    CHECK_THAT(wrong.error().message, Catch::Contains("'none'"));
}

}  // namespace
}  // namespace sluice::mgmt
