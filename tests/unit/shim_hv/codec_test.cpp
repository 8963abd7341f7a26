#include <array>
#include <catch2/catch.hpp>
#include <memory>

#include "../bytes.hpp"
#include "rina/names.hpp"
#include "rina/vmpi.hpp"

using namespace sluice;
using namespace sluice::rina;
using namespace sluice::rina::vmpi;
using sluice::test::Bytes;
using sluice::test::from_hex;
using sluice::test::to_hex;

namespace {

// Every test below fixes both directions: these bytes are what is sent, and what is understood.
void check_golden(const Message& message, const std::string& hex) {
    std::array<std::byte, 600> buffer{};
    const std::size_t size = encode(message, buffer);
    REQUIRE(to_hex(std::span(buffer).first(size)) == to_hex(from_hex(hex)));
    Message parsed;
    const Bytes bytes = from_hex(hex);
    REQUIRE(parse(bytes, parsed) == ParseError::none);
    CHECK(parsed == message);
    Bytes padded = bytes;
    padded.resize(bytes.size() + 30);
    REQUIRE(parse(padded, parsed) == ParseError::none);
    CHECK(parsed == message);
    // Cut at any place it is refused, and nothing behind the end is read (ASan looks: the bytes
    // stand in an allocation of exactly their size).
    for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
        const auto exact = std::make_unique<std::byte[]>(cut);
        std::copy_n(bytes.begin(), cut, exact.get());
        CHECK(parse({exact.get(), cut}, parsed) != ParseError::none);
    }
    for (std::size_t room = 0; room < bytes.size(); ++room)
        CHECK(encode(message, std::span(buffer).first(room)) == 0);
}

void check_golden(const IratiMessage& message, const std::string& hex) {
    std::array<std::byte, 2100> buffer{};
    const std::size_t size = encode_irati(message, buffer);
    REQUIRE(to_hex(std::span(buffer).first(size)) == to_hex(from_hex(hex)));
    IratiMessage parsed;
    const Bytes bytes = from_hex(hex);
    REQUIRE(parse_irati(bytes, parsed) == ParseError::none);
    CHECK(parsed == message);
    Bytes padded = bytes;
    padded.resize(bytes.size() + 30);
    REQUIRE(parse_irati(padded, parsed) == ParseError::none);
    CHECK(parsed == message);
    for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
        const auto exact = std::make_unique<std::byte[]>(cut);
        std::copy_n(bytes.begin(), cut, exact.get());
        CHECK(parse_irati({exact.get(), cut}, parsed) != ParseError::none);
    }
}

Message message_of(Type type) {
    Message m;
    m.type = type;
    m.epoch = 0x1817161514131211;
    m.peer_epoch = 0x2827262524232221;
    m.transaction = 0x34333231;
    return m;
}

// version, length, both epochs, transaction
std::string common(const std::string& type, const std::string& length) {
    return type + "01" + length + "1112131415161718 2122232425262728 31323334";
}

}  // namespace

TEST_CASE("HELLO has these bytes", "[codec]") {
    Message m = message_of(Type::hello);
    m.transaction = 0;
    m.hello = {0x4847464544434241, 0x5857565554535251, 0x6867666564636261, 0x7877767574737271,
               9000, 255, 2048, 1, 1, Role::frontend};
    check_golden(m,
                 "01 01 4800 1112131415161718 2122232425262728 00000000"
                 "4142434445464748 5152535455565758 6162636465666768 7172737475767778"
                 "28230000 ff000000 00080000 01 01 01 00");
}

TEST_CASE("messages about a flow have these bytes", "[codec]") {
    Message m = message_of(Type::allocate_req);
    m.channel = 0x00030201;
    m.generation = 0x7f;
    m.source = "a///";
    m.destination = "bc/1//";
    check_golden(m, common("02", "2c00") + "01020300 7f 00 0400 0600 612f2f2f 62632f312f2f");

    m = message_of(Type::allocate_pending);
    m.channel = 5;
    m.generation = 9;
    check_golden(m, common("03", "1d00") + "05000000 09");
    m.type = Type::deallocate_ack;
    check_golden(m, common("06", "1d00") + "05000000 09");
    m.type = Type::allocate_resp;
    m.code = 2;
    check_golden(m, common("04", "1e00") + "05000000 09 02");
    m.type = Type::deallocate;
    m.code = 7;
    check_golden(m, common("05", "1e00") + "05000000 09 07");
}

TEST_CASE("credit and keepalive have these bytes", "[codec]") {
    Message m = message_of(Type::credit);
    m.channel = 5;
    m.generation = 9;
    m.units = 0x0807060504030201;
    check_golden(m, common("07", "2500") + "05000000 09 0102030405060708");
    m.type = Type::credit_probe;
    check_golden(m, common("08", "2500") + "05000000 09 0102030405060708");
    check_golden(message_of(Type::keepalive), common("09", "1800"));
    check_golden(message_of(Type::keepalive_ack), common("0a", "1800"));
}

TEST_CASE("irati messages have the bytes of the older shim", "[codec][irati]") {
    IratiMessage m;
    m.command = IratiCommand::allocate_req;
    m.channel = 0x04030201;
    m.source = "rinaperf/1/client/";
    m.destination = "rinaperf///";
    check_golden(m, "00 01020304 72696e61706572662f312f636c69656e742f00 72696e61706572662f2f2f00");
    m = {};
    m.command = IratiCommand::allocate_resp;
    m.channel = 63;
    m.accepted = true;
    check_golden(m, "01 3f000000 00");
    m.accepted = false;
    check_golden(m, "01 3f000000 01");
    m = {};
    m.command = IratiCommand::deallocate;
    m.channel = 1;
    check_golden(m, "02 01000000");
}

TEST_CASE("what breaks the grammar is refused with its reason", "[codec]") {
    Message m = message_of(Type::allocate_req);
    m.channel = 1;
    m.source = "a";
    m.destination = "b";
    std::array<std::byte, 600> buffer{};
    const std::size_t size = encode(m, buffer);
    const Bytes good(buffer.begin(), buffer.begin() + static_cast<long>(size));
    const auto with = [&](std::size_t at, int value) {
        Bytes bytes = good;
        bytes[at] = static_cast<std::byte>(value);
        Message out;
        return parse(bytes, out);
    };
    CHECK(with(0, 0) == ParseError::bad_type);
    CHECK(with(0, 11) == ParseError::bad_type);
    CHECK(with(1, 2) == ParseError::bad_version);
    CHECK(with(2, 0xff) == ParseError::truncated);
    CHECK(with(2, 35) == ParseError::bad_length);
    CHECK(with(28, 0x80) == ParseError::bad_field);
    CHECK(with(30, 2) == ParseError::bad_length);
    CHECK(with(31, 1) == ParseError::bad_name);
    CHECK(with(34, 0) == ParseError::bad_name);
    Bytes zero_epoch = good;
    std::fill_n(zero_epoch.begin() + 4, 8, std::byte{0});
    CHECK(parse(zero_epoch, m) == ParseError::bad_field);

    m.source = "";
    CHECK(encode(m, buffer) == 0);
    const std::string long_name(256, 'x');
    m.source = long_name;
    CHECK(encode(m, buffer) == 0);
}

TEST_CASE("a HELLO of a later version is understood as far as we know it", "[codec]") {
    Message m = message_of(Type::hello);
    m.version = 7;
    m.hello.max_version = 7;
    m.hello.max_channels = 1;
    m.hello.credit_unit = 64;
    std::array<std::byte, 80> buffer{};
    REQUIRE(encode(m, buffer) == kHelloBytes);
    store_le16(buffer.data() + 2, 80);
    Message out;
    REQUIRE(parse(buffer, out) == ParseError::none);
    CHECK(out.hello == m.hello);
    store_le32(buffer.data() + 64, 3);  // no power of two
    CHECK(parse(buffer, out) == ParseError::bad_field);
}

TEST_CASE("irati strings end inside of the message or it is refused", "[codec][irati]") {
    IratiMessage out;
    CHECK(parse_irati(from_hex("00 01000000 6100 62"), out) == ParseError::bad_name);
    CHECK(parse_irati(from_hex("00 01000000 00 6200"), out) == ParseError::bad_name);
    CHECK(parse_irati(from_hex("03 01000000"), out) == ParseError::bad_type);
    Bytes long_request = from_hex("00 01000000");
    long_request.resize(1900, std::byte{'a'});
    long_request.push_back(std::byte{0});
    long_request.resize(1998, std::byte{'b'});
    long_request.push_back(std::byte{0});
    REQUIRE(long_request.size() == 1999);
    CHECK(parse_irati(long_request, out) == ParseError::none);
    long_request.insert(long_request.begin() + 10, std::byte{'a'});
    CHECK(parse_irati(long_request, out) == ParseError::bad_name);
}

TEST_CASE("channel words and short frames", "[codec]") {
    static_assert(channel_word(0x123456, 0x7f) == 0x7f123456);
    static_assert(channel_of(0xff123456) == 0x123456);
    static_assert(generation_of(0xff123456) == 0x7f);
    static_assert(frame_bytes(0) == 14 && frame_bytes(9) == 14 && frame_bytes(10) == 14 &&
                  frame_bytes(11) == 15);
    Bytes frame = from_hex("ffffffff 616263 ffffffffffffff");
    seal_frame(frame.data(), channel_word(2, 3), 3);
    CHECK(to_hex(frame) == "02000083616263000000000000" "03");
    frame = from_hex("ffffffff 61626364656667686970");
    seal_frame(frame.data(), channel_word(2, 3), 10);
    CHECK(to_hex(frame) == "0200000361626364656667686970");
}

TEST_CASE("costs count every buffer that a message can fill", "[codec]") {
    CHECK(credit_cost(0, 11) == 1);
    CHECK(credit_cost(2044, 11) == 1);
    CHECK(credit_cost(2045, 11) == 2);
    CHECK(credit_cost(65000, 11) == 32);
    CHECK(credit_cost(65532, 11) == 32);
    CHECK(credit_cost(65533, 11) == 33);
    CHECK(is_credit_unit(2048));
    CHECK_FALSE(is_credit_unit(0));
    CHECK_FALSE(is_credit_unit(3000));
}

TEST_CASE("application names", "[names]") {
    const auto name = AppName::parse("rinaperf|1|client");
    REQUIRE(name);
    CHECK(name->process == "rinaperf");
    CHECK(name->entity == "client");
    CHECK(name->wire() == "rinaperf/1/client/");
    CHECK(name->to_string() == "rinaperf/1/client");
    CHECK(AppName::parse("a")->wire() == "a///");
    CHECK(*AppName::parse("a///") == *AppName::parse("a"));
    CHECK_FALSE(AppName::parse(""));
    CHECK_FALSE(AppName::parse("/1"));
    CHECK_FALSE(AppName::parse("a/b/c/d/e"));
    CHECK_FALSE(AppName::parse("a\x1b[2J"));
    CHECK(AppName::parse(std::string(252, 'x')));
    CHECK_FALSE(AppName::parse(std::string(253, 'x')));
    for (std::uint8_t i = 0; i < kReasonCount; ++i)
        CHECK(to_string(reason_from_wire(i, Reason::ok)) != "unknown");
    CHECK(reason_from_wire(15, Reason::closed_by_peer) == Reason::closed_by_peer);
}
