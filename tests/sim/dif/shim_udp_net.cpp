#include "shim_udp_net.hpp"

#include <fmt/format.h>

#include <cerrno>

namespace sluice::sim {

namespace {

using shim_udp::Endpoint;
using shim_udp::FlowHandle;
using shim_udp::IpAddress;
using shim_udp::SocketId;

constexpr std::size_t kAround = 14 + 20 + 8 + 24;  // Ethernet, IPv4, UDP, and around a frame
constexpr Duration kNamesAgain = Duration::seconds(5);
constexpr std::uint16_t kFirstEphemeral = 49152;  // RFC 6335, 6

}  // namespace

// ---- a host ----

class ShimUdpNet::Host final : public ShimEnd {
  public:
    Host(ShimUdpNet& net, std::size_t index, const link_model::Config& config)
        : ShimEnd(net.env_, net.dif_), net_(net), index_(index) {
        model.set_config(config);
    }
    ~Host() { power_off(); }

    void set_link(bool up) {
        is_plugged = up;
        if (shim_ == nullptr) return;
        shim_->set_link(env_.now(), up);
        settle();
    }

    // The port that others see, and back.
    std::uint16_t outside(std::uint16_t port) const {
        const auto at = outside_.find(port);
        return at == outside_.end() ? port : at->second;
    }
    // From now on others see other ports; what they send to the former ones leads nowhere.
    std::size_t rebind() {
        std::size_t changed = 0;
        for (const auto& [id, local] : sockets_)
            if (local.port >= kFirstEphemeral) {
                outside_[local.port] = draw_port();
                ++changed;
            }
        return changed;
    }

    void receive(const Endpoint& from, const Endpoint& to, const Bytes& bytes) {
        if (shim_ == nullptr || !is_plugged) return;
        for (const auto& [id, local] : sockets_) {
            if (outside(local.port) != to.port ||
                (local.address != IpAddress{} && local.address != to.address))
                continue;
            const shim_udp::Verdict v = shim_->on_datagram(env_.now(), id, from, bytes);
            env_.trace.note(env_.now(), dif(), index_, bytes.size(),
                            static_cast<std::uint64_t>(v.kind), static_cast<std::uint64_t>(v.drop));
            settle();
            if (v.kind == shim_udp::Verdict::Kind::drop) return;
            const auto begin = bytes.begin() + v.offset;
            Bytes sdu(begin, begin + v.length);
            const PortId flow{v.flow.value};
            return v.kind == shim_udp::Verdict::Kind::hold ? hold(flow, std::move(sdu))
                                                           : take(flow, std::move(sdu));
        }
        ++unreachable;
    }

    // Of all its lives.
    std::uint64_t dropped(std::size_t i) const {
        return drops_[i] +
               (shim_ == nullptr ? 0 : shim_->dropped(static_cast<shim_udp::Drop>(i)));
    }
    bool has_own_name() const noexcept { return has_own_name_; }

    bool is_plugged = true;
    link_model::LinkModel model;
    std::uint64_t unreachable = 0, names_failed = 0;

  protected:
    void core_start() override {
        shim_udp::Config config;
        config.mtu = net_.mtu_;
        shim_ = std::make_unique<shim_udp::Shim>(config, out_);
        shim_->set_link(env_.now(), is_plugged);
        has_own_name_ = false;
    }
    void core_stop() override {
        for (std::size_t i = 0; i < drops_.size(); ++i)
            drops_[i] += shim_->dropped(static_cast<shim_udp::Drop>(i));
        shim_.reset();
        out_.clear();
        sockets_.clear();
        outside_.clear();
        registered_.clear();
    }
    void core_register(const rina::AppName& name) override {
        registered_.insert(name.to_string());
        if (auto done = shim_->register_app(env_.now(), name); !done)
            env_.verdicts.fail("config", done.error().message);
    }
    void core_unregister(const rina::AppName& name) override {
        registered_.erase(name.to_string());
        static_cast<void>(shim_->unregister_app(env_.now(), name));
    }
    Result<PortId> core_allocate(const rina::AppName& local, const rina::AppName& remote,
                                 std::uint32_t cookie) override {
        SLUICE_TRY(const auto flow, shim_->allocate(env_.now(), local, remote, cookie));
        return PortId{flow.value};
    }
    Result<> core_accept(PortId flow) override {
        return shim_->accept(env_.now(), FlowHandle{flow.value});
    }
    void core_refuse(PortId flow) override {
        static_cast<void>(shim_->refuse(env_.now(), FlowHandle{flow.value}));
    }
    void core_deallocate(PortId flow) override {
        static_cast<void>(shim_->deallocate(env_.now(), FlowHandle{flow.value}));
    }
    void core_timeout() override { shim_->on_timeout(env_.now()); }
    Instant core_deadline() const override {
        return shim_ == nullptr ? Instant::never() : shim_->next_deadline();
    }

    void carry_out() override {
        for (shim_udp::Action& action : std::exchange(out_.actions, {}))
            std::visit([this](auto& a) { act(a); }, action);
    }

    bool has_room(PortId flow) override {
        const Duration wait = ring_full_for(model, env_.now());
        if (wait.ns == 0) return true;
        if (!waits_for_room(flow)) later(wait, [this, flow] { wake(flow); });
        return false;
    }

    void send(PortId flow, const Bytes& sdu) override {
        const auto target = shim_->target_for(FlowHandle{flow.value});
        if (!target) return env_.drop(DropReason::link_down);
        if (sdu.size() > shim_->max_sdu()) return env_.drop(DropReason::too_long);
        Endpoint source = sockets_.at(target->socket);
        if (source.address == IpAddress{}) source.address = net_.address_of(index_, false);
        source.port = outside(source.port);
        net_.send(index_, source, target->to, sdu);
    }

  private:
    void act(shim_udp::Resolve& action) {
        // Asked when the answer is on its way back: a name may have moved meanwhile.
        later(net_.name_service_takes(), [this, name = std::move(action.name)] {
            const auto address = net_.resolve(name.to_string());
            if (address)
                shim_->on_resolved(env_.now(), name, *address);
            else
                shim_->on_unresolved(env_.now(), name, "no such host");
            settle();
        });
    }
    void act(shim_udp::ResolveAddress& action) {
        later(net_.name_service_takes(), [this, address = action.address] {
            const auto text = net_.name_of(address);
            const auto name = rina::AppName::parse(text.value_or(""));
            // Not everybody keeps a reverse zone.
            if (text && name && !env_.rng.chance(0.1))
                shim_->on_named(env_.now(), address, *name);
            else
                shim_->on_unnamed(env_.now(), address);
            settle();
        });
    }
    void act(shim_udp::OpenSocket& action) {
        sockets_[action.socket] = {};  // bound to no port yet
        later(Duration::microseconds(30), [this, action] { bind(action.socket, action.local); });
    }
    void act(shim_udp::CloseSocket& action) { sockets_.erase(action.socket); }
    void act(shim_udp::FlowRequested& a) { on_requested(PortId{a.flow.value}, a.local, a.remote); }
    void act(shim_udp::FlowAllocated& a) { on_allocated(PortId{a.flow.value}, a.cookie); }
    void act(shim_udp::FlowFailed& a) { on_failed(PortId{a.flow.value}, a.cookie, a.text); }
    void act(shim_udp::FlowDown& a) { on_down(PortId{a.flow.value}); }
    void act(shim_udp::FlowUp&) {}
    void act(shim_udp::AppReady& a) {
        if (a.name.to_string() == net_.names_[index_]) has_own_name_ = true;
    }
    // The operator of the host tries again, as what is wrong may be the name service.
    void act(shim_udp::AppFailed& a) {
        ++names_failed;
        later(kNamesAgain, [this, name = a.name] {
            if (!registered_.contains(name.to_string())) return;
            static_cast<void>(shim_->register_app(env_.now(), name));
            settle();
        });
    }

    void bind(SocketId id, const Endpoint& wanted) {
        const auto at = sockets_.find(id);
        if (at == sockets_.end()) return;  // closed meanwhile
        Endpoint local = wanted;
        if (local.port == 0) local.port = draw_port();
        const bool is_ours = local.address == IpAddress{} || net_.host_of(local.address) == index_;
        const bool is_free =
            std::none_of(sockets_.begin(), sockets_.end(),
                         [&](const auto& other) { return other.second == local; });
        if (is_ours && is_free) {
            at->second = local;
            shim_->on_socket(env_.now(), id);
        } else {
            sockets_.erase(at);
            shim_->on_socket_failed(env_.now(), id,
                                    is_ours ? "address in use" : "no address of this host");
        }
        settle();
    }

    std::uint16_t draw_port() {
        while (true) {
            const auto port =
                static_cast<std::uint16_t>(env_.rng.between(kFirstEphemeral, 65535));
            if (std::none_of(sockets_.begin(), sockets_.end(), [&](const auto& other) {
                    return other.second.port == port || outside(other.second.port) == port;
                }))
                return port;
        }
    }

    ShimUdpNet& net_;
    std::size_t index_;
    shim_udp::Outbox out_;
    std::unique_ptr<shim_udp::Shim> shim_;
    std::map<SocketId, Endpoint> sockets_;
    std::map<std::uint16_t, std::uint16_t> outside_;  // of a translator's, other than ours
    std::set<std::string> registered_;
    bool has_own_name_ = false;
    std::array<std::uint64_t, shim_udp::kDropCount> drops_{};
};

// ---- the network ----

ShimUdpNet::ShimUdpNet(Env& env, std::string dif, const link_model::Config& config,
                       const std::vector<std::string>& hosts, std::string name_of_all,
                       std::uint32_t mtu)
    : env_(env),
      dif_(std::move(dif)),
      names_(hosts),
      name_of_all_(std::move(name_of_all)),
      mtu_(mtu) {
    for (std::size_t i = 0; i < hosts.size(); ++i)
        hosts_.push_back(std::make_unique<Host>(*this, i, config));
}

ShimUdpNet::~ShimUdpNet() = default;

Provider& ShimUdpNet::end(std::size_t host) { return *hosts_[host]; }

void ShimUdpNet::set_config(const link_model::Config& config) {
    for (const auto& host : hosts_) host->model.set_config(config);
}

IpAddress ShimUdpNet::address_of(std::size_t host, bool of_all) const {
    return IpAddress::v4(0x0a000000u + static_cast<std::uint32_t>(host) * 256 + (of_all ? 2 : 1));
}

std::size_t ShimUdpNet::host_of(const IpAddress& address) const {
    return (static_cast<std::size_t>(address.bytes[13]) << 8) | address.bytes[14];
}

std::optional<IpAddress> ShimUdpNet::resolve(const std::string& name) const {
    if (name == name_of_all_) return address_of(owner_, true);
    const auto at = std::find(names_.begin(), names_.end(), name);
    if (at == names_.end()) return std::nullopt;
    return address_of(static_cast<std::size_t>(at - names_.begin()), false);
}

std::optional<std::string> ShimUdpNet::name_of(const IpAddress& address) const {
    const std::size_t host = host_of(address);
    if (host >= names_.size()) return std::nullopt;
    return address.bytes[15] == 2 ? name_of_all_ : names_[host];
}

Duration ShimUdpNet::name_service_takes() {
    const std::uint64_t us = env_.rng.between(200, 5000);
    const bool is_slow = env_.now() < slow_until_;
    return Duration::microseconds(static_cast<std::int64_t>(is_slow ? us * 2000 : us));
}

void ShimUdpNet::send(std::size_t from, const Endpoint& source, const Endpoint& destination,
                      const Bytes& bytes) {
    Host& host = *hosts_[from];
    if (!host.is_plugged) return;
    const link_model::LinkVerdict v =
        host.model.apply(env_.now(), env_.rng, bytes.size() + kAround);
    for (std::uint8_t i = 0; i < v.copies; ++i) {
        const Datagram datagram{from, source, destination, env_.buffers.make(bytes)};
        ++env_.under_way;
        env_.clock.at(v.at[i], [this, datagram] { deliver(datagram); });
    }
}

void ShimUdpNet::deliver(const Datagram& datagram) {
    const Bytes bytes = env_.buffers.take(datagram.token);
    --env_.under_way;
    const std::size_t to = host_of(datagram.destination.address);
    if (to >= hosts_.size() || blocked_.contains(std::minmax(datagram.from, to)) ||
        !hosts_[datagram.from]->is_plugged)
        return;
    hosts_[to]->receive(datagram.source, datagram.destination, bytes);
}

void ShimUdpNet::set_plugged(std::size_t host, bool plugged) {
    if (hosts_[host]->is_plugged != plugged) hosts_[host]->set_link(plugged);
}

void ShimUdpNet::cut(std::size_t a, std::size_t b, bool silently) {
    if (silently) {
        blocked_.insert(std::minmax(a, b));
        return;
    }
    set_plugged(b, false);
    if (hosts_.size() == 2) set_plugged(a, false);
}

void ShimUdpNet::mend(std::size_t a, std::size_t b) {
    blocked_.erase(std::minmax(a, b));
    set_plugged(a, true);
    set_plugged(b, true);
}

bool ShimUdpNet::is_up(std::size_t a, std::size_t b) const {
    return hosts_[a]->is_plugged && hosts_[b]->is_plugged &&
           !blocked_.contains(std::minmax(a, b)) && hosts_[a]->has_own_name() &&
           hosts_[b]->has_own_name();
}

// Other hosts do not see it, however it was.
void ShimUdpNet::power_off(std::size_t host, bool) { hosts_[host]->power_off(); }
void ShimUdpNet::power_on(std::size_t host) { hosts_[host]->power_on(); }

void ShimUdpNet::disturb() {
    switch (env_.rng.below(4)) {
        case 0: owner_ = env_.rng.below(hosts_.size()); return;
        case 1: slow_until_ = env_.now() + Duration::seconds(10); return;
        default: rebound_ += hosts_[env_.rng.below(hosts_.size())]->rebind(); return;
    }
}

std::string ShimUdpNet::report() const {
    std::string out;
    for (std::size_t h = 0; h < hosts_.size(); ++h) {
        out += fmt::format("  {} host {}:", dif_, h);
        for (std::size_t i = 0; i < shim_udp::kDropCount; ++i)
            if (const auto n = hosts_[h]->dropped(i); n != 0)
                out += fmt::format(" '{}' {}", to_string(static_cast<shim_udp::Drop>(i)), n);
        out += fmt::format(" unreachable {} names failed {}\n", hosts_[h]->unreachable,
                           hosts_[h]->names_failed);
    }
    return out + fmt::format("  ports changed {}\n", rebound_);
}

}  // namespace sluice::sim
