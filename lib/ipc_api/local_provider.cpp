#include "ipc_api/local_provider.hpp"

#include <sys/epoll.h>

#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rina/rlite_name.hpp"

namespace sluice::ipc_api {
namespace {

constexpr std::size_t kBurst = 32;
constexpr int kBurstsPerRound = 4;

// What an application has written, on its way to the other one.
struct Direction {
    std::unique_ptr<std::byte[]> bytes;
    std::vector<FlowSocket::Slot> slots;
    std::size_t begin = 0;  // held: [begin, end)
    std::size_t end = 0;

    bool holds() const { return begin != end; }
};

struct Side {
    std::optional<FlowSocket> socket;
    std::uint32_t watched = 0;  // epoll events
    Direction out;
};

// An end is numbered 2 * flow, or that and one: so the other one is found, and the flow.
struct Flow {
    std::array<Side, 2> sides;
    bool reliable = false;
    int attached = 0;
};

struct Allocation {
    RequestId request;
    FlowRequest what;
    RegistrationId to;
};

constexpr std::uint64_t flow_of(std::uint64_t end) { return end / 2; }
constexpr std::size_t side_of(std::uint64_t end) { return end % 2; }

}  // namespace

struct LocalProvider::Impl {
    void prepare(Direction& direction, std::uint32_t room);
    bool push(Flow& flow, Side& to, Direction& held);
    bool pump(Flow& flow, std::size_t from);
    void run(std::uint64_t number);
    void watch(std::uint64_t number, Flow& flow);
    void watch(Side& side, std::uint64_t end, std::uint32_t events);
    void finish(std::uint64_t number);

    LocalOptions options;
    OwnedFd epoll;
    IpcUser* user = nullptr;
    LocalCounters counters;
    std::map<std::string, RegistrationId> names;
    std::unordered_map<IncomingId, Allocation> asked;
    std::unordered_map<std::uint64_t, std::unique_ptr<Flow>> flows;
    std::uint64_t next_incoming = 1;
    std::uint64_t next_flow = 1;
};

Result<std::unique_ptr<LocalProvider>> LocalProvider::create(LocalOptions options) {
    auto impl = std::make_unique<Impl>();
    impl->options = std::move(options);
    impl->epoll = OwnedFd(::epoll_create1(EPOLL_CLOEXEC));
    if (!impl->epoll.valid()) return fail(errno, "cannot make an epoll: {}", std::strerror(errno));
    return std::unique_ptr<LocalProvider>(new LocalProvider(std::move(impl)));
}

LocalProvider::LocalProvider(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LocalProvider::~LocalProvider() = default;

int LocalProvider::fd() const noexcept { return impl_->epoll.get(); }
const LocalCounters& LocalProvider::counters() const noexcept { return impl_->counters; }
std::size_t LocalProvider::flows() const noexcept { return impl_->flows.size(); }
void LocalProvider::set_user(IpcUser* user) { impl_->user = user; }

// ---- names and flows -------------------------------------------------------------------------

void LocalProvider::register_app(RequestId request, RegistrationId registration,
                                 const rina::AppName& name, const std::string& dif) {
    if (!dif.empty() && dif != impl_->options.dif)
        return impl_->user->on_done(request, ENETUNREACH);
    const bool added = impl_->names.emplace(rina::rlite_name(name), registration).second;
    impl_->user->on_done(request, added ? 0 : EADDRINUSE);
}

void LocalProvider::unregister_app(RequestId request, RegistrationId registration) {
    std::erase_if(impl_->names, [&](const auto& entry) { return entry.second == registration; });
    impl_->user->on_done(request, 0);
}

void LocalProvider::allocate_flow(RequestId request, const FlowRequest& what) {
    const auto found = impl_->names.find(rina::rlite_name(what.remote));
    if (!what.dif.empty() && what.dif != impl_->options.dif)
        return impl_->user->on_done(request, ENETUNREACH);
    if (found == impl_->names.end()) return impl_->user->on_done(request, EHOSTUNREACH);
    if (impl_->options.bandwidth_max != 0 &&
        what.spec.avg_bandwidth > impl_->options.bandwidth_max)
        return impl_->user->on_done(request, ENOTSUP);
    const IncomingId id(impl_->next_incoming++);
    FlowRequest shown = what;
    shown.dif = impl_->options.dif;
    std::swap(shown.local, shown.remote);
    impl_->asked[id] = {request, what, found->second};
    impl_->user->on_incoming(id, found->second, shown);
}

void LocalProvider::cancel_allocation(RequestId request) {
    for (const auto& [id, allocation] : impl_->asked) {
        if (allocation.request != request) continue;
        const IncomingId gone = id;
        impl_->asked.erase(gone);
        return impl_->user->on_incoming_gone(gone);
    }
}

void LocalProvider::respond_flow(RequestId request, IncomingId id, bool accept) {
    auto node = impl_->asked.extract(id);
    if (node.empty()) return impl_->user->on_done(request, ESTALE);
    const Allocation& allocation = node.mapped();
    if (!accept) {
        impl_->user->on_done(allocation.request, ECONNREFUSED);
        return impl_->user->on_done(request, 0);
    }
    const std::uint64_t number = impl_->next_flow++;
    auto flow = std::make_unique<Flow>();
    flow->reliable = allocation.what.spec.max_sdu_gap == 0;
    impl_->flows.emplace(number, std::move(flow));
    ++impl_->counters.flows;
    impl_->user->on_flow(request, FlowId(2 * number + 1), impl_->options.max_sdu);
    impl_->user->on_flow(allocation.request, FlowId(2 * number), impl_->options.max_sdu);
    impl_->run(number);
}

void LocalProvider::attach(FlowId end, FlowSocket socket) {
    const auto found = impl_->flows.find(flow_of(end.value));
    if (found == impl_->flows.end()) return;
    Side& side = found->second->sides[side_of(end.value)];
    impl_->prepare(side.out, socket.max_sdu());
    side.socket.emplace(std::move(socket));
}

// The other end has its flow, or will have it: it finds it deallocated.
void LocalProvider::deallocate(FlowId) {}

// ---- data --------------------------------------------------------------------------------------

void LocalProvider::on_ready() {
    std::array<epoll_event, 32> events;
    const int count = ::epoll_wait(impl_->epoll.get(), events.data(), events.size(), 0);
    for (int i = 0; i < count; ++i)
        impl_->run(flow_of(events[static_cast<std::size_t>(i)].data.u64));
}

void LocalProvider::Impl::prepare(Direction& direction, std::uint32_t room) {
    // Not touched before it is needed: most flows carry short SDUs.
    direction.bytes = std::make_unique_for_overwrite<std::byte[]>(kBurst * room);
    for (std::size_t i = 0; i < kBurst; ++i)
        direction.slots.push_back({direction.bytes.get() + i * room, room, 0});
}

// True if nothing is left.
bool LocalProvider::Impl::push(Flow& flow, Side& to, Direction& held) {
    std::array<iovec, kBurst> sdus;
    std::size_t count = 0;
    for (std::size_t i = held.begin; i < held.end; ++i)
        sdus[count++] = {held.slots[i].bytes, held.slots[i].length};
    const std::size_t taken = to.socket->write({sdus.data(), count});
    counters.sdus += taken;
    held.begin += taken;
    if (held.holds() && !flow.reliable) {
        counters.lost += held.end - held.begin;
        held.begin = held.end;
    }
    return !held.holds();
}

// True if this direction is over: its application has closed, and all is delivered.
bool LocalProvider::Impl::pump(Flow& flow, std::size_t from) {
    Side& source = flow.sides[from];
    Side& to = flow.sides[1 - from];
    Direction& held = source.out;
    for (int i = 0; i < kBurstsPerRound; ++i) {
        if (held.holds() && !push(flow, to, held)) return false;
        held.begin = 0;
        held.end = source.socket->read(held.slots);
        if (held.end == 0) return source.socket->state() != FlowSocket::State::open;
    }
    if (held.holds()) push(flow, to, held);
    return false;
}

void LocalProvider::Impl::run(std::uint64_t number) {
    const auto found = flows.find(number);
    if (found == flows.end()) return;
    Flow& flow = *found->second;
    // An application that was gone before it had its end.
    if (!flow.sides[0].socket || !flow.sides[1].socket) return finish(number);
    const bool over = pump(flow, 0);
    if (pump(flow, 1) || over) return finish(number);
    watch(number, flow);
}

void LocalProvider::Impl::watch(std::uint64_t number, Flow& flow) {
    for (std::size_t i = 0; i < 2; ++i) {
        std::uint32_t events = 0;
        if (!flow.sides[i].out.holds()) events |= EPOLLIN;
        if (flow.sides[1 - i].out.holds()) events |= EPOLLOUT;
        watch(flow.sides[i], 2 * number + i, events);
    }
}

void LocalProvider::Impl::watch(Side& side, std::uint64_t end, std::uint32_t events) {
    if (side.watched == events) return;
    epoll_event event = {events, {.u64 = end}};
    // Out of it altogether if there is nothing to do: a socket whose other end has closed is always
    // reported.
    const int how = events == 0         ? EPOLL_CTL_DEL
                    : side.watched == 0 ? EPOLL_CTL_ADD
                                        : EPOLL_CTL_MOD;
    ::epoll_ctl(epoll.get(), how, side.socket->fd(), &event);
    side.watched = events;
}

void LocalProvider::Impl::finish(std::uint64_t number) {
    auto node = flows.extract(number);
    Flow& flow = *node.mapped();
    for (std::size_t i = 0; i < 2; ++i) {
        Side& side = flow.sides[i];
        if (!side.socket) continue;
        // What the other side was told, as far as there is room for it.
        Direction& held = flow.sides[1 - i].out;
        if (held.holds()) push(flow, side, held);
        side.socket->finish();
        side.socket.reset();
        if (user != nullptr) user->on_flow_ended(FlowId(2 * number + i));
    }
}

}  // namespace sluice::ipc_api
