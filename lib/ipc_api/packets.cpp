#include "ipc_api/packets.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sluice::ipc_api {
namespace {

constexpr std::size_t kPassedMax = 1;

void take_descriptors(msghdr& header, ReceivedPacket& packet) {
    for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr;
         part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            OwnedFd owned(fd);
            // Padding makes room for one more than we asked for.
            if (packet.passed.valid())
                packet.passed_too_many = true;
            else
                packet.passed = std::move(owned);
        }
    }
}

template <typename Call>
bool unnamed(int fd, Call call) {
    sockaddr_un address = {};
    socklen_t size = sizeof address;
    return call(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 &&
           size == sizeof address.sun_family;
}

bool option_is(int fd, int option, int wanted) {
    int value = 0;
    socklen_t size = sizeof value;
    return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 && value == wanted;
}

}  // namespace

Receive receive(int fd, ReceivedPacket& packet) noexcept {
    iovec piece = {packet.buffer.data(), packet.buffer.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(kPassedMax * sizeof(int))];
    msghdr header = {};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t size = ::recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0)
        return errno == EAGAIN || errno == EINTR ? Receive::nothing : Receive::end;
    take_descriptors(header, packet);
    packet.size = static_cast<std::size_t>(size);
    // An empty packet is not distinguished from the end: no client of ours sends one.
    return size == 0 ? Receive::end : Receive::packet;
}

int send(int fd, const Message& message, int passed) noexcept {
    MessageBuffer buffer;
    const std::size_t size = encode(message, buffer);
    if (size == 0) return ENAMETOOLONG;
    iovec piece = {buffer.data(), size};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header = {};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    if (passed >= 0) {
        header.msg_control = control;
        header.msg_controllen = sizeof control;
        cmsghdr* const part = CMSG_FIRSTHDR(&header);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(part), &passed, sizeof passed);
    }
    return ::sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
}

Peer peer_of(int fd) noexcept {
    ucred credentials = {0, static_cast<uid_t>(-1), static_cast<gid_t>(-1)};
    socklen_t size = sizeof credentials;
    ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
    return {credentials.uid, credentials.gid, credentials.pid};
}

bool is_answer_socket(int fd) noexcept {
    return fd >= 0 && option_is(fd, SO_DOMAIN, AF_UNIX) && option_is(fd, SO_TYPE, SOCK_SEQPACKET) &&
           unnamed(fd, ::getsockname) && unnamed(fd, ::getpeername);
}

}  // namespace sluice::ipc_api
