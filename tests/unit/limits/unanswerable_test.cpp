#include <catch2/catch.hpp>

#include "../flow_allocator/node.hpp"

// Requests to which no answer is possible.

using namespace sluice;
using namespace sluice::mgmt;
using namespace sluice::test;

TEST_CASE("A request without an invoke id makes no flow", "[flow_allocator]") {
    Two t;
    REQUIRE(t.a.allocator.allocate(t.now, kClient, kServer, {}, 7, t.a.out));
    CdapMessage message = t.a.sent();
    message.invoke_id = 0;
    t.b.allocator.on_message(t.now, Two::kA, message, t.b.out);
    // CDAP has no answer without one, and one with another would be taken for somebody else's.
    CHECK(t.b.out.empty());
    CHECK(t.b.allocator.flows() == 0);
    CHECK(t.b.allocator.stats().count(FlowIgnored::bad_request) == 1);
}

TEST_CASE("What is no message about flows has no effect", "[flow_allocator]") {
    Two t;
    const auto [at_a, at_b] = t.flow();
    const auto ignored = [&](FlowIgnored why) { return t.b.allocator.stats().count(why); };
    CdapMessage message;
    message.obj_class = "flow";
    message.obj_name = "/mgmt/flows";
    message.invoke_id = 9;
    SECTION("another class") {
        message.obj_class = "neighbor";
        message.op = OpCode::remove;
        message.obj_name = fmt::format("{}/{}", rina::rib::kFlow.obj_name, at_b.value);
    }
    SECTION("an operation that nobody has") { message.op = OpCode::read; }
    SECTION("a deletion of no number") {
        message.op = OpCode::remove;
        message.obj_name = fmt::format("{}/{}x", rina::rib::kFlow.obj_name, at_b.value);
    }
    SECTION("a deletion of nothing") {
        message.op = OpCode::remove;
        message.obj_name = std::string(rina::rib::kFlow.obj_name);
    }
    SECTION("a request without a value") {
        message.op = OpCode::create;
        message.obj_name = std::string(rina::rib::kFlow.obj_name);
    }
    SECTION("a value that does not decode") {
        message.op = OpCode::create;
        message.obj_name = std::string(rina::rib::kFlow.obj_name);
        message.value = rina::Bytes(3, std::byte{0xff});
    }
    t.b.allocator.on_message(t.now, Two::kA, message, t.b.out);
    CHECK(ignored(FlowIgnored::bad_message) == 1);
    CHECK(t.b.out.empty());
    CHECK(t.b.allocator.find(at_b)->state == FlowState::allocated);
}

TEST_CASE("Nobody at address 0 is listened to", "[flow_allocator]") {
    Two t;
    const auto [at_a, at_b] = t.flow();
    t.b.allocator.on_message(t.now, Address{0}, CdapMessage{}, t.b.out);
    t.b.allocator.on_create(t.now, Address{0}, {}, 1, t.b.out);
    t.b.allocator.on_create_r(t.now, Address{0}, nullptr, 1, 0, {}, t.b.out);
    t.b.allocator.on_delete(t.now, Address{0}, at_b.value, nullptr, 1, t.b.out);
    CHECK(t.b.allocator.stats().count(FlowIgnored::no_address) == 4);
    CHECK(t.b.out.empty());
    CHECK(t.b.allocator.find(at_b)->state == FlowState::allocated);
}
