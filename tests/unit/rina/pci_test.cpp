#include "rina/pci.hpp"

#include <catch2/catch.hpp>

#include "../bytes.hpp"
#include "rina/inet_checksum.hpp"

using namespace sluice;
using namespace sluice::rina;
using sluice::test::Bytes;
using sluice::test::from_hex;
using sluice::test::to_hex;

namespace {

// As rlite sends them: a data PDU of 30 bytes with a DRF, and an ACK with credit.
const char* const kData =
    "00 80 8000 0000 4000 00000000 01000000 03000000 0100 0100 1e00 0000 0000";
const char* const kAck =
    "00 cc 0000 0000 4000 01000000 01000000 03000000 0100 0100 3400 0000"
    "01000000 02000000 02020000 02000000 03000000 03020000";

PciError parse_all(const Bytes& frame, const PciFormat& format, Pci& out) {
    return parse(frame, frame.size(), format, out);
}

}  // namespace

TEST_CASE("a data PDU of rlite is read and written") {
    const Bytes frame = from_hex(kData);
    Pci pci;
    REQUIRE(parse_all(frame, kDefaultFormat, pci) == PciError::none);
    CHECK(pci.type == static_cast<std::uint8_t>(PduType::data));
    CHECK(pci.flags == pci_flag::kDrf);
    CHECK(pci.ttl == 64);
    CHECK(pci.sequence == 0);
    CHECK(pci.destination == Address{1});
    CHECK(pci.source == Address{3});
    CHECK(pci.destination_cep == CepId{1});
    CHECK(pci.source_cep == CepId{1});
    CHECK(pci.length == 30);
    CHECK(pci.qos == QosId{0});
    Bytes again(kDefaultFormat.bytes());
    write(pci, kDefaultFormat, again.data());
    CHECK(to_hex(again) == to_hex(std::span(frame).first(28)));
}

TEST_CASE("a control PDU of rlite is read and written") {
    const Bytes frame = from_hex(kAck);
    Pci pci;
    REQUIRE(parse_all(frame, kDefaultFormat, pci) == PciError::none);
    CHECK(is_control(pci.type));
    const ControlPdu control = parse_control(frame, kDefaultFormat);
    CHECK(control == ControlPdu{1, 2, 514, 2, 3, 515});
    Bytes again(kDefaultFormat.control_bytes());
    write(pci, kDefaultFormat, again.data());
    write_control(control, kDefaultFormat, again.data());
    CHECK(again == frame);
}

TEST_CASE("what is no PDU is said") {
    Pci pci;
    Bytes frame = from_hex(kData);
    const auto with = [&](std::size_t at, unsigned value) {
        Bytes changed = frame;
        changed[at] = static_cast<std::byte>(value);
        return parse_all(changed, kDefaultFormat, pci);
    };
    for (std::size_t size = 0; size < 28; ++size)
        CHECK(parse_all(Bytes(frame.begin(), frame.begin() + static_cast<long>(size)),
                        kDefaultFormat, pci) == PciError::short_header);
    CHECK(with(24, 27) == PciError::short_length);
    CHECK(with(24, 28) == PciError::none);
    CHECK(with(24, 31) == PciError::long_length);
    CHECK(with(25, 1) == PciError::long_length);
    CHECK(with(1, 0x00) == PciError::unknown_type);
    CHECK(with(1, 0x81) == PciError::unknown_type);
    CHECK(with(1, 0x40) == PciError::none);
    CHECK(with(1, 0xcc) == PciError::short_control);
    frame = from_hex(kAck);
    CHECK(with(24, 51) == PciError::short_control);
    // Padding that a link added.
    frame.resize(60);
    REQUIRE(parse_all(frame, kDefaultFormat, pci) == PciError::none);
    CHECK(pci.length == 52);
    // Only the head is here, and the frame is long enough.
    CHECK(parse(std::span(frame).first(28), 60, kDefaultFormat, pci) == PciError::none);
}

TEST_CASE("formats") {
    CHECK(check(kDefaultFormat));
    CHECK(check(kWideFormat));
    CHECK(check(PciFormat{8, 8, 4, 8, 8}));
    CHECK(check(PciFormat{2, 1, 1, 2, 1}));
    const auto message = [](const PciFormat& format) {
        const auto result = check(format);
        return result ? std::string() : result.error().message;
    };
    CHECK(message({3, 4, 2, 2, 2}) ==
          "PCI format: sequence numbers of 3 bytes; expected 1, 2, 4 or 8");
    CHECK(message({4, 0, 2, 2, 2}) == "PCI format: addresses of 0 bytes; expected 1, 2, 4 or 8");
    CHECK(message({4, 4, 8, 2, 2}) == "PCI format: CEP-ids of 8 bytes; expected at most 4");
    CHECK(message({4, 4, 2, 16, 2}) ==
          "PCI format: the PDU length of 16 bytes; expected 1, 2, 4 or 8");
    CHECK(message({4, 4, 2, 2, 5}) == "PCI format: QoS-ids of 5 bytes; expected 1, 2, 4 or 8");
}

TEST_CASE("wide fields lie one behind the other") {
    Pci pci;
    pci.sequence = 0x0102030405060708;
    pci.destination = Address{0x1112131415161718};
    pci.source = Address{0x2122232425262728};
    pci.destination_cep = CepId{0x31323334};
    pci.source_cep = CepId{0x41424344};
    pci.length = 52;
    pci.qos = QosId{0x6162};
    const PciFormat format{8, 8, 4, 4, 2};
    Bytes frame(52);
    write(pci, format, frame.data());
    CHECK(to_hex(std::span(frame).first(format.bytes())) ==
          "0080000000004000"
          "0807060504030201"
          "1817161514131211"
          "2827262524232221"
          "34333231"
          "44434241"
          "34000000"
          "6261");
    Pci again;
    REQUIRE(parse_all(frame, format, again) == PciError::none);
    CHECK(again == pci);
}

TEST_CASE("the checksum of RFC 1071") {
    // The example of its section 3, in network order there; here a word's bytes are swapped.
    CHECK(inet_sum(from_hex("0001 f203 f4f5 f6f7")) == 0xf2dd);
    CHECK(inet_sum(from_hex("0001 f203 f4f5 f6f7 0c")) == 0xf2e9);
    CHECK(inet_sum({}) == 0);
    CHECK(inet_sum(from_hex("ffff ffff ffff ffff ffff")) == 0xffff);
}

TEST_CASE("a relay keeps the checksum right") {
    Bytes pdu = from_hex(kData);
    pdu.pop_back();
    seal_inet_checksum(pdu);
    CHECK(has_inet_checksum(pdu));
    CHECK(inet_checksum(pdu) == detail::load<std::uint16_t>(pdu.data() + 4));
    for (unsigned ttl = 0; ttl <= 0xffff; ttl += 17) {
        rewrite_ttl(pdu.data(), static_cast<std::uint16_t>(ttl));
        REQUIRE(detail::load<std::uint16_t>(pdu.data() + 6) == ttl);
        REQUIRE(inet_checksum(pdu) == detail::load<std::uint16_t>(pdu.data() + 4));
        REQUIRE(has_inet_checksum(pdu));
    }
    for (std::size_t at = 0; at < pdu.size(); ++at) {
        Bytes broken = pdu;
        broken[at] ^= std::byte{0x10};
        CHECK_FALSE(has_inet_checksum(broken));
    }
    // The corner of RFC 1624, section 3: a sum that becomes 0xffff leaves a checksum of 0.
    CHECK(adjust_inet_checksum(0xdd2f, 0x5555, 0x3285) == 0x0000);
}
