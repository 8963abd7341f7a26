#define CATCH_CONFIG_MAIN
#include <rapidcheck.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <typeinfo>

#include "rina/inet_checksum.hpp"
#include "rina/pci.hpp"
#include "rina/rina_arp.hpp"
#include "values.hpp"

using namespace sluice;
using namespace sluice::rina;
using namespace sluice::rina::prop;

namespace {

template <typename T>
Result<T> read(std::span<const std::byte> bytes) {
    if constexpr (std::is_same_v<T, CdapMessage>)
        return decode_cdap(bytes);
    else
        return decode<T>(bytes);
}

// Whether the fields of `bytes` come in ascending order: what a schema compiler's writer does, and
// what makes the same value the same bytes.
bool is_ascending(std::span<const std::byte> bytes) {
    std::uint64_t last = 0;
    std::size_t at = 0;
    const auto varint = [&] {
        std::uint64_t v = 0;
        for (unsigned shift = 0; at < bytes.size(); shift += 7) {
            const auto b = std::to_integer<std::uint64_t>(bytes[at++]);
            v |= (b & 0x7f) << shift;
            if (b < 0x80) break;
        }
        return v;
    };
    while (at < bytes.size()) {
        const std::uint64_t tag = varint();
        if ((tag >> 3) < last) return false;
        last = tag >> 3;
        switch (tag & 7) {
            case 0: varint(); break;
            case 1: at += 8; break;
            case 2: at += varint(); break;
            default: at += 4;
        }
    }
    return at == bytes.size();
}

template <typename T>
void round_trip() {
    const T value = any<T>();
    const Bytes full = encode(value);
    const Bytes sparse = encode(value, Emission::sparse);
    RC_ASSERT(sparse.size() <= full.size());
    RC_ASSERT(is_ascending(full));
    RC_ASSERT(is_ascending(sparse));
    const auto from_full = read<T>(full);
    const auto from_sparse = read<T>(sparse);
    RC_ASSERT(from_full.has_value());
    RC_ASSERT(*from_full == value);
    RC_ASSERT(from_sparse.has_value());
    RC_ASSERT(*from_sparse == value);
    // A buffer that is too small is not written past, and the size is the same.
    const auto room = *rc::gen::inRange<std::size_t>(0, full.size() + 1);
    Bytes buffer(full.size() + 1, std::byte{0xee});
    RC_ASSERT(encode(value, std::span(buffer).first(room)) == full.size());
    RC_ASSERT(std::count(buffer.begin() + static_cast<long>(room), buffer.end(),
                         std::byte{0xee}) == static_cast<long>(buffer.size() - room));
}

// What is cut, changed or enlarged is read or refused; what is read has a stable meaning.
template <typename T>
void mutated() {
    Bytes bytes = encode(any<T>());
    const auto changes = *rc::gen::inRange(1, 4);
    for (int i = 0; i < changes && !bytes.empty(); ++i) {
        const auto at = *rc::gen::inRange<std::size_t>(0, bytes.size());
        const auto byte = static_cast<std::byte>(*rc::gen::arbitrary<std::uint8_t>());
        switch (*rc::gen::inRange(0, 4)) {
            case 0: bytes.resize(at); break;
            case 1: bytes.insert(bytes.begin() + static_cast<long>(at), byte); break;
            default: bytes[at] = byte;
        }
    }
    const auto value = read<T>(bytes);
    if (!value) {
        RC_ASSERT(value.error().code == EBADMSG);
        RC_ASSERT(!value.error().message.empty());
        return;
    }
    const Bytes again = encode(*value);
    const auto second = read<T>(again);
    RC_ASSERT(second.has_value());
    RC_ASSERT(encode(*second) == again);
}

template <typename T>
bool check_type() {
    const std::string name = typeid(T).name();
    return rc::check("round trip of " + name, round_trip<T>) &&
           rc::check("mutated " + name, mutated<T>);
}

template <typename... Ts>
bool check_types() {
    return (check_type<Ts>() && ...);
}

Pci any_pci(const PciFormat& format) {
    const auto number = [](unsigned width) {
        return any_number<std::uint64_t>() & (~std::uint64_t{0} >> (64 - 8 * width));
    };
    Pci pci;
    pci.version = *rc::gen::arbitrary<std::uint8_t>();
    pci.type = *rc::gen::element<std::uint8_t>(0x40, 0x80, 0xc0, 0xc4, 0xc8, 0xcc, 0xce, 0xff);
    pci.flags = *rc::gen::arbitrary<std::uint16_t>();
    pci.checksum = *rc::gen::arbitrary<std::uint16_t>();
    pci.ttl = *rc::gen::arbitrary<std::uint16_t>();
    pci.sequence = number(format.sequence);
    pci.destination = Address{number(format.address)};
    pci.source = Address{number(format.address)};
    pci.destination_cep = CepId{static_cast<std::uint32_t>(number(format.cep))};
    pci.source_cep = CepId{static_cast<std::uint32_t>(number(format.cep))};
    pci.qos = QosId{static_cast<std::uint16_t>(number(std::min<unsigned>(format.qos, 2)))};
    return pci;
}

PciFormat any_format() {
    const auto width = [] { return *rc::gen::element<std::uint8_t>(1, 2, 4, 8); };
    return {width(), width(), *rc::gen::element<std::uint8_t>(1, 2, 4), width(), width()};
}

}  // namespace

TEST_CASE("messages and their parts", "[prop]") {
    CHECK(check_types<CdapMessage, AppName, AData, FlowRequest>());
}

TEST_CASE("objects of enrollment, routing and directory", "[prop]") {
    CHECK(check_types<DataTransferConstants, EnrollmentInfo, NeighborCandidate,
                      NeighborCandidateList, LowerFlow, LowerFlowList, DftEntry, DftSlice,
                      AddrAllocRequest, AddrAllocEntries>());
}

TEST_CASE("parts of a flow request", "[prop]") {
    CHECK(check_types<ConnId, Property, PolicyDescr, QosSpec, WindowCfg, RateCfg, FlowCtrlConfig,
                      RtxCtrlConfig, DtcpConfig, ConnPolicies>());
}

TEST_CASE("PCI and control PDUs in every format", "[prop]") {
    CHECK(rc::check("what is written is parsed as the same", [] {
        const PciFormat format = any_format();
        RC_ASSERT(check(format).has_value());
        Pci pci = any_pci(format);
        const std::size_t least =
            is_control(pci.type) ? format.control_bytes() : format.bytes();
        const std::size_t most = std::min<std::size_t>(format.pdu_bytes_max(), least + 40);
        RC_PRE(least <= most);
        pci.length = static_cast<std::uint32_t>(*rc::gen::inRange(least, most + 1));
        Bytes frame(pci.length + *rc::gen::inRange<std::size_t>(0, 30), std::byte{0xee});
        write(pci, format, frame.data());
        const std::uint64_t mask = format.sequence_mask();
        ControlPdu control;
        for (std::uint64_t* field :
             {&control.last_control_received, &control.ack, &control.new_rwe, &control.new_lwe,
              &control.my_lwe, &control.my_rwe})
            *field = any_number<std::uint64_t>() & mask;
        if (is_control(pci.type)) write_control(control, format, frame.data());
        Pci again;
        RC_ASSERT(parse(frame, frame.size(), format, again) == PciError::none);
        RC_ASSERT(again == pci);
        if (is_control(pci.type)) RC_ASSERT(parse_control(frame, format) == control);
        const std::size_t written = is_control(pci.type) ? format.control_bytes() : format.bytes();
        for (std::size_t i = written; i < frame.size(); ++i)
            RC_ASSERT(frame[i] == std::byte{0xee});
    }));
    CHECK(rc::check("any bytes are parsed or refused", [](const std::vector<std::uint8_t>& raw) {
        const auto bytes = std::as_bytes(std::span(raw));
        Pci pci;
        const PciFormat format = any_format();
        if (parse(bytes, bytes.size(), format, pci) == PciError::none)
            RC_ASSERT(pci.length >= format.bytes() && pci.length <= bytes.size());
    }));
}

TEST_CASE("the checksum", "[prop]") {
    CHECK(rc::check("is the sum of 16-bit words, one after the other", [] {
        const Bytes bytes = any_bytes();
        std::uint32_t sum = 0;
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            sum += std::to_integer<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 0 : 8);
            if (sum > 0xffff) sum = (sum & 0xffff) + 1;
        }
        RC_ASSERT(inet_sum(bytes) == sum);
    }));
    CHECK(rc::check("adjusted is recomputed", [] {
        Pci pci = any_pci(kDefaultFormat);
        Bytes pdu(28);
        const Bytes payload = any_bytes();
        pdu.insert(pdu.end(), payload.begin(), payload.end());
        write(pci, kDefaultFormat, pdu.data());
        seal_inet_checksum(pdu);
        RC_ASSERT(has_inet_checksum(pdu));
        rewrite_ttl(pdu.data(), *rc::gen::arbitrary<std::uint16_t>());
        RC_ASSERT(detail::load<std::uint16_t>(pdu.data() + 4) == inet_checksum(pdu));
        RC_ASSERT(has_inet_checksum(pdu));
    }));
}

TEST_CASE("names and RINA-ARP", "[prop]") {
    CHECK(rc::check("a name in rlite's form and back", [] {
        AppName name = any<AppName>();
        name.process += 'p';
        const auto again = parse_rlite_name(rlite_name(name));
        RC_ASSERT(again.has_value());
        RC_ASSERT(*again == name);
    }));
    CHECK(rc::check("what is written is parsed as the same", [] {
        // Zeros are padding, so that no name ends in one: text has none.
        const std::string sender = any_text() + 's';
        const std::string target = any_text() + 't';
        RinaArp arp;
        arp.operation = static_cast<RinaArp::Operation>(*rc::gen::inRange(1, 3));
        arp.sender_mac = *rc::gen::arbitrary<MacAddress>();
        arp.target_mac = *rc::gen::arbitrary<MacAddress>();
        arp.sender = sender;
        arp.target = target;
        Bytes bytes(kRinaArpBytesMax);
        bytes.resize(write(arp, bytes));
        RC_ASSERT(bytes.size() == 20 + 2 * std::max(sender.size(), target.size()));
        bytes.resize(bytes.size() + *rc::gen::inRange<std::size_t>(0, 30));
        RinaArp again;
        RC_ASSERT(parse(bytes, again) == ArpError::none);
        RC_ASSERT(again == arp);
    }));
}
