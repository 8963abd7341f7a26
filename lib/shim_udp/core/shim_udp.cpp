#include "shim_udp/core/shim_udp.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.hpp"
#include "rina/rlite_name.hpp"

// The flows and the registered names, from the user's side and from that of resolver and sockets.
// Datagrams are in datagrams.cpp.

namespace sluice::shim_udp {

namespace {

using rina::AppName;
using rina::Reason;

Result<std::string> text_of(const AppName& name) {
    return rina::checked_rlite_name(name, rina::kNameBytesMax);
}

}  // namespace

std::string_view to_string(Drop drop) noexcept {
    constexpr std::string_view kTexts[] = {
#define SLUICE_X(name, text) text,
        SLUICE_SHIM_UDP_DROPS(SLUICE_X)
#undef SLUICE_X
    };
    return drop < Drop::count_ ? kTexts[static_cast<std::size_t>(drop)] : "unknown";
}

Result<> Shim::check(const Config& config) {
    if (config.mtu < kMtuMin || config.mtu > kMtuMax)
        return fail(EINVAL, "an MTU of {} is not possible, expected {} to {}", config.mtu, kMtuMin,
                    kMtuMax);
    const Duration zero{};
    if (config.flow_del_wait < zero || config.inactivity < zero || config.accept_wait <= zero ||
        config.answer_wait <= zero)
        return fail(EINVAL, "the shim's waiting times must be positive");
    return {};
}

Shim::Shim(const Config& config, Outbox& out) : config_(config), out_(out) {
    SLUICE_CHECK(check(config).has_value());
}

// ---- sockets and names ---------------------------------------------------------------------

SocketId Shim::open_socket(const Endpoint& local, bool listens, FlowHandle flow) {
    const SocketId socket{++last_socket_};
    sockets_[socket] = {listens, flow};
    out_.add(OpenSocket{socket, local});
    return socket;
}

void Shim::close_socket(SocketId socket) {
    if (sockets_.erase(socket) != 0) out_.add(CloseSocket{socket});
}

Shim::App* Shim::app_of(SocketId socket) noexcept {
    const auto app = std::find_if(apps_.begin(), apps_.end(),
                                  [socket](const App& one) { return one.socket == socket; });
    return app == apps_.end() ? nullptr : &*app;
}

bool Shim::is_resolving(const AppName& name) const noexcept {
    return std::any_of(apps_.begin(), apps_.end(),
                       [&name](const App& app) {
                           return app.state == App::State::resolving && app.name == name;
                       }) ||
           std::any_of(flows_.begin(), flows_.end(), [&name](const auto& entry) {
               return entry.second.state == State::resolving && entry.second.remote == name;
           });
}

Result<> Shim::register_app(Instant now, const AppName& name) {
    SLUICE_TRY(const std::string text, text_of(name));
    if (std::any_of(apps_.begin(), apps_.end(), [&name](const App& a) { return a.name == name; }))
        return fail(EEXIST, "{} is registered on this shim already", text);
    if (apps_.size() >= kAppsMax)
        return fail(ENOSPC, "{} cannot be registered: a shim takes {} names", text, kAppsMax);
    if (!is_resolving(name)) out_.add(Resolve{name});
    App app;
    app.name = name;
    app.deadline = now + config_.answer_wait;
    apps_.push_back(std::move(app));
    return {};
}

Result<> Shim::unregister_app(Instant now, const AppName& name) {
    const auto app = std::find_if(apps_.begin(), apps_.end(),
                                  [&name](const App& one) { return one.name == name; });
    if (app == apps_.end())
        return fail(ENOENT, "{} is not registered on this shim", name.to_string());
    for (auto it = flows_.begin(); it != flows_.end();) {
        const auto here = it++;
        if (!waits(here->second) || here->second.listener != app->socket) continue;
        // The socket that told them apart goes too, so nothing has to linger.
        fail_flow(here, Reason::unregistered,
                  fmt::format("{} was unregistered before it took the flow", name.to_string()));
    }
    std::erase_if(arrived_,
                  [&app](const auto& entry) { return entry.first.first == app->socket; });
    close_socket(app->socket);
    apps_.erase(app);
    return {};
}

void Shim::fail_app(Apps::iterator app, std::string text) {
    close_socket(app->socket);
    out_.add(AppFailed{app->name, std::move(text)});
    apps_.erase(app);
}

void Shim::on_resolved(Instant now, const AppName& name, const IpAddress& address) {
    const auto app = std::find_if(apps_.begin(), apps_.end(), [&name](const App& one) {
        return one.state == App::State::resolving && one.name == name;
    });
    if (app != apps_.end()) {
        const auto other = std::find_if(apps_.begin(), apps_.end(), [&](const App& one) {
            return one.state != App::State::resolving && one.address == address;
        });
        if (other != apps_.end()) {
            fail_app(app, fmt::format("{} has the address of {}, which is registered already; "
                                      "each name needs an address of its own", name.to_string(),
                                      other->name.to_string()));
        } else {
            app->state = App::State::opening;
            app->address = address;
            app->deadline = now + config_.answer_wait;
            app->socket = open_socket({address, kWellKnownPort}, true, {});
        }
    }
    for (auto& [handle, flow] : flows_) {
        if (flow.state != State::resolving || flow.remote != name) continue;
        flow.state = State::opening;
        flow.peer = {address, kWellKnownPort};
        flow.deadline = now + config_.answer_wait;
        flow.socket = open_socket({}, false, handle);
    }
}

void Shim::on_unresolved(Instant now, const AppName& name, std::string_view why) {
    const auto app = std::find_if(apps_.begin(), apps_.end(), [&name](const App& one) {
        return one.state == App::State::resolving && one.name == name;
    });
    const std::string text = fmt::format("{} has no address: {}", name.to_string(), why);
    if (app != apps_.end()) fail_app(app, text);
    for (auto it = flows_.begin(); it != flows_.end();) {
        const auto here = it++;
        if (here->second.state == State::resolving && here->second.remote == name)
            fail_flow(here, Reason::no_such_application, text);
    }
}

void Shim::on_named(Instant now, const IpAddress& address, const AppName& name) {
    // A resolver is not to be trusted with what it says: reverse zones are anybody's.
    const bool usable = text_of(name).has_value();
    for (auto& [handle, flow] : flows_) {
        if (flow.state != State::arriving || flow.named || flow.peer.address != address) continue;
        flow.named = true;
        if (usable) flow.remote = name;
        try_request(now, handle, flow);
    }
}

void Shim::on_unnamed(Instant now, const IpAddress& address) { on_named(now, address, {}); }

void Shim::on_socket(Instant now, SocketId socket) {
    const auto found = sockets_.find(socket);
    if (found == sockets_.end()) return;
    if (found->second.listens) {
        App& app = *app_of(socket);
        if (app.state == App::State::ready) return;
        app.state = App::State::ready;
        app.deadline = Instant::never();
        out_.add(AppReady{app.name});
        return;
    }
    const FlowHandle handle = found->second.flow;
    Flow& flow = flows_.find(handle)->second;
    flow.open = true;
    if (flow.state == State::opening) allocated(now, handle, flow);
    if (flow.state == State::arriving) try_request(now, handle, flow);
}

void Shim::on_socket_failed(Instant now, SocketId socket, std::string_view why) {
    const auto found = sockets_.find(socket);
    if (found == sockets_.end()) return;
    if (found->second.listens) {
        const auto app = apps_.begin() + (app_of(socket) - apps_.data());
        return fail_app(app, fmt::format("no socket for {} on port {}: {}", app->name.to_string(),
                                         kWellKnownPort, why));
    }
    const auto it = flows_.find(found->second.flow);
    // An open one that fails later is its flow's business when it sends.
    if (it->second.open) return;
    fail_flow(it, Reason::out_of_memory, fmt::format("no socket for a flow: {}", why));
}

// ---- flows ---------------------------------------------------------------------------------

Result<FlowHandle> Shim::allocate(Instant now, const AppName& local, const AppName& remote,
                                  std::uint32_t cookie) {
    SLUICE_TRY_VOID(text_of(local));
    SLUICE_TRY(const std::string to, text_of(remote));
    if (!link_up_) return fail(ENETDOWN, "no flow to {} is possible: the link is down", to);
    if (flows_.size() >= kFlowsMax)
        return fail(ENOSPC, "no flow to {} is possible: there are {} already", to, flows_.size());
    if (!is_resolving(remote)) out_.add(Resolve{remote});
    const FlowHandle handle{++last_flow_};
    Flow& flow = flows_[handle];
    flow.cookie = cookie;
    flow.local = local;
    flow.remote = remote;
    flow.deadline = now + config_.answer_wait;
    return handle;
}

void Shim::try_request(Instant now, FlowHandle handle, Flow& flow) {
    if (!flow.named || !flow.open) return;
    flow.state = State::requested;
    flow.deadline = now + config_.accept_wait;
    out_.add(FlowRequested{handle, flow.local, flow.remote});
}

void Shim::allocated(Instant now, FlowHandle handle, Flow& flow) {
    const bool was_ours = flow.state == State::opening;
    flow.state = State::allocated;
    flow.heard = now;
    flow.deadline = config_.inactivity > Duration{} ? now + config_.inactivity : Instant::never();
    if (was_ours) out_.add(FlowAllocated{handle, flow.cookie, max_sdu()});
}

Result<> Shim::accept(Instant now, FlowHandle handle) {
    const auto it = flows_.find(handle);
    if (it == flows_.end() || it->second.state != State::requested)
        return fail(ENOENT, "flow {} does not wait for being accepted", handle.value);
    allocated(now, handle, it->second);
    return {};
}

Result<> Shim::refuse(Instant now, FlowHandle handle) {
    const auto it = flows_.find(handle);
    if (it == flows_.end() || it->second.state != State::requested)
        return fail(ENOENT, "flow {} does not wait for being accepted", handle.value);
    linger(now, it->second);
    return {};
}

Result<> Shim::deallocate(Instant now, FlowHandle handle) {
    const auto it = flows_.find(handle);
    if (it == flows_.end() || it->second.state == State::lingering)
        return fail(ENOENT, "there is no flow {}", handle.value);
    if (it->second.open)
        linger(now, it->second);
    else
        erase(it);
    return {};
}

void Shim::linger(Instant now, Flow& flow) {
    flow.state = State::lingering;
    flow.deadline = now + config_.flow_del_wait;
}

void Shim::erase(Flows::iterator it) {
    const Flow& flow = it->second;
    if (flow.listener != SocketId{}) {
        // By then the place may be another flow's: the name was registered again.
        const auto arrived = arrived_.find({flow.listener, flow.peer});
        if (arrived != arrived_.end() && arrived->second == it->first) arrived_.erase(arrived);
    }
    close_socket(flow.socket);
    flows_.erase(it);
}

void Shim::fail_flow(Flows::iterator it, Reason reason, std::string text) {
    out_.add(FlowFailed{it->first, it->second.cookie, reason, std::move(text)});
    erase(it);
}

void Shim::set_link(Instant now, bool up) {
    if (up == link_up_) return;
    link_up_ = up;
    for (auto it = flows_.begin(); it != flows_.end();) {
        const auto here = it++;
        Flow& flow = here->second;
        if (flow.state == State::allocated && !flow.silent) {
            if (up)
                out_.add(FlowUp{here->first});
            else
                out_.add(FlowDown{here->first, Reason::link_down});
        }
        if (flow.state == State::resolving || flow.state == State::opening)
            fail_flow(here, Reason::link_down,
                      fmt::format("the link went down while {} was looked for",
                                  flow.remote.to_string()));
    }
}

std::optional<Target> Shim::target_for(FlowHandle handle) const noexcept {
    const auto it = flows_.find(handle);
    if (!link_up_ || it == flows_.end() || it->second.state != State::allocated)
        return std::nullopt;
    return Target{it->second.socket, it->second.peer};
}

// ---- time ----------------------------------------------------------------------------------

void Shim::inactivity_timeout(Instant now, FlowHandle handle, Flow& flow) {
    // Datagrams only note the time: the timer moves when it has run out.
    const Instant due = flow.heard + config_.inactivity;
    if (now < due) {
        flow.deadline = due;
        return;
    }
    flow.deadline = Instant::never();
    flow.silent = true;
    // A link that is down has been told of already.
    if (link_up_) out_.add(FlowDown{handle, Reason::peer_unresponsive});
}

void Shim::flow_timeout(Instant now, Flows::iterator it) {
    Flow& flow = it->second;
    const std::string wait = to_string(config_.answer_wait);
    switch (flow.state) {
        case State::resolving:
            return fail_flow(it, Reason::timed_out,
                             fmt::format("the address of {} was not found within {}",
                                         flow.remote.to_string(), wait));
        case State::arriving:
            // A peer whose address has no name may still speak for itself to a normal DIF.
            if (flow.open) {
                flow.named = true;
                return try_request(now, it->first, flow);
            }
            [[fallthrough]];
        case State::opening:
            return fail_flow(it, Reason::timed_out,
                             fmt::format("no socket for a flow was opened within {}", wait));
        case State::requested:
            out_.add(FlowFailed{it->first, 0, Reason::timed_out,
                                fmt::format("{} did not answer the request for a flow within {}",
                                            flow.local.to_string(),
                                            to_string(config_.accept_wait))});
            return linger(now, flow);
        case State::allocated: return inactivity_timeout(now, it->first, flow);
        case State::lingering: return erase(it);
    }
}

void Shim::on_timeout(Instant now) {
    for (auto it = flows_.begin(); it != flows_.end();) {
        const auto here = it++;
        if (now >= here->second.deadline) flow_timeout(now, here);
    }
    for (std::size_t i = apps_.size(); i-- > 0;) {
        const auto app = apps_.begin() + static_cast<std::ptrdiff_t>(i);
        if (now >= app->deadline)
            fail_app(app, fmt::format("{} could not be registered: its {} within {}",
                                      app->name.to_string(),
                                      app->state == App::State::resolving
                                          ? "address was not found"
                                          : "socket was not opened",
                                      to_string(config_.answer_wait)));
    }
}

Instant Shim::next_deadline() const noexcept {
    Instant next = Instant::never();
    for (const auto& [handle, flow] : flows_) next = earlier(next, flow.deadline);
    for (const App& app : apps_) next = earlier(next, app.deadline);
    return next;
}

}  // namespace sluice::shim_udp
