// librina-api: the functions of <rina/api.h>. Compiled without exceptions and without what needs
// the C++ library at run time, for C programs load it. It keeps no state: what belongs to a
// descriptor is known by the other end of its socket, so threads, fork() and passed descriptors
// need no care.

#include <fcntl.h>
#include <poll.h>
#include <rina/api.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "ipc_api/wire.hpp"

namespace {

using namespace sluice::ipc_api;

constexpr char kDefaultSocket[] = "/run/sluice/api.sock";

int fail(int code) {
    errno = code;
    return -1;
}

// Closes itself, and leaves errno as it is.
class Fd {
  public:
    explicit Fd(int fd) : fd_(fd) {}
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() { reset(-1); }
    void reset(int fd) {
        const int kept = errno;
        if (fd_ >= 0) ::close(fd_);
        errno = kept;
        fd_ = fd;
    }
    int get() const { return fd_; }
    bool valid() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }

  private:
    int fd_;
};

// Returned descriptors outlive an exec, as those of a device do: a server may hand its flow to a
// program that it runs.
void keep_on_exec(int fd) { ::fcntl(fd, F_SETFD, 0); }

int connect_server(bool wait) {
    const char* path = ::secure_getenv("SLUICE_API");
    if (path == nullptr || *path == '\0') path = kDefaultSocket;
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const std::size_t size = std::strlen(path);
    if (size >= sizeof address.sun_path) return fail(ENAMETOOLONG);
    std::memcpy(address.sun_path, path, size);
    Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0));
    if (!fd.valid()) return -1;
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return -1;
    if (!wait) ::fcntl(fd.get(), F_SETFL, 0);
    return fd.release();
}

// `passed` goes along unless it is -1. Waits even if `fd` is non-blocking, unless told not to.
int send_message(int fd, const Message& message, int passed, bool wait) {
    MessageBuffer buffer;
    const std::size_t size = encode(message, buffer);
    if (size == 0) return fail(ENAMETOOLONG);
    iovec piece = {buffer.data(), size};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr packet = {};
    packet.msg_iov = &piece;
    packet.msg_iovlen = 1;
    if (passed >= 0) {
        packet.msg_control = control;
        packet.msg_controllen = sizeof control;
        cmsghdr* const header = CMSG_FIRSTHDR(&packet);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(header), &passed, sizeof passed);
    }
    const int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
    for (;;) {
        if (::sendmsg(fd, &packet, flags) >= 0) return 0;
        if (errno == EINTR) continue;
        if (errno != EAGAIN || !wait) return -1;
        pollfd writable = {fd, POLLOUT, 0};
        ::poll(&writable, 1, -1);
    }
}

// The descriptor that came with a message, or -1. Others are closed.
int passed_descriptor(msghdr& packet) {
    int found = -1;
    for (cmsghdr* header = CMSG_FIRSTHDR(&packet); header != nullptr;
         header = CMSG_NXTHDR(&packet, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            if (found >= 0) ::close(found);
            found = fd;
        }
    }
    return found;
}

// 0 if the answer is good; its descriptor, if any, in `flow`.
int receive_result(int fd, Fd& flow) {
    MessageBuffer buffer;
    iovec piece = {buffer.data(), buffer.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr packet = {};
    packet.msg_iov = &piece;
    packet.msg_iovlen = 1;
    packet.msg_control = control;
    packet.msg_controllen = sizeof control;
    ssize_t size = ::recvmsg(fd, &packet, MSG_CMSG_CLOEXEC);
    // A server that refuses may close before it has read what we said. The kernel tells that first,
    // once, and then gives what the server said.
    if (size < 0 && errno == ECONNRESET) size = ::recvmsg(fd, &packet, MSG_CMSG_CLOEXEC);
    if (size < 0) return -1;
    flow.reset(passed_descriptor(packet));
    // The server went away, or would not have us.
    if (size == 0) return fail(ECONNRESET);
    const auto message = decode({buffer.data(), static_cast<std::size_t>(size)});
    if (!message || message->kind != Kind::result) return fail(EPROTO);
    if (message->code != 0) return fail(message->code);
    // Without room in our table of descriptors the kernel leaves it out.
    if ((packet.msg_flags & MSG_CTRUNC) != 0) return fail(EMFILE);
    return 0;
}

// Of an answer that nothing may interrupt: it comes soon, and what was asked for is done anyway.
int await_result(int fd, Fd& flow) {
    for (;;) {
        const int result = receive_result(fd, flow);
        if (result == 0 || errno != EINTR) return result;
    }
}

int flow_of_result(Fd& flow) {
    if (!flow.valid()) return fail(EPROTO);
    keep_on_exec(flow.get());
    return flow.release();
}

// Asks over a connection that others may ask over at the same time, and that may have requests of
// flows waiting: the answer comes over a socket of its own, which is returned.
int ask(int fd, const Message& message, bool wait) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return -1;
    Fd ours(ends[0]);
    const Fd theirs(ends[1]);
    if (send_message(fd, message, theirs.get(), wait) < 0) return -1;
    return ours.release();
}

int ask_about_name(Kind kind, int fd, const char* dif, const char* name, int flags) {
    if (name == nullptr || *name == '\0' || (flags & ~RINA_F_NOWAIT) != 0) return fail(EINVAL);
    Message message;
    message.kind = kind;
    message.local = name;
    if (dif != nullptr) message.dif = dif;
    const bool wait = (flags & RINA_F_NOWAIT) == 0;
    Fd answer(ask(fd, message, wait));
    if (!answer.valid()) return -1;
    if (!wait) return answer.release();
    Fd none(-1);
    return await_result(answer.get(), none);
}

int respond(int fd, std::uint32_t handle, std::int32_t response) {
    Message message;
    message.kind = Kind::respond;
    message.number = handle;
    message.code = response;
    const Fd answer(ask(fd, message, true));
    if (!answer.valid()) return -1;
    Fd flow(-1);
    if (await_result(answer.get(), flow) < 0) return -1;
    return response == 0 ? flow_of_result(flow) : 0;
}

// Completes a call that was made with RINA_F_NOWAIT.
int complete(int wfd, Fd& flow) {
    const int result = receive_result(wfd, flow);
    if (result < 0 && (errno == EAGAIN || errno == EINTR || errno == EBADF || errno == ENOTSOCK))
        return -1;
    Fd(wfd).reset(-1);
    return result;
}

char* copy_of(std::string_view name) {
    char* const copy = static_cast<char*>(std::malloc(name.size() + 1));
    if (copy == nullptr) return nullptr;
    std::memcpy(copy, name.data(), name.size());
    copy[name.size()] = '\0';
    return copy;
}

}  // namespace

extern "C" {

#pragma GCC visibility push(default)

int rina_open(void) {
    Fd fd(connect_server(true));
    if (!fd.valid()) return -1;
    // A server that refuses says so before it closes, so what it said comes first.
    send_message(fd.get(), Message{}, -1, true);
    Fd none(-1);
    if (receive_result(fd.get(), none) < 0) return -1;
    keep_on_exec(fd.get());
    return fd.release();
}

int rina_register(int fd, const char* dif_name, const char* local_appl, int flags) {
    return ask_about_name(Kind::register_app, fd, dif_name, local_appl, flags);
}

int rina_unregister(int fd, const char* dif_name, const char* local_appl, int flags) {
    return ask_about_name(Kind::unregister_app, fd, dif_name, local_appl, flags);
}

int rina_register_wait(int fd, int wfd) {
    static_cast<void>(fd);
    Fd none(-1);
    return complete(wfd, none);
}

int rina_flow_accept(int fd, char** remote_appl, rina_flow_spec* spec, unsigned int flags) {
    if ((flags & ~unsigned{RINA_F_NORESP | RINA_F_NOWAIT}) != 0) return fail(EINVAL);
    for (;;) {
        MessageBuffer buffer;
        const ssize_t size = ::recv(fd, buffer.data(), buffer.size(), 0);
        if (size < 0) return -1;
        if (size == 0) return fail(ECONNRESET);
        const auto message = decode({buffer.data(), static_cast<std::size_t>(size)});
        if (!message || message->kind != Kind::incoming) return fail(EPROTO);
        char* remote = nullptr;
        if (remote_appl != nullptr && (remote = copy_of(message->remote)) == nullptr) {
            respond(fd, message->number, ENOMEM);
            return fail(ENOMEM);
        }
        int result = static_cast<int>(message->number);
        if ((flags & RINA_F_NORESP) == 0) result = respond(fd, message->number, 0);
        if (result >= 0) {
            if (remote_appl != nullptr) *remote_appl = remote;
            if (spec != nullptr) *spec = message->spec;
            return result;
        }
        const int code = errno;
        std::free(remote);
        // Whoever wanted this flow has given it up meanwhile: on to the next.
        if (code != ESTALE) return fail(code);
    }
}

int rina_flow_respond(int fd, int handle, int response) {
    if (handle <= 0) return fail(EINVAL);
    return respond(fd, static_cast<std::uint32_t>(handle), response);
}

int rina_flow_alloc(const char* dif_name, const char* local_appl, const char* remote_appl,
                    const rina_flow_spec* flowspec, unsigned int flags) {
    if (remote_appl == nullptr || *remote_appl == '\0' ||
        (flags & ~unsigned{RINA_F_NOWAIT}) != 0)
        return fail(EINVAL);
    Message message;
    message.kind = Kind::allocate;
    if (flowspec != nullptr)
        message.spec = *flowspec;
    else
        rina_flow_spec_unreliable(&message.spec);
    if (message.spec.version != RINA_FLOW_SPEC_VERSION) return fail(EINVAL);
    message.remote = remote_appl;
    if (dif_name != nullptr) message.dif = dif_name;
    if (local_appl != nullptr) message.local = local_appl;
    const bool wait = (flags & RINA_F_NOWAIT) == 0;
    Fd fd(connect_server(wait));
    if (!fd.valid()) return -1;
    // As in rina_open(): a refusal is there to be read even if nobody takes our words.
    if (send_message(fd.get(), message, -1, wait) < 0 && errno != EPIPE && errno != ECONNRESET)
        return -1;
    if (!wait) return fd.release();
    Fd flow(-1);
    if (receive_result(fd.get(), flow) < 0) return -1;
    return flow_of_result(flow);
}

int rina_flow_alloc_wait(int wfd) {
    Fd flow(-1);
    if (complete(wfd, flow) < 0) return -1;
    return flow_of_result(flow);
}

void rina_flow_spec_unreliable(rina_flow_spec* spec) {
    *spec = {};
    spec->version = RINA_FLOW_SPEC_VERSION;
    spec->max_sdu_gap = ~std::uint64_t{0};
    spec->max_loss = RINA_FLOW_SPEC_LOSS_MAX;
    spec->msg_boundaries = 1;
}

unsigned int rina_flow_mss_get(int fd) {
    // The server's end has a name that says it, wherever the descriptor has come from.
    sockaddr_un name = {};
    socklen_t size = sizeof name;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&name), &size) < 0) return 0;
    constexpr std::size_t kBefore = offsetof(sockaddr_un, sun_path) + 1;
    const std::uint32_t limit =
        name.sun_family == AF_UNIX && size > kBefore && size <= sizeof name
            ? max_sdu_of_flow_name({name.sun_path + 1, size - kBefore})
            : 0;
    if (limit == 0) {
        errno = EINVAL;
        return 0;
    }
    int buffer = 0;
    size = sizeof buffer;
    if (::getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, &size) < 0) return 0;
    const auto room = static_cast<std::uint32_t>(buffer) - kSendBufferOverhead;
    return room < limit ? room : limit;
}

#pragma GCC visibility pop

}  // extern "C"
