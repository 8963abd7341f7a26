#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "two_ipcps.hpp"

// What an enroller tells of the DIF's policies, and what comes of it.
namespace sluice::mgmt {
namespace {

using Strings = std::vector<std::string>;

// What the first end tells instead of its own, by object names.
void tell(Two& w, std::map<std::string, std::string> values) {
    w.alter = [values = std::move(values)](std::size_t from, rina::CdapMessage& m) {
        if (from != 0 || m.op != rina::OpCode::write) return;
        if (const auto at = values.find(m.obj_name); at != values.end()) m.value = at->second;
    };
}

Strings told_by(const Two& w, std::size_t end) {
    Strings out;
    for (const rina::CdapMessage& m : w.sent[end])
        if (m.op == rina::OpCode::write && std::holds_alternative<std::string>(m.value))
            out.push_back(fmt::format("{} {} {}", m.obj_name, m.obj_class,
                                      std::get<std::string>(m.value)));
    return out;
}

TEST_CASE("An enroller tells what it does", "[settings]") {
    IpcpConfig a = config_of("a.IPCP", true);
    SECTION("as it comes: as rlite") {
        Two w(a);
        w.join();
        CHECK(told_by(w, 0) == Strings{"/mgmt/dft/policy policy fully-replicated",
                                       "/mgmt/routing/policy policy link-state",
                                       "/mgmt/addralloc/policy policy distributed",
                                       "/mgmt/addralloc/params nack-wait 4000ms"});
        CHECK(told_by(w, 1).empty());
        CHECK(w.policies[1].empty());
        CHECK(w.ends[1]->drops(IpcpDrop::not_allowed) == 0);
    }
    SECTION("another routing, and addresses by hand") {
        a.routing = "link-state-lfa";
        a.addresses.policy = AddressPolicy::static_;
        IpcpConfig b = config_of("b.IPCP");
        b.address = rina::Address{7};
        Two w(a, b);
        w.join();
        CHECK(told_by(w, 0) == Strings{"/mgmt/dft/policy policy fully-replicated",
                                       "/mgmt/routing/policy policy link-state-lfa",
                                       "/mgmt/addralloc/policy policy static"});
    }
    SECTION("and what an operator has made of it meanwhile") {
        Two w(a);
        REQUIRE(w.ends[0]->set_policy(w.now, "routing", "static"));
        REQUIRE(w.set(0, "address-allocation", "nack_wait_ms", "1500"));
        w.join();
        CHECK(told_by(w, 0)[1] == "/mgmt/routing/policy policy static");
        CHECK(told_by(w, 0)[3] == "/mgmt/addralloc/params nack-wait 1500ms");
    }
}

TEST_CASE("Who joins does as it is told, and the operator hears of it", "[settings]") {
    IpcpConfig a = config_of("a.IPCP", true), b = config_of("b.IPCP");
    a.routing = "link-state-lfa";
    a.routing.set("multipath", "1");
    b.routing.set("multipath", "0");
    SECTION("addresses by hand") {
        a.addresses.policy = AddressPolicy::static_;
        b.address = rina::Address{7};
        Two w(a, b);
        w.join();
        CHECK(value_of(*w.ends[1], "address-allocation", "policy") == "static");
        CHECK(w.ends[1]->config().addresses.policy == AddressPolicy::static_);
        CHECK(w.ends[1]->address() == rina::Address{7});
        CHECK(w.policies[1] ==
              Strings{"routing: the DIF's routing policy is 'link-state-lfa', here 'link-state': "
                      "changed",
                      "address-allocation: the DIF's address-allocation policy is 'static', here "
                      "'distributed': changed"});
        CHECK(w.policies[0].empty());
    }
    SECTION("addresses by claims") {
        a.addresses.nack_wait = Duration::milliseconds(2500);
        b.addresses.policy = AddressPolicy::static_;
        b.addresses.nack_wait = Duration::milliseconds(100);
        Two w(a, b);
        w.join();
        CHECK(value_of(*w.ends[1], "address-allocation", "nack_wait_ms") == "2500");
        CHECK(w.ends[1]->addresses().config().nack_wait == Duration::milliseconds(2500));
        CHECK(w.policies[1].size() == 2);
    }
    SECTION("routing, with what we had of it") {
        Two w(a, b);
        w.join();
        CHECK(value_of(*w.ends[1], "routing", "policy") == "link-state-lfa");
        CHECK(value_of(*w.ends[1], "routing", "multipath") == "0");
        CHECK(w.ends[1]->routes().size() == 1);
        // And tells others the same.
        w.sent[1].clear();
        CHECK(w.ends[1]->config().routing.name == "link-state-lfa");
    }
    SECTION("what that policy does not have is left out") {
        std::swap(a.routing, b.routing);
        b.routing.set("neighbors", "3");
        Two w(a, b);
        w.join();
        CHECK(value_of(*w.ends[1], "routing", "policy") == "link-state");
        CHECK(value_of(*w.ends[1], "routing", "neighbors") == "none");
    }
}

TEST_CASE("Routing that is told otherwise, or not known, is each one's own", "[settings]") {
    for (const char* theirs : {"static", "babel"}) {
        INFO(theirs);
        Two w;
        tell(w, {{"/mgmt/routing/policy", theirs}});
        w.join();
        CHECK(value_of(*w.ends[1], "routing", "policy") == "link-state");
        CHECK(w.policies[1] == Strings{fmt::format("routing: the DIF's routing policy is '{}', "
                                                   "here 'link-state': kept",
                                                   theirs)});
    }
    IpcpConfig b = config_of("b.IPCP");
    b.routing = "static";
    b.routing.set("route.1", "a.IPCP via a.IPCP");
    Two w(config_of("a.IPCP", true), b);
    w.join();
    CHECK(value_of(*w.ends[1], "routing", "policy") == "static");
    CHECK(w.ends[1]->routes().size() == 1);
    CHECK(w.policies[1].size() == 1);
}

TEST_CASE("What would break the DIF ends the enrollment, with a reason for both", "[settings]") {
    const auto [object, value, sentence] = GENERATE(
        std::tuple{"/mgmt/dft/policy", "centralized-fault-tolerant",
                   "the DIF's directory policy is 'centralized-fault-tolerant', expected "
                   "'fully-replicated': applications would not be found"},
        std::tuple{"/mgmt/addralloc/policy", "centralized-fault-tolerant",
                   "the DIF's address-allocation policy is 'centralized-fault-tolerant', expected "
                   "static or distributed: two members could get one address"});
    Two w;
    tell(w, {{object, value}, {"/mgmt/routing/policy", "link-state-lfa"}});
    w.begin();
    w.run(Duration::seconds(9));
    CHECK_FALSE(w.ends[1]->is_member());
    CHECK(w.log[1] == Strings{std::string("down a.IPCP refused: ") + sentence});
    CHECK(w.log[0] == Strings{std::string("down b.IPCP refused: ") + sentence});
    // Nothing else was taken over, and it is not tried again.
    CHECK(value_of(*w.ends[1], "routing", "policy") == "link-state");
    CHECK(w.policies[1].empty());
    w.run(Duration::seconds(60));
    CHECK(w.log[1].size() == 1);
    w.alter = {};
    w.join();
    CHECK(w.ends[1]->config().routing.name == "link-state");
}

TEST_CASE("An enrollment that ends halfway has changed nothing", "[settings]") {
    Two w;
    tell(w, {{"/mgmt/routing/policy", "link-state-lfa"}, {"/mgmt/addralloc/policy", "static"}});
    const auto change = w.alter;
    w.alter = [&, change](std::size_t from, rina::CdapMessage& m) {
        change(from, m);
        if (m.op == rina::OpCode::stop) w.cut = true;
    };
    w.begin();
    w.run(Duration::seconds(60));
    CHECK_FALSE(w.ends[1]->is_member());
    CHECK(value_of(*w.ends[1], "routing", "policy") == "link-state");
    CHECK(value_of(*w.ends[1], "address-allocation", "policy") == "distributed");
    // Nor is it remembered for the next one.
    w.cut = false;
    w.alter = [](std::size_t from, rina::CdapMessage& m) {
        if (from == 0 && m.op == rina::OpCode::write) m.obj_name = "/mgmt/something";
    };
    w.join();
    CHECK(value_of(*w.ends[1], "routing", "policy") == "link-state");
}

TEST_CASE("Parameters that cannot be are left out, and said", "[settings]") {
    const auto [value, why] = GENERATE(
        std::tuple{"soon", "such as 4000ms"}, std::tuple{"", ""}, std::tuple{"0ms", "1 to 60000"},
        std::tuple{"61s", "1 to 60000"}, std::tuple{"10s", "expected less than the 10000"},
        std::tuple{"99999999999999999999ms", "such as 4000ms"}, std::tuple{"-4ms", "such as"},
        std::tuple{"4 ms", "such as"}, std::tuple{"4000ms\x1b[2J", ""});
    INFO(value);
    Two w;
    tell(w, {{"/mgmt/addralloc/params", value}});
    w.join();
    CHECK(value_of(*w.ends[1], "address-allocation", "nack_wait_ms") == "4000");
    if (*why == '\0') {
        CHECK(w.policies[1].empty());
        CHECK(w.ends[1]->drops(IpcpDrop::bad_object) + w.ends[1]->drops(IpcpDrop::not_valid) +
                  w.ends[1]->drops(IpcpDrop::not_cdap) ==
              1);
    } else {
        REQUIRE(w.policies[1].size() == 1);
        CHECK_THAT(w.policies[1][0], Catch::Contains("nack-wait") && Catch::Contains("here 4000"));
        if (std::string(why) != "1 to 60000") CHECK_THAT(w.policies[1][0], Catch::Contains(why));
    }
}

TEST_CASE("Durations as rlite writes them", "[settings]") {
    const auto [value, ms] = GENERATE(std::tuple{"2s", "2000"}, std::tuple{"1ms", "1"},
                                      std::tuple{"700", "700"}, std::tuple{"4000ms", "4000"});
    Two w;
    tell(w, {{"/mgmt/addralloc/params", value}});
    w.join();
    CHECK(value_of(*w.ends[1], "address-allocation", "nack_wait_ms") == ms);
    CHECK(w.policies[1].empty());
}

TEST_CASE("A parameter that nobody knows is said", "[settings]") {
    Two w;
    w.alter = [](std::size_t from, rina::CdapMessage& m) {
        if (from == 0 && m.obj_class == "nack-wait") m.obj_class = "replicas";
    };
    w.join();
    CHECK(w.policies[1] == Strings{"address-allocation: the DIF has a parameter 'replicas' = "
                                   "'4000ms', which is not known here: left out"});
}

TEST_CASE("Of two with one address one moves, whatever an enroller says", "[settings]") {
    IpcpConfig a = config_of("z.IPCP", true), b = config_of("b.IPCP");
    a.addresses.policy = AddressPolicy::static_;
    a.address = b.address = rina::Address{5};
    const bool is_fixed = GENERATE(false, true);
    if (is_fixed) b.addresses.policy = AddressPolicy::static_;
    Two w(a, b);
    w.join();
    CHECK(value_of(*w.ends[1], "address-allocation", "policy") == "static");
    w.run(Duration::seconds(30));
    // Not where an operator has set it.
    CHECK((w.ends[1]->address() == rina::Address{5}) == is_fixed);
    CHECK(w.ends[0]->address() == rina::Address{5});
    if (!is_fixed) return;
    REQUIRE(w.set(1, "address-allocation", "policy", "distributed"));
    w.run(Duration::seconds(30));
    CHECK(w.ends[1]->address() != rina::Address{5});
}

TEST_CASE("What cannot be obeyed is said", "[settings]") {
    IpcpConfig b = config_of("b.IPCP");
    b.addresses.policy = AddressPolicy::static_;
    b.timers.step = Duration::seconds(3);
    IpcpConfig a = config_of("a.IPCP", true);
    SECTION("a wait that is longer than our steps") {
        a.addresses.nack_wait = Duration::milliseconds(2900);
        Two w(a, b);
        tell(w, {{"/mgmt/addralloc/params", "3500ms"}});
        w.join();
        REQUIRE(w.policies[1].size() == 1);
        CHECK_THAT(w.policies[1][0], Catch::Contains("here 'static': kept, for") &&
                                         Catch::Contains("expected less than the 3000"));
        CHECK(value_of(*w.ends[1], "address-allocation", "policy") == "static");
    }
    SECTION("but what comes with that policy counts, and not how it comes without") {
        a.addresses.nack_wait = Duration::seconds(1);
        Two w(a, b);
        w.join();
        REQUIRE(w.policies[1].size() == 1);
        CHECK_THAT(w.policies[1][0], Catch::Contains("here 'static': changed"));
        CHECK(value_of(*w.ends[1], "address-allocation", "nack_wait_ms") == "1000");
    }
}

// ---- hostile ----

TEST_CASE("Members are told nothing of policies, by whomever", "[settings]") {
    Two w;
    w.join();
    for (const std::size_t victim : {std::size_t{0}, std::size_t{1}}) {
        const auto state = [&] {
            Strings out;
            for (const auto& one : w.ends[victim]->parameters())
                out.push_back(one.component + one.name + one.value);
            return out;
        };
        const Strings before = state();
        w.write(1 - victim, rina::rib::kRoutingPolicy, std::string("static"));
        w.write(1 - victim, rina::rib::kAddressPolicy, std::string("static"));
        w.write(1 - victim, rina::rib::kDftPolicy, std::string("none"));
        w.write(1 - victim, {"nack-wait", rina::rib::kAddressParameters}, std::string("1ms"));
        w.write(1 - victim, {"policy", "/mgmt/routing/policy/x"}, std::string("static"));
        CHECK(w.ends[victim]->drops(IpcpDrop::not_allowed) == 5);
        CHECK(state() == before);
        CHECK(w.policies[victim].empty());
    }
    w.run(Duration::seconds(100));
    CHECK(w.log[1] == Strings{"up a.IPCP "});
}

TEST_CASE("Not before the enroller has begun to tell, and not without end", "[settings]") {
    Two w;
    w.begin();
    // It is choosing an address, and anybody could say so.
    w.write(0, rina::rib::kRoutingPolicy, std::string("link-state-lfa"));
    CHECK(w.ends[1]->drops(IpcpDrop::not_allowed) == 0);
    CHECK(w.ends[1]->enrollment().drops()[static_cast<std::size_t>(
              EnrollmentDrop::out_of_place)] == 1);
    w.alter = [&](std::size_t from, rina::CdapMessage& m) {
        if (from != 0 || m.op != rina::OpCode::stop) return;
        w.alter = {};
        for (int i = 0; i < 100; ++i)
            w.write(0, {"nack-wait", rina::rib::kAddressParameters}, std::string("1s"));
        w.write(0, rina::rib::kRoutingPolicy, std::int32_t{3});
        w.write(0, rina::rib::kRoutingPolicy, std::monostate{});
    };
    w.run(Duration::seconds(9));
    CHECK(w.ends[1]->is_member());
    CHECK(value_of(*w.ends[1], "address-allocation", "nack_wait_ms") == "1000");
    CHECK(value_of(*w.ends[1], "routing", "policy") == "link-state");
    CHECK(w.ends[1]->drops(IpcpDrop::bad_object) >= 40);
}

}  // namespace
}  // namespace sluice::mgmt
