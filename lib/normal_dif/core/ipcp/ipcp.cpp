#include "normal_dif/core/ipcp/ipcp.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "normal_dif/core/faults.hpp"
#include "rina/rlite_name.hpp"

namespace sluice::mgmt {

using rina::Address;
using rina::CdapMessage;
using rina::OpCode;
using rmt::N1PortId;

namespace {

// Management messages may be lost on the way through the DIF, so what we registered gets a new
// number now and then, as link states do; rlite takes that for news and passes it on.
constexpr ReplicationTimes kDirectoryTimes{.renew_age = Duration::seconds(270)};

Result<> check(const IpcpConfig& c) {
    SLUICE_TRY_VOID(rina::check(c.format));
    if (!is_node_name(c.name))
        return fail(EINVAL, "'{}' is no name for an IPC process", c.name);
    if (!is_node_name(c.dif)) return fail(EINVAL, "'{}' is no name for a DIF", c.dif);
    if (c.name == c.dif)
        return fail(EINVAL, "the IPC process and its DIF are both called '{}'", c.name);
    const std::uint64_t most = c.format.address == 8
                                   ? ~std::uint64_t{0}
                                   : (std::uint64_t{1} << (8 * c.format.address)) - 1;
    if (c.address == Address{} || c.address.value > most)
        return fail(EINVAL, "address {}, expected 1 to {}", c.address.value, most);
    return {};
}

// Who should take another address may be one whose operator has set it. Then the other one does.
constexpr unsigned kDoubleTicksMax = 4;

// In rest as long as a PDU lives that names them, and longer.
constexpr Duration kIdRest = Duration::seconds(10);

// One of its own, if the configuration has none to share.
std::unique_ptr<IdPool> own_pool(const IdPool* shared, unsigned bytes) {
    if (shared != nullptr) return nullptr;
    return std::make_unique<IdPool>(IdPool::of_width(bytes, kIdRest));
}

FlowAllocatorConfig flow_config(const IpcpConfig& config) {
    FlowAllocatorConfig out = config.flows;
    out.ipcp = config.name;
    out.format = config.format;
    return out;
}

bool has_route(const std::vector<rmt::Route>& routes, Address destination) {
    return std::any_of(routes.begin(), routes.end(),
                       [&](const rmt::Route& r) { return r.destination == destination; });
}

}  // namespace

const char* to_string(IpcpDrop drop) noexcept {
    switch (drop) {
        case IpcpDrop::not_cdap: return "not_cdap";
        case IpcpDrop::not_valid: return "not_valid";
        case IpcpDrop::no_member: return "no_member";
        case IpcpDrop::forged_source: return "forged_source";
        case IpcpDrop::unknown_object: return "unknown_object";
        case IpcpDrop::bad_object: return "bad_object";
        case IpcpDrop::not_allowed: return "not_allowed";
    }
    return "?";
}

Result<std::unique_ptr<Ipcp>> Ipcp::create(Instant now, IpcpConfig config) {
    SLUICE_TRY_VOID(check(config));
    SLUICE_TRY(auto routing, make_routing(config.routing.name, config.routing.given()));
    SLUICE_TRY(auto admission, make_admission(config.admission.name, config.admission.given()));
    SLUICE_TRY(auto auth, Authenticator::create(config.auth, config.name, config.dif));
    config.auth.secret.clear();
    config.auth.peers.clear();
    std::unique_ptr<Ipcp> made(
        new Ipcp(now, std::move(config), std::move(routing), std::move(auth)));
    made->flows_.set_admission(std::move(admission));
    return made;
}

Ipcp::Ipcp(Instant now, IpcpConfig config, std::unique_ptr<RoutingPolicy> routing,
           Authenticator auth)
    : config_(std::move(config)),
      enrollment_({app_name_of(config_.name), config_.dif, config_.enroller, config_.timers,
                   std::move(auth)},
                  *this),
      own_values_(config_.shared == nullptr ? std::make_unique<SharedValues>(config_.seed)
                                            : nullptr),
      members_(config_.name, {}, config_.shared == nullptr ? own_values_.get() : config_.shared,
               config_.start),
      lfdb_(config_.name, {}, kLfdbTimes,
            config_.shared == nullptr ? &own_values_->names : &config_.shared->names),
      dft_(config_.name, {}, kDirectoryTimes),
      addresses_(config_.name, config_.addresses, Rng(config_.seed)),
      routing_(std::move(routing)),
      schedule_(config_.routing_schedule),
      // rlite counts port-ids in 16 bits, whatever the width of CEP-ids; they are local here.
      own_ports_(own_pool(config_.ports, 3)),
      own_ceps_(own_pool(config_.ceps, config_.format.cep)),
      flows_(flow_config(config_), config_.cubes, AdmitAll{},
             config_.ports != nullptr ? *config_.ports : *own_ports_,
             config_.ceps != nullptr ? *config_.ceps : *own_ceps_, *this,
             Rng(config_.seed ^ 0x666c6f7773ull)),
      member_(config_.first),
      may_move_(config_.addresses.policy == AddressPolicy::distributed),
      address_(config_.address),
      tick_at_(now + kManagementTick) {
    make_rib();
    if (member_) members_.set_own(address_, config_.lower_difs);
}

Ipcp::~Ipcp() = default;

// ---- N-1 flows ----

void Ipcp::flow_up(Instant now, N1PortId port, const std::string& lower_dif,
                   const std::string& peer) {
    lower_of_[port] = lower_dif;
    allow_source(port, rmt::kNoSource);
    enrollment_.flow_up(now, port, peer);
}

void Ipcp::flow_accepted(Instant now, N1PortId port, const std::string& lower_dif) {
    lower_of_[port] = lower_dif;
    allow_source(port, rmt::kNoSource);
    enrollment_.flow_accepted(now, port);
}

void Ipcp::flow_failed(Instant now, const std::string&, const std::string& peer) {
    const auto lost = lost_.find(peer);
    if (lost != lost_.end()) lost->second.call_at = now + config_.reconnect;
    actions_.push_back(NeighborEvent{peer, false, "there is no flow to it"});
}

void Ipcp::flow_down(Instant now, N1PortId port) {
    enrollment_.flow_down(now, port);
    lower_of_.erase(port);
    sources_.erase(port);
}

// ---- messages ----

void Ipcp::received(Instant now, N1PortId port, const rina::Pci& pci,
                    std::span<const std::byte> payload) {
    const auto message = rina::decode_cdap(payload);
    if (!message) return bad(IpcpDrop::not_cdap);
    if (!rina::check(*message)) return bad(IpcpDrop::not_valid);
    if (pci.destination == rina::kThisHop)
        enrollment_.received(now, port, *message);
    else
        on_a_data(now, port, pci, *message);
}

void Ipcp::send(N1PortId port, Address source, const CdapMessage& message) {
    SendToNeighbor out;
    out.port = port;
    out.pci.type = static_cast<std::uint8_t>(rina::PduType::management);
    out.pci.source = source;
    out.payload = rina::encode(message);
    out.pci.length = static_cast<std::uint32_t>(config_.format.bytes() + out.payload.size());
    ++messages_sent_;
    actions_.push_back(std::move(out));
}

void Ipcp::release_flow(N1PortId port) { actions_.push_back(ReleaseLowerFlow{port}); }

// ---- the RIB ----

template <typename List, typename Apply>
void Ipcp::add_table(rina::RibName object, const char* help, Apply apply) {
    rib_.add(std::string(object.obj_name), std::string(object.obj_class),
             {OpCode::create, OpCode::remove}, help, [this, apply](const CdapMessage& m) {
                 const auto value = rina::object_of(m);
                 const List* const list = value ? std::get_if<List>(&*value) : nullptr;
                 if (list == nullptr && faults::crashes(faults::Fault::crash_without_value))
                     return;
                 if (list == nullptr) return bad(IpcpDrop::bad_object);
                 apply(m.op == OpCode::create ? Action::create : Action::remove, *list);
             });
}

void Ipcp::make_rib() {
    add_table<rina::NeighborCandidateList>(
        rina::rib::kNeighbors, "members of the DIF: names, addresses, lower DIFs",
        [this](Action action, const rina::NeighborCandidateList& list) {
            members_changed(context_.now,
                            members_.apply(context_.now, action, list, context_.peer),
                            context_.port);
        });
    add_table<rina::LowerFlowList>(
        rina::rib::kRouting, "link states", [this](Action action, const rina::LowerFlowList& list) {
            const auto changes = lfdb_.apply(context_.now, action, list, context_.peer);
            flood<rina::LowerFlowList>(context_.now, changes, context_.port);
            if (changes.changed) routes_dirty(context_.now);
        });
    add_table<rina::DftSlice>(
        rina::rib::kDft, "where applications are registered",
        [this](Action action, const rina::DftSlice& slice) {
            flood<rina::DftSlice>(context_.now,
                                  dft_.apply(context_.now, action, slice, context_.peer),
                                  context_.port);
        });
    add_table<rina::AddrAllocRequest>(
        rina::rib::kAddressClaim, "an address that somebody claims",
        [this](Action action, const rina::AddrAllocRequest& request) {
            carry_out(context_.now,
                      addresses_.apply_claim(context_.now, action, request, members_,
                                             context_.peer),
                      context_.port);
        });
    add_table<rina::AddrAllocEntries>(
        rina::rib::kAddresses, "addresses that were claimed",
        [this](Action action, const rina::AddrAllocEntries& list) {
            carry_out(context_.now,
                      addresses_.apply_entries(context_.now, action, list, members_,
                                               context_.peer),
                      context_.port);
        });
    rib_.add(std::string(kDigestObject.obj_name), std::string(kDigestObject.obj_class),
             {OpCode::write}, "what a neighbour knows, to compare",
             [this](const CdapMessage& m) { on_digests(m); });
    add_settings();
}

void Ipcp::object_message(Instant now, N1PortId port, const std::string& peer,
                          const CdapMessage& message) {
    context_ = {now, port, peer};
    switch (rib_.dispatch(message)) {
        case Rib::Outcome::handled: return;
        case Rib::Outcome::unknown_object: return bad(IpcpDrop::unknown_object);
        case Rib::Outcome::wrong_class:
        case Rib::Outcome::wrong_operation: return bad(IpcpDrop::not_allowed);
    }
}

// ---- what follows from news ----

void Ipcp::members_changed(Instant now, const NeighborTable::Changed& changes,
                           std::optional<N1PortId> from) {
    flood<rina::NeighborCandidateList>(now, changes, from);
    if (changes.changed) {
        routes_dirty(now);
        allow_sources();
    }
    for (const auto* const gone : {&changes.remove, &changes.remove_all})
        for (const rina::NeighborCandidate& member : *gone)
            flows_.on_member_gone(now, node_name(member), member.address, flow_out_);
    for (const auto& member : changes.moved)
        flows_.on_member_moved(now, member.name, member.address, member.restarted, flow_out_);
    take_flow_actions();
}

void Ipcp::carry_out(Instant now, const AddressAllocator::Output& out,
                     std::optional<N1PortId> from) {
    flood<rina::AddrAllocRequest>(now, out.claims, from);
    flood<rina::AddrAllocEntries>(now, out.entries, from);
    for (const rina::AddrAllocRequest& nack : out.nacks) {
        const auto to = members_.address_of(nack.requestor);
        if (!to) continue;
        CdapMessage m;
        m.op = OpCode::remove;
        m.obj_class = rina::rib::kAddressClaim.obj_class;
        m.obj_name = rina::rib::kAddressClaim.obj_name;
        m.value = rina::value_of(nack);
        send_a_data(*to, std::move(m));
    }
    for (const AddressAllocator::Done& done : out.done) {
        if (own_claim_ == done.claim) {
            own_claim_.reset();
            if (done.address != Address{}) set_address(now, done.address);
            continue;
        }
        const auto claim = claims_.find(done.claim);
        if (claim == claims_.end()) continue;
        const N1PortId port = claim->second;
        claims_.erase(claim);
        if (done.address == Address{} && config_.addresses.policy != AddressPolicy::static_)
            enrollment_.refuse_address(now, port, "no address is free");
        else
            enrollment_.address_chosen(now, port, done.address);
    }
}

// ---- what enrollment asks for ----

rina::DataTransferConstants Ipcp::constants() const {
    rina::DataTransferConstants c = rina::rlite_constants();
    const rina::PciFormat& f = config_.format;
    c.address_width = f.address;
    c.cep_id_width = f.cep;
    c.qos_id_width = f.qos;
    c.sequence_width = c.control_sequence_width = f.sequence;
    c.length_width = f.length;
    return c;
}

Result<> Ipcp::check_constants(const rina::DataTransferConstants& theirs) const {
    const rina::PciFormat& f = config_.format;
    const auto differs = [](const char* what, std::uint32_t t, std::uint32_t o) -> Result<> {
        if (t == o) return {};
        return fail(EPROTO, "{} of {} bytes there, {} here", what, t, o);
    };
    SLUICE_TRY_VOID(differs("addresses", theirs.address_width, f.address));
    SLUICE_TRY_VOID(differs("sequence numbers", theirs.sequence_width, f.sequence));
    SLUICE_TRY_VOID(differs("control sequence numbers", theirs.control_sequence_width,
                            f.sequence));
    SLUICE_TRY_VOID(differs("lengths", theirs.length_width, f.length));
    SLUICE_TRY_VOID(differs("CEP-ids", theirs.cep_id_width, f.cep));
    return differs("QoS-ids", theirs.qos_id_width, f.qos);
}

Result<> Ipcp::admit(const std::string& peer, bool) const {
    if (!is_node_name(peer)) return fail(EACCES, "'{}' is no name", peer);
    if (faults::is_active(faults::Fault::released_is_barred) && lost_.contains(peer + '\n'))
        return fail(EACCES, "'{}' has left", peer);
    return {};
}

// Who joins and was a member has begun anew: its flows are gone.
void Ipcp::member_restarted(Instant now, N1PortId port, const std::string& name) {
    // So are the N-1 flows that it had, though the DIF below may not have noticed.
    if (const auto old = ports_.find(name); old != ports_.end())
        for (const N1PortId other : old->second)
            if (other != port) stale_.push_back(other);
    // Others learn it from the number of what it says of itself. That of rlite has none: news of
    // its going and coming would chase each other round every ring of the DIF for ever.
    if (const auto address = members_.address_of(name)) {
        flows_.on_member_gone(now, name, *address, flow_out_);
        take_flow_actions();
    }
}

void Ipcp::choose_address(Instant now, N1PortId port, const std::string& peer) {
    // One that joins again has an address already, and others know it by that.
    if (const auto known = members_.address_of(peer);
        known && *known != address_ && *known != Address{}) {
        member_restarted(now, port, peer);
        return enrollment_.address_chosen(now, port, *known);
    }
    AddressAllocator::Output out;
    claims_[addresses_.begin(now, members_, out)] = port;
    carry_out(now, out, std::nullopt);
}

void Ipcp::joined(Instant now, Address address, const rina::DataTransferConstants&) {
    member_ = true;
    set_address(now, address == Address{} ? address_ : address);
}

void Ipcp::set_address(Instant now, Address address) {
    if (address != address_) {
        actions_.push_back(AddressChanged{address});
        flows_.on_own_move(now, flow_out_);
        take_flow_actions();
    }
    address_ = address;
    members_changed(now, members_.set_own(address_, config_.lower_difs), std::nullopt);
}

void Ipcp::adjacency_up(Instant now, N1PortId port, const std::string& peer, bool) {
    lost_.erase(peer);
    std::vector<N1PortId>& ports = ports_[peer];
    ports.push_back(port);
    begin_sync(now, port);
    members_.set_enrolled(peer, true);
    allow_sources();
    flood<rina::LowerFlowList>(now, lfdb_.add_neighbor(now, peer), std::nullopt);
    for (std::size_t table = 0; table < TableDigests::kTables; ++table)
        tell_table(now, port, table);
    routes_dirty(now);
    actions_.push_back(NeighborEvent{peer, true, {}});
}

void Ipcp::adjacency_down(Instant now, N1PortId port, const std::string& peer, AdjacencyEnd why,
                          bool was_up, const std::string& detail) {
    for (auto at = claims_.begin(); at != claims_.end();) {
        if (at->second == port) {
            addresses_.cancel(at->first);
            at = claims_.erase(at);
        } else {
            ++at;
        }
    }
    std::string text = to_string(why);
    if (!detail.empty()) text += ": " + detail;
    actions_.push_back(NeighborEvent{peer, false, std::move(text)});
    syncs_.erase(port);
    told_.erase(port);
    // Who has not said a name cannot be called.
    const bool lost = !peer.empty() && (why == AdjacencyEnd::unresponsive ||
                                        why == AdjacencyEnd::lower_flow_down ||
                                        why == AdjacencyEnd::unauthenticated);
    const auto lower = lower_of_.find(port);
    allow_source(port, rmt::kNoSource);
    if (was_up) {
        std::vector<N1PortId>& ports = ports_[peer];
        std::erase(ports, port);
        if (ports.empty()) {
            ports_.erase(peer);
            members_.set_enrolled(peer, false);
            flood<rina::LowerFlowList>(now, lfdb_.remove_neighbor(now, peer), std::nullopt);
            if (lost && lower != lower_of_.end() && config_.reconnect.ns != 0)
                lost_[peer] = {lower->second, now + config_.reconnect};
        }
        routes_dirty(now);
    } else if (lost && member_ && ports_.empty() && !config_.first && config_.reconnect.ns != 0 &&
               lower != lower_of_.end()) {
        // The last step of joining was lost: a member that nobody knows, and that knows nobody.
        lost_[peer] = {lower->second, now + config_.reconnect};
    } else if (const auto again = lost_.find(peer); again != lost_.end()) {
        if (lost)
            again->second.call_at = now + config_.reconnect;
        else
            lost_.erase(again);
    }
    if (faults::is_active(faults::Fault::released_is_barred) && why == AdjacencyEnd::released)
        lost_[peer + '\n'] = {{}, Instant::never()};
    if (why != AdjacencyEnd::restarted) lower_of_.erase(port);
}

// ---- operator and applications ----

Result<> Ipcp::enroll(Instant, const std::string& lower_dif, const std::string& peer) {
    if (peer == config_.name) return fail(EINVAL, "'{}' is this IPC process itself", peer);
    if (!is_node_name(peer))
        return fail(EINVAL, "'{}' is no name for an IPC process or a DIF", peer);
    if (std::find(config_.lower_difs.begin(), config_.lower_difs.end(), lower_dif) ==
        config_.lower_difs.end())
        return fail(ENOENT, "'{}' is registered in no DIF '{}'", config_.name, lower_dif);
    actions_.push_back(AllocateLowerFlow{lower_dif, peer});
    return {};
}

Result<> Ipcp::disconnect(Instant now, const std::string& neighbor) {
    const auto at = ports_.find(neighbor);
    if (at == ports_.end()) return fail(ENOENT, "'{}' is no neighbour", neighbor);
    const std::vector<N1PortId> ports = at->second;
    for (const N1PortId port : ports) enrollment_.disconnect(now, port);
    return {};
}

void Ipcp::register_application(Instant now, const rina::AppName& name) {
    flood<rina::DftSlice>(now, dft_.add(now, name), std::nullopt);
}

void Ipcp::unregister_application(Instant now, const rina::AppName& name) {
    flood<rina::DftSlice>(now, dft_.remove(now, name), std::nullopt);
    flows_.on_unregister(now, name, flow_out_);
    take_flow_actions();
}

// ---- routes ----

void Ipcp::routes_dirty(Instant now) { schedule_.mark(now, members_.size() + 1); }

void Ipcp::compute_routes(Instant now) {
    schedule_.done(now);
    RouteList list = routing_->routes({lfdb_, members_, ports_});
    if (faults::is_active(faults::Fault::routes_never_withdrawn))
        for (const rmt::Route& old : routes_)
            if (!has_route(list.routes, old.destination)) list.routes.push_back(old);
    transits_.clear();
    for (const std::string_view name : transit_neighbors(lfdb_, ports_)) transits_.emplace(name);
    allow_sources();
    if (list.routes == routes_) return;
    routes_ = std::move(list.routes);
    actions_.push_back(PublishRoutes{routes_});
}

// Who is a neighbour now is at the edge until the link states say otherwise. Then routes to those
// behind it follow as well, and no sooner.
void Ipcp::allow_sources() {
    for (const auto& [name, ports] : ports_) {
        Address source = rmt::kAnySource;
        if (config_.check_sources && !transits_.contains(name))
            source = members_.address_of(name).value_or(rmt::kNoSource);
        for (const N1PortId port : ports) allow_source(port, source);
    }
}

void Ipcp::allow_source(N1PortId port, Address source) {
    const auto [at, is_new] = sources_.try_emplace(port, source);
    if (!is_new && at->second == source) return;
    at->second = source;
    actions_.push_back(AllowSource{port, source});
}

// ---- time ----

void Ipcp::on_timeout(Instant now) {
    for (const N1PortId port : std::exchange(stale_, {})) enrollment_.disconnect(now, port);
    enrollment_.on_timeout(now);
    if (now >= addresses_.next_deadline())
        carry_out(now, addresses_.on_timeout(now, members_), std::nullopt);
    if (now >= tick_at_) tick(now);
    call_again(now);
    if (now >= flows_.next_deadline()) {
        flows_.on_timeout(now, flow_out_);
        take_flow_actions();
    }
    if (now >= held_until_) tell_all_held();
    if (schedule_.is_due(now)) compute_routes(now);
}

void Ipcp::tick(Instant now) {
    tick_at_ = now + kManagementTick;
    // In rlite's order: who compares what is sent has less to explain.
    const auto links = lfdb_.tick(now);
    flood<rina::LowerFlowList>(now, links, std::nullopt);
    if (links.changed) routes_dirty(now);
    flood<rina::DftSlice>(now, dft_.tick(now), std::nullopt);
    members_changed(now, members_.tick(now), std::nullopt);
    addresses_.tick();
    send_digests(now);
    doubled_ticks_ = members_.is_of_another(address_) ? doubled_ticks_ + 1 : 0;
    const bool must_move = AddressAllocator::must_move(members_) ||
                           (doubled_ticks_ >= kDoubleTicksMax &&
                            !faults::is_active(faults::Fault::double_address_kept));
    if (member_ && !own_claim_ && may_move_ && must_move) {
        AddressAllocator::Output out;
        own_claim_ = addresses_.begin(now, members_, out, true);
        carry_out(now, out, std::nullopt);
    }
}

void Ipcp::call_again(Instant now) {
    for (auto& [peer, lost] : lost_) {
        if (now < lost.call_at) continue;
        lost.call_at = now + config_.reconnect;
        actions_.push_back(AllocateLowerFlow{lost.lower_dif, peer});
    }
}

Instant Ipcp::next_deadline() {
    Instant next = std::min({enrollment_.next_deadline(), addresses_.next_deadline(), tick_at_,
                             schedule_.next_deadline(), flows_.next_deadline(), held_until_});
    for (const auto& [peer, lost] : lost_) next = std::min(next, lost.call_at);
    return stale_.empty() ? next : Instant::zero();
}

}  // namespace sluice::mgmt
