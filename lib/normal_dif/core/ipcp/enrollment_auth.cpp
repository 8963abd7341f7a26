#include "normal_dif/core/ipcp/enrollment.hpp"
#include "rina/rlite_name.hpp"

// What enrollment does of its own where neighbours authenticate each other. The rules are in
// authentication.hpp.
namespace sluice::mgmt {

using rina::CdapMessage;
using rmt::N1PortId;

namespace {

constexpr std::int32_t kFailed = -1;
// Says no more: who cannot prove itself need not know what we would have believed.
constexpr const char* kRefusal = "authentication failed";
constexpr const char* kContinues = "authentication is wanted";

}  // namespace

// ---- initiator ----

void Enrollment::on_authenticated_answer(Instant now, Iterator it, const CdapMessage& m) {
    Adjacency& a = it->second;
    const bool is_no = m.result != 0 && m.auth_mechanism == rina::AuthMechanism::none;
    if (is_no) {
        // After our proof a no is about that, as far as we can tell.
        const bool proved = a.auth.phase == AuthExchange::Phase::proof;
        return end(now, it, proved ? AdjacencyEnd::unauthenticated : AdjacencyEnd::refused,
                   m.reason);
    }
    const AuthError error = options_.auth.on_answer(a.auth, m, a.peer);
    if (error != AuthError::none) {
        drop(error);
        if (a.session.connected()) send(a, a.session.release());
        return end(now, it, AdjacencyEnd::unauthenticated, to_string(error));
    }
    if (a.auth.phase == AuthExchange::Phase::proof) {
        a.tries = 0;
        return connect(now, a);
    }
    a.peer = a.auth.responder;
    start(now, a);
}

// ---- responder ----

// An M_CONNECT outside of a session.
void Enrollment::authenticate(Instant now, Iterator it, const std::string& peer,
                              const CdapMessage& m) {
    Adjacency& a = it->second;
    const AuthError error = options_.auth.on_connect(a.offered_auth, m, peer);
    if (error != AuthError::none) return refuse_unauthenticated(now, it, error, m);
    if (a.offered_auth.phase == AuthExchange::Phase::done)
        return accept_authenticated(now, a, peer, m);
    if (a.step == Step::connecting) {
        // Both called at once, and we are the one who yields.
        a.step = Step::accepted;
        a.initiator = false;
        a.auth = {};
        a.deadline = now + options_.timers.step;
    }
    CdapMessage answer = a.session.answer_connect(m, options_.name, kAuthContinues, kContinues);
    Authenticator::attach(a.offered_auth, answer);
    send(a, answer);
}

void Enrollment::accept_authenticated(Instant now, Adjacency& a, const std::string& peer,
                                      const CdapMessage& m) {
    a.auth = std::move(a.offered_auth);
    a.offered_auth = {};
    a.peer = peer;
    a.initiator = false;
    a.step = Step::connected;
    a.deadline = now + options_.timers.step;
    CdapMessage answer = a.session.answer_connect(m, options_.name, 0, "");
    Authenticator::attach(a.auth, answer);
    send(a, answer);
}

void Enrollment::refuse_unauthenticated(Instant now, Iterator it, AuthError why,
                                        const CdapMessage& m) {
    Adjacency& a = it->second;
    drop(why);
    const bool says_what = why == AuthError::missing || why == AuthError::unknown_mechanism;
    send(a, a.session.dismiss_connect(m, options_.name, kFailed,
                                      says_what ? kContinues : kRefusal));
    // A session that is proved is not ended by who cannot prove anything.
    if (!a.session.connected()) end(now, it, AdjacencyEnd::unauthenticated, to_string(why));
}

// An M_CONNECT within a session: our answer was lost, or the peer has lost its session, or it is
// somebody else.
void Enrollment::on_connect_again(Instant now, Iterator it, const CdapMessage& m) {
    Adjacency& a = it->second;
    if (rina::rlite_name(m.source) != a.peer)
        return refuse_unauthenticated(now, it, AuthError::wrong_identity, m);
    if (Authenticator::is_repeated_proof(a.auth, m) && a.step == Step::connected &&
        !a.auth.is_initiator) {
        CdapMessage answer = a.session.dismiss_connect(m, options_.name, 0, "");
        Authenticator::attach(a.auth, answer);
        return send(a, answer);
    }
    // Late, or recorded: the handshake that they were of is over.
    if (Authenticator::is_repeated_proof(a.auth, m) || Authenticator::is_repeated_hello(a.auth, m))
        return drop(AuthError::replayed);
    const std::string peer = a.peer;
    const AuthError error = options_.auth.on_connect(a.offered_auth, m, peer);
    if (error != AuthError::none) return refuse_unauthenticated(now, it, error, m);
    if (a.offered_auth.phase == AuthExchange::Phase::done) {
        restart(now, a);
        // As the first message of the new session.
        static_cast<void>(a.session.received(now, m));
        return accept_authenticated(now, a, peer, m);
    }
    CdapMessage answer =
        a.session.dismiss_connect(m, options_.name, kAuthContinues, kContinues);
    Authenticator::attach(a.offered_auth, answer);
    send(a, answer);
}

std::optional<SessionSecret> Enrollment::session_secret(N1PortId port) const noexcept {
    const auto it = adjacencies_.find(port);
    if (it == adjacencies_.end() || it->second.auth.phase != AuthExchange::Phase::done)
        return std::nullopt;
    return Authenticator::session_secret(it->second.auth);
}

}  // namespace sluice::mgmt
