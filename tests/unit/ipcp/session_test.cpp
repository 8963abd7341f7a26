#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "normal_dif/core/ipcp/cdap_session.hpp"
#include "normal_dif/core/ipcp/digest.hpp"
#include "normal_dif/core/ipcp/rib.hpp"

namespace sluice::mgmt {
namespace {

using rina::CdapMessage;
using rina::OpCode;

const Instant kNow{1'000'000'000};

CdapMessage message(OpCode op, std::int32_t id) {
    CdapMessage m;
    m.op = op;
    m.invoke_id = id;
    return m;
}

// A session whose M_CONNECT was answered.
CdapSession connected() {
    CdapSession session;
    const CdapMessage asked = session.connect({"a", {}, {}, {}}, {"b", {}, {}, {}});
    REQUIRE(session.received(kNow, message(OpCode::connect_r, asked.invoke_id)) ==
            SessionError::none);
    REQUIRE(session.connected());
    return session;
}

TEST_CASE("A session is connected by an answer to what was asked, once", "[session]") {
    CdapSession session;
    CHECK(session.received(kNow, message(OpCode::connect_r, 2)) == SessionError::not_pending);
    CHECK(session.received(kNow, message(OpCode::read, 3)) == SessionError::not_connected);
    const CdapMessage first = session.connect({"a", {}, {}, {}}, {"b", {}, {}, {}});
    const CdapMessage again = session.connect({"a", {}, {}, {}}, {"b", {}, {}, {}});
    CHECK(first.invoke_id != again.invoke_id);
    CHECK(session.received(kNow, message(OpCode::connect_r, again.invoke_id + 1)) ==
          SessionError::not_pending);
    CHECK(session.received(kNow, message(OpCode::connect_r, first.invoke_id)) ==
          SessionError::none);
    CHECK(session.received(kNow, message(OpCode::connect_r, again.invoke_id)) ==
          SessionError::not_pending);
    CHECK(session.connected());
}

TEST_CASE("Nobody connects to a session that there is, or was", "[session]") {
    CdapSession session = connected();
    CHECK(session.received(kNow, message(OpCode::connect, 9)) ==
          SessionError::unexpected_connect);
    CHECK(session.connected());
    CHECK(session.received(kNow, message(OpCode::release, 0)) == SessionError::none);
    CHECK(session.state() == CdapSession::State::closed);
    CHECK(session.received(kNow, message(OpCode::connect, 9)) ==
          SessionError::unexpected_connect);
    session.reset();
    CHECK(session.received(kNow, message(OpCode::connect, 9)) == SessionError::none);
    CHECK(session.received(kNow, message(OpCode::connect, 9)) == SessionError::repeated_id);
}

TEST_CASE("Only the latest questions wait for answers", "[session]") {
    CdapSession session = connected();
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 65; ++i)
        ids.push_back(session.request(OpCode::read, "c", "/n", true).invoke_id);
    CHECK(session.received(kNow, message(OpCode::read_r, ids[0])) == SessionError::not_pending);
    CHECK(session.received(kNow, message(OpCode::read_r, ids[1])) == SessionError::none);
    CHECK(session.received(kNow, message(OpCode::read_r, ids[1])) == SessionError::not_pending);
    CHECK(session.received(kNow, message(OpCode::read_r, ids[64])) == SessionError::none);
    // To what wants no answer there is none.
    const std::int32_t said = session.request(OpCode::write, "c", "/n", false).invoke_id;
    CHECK(session.received(kNow, message(OpCode::write_r, said)) == SessionError::not_pending);
}

TEST_CASE("The latest ids are remembered, whatever a peer sends", "[session]") {
    CdapSession session = connected();
    const auto ask = [&](std::int32_t id) {
        return session.received(kNow, message(OpCode::read, id));
    };
    for (std::int32_t id = 1; id <= 512; ++id) REQUIRE(ask(id) == SessionError::none);
    CHECK(ask(1) == SessionError::repeated_id);
    CHECK(ask(513) == SessionError::none);
    CHECK(ask(514) == SessionError::none);
    // The oldest two have made room, in their order.
    CHECK(ask(513) == SessionError::repeated_id);
    CHECK(ask(3) == SessionError::repeated_id);
    CHECK(ask(1) == SessionError::none);
    CHECK(ask(3) == SessionError::none);
    CHECK(ask(512) == SessionError::repeated_id);
    // After their rest all are new.
    CHECK(session.received(kNow + Duration::seconds(15), message(OpCode::read, 512)) ==
          SessionError::none);
}

TEST_CASE("An object answers for what is below it, of its class and with its operations",
          "[rib]") {
    Rib rib;
    std::vector<std::string> heard;
    const auto hear = [&](const CdapMessage& m) { heard.push_back(m.obj_name); };
    rib.add("/a/b", "list", {OpCode::create, OpCode::read}, "a list", hear);
    rib.add("/a/p", std::string(Rib::kAnyClass), {OpCode::write}, "parameters", hear);
    const auto say = [&](OpCode op, const char* name, const char* obj_class) {
        CdapMessage m = message(op, 1);
        m.obj_name = name;
        m.obj_class = obj_class;
        return rib.dispatch(m);
    };
    using Outcome = Rib::Outcome;
    CHECK(say(OpCode::create, "/a/b", "list") == Outcome::handled);
    CHECK(say(OpCode::read, "/a/b/c", "list") == Outcome::handled);
    CHECK(say(OpCode::write, "/a/p", "whatever") == Outcome::handled);
    CHECK(heard == std::vector<std::string>{"/a/b", "/a/b/c", "/a/p"});
    CHECK(say(OpCode::read, "/a/b/c/d", "list") == Outcome::unknown_object);
    CHECK(say(OpCode::read, "/a", "list") == Outcome::unknown_object);
    CHECK(say(OpCode::read, "a", "list") == Outcome::unknown_object);
    CHECK(say(OpCode::read, "", "list") == Outcome::unknown_object);
    CHECK(say(OpCode::read, "/a/c", "list") == Outcome::unknown_object);
    CHECK(say(OpCode::read, "/a/b", "lists") == Outcome::wrong_class);
    CHECK(say(OpCode::remove, "/a/b", "list") == Outcome::wrong_operation);
    CHECK(say(OpCode::read, "/a/p", "whatever") == Outcome::wrong_operation);
    CHECK(heard.size() == 3);
    const auto all = rib.objects();
    REQUIRE(all.size() == 2);
    CHECK(all[0].name == "/a/b");
    CHECK(all[0].help == "a list");
    CHECK(all[1].obj_class == "*");
}

TEST_CASE("Digests survive the wire, and what is none is none", "[digest]") {
    const TableDigests digests{{1, 2, 3, ~std::uint64_t{0}}};
    const rina::Bytes bytes = encode(digests);
    REQUIRE(digests_in(bytes));
    CHECK(*digests_in(bytes) == digests);
    rina::Bytes more = bytes;
    more.push_back(std::byte{7});  // of a later version
    CHECK(*digests_in(more) == digests);
    rina::Bytes less = bytes;
    less.pop_back();
    CHECK_FALSE(digests_in(less));
    rina::Bytes other = bytes;
    other[3] = std::byte{'2'};
    CHECK_FALSE(digests_in(other));
    CHECK_FALSE(digests_in(rina::Bytes{}));
    CHECK_FALSE(digests_in(std::string("SLD1")));
    CHECK_FALSE(digests_in({}));
}

}  // namespace
}  // namespace sluice::mgmt
