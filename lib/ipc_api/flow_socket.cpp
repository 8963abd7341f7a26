#include "ipc_api/flow_socket.hpp"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>

#include "base/check.hpp"
#include "ipc_api/wire.hpp"

namespace sluice::ipc_api {
namespace {

std::uint32_t send_buffer_of(int fd) {
    int bytes = 0;
    socklen_t size = sizeof bytes;
    ::getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size);
    return static_cast<std::uint32_t>(bytes);
}

// The kernel doubles what it is told. A privileged process may go above the system's limit.
void set_send_buffer(int fd, std::uint32_t bytes) {
    const int half = static_cast<int>(bytes / 2);
    if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &half, sizeof half) < 0)
        ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &half, sizeof half);
}

// The longest SDU there may be on this flow; the kernel holds the application to it if it can.
std::uint32_t limit_application(int app, const FlowSocketOptions& options) {
    set_send_buffer(app, options.max_sdu + kSendBufferOverhead);
    std::uint32_t room = send_buffer_of(app) - kSendBufferOverhead;
    if (room > options.max_sdu) {
        // Its least buffer takes more. Then we must look anyway, and the buffer may be of use.
        set_send_buffer(app, std::max(options.from_app_bytes, room));
        room = options.max_sdu;
    }
    return room;
}

// The application's library asks for the name of the other end (max_sdu_of_flow_name). Names of
// this kind are known in all of the network namespace: it must be one that nobody can guess.
Result<> give_name(int fd, std::uint32_t max_sdu) {
    std::uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    ::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size);
    timespec now = {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const auto end = fmt::format_to_n(address.sun_path + 1, sizeof address.sun_path - 1,
                                      "{}{}/{:x}-{:x}", kFlowNamePrefix, max_sdu, cookie,
                                      now.tv_nsec);
    const auto length =
        static_cast<socklen_t>(end.out - reinterpret_cast<const char*>(&address));
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0) return {};
    return fail(errno, "cannot name the socket of a flow: {}", std::strerror(errno));
}

bool would_block(int code) {
    return code == EAGAIN || code == EINTR || code == ENOBUFS || code == ENOMEM;
}

}  // namespace

Result<FlowSocket> FlowSocket::open(const FlowSocketOptions& options, OwnedFd& application) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return fail(errno, "cannot make the sockets of a flow: {}", std::strerror(errno));
    OwnedFd ours(ends[0]);
    application = OwnedFd(ends[1]);
    const std::uint32_t max_sdu = limit_application(application.get(), options);
    set_send_buffer(ours.get(), std::max(options.to_app_bytes, 2 * max_sdu));
    SLUICE_TRY_VOID(give_name(ours.get(), max_sdu));
    return FlowSocket(std::move(ours), max_sdu);
}

FlowSocket& FlowSocket::operator=(FlowSocket&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(max_sdu_, other.max_sdu_);
    std::swap(state_, other.state_);
    std::swap(counters_, other.counters_);
    return *this;
}

FlowSocket::~FlowSocket() { finish(); }

// An empty read is either an empty write or the end: the kernel says which.
bool FlowSocket::application_closed() const noexcept {
    pollfd state = {fd_.get(), POLLRDHUP, 0};
    if (::poll(&state, 1, 0) != 1 || (state.revents & POLLRDHUP) == 0) return false;
    int waiting = 0;
    return ::ioctl(fd_.get(), SIOCINQ, &waiting) < 0 || waiting == 0;
}

std::size_t FlowSocket::read(std::span<Slot> slots) noexcept {
    if (state_ != State::open || slots.empty()) return 0;
    const std::size_t wanted = std::min(slots.size(), kBurstMax);
    std::array<mmsghdr, kBurstMax> packets;
    std::array<iovec, kBurstMax> pieces;
    for (std::size_t i = 0; i < wanted; ++i) {
        SLUICE_DCHECK(slots[i].room >= max_sdu_);
        pieces[i] = {slots[i].bytes, slots[i].room};
        packets[i] = {};
        packets[i].msg_hdr.msg_iov = &pieces[i];
        packets[i].msg_hdr.msg_iovlen = 1;
    }
    const auto count = static_cast<unsigned>(wanted);
    int got = ::recvmmsg(fd_.get(), packets.data(), count, MSG_DONTWAIT, nullptr);
    // The application closed without reading all that there was for it. The kernel says so once,
    // before it gives what the application wrote.
    if (got < 0 && errno == ECONNRESET)
        got = ::recvmmsg(fd_.get(), packets.data(), count, MSG_DONTWAIT, nullptr);
    if (got < 0) {
        if (!would_block(errno)) state_ = State::closed_by_app;
        return 0;
    }
    std::size_t filled = 0;
    std::uint64_t empty = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
        const std::uint32_t length = packets[i].msg_len;
        if (length == 0) {
            ++empty;
            continue;
        }
        if (length > max_sdu_ || (packets[i].msg_hdr.msg_flags & MSG_TRUNC) != 0) {
            ++counters_.too_long;
            counters_.discarded += static_cast<std::size_t>(got) - i - 1;
            state_ = State::too_long;
            break;
        }
        std::swap(slots[filled], slots[i]);
        slots[filled++].length = length;
        counters_.bytes_from_app += length;
    }
    counters_.sdus_from_app += filled;
    if (empty != 0 && state_ == State::open) {
        if (application_closed())
            state_ = State::closed_by_app;
        else
            counters_.empty_from_app += empty;
    }
    return filled;
}

std::size_t FlowSocket::write(std::span<const iovec> sdus) noexcept {
    std::array<mmsghdr, kBurstMax> packets;
    std::size_t taken = 0;
    bool reset = false;
    while (taken < sdus.size()) {
        if (state_ == State::finished) {
            counters_.discarded += sdus.size() - taken;
            return sdus.size();
        }
        std::size_t count = 0;
        for (; count < kBurstMax && taken + count < sdus.size(); ++count) {
            const iovec& sdu = sdus[taken + count];
            if (sdu.iov_len == 0) break;
            packets[count] = {};
            // sendmmsg() only reads what msg_iov points to.
            packets[count].msg_hdr.msg_iov = const_cast<iovec*>(&sdu);
            packets[count].msg_hdr.msg_iovlen = 1;
        }
        if (count == 0) {
            ++counters_.empty_to_app;
            ++taken;
            continue;
        }
        const int sent = ::sendmmsg(fd_.get(), packets.data(), static_cast<unsigned>(count),
                                    MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            for (int i = 0; i < sent; ++i) counters_.bytes_to_app += sdus[taken++].iov_len;
            counters_.sdus_to_app += static_cast<std::uint64_t>(sent);
            continue;
        }
        if (would_block(errno)) return taken;
        if (errno == ECONNRESET && !std::exchange(reset, true)) continue;
        if (errno == EMSGSIZE) {
            ++counters_.undeliverable;
            ++taken;
            continue;
        }
        // It has closed, or does not want to read. read() tells when it is over.
        counters_.discarded += sdus.size() - taken;
        return sdus.size();
    }
    return taken;
}

void FlowSocket::discard_waiting() noexcept {
    // More than the queue can hold, and an end if the application writes as fast as we throw away.
    constexpr int kMost = 1 << 16;
    for (int i = 0; i < kMost; ++i) {
        std::byte byte;
        const ssize_t size = ::recv(fd_.get(), &byte, sizeof byte, MSG_DONTWAIT);
        if (size > 0) ++counters_.discarded;
        if (size == 0 && application_closed()) return;
        if (size < 0 && errno != ECONNRESET && errno != EINTR) return;
    }
}

void FlowSocket::finish() noexcept {
    if (!fd_.valid() || state_ == State::finished) return;
    // Both ways, so that the application cannot write any more. What it wrote must be taken out: a
    // socket that is closed with something in it resets the other end, which then loses what it has
    // not read. Before as well, for then empty writes can be told from the end.
    discard_waiting();
    ::shutdown(fd_.get(), SHUT_RDWR);
    discard_waiting();
    state_ = State::finished;
}

}  // namespace sluice::ipc_api
