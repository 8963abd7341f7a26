#include "ipc_api/server.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/check.hpp"
#include "ipc_api/packets.hpp"
#include "ipc_api/wire.hpp"
#include "rina/rlite_name.hpp"

namespace sluice::ipc_api {
namespace {

using ConnectionId = std::uint64_t;  // never used twice; the first ones are other events
using Handle = std::uint32_t;        // an incoming request as the application knows it

constexpr std::uint64_t kListenerEvent = 0;
constexpr std::uint64_t kTimerEvent = 1;
constexpr Handle kHandleMax = 0x7fffffff;
constexpr int kAcceptsPerRound = 16;
constexpr int kMessagesPerRound = 8;
constexpr Duration kDescriptorPause = Duration::milliseconds(100);

struct Connection {
    enum class Role : std::uint8_t { fresh, open, allocating };

    ConnectionId id = 0;
    OwnedFd fd;
    Peer peer;
    Role role = Role::fresh;
    std::vector<RegistrationId> registrations;
    std::set<Handle> incoming;
    RequestId allocation;
};

struct Registration {
    enum class State : std::uint8_t { asked, held, leaving };

    ConnectionId connection = 0;
    uid_t uid = 0;
    std::string name;
    std::string dif;
    State state = State::asked;
};

// What the provider still owes an answer to.
struct Pending {
    Kind kind = Kind::open;
    ConnectionId connection = 0;
    uid_t uid = 0;
    OwnedFd answer;  // none for an allocation: it is answered on its connection
    RegistrationId registration;
    bool flow = false;  // counted among the user's flows
};

struct Incoming {
    IncomingId id;
    ConnectionId connection = 0;
    RegistrationId registration;
};

struct Usage {
    std::size_t connections = 0;
    std::size_t registrations = 0;
    std::size_t flows = 0;
    std::size_t requests = 0;

    bool none() const { return connections + registrations + flows + requests == 0; }
};

}  // namespace

struct ApiServer::Impl final : IpcUser {
    Impl(ServerOptions given, IpcProvider& served, Listener socket)
        : options(std::move(given)), provider(served), listener(std::move(socket)) {}
    ~Impl();
    Result<> start();

    void on_ready(Instant now);
    void accept_some(Instant now);
    void set_listening(bool on);
    void read_from(ConnectionId id);
    void on_message(Connection& from, const Message& message, OwnedFd answer);
    void drop(ConnectionId id);
    void expire(Instant now);
    void arm(Instant now);

    void register_name(Connection& from, const Message& message, OwnedFd answer);
    void unregister_name(Connection& from, const Message& message, OwnedFd answer);
    void allocate(Connection& from, const Message& message);
    int check_allocation(const Connection& from, const Message& message, FlowRequest& request);
    void respond(Connection& from, const Message& message, OwnedFd answer);
    RequestId pend(Connection& from, Kind kind, OwnedFd answer);

    void leave(RegistrationId id);
    void forget(RegistrationId id);
    void refuse(IncomingId id) { provider.respond_flow(RequestId(next_request++), id, false); }
    void refuse_all_of(RegistrationId id);
    void erase_incoming(Handle handle);
    void answer_request(Pending& pending, int code, int passed);
    void say(int fd, int code, int passed = -1);
    void release(uid_t uid, std::size_t Usage::* what);
    Connection* find(ConnectionId id);

    void on_done(RequestId request, int error) override;
    void on_flow(RequestId request, FlowId flow, std::uint32_t max_sdu) override;
    void on_incoming(IncomingId id, RegistrationId registration,
                     const FlowRequest& request) override;
    void on_incoming_gone(IncomingId id) override;
    void on_flow_ended(FlowId flow) override;

    ServerOptions options;
    IpcProvider& provider;
    Listener listener;
    OwnedFd epoll;
    OwnedFd timer;
    bool listening = true;
    Instant listen_again = Instant::never();
    ServerCounters counters;

    std::uint64_t next_connection = kTimerEvent + 1;
    std::uint64_t next_request = 1;
    std::uint64_t next_registration = 1;
    Handle next_handle = 1;
    std::unordered_map<ConnectionId, std::unique_ptr<Connection>> connections;
    // Dropped, but maybe still being looked at further up the stack.
    std::vector<std::unique_ptr<Connection>> dead;
    std::unordered_map<RegistrationId, Registration> registrations;
    std::unordered_map<RequestId, Pending> requests;
    std::unordered_map<Handle, Incoming> incoming;
    std::unordered_map<IncomingId, Handle> handle_of;
    // The time is told to on_ready() only, so a request's deadline is set there.
    std::vector<Handle> undated;
    std::deque<std::pair<Instant, Handle>> deadlines;
    std::unordered_map<FlowId, uid_t> flows;
    std::unordered_map<uid_t, Usage> users;
};

ApiServer::ApiServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ApiServer::~ApiServer() = default;

Result<std::unique_ptr<ApiServer>> ApiServer::open(ServerOptions options, IpcProvider& provider) {
    SLUICE_TRY(Listener listener, Listener::open(options.socket));
    auto impl = std::make_unique<Impl>(std::move(options), provider, std::move(listener));
    SLUICE_TRY_VOID(impl->start());
    return std::unique_ptr<ApiServer>(new ApiServer(std::move(impl)));
}

int ApiServer::fd() const noexcept { return impl_->epoll.get(); }
void ApiServer::on_ready(Instant now) { impl_->on_ready(now); }
const ServerCounters& ApiServer::counters() const noexcept { return impl_->counters; }
std::size_t ApiServer::connections() const noexcept { return impl_->connections.size(); }
std::size_t ApiServer::registrations() const noexcept { return impl_->registrations.size(); }
std::size_t ApiServer::flows() const noexcept { return impl_->flows.size(); }
std::size_t ApiServer::pending() const noexcept { return impl_->requests.size(); }
std::size_t ApiServer::unanswered() const noexcept { return impl_->incoming.size(); }

Result<> ApiServer::Impl::start() {
    epoll = OwnedFd(::epoll_create1(EPOLL_CLOEXEC));
    timer = OwnedFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    epoll_event on_listener = {EPOLLIN, {.u64 = kListenerEvent}};
    epoll_event on_timer = {EPOLLIN, {.u64 = kTimerEvent}};
    if (!epoll.valid() || !timer.valid() ||
        ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, listener.fd(), &on_listener) < 0 ||
        ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, timer.get(), &on_timer) < 0)
        return fail(errno, "cannot watch the applications' socket: {}", std::strerror(errno));
    provider.set_user(this);
    return {};
}

ApiServer::Impl::~Impl() {
    if (!timer.valid()) return;  // never started
    while (!connections.empty()) drop(connections.begin()->first);
    provider.set_user(nullptr);
}

void ApiServer::Impl::on_ready(Instant now) {
    std::array<epoll_event, 64> events;
    const int count = ::epoll_wait(epoll.get(), events.data(), events.size(), 0);
    for (int i = 0; i < count; ++i) {
        const std::uint64_t id = events[static_cast<std::size_t>(i)].data.u64;
        if (id == kListenerEvent) {
            accept_some(now);
        } else if (id == kTimerEvent) {
            std::uint64_t times = 0;
            [[maybe_unused]] const auto taken = ::read(timer.get(), &times, sizeof times);
        } else {
            read_from(id);
        }
    }
    expire(now);
    arm(now);
    dead.clear();
}

// ---- connections -----------------------------------------------------------------------------

void ApiServer::Impl::accept_some(Instant now) {
    for (int i = 0; i < kAcceptsPerRound; ++i) {
        OwnedFd fd(::accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!fd.valid()) {
            if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
            // It would stay readable, and we would spin.
            ++counters.no_descriptors;
            set_listening(false);
            listen_again = now + kDescriptorPause;
            return;
        }
        auto connection = std::make_unique<Connection>();
        connection->peer = peer_of(fd.get());
        const uid_t uid = connection->peer.uid;
        Usage& usage = users[uid];
        if (usage.connections >= options.limits.connections) {
            ++counters.refused_connections;
            say(fd.get(), EMFILE);
            continue;
        }
        connection->id = next_connection++;
        epoll_event event = {EPOLLIN, {.u64 = connection->id}};
        if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event) < 0) continue;
        connection->fd = std::move(fd);
        ++usage.connections;
        ++counters.connections;
        connections.emplace(connection->id, std::move(connection));
    }
}

void ApiServer::Impl::set_listening(bool on) {
    if (on == listening) return;
    listening = on;
    epoll_event event = {on ? EPOLLIN : 0u, {.u64 = kListenerEvent}};
    ::epoll_ctl(epoll.get(), EPOLL_CTL_MOD, listener.fd(), &event);
}

Connection* ApiServer::Impl::find(ConnectionId id) {
    const auto found = connections.find(id);
    return found == connections.end() ? nullptr : found->second.get();
}

void ApiServer::Impl::read_from(ConnectionId id) {
    for (int i = 0; i < kMessagesPerRound; ++i) {
        Connection* const connection = find(id);
        if (connection == nullptr) return;
        ReceivedPacket packet;
        switch (receive(connection->fd.get(), packet)) {
            case Receive::nothing: return;
            case Receive::end: drop(id); return;
            case Receive::packet: break;
        }
        const auto message = decode(packet.bytes());
        if (!message || packet.passed_too_many) {
            // Another version of the library deserves an answer, even if it cannot read more of it
            // than that.
            if (version_of(packet.bytes())) say(connection->fd.get(), EPROTO);
            ++counters.dropped_malformed;
            drop(id);
            return;
        }
        on_message(*connection, *message, std::move(packet.passed));
    }
}

void ApiServer::Impl::on_message(Connection& from, const Message& message, OwnedFd answer) {
    using Role = Connection::Role;
    const bool asks = message.kind == Kind::register_app ||
                      message.kind == Kind::unregister_app || message.kind == Kind::respond;
    if (from.role == Role::fresh && message.kind == Kind::open) {
        from.role = Role::open;
        say(from.fd.get(), 0);
    } else if (from.role == Role::fresh && message.kind == Kind::allocate) {
        from.role = Role::allocating;
        allocate(from, message);
    } else if (from.role == Role::open && asks && is_answer_socket(answer.get())) {
        if (message.kind == Kind::register_app)
            register_name(from, message, std::move(answer));
        else if (message.kind == Kind::unregister_app)
            unregister_name(from, message, std::move(answer));
        else
            respond(from, message, std::move(answer));
    } else if (from.role == Role::open && asks && !answer.valid()) {
        // We had no room for it, or it was not sent: whoever waits sees that its socket is closed.
        ++counters.lost_answers;
    } else {
        ++counters.dropped_malformed;
        drop(from.id);
    }
}

void ApiServer::Impl::drop(ConnectionId id) {
    const auto found = connections.find(id);
    if (found == connections.end()) return;
    Connection& gone = *found->second;
    dead.push_back(std::move(found->second));
    connections.erase(found);
    gone.fd.reset();
    release(gone.peer.uid, &Usage::connections);
    for (const Handle handle : std::exchange(gone.incoming, {})) {
        const auto request = incoming.find(handle);
        if (request == incoming.end()) continue;
        const IncomingId unanswered = request->second.id;
        erase_incoming(handle);
        refuse(unanswered);
    }
    // Those that are asked for are given back when they are there.
    for (const RegistrationId registration : std::exchange(gone.registrations, {})) {
        const auto held = registrations.find(registration);
        if (held != registrations.end() && held->second.state == Registration::State::held) {
            const RequestId request(next_request++);
            Pending& pending = requests[request];
            pending.kind = Kind::unregister_app;
            pending.uid = gone.peer.uid;
            pending.registration = registration;
            ++users[gone.peer.uid].requests;
            leave(registration);
            provider.unregister_app(request, registration);
        }
    }
    const auto allocation = requests.find(gone.allocation);
    if (gone.role == Connection::Role::allocating && allocation != requests.end()) {
        release(gone.peer.uid, &Usage::requests);
        release(gone.peer.uid, &Usage::flows);
        requests.erase(allocation);
        provider.cancel_allocation(gone.allocation);
    }
}

void ApiServer::Impl::release(uid_t uid, std::size_t Usage::* what) {
    const auto user = users.find(uid);
    SLUICE_CHECK(user != users.end() && user->second.*what > 0);
    --(user->second.*what);
    if (user->second.none()) users.erase(user);
}

void ApiServer::Impl::expire(Instant now) {
    for (const Handle handle : std::exchange(undated, {}))
        deadlines.emplace_back(now + options.answer_time, handle);
    while (!deadlines.empty() && deadlines.front().first <= now) {
        const Handle handle = deadlines.front().second;
        deadlines.pop_front();
        const auto found = incoming.find(handle);
        if (found == incoming.end()) continue;
        const IncomingId unanswered = found->second.id;
        ++counters.expired_incoming;
        erase_incoming(handle);
        refuse(unanswered);
    }
    if (listen_again <= now) {
        listen_again = Instant::never();
        set_listening(true);
    }
}

void ApiServer::Impl::arm(Instant now) {
    Instant next = listen_again;
    if (!deadlines.empty()) next = earlier(next, deadlines.front().first);
    if (!undated.empty()) next = now;
    itimerspec when = {};
    if (!next.is_never()) {
        const std::int64_t ns = std::max<std::int64_t>((next - now).ns, 1);
        when.it_value.tv_sec = ns / 1000000000;
        when.it_value.tv_nsec = ns % 1000000000;
    }
    ::timerfd_settime(timer.get(), 0, &when, nullptr);
}

// ---- what applications ask for ---------------------------------------------------------------

void ApiServer::Impl::say(int fd, int code, int passed) {
    Message message;
    message.kind = Kind::result;
    message.code = code;
    if (send(fd, message, passed) != 0) ++counters.lost_answers;
}

RequestId ApiServer::Impl::pend(Connection& from, Kind kind, OwnedFd answer) {
    const RequestId id(next_request++);
    Pending& pending = requests[id];
    pending.kind = kind;
    pending.connection = from.id;
    pending.uid = from.peer.uid;
    pending.answer = std::move(answer);
    ++users[from.peer.uid].requests;
    return id;
}

void ApiServer::Impl::register_name(Connection& from, const Message& message, OwnedFd answer) {
    const auto name = rina::parse_rlite_name(message.local);
    if (!name || rina::has_control_character(message.dif)) return say(answer.get(), EINVAL);
    const std::string text = rina::rlite_name(*name);
    if (!may(options.rules, from.peer, Action::register_name, text)) {
        ++counters.refused_access;
        return say(answer.get(), EACCES);
    }
    Usage& usage = users[from.peer.uid];
    if (usage.registrations >= options.limits.registrations) {
        ++counters.refused_registrations;
        return say(answer.get(), EDQUOT);
    }
    if (usage.requests >= options.limits.requests) {
        ++counters.refused_requests;
        return say(answer.get(), EBUSY);
    }
    const RegistrationId id(next_registration++);
    registrations[id] = {from.id, from.peer.uid, text, std::string(message.dif),
                         Registration::State::asked};
    from.registrations.push_back(id);
    ++usage.registrations;
    const RequestId request = pend(from, message.kind, std::move(answer));
    requests[request].registration = id;
    provider.register_app(request, id, *name, std::string(message.dif));
}

void ApiServer::Impl::unregister_name(Connection& from, const Message& message, OwnedFd answer) {
    const auto name = rina::parse_rlite_name(message.local);
    if (!name) return say(answer.get(), EINVAL);
    const std::string text = rina::rlite_name(*name);
    for (const RegistrationId id : from.registrations) {
        const Registration& held = registrations.at(id);
        if (held.state != Registration::State::held || held.name != text) continue;
        if (!message.dif.empty() && held.dif != message.dif) continue;
        if (users[from.peer.uid].requests >= options.limits.requests) {
            ++counters.refused_requests;
            return say(answer.get(), EBUSY);
        }
        const RequestId request = pend(from, message.kind, std::move(answer));
        requests[request].registration = id;
        leave(id);
        return provider.unregister_app(request, id);
    }
    say(answer.get(), ENOENT);
}

// 0, or what is wrong.
int ApiServer::Impl::check_allocation(const Connection& from, const Message& message,
                                      FlowRequest& request) {
    const auto remote = rina::parse_rlite_name(message.remote);
    if (!remote || rina::has_control_character(message.dif)) return EINVAL;
    if (!message.local.empty()) {
        const auto local = rina::parse_rlite_name(message.local);
        if (!local) return EINVAL;
        request.local = *local;
    }
    if (message.spec.version != RINA_FLOW_SPEC_VERSION ||
        message.spec.max_loss > RINA_FLOW_SPEC_LOSS_MAX)
        return EINVAL;
    request.remote = *remote;
    request.dif = message.dif;
    request.spec = message.spec;
    const std::string from_name = message.local.empty() ? "" : rina::rlite_name(request.local);
    if (!may(options.rules, from.peer, Action::allocate_from, from_name) ||
        !may(options.rules, from.peer, Action::allocate_to, rina::rlite_name(*remote))) {
        ++counters.refused_access;
        return EACCES;
    }
    const Usage& usage = users[from.peer.uid];
    if (usage.flows >= options.limits.flows) {
        ++counters.refused_flows;
        return EMFILE;
    }
    if (usage.requests >= options.limits.requests) {
        ++counters.refused_requests;
        return EBUSY;
    }
    return 0;
}

void ApiServer::Impl::allocate(Connection& from, const Message& message) {
    FlowRequest request;
    if (const int code = check_allocation(from, message, request); code != 0) {
        say(from.fd.get(), code);
        return drop(from.id);
    }
    const RequestId id = pend(from, Kind::allocate, OwnedFd());
    from.allocation = id;
    requests[id].flow = true;
    ++users[from.peer.uid].flows;
    provider.allocate_flow(id, request);
}

void ApiServer::Impl::respond(Connection& from, const Message& message, OwnedFd answer) {
    const auto found = incoming.find(message.number);
    if (found == incoming.end() || found->second.connection != from.id)
        return say(answer.get(), ESTALE);
    const IncomingId id = found->second.id;
    const bool accept = message.code == 0;
    Usage& usage = users[from.peer.uid];
    if (usage.requests >= options.limits.requests) {
        ++counters.refused_requests;
        return say(answer.get(), EBUSY);
    }
    erase_incoming(message.number);
    if (accept && usage.flows >= options.limits.flows) {
        ++counters.refused_flows;
        say(answer.get(), EMFILE);
        return refuse(id);
    }
    const RequestId request = pend(from, Kind::respond, std::move(answer));
    if (accept) {
        requests[request].flow = true;
        ++usage.flows;
    }
    provider.respond_flow(request, id, accept);
}

// ---- registrations and requests that come in ---------------------------------------------------

// From here on there is nobody to ask about flows to that name.
void ApiServer::Impl::leave(RegistrationId id) {
    registrations.at(id).state = Registration::State::leaving;
    refuse_all_of(id);
}

void ApiServer::Impl::forget(RegistrationId id) {
    const auto found = registrations.find(id);
    if (found == registrations.end()) return;
    if (Connection* const owner = find(found->second.connection))
        std::erase(owner->registrations, id);
    release(found->second.uid, &Usage::registrations);
    registrations.erase(found);
}

void ApiServer::Impl::refuse_all_of(RegistrationId id) {
    std::vector<std::pair<Handle, IncomingId>> unanswered;
    for (const auto& [handle, request] : incoming)
        if (request.registration == id) unanswered.emplace_back(handle, request.id);
    for (const auto& [handle, request] : unanswered) {
        erase_incoming(handle);
        refuse(request);
    }
}

void ApiServer::Impl::erase_incoming(Handle handle) {
    const auto found = incoming.find(handle);
    if (found == incoming.end()) return;
    if (Connection* const owner = find(found->second.connection)) owner->incoming.erase(handle);
    handle_of.erase(found->second.id);
    incoming.erase(found);
}

void ApiServer::Impl::on_incoming(IncomingId id, RegistrationId registration,
                                  const FlowRequest& request) {
    const auto held = registrations.find(registration);
    Connection* const to =
        held == registrations.end() || held->second.state == Registration::State::leaving
            ? nullptr
            : find(held->second.connection);
    if (to == nullptr) return refuse(id);
    if (to->incoming.size() >= options.backlog) {
        ++counters.refused_backlog;
        return refuse(id);
    }
    while (next_handle > kHandleMax || next_handle == 0 || incoming.contains(next_handle))
        next_handle = next_handle >= kHandleMax ? 1 : next_handle + 1;
    const std::string local = rina::rlite_name(request.local);
    const std::string remote = rina::rlite_name(request.remote);
    Message message;
    message.kind = Kind::incoming;
    message.number = next_handle;
    message.spec = request.spec;
    message.dif = request.dif;
    message.local = local;
    message.remote = remote;
    if (const int code = send(to->fd.get(), message, -1); code != 0) {
        // Of requests that were answered or given up many more fit than of those that are open, so
        // it has not read for very long.
        if (code == EAGAIN) ++counters.dropped_unread;
        refuse(id);
        return drop(to->id);
    }
    const Handle handle = next_handle++;
    incoming[handle] = {id, to->id, registration};
    handle_of[id] = handle;
    to->incoming.insert(handle);
    if (undated.empty()) {
        // on_ready() dates it.
        const itimerspec soon = {{0, 0}, {0, 1}};
        ::timerfd_settime(timer.get(), 0, &soon, nullptr);
    }
    undated.push_back(handle);
}

void ApiServer::Impl::on_incoming_gone(IncomingId id) {
    if (const auto found = handle_of.find(id); found != handle_of.end())
        erase_incoming(found->second);
}

// ---- answers of the provider -------------------------------------------------------------------

void ApiServer::Impl::answer_request(Pending& pending, int code, int passed) {
    if (pending.kind != Kind::allocate) {
        if (pending.answer.valid()) say(pending.answer.get(), code, passed);
        return;
    }
    if (Connection* const asked = find(pending.connection)) {
        say(asked->fd.get(), code, passed);
        drop(asked->id);
    }
}

void ApiServer::Impl::on_done(RequestId request, int error) {
    auto node = requests.extract(request);
    if (node.empty()) return;
    Pending& pending = node.mapped();
    release(pending.uid, &Usage::requests);
    if (pending.flow) release(pending.uid, &Usage::flows);
    const RegistrationId id = pending.registration;
    if (pending.kind == Kind::register_app && error != 0) {
        forget(id);
    } else if (pending.kind == Kind::register_app) {
        ++counters.registrations;
        registrations.at(id).state = Registration::State::held;
        if (find(pending.connection) == nullptr) {
            const RequestId back(next_request++);
            Pending& returned = requests[back];
            returned.kind = Kind::unregister_app;
            returned.uid = pending.uid;
            returned.registration = id;
            ++users[pending.uid].requests;
            leave(id);
            provider.unregister_app(back, id);
        }
    } else if (pending.kind == Kind::unregister_app) {
        // Whatever went wrong, the application does not want it any more.
        forget(id);
    }
    answer_request(pending, error, -1);
}

void ApiServer::Impl::on_flow(RequestId request, FlowId flow, std::uint32_t max_sdu) {
    auto node = requests.extract(request);
    // Nobody waits for it any more.
    if (node.empty()) return provider.deallocate(flow);
    Pending& pending = node.mapped();
    release(pending.uid, &Usage::requests);
    FlowSocketOptions made = options.flow;
    made.max_sdu = max_sdu;
    OwnedFd application;
    auto socket = FlowSocket::open(made, application);
    if (!socket) {
        ++counters.no_descriptors;
        release(pending.uid, &Usage::flows);
        provider.deallocate(flow);
        return answer_request(pending, ENFILE, -1);
    }
    ++counters.flows;
    flows[flow] = pending.uid;
    provider.attach(flow, std::move(*socket));
    // If this is lost, or never read, the kernel closes that end, and the provider sees it.
    answer_request(pending, 0, application.get());
}

void ApiServer::Impl::on_flow_ended(FlowId flow) {
    const auto found = flows.find(flow);
    if (found == flows.end()) return;
    release(found->second, &Usage::flows);
    flows.erase(found);
}

}  // namespace sluice::ipc_api
