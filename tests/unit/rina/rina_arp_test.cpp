#include "rina/rina_arp.hpp"

#include <catch2/catch.hpp>

#include "../bytes.hpp"

using namespace sluice::rina;
using sluice::test::Bytes;
using sluice::test::from_hex;
using sluice::test::to_hex;

namespace {

// b.IPCP asks for a.IPCP, as rlite does.
const char* const kRequest =
    "0001 d1f0 06 06 0001 000a0a0a0a02 622e49504350 000000000000 612e49504350";

}  // namespace

TEST_CASE("a request of rlite") {
    const Bytes bytes = from_hex(kRequest);
    RinaArp arp;
    REQUIRE(parse(bytes, arp) == ArpError::none);
    CHECK(arp.operation == RinaArp::Operation::request);
    CHECK(arp.sender_mac == MacAddress{0x00, 0x0a, 0x0a, 0x0a, 0x0a, 0x02});
    CHECK(arp.sender == "b.IPCP");
    CHECK(arp.target_mac == MacAddress{});
    CHECK(arp.target == "a.IPCP");
    Bytes again(kRinaArpBytesMax);
    again.resize(write(arp, again));
    CHECK(to_hex(again) == to_hex(bytes));
    CHECK(write(arp, std::span(again).first(again.size() - 1)) == 0);
}

TEST_CASE("names of different lengths are padded") {
    RinaArp arp;
    arp.operation = RinaArp::Operation::reply;
    arp.sender = "a";
    arp.target = "bcd";
    Bytes bytes(kRinaArpBytesMax, std::byte{0xee});
    bytes.resize(write(arp, bytes));
    CHECK(to_hex(bytes) ==
          "0001d1f00603" "0002" "000000000000" "610000" "000000000000" "626364");
    RinaArp again;
    CHECK(parse(bytes, again) == ArpError::none);
    CHECK(again == arp);
    const std::string longest(255, 'n');
    arp.sender = longest;
    bytes.resize(kRinaArpBytesMax);
    CHECK(write(arp, bytes) == kRinaArpBytesMax);
    const std::string longer(256, 'n');
    arp.sender = longer;
    bytes.resize(1000);
    CHECK(write(arp, bytes) == 0);
}

TEST_CASE("what is no RINA-ARP") {
    const Bytes bytes = from_hex(kRequest);
    RinaArp arp;
    for (std::size_t size = 0; size < bytes.size(); ++size)
        CHECK(parse(std::span(bytes).first(size), arp) == ArpError::truncated);
    const auto with = [&](std::size_t at, unsigned value) {
        Bytes changed = bytes;
        changed[at] = static_cast<std::byte>(value);
        return parse(changed, arp);
    };
    CHECK(with(1, 6) == ArpError::other_protocol);
    CHECK(with(2, 8) == ArpError::other_protocol);
    CHECK(with(4, 8) == ArpError::other_protocol);
    CHECK(with(5, 7) == ArpError::truncated);
    CHECK(with(5, 255) == ArpError::truncated);
    CHECK(with(5, 0) == ArpError::bad_name);
    CHECK(with(7, 0) == ArpError::bad_operation);
    CHECK(with(7, 3) == ArpError::bad_operation);
    CHECK(with(6, 1) == ArpError::bad_operation);
    CHECK(with(15, 0) == ArpError::bad_name);
    CHECK(with(16, 0x1b) == ArpError::bad_name);
    CHECK(with(28, 0x0a) == ArpError::bad_name);
    // The padding of a short frame.
    Bytes padded = bytes;
    padded.resize(46);
    CHECK(parse(padded, arp) == ArpError::none);
    CHECK(arp.target == "a.IPCP");
}

TEST_CASE("who answers") {
    CHECK(names("a.IPCP", "a.IPCP"));
    CHECK(names("a.IPCP|1", "a.IPCP"));
    CHECK_FALSE(names("a.IPCP", "a.IPCP|1"));
    CHECK_FALSE(names("a.IPCP", "b.IPCP"));
    CHECK_FALSE(names("a.IPCP", ""));
}
