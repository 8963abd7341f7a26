#include "control/json_server.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>

#include "base/log.hpp"
#include "control/json_rpc.hpp"
#include "control/unix_socket.hpp"

namespace sluice::control {
namespace {

constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::size_t kDiscardLines = 16;
constexpr std::string_view kScope = "control";

struct ClientConnection {
    OwnedFd socket;
    std::string input;
    std::size_t searched = 0;  // of input, without finding a newline
    std::string output;
    std::size_t written = 0;   // of output
    bool finishing = false;    // close once the output is out
    // After a line that is too long: what may still come is read and thrown away up to this, so
    // that the client, busy sending, comes to read the error before it finds the socket closed.
    std::size_t discard_bytes = 0;

    std::size_t queued() const noexcept { return output.size() - written; }
};

}  // namespace

struct JsonServer::Impl {
    EventLoop& loop;
    JsonServerOptions options;
    ListeningSocket listener;
    RpcDispatcher dispatcher;
    std::map<int, ClientConnection> clients;
    std::optional<TimerId> pause;

    Impl(EventLoop& the_loop, CommandTable& table, JsonServerOptions the_options,
         ListeningSocket the_listener)
        : loop(the_loop),
          options(std::move(the_options)),
          listener(std::move(the_listener)),
          dispatcher(table, options.name, options.access) {}

    ~Impl() {
        if (pause) loop.cancel(*pause);
        loop.remove_fd(listener.fd());
        for (const auto& [fd, client] : clients) loop.remove_fd(fd);
    }

    void accept_all();
    void on_event(int fd, std::uint32_t events);
    // False once the client is to be dropped.
    bool read_some(ClientConnection& client);
    bool flush(ClientConnection& client);
    bool serve_lines(ClientConnection& client);
    bool watch(const ClientConnection& client);
    void drop(int fd) {
        loop.remove_fd(fd);
        clients.erase(fd);
    }
};

void JsonServer::Impl::accept_all() {
    for (;;) {
        OwnedFd socket(::accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!socket.valid()) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            if (errno != EAGAIN)
                log::warn(kScope, "cannot accept a client on {}: {}", options.path,
                          std::strerror(errno));
            // Out of file descriptors, the listener would stay ready and the loop spin; a pause
            // lets others finish.
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                static_cast<void>(loop.modify_fd(listener.fd(), 0));
                pause = loop.after(Duration::milliseconds(200), [this] {
                    static_cast<void>(loop.modify_fd(listener.fd(), EPOLLIN));
                });
            }
            return;
        }
        if (clients.size() >= options.clients_max) {
            const std::string line = rpc_error_line(
                CommandError::kRefused,
                fmt::format("there are {} clients already, and no more are served",
                            clients.size()));
            static_cast<void>(::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL));
            continue;
        }
        const int fd = socket.get();
        if (auto added = loop.add_fd(fd, EPOLLIN,
                                     [this, fd](std::uint32_t events) { on_event(fd, events); });
            !added) {
            log::warn(kScope, "{}", added.error().message);
            continue;
        }
        clients[fd].socket = std::move(socket);
    }
}

void JsonServer::Impl::on_event(int fd, std::uint32_t events) {
    const auto found = clients.find(fd);
    if (found == clients.end()) return;
    ClientConnection& client = found->second;
    bool alive = true;
    if ((events & EPOLLIN) != 0 && !client.finishing)
        alive = read_some(client);
    else if ((events & (EPOLLERR | EPOLLHUP)) != 0)
        alive = false;
    if (alive) alive = flush(client) && watch(client);
    if (!alive) drop(fd);
}

bool JsonServer::Impl::watch(const ClientConnection& client) {
    std::uint32_t events = client.finishing ? 0u : EPOLLIN;
    if (client.queued() > 0) events |= EPOLLOUT;
    return loop.modify_fd(client.socket.get(), events).has_value();
}

bool JsonServer::Impl::read_some(ClientConnection& client) {
    // One piece a round, so that a client that sends without end does not keep the loop.
    std::array<char, kReadBytes> piece;
    const ssize_t got = ::recv(client.socket.get(), piece.data(), piece.size(), 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (client.discard_bytes > 0) {
        const std::size_t thrown = std::min(client.discard_bytes, static_cast<std::size_t>(got));
        client.discard_bytes -= thrown;
        return got > 0 && client.discard_bytes > 0;
    }
    if (got == 0) {
        // Whoever shuts down its sending side still gets its answers, to a last line without
        // newline too.
        if (!client.input.empty()) client.input += '\n';
        const bool alive = serve_lines(client);
        client.finishing = true;
        return alive;
    }
    client.input.append(piece.data(), static_cast<std::size_t>(got));
    return serve_lines(client);
}

bool JsonServer::Impl::serve_lines(ClientConnection& client) {
    std::size_t start = 0;
    for (;;) {
        const std::size_t end = client.input.find('\n', std::max(start, client.searched));
        const bool complete = end != std::string::npos;
        const std::size_t length = (complete ? end : client.input.size()) - start;
        if (length > options.line_bytes_max) {
            client.output += rpc_error_line(
                kRpcInvalidRequest,
                fmt::format("the line is longer than {} bytes", options.line_bytes_max));
            client.discard_bytes = kDiscardLines * options.line_bytes_max;
            client.input = {};
            return true;
        }
        if (!complete) break;
        const std::string_view line = std::string_view(client.input).substr(start, length);
        if (line.find_first_not_of(" \t\r") != std::string_view::npos)
            client.output += dispatcher.handle(line, options.queued_bytes_max);
        start = end + 1;
        if (client.queued() > options.queued_bytes_max && !flush(client)) return false;
        if (client.queued() > options.queued_bytes_max) {
            log::warn(kScope, "a client of {} does not read its answers and is dropped",
                      options.path);
            return false;
        }
    }
    client.input.erase(0, start);
    client.searched = client.input.size();
    return true;
}

bool JsonServer::Impl::flush(ClientConnection& client) {
    while (client.queued() > 0) {
        const ssize_t sent = ::send(client.socket.get(), client.output.data() + client.written,
                                    client.queued(), MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN) return false;
            break;
        }
        client.written += static_cast<std::size_t>(sent);
    }
    if (client.queued() == 0) {
        client.output.clear();
        client.written = 0;
        if (client.discard_bytes > 0) ::shutdown(client.socket.get(), SHUT_WR);
        return !client.finishing;
    }
    if (client.written > kReadBytes) {
        client.output.erase(0, client.written);
        client.written = 0;
    }
    return true;
}

JsonServer::JsonServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

JsonServer::~JsonServer() = default;

Result<std::unique_ptr<JsonServer>> JsonServer::open(EventLoop& loop, CommandTable& table,
                                                     JsonServerOptions options) {
    SLUICE_TRY(ListeningSocket listener, ListeningSocket::open(options.path));
    auto impl =
        std::make_unique<Impl>(loop, table, std::move(options), std::move(listener));
    Impl* const raw = impl.get();
    SLUICE_TRY_VOID(
        loop.add_fd(raw->listener.fd(), EPOLLIN, [raw](std::uint32_t) { raw->accept_all(); }));
    return std::unique_ptr<JsonServer>(new JsonServer(std::move(impl)));
}

const std::string& JsonServer::path() const noexcept { return impl_->options.path; }

std::size_t JsonServer::clients() const noexcept { return impl_->clients.size(); }

}  // namespace sluice::control
