#include "normal_dif/core/ipcp/enrollment.hpp"

#include <algorithm>

#include "normal_dif/core/faults.hpp"
#include "normal_dif/core/mgmt/changes.hpp"
#include "rina/rlite_name.hpp"

namespace sluice::mgmt {

using rina::CdapMessage;
using rina::OpCode;
using rmt::N1PortId;

namespace {

constexpr std::int32_t kFailed = -1;

const rina::EnrollmentInfo* info_of(const rina::RibObject& object) {
    return std::get_if<rina::EnrollmentInfo>(&object);
}

}  // namespace

const char* to_string(AdjacencyEnd end) noexcept {
    switch (end) {
        case AdjacencyEnd::released: return "released by the peer";
        case AdjacencyEnd::disconnected: return "disconnected";
        case AdjacencyEnd::unresponsive: return "unresponsive";
        case AdjacencyEnd::restarted: return "the peer began anew";
        case AdjacencyEnd::lower_flow_down: return "the lower flow went down";
        case AdjacencyEnd::refused: return "refused";
        case AdjacencyEnd::incompatible: return "constants of the DIF do not fit";
        case AdjacencyEnd::protocol_error: return "protocol error";
        case AdjacencyEnd::unauthenticated: return "not authenticated";
    }
    return "?";
}

Enrollment::Enrollment(Options options, EnrollmentHost& host)
    : options_(std::move(options)), host_(host) {}

// ---- N-1 flows ----

void Enrollment::flow_up(Instant now, N1PortId port, const std::string& peer) {
    Adjacency& a = adjacencies_[port];
    a = Adjacency();
    a.port = port;
    a.peer = peer;
    a.initiator = true;
    if (options_.auth.is_wanted()) {
        const AuthError error = options_.auth.begin(a.auth);
        if (error != AuthError::none) {
            drop(error);
            return end(now, adjacencies_.find(port), AdjacencyEnd::unauthenticated,
                       to_string(error));
        }
    }
    connect(now, a);
}

void Enrollment::flow_accepted(Instant now, N1PortId port) {
    Adjacency& a = adjacencies_[port];
    a = Adjacency();
    a.port = port;
    a.deadline = now + options_.timers.step;
}

void Enrollment::flow_down(Instant now, N1PortId port) {
    const auto it = adjacencies_.find(port);
    if (it != adjacencies_.end()) end(now, it, AdjacencyEnd::lower_flow_down, "");
}

// ---- the steps ----

void Enrollment::connect(Instant now, Adjacency& a) {
    a.step = Step::connecting;
    ++a.tries;
    a.deadline = now + options_.timers.connect_retry;
    // Who has told its name is called by it, also if it was asked for as the DIF.
    const std::string& peer = a.auth.responder.empty() ? a.peer : a.auth.responder;
    CdapMessage m = a.session.connect(options_.name, app_name_of(peer));
    if (options_.auth.is_wanted()) Authenticator::attach(a.auth, m);
    send(a, m);
}

void Enrollment::received(Instant now, N1PortId port, const CdapMessage& m) {
    const auto it = adjacencies_.find(port);
    if (it == adjacencies_.end()) {
        drop(EnrollmentDrop::unknown_port);
        return;
    }
    Adjacency& a = it->second;
    // There is no answer without an id.
    const bool is_question = m.op == OpCode::connect || m.op == OpCode::start ||
                             m.op == OpCode::stop || m.op == OpCode::read;
    if (is_question && m.invoke_id == 0) return drop(EnrollmentDrop::out_of_place);
    if (m.op == OpCode::connect && a.session.connected()) {
        if (options_.auth.is_wanted()) return on_connect_again(now, it, m);
        restart(now, a);
    }
    const SessionError error = a.session.received(now, m);
    if (error != SessionError::none) {
        ++session_errors_[static_cast<std::size_t>(error)];
        drop(EnrollmentDrop::session);
        return;
    }
    switch (m.op) {
        case OpCode::connect: on_connect(now, it, m); return;
        case OpCode::connect_r: on_connect_answer(now, it, m); return;
        case OpCode::release: end(now, it, AdjacencyEnd::released, ""); return;
        default: break;
    }
    if (m.obj_name == rina::rib::kEnrollment.obj_name) {
        on_enrollment(now, it, m);
    } else if (m.obj_name == rina::rib::kLowerFlow.obj_name) {
        on_lower_flow(now, it, m);
    } else if (m.obj_name == rina::rib::kKeepalive.obj_name) {
        on_keepalive(now, a, m);
    } else if (m.obj_name == rina::rib::kOperationalStatus.obj_name) {
        // Says that the enroller is done, which M_STOP has said.
    } else if (a.step == Step::up || a.step == Step::receiving) {
        host_.object_message(now, port, a.peer, m);
    } else {
        drop(EnrollmentDrop::out_of_place);
    }
}

// Of a session that is up: the peer has lost its own, and begins anew.
void Enrollment::restart(Instant now, Adjacency& a) {
    const bool was_up = a.step == Step::up;
    a.session.reset();
    a.step = Step::accepted;
    a.initiator = false;
    a.start.reset();
    a.constants.reset();
    a.new_member = false;
    a.unanswered = 0;
    a.probe_at = Instant::never();
    a.deadline = now + options_.timers.step;
    a.auth = {};
    host_.adjacency_down(now, a.port, a.peer, AdjacencyEnd::restarted, was_up, "");
}

void Enrollment::on_connect(Instant now, Iterator it, const CdapMessage& m) {
    Adjacency& a = it->second;
    const std::string peer = rina::rlite_name(m.source);
    const auto refuse = [&](EnrollmentDrop why, const char* reason) {
        drop(why);
        send(a, a.session.answer_connect(m, options_.name, kFailed, reason));
        a.session.reset();
    };
    const std::string own = rina::rlite_name(options_.name);
    const std::string wanted = rina::rlite_name(m.destination);
    if (wanted != own && wanted != options_.dif)
        return refuse(EnrollmentDrop::wrong_name, "this is not who you asked for");
    if (peer.empty() || peer == own)
        return refuse(EnrollmentDrop::wrong_name, "this is not your name");
    // Both asked at once over one flow: the one whose name comes first stays the initiator.
    if (a.step == Step::connecting && own < peer) return;
    if (options_.auth.is_wanted()) return authenticate(now, it, peer, m);
    a.peer = peer;
    a.initiator = false;
    a.step = Step::connected;
    a.deadline = now + options_.timers.step;
    send(a, a.session.answer_connect(m, options_.name, 0, ""));
}

void Enrollment::on_connect_answer(Instant now, Iterator it, const CdapMessage& m) {
    Adjacency& a = it->second;
    if (options_.auth.is_wanted()) return on_authenticated_answer(now, it, m);
    if (m.result != 0) return end(now, it, AdjacencyEnd::refused, m.reason);
    const std::string real = rina::rlite_name(m.source);
    if (real.empty() || real == rina::rlite_name(options_.name)) {
        send(a, a.session.release());
        return end(now, it, AdjacencyEnd::protocol_error, "the peer did not say its name");
    }
    // Asked for the DIF, or by another name.
    a.peer = real;
    start(now, a);
}

void Enrollment::start(Instant now, Adjacency& a) {
    a.step = Step::starting;
    a.deadline = now + options_.timers.step;
    if (faults::is_active(faults::Fault::enrollee_is_impatient))
        a.deadline = now + Duration::seconds(3);
    a.new_member = !host_.is_member();
    const rina::RibName object =
        a.new_member ? rina::rib::kEnrollment : rina::rib::kLowerFlow;
    CdapMessage m = a.session.request(OpCode::start, object.obj_class, object.obj_name, true);
    if (a.new_member) {
        rina::EnrollmentInfo info;
        info.address = host_.address();
        info.lower_difs = host_.lower_difs();
        m.value = rina::value_of(info);
    }
    send(a, m);
}

void Enrollment::on_enrollment(Instant now, Iterator it, const CdapMessage& m) {
    switch (m.op) {
        case OpCode::start: return on_start(now, it, m);
        case OpCode::start_r: return on_start_answer(now, it, m);
        case OpCode::stop: return on_stop(now, it, m);
        case OpCode::stop_r: return on_stop_answer(now, it, m);
        default: drop(EnrollmentDrop::out_of_place);
    }
}

// Enroller.
void Enrollment::on_start(Instant now, Iterator it, const CdapMessage& m) {
    Adjacency& a = it->second;
    if (a.step != Step::connected) return drop(EnrollmentDrop::out_of_place);
    const auto refuse = [&](const std::string& reason) {
        send(a, a.session.answer(m, kFailed, reason));
        end(now, it, AdjacencyEnd::refused, reason);
    };
    const auto object = rina::object_of(m);
    if (!object || info_of(*object) == nullptr) {
        drop(EnrollmentDrop::bad_object);
        return refuse("no enrollment information that can be read");
    }
    if (!options_.enroller || !host_.is_member()) {
        drop(EnrollmentDrop::no_enroller);
        return refuse("this IPC process does not let others join");
    }
    if (const auto admitted = host_.admit(a.peer, true); !admitted)
        return refuse(admitted.error().message);
    a.step = Step::choosing;
    a.new_member = true;
    a.deadline = now + options_.timers.step;
    a.start = m;
    host_.choose_address(now, a.port, a.peer);
}

void Enrollment::address_chosen(Instant now, N1PortId port, rina::Address address) {
    const auto it = adjacencies_.find(port);
    if (it == adjacencies_.end() || it->second.step != Step::choosing) return;
    Adjacency& a = it->second;
    const auto object = rina::object_of(*a.start);
    rina::EnrollmentInfo info;
    info.address = address;
    // As they came: the enrollee is told that it was understood.
    if (object && info_of(*object) != nullptr) info.lower_difs = info_of(*object)->lower_difs;
    info.constants = host_.constants();
    CdapMessage answer = a.session.answer(*a.start, 0);
    answer.value = rina::value_of(info);
    a.start.reset();
    send(a, answer);
    for (const EnrollmentHost::Setting& s : host_.settings()) {
        CdapMessage m = a.session.request(OpCode::write, s.obj_class, s.obj_name, false);
        m.value = s.value;
        send(a, m);
    }
    rina::EnrollmentInfo stop;
    stop.start_early = true;
    CdapMessage m = a.session.request(OpCode::stop, rina::rib::kEnrollment.obj_class,
                                      rina::rib::kEnrollment.obj_name, true);
    m.value = rina::value_of(stop);
    send(a, m);
    a.step = Step::stopping;
    a.deadline = now + options_.timers.step;
}

void Enrollment::refuse_address(Instant now, N1PortId port, const std::string& reason) {
    const auto it = adjacencies_.find(port);
    if (it == adjacencies_.end() || it->second.step != Step::choosing) return;
    send(it->second, it->second.session.answer(*it->second.start, kFailed, reason));
    end(now, it, AdjacencyEnd::refused, reason);
}

// Enrollee.
void Enrollment::on_start_answer(Instant now, Iterator it, const CdapMessage& m) {
    Adjacency& a = it->second;
    if (a.step != Step::starting || !a.new_member) return drop(EnrollmentDrop::out_of_place);
    if (m.result != 0) {
        send(a, a.session.release());
        return end(now, it, AdjacencyEnd::refused, m.reason);
    }
    const auto leave = [&](AdjacencyEnd why, const std::string& detail) {
        send(a, a.session.release());
        end(now, it, why, detail);
    };
    const auto object = rina::object_of(m);
    const rina::EnrollmentInfo* const info = object ? info_of(*object) : nullptr;
    if (info == nullptr || !info->constants) {
        drop(EnrollmentDrop::bad_object);
        return leave(AdjacencyEnd::protocol_error, "M_START_R without the constants of the DIF");
    }
    if (const auto fits = host_.check_constants(*info->constants); !fits)
        return leave(AdjacencyEnd::incompatible, fits.error().message);
    a.offered = info->address.value_or(rina::Address{});
    a.constants = info->constants;
    a.step = Step::receiving;
    a.deadline = now + options_.timers.step;
}

void Enrollment::on_stop(Instant now, Iterator it, const CdapMessage& m) {
    Adjacency& a = it->second;
    if (a.step != Step::receiving) return drop(EnrollmentDrop::out_of_place);
    if (const auto can = host_.obey_settings(now, a.port); !can) {
        send(a, a.session.answer(m, kFailed, can.error().message));
        return end(now, it, AdjacencyEnd::refused, can.error().message);
    }
    // The answer comes from the new address already.
    host_.joined(now, a.offered, *a.constants);
    send(a, a.session.answer(m, 0));
    up(now, a);
}

// Enroller.
void Enrollment::on_stop_answer(Instant now, Iterator it, const CdapMessage& m) {
    Adjacency& a = it->second;
    if (a.step != Step::stopping) return drop(EnrollmentDrop::out_of_place);
    if (m.result != 0) {
        send(a, a.session.release());
        return end(now, it, AdjacencyEnd::refused, m.reason);
    }
    send(a, a.session.request(OpCode::start, rina::rib::kOperationalStatus.obj_class,
                              rina::rib::kOperationalStatus.obj_name, false));
    up(now, a);
}

// Another flow between members, or one after a loss.
void Enrollment::on_lower_flow(Instant now, Iterator it, const CdapMessage& m) {
    Adjacency& a = it->second;
    if (m.op == OpCode::start && a.step == Step::connected) {
        Result<> admitted = host_.is_member()
                                ? host_.admit(a.peer, false)
                                : Result<>(fail(EACCES, "this IPC process is no member itself"));
        send(a, a.session.answer(m, admitted ? 0 : kFailed,
                                 admitted ? "" : admitted.error().message));
        if (!admitted) return end(now, it, AdjacencyEnd::refused, admitted.error().message);
        return up(now, a);
    }
    if (m.op == OpCode::start_r && a.step == Step::starting && !a.new_member) {
        if (m.result == 0) return up(now, a);
        send(a, a.session.release());
        return end(now, it, AdjacencyEnd::refused, m.reason);
    }
    drop(EnrollmentDrop::out_of_place);
}

void Enrollment::up(Instant now, Adjacency& a) {
    a.step = Step::up;
    a.deadline = Instant::never();
    a.unanswered = 0;
    a.probe_at = options_.timers.keepalive.ns > 0 ? now + options_.timers.keepalive
                                                  : Instant::never();
    host_.adjacency_up(now, a.port, a.peer, a.initiator);
}

void Enrollment::on_keepalive(Instant, Adjacency& a, const CdapMessage& m) {
    if (a.step != Step::up) return drop(EnrollmentDrop::out_of_place);
    if (m.op == OpCode::read)
        send(a, a.session.answer(m, 0));
    else if (m.op == OpCode::read_r)
        a.unanswered = 0;
    else
        drop(EnrollmentDrop::out_of_place);
}

void Enrollment::end(Instant now, Iterator it, AdjacencyEnd why, const std::string& detail) {
    const Adjacency a = std::move(it->second);
    adjacencies_.erase(it);
    if (why != AdjacencyEnd::lower_flow_down) host_.release_flow(a.port);
    host_.adjacency_down(now, a.port, a.peer, why, a.step == Step::up, detail);
}

// ---- operator ----

void Enrollment::disconnect(Instant now, N1PortId port) {
    const auto it = adjacencies_.find(port);
    if (it == adjacencies_.end()) return;
    if (it->second.session.connected()) send(it->second, it->second.session.release());
    end(now, it, AdjacencyEnd::disconnected, "");
}

bool Enrollment::send_request(N1PortId port, OpCode op, rina::RibName object,
                              rina::ObjValue value) {
    const auto it = adjacencies_.find(port);
    if (it == adjacencies_.end() || it->second.step != Step::up) return false;
    CdapMessage m =
        it->second.session.request(op, object.obj_class, object.obj_name, false);
    m.value = std::move(value);
    send(it->second, m);
    return true;
}

// ---- time ----

void Enrollment::on_timeout(Instant now) {
    // Ports first: an end takes its adjacency out of the map.
    std::vector<N1PortId> due;
    for (const auto& [port, a] : adjacencies_)
        if (now >= a.deadline || now >= a.probe_at) due.push_back(port);
    for (const N1PortId port : due) {
        const auto it = adjacencies_.find(port);
        if (it == adjacencies_.end()) continue;
        Adjacency& a = it->second;
        if (now >= a.deadline) {
            if (a.step == Step::connecting && a.tries < options_.timers.connect_tries) {
                connect(now, a);
                continue;
            }
            if (a.session.connected()) send(a, a.session.release());
            end(now, it, AdjacencyEnd::unresponsive, "a step of the enrollment took too long");
            continue;
        }
        if (a.unanswered > options_.timers.keepalive_threshold) {
            send(a, a.session.release());
            end(now, it, AdjacencyEnd::unresponsive, "keepalives were not answered");
            continue;
        }
        ++a.unanswered;
        a.probe_at = now + options_.timers.keepalive;
        send(a, a.session.request(OpCode::read, rina::rib::kKeepalive.obj_class,
                                  rina::rib::kKeepalive.obj_name, true));
    }
}

Instant Enrollment::next_deadline() const noexcept {
    Instant next = Instant::never();
    for (const auto& [port, a] : adjacencies_)
        next = std::min({next, a.deadline, a.probe_at});
    return next;
}

void Enrollment::set_timers(Instant now, const EnrollmentTimers& timers) {
    const EnrollmentTimers old = options_.timers;
    options_.timers = timers;
    const auto follow = [now](Instant& at, Duration from, Duration to) {
        if (!at.is_never()) at = std::max(now, at + (to - from));
    };
    for (auto& [port, a] : adjacencies_) {
        if (a.step == Step::connecting)
            follow(a.deadline, old.connect_retry, timers.connect_retry);
        else
            follow(a.deadline, old.step, timers.step);
        if (a.step != Step::up) continue;
        if (timers.keepalive.ns == 0) {
            a.probe_at = Instant::never();
            a.unanswered = 0;
        } else if (a.probe_at.is_never()) {
            a.probe_at = now + timers.keepalive;
        } else {
            follow(a.probe_at, old.keepalive, timers.keepalive);
        }
    }
}

bool Enrollment::is_up(N1PortId port) const noexcept {
    const auto it = adjacencies_.find(port);
    return it != adjacencies_.end() && it->second.step == Step::up;
}

bool Enrollment::is_receiving(N1PortId port) const noexcept {
    const auto it = adjacencies_.find(port);
    return it != adjacencies_.end() && it->second.step == Step::receiving;
}

std::vector<Enrollment::View> Enrollment::adjacencies() const {
    std::vector<View> out;
    for (const auto& [port, a] : adjacencies_)
        out.push_back({port, a.peer, a.step, a.initiator, a.unanswered});
    return out;
}

}  // namespace sluice::mgmt
