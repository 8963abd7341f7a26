#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "two_ipcps.hpp"

// What ends or does not begin between two members, and messages of members that make no sense.
namespace sluice::mgmt {
namespace {

using rina::Address;
using rina::CdapMessage;
using rina::OpCode;

rina::AppName app(const char* name) { return {name, {}, {}, {}}; }

bool has(const std::vector<std::string>& log, const std::string& part) {
    return std::any_of(log.begin(), log.end(), [&](const std::string& line) {
        return line.find(part) != std::string::npos;
    });
}

// As if from the other member, through relays.
void say(Two& t, CdapMessage outer, Address source, Address destination) {
    rina::Pci pci;
    pci.type = static_cast<std::uint8_t>(rina::PduType::management);
    pci.source = source;
    pci.destination = destination;
    t.ends[0]->received(t.now, kFlow, pci, rina::encode(outer));
    t.exchange();
}
CdapMessage a_data(rina::ObjValue value, OpCode op = OpCode::write) {
    CdapMessage m;
    m.op = op;
    m.version = 1;
    m.obj_class = rina::rib::kAData.obj_class;
    m.obj_name = rina::rib::kAData.obj_name;
    m.value = std::move(value);
    return m;
}
CdapMessage inner(OpCode op, std::string_view obj_class) {
    CdapMessage m;
    m.op = op;
    m.invoke_id = 3;
    m.version = 1;
    m.obj_class = obj_class;
    m.obj_name = "/mgmt/x";
    return m;
}

TEST_CASE("Who has other widths does not join, and says which", "[ipcp]") {
    struct Case {
        std::uint8_t rina::PciFormat::* field;
        std::uint8_t width;
        const char* text;
    };
    const auto [field, width, text] = GENERATE(values<Case>(
        {{&rina::PciFormat::address, 8, "addresses of 4 bytes there, 8 here"},
         {&rina::PciFormat::sequence, 8, "sequence numbers of 4 bytes there, 8 here"},
         {&rina::PciFormat::length, 4, "lengths of 2 bytes there, 4 here"},
         {&rina::PciFormat::cep, 4, "CEP-ids of 2 bytes there, 4 here"},
         {&rina::PciFormat::qos, 1, "QoS-ids of 2 bytes there, 1 here"}}));
    IpcpConfig other = config_of("b.IPCP");
    other.format.*field = width;
    Two t(config_of("a.IPCP", true), other);
    t.begin();
    t.run(Duration::seconds(9));
    CHECK_FALSE(t.ends[1]->is_member());
    CHECK(has(t.log[1], std::string("constants of the DIF do not fit: ") + text));
}

TEST_CASE("Control PDUs count in the DIF's width, or nobody joins", "[ipcp]") {
    Two t;
    t.alter = [](std::size_t, CdapMessage& m) {
        if (m.op != OpCode::start_r) return;
        auto object = rina::object_of(m);
        REQUIRE(object);
        auto info = std::get<rina::EnrollmentInfo>(*object);
        info.constants->control_sequence_width = 2;
        m.value = rina::value_of(info);
    };
    t.begin();
    t.run(Duration::seconds(9));
    CHECK_FALSE(t.ends[1]->is_member());
    CHECK(has(t.log[1], "control sequence numbers of 2 bytes there, 4 here"));
}

TEST_CASE("An application may refuse a flow", "[ipcp]") {
    Two t;
    t.join();
    t.ends[0]->register_application(t.now, app("server"));
    t.exchange();
    REQUIRE(t.ends[1]->allocate_flow(t.now, app("client"), app("server"), {}, 1));
    t.exchange();
    REQUIRE(t.asked.size() == 1);
    REQUIRE(t.ends[0]->refuse_flow(t.now, t.asked[0]));
    t.exchange();
    CHECK(has(t.log[1], "flow failed: the application refused the flow"));
    CHECK(t.ends[0]->refuse_flow(t.now, t.asked[0]).error().code == ENOENT);
    CHECK(t.ends[0]->flows().flows() + t.ends[1]->flows().flows() == 0);
}

TEST_CASE("Who is no member hears nothing from members", "[ipcp]") {
    Two t(config_of("a.IPCP"));
    const rina::AData data{Address{2}, Address{1}, inner(OpCode::create, "flow")};
    say(t, a_data(rina::value_of(data)), Address{2}, Address{1});
    CHECK(t.ends[0]->drops(IpcpDrop::no_member) == 1);
}

TEST_CASE("Messages between members that make no sense are counted", "[ipcp]") {
    Two t;
    t.join();
    const Address us = t.ends[0]->address(), them = t.ends[1]->address();
    const auto data = [&](const CdapMessage& m) {
        return rina::value_of(rina::AData{them, us, m});
    };
    SECTION("no A_DATA") {
        say(t, a_data(rina::Bytes{std::byte{0xff}}), them, us);
        say(t, a_data(data(inner(OpCode::create, "flow")), OpCode::create), them, us);
        CdapMessage other = a_data(data(inner(OpCode::create, "flow")));
        other.obj_class = rina::rib::kDft.obj_class;
        other.obj_name = rina::rib::kDft.obj_name;
        say(t, other, them, us);
        CHECK(t.ends[0]->drops(IpcpDrop::bad_object) == 3);
    }
    SECTION("for somebody else") {
        const rina::AData astray{them, Address{77}, inner(OpCode::create, "flow")};
        say(t, a_data(rina::value_of(astray)), them, us);
        CHECK(t.ends[0]->drops(IpcpDrop::forged_source) == 1);
    }
    SECTION("an objection to nothing") {
        CdapMessage m = inner(OpCode::remove, rina::rib::kAddressClaim.obj_class);
        m.obj_name = rina::rib::kAddressClaim.obj_name;
        say(t, a_data(data(m)), them, us);
        m.value = rina::Bytes{std::byte{0xff}};
        say(t, a_data(data(m)), them, us);
        CHECK(t.ends[0]->drops(IpcpDrop::bad_object) == 2);
    }
    SECTION("an operation or a class that the object does not have") {
        t.write(1, {rina::rib::kDft.obj_class, rina::rib::kNeighbors.obj_name}, rina::Bytes{});
        t.write(1, rina::rib::kNeighbors, rina::Bytes{});
        CHECK(t.ends[0]->drops(IpcpDrop::not_allowed) == 2);
        t.write(1, {"x", "/mgmt/x"}, rina::Bytes{});
        CHECK(t.ends[0]->drops(IpcpDrop::unknown_object) == 1);
    }
    SECTION("digests that are none") {
        t.write(1, kDigestObject, rina::Bytes(36));
        t.write(1, kDigestObject, std::string("digest"));
        CHECK(t.ends[0]->drops(IpcpDrop::bad_object) == 2);
    }
    CHECK(t.ends[0]->address() == us);
    CHECK(t.ends[0]->flows().flows() == 0);
}

TEST_CASE("A neighbour that is lost is called as often as was asked for", "[ipcp]") {
    Two t;
    t.join();
    t.ends[1]->flow_down(t.now, kFlow);
    t.exchange();
    t.log[1].clear();
    t.run(Duration::seconds(4));
    CHECK(t.log[1].empty());
    // Six seconds before it is due, it is due four seconds sooner.
    REQUIRE(t.set(1, "enrollment", "reconnect_ms", "6000"));
    t.run(Duration::seconds(1));
    CHECK(t.log[1].empty());
    t.run(Duration::seconds(1));
    CHECK(t.log[1] == std::vector<std::string>{"calls a.IPCP"});
    // Its own answer puts the next call off.
    t.run(Duration::seconds(3));
    t.ends[1]->flow_failed(t.now, "e.DIF", "a.IPCP");
    t.exchange();
    CHECK(t.log[1].back() == "down a.IPCP there is no flow to it");
    t.log[1].clear();
    t.run(Duration::milliseconds(5999));
    CHECK(t.log[1].empty());
    t.run(Duration::milliseconds(1));
    CHECK(t.log[1] == std::vector<std::string>{"calls a.IPCP"});
    t.log[1].clear();
    REQUIRE(t.set(1, "enrollment", "reconnect_ms", "0"));
    t.run(Duration::seconds(100));
    CHECK_FALSE(has(t.log[1], "calls"));
    // Of whom nothing was lost, it is only said.
    t.ends[1]->flow_failed(t.now, "e.DIF", "c.IPCP");
    t.exchange();
    CHECK(t.log[1].back() == "down c.IPCP there is no flow to it");
}

TEST_CASE("QoS cubes take what a cube can be, and no more", "[parameters]") {
    Two t;
    const auto error = [&](const char* name, const char* value) -> std::string {
        const auto done = t.set(0, "qos-cubes", name, value);
        return done ? "" : done.error().message;
    };
    for (const char* value : {"0", "1", "unset"}) {
        CHECK(error("best-effort.in_order", value).empty());
        CHECK(value_of(*t.ends[0], "qos-cubes", "best-effort.in_order") == value);
    }
    CHECK_THAT(error("best-effort.in_order", "2"), Catch::Contains("expected unset (as asked)"));
    CHECK(error("best-effort.delay_us", "4294967295").empty());
    CHECK_THAT(error("best-effort.delay_us", "4294967296"), Catch::Contains("4294967295"));
    CHECK_THAT(error("best-effort.delay_us", "-1"), Catch::Contains("4294967295"));
    CHECK(error("best-effort.sdu_gap_max", "0").empty());
    CHECK_THAT(error("best-effort.sdu_gap_max", "x"), Catch::Contains("-1 (any)"));
    CHECK_THAT(error("best-effort.sdu_gap_max", "-1x"), Catch::Contains("-1 (any)"));
    CHECK_THAT(error("best-effort.sdu_gap_max", "18446744073709551615"),
               Catch::Contains("-1 (any)"));
    CHECK_THAT(error("best-effort.id", "5"), Catch::Contains("cannot be changed"));
    CHECK_THAT(error("best-effort.colour", "5"), Catch::Contains("best-effort.jitter_us"));
    CHECK_THAT(error("best-effort", "5"), Catch::Contains("no parameter 'best-effort'"));
    CHECK_THAT(error("", "5"), Catch::Contains("expected one of best-effort.delay_us"));
    // No value is the value that a cube comes with.
    CHECK(error("best-effort.delay_us", "").empty());
    CHECK(value_of(*t.ends[0], "qos-cubes", "best-effort.delay_us") == "unset");
}

TEST_CASE("Parameters of EFCP that do not go together are refused whole", "[parameters]") {
    IpcpConfig narrow = config_of("a.IPCP", true);
    narrow.format.sequence = 1;
    narrow.flows.policies.window.initial_credit = 100;
    Two t(narrow);
    const auto done = t.set(0, "efcp", "credit", "127");
    REQUIRE_FALSE(done);
    CHECK_THAT(done.error().message, Catch::Contains("at most 126"));
    CHECK(value_of(*t.ends[0], "efcp", "credit") == "100");
}

TEST_CASE("The objects of an IPC process are there to look at", "[ipcp]") {
    Two t;
    std::vector<std::string> names;
    for (const Rib::View& object : t.ends[0]->rib().objects()) {
        names.emplace_back(object.name);
        CHECK_FALSE(object.help.empty());
    }
    for (const rina::RibName known : {rina::rib::kNeighbors, rina::rib::kRouting, rina::rib::kDft})
        CHECK(std::find(names.begin(), names.end(), known.obj_name) != names.end());
}

TEST_CASE("What was lost between two members is told again", "[ipcp]") {
    Two t;
    t.join();
    t.run(Duration::seconds(60));
    const std::uint64_t before =
        t.ends[0]->tables_told_again() + t.ends[1]->tables_told_again();
    t.cut = true;
    t.ends[0]->register_application(t.now, app("server"));
    t.exchange();
    t.cut = false;
    t.run(Duration::seconds(60));
    CHECK(t.ends[0]->tables_told_again() + t.ends[1]->tables_told_again() > before);
    CHECK(t.ends[1]->allocate_flow(t.now, app("client"), app("server"), {}, 1));
}

TEST_CASE("Names and addresses that a configuration may not have", "[ipcp]") {
    IpcpConfig c = config_of("a.IPCP");
    c.dif = "n\nDIF";
    CHECK_FALSE(Ipcp::create(Instant{1}, c));
    c = config_of("a.IPCP");
    c.format.address = 8;
    c.address = Address{~std::uint64_t{0}};
    CHECK(Ipcp::create(Instant{1}, c));
}

}  // namespace
}  // namespace sluice::mgmt
