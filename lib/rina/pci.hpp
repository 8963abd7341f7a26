#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "base/result.hpp"
#include "base/types.hpp"

// The protocol control information in front of every PDU of a normal DIF, in the layout of rlite's
// default flavour (include/rlite/kernel-msg.h and kernel/ker-numtypes.h there): version, type,
// flags, checksum, TTL, then sequence number, addresses, CEP-ids, length and QoS-id, whose widths
// are constants of the DIF. Little-endian, packed.
namespace sluice::rina {

using Address = StrongId<struct AddressTag, std::uint64_t>;  // of an IPC process within its DIF
using CepId = StrongId<struct CepIdTag, std::uint32_t>;
using QosId = StrongId<struct QosIdTag, std::uint16_t>;

// "This hop": management PDUs to whoever is at the other end of an N-1 flow.
inline constexpr Address kThisHop{0};

enum class PduType : std::uint8_t {
    management = 0x40,  // a CDAP message follows
    data = 0x80,
    // 0xc0, 0x08 if it has flow control, 0x04 if it acknowledges, and how: 0 ACK, 1 NACK, 2 SACK,
    // 3 SNACK.
    ack = 0xc4,
    flow_control = 0xc8,
    ack_flow_control = 0xcc,
    sack_flow_control = 0xce,  // between nodes that agreed on it
    rendezvous = 0xcf,         // asks for a control PDU: the window was closed for long
};
constexpr bool is_control(std::uint8_t type) noexcept { return (type & 0xc0) == 0xc0; }

namespace pci_flag {
inline constexpr std::uint16_t kEcn = 0x0001;  // congestion was experienced on the way
inline constexpr std::uint16_t kDrf = 0x0080;  // data run flag: first PDU of a run
}  // namespace pci_flag

inline constexpr std::uint16_t kTtlDefault = 64;

// Widths in bytes, each 1, 2, 4 or 8; and with them where each field lies.
struct PciFormat {
    std::uint8_t sequence = 4;
    std::uint8_t address = 4;
    std::uint8_t cep = 2;
    std::uint8_t length = 2;
    std::uint8_t qos = 2;

    static constexpr std::size_t kVersionAt = 0, kTypeAt = 1, kFlagsAt = 2, kChecksumAt = 4,
                                 kTtlAt = 6, kSequenceAt = 8;
    constexpr std::size_t destination_at() const noexcept { return kSequenceAt + sequence; }
    constexpr std::size_t source_at() const noexcept { return destination_at() + address; }
    constexpr std::size_t destination_cep_at() const noexcept { return source_at() + address; }
    constexpr std::size_t source_cep_at() const noexcept { return destination_cep_at() + cep; }
    constexpr std::size_t length_at() const noexcept { return source_cep_at() + cep; }
    constexpr std::size_t qos_at() const noexcept { return length_at() + length; }
    constexpr std::size_t bytes() const noexcept { return qos_at() + qos; }
    // Last control seq received, ack, new RWE, new LWE, my LWE, my RWE.
    static constexpr std::size_t kControlFields = 6;
    constexpr std::size_t control_bytes() const noexcept {
        return bytes() + kControlFields * sequence;
    }
    constexpr std::size_t pdu_bytes_max() const noexcept {
        return length >= 4 ? std::size_t{1} << 30 : (std::size_t{1} << (8 * length)) - 1;
    }
    constexpr std::uint64_t sequence_mask() const noexcept {
        return sequence == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * sequence)) - 1;
    }
    bool operator==(const PciFormat&) const = default;
};
// 28 bytes: what rlite speaks.
inline constexpr PciFormat kDefaultFormat{};
// 34 bytes: a million flows in an IPC process and PDUs longer than 64 KiB, between our own nodes.
inline constexpr PciFormat kWideFormat{4, 4, 4, 4, 2};
static_assert(kDefaultFormat.bytes() == 28 && kDefaultFormat.control_bytes() == 52);
static_assert(kWideFormat.bytes() == 34);

// EINVAL unless every width is 1, 2, 4 or 8 and CEP-ids fit 32 bits.
Result<> check(const PciFormat& format);

constexpr std::size_t kPciBytesMax = 8 + 8 + 8 + 8 + 4 + 4 + 8 + 8;

struct Pci {
    std::uint8_t version = 0;
    std::uint8_t type = static_cast<std::uint8_t>(PduType::data);
    std::uint16_t flags = 0;
    std::uint16_t checksum = 0;
    std::uint16_t ttl = kTtlDefault;
    std::uint64_t sequence = 0;
    Address destination{};
    Address source{};
    CepId destination_cep{};
    CepId source_cep{};
    std::uint32_t length = 0;  // of the whole PDU, this header included
    QosId qos{};

    bool operator==(const Pci&) const = default;
};

struct ControlPdu {
    std::uint64_t last_control_received = 0;
    std::uint64_t ack = 0;  // everything below is received
    std::uint64_t new_rwe = 0;  // inclusive: up to here may be sent
    std::uint64_t new_lwe = 0;  // next that the application has not consumed
    std::uint64_t my_lwe = 0, my_rwe = 0;  // of the sender, as a sender

    bool operator==(const ControlPdu&) const = default;
};

namespace detail {
// The default layout, as it lies in memory.
static_assert(std::endian::native == std::endian::little);
template <typename T>
inline T load(const std::byte* at) noexcept {
    T v;
    std::memcpy(&v, at, sizeof v);
    return v;
}
template <typename T>
inline void store(std::byte* at, T v) noexcept {
    std::memcpy(at, &v, sizeof v);
}
inline std::uint64_t load_width(const std::byte* at, unsigned width) noexcept {
    switch (width) {
        case 1: return load<std::uint8_t>(at);
        case 2: return load<std::uint16_t>(at);
        case 4: return load<std::uint32_t>(at);
        default: return load<std::uint64_t>(at);
    }
}
inline void store_width(std::byte* at, unsigned width, std::uint64_t v) noexcept {
    switch (width) {
        case 1: store(at, static_cast<std::uint8_t>(v)); break;
        case 2: store(at, static_cast<std::uint16_t>(v)); break;
        case 4: store(at, static_cast<std::uint32_t>(v)); break;
        default: store(at, v);
    }
}
}  // namespace detail

// Why bytes are no PDU.
enum class PciError : std::uint8_t {
    none,
    short_header,    // less than a PCI
    short_length,    // its length says less than a PCI
    long_length,     // its length says more than there is
    short_control,   // a control PDU without all its fields
    unknown_type,
};

// What is wrong with `frame`, of which at least the first kPciBytesMax bytes (or all) are here and
// which is `frame_bytes` long; padding behind the PDU is none. On none, `out` is filled in.
inline PciError parse(std::span<const std::byte> head, std::size_t frame_bytes,
                      const PciFormat& format, Pci& out) noexcept {
    using detail::load;
    using detail::load_width;
    if (head.size() < format.bytes()) return PciError::short_header;
    const std::byte* const p = head.data();
    out.version = load<std::uint8_t>(p);
    out.type = load<std::uint8_t>(p + PciFormat::kTypeAt);
    out.flags = load<std::uint16_t>(p + PciFormat::kFlagsAt);
    out.checksum = load<std::uint16_t>(p + PciFormat::kChecksumAt);
    out.ttl = load<std::uint16_t>(p + PciFormat::kTtlAt);
    if (format == kDefaultFormat) [[likely]] {
        constexpr PciFormat f = kDefaultFormat;
        out.sequence = load<std::uint32_t>(p + PciFormat::kSequenceAt);
        out.destination = Address{load<std::uint32_t>(p + f.destination_at())};
        out.source = Address{load<std::uint32_t>(p + f.source_at())};
        out.destination_cep = CepId{load<std::uint16_t>(p + f.destination_cep_at())};
        out.source_cep = CepId{load<std::uint16_t>(p + f.source_cep_at())};
        out.length = load<std::uint16_t>(p + f.length_at());
        out.qos = QosId{load<std::uint16_t>(p + f.qos_at())};
    } else {
        const PciFormat& f = format;
        out.sequence = load_width(p + PciFormat::kSequenceAt, f.sequence);
        out.destination = Address{load_width(p + f.destination_at(), f.address)};
        out.source = Address{load_width(p + f.source_at(), f.address)};
        out.destination_cep =
            CepId{static_cast<std::uint32_t>(load_width(p + f.destination_cep_at(), f.cep))};
        out.source_cep =
            CepId{static_cast<std::uint32_t>(load_width(p + f.source_cep_at(), f.cep))};
        const std::uint64_t length = load_width(p + f.length_at(), f.length);
        if (length > f.pdu_bytes_max()) return PciError::long_length;
        out.length = static_cast<std::uint32_t>(length);
        out.qos = QosId{static_cast<std::uint16_t>(load_width(p + f.qos_at(), f.qos))};
    }
    if (out.length < format.bytes()) return PciError::short_length;
    if (out.length > frame_bytes) return PciError::long_length;
    if (is_control(out.type)) {
        if (out.length < format.control_bytes()) return PciError::short_control;
    } else if (out.type != static_cast<std::uint8_t>(PduType::data) &&
               out.type != static_cast<std::uint8_t>(PduType::management)) {
        return PciError::unknown_type;
    }
    return PciError::none;
}

// `to` must have format.bytes(). Values wider than their field lose their upper bits: whoever
// allocates addresses and CEP-ids keeps them within the format.
inline void write(const Pci& pci, const PciFormat& format, std::byte* to) noexcept {
    using detail::store;
    using detail::store_width;
    store(to, pci.version);
    store(to + PciFormat::kTypeAt, pci.type);
    store(to + PciFormat::kFlagsAt, pci.flags);
    store(to + PciFormat::kChecksumAt, pci.checksum);
    store(to + PciFormat::kTtlAt, pci.ttl);
    if (format == kDefaultFormat) [[likely]] {
        constexpr PciFormat f = kDefaultFormat;
        store(to + PciFormat::kSequenceAt, static_cast<std::uint32_t>(pci.sequence));
        store(to + f.destination_at(), static_cast<std::uint32_t>(pci.destination.value));
        store(to + f.source_at(), static_cast<std::uint32_t>(pci.source.value));
        store(to + f.destination_cep_at(), static_cast<std::uint16_t>(pci.destination_cep.value));
        store(to + f.source_cep_at(), static_cast<std::uint16_t>(pci.source_cep.value));
        store(to + f.length_at(), static_cast<std::uint16_t>(pci.length));
        store(to + f.qos_at(), pci.qos.value);
        return;
    }
    const PciFormat& f = format;
    store_width(to + PciFormat::kSequenceAt, f.sequence, pci.sequence);
    store_width(to + f.destination_at(), f.address, pci.destination.value);
    store_width(to + f.source_at(), f.address, pci.source.value);
    store_width(to + f.destination_cep_at(), f.cep, pci.destination_cep.value);
    store_width(to + f.source_cep_at(), f.cep, pci.source_cep.value);
    store_width(to + f.length_at(), f.length, pci.length);
    store_width(to + f.qos_at(), f.qos, pci.qos.value);
}

// The fields behind the PCI of a control PDU; parse() has seen that they are there.
ControlPdu parse_control(std::span<const std::byte> pdu, const PciFormat& format) noexcept;
// `to` must have format.control_bytes(), of which the PCI is written by write().
void write_control(const ControlPdu& control, const PciFormat& format, std::byte* to) noexcept;

}  // namespace sluice::rina
