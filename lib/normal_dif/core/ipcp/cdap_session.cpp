#include "normal_dif/core/ipcp/cdap_session.hpp"

#include <algorithm>

#include "normal_dif/core/faults.hpp"

namespace sluice::mgmt {

using rina::CdapMessage;
using rina::OpCode;

const char* to_string(SessionError error) noexcept {
    switch (error) {
        case SessionError::none: return "none";
        case SessionError::not_connected: return "not_connected";
        case SessionError::not_pending: return "not_pending";
        case SessionError::repeated_id: return "repeated_id";
        case SessionError::unexpected_connect: return "unexpected_connect";
    }
    return "?";
}

std::int32_t CdapSession::next_id(bool answered) {
    last_id_ = next_invoke_id_after(last_id_);
    if (faults::is_active(faults::Fault::invoke_id_reused) && last_id_ > 8) last_id_ = 2;
    if (answered) {
        // Answers to older ones are not waited for any more.
        if (pending_.size() == kPendingMax) pending_.erase(pending_.begin());
        pending_.push_back(last_id_);
    }
    return last_id_;
}

CdapMessage CdapSession::connect(const rina::AppName& own, const rina::AppName& peer) {
    CdapMessage m;
    m.op = OpCode::connect;
    m.abs_syntax = rina::kAbsSyntax;
    m.invoke_id = next_id(false);
    m.source = own;
    m.destination = peer;
    m.version = rina::kCdapVersion;
    connects_.push_back(m.invoke_id);
    state_ = State::awaiting_answer;
    return m;
}

CdapMessage CdapSession::answer_connect(const CdapMessage& request, const rina::AppName& own,
                                        std::int32_t result, std::string_view reason) {
    state_ = result == 0 ? State::connected : State::idle;
    return dismiss_connect(request, own, result, reason);
}

CdapMessage CdapSession::dismiss_connect(const CdapMessage& request, const rina::AppName& own,
                                         std::int32_t result, std::string_view reason) const {
    CdapMessage m;
    m.op = OpCode::connect_r;
    m.abs_syntax = rina::kAbsSyntax;
    m.invoke_id = request.invoke_id;
    m.source = own;
    m.destination = request.source;
    m.version = rina::kCdapVersion;
    m.result = result;
    m.reason = reason;
    return m;
}

CdapMessage CdapSession::request(OpCode op, std::string_view obj_class, std::string_view obj_name,
                                 bool answered) {
    CdapMessage m;
    m.op = op;
    m.invoke_id = next_id(answered);
    m.obj_class = obj_class;
    m.obj_name = obj_name;
    m.version = rina::kCdapVersion;
    return m;
}

CdapMessage CdapSession::answer(const CdapMessage& request, std::int32_t result,
                                std::string_view reason) const {
    CdapMessage m;
    m.op = rina::response_to(request.op);
    m.invoke_id = request.invoke_id;
    m.obj_class = request.obj_class;
    m.obj_name = request.obj_name;
    m.version = rina::kCdapVersion;
    m.result = result;
    m.reason = reason;
    return m;
}

CdapMessage CdapSession::release() {
    CdapMessage m;
    m.op = OpCode::release;
    m.invoke_id = next_id(false);
    m.version = rina::kCdapVersion;
    state_ = State::closed;
    return m;
}

bool CdapSession::seen_before(Instant now, std::int32_t id) {
    for (const Seen& s : seen_)
        if (s.id == id && now < s.until) return true;
    const Seen entry{id, now + kIdRest};
    if (seen_.size() < kSeenMax) {
        seen_.push_back(entry);
    } else {
        seen_[seen_at_] = entry;
        seen_at_ = (seen_at_ + 1) % kSeenMax;
    }
    return false;
}

SessionError CdapSession::received(Instant now, const CdapMessage& m) {
    if (m.op == OpCode::connect_r) {
        if (state_ != State::awaiting_answer ||
            std::find(connects_.begin(), connects_.end(), m.invoke_id) == connects_.end())
            return SessionError::not_pending;
        connects_.clear();
        state_ = m.result == 0 ? State::connected : State::idle;
        return SessionError::none;
    }
    if (m.op == OpCode::connect) {
        // One of a connected session is a peer that has restarted: reset() comes first.
        if (state_ == State::connected || state_ == State::closed)
            return SessionError::unexpected_connect;
        return seen_before(now, m.invoke_id) ? SessionError::repeated_id : SessionError::none;
    }
    if (state_ != State::connected) return SessionError::not_connected;
    if (rina::is_response(m.op)) {
        const auto at = std::find(pending_.begin(), pending_.end(), m.invoke_id);
        if (at == pending_.end()) return SessionError::not_pending;
        pending_.erase(at);
        return SessionError::none;
    }
    if (m.op == OpCode::release) {
        state_ = State::closed;
        return SessionError::none;
    }
    return seen_before(now, m.invoke_id) ? SessionError::repeated_id : SessionError::none;
}

void CdapSession::reset() noexcept {
    state_ = State::idle;
    last_id_ = 1;
    pending_.clear();
    connects_.clear();
    seen_.clear();
    seen_at_ = 0;
}

}  // namespace sluice::mgmt
