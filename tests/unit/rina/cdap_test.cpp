#include "rina/cdap.hpp"

#include <array>
#include <catch2/catch.hpp>

#include "../bytes.hpp"
#include "rina/objects.hpp"

using namespace sluice;
using namespace sluice::rina;
using sluice::test::from_hex;
using sluice::test::from_text;
using sluice::test::to_hex;

namespace {

CdapMessage connect() {
    CdapMessage m;
    m.abs_syntax = kAbsSyntax;
    m.op = OpCode::connect;
    m.invoke_id = 2;
    m.destination.process = "a.IPCP";
    m.source.process = "b.IPCP";
    m.version = kCdapVersion;
    return m;
}

CdapMessage about(OpCode op) {
    CdapMessage m;
    m.op = op;
    m.invoke_id = 3;
    m.obj_class = "keepalive";
    m.obj_name = "/mgmt/keepalive";
    m.version = kCdapVersion;
    return m;
}

std::string error_of(const char* hex) {
    const auto message = decode_cdap(from_hex(hex));
    return message ? "none" : message.error().message;
}

std::string verdict(const CdapMessage& m) {
    const auto result = check(m);
    return result ? "" : result.error().message;
}

// M_CONNECT as rlite sends it.
const char* const kConnectHex =
    "0849 1000 1802 2000 2a00 3200 4800 9a0100 a20100 aa0100 b20106612e49504350"
    "ba0100 c20100 ca0100 d20106622e49504350 e00101";

}  // namespace

TEST_CASE("M_CONNECT as rlite sends it, and without what goes without saying") {
    const CdapMessage m = connect();
    CHECK(to_hex(encode(m)) == to_hex(from_hex(kConnectHex)));
    CHECK(*decode_cdap(from_hex(kConnectHex)) == m);
    const Bytes sparse = encode(m, Emission::sparse);
    CHECK(to_hex(sparse) ==
          to_hex(from_hex("0849 1000 1802 b20106612e49504350 d20106622e49504350 e00101")));
    CHECK(*decode_cdap(sparse) == m);
    CHECK(verdict(m).empty());
}

// Made from rlite's schema by hand and not by our writer.
TEST_CASE("every field has its number") {
    CdapMessage m;
    m.abs_syntax = 1;
    m.op = OpCode::read_r;
    m.invoke_id = 3;
    m.flags = CdapFlags::read_incomplete;
    m.obj_class = "c";
    m.obj_name = "n";
    m.obj_instance = 7;
    m.value = true;
    m.result = -1;
    m.scope = 10;
    m.filter = from_text("f");
    m.auth_mechanism = AuthMechanism::ssh_dsa;
    m.auth = {"a", "p", from_text("o")};
    m.destination = {"s22", "s21", "s20", "s19"};
    m.source = {"s26", "s25", "s24", "s23"};
    m.reason = "s27";
    m.version = 28;
    CHECK(to_hex(encode(m)) ==
          "08011009180320022a016332016e38074202480148ffffffffffffffffff01500a5a016688010392"
          "01090a01611201701a016f9a0103733139a20103733230aa0103733231b20103733232ba01037332"
          "33c20103733234ca0103733235d20103733236da0103733237e0011c");
}

TEST_CASE("every alternative of an object's value") {
    CdapMessage m = about(OpCode::write);
    const std::size_t before = encode(m, Emission::sparse).size() - 3;
    const auto value = [&m, before](ObjValue v) {
        m.value = std::move(v);
        const Bytes bytes = encode(m, Emission::sparse);
        const auto again = decode_cdap(bytes);
        REQUIRE(again);
        CHECK(again->value == m.value);
        CHECK(again->value.index() == m.value.index());
        return to_hex(std::span(bytes).subspan(before));
    };
    // Tag 8 of type bytes, its length, then the field of ObjValue, then version 1.
    CHECK(value(std::int32_t{300}) == "4203" "08ac02" "e00101");
    CHECK(value(std::int32_t{-1}) == "420b" "08ffffffffffffffffff01" "e00101");
    CHECK(value(std::int32_t{0}) == "4202" "0800" "e00101");
    CHECK(value(SInt<std::int32_t>{-1}) == "4202" "1001" "e00101");
    CHECK(value(SInt<std::int32_t>{INT32_MIN}) == "4206" "10ffffffff0f" "e00101");
    CHECK(value(std::int64_t{INT64_MIN}) == "420b" "1880808080808080808001" "e00101");
    CHECK(value(SInt<std::int64_t>{INT64_MAX}) == "420b" "20feffffffffffffffff01" "e00101");
    CHECK(value(SInt<std::int64_t>{INT64_MIN}) == "420b" "20ffffffffffffffffff01" "e00101");
    CHECK(value(std::string("hi")) == "4204" "2a026869" "e00101");
    CHECK(value(std::string()) == "4202" "2a00" "e00101");
    CHECK(value(from_hex("00ff")) == "4204" "320200ff" "e00101");
    CHECK(value(1.0f) == "4205" "3d0000803f" "e00101");
    CHECK(value(1.0) == "4209" "41000000000000f03f" "e00101");
    CHECK(value(true) == "4202" "4801" "e00101");
    CHECK(value(false) == "4202" "4800" "e00101");
}

TEST_CASE("what protobuf says of messages that nobody writes") {
    const auto read = [](const char* hex) { return *decode_cdap(from_hex(hex)); };
    SECTION("any order, and the last of a scalar") {
        CHECK(read("1807 100c 1809").op == OpCode::write);
        CHECK(read("1807 100c 1809").invoke_id == 9);
    }
    SECTION("unknown fields, groups among them, and known ones of another type") {
        const CdapMessage plain = read("1004 1809");
        CHECK(read("1004 1809 ba0603616263 c00601 c9060102030405060708 cd0601020304") == plain);
        CHECK(read("1004 1809 a306 0801 a406") == plain);
        CHECK(read("1004 1809 a306 ab06 ac06 a406") == plain);
        CHECK(read("1004 1809 2807") == plain);
        CHECK(read("1004 1809 1d00000000") == plain);
    }
    SECTION("numbers that are too wide lose their upper bits") {
        CHECK(read("1004 1889808080f0ffffffff01").invoke_id == 9);
        CHECK(read("1004 18ffffffff0f").invoke_id == -1);
    }
    SECTION("flags that this version does not know are none") {
        CHECK(read("1004 2002").flags == CdapFlags::read_incomplete);
        CHECK(read("1004 2003").flags == CdapFlags::none);
    }
    SECTION("a sub-message in two pieces is one") {
        const CdapMessage m = read("1000 9201030a0161 92010312 0162");
        CHECK(m.auth.name == "a");
        CHECK(m.auth.password == "b");
    }
    SECTION("of several values the last one") {
        CHECK(std::get<std::string>(read("100c 4205 0801 2a0161").value) == "a");
        CHECK(std::get<std::int32_t>(read("100c 4203 2a0161 4202 0801").value) == 1);
        CHECK(read("100c 4200").value.index() == 0);
    }
    SECTION("bytes that are no UTF-8") {
        CHECK(read("1004 2a02ff80").obj_class == "\xff\x80");
    }
}

TEST_CASE("what is no message, and where") {
    CHECK(error_of("") == "CDAPMessage.op_code: required, and missing (byte 0 of 0)");
    CHECK(error_of("0849") == "CDAPMessage.op_code: required, and missing (byte 2 of 2)");
    CHECK(error_of("1012") == "CDAPMessage.op_code: required, and missing (byte 2 of 2)");
    CHECK(error_of("1200") == "CDAPMessage.op_code: required, and missing (byte 2 of 2)");
    CHECK(error_of("1004 18") == "CDAPMessage: ends in the middle of a field (byte 3 of 3)");
    CHECK(error_of("1004 1880") == "CDAPMessage: ends in the middle of a field (byte 4 of 4)");
    CHECK(error_of("1004 2a05 61") ==
          "CDAPMessage: ends in the middle of a field (byte 4 of 5)");
    CHECK(error_of("1004 2affffffffffffffffff01 61") ==
          "CDAPMessage: ends in the middle of a field (byte 13 of 14)");
    CHECK(error_of("1004 18ffffffffffffffffffff01") ==
          "CDAPMessage: number of more than ten bytes (byte 13 of 14)");
    CHECK(error_of("1004 00") ==
          "CDAPMessage: field number or type that cannot be (byte 3 of 3)");
    CHECK(error_of("1004 0e") ==
          "CDAPMessage: field number or type that cannot be (byte 3 of 3)");
    CHECK(error_of("1004 888080808001 00") ==
          "CDAPMessage: field number or type that cannot be (byte 8 of 9)");
    CHECK(error_of("1004 a406") ==
          "CDAPMessage: group that does not end, or too deep (byte 4 of 4)");
    CHECK(error_of("1004 a306 ac06") ==
          "CDAPMessage: group that does not end, or too deep (byte 6 of 6)");
    CHECK(error_of("1004 a306") == "CDAPMessage: ends in the middle of a field (byte 4 of 4)");
    CHECK(error_of("1004 4203 2a0261") ==
          "ObjValue: ends in the middle of a field (byte 6 of 7)");
    CHECK(error_of("1004 2a0107") ==
          "CDAPMessage.obj_class: control character in text (byte 2 of 5)");
    CHECK(error_of("1004 4203 2a011b") ==
          "ObjValue.strval: control character in text (byte 4 of 7)");
    CHECK(error_of("1000 b20103617c62") ==
          "CDAPMessage.dest_ap_name: '|' within a part of a name (byte 2 of 8)");
    std::string groups = "1004";
    for (int i = 0; i < 17; ++i) groups += "a306";
    CHECK(error_of(groups.c_str()) ==
          "CDAPMessage: group that does not end, or too deep (byte 36 of 36)");
    CHECK(decode_cdap(Bytes(65536)).error().message ==
          "message of 65536 bytes, at most 65535 are read");
}

TEST_CASE("a buffer of the caller's") {
    const CdapMessage m = connect();
    const Bytes whole = encode(m);
    for (std::size_t room = 0; room <= whole.size() + 1; ++room) {
        Bytes buffer(room + 8, std::byte{0xee});
        REQUIRE(encode(m, std::span(buffer).first(room)) == whole.size());
        if (room >= whole.size()) CHECK(std::equal(whole.begin(), whole.end(), buffer.begin()));
        for (std::size_t i = room; i < buffer.size(); ++i) REQUIRE(buffer[i] == std::byte{0xee});
    }
}

TEST_CASE("sub-messages around the lengths where a length takes more bytes") {
    for (const std::size_t size : {125u, 126u, 127u, 128u, 511u, 16379u, 16380u, 16384u, 60000u}) {
        CdapMessage m = about(OpCode::write);
        m.value = Bytes(size, std::byte{0x5a});
        const Bytes bytes = encode(m);
        REQUIRE(decode_cdap(bytes));
        CHECK(*decode_cdap(bytes) == m);
        for (const std::size_t room : {bytes.size() - 1, bytes.size() - 2, bytes.size()}) {
            Bytes buffer(bytes.size() + 8, std::byte{0xee});
            CHECK(encode(m, std::span(buffer).first(room)) == bytes.size());
            CHECK(buffer[room] == std::byte{0xee});
        }
    }
}

TEST_CASE("what rlite's receiver asks for") {
    CHECK(verdict(about(OpCode::read)).empty());
    CHECK(verdict(about(OpCode::read_r)).empty());
    const auto with = [](CdapMessage m, auto change) {
        change(m);
        return verdict(m);
    };
    CHECK(with(connect(), [](auto& m) { m.abs_syntax = 0; }) == "M_CONNECT without abs_syntax");
    CHECK(with(connect(), [](auto& m) { m.invoke_id = 0; }) == "M_CONNECT without invoke_id");
    CHECK(with(connect(), [](auto& m) { m.version = 0; }) == "M_CONNECT without version");
    CHECK(with(connect(), [](auto& m) { m.source = {}; }) == "M_CONNECT without src_ap_name");
    CHECK(with(connect(), [](auto& m) { m.destination = {}; }) ==
          "M_CONNECT without dest_ap_name");
    CHECK(with(connect(), [](auto& m) { m.obj_class = "a"; }) ==
          "M_CONNECT with obj_class, which it must not have");
    CHECK(with(connect(), [](auto& m) { m.value = true; }) ==
          "M_CONNECT with obj_value, which it must not have");
    CHECK(with(connect(), [](auto& m) { m.result = -1; }) ==
          "M_CONNECT with result, which it must not have");
    CHECK(with(connect(), [](auto& m) {
              m.op = OpCode::connect_r;
              m.result = -1;
              m.reason = "full";
              m.auth_mechanism = AuthMechanism::password;
          }).empty());
    CHECK(with(about(OpCode::create), [](auto& m) { m.abs_syntax = 73; }) ==
          "M_CREATE with abs_syntax, which it must not have");
    CHECK(with(about(OpCode::create), [](auto& m) { m.source.process = "a"; }) ==
          "M_CREATE with src_ap_name, which it must not have");
    CHECK(with(about(OpCode::create), [](auto& m) { m.auth.name = "a"; }) ==
          "M_CREATE with auth_value, which it must not have");
    CHECK(with(about(OpCode::create), [](auto& m) { m.reason = "a"; }) ==
          "M_CREATE with result_reason, which it must not have");
    CHECK(with(about(OpCode::create), [](auto& m) { m.invoke_id = 0; }).empty());
    CHECK(with(about(OpCode::create_r), [](auto& m) { m.invoke_id = 0; }) ==
          "M_CREATE_R without invoke_id");
    CHECK(with(CdapMessage(), [](auto& m) { m.op = OpCode::cancel_read; }) ==
          "M_CANCELREAD without invoke_id");
    CHECK(with(about(OpCode::create_r), [](auto& m) { m.scope = 1; }) ==
          "M_CREATE_R with scope, which it must not have");
    CHECK(with(about(OpCode::read), [](auto& m) { m.scope = 1; }).empty());
    CHECK(with(about(OpCode::read_r), [](auto& m) { m.filter = from_text("x"); }) ==
          "M_READ_R with filter, which it must not have");
    CHECK(with(about(OpCode::write), [](auto&) {}) == "M_WRITE without obj_value");
    CHECK(with(about(OpCode::write), [](auto& m) { m.value = false; }).empty());
    CHECK(with(about(OpCode::remove_r), [](auto& m) { m.value = false; }) ==
          "M_DELETE_R with obj_value, which it must not have");
    CHECK(with(about(OpCode::start), [](auto& m) { m.obj_name.clear(); }) ==
          "M_START with one of obj_class and obj_name; expected both or none");
    CHECK(with(about(OpCode::release), [](auto&) {}) ==
          "M_RELEASE with obj_class, which it must not have");
}

TEST_CASE("operations") {
    CHECK(to_string(OpCode::connect) == "M_CONNECT");
    CHECK(to_string(OpCode::remove) == "M_DELETE");
    CHECK(to_string(OpCode::stop_r) == "M_STOP_R");
    CHECK(response_to(OpCode::create) == OpCode::create_r);
    CHECK(is_response(OpCode::create_r));
    CHECK_FALSE(is_response(OpCode::create));
}
