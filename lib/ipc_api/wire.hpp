#pragma once

#include <rina/api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

// What the client library and the server say to each other on a SOCK_SEQPACKET socket: one message
// a packet. Of the C++ library nothing but what headers give is used, for librina-api.so goes into
// C programs. Both ends are on one machine, so numbers are in its order.
namespace sluice::ipc_api {

inline constexpr std::uint8_t kWireVersion = 1;
inline constexpr std::size_t kNameMax = 255;

enum class Kind : std::uint8_t {
    // To the server. `open` and `allocate` are the first of a connection and are answered on it;
    // the others bring a socket for their answer, so that an open descriptor has nothing to read
    // but requests for flows.
    open = 1,
    register_app = 2,    // local, dif
    unregister_app = 3,  // local, dif
    allocate = 4,        // local, remote, dif, spec
    respond = 5,         // number: the handle; code: 0 accepts
    // To the client.
    result = 64,    // code: 0 or an errno; a flow comes with the message as a descriptor
    incoming = 65,  // number: a handle; local, remote, dif, spec
};

struct Message {
    Kind kind = Kind::open;
    std::uint32_t number = 0;
    std::int32_t code = 0;
    rina_flow_spec spec = {};
    std::string_view dif;
    std::string_view local;
    std::string_view remote;
};

inline constexpr std::size_t kHeaderBytes = 16;
inline constexpr std::size_t kSpecBytes = 40;
inline constexpr std::size_t kMessageBytesMax = kHeaderBytes + kSpecBytes + 3 * (1 + kNameMax);

using MessageBuffer = std::array<std::byte, kMessageBytesMax>;

// Bytes written; 0 if a name is longer than kNameMax or has a zero byte.
std::size_t encode(const Message& message, MessageBuffer& buffer) noexcept;

// The names point into `bytes`. Nothing if this is not exactly one message of this version and of a
// known kind that has what that kind has, and nothing else.
std::optional<Message> decode(std::span<const std::byte> bytes) noexcept;

// The version that a packet of ours has, whatever follows; nothing if it is not ours.
std::optional<std::uint8_t> version_of(std::span<const std::byte> bytes) noexcept;

bool to_server(Kind kind) noexcept;

// The name of the server's end of a flow, which the application's end can ask for: it says how long
// an SDU may be, and that the descriptor is a flow. Without the zero byte that begins it.
inline constexpr std::string_view kFlowNamePrefix = "sluice-flow/";
// From that name; 0 if it is another.
std::uint32_t max_sdu_of_flow_name(std::string_view name) noexcept;

// A unix socket of this kind takes messages up to its send buffer less this.
inline constexpr std::uint32_t kSendBufferOverhead = 32;

}  // namespace sluice::ipc_api
