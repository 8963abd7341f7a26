#include "ipc_process.hpp"

#include "normal_dif/core/efcp/control_pdu.hpp"

namespace sluice::sim {

using rmt::N1PortId;

namespace {

constexpr std::uint32_t kUserDataMax = 1400;  // of a PDU; longer SDUs are cut
constexpr std::uint16_t kRoom = 64;           // around a frame, for SDU protection

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

// ---- data ----

Bytes IpcProcess::frame_of(const rina::Pci& pci, std::span<const std::byte> payload) const {
    const rina::PciFormat& format = config_.ipcp.format;
    Bytes out(format.bytes() + payload.size());
    rina::write(pci, format, out.data());
    std::copy(payload.begin(), payload.end(), out.begin() + static_cast<long>(format.bytes()));
    return out;
}

void IpcProcess::drain_out() {
    // What is looped back and handed up comes later, so this has an end.
    transfer::TransferOutbox out = std::exchange(out_, {});
    const rina::PciFormat& format = config_.ipcp.format;
    for (const auto& f : out.forward) {
        Bytes bytes = env_.buffers.take(f.token);
        if (!watch_.is_whole(bytes, f.bytes)) continue;
        watch_.relayed(ttl_, bytes);
        bytes.resize(f.bytes);
        enqueue(f.port, std::move(bytes), f.qos);
    }
    for (const auto& o : out.originate) {
        Bytes frame = frame_of(o.item.pci, env_.buffers.at(o.item.token));
        if (!o.item.kept) env_.buffers.free(o.item.token);
        if (o.port == rmt::kNoN1Port)
            loop_back(std::move(frame));
        else
            enqueue(o.port, std::move(frame), o.item.pci.qos);
    }
    for (const auto& c : out.control) {
        Bytes frame(c.item.pci.length);
        efcp::write(c.item, format, frame.data());
        if (c.port == rmt::kNoN1Port)
            loop_back(std::move(frame));
        else
            enqueue(c.port, std::move(frame), c.item.pci.qos);
    }
    for (const auto& d : out.deliver) deliver(d);
    for (const PduToken token : out.done) env_.buffers.free(token);
    for (const efcp::DropItem& item : out.drop) {
        env_.buffers.free(item.token);
        env_.drop(item.reason);
    }
    for (const auto& e : out.events) {
        const auto at = flows_.find(e.flow);
        if (at == flows_.end() || at->second.user == nullptr) continue;
        const bool fails = (e.events & efcp::event::kFailed) != 0;
        if (const auto* const c = transfer_.find(e.flow); fails && c != nullptr)
            watch_.flow_failed(*c);
        if (fails) at->second.is_failed = true;
        if (fails || (e.events & efcp::event::kWritable) != 0)
            env_.clock.after({}, guarded([this, id = e.flow, fails] {
                const auto it = flows_.find(id);
                if (it == flows_.end() || it->second.user == nullptr) return;
                if (fails)
                    it->second.user->closed(*this, id);
                else
                    it->second.user->writable(*this, id);
            }));
    }
    for (const auto& m : out.management) {
        const Bytes bytes = env_.buffers.take(m.token);
        if (!watch_.is_whole(bytes, m.pci.length)) return;
        const std::span<const std::byte> pdu(bytes.data(), m.pci.length);
        const auto payload = pdu.subspan(format.bytes());
        if (m.pci.destination == rina::kThisHop) watch_.message_comes(m.from, payload);
        ipcp_->received(env_.now(), m.from, m.pci, payload);
    }
}

void IpcProcess::deliver(const transfer::TransferOutbox::Deliver& item) {
    const auto at = flows_.find(item.flow);
    if (at == flows_.end() || at->second.user == nullptr) {
        env_.buffers.free(item.item.token);
        return;
    }
    const std::uint64_t length = config_.ipcp.format.bytes() + item.item.bytes;
    if (!watch_.is_whole(env_.buffers.at(item.item.token), length))
        return env_.buffers.free(item.item.token);
    if (at->second.reassembler != nullptr) {
        reassemble(item.flow, at->second, item);
    } else {
        const Bytes frame = env_.buffers.take(item.item.token);
        const auto from = frame.begin() + static_cast<long>(config_.ipcp.format.bytes());
        hand_up(item.flow, {from, from + item.item.bytes});
    }
    unread_[item.flow] += 1;
    if (const auto* const c = transfer_.find(item.flow)) watch_.unread(*c, unread_[item.flow]);
    if (reads_slowly_) return;
    const std::uint32_t pdus = std::exchange(unread_[item.flow], 0);
    env_.clock.after({}, guarded([this, id = item.flow, pdus] {
        transfer_.consumed(env_.now(), id, pdus, out_);
        drain_out();
        arm();
    }));
}

void IpcProcess::reassemble(PortId id, Flow& flow, const transfer::TransferOutbox::Deliver& item) {
    const std::size_t header = config_.ipcp.format.bytes();
    const Bytes& frame = env_.buffers.at(item.item.token);
    flow.reassembler->on_pdu(item.item.sequence, item.item.token,
                             std::span(frame).subspan(header, item.item.bytes), item.item.bytes);
    while (const auto piece = flow.reassembler->take_piece()) {
        const Bytes& part = env_.buffers.at(piece->token);
        const auto from = part.begin() + static_cast<long>(header + piece->offset);
        flow.partial.insert(flow.partial.end(), from, from + piece->bytes);
        if (piece->is_last_of_token) env_.buffers.free(piece->token);
        if (piece->ends_sdu) hand_up(id, std::exchange(flow.partial, {}));
    }
    while (const auto dropped = flow.reassembler->take_dropped()) {
        env_.buffers.free(dropped->token);
        env_.drop(dropped->reason);
    }
}

void IpcProcess::drop_partial(Flow& flow) {
    if (flow.reassembler == nullptr) return;
    flow.reassembler->abandon();
    while (const auto dropped = flow.reassembler->take_dropped()) {
        env_.buffers.free(dropped->token);
        env_.drop(dropped->reason);
    }
}

void IpcProcess::hand_up(PortId flow, Bytes sdu) {
    env_.clock.after({}, guarded([this, flow, sdu = std::move(sdu)] {
        const auto at = flows_.find(flow);
        if (at != flows_.end() && at->second.user != nullptr)
            at->second.user->arrived(*this, flow, sdu);
    }));
}

void IpcProcess::enqueue(N1PortId id, Bytes frame, rina::QosId qos) {
    const auto at = ports_.find(id);
    if (at == ports_.end()) return env_.drop(DropReason::dif_n1_down);
    const auto bytes = static_cast<std::uint32_t>(frame.size());
    const PduToken token = env_.buffers.make(std::move(frame));
    const rmt::SchedItem item{token, bytes, qos};
    rmt::Enqueue result{};
    rmt::enqueue(at->second.scheduler, env_.now(), {&item, 1}, {&result, 1});
    if (result == rmt::Enqueue::dropped) {
        env_.buffers.free(token);
        return env_.drop(DropReason::dif_queue_full);
    }
    if (result == rmt::Enqueue::marked)
        rmt::mark_congestion(env_.buffers.at(token).data(), config_.protection == "inet");
    pull(id);
}

// As long as the DIF below takes something. A frame that it does not take waits in front.
void IpcProcess::pull(N1PortId id) {
    N1Port& port = ports_.at(id);
    while (rmt::backlog(port.scheduler).pdus != 0) {
        if (!port.lower->write(port.flow, {})) return;
        rmt::SchedItem item;
        if (rmt::dequeue(port.scheduler, env_.now(), ~std::uint64_t{0}, {&item, 1}) == 0) return;
        send_frame(port, env_.buffers.take(item.token));
    }
}

void IpcProcess::send_frame(N1Port& port, Bytes frame) {
    Bytes room(frame.size() + 2 * kRoom);
    std::copy(frame.begin(), frame.end(), room.begin() + kRoom);
    sdup::Frame sealed;
    sealed.data = room.data() + kRoom;
    sealed.bytes = static_cast<std::uint32_t>(frame.size());
    sealed.headroom = sealed.tailroom = kRoom;
    sdup::seal(port.protection.sealer, env_.now(), {&sealed, 1});
    if (sealed.dropped) return env_.drop(sealed.reason);
    port.lower->write(port.flow, {sealed.data, sealed.data + sealed.bytes});
}

void IpcProcess::loop_back(Bytes frame) {
    env_.clock.after({}, guarded([this, frame = std::move(frame)] {
        take_frames(rmt::kNoN1Port, frame);
    }));
}

void IpcProcess::take_frames(N1PortId port, Bytes frame) {
    const auto bytes = static_cast<std::uint32_t>(frame.size());
    ttl_ = watch_.ttl_of(frame);
    const PduToken token = env_.buffers.make(std::move(frame));
    const rmt::RxPdu pdu{token, env_.buffers.at(token).data(), bytes, bytes, port};
    transfer_.on_pdus(env_.now(), {&pdu, 1}, out_);
    drain_out();
    act();
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

void IpcProcess::arrived(Provider& dif, PortId flow, Bytes sdu) {
    const auto at = by_flow_.find({&dif, flow});
    if (at == by_flow_.end()) return env_.drop(DropReason::no_flow);
    const Bytes sealed(sdu.begin(), sdu.begin() + static_cast<long>(
                                                      std::min<std::size_t>(sdu.size(), kRoom)));
    sdup::Frame frame;
    frame.data = sdu.data();
    frame.bytes = static_cast<std::uint32_t>(sdu.size());
    sdup::open(ports_.at(at->second).protection.opener, env_.now(), {&frame, 1});
    if (frame.dropped) return env_.drop(frame.reason);
    if (std::holds_alternative<sdup::AesGcmOpener>(ports_.at(at->second).protection.opener))
        watch_.opened(at->second, sealed);
    last_frame_.assign(frame.data, frame.data + frame.bytes);
    take_frames(at->second, last_frame_);
}

void IpcProcess::writable(Provider& dif, PortId flow) {
    const auto at = by_flow_.find({&dif, flow});
    if (at != by_flow_.end()) pull(at->second);
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

void IpcProcess::forget(FlowUser& user) {
    std::vector<PortId> ended;
    for (const auto& [id, flow] : flows_)
        if (flow.user == &user) ended.push_back(id);
    for (const PortId id : ended) deallocate(id);
    std::vector<std::string> names;
    for (const auto& [name, who] : names_)
        if (who == &user) names.push_back(name);
    for (const std::string& name : names)
        if (auto parsed = rina::AppName::parse(name)) unregister_name(*parsed);
}

// An empty SDU asks whether there is room.
bool IpcProcess::write(PortId id, const Bytes& sdu) {
    const auto at = flows_.find(id);
    if (at == flows_.end() || at->second.is_failed) return true;
    const efcp::Connection* const connection = transfer_.find(id);
    if (connection == nullptr) return true;
    const efcp::EfcpPolicies& policies = connection->policies();
    const std::uint32_t parts =
        policies.delimiting
            ? efcp::Fragmenter::count(static_cast<std::uint32_t>(sdu.size()), kUserDataMax)
            : 1;
    // All of an SDU or nothing.
    if (connection->sender().queue_length() + parts > policies.queue_max()) {
        if (!std::exchange(at->second.wants_room, true))
            env_.clock.after(Duration::milliseconds(5), guarded([this, id] {
                const auto it = flows_.find(id);
                if (it == flows_.end()) return;
                it->second.wants_room = false;
                if (it->second.user != nullptr) it->second.user->writable(*this, id);
            }));
        return false;
    }
    if (sdu.empty()) return true;
    std::vector<efcp::TxItem> items;
    const auto add = [&](Bytes bytes) {
        const auto n = static_cast<std::uint32_t>(bytes.size());
        items.push_back({env_.buffers.make(std::move(bytes)), n});
    };
    if (policies.delimiting) {
        efcp::Fragmenter cut(static_cast<std::uint32_t>(sdu.size()), kUserDataMax);
        while (const auto part = cut.next()) {
            Bytes bytes(part->header.begin(), part->header.begin() + part->header_bytes);
            bytes.insert(bytes.end(), sdu.begin() + part->offset,
                         sdu.begin() + part->offset + part->bytes);
            add(std::move(bytes));
        }
    } else {
        add(sdu);
    }
    const std::size_t taken = transfer_.submit(env_.now(), id, items, out_);
    for (std::size_t i = taken; i < items.size(); ++i) {
        env_.buffers.free(items[i].token);
        env_.drop(DropReason::app_refused);
    }
    drain_out();
    act();
    return true;
}

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
