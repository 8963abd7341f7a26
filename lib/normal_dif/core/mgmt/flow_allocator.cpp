#include "normal_dif/core/mgmt/flow_allocator.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "normal_dif/core/faults.hpp"

namespace sluice::mgmt {

namespace {

constexpr std::uint32_t kCreateRetriesMax = 3;  // what rlite writes, though it never tries again
constexpr std::uint32_t kStateUp = 1;

}  // namespace

std::string_view to_string(FlowState state) noexcept {
    switch (state) {
        case FlowState::asking: return "asking";
        case FlowState::requested: return "requested";
        case FlowState::allocated: return "allocated";
        case FlowState::shut: return "shut";
        case FlowState::closing: return "closing";
    }
    return "?";
}

std::string_view to_string(FlowIgnored reason) noexcept {
    constexpr std::array<std::string_view, kFlowIgnoredCount> kText = {
        "bad message",    "no address",     "wrong source", "misdirected",  "bad request",
        "unacceptable",   "no application", "flood",        "no admission", "duplicate",
        "stale",          "unknown flow",   "not the peer", "changed terms"};
    return kText[static_cast<std::size_t>(reason)];
}

std::size_t FlowAllocator::RequestHash::operator()(const RequestKey& key) const noexcept {
    // Members choose their port-ids and nonces: mixed well, no choice of them fills one bucket more
    // than it fills by chance.
    const std::uint64_t member = Rng(key.member.value + (key.ours ? 1 : 0)).next();
    const std::uint64_t port = Rng(member ^ key.port).next();
    return static_cast<std::size_t>(Rng(port ^ key.identity).next());
}

std::size_t FlowAllocator::PeerPortHash::operator()(const PeerPort& key) const noexcept {
    return static_cast<std::size_t>(Rng(Rng(key.member.value).next() ^ key.port).next());
}

FlowAllocator::FlowAllocator(FlowAllocatorConfig config, QosCubes cubes, AnyAdmission admission,
                             IdPool& ports, IdPool& ceps, FlowDirectory& directory, Rng rng)
    : config_(std::move(config)),
      cubes_(std::move(cubes)),
      admission_(std::move(admission)),
      ports_(ports),
      ceps_(ceps),
      directory_(directory),
      rng_(rng),
      app_names_(rng_.next()),
      ipcp_names_(rng_.next()) {}

FlowAllocator::~FlowAllocator() {
    for (const auto& [port, flow] : flows_) {
        ports_.release(last_, port.value);
        ceps_.release(last_, flow.cep.value);
    }
}

// ---- the user ----------------------------------------------------------------------------------

Result<FlowAllocator::Terms> FlowAllocator::plan(const FlowSpec& spec) const {
    const QosCube* cube = cubes_.choose(spec);
    if (cube == nullptr && config_.refuse_without_cube)
        return fail(ENOTSUP, "flow spec: no QoS cube of this DIF promises that; expected one of "
                             "what its cubes do");
    // Without such a cube the flow is what EFCP alone can make of it, and promised nothing.
    Terms terms{terms_for(cube != nullptr ? within(*cube, spec) : spec, config_.policies),
                cube != nullptr ? cube : &cubes_.first()};
    SLUICE_TRY_VOID(efcp::check(terms.terms.policies, config_.format));
    return terms;
}

Result<FlowAllocator::Flow*> FlowAllocator::make_flow(Instant now, rina::Address peer,
                                                      const Names& names,
                                                      const AdmissionRequest& admission) {
    if (flows_.size() >= config_.flows_max)
        return fail(EAGAIN, "{} flows; expected at most {} in this IPC process", flows_.size(),
                    config_.flows_max);
    SLUICE_TRY_VOID(admit(admission_, admission));
    const std::optional<std::uint32_t> port = ports_.acquire(now);
    const std::optional<std::uint32_t> cep = port ? ceps_.acquire(now) : std::nullopt;
    if (!cep) {
        if (port) ports_.release(now, *port);
        release(admission_, admission);
        return fail(EAGAIN, "all port-ids or CEP-ids are in use, or were until a moment ago");
    }
    Flow& flow = flows_[PortId{*port}];
    flow.serial = next_serial_++;
    flow.port = PortId{*port};
    flow.cep = rina::CepId{*cep};
    flow.peer = peer;
    flow.cube = admission.cube;
    flow.bandwidth_bps = admission.bandwidth_bps;
    flow.local = app_names_.acquire(names.local);
    flow.remote = app_names_.acquire(names.remote);
    flow.peer_ipcp = ipcp_names_.acquire(names.peer_ipcp);
    ++members_[peer].flows;
    return &flow;
}

Result<PortId> FlowAllocator::allocate(Instant now, const rina::AppName& local,
                                       const rina::AppName& remote, const FlowSpec& spec,
                                       std::uint32_t cookie, FlowOutbox& out) {
    last_ = now;
    SLUICE_TRY_VOID(check(spec));
    const std::optional<std::string> ipcp = directory_.ipcp_of(remote, cookie);
    if (!ipcp)
        return fail(ENOENT, "application {} is not registered in this DIF", remote.to_string());
    const std::optional<rina::Address> peer = directory_.address_of(*ipcp);
    if (!peer || peer->value == 0)
        return fail(EHOSTUNREACH, "IPC process {}, which has application {}, has no address yet",
                    *ipcp, remote.to_string());
    SLUICE_TRY(const Terms terms, plan(spec));
    SLUICE_TRY(Flow* const flow,
               make_flow(now, *peer, {local, remote, *ipcp},
                         {terms.cube->id, spec.avg_bandwidth_bps, local.process}));
    flow->initiator = true;
    flow->cookie = cookie;
    ask(now, *flow, terms, spec, out);
    return flow->port;
}

void FlowAllocator::ask(Instant now, Flow& flow, const Terms& terms, const FlowSpec& spec,
                        FlowOutbox& out) {
    flow.exchange = std::make_unique<Exchange>();
    Exchange& exchange = *flow.exchange;
    exchange.terms = terms.terms;
    exchange.give_up = now + config_.allocation_timeout;
    rina::FlowRequest& request = exchange.request;
    const Names names = names_of(flow);
    request.source_application = names.local;
    request.destination_application = names.remote;
    request.source_port = flow.port.value;
    request.source_ipcp = config_.ipcp;
    request.destination_ipcp = names.peer_ipcp;
    request.connections.push_back({rina::QosId{}, flow.cep, rina::CepId{}});
    request.state = kStateUp;
    request.create_retries_max = kCreateRetriesMax;
    request.hop_count = config_.hop_count;
    put(terms.terms, request);
    if (config_.extensions.offered) {
        const Features features = useful(config_.extensions.features, terms.terms.policies);
        flow.nonce = std::max<std::uint64_t>(rng_.next(), 1);
        exchange.offer = Offer{features,
                               features.has(Feature::large_windows) ? config_.extensions.credit : 0,
                               terms.cube->id,
                               flow.nonce,
                               spec.delay_us,
                               spec.jitter_us,
                               spec.max_loss};
        request.access_control = encode(*exchange.offer);
    }
    flow.invoke_id = directory_.next_invoke_id();
    asked_[flow.invoke_id] = flow.port;
    out.add(Bind{flow.port, flow.cep, std::nullopt, flow.peer, flow.qos, exchange.terms});
    out.add(SendFlowMessage{flow.peer, message(rina::OpCode::create, flow.invoke_id, &request)});
    ++stats_.requests_sent;
    // To rlite, a repeated M_CREATE is another flow.
    const bool again = is_sluice(flow);
    set_deadline(flow, again ? earlier(now + config_.create_retry, exchange.give_up)
                             : exchange.give_up);
}

Result<> FlowAllocator::accept(Instant now, PortId port, std::uint32_t cookie, FlowOutbox& out) {
    last_ = now;
    Flow* const flow = flow_at(port);
    if (flow == nullptr || flow->state != FlowState::requested)
        return fail(ENOENT, "flow {}: nobody waits for an answer any more", port.value);
    flow->cookie = cookie;
    out.add(Bind{flow->port, flow->cep, flow->peer_cep, flow->peer, flow->qos,
                 flow->exchange->terms});
    answer(*flow, 0, {}, out);
    no_longer_half_open(*flow);
    flow->state = FlowState::allocated;
    ++stats_.allocated;
    out.add(FlowAllocated{flow->port, cookie, flow->exchange->terms});
    set_deadline(*flow, now + config_.duplicate_window);
    return {};
}

Result<> FlowAllocator::refuse(Instant now, PortId port, FlowOutbox& out) {
    last_ = now;
    Flow* const flow = flow_at(port);
    if (flow == nullptr || flow->state != FlowState::requested)
        return fail(ENOENT, "flow {}: nobody waits for an answer any more", port.value);
    answer(*flow, -1, "the application refused the flow", out);
    ++stats_.failed;
    forget(now, *flow);
    return {};
}

// Answers a request, and keeps the answer for who asks again.
void FlowAllocator::answer(Flow& flow, std::int32_t result, std::string_view reason,
                           FlowOutbox& out) {
    Exchange& exchange = *flow.exchange;
    exchange.answer = exchange.request;
    exchange.answer.destination_port = flow.port.value;
    exchange.answer.connections.front().destination_cep = flow.cep;
    // With a refusal there is nothing to agree on; that we are not rlite is said all the same.
    if (exchange.offer)
        exchange.answer.access_control =
            encode(result == 0 ? exchange.agreed : Answer{}, *exchange.offer, flow.port.value,
                   flow.cep.value);
    rina::CdapMessage reply = message(rina::OpCode::create_r, flow.invoke_id, &exchange.answer);
    reply.result = result;
    reply.reason = reason;
    out.add(SendFlowMessage{address_of(flow), std::move(reply)});
}

Result<> FlowAllocator::deallocate(Instant now, PortId port, FlowOutbox& out) {
    last_ = now;
    Flow* const flow = flow_at(port);
    if (flow == nullptr || flow->state == FlowState::closing)
        return fail(ENOENT, "flow {}: there is none, or it was deallocated before", port.value);
    switch (flow->state) {
        case FlowState::asking:
            stop_asking(now, *flow, Tell::cancelled, out);
            ++stats_.failed;
            forget(now, *flow);
            return {};
        case FlowState::requested: return refuse(now, port, out);
        case FlowState::shut: unbind(now, *flow, out); return {};
        default: break;
    }
    flow->state = FlowState::closing;
    out.add(Drain{flow->port, flow->cep});
    set_deadline(*flow, now + config_.flow_del_wait);
    return {};
}

// ---- how flows end -----------------------------------------------------------------------------

// The end of a question. The peer hears of it last: from then on it may use its ids again.
void FlowAllocator::stop_asking(Instant now, Flow& flow, Tell tell, FlowOutbox& out) {
    out.add(Unbind{flow.port, flow.cep});
    if (tell == Tell::cancelled) cancel(now, flow, out);
    if (tell == Tell::deleted) say_deleted(now, flow, out);
    remember(now, key_of(flow));
}

// An allocation that did not become a flow, at either end.
void FlowAllocator::fail_flow(Instant now, Flow& flow, rina::Reason reason, std::string_view text,
                              FlowOutbox& out) {
    out.add(FlowFailed{flow.port, flow.cookie, reason, std::string(text)});
    ++stats_.failed;
    forget(now, flow);
}

void FlowAllocator::unbind(Instant now, Flow& flow, FlowOutbox& out) {
    out.add(Unbind{flow.port, flow.cep});
    ++stats_.deallocated;
    forget(now, flow);
}

// Of a flow whose user is gone. The message last: from then on the peer may use its ids for another
// flow.
void FlowAllocator::close(Instant now, Flow& flow, FlowOutbox& out) {
    out.add(Unbind{flow.port, flow.cep});
    say_deleted(now, flow, out);
    ++stats_.deallocated;
    forget(now, flow);
}

// It has a flow less.
void FlowAllocator::leave_member(rina::Address address) {
    const auto member = members_.find(address);
    SLUICE_CHECK(member != members_.end() && member->second.flows != 0);
    if (--member->second.flows == 0 && !member->second.is_sluice) members_.erase(member);
}

void FlowAllocator::no_longer_half_open(Flow& flow) {
    if (flow.state == FlowState::requested) --members_[flow.peer].half_open;
}

void FlowAllocator::forget_incoming(const Flow& flow) {
    const auto at = incoming_.find({flow.peer, flow.peer_port});
    // It may be another flow's by now: of a peer that has started anew.
    if (at != incoming_.end() && at->second == flow.port) incoming_.erase(at);
}

// The end of `flow` itself.
void FlowAllocator::forget(Instant now, Flow& flow) {
    if (flow.state == FlowState::asking) asked_.erase(flow.invoke_id);
    if (!flow.initiator) {
        remember(now, key_of(flow));
        forget_incoming(flow);
    }
    no_longer_half_open(flow);
    release(admission_, admission_of(flow));
    leave_member(flow.peer);
    ports_.release(now, flow.port.value);
    ceps_.release(now, flow.cep.value);
    app_names_.release(flow.local);
    app_names_.release(flow.remote);
    ipcp_names_.release(flow.peer_ipcp);
    flows_.erase(flow.port);
}

// ---- deletions and questions -------------------------------------------------------------------

// The request that `flow` came from, as far as it tells this flow from others.
rina::FlowRequest FlowAllocator::identity_of(const Flow& flow) const {
    rina::FlowRequest request;
    const rina::CepId peer_cep = flow.peer_cep.value_or(rina::CepId{});
    const Names names = names_of(flow);
    request.source_application = flow.initiator ? names.local : names.remote;
    request.destination_application = flow.initiator ? names.remote : names.local;
    request.source_ipcp = flow.initiator ? config_.ipcp : names.peer_ipcp;
    request.destination_ipcp = flow.initiator ? names.peer_ipcp : config_.ipcp;
    request.source_port = flow.initiator ? flow.port.value : flow.peer_port;
    request.destination_port = flow.initiator ? flow.peer_port : flow.port.value;
    request.connections.push_back({rina::QosId{}, flow.initiator ? flow.cep : peer_cep,
                                   flow.initiator ? peer_cep : flow.cep});
    if (flow.nonce != 0) {
        Offer offer;
        offer.nonce = flow.nonce;
        request.access_control = encode(offer);
    }
    return request;
}

void FlowAllocator::say_deleted(Instant now, const Flow& flow, FlowOutbox& out) {
    if (!flow.extended && !is_sluice(flow))
        return send_delete(now, address_of(flow), flow.peer_port, nullptr, 1, out);
    send_deletes(now, flow, flow.peer_port, config_.deletes_max, out);
}

void FlowAllocator::send_deletes(Instant now, const Flow& flow, std::uint64_t port, unsigned times,
                                 FlowOutbox& out) {
    const rina::FlowRequest value = identity_of(flow);
    const rina::Address there = address_of(flow);
    send_delete(now, there, port, &value, times, out);
    // That it has moved may not be true.
    if (there != flow.peer) send_delete(now, flow.peer, port, &value, times, out);
}

// Of a request that was not answered. The peer may be one of ours or not, and may have got it or
// not.
void FlowAllocator::cancel(Instant now, const Flow& flow, FlowOutbox& out) {
    if (flow.nonce == 0) return;  // we are to do as rlite does
    send_deletes(now, flow, kNoPort, is_sluice(flow) ? config_.deletes_max : config_.cancels_max,
                 out);
}

void FlowAllocator::send_delete(Instant now, rina::Address to, std::uint64_t port,
                                const rina::FlowRequest* value, unsigned times, FlowOutbox& out) {
    const std::int32_t invoke_id = directory_.next_invoke_id();
    rina::CdapMessage request = message(rina::OpCode::remove, invoke_id, value);
    request.obj_name += fmt::format("/{}", port);
    if (times > 1 && !faults::is_active(faults::Fault::deletion_said_once))
        send_again_until_answered(now, to, request, times);
    out.add(SendFlowMessage{to, std::move(request)});
}

// nullptr: too much is not answered already, and this is not said again.
FlowAllocator::Unanswered* FlowAllocator::send_again_until_answered(
    Instant now, rina::Address to, const rina::CdapMessage& message, unsigned times) {
    if (unanswered_.size() >= config_.memories_max) return nullptr;
    Unanswered& said = unanswered_[message.invoke_id];
    said = {to, message, 1, times, now + config_.delete_retry, {}, 0};
    timers_.push({said.deadline, static_cast<std::uint32_t>(message.invoke_id), 0});
    return &said;
}

// To the address that it was made with: nowhere else is its other end.
void FlowAllocator::ask_whether_there(Instant now, const Flow& flow, FlowOutbox& out) {
    const rina::FlowRequest value = identity_of(flow);
    rina::CdapMessage question =
        message(rina::OpCode::read, directory_.next_invoke_id(), &value);
    question.obj_name += fmt::format("/{}", flow.peer_port);
    Unanswered* const asked =
        send_again_until_answered(now, flow.peer, question, config_.questions_max);
    if (asked == nullptr) return;
    asked->flow = flow.port;
    asked->flow_serial = flow.serial;
    out.add(SendFlowMessage{flow.peer, std::move(question)});
}

// ---- time --------------------------------------------------------------------------------------

void FlowAllocator::set_deadline(Flow& flow, Instant at) {
    flow.deadline = at;
    if (!at.is_never()) timers_.push({at, flow.port.value, flow.serial});
}

// Timers are not taken out when they are no longer wanted, but passed over when they come up.
bool FlowAllocator::is_current(const Timer& timer) const noexcept {
    if (timer.serial == 0) {
        const auto at = unanswered_.find(static_cast<std::int32_t>(timer.id));
        return at != unanswered_.end() && at->second.deadline == timer.at;
    }
    const auto at = flows_.find(PortId{static_cast<std::uint32_t>(timer.id)});
    return at != flows_.end() && at->second.serial == timer.serial &&
           at->second.deadline == timer.at;
}

void FlowAllocator::prune_timers() noexcept {
    while (!timers_.empty() && !is_current(timers_.top())) timers_.pop();
}

Instant FlowAllocator::next_deadline() noexcept {
    prune_timers();
    return timers_.empty() ? Instant::never() : timers_.top().at;
}

void FlowAllocator::on_timeout(Instant now, FlowOutbox& out) {
    last_ = now;
    for (prune_timers(); !timers_.empty() && timers_.top().at <= now; prune_timers()) {
        const Timer timer = timers_.top();
        timers_.pop();
        if (timer.serial == 0)
            on_unanswered_timeout(now, static_cast<std::int32_t>(timer.id), out);
        else
            on_flow_timeout(now, flows_.find(PortId{static_cast<std::uint32_t>(timer.id)})->second,
                            out);
    }
}

void FlowAllocator::on_flow_timeout(Instant now, Flow& flow, FlowOutbox& out) {
    switch (flow.state) {
        case FlowState::asking: {
            Exchange& exchange = *flow.exchange;
            if (now >= exchange.give_up) {
                stop_asking(now, flow, Tell::cancelled, out);
                fail_flow(now, flow, rina::Reason::timed_out, "no answer", out);
                return;
            }
            ++stats_.creates_repeated;
            out.add(SendFlowMessage{address_of(flow), message(rina::OpCode::create, flow.invoke_id,
                                                           &exchange.request)});
            set_deadline(flow, earlier(now + config_.create_retry, exchange.give_up));
            return;
        }
        case FlowState::requested:
            answer(flow, -1, "the application did not answer", out);
            fail_flow(now, flow, rina::Reason::timed_out, "not accepted in time", out);
            return;
        case FlowState::closing:
            close(now, flow, out);
            return;
        default:
            // Nobody repeats the request any more.
            flow.exchange.reset();
            set_deadline(flow, Instant::never());
    }
}

void FlowAllocator::on_unanswered_timeout(Instant now, std::int32_t invoke_id, FlowOutbox& out) {
    Unanswered& said = unanswered_.find(invoke_id)->second;
    if (said.sent >= said.sent_max) {
        const Unanswered over = std::move(said);
        unanswered_.erase(invoke_id);
        if (over.is_question()) return not_there(now, over, false, out);
        ++stats_.deletes_abandoned;
        return;
    }
    out.add(SendFlowMessage{said.to, said.message});
    if (!said.is_question()) ++stats_.deletes_repeated;
    said.deadline = now + config_.delete_retry * (std::int64_t{1} << std::min(said.sent, 16u));
    ++said.sent;
    timers_.push({said.deadline, static_cast<std::uint32_t>(invoke_id), 0});
}

// ---- what was ----------------------------------------------------------------------------------

FlowAllocator::RequestKey FlowAllocator::key_of(const Flow& flow) noexcept {
    const auto invoke_id = static_cast<std::uint32_t>(flow.invoke_id);
    if (flow.initiator) return {flow.peer, flow.port.value, invoke_id, true};
    return {flow.peer, flow.peer_port, flow.nonce != 0 ? flow.nonce : invoke_id, false};
}

void FlowAllocator::remember(Instant now, const RequestKey& key) {
    const Instant until = now + config_.duplicate_window;
    ended_[key] = until;
    ended_order_.push_back({until, key});
    while (!ended_order_.empty() && (ended_order_.front().until <= now ||
                                     ended_order_.size() > config_.memories_max)) {
        const Ended& oldest = ended_order_.front();
        const auto at = ended_.find(oldest.key);
        if (at != ended_.end() && at->second == oldest.until) ended_.erase(at);
        ended_order_.pop_front();
    }
}

bool FlowAllocator::has_ended(Instant now, const RequestKey& key) {
    const auto at = ended_.find(key);
    return at != ended_.end() && at->second > now;
}

// ---- small things ------------------------------------------------------------------------------

FlowAllocator::Flow* FlowAllocator::flow_at(PortId port) noexcept {
    const auto at = flows_.find(port);
    return at == flows_.end() ? nullptr : &at->second;
}

FlowAllocator::Names FlowAllocator::names_of(const Flow& flow) const {
    return {app_names_[flow.local], app_names_[flow.remote], ipcp_names_[flow.peer_ipcp]};
}

// Members get new addresses now and then; the name stays.
bool FlowAllocator::is_sluice(const Flow& flow) const {
    const auto member = members_.find(flow.peer);
    return (member != members_.end() && member->second.is_sluice) ||
           directory_.is_sluice(ipcp_names_[flow.peer_ipcp]);
}

rina::Address FlowAllocator::address_of(const Flow& flow) const {
    const std::optional<rina::Address> now = directory_.address_of(ipcp_names_[flow.peer_ipcp]);
    return now && now->value != 0 ? *now : flow.peer;
}

AdmissionRequest FlowAllocator::admission_of(const Flow& flow) const {
    return {flow.cube, flow.bandwidth_bps, app_names_[flow.local].process};
}

rina::CdapMessage FlowAllocator::message(rina::OpCode op, std::int32_t invoke_id,
                                         const rina::FlowRequest* value) const {
    rina::CdapMessage made;
    made.op = op;
    made.invoke_id = invoke_id;
    made.obj_class = rina::rib::kFlow.obj_class;
    made.obj_name = rina::rib::kFlow.obj_name;
    if (value != nullptr) made.value = rina::encode(*value, config_.emission);
    return made;
}

FlowInfo FlowAllocator::info(const Flow& flow) const {
    const Names names = names_of(flow);
    return {flow.port,
            flow.state,
            flow.initiator,
            flow.cep,
            flow.peer_cep,
            flow.peer_port,
            flow.peer,
            std::string(names.peer_ipcp),
            names.local,
            names.remote,
            flow.qos,
            flow.cube,
            flow.bandwidth_bps,
            flow.extended};
}

std::optional<FlowInfo> FlowAllocator::find(PortId port) const {
    const auto at = flows_.find(port);
    if (at == flows_.end()) return std::nullopt;
    return info(at->second);
}

}  // namespace sluice::mgmt
