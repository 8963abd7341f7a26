#include "ipc_process.hpp"

namespace sluice::sim {

using rmt::N1PortId;

namespace {

transfer::TransferConfig transfer_config(const IpcProcessConfig& c) {
    transfer::TransferConfig out;
    out.rmt.format = c.ipcp.format;
    out.rmt.own = c.ipcp.address;
    out.rmt.inet_checksum = c.protection == "inet";
    out.seed = c.ipcp.seed;
    return out;
}

// What authentication would have given both ends: each DIF below has its own key.
void install_keys(sdup::Protection& protection, const std::string& lower_dif) {
    auto* const sealer = std::get_if<sdup::AesGcmSealer>(&protection.sealer);
    if (sealer == nullptr) return;
    sdup::TrafficKey key;
    for (std::size_t i = 0; i < lower_dif.size(); ++i)
        key.key[i % key.key.size()] ^= static_cast<std::byte>(lower_dif[i]);
    static_cast<void>(sealer->install(sdup::KeyEpoch{1}, key));
    auto& opener = std::get<sdup::AesGcmOpener>(protection.opener);
    static_cast<void>(opener.install(sdup::KeyEpoch{1}, key));
}

}  // namespace

IpcProcess::IpcProcess(Env& env, IpcProcessConfig config)
    : env_(env),
      config_(std::move(config)),
      watch_(env, config_.ipcp.format),
      transfer_(transfer_config(config_)),
      life_(env.next_life++) {
    env_.alive.insert(life_);
    for (const Provider* lower : config_.lowers) config_.ipcp.lower_difs.push_back(lower->dif());
    auto made = mgmt::Ipcp::create(env_.now(), config_.ipcp);
    if (!made) {
        env_.verdicts.fail("config", made.error().message);
        return;
    }
    ipcp_ = std::move(*made);
    const rina::AppName own{config_.ipcp.name, {}, {}, {}}, dif{config_.ipcp.dif, {}, {}, {}};
    for (Provider* lower : config_.lowers) {
        lower->register_name(*this, own);
        if (config_.ipcp.enroller) lower->register_name(*this, dif);
    }
    arm();
}

IpcProcess::~IpcProcess() {
    env_.alive.erase(life_);
    for (auto& [id, flow] : flows_) drop_partial(flow);
    transfer_.unbind_all(out_);
    for (const auto& item : out_.drop) env_.buffers.free(item.token);
    for (const PduToken token : out_.done) env_.buffers.free(token);
    for (const auto& item : out_.deliver) env_.buffers.free(item.item.token);
    for (const auto& item : out_.originate)
        if (!item.item.kept) env_.buffers.free(item.item.token);
    while (!ports_.empty()) remove_port(ports_.begin()->first);
    for (Provider* lower : config_.lowers) lower->forget(*this);
}

std::function<void()> IpcProcess::guarded(std::function<void()> act) {
    return [&env = env_, life = life_, act = std::move(act)] {
        if (env.alive.contains(life)) act();
    };
}

Provider* IpcProcess::lower(const std::string& dif) const {
    for (Provider* lower : config_.lowers)
        if (lower->dif() == dif) return lower;
    return nullptr;
}

void IpcProcess::enroll(const std::string& lower_dif, const std::string& peer) {
    if (auto done = ipcp_->enroll(env_.now(), lower_dif, peer); !done)
        env_.verdicts.fail("config", done.error().message);
    act();
}

void IpcProcess::disconnect(const std::string& neighbor) {
    static_cast<void>(ipcp_->disconnect(env_.now(), neighbor));
    act();
}

const std::string* IpcProcess::lower_of(N1PortId port) const {
    const auto at = ports_.find(port);
    return at == ports_.end() ? nullptr : &at->second.lower->dif();
}

void IpcProcess::inject(const Bytes& frame) {
    for (auto& [id, port] : ports_) send_frame(port, frame);
}

void IpcProcess::set_reads_slowly(bool slowly) {
    reads_slowly_ = slowly;
    if (slowly) return;
    for (const auto& [flow, pdus] : std::exchange(unread_, {})) {
        transfer_.consumed(env_.now(), flow, pdus, out_);
        drain_out();
    }
    arm();
}

// ---- actions of layer management ----

void IpcProcess::act() {
    // Only as a member: whoever let it in has told it otherwise.
    if (config_.gives_no_addresses && ipcp_->is_member() &&
        ipcp_->config().addresses.policy != mgmt::AddressPolicy::static_)
        static_cast<void>(ipcp_->set_policy(env_.now(), "address-allocation", "static"));
    for (auto list = ipcp_->take_actions(); !list.empty(); list = ipcp_->take_actions())
        for (mgmt::IpcpAction& action : list)
            std::visit([this](auto& one) { on(one); }, action);
    watch_.message_is_done();
    drain_out();
    arm();
}

void IpcProcess::on(mgmt::SendToNeighbor& s) {
    watch_.message_goes(s.port, s.payload);
    enqueue(s.port, frame_of(s.pci, s.payload), s.pci.qos);
}

void IpcProcess::on(mgmt::SendToMember& m) {
    watch_.message_to_member(m.payload);
    const rmt::Decision d = transfer_.route(m.pci);
    if (d.kind == rmt::Decision::Kind::forward)
        enqueue(d.port, frame_of(m.pci, m.payload), m.pci.qos);
    else if (d.kind != rmt::Decision::Kind::drop)
        env_.clock.after({}, guarded([this, pci = m.pci, payload = std::move(m.payload)] {
            ipcp_->received(env_.now(), rmt::kNoN1Port, pci, payload);
            act();
        }));
}

void IpcProcess::on(mgmt::AllocateLowerFlow& a) {
    Provider* const below = lower(a.lower_dif);
    const std::uint32_t cookie = next_cookie_++;
    asked_[cookie] = {a.lower_dif, a.peer};
    mgmt::FlowSpec spec;
    if (below == nullptr ||
        !below->allocate(*this, {config_.ipcp.name, {}, {}, {}}, {a.peer, {}, {}, {}}, spec,
                         cookie))
        env_.clock.after({}, guarded([this, cookie] {
            const auto at = asked_.extract(cookie);
            ipcp_->flow_failed(env_.now(), at.mapped().lower_dif, at.mapped().peer);
            act();
        }));
}

void IpcProcess::on(mgmt::PublishRoutes& p) {
    if (auto done = transfer_.set_routes(std::move(p.routes)); !done)
        env_.verdicts.fail("routes", done.error().message);
}

void IpcProcess::on(mgmt::AddressChanged& c) {
    // Somebody else has its address: a claim was lost, or the answer.
    if (has_moved_) ++env_.moved;
    has_moved_ = true;
    transfer_.set_address(c.address);
}

void IpcProcess::on(mgmt::AllowSource& a) {
    if (auto done = transfer_.set_source(a.port, a.source); !done)
        env_.verdicts.fail("sources", done.error().message);
}

void IpcProcess::on(mgmt::Bind& b) {
    b.terms.policies.initial_sequence = config_.first_sequence;
    flows_[b.port].terms = b.terms;
    transfer_.bind(env_.now(), b);
}

void IpcProcess::on(mgmt::SetPeer& s) {
    s.terms.policies.initial_sequence = config_.first_sequence;
    flows_[s.port].terms = s.terms;
    transfer_.set_peer(env_.now(), s, out_);
}

void IpcProcess::on(mgmt::Unbind& u) {
    transfer_.unbind(u, out_);
    drain_out();
    if (const auto at = flows_.find(u.port); at != flows_.end()) {
        drop_partial(at->second);
        // Until its user has heard of it.
        if (at->second.user == nullptr) flows_.erase(at);
    }
    unread_.erase(u.port);
}

void IpcProcess::on(mgmt::FlowRequested& q) {
    const auto user = names_.find(q.local.to_string());
    if (user == names_.end())
        static_cast<void>(ipcp_->refuse_flow(env_.now(), q.port));
    else
        user->second->requested(*this, q.port, q.local, q.remote);
}

void IpcProcess::on(mgmt::FlowAllocated& a) {
    Flow& flow = flows_[a.port];
    flow.terms = a.terms;
    if (a.terms.policies.delimiting)
        flow.reassembler = std::make_unique<efcp::Reassembler>(efcp::Reassembler::Limits{});
    if (flow.user != nullptr) flow.user->allocated(*this, a.port, a.cookie, a.terms);
}

void IpcProcess::on(mgmt::FlowFailed& f) {
    const auto at = flows_.find(f.port);
    if (at == flows_.end()) return;
    FlowUser* const user = at->second.user;
    flows_.erase(at);
    if (user != nullptr)
        user->failed(*this, f.cookie, std::string(rina::to_string(f.reason)) + " " + f.text);
}

void IpcProcess::on(mgmt::FlowDeallocated& d) {
    const auto at = flows_.find(d.port);
    if (at == flows_.end() || at->second.user == nullptr) return;
    // After what was delivered before.
    env_.clock.after({}, guarded([this, port = d.port] {
        const auto it = flows_.find(port);
        if (it != flows_.end() && it->second.user != nullptr)
            it->second.user->closed(*this, port);
    }));
}

// ---- below ----

N1PortId IpcProcess::add_port(Provider& lower, PortId flow) {
    N1PortId id{};
    while (ports_.contains(id)) ++id.value;
    auto scheduler = rmt::make_scheduler(config_.scheduler, {});
    auto protection = sdup::make_protection(config_.protection, {}, config_.ipcp.format);
    if (!scheduler || !protection) {
        env_.verdicts.fail("config", !scheduler ? scheduler.error().message
                                                : protection.error().message);
        return rmt::kNoN1Port;
    }
    install_keys(*protection, lower.dif());
    ports_.emplace(id, N1Port{&lower, flow, std::move(*scheduler), std::move(*protection)});
    by_flow_[{&lower, flow}] = id;
    transfer_.set_port(id, true);
    return id;
}

void IpcProcess::remove_port(N1PortId id) {
    const auto at = ports_.find(id);
    if (at == ports_.end()) return;
    transfer_.set_port(id, false);
    rmt::SchedItem item;
    while (rmt::dequeue(at->second.scheduler, env_.now(), ~std::uint64_t{0}, {&item, 1}) != 0) {
        env_.buffers.free(item.token);
        env_.drop(DropReason::dif_n1_down);
    }
    const auto [lower, flow] = std::pair(at->second.lower, at->second.flow);
    by_flow_.erase({lower, flow});
    ports_.erase(at);
    watch_.port_gone(id);
    lower->deallocate(flow);
}

void IpcProcess::requested(Provider& dif, PortId flow, const rina::AppName&, const rina::AppName&) {
    dif.accept(*this, flow);
    const N1PortId port = add_port(dif, flow);
    ipcp_->flow_accepted(env_.now(), port, dif.dif());
    act();
}

void IpcProcess::allocated(Provider& dif, PortId flow, std::uint32_t cookie,
                           const mgmt::FlowTerms&) {
    const auto asked = asked_.extract(cookie);
    if (asked.empty()) return;  // of a flow that somebody else asked for
    const N1PortId port = add_port(dif, flow);
    ipcp_->flow_up(env_.now(), port, asked.mapped().lower_dif, asked.mapped().peer);
    act();
}

void IpcProcess::failed(Provider&, std::uint32_t cookie, const std::string&) {
    const auto asked = asked_.extract(cookie);
    if (asked.empty()) return;
    ipcp_->flow_failed(env_.now(), asked.mapped().lower_dif, asked.mapped().peer);
    act();
}

void IpcProcess::closed(Provider& dif, PortId flow) {
    const auto at = by_flow_.find({&dif, flow});
    if (at == by_flow_.end()) return;
    const N1PortId port = at->second;
    remove_port(port);
    ipcp_->flow_down(env_.now(), port);
    act();
}

// ---- above ----

void IpcProcess::register_name(FlowUser& user, const rina::AppName& name) {
    names_[name.to_string()] = &user;
    ipcp_->register_application(env_.now(), name);
    act();
}

void IpcProcess::unregister_name(const rina::AppName& name) {
    names_.erase(name.to_string());
    ipcp_->unregister_application(env_.now(), name);
    act();
}

Result<> IpcProcess::allocate(FlowUser& user, const rina::AppName& local,
                              const rina::AppName& remote, const mgmt::FlowSpec& spec,
                              std::uint32_t cookie) {
    auto port = ipcp_->allocate_flow(env_.now(), local, remote, spec, cookie);
    if (!port) return tl::unexpected(port.error());
    flows_[*port].user = &user;
    flows_[*port].cookie = cookie;
    act();
    return {};
}

void IpcProcess::accept(FlowUser& user, PortId flow) {
    flows_[flow].user = &user;
    static_cast<void>(ipcp_->accept_flow(env_.now(), flow, 0));
    env_.clock.after({}, guarded([this] { act(); }));
}

void IpcProcess::deallocate(PortId flow) {
    const auto at = flows_.find(flow);
    if (at == flows_.end()) return;
    at->second.user = nullptr;
    static_cast<void>(ipcp_->deallocate_flow(env_.now(), flow));
    act();
    if (!ipcp_->flows().find(flow)) flows_.erase(flow);
}

void IpcProcess::forget(FlowUser& user) { forget_user(*this, flows_, names_, user); }

// ---- time ----

void IpcProcess::on_timer() {
    const Instant now = env_.now();
    armed_ = Instant::never();
    if (ipcp_->next_deadline() <= now) ipcp_->on_timeout(now);
    if (transfer_.next_deadline() <= now) transfer_.on_timeout(now, out_);
    act();
}

void IpcProcess::arm() {
    const Instant next = std::min(ipcp_->next_deadline(), transfer_.next_deadline());
    if (next >= armed_) return;
    armed_ = next;
    env_.clock.at(next, guarded([this, next] {
        if (armed_ == next) on_timer();
    }));
}

}  // namespace sluice::sim
