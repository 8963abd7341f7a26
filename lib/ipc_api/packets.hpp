#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ipc_api/access.hpp"
#include "ipc_api/fd.hpp"
#include "ipc_api/wire.hpp"

// Packets of the applications' socket as the server sends and receives them: never blocking.

namespace sluice::ipc_api {

struct ReceivedPacket {
    // One byte more than the longest message: then it is too long, and the codec says so.
    std::array<std::byte, kMessageBytesMax + 1> buffer;
    std::size_t size = 0;
    OwnedFd passed;
    bool passed_too_many = false;

    std::span<const std::byte> bytes() const noexcept { return {buffer.data(), size}; }
};

enum class Receive : std::uint8_t { packet, nothing, end };

Receive receive(int fd, ReceivedPacket& packet) noexcept;

// 0, or an errno: EAGAIN if the other end does not read. `passed` goes along unless it is -1.
int send(int fd, const Message& message, int passed) noexcept;

// What the kernel says of who connected. Nobody's numbers if it does not.
Peer peer_of(int fd) noexcept;

// An end of a socketpair(AF_UNIX, SOCK_SEQPACKET), and nothing else that a client may want us to
// write to in our name.
bool is_answer_socket(int fd) noexcept;

}  // namespace sluice::ipc_api
