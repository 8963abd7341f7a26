#include "ipc_api/wire.hpp"

#include <cstring>

namespace sluice::ipc_api {
namespace {

constexpr std::uint32_t kMagic = 0x41524c53;  // "SLRA"

enum Part : unsigned { kNumber = 1, kCode = 2, kSpec = 4, kDif = 8, kLocal = 16, kRemote = 32 };

// What each kind has. What it does not have must be zero or empty.
constexpr unsigned parts_of(Kind kind) {
    switch (kind) {
        case Kind::open: return 0;
        case Kind::register_app:
        case Kind::unregister_app: return kDif | kLocal;
        case Kind::allocate: return kSpec | kDif | kLocal | kRemote;
        case Kind::respond: return kNumber | kCode;
        case Kind::result: return kCode;
        case Kind::incoming: return kNumber | kSpec | kDif | kLocal | kRemote;
    }
    return 0;
}

bool known(std::uint8_t kind) {
    return (kind >= 1 && kind <= 5) || kind == 64 || kind == 65;
}

template <typename T>
void put(std::byte*& at, T value) {
    std::memcpy(at, &value, sizeof value);
    at += sizeof value;
}

template <typename T>
T get(const std::byte*& at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    at += sizeof value;
    return value;
}

void put_spec(std::byte*& at, const rina_flow_spec& spec) {
    put(at, spec.version);
    put(at, spec.max_delay);
    put(at, spec.max_sdu_gap);
    put(at, spec.avg_bandwidth);
    put(at, spec.max_loss);
    put(at, spec.in_order_delivery);
    put(at, spec.msg_boundaries);
    put(at, spec.max_jitter);
    put(at, std::uint64_t{0});
}

// False if what is reserved is not zero.
bool get_spec(const std::byte*& at, rina_flow_spec& spec) {
    spec.version = get<std::uint32_t>(at);
    spec.max_delay = get<std::uint32_t>(at);
    spec.max_sdu_gap = get<std::uint64_t>(at);
    spec.avg_bandwidth = get<std::uint64_t>(at);
    spec.max_loss = get<std::uint16_t>(at);
    spec.in_order_delivery = get<std::uint8_t>(at);
    spec.msg_boundaries = get<std::uint8_t>(at);
    spec.max_jitter = get<std::uint32_t>(at);
    return get<std::uint64_t>(at) == 0;
}

bool is_zero(const rina_flow_spec& spec) {
    return spec.version == 0 && spec.max_delay == 0 && spec.max_sdu_gap == 0 &&
           spec.avg_bandwidth == 0 && spec.max_loss == 0 && spec.in_order_delivery == 0 &&
           spec.msg_boundaries == 0 && spec.max_jitter == 0;
}

bool sendable(std::string_view name) {
    return name.size() <= kNameMax && name.find('\0') == std::string_view::npos;
}

bool fits_its_kind(const Message& m) {
    unsigned has = 0;
    if (m.number != 0) has |= kNumber;
    if (m.code != 0) has |= kCode;
    if (!is_zero(m.spec)) has |= kSpec;
    if (!m.dif.empty()) has |= kDif;
    if (!m.local.empty()) has |= kLocal;
    if (!m.remote.empty()) has |= kRemote;
    return (has & ~parts_of(m.kind)) == 0;
}

}  // namespace

std::size_t encode(const Message& message, MessageBuffer& buffer) noexcept {
    for (const std::string_view name : {message.dif, message.local, message.remote})
        if (!sendable(name)) return 0;
    std::byte* at = buffer.data();
    put(at, kMagic);
    put(at, kWireVersion);
    put(at, static_cast<std::uint8_t>(message.kind));
    put(at, std::uint16_t{0});
    put(at, message.number);
    put(at, message.code);
    put_spec(at, message.spec);
    for (const std::string_view name : {message.dif, message.local, message.remote}) {
        put(at, static_cast<std::uint8_t>(name.size()));
        if (!name.empty()) std::memcpy(at, name.data(), name.size());
        at += name.size();
    }
    return static_cast<std::size_t>(at - buffer.data());
}

std::optional<std::uint8_t> version_of(std::span<const std::byte> bytes) noexcept {
    if (bytes.size() < 5) return std::nullopt;
    const std::byte* at = bytes.data();
    if (get<std::uint32_t>(at) != kMagic) return std::nullopt;
    return get<std::uint8_t>(at);
}

std::optional<Message> decode(std::span<const std::byte> bytes) noexcept {
    if (bytes.size() < kHeaderBytes + kSpecBytes || bytes.size() > kMessageBytesMax)
        return std::nullopt;
    if (version_of(bytes) != kWireVersion) return std::nullopt;
    const std::byte* at = bytes.data() + 5;
    const std::byte* const end = bytes.data() + bytes.size();
    const auto kind = get<std::uint8_t>(at);
    if (!known(kind) || get<std::uint16_t>(at) != 0) return std::nullopt;
    Message message;
    message.kind = static_cast<Kind>(kind);
    message.number = get<std::uint32_t>(at);
    message.code = get<std::int32_t>(at);
    if (!get_spec(at, message.spec)) return std::nullopt;
    for (std::string_view* name : {&message.dif, &message.local, &message.remote}) {
        if (at == end) return std::nullopt;
        const auto size = get<std::uint8_t>(at);
        if (static_cast<std::size_t>(end - at) < size) return std::nullopt;
        *name = std::string_view(reinterpret_cast<const char*>(at), size);
        if (!sendable(*name)) return std::nullopt;
        at += size;
    }
    if (at != end || !fits_its_kind(message)) return std::nullopt;
    return message;
}

bool to_server(Kind kind) noexcept { return static_cast<std::uint8_t>(kind) < 64; }

std::uint32_t max_sdu_of_flow_name(std::string_view name) noexcept {
    if (name.substr(0, kFlowNamePrefix.size()) != kFlowNamePrefix) return 0;
    name.remove_prefix(kFlowNamePrefix.size());
    std::uint64_t number = 0;
    std::size_t digits = 0;
    while (digits < name.size() && name[digits] >= '0' && name[digits] <= '9' && digits < 10)
        number = number * 10 + static_cast<std::uint64_t>(name[digits++] - '0');
    if (digits == 0 || digits == name.size() || name[digits] != '/') return 0;
    return number <= 0xffffffff ? static_cast<std::uint32_t>(number) : 0;
}

}  // namespace sluice::ipc_api
