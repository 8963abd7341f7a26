#include "rina/vmpi.hpp"

#include <algorithm>

namespace sluice::rina::vmpi {
namespace {

// Offsets of the fields that several types share, and of HELLO's.
constexpr std::size_t kChannelAt = kCommonBytes;
constexpr std::size_t kGenerationAt = kCommonBytes + 4;
constexpr std::size_t kCodeAt = kCommonBytes + 5;
constexpr std::size_t kUnitsAt = kCommonBytes + 5;
constexpr std::size_t kSourceLengthAt = kCommonBytes + 6;
constexpr std::size_t kDestinationLengthAt = kCommonBytes + 8;

std::string_view text_at(const std::byte* p, std::size_t size) noexcept {
    return {reinterpret_cast<const char*>(p), size};
}

void put_text(std::byte* p, std::string_view text) noexcept {
    std::transform(text.begin(), text.end(), p, [](char c) { return static_cast<std::byte>(c); });
}

bool name_fits(std::string_view name) noexcept {
    return !name.empty() && name.size() <= 255 && name.find('\0') == std::string_view::npos;
}

// The length of a message of fixed size; of the others, the length of the fixed part.
std::size_t base_bytes(Type type) noexcept {
    switch (type) {
        case Type::hello: return kHelloBytes;
        case Type::allocate_req: return kAllocateReqFixedBytes;
        case Type::allocate_pending: return kCommonBytes + 5;
        case Type::allocate_resp: return kCommonBytes + 6;
        case Type::deallocate: return kCommonBytes + 6;
        case Type::deallocate_ack: return kCommonBytes + 5;
        case Type::credit: return kCreditBytes;
        case Type::credit_probe: return kCreditBytes;
        case Type::keepalive: return kCommonBytes;
        case Type::keepalive_ack: return kCommonBytes;
    }
    return 0;
}

bool has_channel(Type type) noexcept {
    return type >= Type::allocate_req && type <= Type::credit_probe;
}
bool has_code(Type type) noexcept {
    return type == Type::allocate_resp || type == Type::deallocate;
}
bool has_units(Type type) noexcept { return type == Type::credit || type == Type::credit_probe; }

ParseError parse_hello(const std::byte* p, Hello& out) noexcept {
    out.challenge = load_le64(p + 24);
    out.echo = load_le64(p + 32);
    out.nonce = load_le64(p + 40);
    out.features = load_le64(p + 48);
    out.max_sdu = load_le32(p + 56);
    out.max_channels = load_le32(p + 60);
    out.credit_unit = load_le32(p + 64);
    out.min_version = std::to_integer<std::uint8_t>(p[68]);
    out.max_version = std::to_integer<std::uint8_t>(p[69]);
    const auto role = std::to_integer<std::uint8_t>(p[70]);
    if (role > 2 || out.min_version == 0 || out.min_version > out.max_version ||
        out.max_channels == 0 || !is_credit_unit(out.credit_unit))
        return ParseError::bad_field;
    out.role = static_cast<Role>(role);
    return ParseError::none;
}

void put_hello(std::byte* p, const Hello& hello) noexcept {
    store_le64(p + 24, hello.challenge);
    store_le64(p + 32, hello.echo);
    store_le64(p + 40, hello.nonce);
    store_le64(p + 48, hello.features);
    store_le32(p + 56, hello.max_sdu);
    store_le32(p + 60, hello.max_channels);
    store_le32(p + 64, hello.credit_unit);
    p[68] = static_cast<std::byte>(hello.min_version);
    p[69] = static_cast<std::byte>(hello.max_version);
    p[70] = static_cast<std::byte>(hello.role);
    p[71] = std::byte{0};
}

ParseError parse_names(const std::byte* p, std::size_t length, Message& out) noexcept {
    const std::size_t source = load_le16(p + kSourceLengthAt);
    const std::size_t destination = load_le16(p + kDestinationLengthAt);
    if (source > 255 || destination > 255) return ParseError::bad_name;
    if (length != kAllocateReqFixedBytes + source + destination) return ParseError::bad_length;
    out.source = text_at(p + kAllocateReqFixedBytes, source);
    out.destination = text_at(p + kAllocateReqFixedBytes + source, destination);
    if (!name_fits(out.source) || !name_fits(out.destination)) return ParseError::bad_name;
    return ParseError::none;
}

}  // namespace

ParseError parse(std::span<const std::byte> bytes, Message& out) noexcept {
    out = Message{};
    if (bytes.size() < kCommonBytes) return ParseError::truncated;
    const std::byte* p = bytes.data();
    const auto number = std::to_integer<std::uint8_t>(p[0]);
    if (number == 0 || number >= kTypeCount) return ParseError::bad_type;
    out.type = static_cast<Type>(number);
    out.version = std::to_integer<std::uint8_t>(p[1]);
    const std::size_t length = load_le16(p + 2);
    if (length > bytes.size()) return ParseError::truncated;

    // HELLO is what versions are agreed with, so it is read whatever its version, and a later
    // one may have grown fields behind ours.
    const bool is_hello = out.type == Type::hello;
    if (is_hello ? out.version == 0 : out.version != kVersion) return ParseError::bad_version;
    const std::size_t base = base_bytes(out.type);
    const bool may_be_longer = is_hello || out.type == Type::allocate_req;
    if (length < base || (!may_be_longer && length != base)) return ParseError::bad_length;

    out.epoch = load_le64(p + 4);
    out.peer_epoch = load_le64(p + 12);
    out.transaction = load_le32(p + 20);
    if (out.epoch == 0) return ParseError::bad_field;
    if (has_channel(out.type)) {
        out.channel = load_le32(p + kChannelAt);
        out.generation = std::to_integer<std::uint8_t>(p[kGenerationAt]);
        if (out.generation > kGenerationMask) return ParseError::bad_field;
    }
    if (has_code(out.type)) out.code = std::to_integer<std::uint8_t>(p[kCodeAt]);
    if (has_units(out.type)) out.units = load_le64(p + kUnitsAt);
    if (is_hello) return parse_hello(p, out.hello);
    if (out.type == Type::allocate_req) return parse_names(p, length, out);
    return ParseError::none;
}

std::size_t encode(const Message& message, std::span<std::byte> out) noexcept {
    const bool is_req = message.type == Type::allocate_req;
    if (is_req && (!name_fits(message.source) || !name_fits(message.destination))) return 0;
    if (message.generation > kGenerationMask) return 0;
    std::size_t length = base_bytes(message.type);
    if (is_req) length += message.source.size() + message.destination.size();
    if (length == 0 || length > out.size()) return 0;

    std::byte* p = out.data();
    std::fill_n(p, length, std::byte{0});
    p[0] = static_cast<std::byte>(message.type);
    p[1] = static_cast<std::byte>(message.version);
    store_le16(p + 2, static_cast<std::uint16_t>(length));
    store_le64(p + 4, message.epoch);
    store_le64(p + 12, message.peer_epoch);
    store_le32(p + 20, message.transaction);
    if (has_channel(message.type)) {
        store_le32(p + kChannelAt, message.channel);
        p[kGenerationAt] = static_cast<std::byte>(message.generation);
    }
    if (has_code(message.type)) p[kCodeAt] = static_cast<std::byte>(message.code);
    if (has_units(message.type)) store_le64(p + kUnitsAt, message.units);
    if (message.type == Type::hello) put_hello(p, message.hello);
    if (is_req) {
        store_le16(p + kSourceLengthAt, static_cast<std::uint16_t>(message.source.size()));
        store_le16(p + kDestinationLengthAt,
                   static_cast<std::uint16_t>(message.destination.size()));
        put_text(p + kAllocateReqFixedBytes, message.source);
        put_text(p + kAllocateReqFixedBytes + message.source.size(), message.destination);
    }
    return length;
}

ParseError parse_irati(std::span<const std::byte> bytes, IratiMessage& out) noexcept {
    out = IratiMessage{};
    if (bytes.size() < 5) return ParseError::truncated;
    const auto code = std::to_integer<std::uint8_t>(bytes[0]);
    if (code >= kIratiCommandCount) return ParseError::bad_type;
    out.command = static_cast<IratiCommand>(code);
    out.channel = load_le32(bytes.data() + 1);
    if (out.command == IratiCommand::deallocate) return ParseError::none;
    if (out.command == IratiCommand::allocate_resp) {
        if (bytes.size() < 6) return ParseError::truncated;
        out.accepted = bytes[5] == std::byte{0};
        return ParseError::none;
    }
    // Only what lies inside of the longest message is looked at: the search for the two ends is
    // bounded whatever the peer sent.
    const std::string_view rest =
        text_at(bytes.data() + 5, std::min(bytes.size(), kIratiMessageBytesLimit - 1) - 5);
    const std::size_t source_end = rest.find('\0');
    if (source_end == std::string_view::npos) return ParseError::bad_name;
    const std::size_t destination_end = rest.find('\0', source_end + 1);
    if (destination_end == std::string_view::npos) return ParseError::bad_name;
    out.source = rest.substr(0, source_end);
    out.destination = rest.substr(source_end + 1, destination_end - source_end - 1);
    if (out.source.empty() || out.destination.empty()) return ParseError::bad_name;
    return ParseError::none;
}

std::size_t encode_irati(const IratiMessage& message, std::span<std::byte> out) noexcept {
    const bool is_req = message.command == IratiCommand::allocate_req;
    std::size_t length = 5;
    if (message.command == IratiCommand::allocate_resp) length = 6;
    if (is_req) {
        for (const std::string_view name : {message.source, message.destination})
            if (name.empty() || name.find('\0') != std::string_view::npos) return 0;
        length += message.source.size() + message.destination.size() + 2;
    }
    if (length >= kIratiMessageBytesLimit || length > out.size()) return 0;
    std::byte* p = out.data();
    p[0] = static_cast<std::byte>(message.command);
    store_le32(p + 1, message.channel);
    if (message.command == IratiCommand::allocate_resp)
        p[5] = message.accepted ? std::byte{0} : std::byte{1};
    if (is_req) {
        put_text(p + 5, message.source);
        p[5 + message.source.size()] = std::byte{0};
        put_text(p + 6 + message.source.size(), message.destination);
        p[length - 1] = std::byte{0};
    }
    return length;
}

std::string_view to_string(Type type) noexcept {
    constexpr std::string_view kNames[kTypeCount] = {
        "none",          "HELLO",      "ALLOCATE_REQ",   "ALLOCATE_PENDING",
        "ALLOCATE_RESP", "DEALLOCATE", "DEALLOCATE_ACK", "CREDIT",
        "CREDIT_PROBE",  "KEEPALIVE",  "KEEPALIVE_ACK"};
    const auto i = static_cast<std::size_t>(type);
    return i < kTypeCount ? kNames[i] : "unknown";
}

std::string_view to_string(IratiCommand command) noexcept {
    constexpr std::string_view kNames[kIratiCommandCount] = {"ALLOCATE_REQ", "ALLOCATE_RESP",
                                                             "DEALLOCATE"};
    const auto i = static_cast<std::size_t>(command);
    return i < kIratiCommandCount ? kNames[i] : "unknown";
}

std::string_view to_string(ParseError error) noexcept {
    constexpr std::string_view kNames[kParseErrorCount] = {
        "none", "truncated", "bad type", "bad version", "bad length", "bad field", "bad name"};
    return kNames[static_cast<std::size_t>(error)];
}

}  // namespace sluice::rina::vmpi
