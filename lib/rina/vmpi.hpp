#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

// The wire format of VMPI, both profiles (docs/vmpi.md). Everything is little-endian and read and
// written byte by byte, so that neither the host's byte order nor its alignment rules show.

namespace sluice::rina::vmpi {

enum class Profile : std::uint8_t { irati, sluice };
enum class Role : std::uint8_t { backend = 0, frontend = 1, alike = 2 };

// ---- integers ------------------------------------------------------------------------------

constexpr std::uint16_t load_le16(const std::byte* p) noexcept {
    return static_cast<std::uint16_t>(std::to_integer<unsigned>(p[0]) |
                                      (std::to_integer<unsigned>(p[1]) << 8));
}
// The compiler folds these into one load where the host allows it.
constexpr std::uint32_t load_le32(const std::byte* p) noexcept {
    return std::to_integer<std::uint32_t>(p[0]) | (std::to_integer<std::uint32_t>(p[1]) << 8) |
           (std::to_integer<std::uint32_t>(p[2]) << 16) |
           (std::to_integer<std::uint32_t>(p[3]) << 24);
}
constexpr std::uint64_t load_le64(const std::byte* p) noexcept {
    return load_le32(p) | (static_cast<std::uint64_t>(load_le32(p + 4)) << 32);
}
constexpr void store_le16(std::byte* p, std::uint16_t v) noexcept {
    p[0] = static_cast<std::byte>(v);
    p[1] = static_cast<std::byte>(v >> 8);
}
constexpr void store_le32(std::byte* p, std::uint32_t v) noexcept {
    for (unsigned i = 0; i < 4; ++i) p[i] = static_cast<std::byte>(v >> (8 * i));
}
constexpr void store_le64(std::byte* p, std::uint64_t v) noexcept {
    for (unsigned i = 0; i < 8; ++i) p[i] = static_cast<std::byte>(v >> (8 * i));
}

// ---- channel word and short frames -----------------------------------------------------------

inline constexpr std::uint32_t kHeaderBytes = 4;
inline constexpr std::uint32_t kControlChannel = 0;
inline constexpr std::uint32_t kChannelMask = 0x00ff'ffff;
inline constexpr std::uint32_t kShortBit = 0x8000'0000;
inline constexpr std::uint8_t kGenerationMask = 0x7f;
// The largest max_channels that either profile can speak of; a table entry a channel, so modest.
inline constexpr std::uint32_t kChannelsMax = 65535;
inline constexpr std::uint32_t kIratiChannelsMax = 63;
// The virtio PMD discards frames shorter than an Ethernet header.
inline constexpr std::uint32_t kShortFrameBytes = 14;
inline constexpr std::uint32_t kShortSduMax = kShortFrameBytes - kHeaderBytes - 1;

// Profile sluice. In profile irati the word is the channel.
constexpr std::uint32_t channel_word(std::uint32_t channel, std::uint8_t generation) noexcept {
    return (channel & kChannelMask) |
           (static_cast<std::uint32_t>(generation & kGenerationMask) << 24);
}
constexpr std::uint32_t channel_of(std::uint32_t word) noexcept { return word & kChannelMask; }
constexpr std::uint8_t generation_of(std::uint32_t word) noexcept {
    return static_cast<std::uint8_t>((word >> 24) & kGenerationMask);
}
constexpr bool is_short(std::uint32_t word) noexcept { return (word & kShortBit) != 0; }

// Bytes on the wire of an SDU in profile sluice.
constexpr std::uint32_t frame_bytes(std::uint32_t sdu_len) noexcept {
    return sdu_len <= kShortSduMax ? kShortFrameBytes : kHeaderBytes + sdu_len;
}

// Writes the channel word of a data frame whose SDU already lies at frame + 4. For an SDU of at
// most kShortSduMax bytes the frame must have room for kShortFrameBytes: it is padded.
constexpr void seal_frame(std::byte* frame, std::uint32_t word, std::uint32_t sdu_len) noexcept {
    if (sdu_len > kShortSduMax) {
        store_le32(frame, word);
        return;
    }
    store_le32(frame, word | kShortBit);
    for (std::uint32_t i = kHeaderBytes + sdu_len; i < kShortFrameBytes - 1; ++i)
        frame[i] = std::byte{0};
    frame[kShortFrameBytes - 1] = static_cast<std::byte>(sdu_len);
}

// ---- credit units ----------------------------------------------------------------------------

// A credit unit is a power of two in this range, so that a cost is a shift on the packet path.
inline constexpr std::uint32_t kCreditUnitMin = 64;
inline constexpr std::uint32_t kCreditUnitMax = 1u << 20;

constexpr bool is_credit_unit(std::uint32_t unit) noexcept {
    return unit >= kCreditUnitMin && unit <= kCreditUnitMax && (unit & (unit - 1)) == 0;
}
// What a message costs: every receive buffer that it can fill. Never 0, for the header counts.
constexpr std::uint32_t credit_cost(std::uint32_t sdu_len, unsigned unit_shift) noexcept {
    return ((sdu_len + kHeaderBytes - 1) >> unit_shift) + 1;
}

// ---- control messages, profile sluice -----------------------------------------------------

enum class Type : std::uint8_t {
    hello = 1,
    allocate_req = 2,
    allocate_pending = 3,
    allocate_resp = 4,
    deallocate = 5,
    deallocate_ack = 6,
    credit = 7,
    credit_probe = 8,
    keepalive = 9,
    keepalive_ack = 10,
};
inline constexpr std::size_t kTypeCount = 11;  // types are indexes 1..10

std::string_view to_string(Type type) noexcept;

inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::size_t kCommonBytes = 24;
inline constexpr std::size_t kHelloBytes = 72;
inline constexpr std::size_t kCreditBytes = 37;
inline constexpr std::size_t kAllocateReqFixedBytes = 34;
inline constexpr std::size_t kControlBytesMax = kAllocateReqFixedBytes + 2 * 255;

enum class ParseError : std::uint8_t {
    none,
    truncated,    // shorter than its own length field or than its type needs
    bad_type,     // a type that this version does not know
    bad_version,  // not version 1, and not a HELLO
    bad_length,   // the length field does not fit the type
    bad_field,    // a field out of its range
    bad_name,     // empty, too long, a NUL byte inside, or not terminated
};
inline constexpr std::size_t kParseErrorCount = 7;

std::string_view to_string(ParseError error) noexcept;

struct Hello {
    std::uint64_t challenge = 0;
    std::uint64_t echo = 0;
    std::uint64_t nonce = 0;
    std::uint64_t features = 0;
    std::uint32_t max_sdu = 0;
    std::uint32_t max_channels = 0;
    std::uint32_t credit_unit = 0;
    std::uint8_t min_version = kVersion;
    std::uint8_t max_version = kVersion;
    Role role = Role::alike;

    bool operator==(const Hello&) const = default;
};

// One control message. Names point into the bytes that were parsed; fields that the type does not
// have are zero.
struct Message {
    Type type = Type::hello;
    std::uint8_t version = kVersion;
    std::uint64_t epoch = 0;       // the sender's
    std::uint64_t peer_epoch = 0;  // the receiver's, as the sender has confirmed it
    std::uint32_t transaction = 0;
    std::uint32_t channel = 0;
    std::uint8_t generation = 0;
    std::uint8_t code = 0;    // result of an ALLOCATE_RESP, reason of a DEALLOCATE
    std::uint64_t units = 0;  // limit of a CREDIT, sent of a CREDIT_PROBE
    Hello hello{};
    std::string_view source{};
    std::string_view destination{};

    bool operator==(const Message&) const = default;
};

// `bytes` begin after the channel word and may end in padding. Never throws, never allocates,
// never reads outside of bytes; out is meaningful only if the result is ParseError::none.
ParseError parse(std::span<const std::byte> bytes, Message& out) noexcept;

// Bytes written to the start of out; 0 if they do not fit or the message breaks the grammar.
std::size_t encode(const Message& message, std::span<std::byte> out) noexcept;

// ---- control messages, profile irati ---------------------------------------------------------

enum class IratiCommand : std::uint8_t { allocate_req = 0, allocate_resp = 1, deallocate = 2 };
inline constexpr std::size_t kIratiCommandCount = 3;
// The whole ALLOCATE_REQ, code byte included, stays under this.
inline constexpr std::size_t kIratiMessageBytesLimit = 2000;

std::string_view to_string(IratiCommand command) noexcept;

struct IratiMessage {
    IratiCommand command = IratiCommand::allocate_req;
    std::uint32_t channel = 0;
    bool accepted = false;  // of an ALLOCATE_RESP
    std::string_view source{};
    std::string_view destination{};

    bool operator==(const IratiMessage&) const = default;
};

ParseError parse_irati(std::span<const std::byte> bytes, IratiMessage& out) noexcept;
std::size_t encode_irati(const IratiMessage& message, std::span<std::byte> out) noexcept;

}  // namespace sluice::rina::vmpi
