#include <algorithm>
#include <charconv>

#include "normal_dif/core/faults.hpp"
#include "normal_dif/core/mgmt/flow_allocator.hpp"

// What other members say about flows. All of it may be wrong, on purpose too.
namespace sluice::mgmt {

namespace {

constexpr std::size_t kConnectionsMax = 8;

bool is_name(const rina::AppName& name) {
    return !name.process.empty() && name.wire().size() <= rina::kNameBytesMax;
}

bool fits(rina::CepId cep, const rina::PciFormat& format) noexcept {
    return format.cep >= 4 || cep.value < (1u << (8 * format.cep));
}

// The number behind the last slash, nothing else.
std::optional<std::uint64_t> port_in(std::string_view obj_name) noexcept {
    const std::string_view table = rina::rib::kFlow.obj_name;
    if (obj_name.size() < table.size() + 2 || obj_name.substr(0, table.size()) != table ||
        obj_name[table.size()] != '/')
        return std::nullopt;
    const std::string_view text = obj_name.substr(table.size() + 1);
    std::uint64_t port = 0;
    const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc{} || at != text.data() + text.size()) return std::nullopt;
    return port;
}

}  // namespace

void FlowAllocator::on_message(Instant now, rina::Address from, const rina::CdapMessage& message,
                               FlowOutbox& out) {
    last_ = now;
    if (from.value == 0) return ignore(FlowIgnored::no_address);
    if (message.obj_class != rina::rib::kFlow.obj_class) return ignore(FlowIgnored::bad_message);
    std::optional<rina::FlowRequest> value;
    if (const auto* bytes = std::get_if<rina::Bytes>(&message.value)) {
        auto decoded = rina::decode<rina::FlowRequest>(*bytes);
        if (!decoded) return ignore(FlowIgnored::bad_message);
        value = std::move(*decoded);
    }
    const bool is_table = message.obj_name == rina::rib::kFlow.obj_name;
    const std::optional<std::uint64_t> port = port_in(message.obj_name);
    const rina::FlowRequest* const given = value ? &*value : nullptr;
    if (message.op == rina::OpCode::create && is_table && given != nullptr)
        on_create(now, from, *given, message.invoke_id, out);
    else if (message.op == rina::OpCode::create_r && is_table)
        on_create_r(now, from, given, message.invoke_id, message.result, message.reason, out);
    else if (message.op == rina::OpCode::remove && port)
        on_delete(now, from, *port, given, message.invoke_id, out);
    else if (message.op == rina::OpCode::remove_r)
        on_delete_r(now, from, message.invoke_id);
    else if (message.op == rina::OpCode::read && port)
        on_read(from, *port, given, message.invoke_id, out);
    else if (message.op == rina::OpCode::read_r)
        on_read_r(now, from, message.invoke_id, message.result, out);
    else
        ignore(FlowIgnored::bad_message);
}

// ---- M_CREATE -----------------------------------------------------------------------------------

std::optional<FlowIgnored> FlowAllocator::fault_of(rina::Address from,
                                                   const rina::FlowRequest& request) const {
    const auto& connections = request.connections;
    if (connections.empty() || connections.size() > kConnectionsMax ||
        request.current_connection != 0 || !fits(connections.front().source_cep, config_.format) ||
        request.source_port >= kNoPort || !is_name(request.source_application) ||
        !is_name(request.destination_application))
        return FlowIgnored::bad_request;
    // Whoever may say that he is another one can take that one's flows down.
    if (directory_.address_of(request.source_ipcp) != from) return FlowIgnored::wrong_source;
    if (request.destination_ipcp != config_.ipcp) return FlowIgnored::misdirected;
    return std::nullopt;
}

std::optional<Offer> FlowAllocator::offer_of(const rina::FlowRequest& request) const {
    if (!config_.extensions.offered) return std::nullopt;
    return offer_in(request.access_control);
}

void FlowAllocator::on_create(Instant now, rina::Address from, const rina::FlowRequest& request,
                              std::int32_t invoke_id, FlowOutbox& out) {
    last_ = now;
    // Nobody could be answered.
    if (from.value == 0) return ignore(FlowIgnored::no_address);
    ++stats_.requests_received;
    // Nor this: CDAP has no answer without an invoke id.
    if (invoke_id == 0) return ignore(FlowIgnored::bad_request);
    if (const auto fault = fault_of(from, request))
        return refuse_request(from, request, invoke_id, *fault, out);
    if (offer_of(request)) prove(from);
    if (is_repeated(now, from, request, invoke_id, out)) return;
    if (!directory_.is_registered_here(request.destination_application))
        return refuse_request(from, request, invoke_id, FlowIgnored::no_application, out);
    open(now, from, request, invoke_id, out);
}

FlowAllocator::Flow* FlowAllocator::incoming(rina::Address member, std::uint64_t port) noexcept {
    const auto at = incoming_.find({member, port});
    return at == incoming_.end() ? nullptr : flow_at(at->second);
}

// A port-id of a member has one flow: a repeated request gets the answer that it got, and any other
// one says that the member has forgotten about the flow that we know.
bool FlowAllocator::is_repeated(Instant now, rina::Address from, const rina::FlowRequest& request,
                                std::int32_t invoke_id, FlowOutbox& out) {
    const std::optional<Offer> offer = offer_of(request);
    const RequestKey key{from, request.source_port,
                         offer ? offer->nonce : static_cast<std::uint32_t>(invoke_id), false};
    Flow* const flow = incoming(from, request.source_port);
    if (flow != nullptr && key_of(*flow) == key &&
        (flow->exchange ? flow->exchange->request == request : offer.has_value())) {
        ignore(FlowIgnored::duplicate);
        // Who waits for the application gets its answer then.
        if (flow->state != FlowState::requested && flow->exchange) answer(*flow, 0, {}, out);
        return true;
    }
    if (has_ended(now, key)) {
        refuse_request(from, request, invoke_id, FlowIgnored::stale, out);
        return true;
    }
    if (flow != nullptr) peer_gone(now, *flow, rina::Reason::peer_restarted, out);
    return false;
}

void FlowAllocator::open(Instant now, rina::Address from, const rina::FlowRequest& request,
                         std::int32_t invoke_id, FlowOutbox& out) {
    const auto member = members_.find(from);
    if (member != members_.end() && (member->second.half_open >= config_.half_open_max ||
                                     member->second.flows >= config_.flows_of_member_max))
        return refuse_request(from, request, invoke_id, FlowIgnored::flood, out);
    auto terms = terms_of(request, config_.policies, config_.format);
    if (!terms) return refuse_request(from, request, invoke_id, FlowIgnored::unacceptable, out);
    const std::optional<Offer> offer = offer_of(request);
    FlowSpec spec = spec_of(request);
    if (offer) {
        spec.delay_us = offer->delay_us;
        spec.jitter_us = offer->jitter_us;
        spec.max_loss = offer->max_loss;
    }
    // What the initiator chose counts where it is known, for both ends must mark PDUs alike.
    const rina::QosId wanted = offer ? offer->qos : request.connections.front().qos;
    const QosCube* const known = cubes_.find(wanted);
    const QosCube* const fitting = known != nullptr ? known : cubes_.choose(spec);
    const QosCube& cube = fitting != nullptr ? *fitting : cubes_.first();
    const Names names{request.destination_application, request.source_application,
                      request.source_ipcp};
    auto made = make_flow(now, from, names,
                          {cube.id, terms->bandwidth_bps, names.local.process});
    if (!made) return refuse_request(from, request, invoke_id, FlowIgnored::no_admission, out);

    Flow& flow = **made;
    flow.state = FlowState::requested;
    flow.peer_cep = request.connections.front().source_cep;
    flow.peer_port = static_cast<std::uint32_t>(request.source_port);
    flow.invoke_id = invoke_id;
    if (known != nullptr) flow.qos = known->id;
    flow.exchange = std::make_unique<Exchange>();
    Exchange& exchange = *flow.exchange;
    exchange.request = request;
    exchange.terms = *terms;
    if (offer) {
        flow.nonce = offer->nonce;
        flow.extended = true;
        exchange.offer = offer;
        exchange.agreed = agree(*offer, config_.extensions, terms->policies, known != nullptr);
        exchange.terms.policies = with(terms->policies, exchange.agreed);
        // The credit may be more than the sequence numbers of this DIF bear.
        if (!efcp::check(exchange.terms.policies, config_.format)) {
            exchange.agreed = Answer{Features{}, 0, exchange.agreed.qos};
            exchange.terms.policies = with(terms->policies, exchange.agreed);
        }
    }
    ++members_[from].half_open;
    incoming_[{from, request.source_port}] = flow.port;
    out.add(FlowRequested{flow.port, names.local, names.remote, spec, from});
    set_deadline(flow, now + config_.accept_timeout);
}

// rlite reads the value and the first connection of every answer, whatever its result.
void FlowAllocator::refuse_request(rina::Address to, rina::FlowRequest request,
                                   std::int32_t invoke_id, FlowIgnored why, FlowOutbox& out) {
    ignore(why);
    if (const auto offer = offer_of(request))
        request.access_control = encode(Answer{}, *offer, request.destination_port, 0);
    if (request.connections.empty()) request.connections.emplace_back();
    const bool is_bare = faults::is_active(faults::Fault::refusal_without_value);
    rina::CdapMessage reply =
        message(rina::OpCode::create_r, invoke_id, is_bare ? nullptr : &request);
    reply.result = -1;
    reply.reason = to_string(why);
    out.add(SendFlowMessage{to, std::move(reply)});
}

// ---- M_CREATE_R ---------------------------------------------------------------------------------

bool FlowAllocator::is_from(const Flow& flow, rina::Address from) const {
    return flow.peer == from || directory_.address_of(ipcp_names_[flow.peer_ipcp]) == from;
}

void FlowAllocator::on_create_r(Instant now, rina::Address from, const rina::FlowRequest* answer,
                                std::int32_t invoke_id, std::int32_t result,
                                std::string_view reason, FlowOutbox& out) {
    last_ = now;
    if (from.value == 0) return ignore(FlowIgnored::no_address);
    const auto asked = asked_.find(invoke_id);
    if (asked == asked_.end()) {
        if (answer == nullptr || result != 0 || answer->connections.empty())
            return ignore(FlowIgnored::stale);
        return late_answer(now, from, *answer, invoke_id, out);
    }
    Flow& flow = *flow_at(asked->second);
    if (!is_from(flow, from)) return ignore(FlowIgnored::not_the_peer);
    if (result != 0) {
        // Where it is said to be now it may have been asked as well, and say yes.
        const bool has_moved = address_of(flow) != flow.peer;
        stop_asking(now, flow, has_moved ? Tell::cancelled : Tell::nobody, out);
        return fail_flow(now, flow, rina::Reason::refused,
                         reason.empty() ? "refused by the peer" : reason, out);
    }
    if (answer != nullptr && is_answer_to(flow, *answer))
        return accepted(now, from, flow, *answer, out);
    ignore(FlowIgnored::changed_terms);
    stop_asking(now, flow, Tell::cancelled, out);
    fail_flow(now, flow, rina::Reason::refused, "the answer does not fit the request", out);
}

// The responder has a flow that we gave up on. (To an answer that comes twice, nothing is said.)
void FlowAllocator::late_answer(Instant now, rina::Address from, const rina::FlowRequest& answer,
                                std::int32_t invoke_id, FlowOutbox& out) {
    ignore(FlowIgnored::stale);
    const RequestKey key{from, answer.source_port, static_cast<std::uint32_t>(invoke_id), true};
    if (!has_ended(now, key)) return;
    rina::FlowRequest value = answer;
    value.access_control.clear();
    const auto member = members_.find(from);
    const bool is_sluice = member != members_.end() && member->second.is_sluice;
    send_delete(now, from, answer.destination_port, &value,
                is_sluice ? config_.deletes_max : 1, out);
}

// The responder may fill in its ids and its consent, nothing else.
bool FlowAllocator::is_answer_to(const Flow& flow, const rina::FlowRequest& answer) const {
    const rina::FlowRequest& request = flow.exchange->request;
    return !answer.connections.empty() && answer.source_port == request.source_port &&
           answer.connections.front().source_cep == flow.cep &&
           fits(answer.connections.front().destination_cep, config_.format) &&
           answer.destination_port < kNoPort && answer.qos == request.qos &&
           answer.policies == request.policies;
}

void FlowAllocator::accepted(Instant now, rina::Address from, Flow& flow,
                             const rina::FlowRequest& answer, FlowOutbox& out) {
    Exchange& exchange = *flow.exchange;
    if (flow.peer != from) {
        ++members_[from].flows;
        leave_member(flow.peer);
        flow.peer = from;
    }
    flow.peer_port = static_cast<std::uint32_t>(answer.destination_port);
    flow.peer_cep = answer.connections.front().destination_cep;
    ReadAnswer read;
    if (exchange.offer)
        read = answer_in(answer.access_control, *exchange.offer, flow.peer_port,
                         flow.peer_cep->value);
    FlowTerms terms = exchange.terms;
    if (read.consent == Consent::given) {
        prove(flow.peer);
        flow.extended = true;
        flow.qos = read.answer.qos;
        terms.policies = with(terms.policies, read.answer);
    }
    if (read.consent == Consent::invalid || !efcp::check(terms.policies, config_.format)) {
        ignore(FlowIgnored::changed_terms);
        stop_asking(now, flow, Tell::deleted, out);
        return fail_flow(now, flow, rina::Reason::refused,
                         "nobody knows what the peer has agreed to", out);
    }
    asked_.erase(flow.invoke_id);
    flow.state = FlowState::allocated;
    flow.exchange.reset();
    set_deadline(flow, Instant::never());
    ++stats_.allocated;
    out.add(SetPeer{flow.port, flow.cep, flow.peer, *flow.peer_cep, flow.qos, terms});
    out.add(FlowAllocated{flow.port, flow.cookie, terms});
}

// ---- M_DELETE -----------------------------------------------------------------------------------

bool FlowAllocator::is_about(const Flow& flow, const rina::FlowRequest& value) {
    if (value.connections.empty()) return false;
    const std::uint64_t port = flow.initiator ? flow.port.value : flow.peer_port;
    const std::optional<rina::CepId> cep = flow.initiator ? flow.cep : flow.peer_cep;
    const std::optional<Offer> offer = offer_in(value.access_control);
    return value.source_port == port && value.connections.front().source_cep == cep &&
           (!offer || offer->nonce == flow.nonce);
}

FlowAllocator::Flow* FlowAllocator::find_deleted(Instant now, rina::Address from,
                                                 std::uint64_t port,
                                                 const rina::FlowRequest* value) {
    if (port < kNoPort) {
        Flow* const flow = flow_at(PortId{static_cast<std::uint32_t>(port)});
        if (flow == nullptr) {
            ignore(FlowIgnored::unknown_flow);
        } else if (!is_from(*flow, from)) {
            ignore(FlowIgnored::not_the_peer);
        } else if (value == nullptr ? flow->extended : !is_about(*flow, *value)) {
            // Both ends are ours and say which flow they mean; only they know the number in its
            // offer. Whoever sends from the peer's address could guess the port-id.
            ignore(FlowIgnored::stale);
        } else {
            return flow;
        }
        return nullptr;
    }
    // An initiator that never learnt our port-id.
    if (value == nullptr) {
        ignore(FlowIgnored::unknown_flow);
        return nullptr;
    }
    Flow* const flow = incoming(from, value->source_port);
    if (flow != nullptr && is_about(*flow, *value)) return flow;
    ignore(FlowIgnored::unknown_flow);
    // It may have overtaken the request that it takes back.
    const std::optional<Offer> offer = offer_in(value->access_control);
    if (offer && directory_.address_of(value->source_ipcp) == from)
        remember(now, {from, value->source_port, offer->nonce, false});
    return nullptr;
}

void FlowAllocator::on_delete(Instant now, rina::Address from, std::uint64_t port,
                              const rina::FlowRequest* value, std::int32_t invoke_id,
                              FlowOutbox& out) {
    last_ = now;
    if (from.value == 0) return ignore(FlowIgnored::no_address);
    Flow* const flow = find_deleted(now, from, port, value);
    if (flow != nullptr) peer_gone(now, *flow, rina::Reason::closed_by_peer, out);
    // Also of a flow that is not there any more: it is gone, and that is what was asked for.
    if (value == nullptr || invoke_id == 0) return;
    rina::CdapMessage reply = message(rina::OpCode::remove_r, invoke_id, nullptr);
    reply.obj_name += fmt::format("/{}", port);
    out.add(SendFlowMessage{from, std::move(reply)});
}

void FlowAllocator::on_delete_r(Instant now, rina::Address from, std::int32_t invoke_id) {
    last_ = now;
    const auto at = unanswered_.find(invoke_id);
    if (at == unanswered_.end()) return ignore(FlowIgnored::unknown_flow);
    if (at->second.to != from) return ignore(FlowIgnored::not_the_peer);
    if (at->second.is_question()) return ignore(FlowIgnored::bad_message);
    unanswered_.erase(at);
}

void FlowAllocator::on_read(rina::Address from, std::uint64_t port, const rina::FlowRequest* value,
                            std::int32_t invoke_id, FlowOutbox& out) {
    if (from.value == 0) return ignore(FlowIgnored::no_address);
    if (port >= kNoPort || value == nullptr || invoke_id == 0)
        return ignore(FlowIgnored::bad_message);
    const Flow* const flow = flow_at(PortId{static_cast<std::uint32_t>(port)});
    // An answer may be under way to who is asking; and who is closing says so, when all its data
    // has gone.
    const bool there = flow != nullptr && flow->state != FlowState::shut &&
                       is_from(*flow, from) && is_about(*flow, *value);
    rina::CdapMessage reply = message(rina::OpCode::read_r, invoke_id, nullptr);
    reply.obj_name += fmt::format("/{}", port);
    reply.result = there ? 0 : -1;
    out.add(SendFlowMessage{from, std::move(reply)});
}

void FlowAllocator::on_read_r(Instant now, rina::Address from, std::int32_t invoke_id,
                              std::int32_t result, FlowOutbox& out) {
    last_ = now;
    const auto at = unanswered_.find(invoke_id);
    if (at == unanswered_.end()) return ignore(FlowIgnored::unknown_flow);
    if (at->second.to != from) return ignore(FlowIgnored::not_the_peer);
    if (!at->second.is_question()) return ignore(FlowIgnored::bad_message);
    const Unanswered question = std::move(at->second);
    unanswered_.erase(at);
    if (result != 0) not_there(now, question, true, out);
}

void FlowAllocator::peer_gone(Instant now, Flow& flow, rina::Reason reason, FlowOutbox& out) {
    switch (flow.state) {
        case FlowState::asking:
            stop_asking(now, flow, Tell::nobody, out);
            fail_flow(now, flow, reason, {}, out);
            return;
        case FlowState::requested: fail_flow(now, flow, reason, {}, out); return;
        case FlowState::closing: unbind(now, flow, out); return;
        case FlowState::shut: return;
        case FlowState::allocated: break;
    }
    flow.state = FlowState::shut;
    flow.exchange.reset();
    set_deadline(flow, Instant::never());
    if (!flow.initiator) {
        remember(now, key_of(flow));
        forget_incoming(flow);
    }
    out.add(Shut{flow.port, flow.cep});
    out.add(FlowDeallocated{flow.port, flow.cookie, reason});
}

// ---- the rest of the IPC process ----------------------------------------------------------------

// In the order of their port-ids, so that two runs of one story are alike.
std::vector<PortId> FlowAllocator::ports_where(
    const std::function<bool(const Flow&)>& is_wanted) const {
    std::vector<PortId> ports;
    for (const auto& [port, flow] : flows_)
        if (is_wanted(flow)) ports.push_back(port);
    std::sort(ports.begin(), ports.end());
    return ports;
}

void FlowAllocator::on_member_gone(Instant now, std::string_view ipcp, rina::Address member,
                                   FlowOutbox& out) {
    last_ = now;
    // It may come back as somebody else, or as itself with another version of the program.
    if (const auto at = members_.find(member); at != members_.end()) {
        at->second.is_sluice = false;
        if (at->second.flows == 0) members_.erase(at);
    }
    for (auto at = unanswered_.begin(); at != unanswered_.end();)
        at = at->second.to == member ? unanswered_.erase(at) : std::next(at);
    // But for those of somebody else who has that address, too, and is still there.
    for (const PortId port : ports_where([&](const Flow& f) {
             const std::string_view peer = ipcp_names_[f.peer_ipcp];
             return f.peer == member && (peer == ipcp || directory_.address_of(peer) != member);
         }))
        peer_gone(now, *flow_at(port), rina::Reason::peer_unresponsive, out);
}

void FlowAllocator::on_member_moved(Instant now, std::string_view ipcp, rina::Address address,
                                    bool restarted, FlowOutbox& out) {
    last_ = now;
    for (const PortId port : ports_where([&](const Flow& f) {
             return f.state == FlowState::allocated && ipcp_names_[f.peer_ipcp] == ipcp &&
                    (restarted || f.peer != address);
         })) {
        Flow& flow = *flow_at(port);
        // rlite would not answer.
        if (is_sluice(flow))
            ask_whether_there(now, flow, out);
        else
            peer_gone(now, flow, rina::Reason::peer_restarted, out);
    }
}

void FlowAllocator::not_there(Instant now, const Unanswered& question, bool answered,
                              FlowOutbox& out) {
    Flow* const flow = flow_at(question.flow);
    if (flow == nullptr || flow->serial != question.flow_serial ||
        flow->state != FlowState::allocated)
        return;
    // There may be no way to it at the moment, and the flow at its end.
    if (!answered) say_deleted(now, *flow, out);
    peer_gone(now, *flow, rina::Reason::peer_restarted, out);
}

void FlowAllocator::on_own_move(Instant now, FlowOutbox& out) {
    last_ = now;
    for (const PortId port : ports_where([](const Flow&) { return true; })) {
        Flow& flow = *flow_at(port);
        // Its deletion would have been said a moment later, and is not heard of otherwise.
        if (flow.state == FlowState::closing) {
            close(now, flow, out);
            continue;
        }
        if (flow.state == FlowState::allocated) say_deleted(now, flow, out);
        peer_gone(now, flow, rina::Reason::peer_restarted, out);
    }
}

void FlowAllocator::on_unregister(Instant now, const rina::AppName& application,
                                  FlowOutbox& out) {
    last_ = now;
    for (const PortId port : ports_where([&](const Flow& f) {
             return f.state == FlowState::requested && app_names_[f.local] == application;
         })) {
        Flow& flow = *flow_at(port);
        answer(flow, -1, "the application is gone", out);
        fail_flow(now, flow, rina::Reason::unregistered, {}, out);
    }
}

}  // namespace sluice::mgmt
